"""Clients that authorize themselves, end to end: a protected server and an authorization server."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import ByteStream
from msgspec.structs import replace

from mcpcore import (
    AuthorizationError,
    AuthorizationSettings,
    BearerToken,
    CallFailed,
    Client,
    ClientCredentialsGrant,
    ClientIdentity,
    ClientSettings,
    DpopKey,
    FileTokens,
    Limits,
    MemoryTokens,
    PrivateKey,
    Server,
    ServerOptions,
    SigningKey,
    connect,
    connect_all,
)
from mcpcore.auth.needs import Stored
from mcpcore.engine.events import Event
from mcpcore.engine.reconnection import (
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectSettings,
)
from mcpcore.errors import (
    BadTarget,
    CallUnauthorized,
    Forbidden,
    HeadersFailed,
    LinkError,
    LinkUnauthorized,
    NegotiationError,
    PeerError,
    ServerUnavailable,
    UrlRefused,
)
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Verdict
from mcpcore.http.settings import HttpClientSettings
from mcpcore.types import Tool
from mcpcore_conformance.auth.model import Request, Response
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.managed import Availability
from mcpcore_transports.client.servers import MergedList
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.auth.world import key_of
from tests.clock import HOUR, PATIENCE, Clock, patience, turns, until
from tests.faults.cutting import road
from tests.transports.auth.auth_site import Asked, reply, site
from tests.transports.auth.auth_stage import MACHINE, Person, Stage, notes, stage
from tests.transports.served import ANY_PORT
from tests.transports.villain import Side, good, villain

pytestmark = pytest.mark.anyio

REVISIONS = pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25", "2025-03-26"])
CODE, REFRESH = "authorization_code", "refresh_token"
MACHINE_AUTH = AuthorizationSettings(
    grant=ClientCredentialsGrant(),
    client=ClientIdentity(client_id=MACHINE.client_id, client_secret=MACHINE.secret),
)


async def add(client: Client, a: int = 1) -> int:
    result = await client.call_tool("add", {"a": a, "b": 1})
    return int(result.raise_for_error().text)


def settings_of(person: Person | None, **more: Any) -> ClientSettings:
    return ClientSettings(sign_in=person or Person(), **{"tokens": MemoryTokens(), **more})


@asynccontextmanager
async def signed_in(
    on: Stage, person: Person | None = None, *, url: str = "", auth: Any = None, **more: Any
) -> AsyncIterator[Client]:
    settings = more.pop("settings", None) or settings_of(person)
    with patience():
        chosen = auth or AuthorizationSettings()
        async with connect(url or on.url, auth=chosen, settings=settings, **more) as client:
            yield client


# A person


@REVISIONS
async def test_a_person_signs_in_once(revision: str) -> None:
    person = Person()
    async with stage(notes()) as on, signed_in(on, person, revision=revision) as client:
        assert await add(client) == 2
        assert await add(client, 2) == 3
        assert client.revision.name == revision
    assert len(person.asked) == 1
    assert on.authority.grants() == [CODE]
    assert on.authority.forms[0]["resource"] == on.url
    assert len(set(on.tokens)) == 1
    refused = [verdict for verdict in on.verdicts if verdict == 401]
    assert len(refused) == 1


@pytest.mark.parametrize("binding", ["sse", "ws", "httpx"])
async def test_every_binding_signs_in(binding: str) -> None:
    person = Person()
    server = stage(notes(), "http" if binding == "httpx" else binding)
    async with server as on, httpx.AsyncClient(trust_env=False) as http:
        carrier = http if binding == "httpx" else None
        async with signed_in(on, person, http_client=carrier) as client:
            assert await add(client) == 2
            if binding != "ws":
                on.expire()
                assert await add(client) == 2
                assert on.authority.grants() == [CODE, REFRESH]
    assert len(person.asked) == 1


@pytest.mark.parametrize(
    ("binding", "error"), [("http", CallUnauthorized), ("ws", LinkUnauthorized)]
)
async def test_nobody_is_there(binding: str, error: type[Exception]) -> None:
    person = Person()
    person.away = True
    async with stage(notes(), binding) as on:
        with pytest.raises(AuthorizationError, match="nobody is there") as caught:
            async with signed_in(on, person):
                pass
    assert isinstance(caught.value, error)
    assert getattr(caught.value, "status", 401) == 401
    assert getattr(caught.value, "final", True)
    assert len(person.asked) == 1


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_a_cancelled_call_leaves_nothing_behind(revision: str, tmp_path: Path) -> None:
    person, store = Person(), FileTokens(tmp_path / "tokens")
    # The standalone stream would be refused as well, and sign in for itself.
    alone = HttpClientSettings(get_stream=False)
    settings = settings_of(person, tokens=store, http=alone)
    async with stage(notes()) as on, signed_in(on, settings=settings, revision=revision) as client:
        await add(client)
        person.hold = anyio.Event()
        on.required = frozenset({"more"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add, client)
            await until(lambda: len(person.asked) == 2)
            tasks.cancel_scope.cancel()
        await turns()
        async with store.lock(key_of(on.url)):  # nobody holds it
            pass
        person.hold = None
        assert await add(client) == 2
    assert len(person.asked) == 3


@pytest.mark.parametrize("first", ["times out", "is cancelled"])
async def test_a_call_that_ends_while_it_waits_for_a_token_ends_alone(
    first: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls need the refresh of a token that has ended; the one that began it ends first."""
    held, refresh = list[str](), anyio.Event()
    settings = settings_of(None, limits=Limits(request_timeout=HOUR, max_timeout=HOUR))
    real, ahead, ends = time.time, [0.0], list[str]()
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    async def call(name: str, timeout: float, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await client.call_tool("add", {"a": 1, "b": 1}, timeout=timeout)
                ends.append(f"{name} is answered")
            except CallFailed as error:
                ends.append(f"{name}: {type(error).__name__}")
        if scope.cancelled_caught:
            ends.append(f"{name} is cancelled")

    async def slow(asked: Callable[..., Any], *given: Any) -> Any:
        held.append("asked")
        await refresh.wait()
        return await asked(*given)

    async with (
        stage(notes(), token_time=600.0) as on,
        signed_in(on, settings=settings, revision="2026-07-28") as client,
    ):
        await add(client)
        ahead[0] = 605.0
        fetch = Fetcher.fetch
        monkeypatch.setattr(Fetcher, "fetch", lambda *given: slow(fetch, *given))
        one, two = anyio.CancelScope(), anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "one", 20.0, one)
            await until(lambda: held)
            tasks.start_soon(call, "two", 3000.0, two)
            await turns()
            if first == "times out":
                await clock.skip(21)
                await until(lambda: ends)
                assert ends == ["one: RequestTimeout"]
            else:
                one.cancel()
                await until(lambda: ends)
                assert ends == ["one is cancelled"]
            assert on.authority.grants() == [CODE]
            refresh.set()
        assert ends[1:] == ["two is answered"]
        assert held == ["asked"]
    assert on.authority.grants() == [CODE, REFRESH]


async def test_a_call_whose_token_cannot_be_refreshed_has_its_time_after_the_sign_in(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, ends = Person(), list[int]()
    settings = settings_of(person, http=HttpClientSettings(get_stream=False))
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    async def call() -> None:
        ends.append(await add(client))

    async with stage(notes(), token_time=600.0) as on, signed_in(on, settings=settings) as client:
        await add(client)
        on.authority.forgetful = True
        ahead[0], person.hold = 605.0, anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(person.asked) == 2)
            await clock.skip(250)  # longer than a call may take, and shorter than a person
            person.hold.set()
    assert ends == [2]
    assert on.authority.grants() == [CODE, REFRESH, CODE]


@pytest.mark.requirement("server/utilities/caching/private-not-shared")
async def test_private_results_are_kept_for_one_token() -> None:
    """The next may be of another person, or have other scopes."""
    server, reads = notes(), count(1)

    def book() -> str:
        return str(next(reads))

    server.resource("book://private", ttl_ms=3_600_000, cache_scope="private")(book)
    server.resource("book://public", ttl_ms=3_600_000, cache_scope="public")(book)

    async def read(scope: str) -> str:
        return str((await client.read_resource(f"book://{scope}")).contents[0].text)

    async with stage(server) as on, signed_in(on) as client:
        assert [await read(each) for each in ("private", "public") * 2] == ["1", "2", "1", "2"]
        on.expire()
        await add(client)
        assert [await read(each) for each in ("private", "public") * 2] == ["3", "2", "3", "2"]


async def test_nobody_is_asked_for_a_call_that_has_waited_too_long(clock: Clock) -> None:
    """Its sign-in ends, and that of another call, which waits for its turn, does not begin."""
    person, ends = Person(), list[str]()
    http = HttpClientSettings(get_stream=False, answer_timeout=100.0)

    async def call(tool: str) -> None:
        with pytest.raises(CallUnauthorized, match="no authorization within 100 s"):
            await client.call_tool(tool, {"a": 1, "b": 1})
        ends.append(tool)

    async with (
        stage(notes()) as on,
        signed_in(on, settings=settings_of(person, http=http)) as client,
    ):
        await add(client)
        person.hold, on.required = anyio.Event(), frozenset({"more"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "add")
            await until(lambda: len(person.asked) == 2)
            tasks.start_soon(call, "other")
            await turns()
            await clock.skip(101)
            await until(lambda: len(ends) == 2)
        await turns()
        assert (len(person.asked), person.hold.statistics().tasks_waiting) == (2, 0)
        person.hold, on.required = None, frozenset()
        assert await add(client) == 2


async def test_closing_ends_a_sign_in() -> None:
    person = Person()
    ends: list[str] = []

    async def call(client: Client) -> None:
        try:
            await add(client)
        except CallFailed as error:
            ends.append(type(error).__name__)

    async with (
        stage(notes()) as on,
        anyio.create_task_group() as tasks,
        signed_in(on, person) as client,
    ):
        person.hold = anyio.Event()
        on.required = frozenset({"more"})
        tasks.start_soon(call, client)
        await until(lambda: len(person.asked) == 2)
    assert ends == ["ConnectionClosed"]
    assert len(person.asked) == 2


async def test_a_stream_that_broke_asks_a_person_once(clock: Clock) -> None:
    person = Person()
    pace = HttpClientSettings(retry_delay=0.001, max_retry_delay=0.002)
    settings = settings_of(person, http=pace)
    async with stage(notes()) as on, signed_in(on, settings=settings) as client:
        on.life = 5.0
        async with client.listen(tools=True) as changes:
            on.expire()
            on.authority.forgetful = person.away = True
            await clock.skip(6)
            with pytest.raises(CallUnauthorized, match="nobody is there"):
                await anext(changes)
    assert len(person.asked) == 2


@pytest.mark.parametrize("binding", ["ws", "sse"])
async def test_a_connection_comes_back_each_time_that_a_short_token_is_over(
    binding: str, clock: Clock
) -> None:
    events = list[Event]()
    settings = settings_of(Person(), reconnect=ReconnectSettings(first_delay=0, attempts=2))

    def back() -> int:
        return sum(isinstance(event, Reconnected) for event in events)

    def came(before: int, client: Client) -> bool:
        return client.closed is not None or back() > before

    async with stage(notes(), binding, token_time=8.0) as on:
        on.life = 5.0  # less than ReconnectSettings.lasting
        heard = Callbacks(connection=events.append)
        async with signed_in(on, settings=settings, auth=MACHINE_AUTH, callbacks=heard) as client:
            for _ in range(3):
                await add(client)
                before = back()
                await clock.skip(6)
                await until(partial(came, before, client))
                assert client.closed is None
            assert await add(client) == 2


@pytest.mark.parametrize("binding", ["ws", "sse"])
async def test_a_connection_comes_back_after_an_outage_of_its_authorization_server(
    clock: Clock, binding: str
) -> None:
    events = list[Event]()

    def attempts() -> int:
        return sum(isinstance(event, Reconnecting) for event in events)

    pace = ReconnectSettings(first_delay=0.001, max_delay=0.002, attempts=1000)
    settings = settings_of(Person(), reconnect=pace)
    async with stage(notes(), binding) as on:
        on.life = 5.0
        heard = Callbacks(connection=events.append)
        async with signed_in(on, settings=settings, auth=MACHINE_AUTH, callbacks=heard) as client:
            await add(client)
            on.authority.out = True
            on.expire()
            await clock.skip(6)
            await until(lambda: attempts() > 5 or client.closed)
            assert client.closed is None
            on.authority.out = False
            assert await add(client) == 2


async def test_a_lost_session_is_replaced_after_an_outage_of_the_authorization_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace = HttpClientSettings(retry_delay=0.001, max_retry_delay=0.002, max_resumes=1000)
    sums: list[int] = []
    async with stage(notes()) as on:
        judge = on._judge

        def stern(request: HttpRequest) -> Verdict:
            begins = all(name != b"mcp-session-id" for name, _ in request.headers)
            return on._refuse(401) if begins and on.authority.out else judge(request)

        async def ask(client: Client) -> None:
            sums.append(await add(client))

        settings = settings_of(Person(), http=pace)
        more: Any = {"settings": settings, "auth": MACHINE_AUTH, "revision": "2025-11-25"}
        async with signed_in(on, **more) as client, anyio.create_task_group() as tasks:
            await add(client)
            monkeypatch.setattr(on, "_judge", stern)
            client._core.machine._state.session = "lost"
            on.authority.out = True
            before = len(on.authority.forms)
            tasks.start_soon(ask, client)
            await until(lambda: len(on.authority.forms) > before + 4 or client.closed)
            on.authority.out = False
    assert sums == [2]


@pytest.mark.parametrize("then", ["it is carried", "it hangs"])
@pytest.mark.parametrize("binding", ["ws", "sse"])
async def test_an_attempt_to_reconnect_waits_while_a_person_is_asked(
    binding: str, then: str, clock: Clock, tmp_path: Path
) -> None:
    """Its time and that of what waits for it stand still meanwhile, and go on afterwards."""
    person, events, sums = Person(), list[Event](), list[int]()
    settings = settings_of(
        person,
        reconnect=ReconnectSettings(first_delay=0.001, max_delay=0.002, opening=60.0),
        limits=Limits(request_timeout=100.0, max_timeout=100.0),
        http=HttpClientSettings(endpoint_timeout=HOUR),
        websocket=WebSocketSettings(handshake_timeout=HOUR),
    )

    def told() -> list[type[Event]]:
        return [type(event) for event in events]

    async def ask(client: Client) -> None:
        sums.append(await add(client))

    async with (
        stage(notes(), binding) as on,
        road(binding, on.served.port, tmp_path) as way,
    ):
        on.url = way.url
        heard = Callbacks(connection=events.append)
        async with (
            signed_in(on, settings=settings, revision="2025-11-25", callbacks=heard) as client,
            anyio.create_task_group() as waiting,
        ):
            await add(client)
            person.hold = anyio.Event()
            on.required = frozenset({"more"})
            way.cut()
            await until(lambda: len(person.asked) == 2)
            waiting.start_soon(ask, client)
            await clock.skip(250)
            assert told() == [ConnectionLost, Reconnecting]
            if then == "it hangs":
                way.fates, taken = ["hang"], way.taken
                person.hold.set()
                await way.until(taken + 1)
                await clock.skip(59)
                assert told() == [ConnectionLost, Reconnecting]
                await clock.skip(2)
            person.hold.set()
            await until(lambda: Reconnected in told())
            again = [Reconnecting] * (1 + (then == "it hangs"))
            assert told() == [ConnectionLost, *again, Reconnected]
            if then == "it hangs":
                assert isinstance(events[2], Reconnecting)
                assert events[2].reason == "there was no conversation within 60 s"
            assert await add(client) == 2
    assert len(person.asked) == 2
    assert sums == [2]


async def test_the_start_of_one_of_several_servers_waits_while_a_person_is_asked(
    clock: Clock, tmp_path: Path
) -> None:
    """So does the call that waits for it; the next connection goes on with the token."""
    person, answers = Person(), list[str]()
    person.hold = anyio.Event()
    again = ReconnectSettings(first_delay=0.001, max_delay=0.002)
    settings = ClientSettings(sign_in=person, reconnect=again)

    async def call() -> None:
        answers.append((await servers.call_tool("add", {"a": 1, "b": 1})).text)

    async with stage(notes(), "ws") as on, road("ws", on.served.port, tmp_path) as way:
        on.url = way.url
        options = ServerOptions(targets=[way.url], auth=AuthorizationSettings(), settings=settings)
        with patience():
            async with connect_all({"notes": options}) as servers:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call)
                    await until(lambda: person.asked)
                    await clock.skip(250)
                    assert len(person.asked) == 1
                    person.hold.set()
                await clock.skip(250)
                first = await servers.client("notes")
                way.cut()
                await until(lambda: first.closed is not None)
                await call()
    assert answers == ["2", "2"]
    assert len(person.asked) == 1


@pytest.mark.parametrize("binding", ["ws", "sse", "http"])
async def test_one_of_several_servers_is_connected_to_once_an_outage_is_over(binding: str) -> None:
    pace = ReconnectSettings(first_delay=0.001, max_delay=0.002)
    settings = settings_of(Person(), reconnect=pace)
    async with stage(notes(), binding) as on:
        options = ServerOptions(targets=[on.url], auth=MACHINE_AUTH, settings=settings)
        with patience():
            async with connect_all({"notes": options}) as servers:
                on.authority.out = True
                assert isinstance((await servers.tools()).failures["notes"], ServerUnavailable)
                on.authority.out = False
                await until(lambda: servers.health()["notes"][0].availability is Availability.OPEN)


async def test_a_list_of_several_servers_waits_while_a_person_is_asked(clock: Clock) -> None:
    person, lists = Person(), list[MergedList[Tool]]()
    settings = settings_of(person, cache=False)

    async def read() -> None:
        lists.append(await servers.tools())

    async with stage(notes()) as on:
        options = ServerOptions(targets=[on.url], auth=AuthorizationSettings(), settings=settings)
        with patience():
            async with connect_all({"notes": options}) as servers:
                await read()
                on.authority.forgetful, person.hold = True, anyio.Event()
                on.expire()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await until(lambda: len(person.asked) == 2)
                    await clock.skip(250)
                    assert person.hold.statistics().tasks_waiting == 1
                    person.hold.set()
    assert [(len(each.items), each.failures) for each in lists] == [(1, {}), (1, {})]
    assert len(person.asked) == 2


async def test_a_slow_refresh_does_not_make_a_legacy_server_of_a_modern_one(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than the answer to the first request may."""
    wall, asked, go_on, found = time.time, threading.Event(), threading.Event(), list[str]()
    settings = settings_of(None)
    async with stage(notes()) as on:
        async with signed_in(on, settings=settings):
            pass
        handle = on.authority.handle

        def slowly(request: Request) -> Response:
            asked.set()
            go_on.wait(PATIENCE)
            return handle(request)

        monkeypatch.setattr(on.authority, "handle", slowly)
        monkeypatch.setattr(time, "time", lambda: wall() + 3580)

        async def work() -> None:
            afresh = replace(settings, eras=EraCache())
            async with signed_in(on, settings=afresh) as client:
                found.append(client.revision.name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await until(asked.is_set)
            await clock.skip(8)
            go_on.set()
    assert found == ["2026-07-28"]
    assert on.authority.grants() == [CODE, REFRESH]


async def test_nobody_is_asked_again_and_again_by_looks_at_the_health_of_a_server(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, wall, passed = Person(), time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: wall() + passed)
    async with stage(notes()) as on:
        settings = settings_of(person, cache=False)
        options = ServerOptions(targets=[on.url], auth=AuthorizationSettings(), settings=settings)
        with patience():
            async with connect_all({"notes": options}) as servers:
                await servers.tools()
                on.authority.forgetful = person.away = True
                on.expire()
                for _ in range(6):
                    passed += 400
                    await clock.skip(400)
                    await until(lambda: len(person.asked) >= 2)
                    await turns(1000)
                assert len(person.asked) == 2
                person.away = False
                assert len((await servers.tools()).items) == 1
                on.expire()
                await clock.skip(400)
                await until(lambda: len(person.asked) == 4)
    assert len(person.asked) == 4


# Refresh


async def test_a_server_that_refuses_every_token_ends_it() -> None:
    person = Person()
    async with stage(notes()) as on, signed_in(on, person) as client:
        on.broken = True
        with pytest.raises(CallUnauthorized, match="after 3 authorizations") as caught:
            await add(client)
        assert caught.value.status == 401
        assert len(person.asked) == 3  # a refresh, and then two
        on.broken = False
        assert await add(client) == 2


# Scopes


def erasing(begun: anyio.Event | None = None, go_on: anyio.Event | None = None) -> Server:
    """A server with a tool that needs a scope, and one that can be held up."""
    server = notes()
    begun, go_on = begun or anyio.Event(), go_on or anyio.Event()
    server.tool(lambda: "erased", name="erase", scopes={"write"})

    @server.tool
    async def hold() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    return server


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("binding", ["http", "sse", "ws"])
async def test_an_error_that_names_scopes_is_stepped_up_on_every_binding(
    binding: str, revision: str
) -> None:
    if binding == "sse" and revision == "2026-07-28":
        revision = "2024-11-05"
    person = Person()
    async with (
        stage(erasing(), binding, scopes=("read", "write")) as on,
        signed_in(on, person, revision=revision) as client,
    ):
        assert await add(client) == 2
        for _ in range(2):
            assert (await client.call_tool("erase")).text == "erased"
    assert [scopes & {"write"} for scopes in person.scopes] == [set(), {"write"}]
    assert len(set(on.tokens)) == 2


@pytest.mark.parametrize("binding", ["http", "http 403", "sse", "ws"])
async def test_calls_at_once_that_each_need_another_scope(binding: str) -> None:
    server, person = notes(), Person()
    names = [f"scope-{number}" for number in range(10)]
    for name in names:
        needed: dict[str, Any] = {} if "403" in binding else {"scopes": {name}}
        server.tool(lambda: "done", name=name, **needed)
    async with (
        stage(server, binding.partition(" ")[0], scopes=tuple(names)) as on,
        signed_in(on, person) as client,
        anyio.create_task_group() as tasks,
    ):
        done = list[str]()

        async def call(name: str) -> None:
            assert (await client.call_tool(name)).text == "done"
            done.append(name)

        on.own_scopes = "403" in binding
        for name in names:
            tasks.start_soon(call, name)
    assert sorted(done) == names
    assert len(person.asked) == 1 + len(names)


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("binding", ["http", "ws"])
async def test_a_stream_of_changes_is_stepped_up_for_on_every_binding(
    binding: str, revision: str
) -> None:
    person, server, uri = Person(), Server("notes"), "note://a"
    server.add_resource(uri, "a", scopes={"write"})
    async with (
        stage(server, binding, scopes=("write",)) as on,
        signed_in(on, person, revision=revision) as client,
        client.listen(resources=True),  # stays open, or is opened again
        client.listen(uris=[uri]) as changes,
    ):
        assert changes.filter.resource_subscriptions == [uri]
        server.resource_updated(uri)
        assert (await anext(changes)).uri == uri
    assert [scopes & {"write"} for scopes in person.scopes] == [set(), {"write"}]


@pytest.mark.parametrize("way", ["function", "client credentials", "code"])
@pytest.mark.parametrize("binding", ["http", "sse", "ws"])
async def test_38_scopes_that_never_suffice_are_got_once_on_every_binding(
    binding: str, way: str
) -> None:
    server, calls, given = notes(), count(), count()
    words = "it asks for write, which the token has already"
    if way == "function":
        words = "the server refuses the token that was given"

    @server.tool
    def erase() -> str:
        next(calls)
        raise Forbidden({"write"})

    async with (
        stage(server, binding, scopes=("write",)) as on,
        token_of(on) as first,
        token_of(on) as second,
    ):
        ways: dict[str, Any] = {
            "function": lambda: (first, second)[next(given) % 2],
            "client credentials": MACHINE_AUTH,
            "code": AuthorizationSettings(),
        }
        revision = "2024-11-05" if binding == "sse" else "2026-07-28"
        async with signed_in(on, auth=ways[way], revision=revision) as client:
            assert await add(client) == 2
            before = len(on.authority.grants())
            with pytest.raises(CallUnauthorized, match=words) as caught:
                await client.call_tool("erase")
            assert caught.value.status == 403
            assert next(calls) == 2
            assert len(on.authority.grants()) - before == (way != "function")
            assert await add(client) == 2


async def test_a_step_up_over_a_websocket_waits_for_the_calls_under_way() -> None:
    begun, go_on, person, done, saved = anyio.Event(), anyio.Event(), Person(), [], []

    class Kept(MemoryTokens):
        async def save(self, key: str, record: bytes | None, version: int) -> Stored:
            saved.append(record)
            return await super().save(key, record, version)

    settings = settings_of(person, tokens=Kept())
    async with stage(erasing(begun, go_on), "ws", scopes=("write",)) as on:  # noqa: SIM117
        async with signed_in(on, settings=settings) as client, anyio.create_task_group() as tasks:

            async def call(name: str) -> None:
                done.append((await client.call_tool(name)).text)

            tasks.start_soon(call, "hold")
            await begun.wait()
            signed_in_once = len(saved)
            tasks.start_soon(call, "erase")
            tasks.start_soon(call, "erase")
            await until(lambda: len(saved) > signed_in_once)
            tasks.start_soon(call, "erase")  # while the connection still is that of the old token
            await turns()
            assert await add(client) == 2
            await turns()
            assert done == []
            go_on.set()
    assert done == ["done", "erased", "erased", "erased"]
    assert on.authority.grants() == [CODE, CODE]
    assert len(person.asked) == 2


@pytest.mark.parametrize("attempts", [0, 5])
async def test_a_step_up_over_a_websocket_that_cannot_be_replaced(attempts: int) -> None:
    person = Person()
    reconnect = ReconnectSettings(attempts=attempts)
    async with stage(erasing(), "ws", scopes=("write",)) as on:  # noqa: SIM117
        async with signed_in(on, settings=settings_of(person, reconnect=reconnect)) as client:
            person.away = attempts > 0
            with pytest.raises((PeerError, CallUnauthorized)) as caught:
                await client.call_tool("erase")
            assert await add(client) == 2
    if attempts:
        assert isinstance(caught.value, CallUnauthorized)
        told = "forbidden: scopes are missing; it needs the scopes write (1004); nobody is there"
        assert str(caught.value).endswith(told)
    else:
        assert isinstance(caught.value, PeerError)
        assert len(person.asked) == 1


# DPoP


def bound() -> tuple[AuthorizationSettings, ClientSettings, Person]:
    key, person = PrivateKey.generate("ES256"), Person()
    dpop = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
    return (
        AuthorizationSettings(dpop=dpop),
        settings_of(person, signing_keys={"dpop": key}),
        person,
    )


@pytest.mark.parametrize(
    ("revision", "binding"),
    [
        *(("2026-07-28", "http"), ("2025-11-25", "http"), ("2025-03-26", "http")),
        *(("2025-11-25", "sse"), ("2024-11-05", "sse")),
    ],
)
async def test_tokens_are_bound_to_a_key_and_nonces_are_taken(revision: str, binding: str) -> None:
    auth, settings, person = bound()
    async with stage(notes(), binding, nonces=True) as on:
        on.bound, on.nonce = True, "n-1"
        async with signed_in(on, auth=auth, settings=settings, revision=revision) as client:
            await add(client)
            before = on.verdicts.count(401)
            await add(client)
            assert on.verdicts.count(401) == before
            on.nonce = "n-2"
            sums: list[int] = []

            async def call(number: int) -> None:
                sums.append(await add(client, number))

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(call, number)
            assert sorted(sums) == list(range(1, 21))
            before = on.verdicts.count(401)
            await add(client)
            assert on.verdicts.count(401) == before
    assert len(person.asked) == 1
    assert on.authority.grants() == [CODE] * 2  # the first was refused for want of a nonce


async def test_nonces_without_end_are_not_followed() -> None:
    auth, settings, person = bound()
    async with stage(notes()) as on:
        on.bound = True
        async with signed_in(on, auth=auth, settings=settings) as client:
            await add(client)
            judge, count = on._judge, [0]

            def another(request: Any) -> Any:
                count[0] += 1
                on.nonce = f"n-{count[0]}"
                return judge(request)

            on._judge = another  # type: ignore[method-assign]
            with pytest.raises(CallUnauthorized, match="none of the DPoP nonces"):
                await add(client)
            assert count[0] == 2
    assert len(person.asked) == 1


FAILED = r"sign: \w+$|the private key 'dpop' has made no signature$"


@pytest.mark.parametrize("binding", ["http", "ws"])
@pytest.mark.parametrize("signature", [RuntimeError("secret words"), SystemExit(1), None])
async def test_a_key_that_does_not_sign_ends_the_request_alone(
    signature: BaseException | None, binding: str
) -> None:
    """As a device may that was pulled out."""
    auth, settings, _ = bound()
    key: Any = settings.signing_keys["dpop"]

    class Device:
        left = 1 if binding == "ws" else 100

        def sign(self, data: bytes) -> Any:
            self.left -= 1
            if self.left < 0 and signature is not None:
                raise signature
            return None if self.left < 0 else key.sign(data)

    device = Device()
    settings = replace(settings, signing_keys={"dpop": device})
    async with stage(notes(), binding) as on:
        on.bound = True
        if binding == "ws":  # it signs for the token alone
            with pytest.raises(LinkUnauthorized, match=FAILED):
                async with signed_in(on, auth=auth, settings=settings):
                    pass
            return
        async with signed_in(on, auth=auth, settings=settings) as client:
            await add(client)
            device.left = 0
            with pytest.raises(CallUnauthorized, match=FAILED):
                await add(client)
            device.left = 100
            await add(client)


# Tokens of the application


@asynccontextmanager
async def token_of(on: Stage) -> AsyncIterator[str]:
    async with signed_in(on, auth=MACHINE_AUTH) as client:
        await add(client)
    yield on.tokens[-1]


@pytest.mark.parametrize("kind", ["token", "function", "coroutine"])
@pytest.mark.parametrize("binding", ["http", "ws"])
async def test_a_token_of_the_application(kind: str, binding: str) -> None:
    async with stage(notes(), ws=ANY_PORT) as on, token_of(on) as token:

        async def later() -> str:
            await anyio.lowlevel.checkpoint()
            return token

        ways = {"token": BearerToken(token), "function": lambda: token, "coroutine": later}
        assert token not in repr(ways["token"])
        url = on.served.urls[binding == "ws"]
        async with signed_in(on, url=url, auth=ways[kind]) as client:
            assert await add(client) == 2


async def test_a_function_is_asked_once_more_after_a_refusal() -> None:
    async with stage(notes()) as on, token_of(on) as good:
        given = iter(["bad", "worse", good])
        last = [""]

        def token() -> str:
            last[0] = next(given, last[0])
            return last[0]

        async with signed_in(on, auth=token) as client:
            assert await add(client) == 2
            on.expire()
            with pytest.raises(CallUnauthorized, match="refuses the token that was given"):
                await add(client)


@pytest.mark.filterwarnings(
    # On trio: httpx leaves its inner generators to the garbage collector if a body is not read.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_a_refusal_of_any_length_is_answered(carrier: str, size: int) -> None:
    """A page that explains it may be longer than what is read for the sake of the connection."""
    refused = False
    asked, go_on, broken_off = anyio.Event(), anyio.Event(), list[str]()

    async def token() -> str:
        if not refused:
            return "old"
        asked.set()
        try:
            await go_on.wait()
        except anyio.get_cancelled_exc_class():
            broken_off.append("new")
            raise
        return "new"

    async def refuse(side: Side) -> bool:
        nonlocal refused
        if side.headers["authorization"] == "Bearer new":
            return await good(side)
        refused = True
        head = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: %d\r\n\r\n"
        await side.send(head % size, b"x" * size)
        return True

    async with villain(refuse) as server, httpx.AsyncClient(trust_env=False) as other:
        http = other if carrier == "httpx" else None
        options: Any = {"revision": "2026-07-28", "http_client": http}
        with patience():
            async with (
                connect(server.url, auth=token, **options) as client,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(client.call_tool, "bad")
                await asked.wait()
                await anyio.wait_all_tasks_blocked()
                go_on.set()
    assert not broken_off
    assert server.seen["bad"] == 2


async def test_a_token_that_is_refused() -> None:
    async with stage(notes()) as on:
        with pytest.raises(CallUnauthorized, match="refuses the token that was given") as caught:
            async with signed_in(on, auth=BearerToken("marked")):
                pass
        assert "marked" not in str(caught.value)
        assert on.verdicts == [401]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "returned none"),
        ("two words", "returned none"),
        ("line\nbreak", "returned none"),
        (None, "returned none"),
        (RuntimeError("marked"), "the function for tokens failed: RuntimeError"),
    ],
)
async def test_a_function_without_a_token(
    given: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def token() -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    async with stage(notes()) as on:
        with pytest.raises(CallUnauthorized, match=words) as caught:
            async with signed_in(on, auth=token):
                pass
        assert on.verdicts == []
    assert "marked" not in str(caught.value) + caplog.text


# To whom nothing is sent


@pytest.mark.parametrize("auth", [AuthorizationSettings(), BearerToken("t"), lambda: "t"])
@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example/mcp",
        "ws://mcp.example/mcp",
        "http://10.0.0.1/mcp",
        "http://evil.localhost/mcp",
        "http://[::ffff:127.0.0.1]/mcp",
        "http://[64:ff9b::7f00:1]/mcp",
        "http://[2002:7f00:1::]/mcp",
    ],
)
def test_60_no_token_in_the_clear(auth: Any, url: str) -> None:
    with pytest.raises(UrlRefused):
        connect(url, auth=auth)


@pytest.mark.parametrize("auth", [AuthorizationSettings(), BearerToken("t"), lambda: "t"])
@pytest.mark.parametrize("url", ["HTTP://localhost:1/mcp", "WS://127.0.0.1:1/mcp"])
@pytest.mark.parametrize(
    ("proxy", "refused"),
    [
        ("http://proxy.example:3128", True),
        ("https://10.0.0.1", True),
        ("http://127.0.0.1:8080", False),
        ("socks5://proxy.example", False),  # which is no proxy, as connecting tells
        (None, False),
    ],
)
def test_60_nor_in_the_clear_to_a_proxy(
    auth: Any, url: str, proxy: str | None, refused: bool
) -> None:
    settings = ClientSettings(proxy=proxy)
    with pytest.raises(UrlRefused, match="its proxy") if refused else nullcontext():
        connect(url, auth=auth, settings=settings)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("https://mcp.example/mcp", {"headers": {"authorization": "Basic x"}}),
        ("wss://mcp.example/mcp", {"headers": {"Authorization": "Basic x"}}),
        (
            "https://mcp.example/mcp",
            {"settings": ClientSettings(http=HttpClientSettings(headers=(("DPoP", "x"),)))},
        ),
    ],
)
def test_53_one_side_alone_authorizes(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(BadTarget, match="auth"):
        connect(target, auth=BearerToken("t"), **options)


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        (["server", "marked"], "the target is server: a program gets its credentials by its env"),
        ("tcp://127.0.0.1:1", "over TCP a client shows who it is by a certificate"),
        ("tls://127.0.0.1:1", "in ClientSettings.ssl_context"),
        ("unix:///run/s", "on a Unix socket the system tells the server which user"),
        (Server("x"), "a server of this process is called without credentials"),
    ],
)
@pytest.mark.parametrize("auth", [AuthorizationSettings(), BearerToken("t"), lambda: "t"])
def test_auth_is_for_urls_and_an_error_says_what_to_do_instead(
    target: Any, instead: str, auth: Any
) -> None:
    with pytest.raises(BadTarget, match="auth is for URLs of http and ws") as caught:
        connect(target, auth=auth)
    assert instead in str(caught.value)
    assert "marked" not in str(caught.value)


@pytest.mark.parametrize("auth", [BearerToken("t"), AuthorizationSettings()])
@pytest.mark.parametrize("binding", ["http", "ws"])
async def test_53_nor_does_a_function_for_headers(binding: str, auth: Any) -> None:
    async with stage(notes(), binding) as on:
        headers = lambda _: {"Authorization": "Basic marked"}  # noqa: E731
        with pytest.raises((NegotiationError, LinkError), match="set by `auth`") as caught:
            async with signed_in(on, auth=auth, headers=headers):
                pass
        assert binding == "ws" or isinstance(caught.value.__cause__, HeadersFailed)
        assert "marked" not in str(caught.value)
        assert on.verdicts == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_27_a_redirect_brings_the_token_nowhere(status: int) -> None:
    async def answer(asked: Asked, stream: ByteStream) -> None:
        await stream.send(reply(b"", status, f"location: {trap.url}/mcp"))

    async def taken(asked: Asked, stream: ByteStream) -> None:
        await stream.send(reply())

    async with site(taken) as trap, site(answer) as at:
        for prefix in ("", "sse+"):
            with patience(), pytest.raises(NegotiationError):
                async with connect(f"{prefix}{at.url}/mcp", auth=BearerToken("t")):
                    pass
        assert trap.asked == []
        assert {each.header("authorization") for each in at.asked} == {"Bearer t"}
