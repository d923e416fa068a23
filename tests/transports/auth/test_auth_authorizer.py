"""Authorization as a whole, over real sockets: one flow for many tasks and processes."""

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio
import msgspec
import pytest
import trio
from anyio.abc import ByteStream

from mcpcore.auth.authorization import AuthState, Refused
from mcpcore.auth.grants import ClientIdentity, SigningKey
from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl, Stored
from mcpcore.auth.records import TokenRecord, written
from mcpcore.auth.settings import (
    AssertionGrant,
    AuthorizationSettings,
    ClientCredentialsGrant,
    CodeGrant,
    DpopKey,
)
from mcpcore.errors import AuthorizationError, UrlRefused
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.browser import BrowserSignIn
from mcpcore_transports.auth.callback import CallbackListener
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.auth.signing import PrivateKey, verify
from mcpcore_transports.auth.stores import MemoryTokens, TokenStore
from mcpcore_transports.http.client.authorization import Authorized
from mcpcore_transports.http.client.proxies import Proxy
from tests.auth.world import World, claims_of, key_of
from tests.clock import HOUR, PATIENCE, Clock, patience, turns, until
from tests.ports import free_port
from tests.transports.auth.auth_site import (
    Asked,
    Authority,
    Person,
    authority,
    reply,
    site,
    together,
)
from tests.transports.auth.test_auth_callback import closed
from tests.transports.auth.test_auth_stores import child, race

pytestmark = pytest.mark.anyio

UNAUTHORIZED = Refused(status=401, lines=("Bearer",))


def quiet(_: str) -> None:
    """Print nothing."""


def authorizer(
    stage: Authority, person: Person | None = None, *, query: str = "", **options: Any
) -> Authorizer:
    settings = options.pop("settings", None)
    sign_in = BrowserSignIn((person or Person(stage.world)).open, quiet)
    return Authorizer(stage.server + query, settings, **{"sign_in": sign_in, **options})


async def expiring(stage: Authority, store: TokenStore, left: float = 50, query: str = "") -> None:
    """Store a token that has so many seconds left, and can be refreshed."""
    stage.world.refreshable = {"refresh-0"}
    record = TokenRecord(
        resource=stage.server,
        issuer=stage.site.url,
        token_endpoint=f"{stage.site.url}/token",
        client=ClientIdentity(client_id="client-1"),
        access_token="access-0",
        refresh_token="refresh-0",
        expires_at=time.time() + left,
        lifetime=3600.0,
    )
    await store.save(key_of(stage.server + query), written(record), 0)


async def test_a_person_signs_in_once_and_the_token_is_kept(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    async with authority() as stage:
        person = Person(stage.world)
        first = authorizer(stage, person, store=store)
        with patience():
            assert await first.token() is None
            token = await first.refused(UNAUTHORIZED)
            assert token.header() == "Bearer access-1"
            for more in ("", "?session={a|b}"):  # as servers of HTTP+SSE name their endpoints
                assert await first.headers("POST", stage.server + more) == Authorized(
                    headers={"authorization": "Bearer access-1"}, generation=token.generation
                )
            asked = len(stage.site.asked)
            found = await authorizer(stage, store=store).token()
        assert found is not None
        assert found.header() == "Bearer access-1"
        assert len(stage.site.asked) == asked
    assert [b"You can close" in page for page in person.pages] == [True]


async def test_sign_ins_of_one_process_at_one_port_take_turns() -> None:
    port = free_port()
    grant = CodeGrant(redirect_uri=f"http://127.0.0.1:{port}/callback")
    async with authority() as stage:
        settings = AuthorizationSettings(grant=grant)
        ones = iter([authorizer(stage, settings=settings) for _ in range(3)])
        tokens = await together(3, lambda: next(ones).refused(UNAUTHORIZED))
    assert len({each.header() for each in tokens}) == len(stage.world.opened) == 3
    assert await closed(port)


class Sized(MemoryTokens):
    """A store that is false as long as nothing is in it."""

    def __len__(self) -> int:
        return len(self._records)


async def test_a_store_in_which_nothing_is_yet_is_used() -> None:
    async with authority() as stage:
        store = Sized()
        with patience():
            await authorizer(stage, store=store).refused(UNAUTHORIZED)
        assert len(store) == 2  # the token, and the registration


async def test_twenty_refused_tasks_make_one_flow() -> None:
    async with authority() as stage:
        one = authorizer(stage)
        tokens = await together(20, lambda: one.refused(UNAUTHORIZED))
    assert {each.header() for each in tokens} == {"Bearer access-1"}
    assert (len(tokens), len(stage.world.opened), stage.count("/token")) == (20, 1, 1)


async def refusal(one: Authorizer) -> str:
    """The error of a refused request."""
    with pytest.raises(AuthorizationError) as raised:
        await one.refused(UNAUTHORIZED)
    return str(raised.value)


async def test_a_refusal_by_the_person_counts_for_all_that_wait() -> None:
    async with authority() as stage:
        person = Person(stage.world)
        person.changed = {"error": "access_denied", "code": None}
        one = authorizer(stage, person)
        errors = await together(5, lambda: refusal(one))
        assert len(stage.world.opened) == 1
        assert errors == ["authorization was refused (access_denied)"] * 5
        person.changed = {}
        with patience():  # later, another request may ask again
            assert (await one.refused(UNAUTHORIZED)).header() == "Bearer access-1"


async def test_the_error_of_a_flow_is_of_those_alone_that_were_refused_alike() -> None:
    async with authority() as stage:
        settings = AuthorizationSettings(ceiling=frozenset({"read", "write"}))
        stage.world.resource["scopes_supported"] = ["read"]
        one, ends = authorizer(stage, settings=settings), dict[str, str]()

        async def work(operation: str, scope: str) -> None:
            lines = (f'Bearer error="insufficient_scope", scope="{scope}"',)
            refused = Refused(status=403, lines=lines, generation=1, operation=operation)
            try:
                ends[operation] = (await one.refused(refused)).header()
            except AuthorizationError as error:
                ends[operation] = str(error)

        with patience():
            await one.refused(UNAUTHORIZED)
            async with anyio.create_task_group() as tasks:
                for operation, scope in (("a", "admin"), ("b", "write")):
                    tasks.start_soon(work, operation, scope)
                    await turns(1)
        over = "the server asks for scopes that are not allowed: admin"
        assert ends == {"a": over, "b": "Bearer access-2"}


async def test_the_first_of_several_errors_is_remembered_for_those_who_wait() -> None:
    async with authority() as stage:
        person = Person(stage.world)
        person.changed = {"error": "server_error", "code": None}
        one, errors = authorizer(stage, person), list[str]()

        async def work(operation: str, scope: str) -> None:
            lines = (f'Bearer scope="{scope}"',)
            refused = Refused(status=401, lines=lines, operation=operation)
            with pytest.raises(AuthorizationError) as raised:
                await one.refused(refused)
            errors.append(str(raised.value))

        with patience():
            async with anyio.create_task_group() as tasks:
                for operation, scope in (("1", "a"), ("2", "b"), ("3", "a"), ("2", "c")):
                    tasks.start_soon(work, operation, scope)
                    await turns(1)
        assert (len(stage.world.opened), len(errors)) == (2, 4)


async def test_twenty_tasks_make_one_refresh() -> None:
    async with authority() as stage:
        store = MemoryTokens()
        await expiring(stage, store)
        tokens = await together(20, authorizer(stage, store=store).token)
    assert [each and each.header() for each in tokens] == ["Bearer access-1"] * 20
    assert (stage.count("/token"), stage.world.reused) == (1, 0)


@pytest.mark.parametrize("later", [350, 500])
async def test_no_request_waits_while_a_person_is_asked_for_another_one(
    later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token comes into its last minute meanwhile, or to its end."""
    real, store = time.time, MemoryTokens()
    lines = ('Bearer error="insufficient_scope", scope="more"',)
    async with authority() as stage:
        await expiring(stage, store, 400)
        person = PatientPerson(stage.world)
        one = authorizer(stage, store=store, sign_in=person)
        await one.token()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.refused, Refused(status=403, lines=lines, generation=1))
            await person.reached.wait()
            monkeypatch.setattr(time, "time", lambda: real() + later)
            with patience():
                found = await one.token()
            person.go_on.set()
        assert found is not None
        assert found.header() == "Bearer access-0"
        assert [form["grant_type"] for form in stage.world.forms()] == ["authorization_code"]


async def test_a_good_token_waits_for_nobody_whom_another_process_asks(clock: Clock) -> None:
    store, found = MemoryTokens(), []
    async with authority() as stage:
        await expiring(stage, store)
        one = authorizer(stage, store=store)
        async with store.lock(key_of(stage.server)), anyio.create_task_group() as tasks:

            async def wait() -> None:
                found.append(await one.token())

            tasks.start_soon(wait)
            await until(lambda: one.machine.state is AuthState.LOCKING)
            await clock.skip(11)
            await until(lambda: found)
        assert [each and each.header() for each in found] == ["Bearer access-0"]
        assert stage.site.asked == []
        with patience():  # one that is refused waits for as long as it takes
            token = await one.refused(Refused(status=401, generation=1))
        assert token.header() == "Bearer access-1"


@pytest.mark.parametrize("what", ["store", "application"])
async def test_a_good_token_waits_for_nothing_that_may_ask_a_person(
    what: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asking, found = time.time, list[str](), []
    person = anyio.Event()
    person.set()

    async def ask(about: str) -> str:
        asking.append(about)
        await person.wait()
        return "the-assertion"

    class Locked(MemoryTokens):
        async def load(self, key: str) -> Stored:
            if what == "store":
                await ask(key)
            return await super().load(key)

    grant = CodeGrant() if what == "store" else AssertionGrant()
    async with authority() as stage:
        if what == "application":
            stage.world.token["refresh_token"] = None
        settings = AuthorizationSettings(grant=grant)
        one = authorizer(stage, settings=settings, store=Locked(), assertions=ask)
        with patience():
            first = await one.refused(UNAUTHORIZED)
        person = anyio.Event()
        asked = len(asking)
        monkeypatch.setattr(time, "time", lambda: real() + 3580)

        async def wait() -> None:
            found.append(await one.token())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: len(asking) > asked)
            await clock.skip(11)
            await until(lambda: found)
        assert found == [first]


@pytest.mark.parametrize("private", [False, True])
async def test_private_networks_are_asked_if_the_setting_says_so(private: bool) -> None:
    async def proxy(asked: Asked, stream: ByteStream) -> None:
        found = {"resource": "https://10.0.0.2/mcp", "authorization_servers": ["https://10.0.0.1"]}
        await stream.send(reply(msgspec.json.encode(found), 403))

    async with site(proxy) as running:
        through = Proxy(host="127.0.0.1", port=running.port)
        server = "https://10.0.0.2/mcp"
        settings = AuthorizationSettings(private=private)
        with patience():
            if not private:
                with pytest.raises(UrlRefused, match="the setting `private` allows"):
                    Authorizer(server, settings, proxy=through)
            else:
                one = Authorizer(server, settings, proxy=through)
                with pytest.raises(AuthorizationError, match="status 403"):
                    await one.refused(UNAUTHORIZED)
    assert [each.target for each in running.asked] == ["10.0.0.2:443"] * private


@pytest.mark.parametrize(("count", "left"), [(2, 50), (5, -50)])
async def test_processes_make_one_refresh(count: int, left: float, tmp_path: Path) -> None:
    async with authority() as stage:
        store = FileTokens(tmp_path / "tokens")
        await expiring(stage, store, left)
        processes = [child("token", str(store.folder), stage.server) for _ in range(count)]
        said = await race(processes)
        assert said == ["Bearer access-1\n"] * count
        assert (stage.count("/token"), stage.world.reused) == (1, 0)
        found = await store.load(key_of(stage.server))
        assert b'"refresh-1"' in (found.record or b"")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_has_random_texts_of_its_own(tmp_path: Path) -> None:
    said, _ = child("twins", str(tmp_path / "tokens"), "https://mcp.example/mcp").communicate(
        timeout=PATIENCE
    )
    assert len({*said.split()}) == 2


class Hanging(MemoryTokens):
    """A store that never answers."""

    async def load(self, key: str) -> Stored:
        await anyio.sleep_forever()
        raise AssertionError(key)


@pytest.mark.filterwarnings("ignore:coroutine .*_carry_out. was never awaited")
@pytest.mark.parametrize("rounds", range(1, 7))
def test_a_program_that_ends_as_a_flow_begins_is_not_held_up(rounds: int) -> None:
    async def left() -> int:
        """Number of tasks that a cancellation of all, as of `asyncio.run`, does not end."""
        one = Authorizer("https://mcp.example/mcp", store=Hanging())
        task = asyncio.create_task(one.refused(UNAUTHORIZED))
        for _ in range(rounds):
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for each in tasks:
            each.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        found = sum(not each.done() for each in tasks)
        task.cancel()  # again: else it would hold up this test as well
        return found

    assert asyncio.run(left()) == 0
    gc.collect()  # the warning of a flow that never began comes here, not in another test


PLACES = ["/.well-known/oauth-protected-resource/mcp", "/register", "/token", "person", "lock"]


@pytest.mark.parametrize("place", PLACES)
async def test_a_cancelled_flow_leaves_no_lock_and_no_listener(place: str, tmp_path: Path) -> None:
    store, other = FileTokens(tmp_path / "tokens"), FileTokens(tmp_path / "tokens")
    reached, cancelled, hanging, ports = anyio.Event(), anyio.Event(), True, []

    async def hang(asked: Asked, stream: ByteStream) -> None:
        if hanging and asked.target == place:
            reached.set()
            await (cancelled.wait() if place == "/token" else stream.receive())

    def no_browser(url: str) -> bool:
        redirect = dict(parse_qsl(url.partition("?")[2]))["redirect_uri"]
        ports.append(int(redirect.rpartition(":")[2].partition("/")[0]))
        return place != "person" and person.open(url)

    async with authority(hang) as stage:
        person, key = Person(stage.world), key_of(stage.server)
        one = authorizer(stage, store=store, sign_in=BrowserSignIn(no_browser, quiet))
        with patience():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.refused, UNAUTHORIZED)
                if place == "lock":
                    await _held(other, key, tasks.cancel_scope)
                else:
                    await until(lambda: reached.is_set() or (place == "person" and ports))
                    tasks.cancel_scope.cancel()
                cancelled.set()  # the code is used up by now: its token is waited for
            async with other.lock(key):
                pass
            for port in ports:
                assert await closed(port)
            hanging, before = False, place
            place = ""
            token = await one.refused(UNAUTHORIZED)
        assert token.header().startswith("Bearer access-"), before


@pytest.mark.parametrize("place", ["/register", "/token"])
@pytest.mark.parametrize("others", [1, 2])
async def test_a_flow_goes_on_while_somebody_waits_for_it(
    place: str, others: int, tmp_path: Path
) -> None:
    """The first of several tasks is cancelled, and at last, with two others, all of them."""
    store, other = FileTokens(tmp_path / "tokens"), FileTokens(tmp_path / "tokens")
    reached, go_on, around, said = anyio.Event(), anyio.Event(), [], []

    async def hang(asked: Asked, stream: ByteStream) -> None:
        if asked.target == place:
            reached.set()
            await go_on.wait()

    @contextmanager
    def noted() -> Iterator[None]:
        around.append("begun")
        yield
        around.append("over")

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            said.append((name, (await one.refused(UNAUTHORIZED)).header()))

    async with authority(hang) as stage:
        one, key = authorizer(stage, store=store, around_flows=noted), key_of(stage.server)
        scopes = [anyio.CancelScope() for _ in range(others + 1)]
        with patience():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, "first", scopes[0])
                await reached.wait()
                for scope in scopes[1:]:
                    tasks.start_soon(wait, "other", scope)
                await turns()
                scopes[0].cancel()
                await turns()
                assert around == ["begun"]
                if others == 2:
                    for scope in scopes[1:]:
                        scope.cancel()
                    if place == "/register":
                        await until(lambda: around == ["begun"] and not one.machine.need)
                go_on.set()
            async with other.lock(key):
                pass
            if others == 1:
                assert said == [("other", "Bearer access-1")]
                assert around == ["begun", "over"]
            else:
                assert said == []
                assert not await closed_ports(stage)
                assert (await one.refused(UNAUTHORIZED)).header() == "Bearer access-1"
                # A code that is redeemed is used up: the token is kept, though nobody waits.
                again = ["begun"] if place == "/register" else []
                assert around == ["begun", *again, "over"]
    assert stage.count("/token") == 1


class HangingTokens(MemoryTokens):
    """Store that says when a record is saved, and does so when it may."""

    def __init__(self, reached: anyio.Event, go_on: anyio.Event) -> None:
        super().__init__()
        self.reached, self.go_on = reached, go_on

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        if version:
            self.reached.set()
            await self.go_on.wait()
        return await super().save(key, record, version)


class PatientPerson(BrowserSignIn):
    """Sign-in that says when it begins, and ends when it may."""

    def __init__(self, world: World) -> None:
        super().__init__(Person(world).open, quiet)
        self.reached, self.go_on = anyio.Event(), anyio.Event()
        self.asked = 0

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        self.asked += 1
        self.reached.set()
        await self.go_on.wait()
        return await super().ask(need, listener)


@dataclass
class Refresh:
    """A refresh that hangs until ``go_on``, and whose task was cancelled."""

    stage: Authority
    one: Authorizer
    store: MemoryTokens
    person: PatientPerson
    go_on: anyio.Event

    async def ended(self) -> None:
        await until(lambda: self.one.machine.need is None)


@asynccontextmanager
async def refreshing(place: str, refused: Refused | None = None) -> AsyncIterator[Refresh]:
    """Cancel a refresh that hangs at its request, at the store, or at both: there to the end.

    It is that of a refused request, or of one about to be sent.
    """
    reached, go_on, end = anyio.Event(), anyio.Event(), anyio.Event()

    async def hang(asked: Asked, stream: ByteStream) -> None:
        if asked.target == place.partition(",")[0]:
            reached.set()
            await go_on.wait()

    async with authority(hang) as stage:
        store = {
            "/token": MemoryTokens(),
            "save": HangingTokens(reached, go_on),
            "/token, save": HangingTokens(reached, end),
        }[place]
        await expiring(stage, store, 50 if refused is None else -1)
        person = PatientPerson(stage.world)
        settings = AuthorizationSettings(fetch_timeout=HOUR, user_timeout=2 * HOUR)
        one = authorizer(stage, store=store, sign_in=person, settings=settings)
        with patience():
            async with anyio.create_task_group() as tasks:
                work = one.token if refused is None else partial(one.refused, refused)
                tasks.start_soon(_cancelled_when, reached, work)
                await reached.wait()
                await turns()
                try:
                    yield Refresh(stage, one, store, person, go_on)
                finally:
                    go_on.set()
                    end.set()
            async with store.lock(key_of(stage.server)):
                pass


async def _cancelled_when(
    reached: anyio.Event, work: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await reached.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("place", ["/token", "save"])
async def test_a_refresh_that_nobody_waits_for_is_stored(place: str) -> None:
    async with refreshing(place) as hanging:
        assert hanging.one.machine.settling
        hanging.go_on.set()
        await hanging.ended()
        found = await hanging.store.load(key_of(hanging.stage.server))
    assert b'"refresh-1"' in (found.record or b"")
    assert hanging.one.machine.state is AuthState.READY


@pytest.mark.parametrize("place", ["/token", "save", "/token, save"])
async def test_a_refresh_that_nobody_waits_for_ends_with_its_time(place: str, clock: Clock) -> None:
    async with refreshing(place) as hanging:
        await clock.skip(HOUR - 60)
        assert hanging.one.machine.settling
        if place == "/token, save":
            hanging.go_on.set()
            await until(lambda: hanging.one.machine.state is AuthState.SAVING)
        await clock.skip(61)
        await hanging.ended()
    assert hanging.one.machine.state is AuthState.FAILED


async def test_nobody_is_asked_for_a_token_that_nobody_waits_for() -> None:
    async with refreshing("/token", Refused(status=401)) as hanging:
        hanging.stage.world.refreshable.clear()
        hanging.go_on.set()
        await hanging.ended()
    assert [each.target for each in hanging.stage.site.asked] == ["/token"]
    assert str(hanging.one.machine.error) == "the authorization ended: it was cancelled"


async def test_whoever_comes_while_a_refresh_ends_has_all_the_time(clock: Clock) -> None:
    """The refresh is refused, and a person signs in, who takes more time than is left for it."""
    found = []
    async with refreshing("/token") as hanging:

        async def wait() -> None:
            refused = Refused(status=401, generation=hanging.one.generation)
            found.append((await hanging.one.refused(refused)).header())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await turns()
            hanging.stage.world.refreshable.clear()
            hanging.go_on.set()
            await hanging.person.reached.wait()
            await clock.skip(HOUR + 1)
            hanging.person.go_on.set()
    assert found == ["Bearer access-1"]
    assert hanging.person.asked == 1


async def closed_ports(stage: Authority) -> list[int]:
    """Ports of callbacks that are open still."""
    opened = [dict(parse_qsl(url.partition("?")[2])) for url in stage.world.opened]
    ports = [int(each["redirect_uri"].rpartition(":")[2].partition("/")[0]) for each in opened]
    return [port for port in ports if not await closed(port)]


async def _held(store: FileTokens, key: str, scope: anyio.CancelScope) -> None:
    async with store.lock(key):
        await turns()
        scope.cancel()


async def test_nobody_is_waited_for_without_end(clock: Clock) -> None:
    opened: list[str] = []

    def opener(url: str) -> bool:
        opened.append(url)
        return True

    async with authority() as stage:
        one = authorizer(stage, sign_in=BrowserSignIn(opener, quiet))

        async def pass_time() -> None:
            await until(lambda: opened)
            await clock.skip(301)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_time)
            assert await refusal(one) == "nobody signed in within 300 s"


def is_signed(token: str, key: PrivateKey) -> bool:
    signed, _, signature = token.rpartition(".")
    return verify(key.jwk, "ES256", signed.encode(), urlsafe_b64decode(signature + "=="))


async def test_a_client_signs_for_itself() -> None:
    key = PrivateKey.generate("ES256")
    settings = AuthorizationSettings(
        grant=ClientCredentialsGrant(),
        client=ClientIdentity(client_id="me", signing=SigningKey(algorithm="ES256")),
    )
    async with authority() as stage:
        stage.world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
        with patience():
            one = authorizer(stage, settings=settings, keys={"client": key})
            assert (await one.refused(UNAUTHORIZED)).header() == "Bearer access-1"
            (form,) = stage.world.forms()
            assert is_signed(form["client_assertion"], key)
            with pytest.raises(AuthorizationError, match="no private key 'client'"):
                await authorizer(stage, settings=settings).refused(UNAUTHORIZED)


async def test_each_request_has_a_proof_of_its_own() -> None:
    key = PrivateKey.generate("ES256")
    signing = SigningKey(algorithm="ES256", key="dpop")
    settings = AuthorizationSettings(dpop=DpopKey(jwk=key.jwk, signing=signing))
    async with authority() as stage:
        stage.world.token["token_type"] = "DPoP"
        one = authorizer(stage, settings=settings, keys={"dpop": key})
        with patience():
            await one.refused(Refused(status=401, lines=("DPoP",)))
            proofs = []
            for more in ("", "?session={a|b}"):  # as servers of HTTP+SSE name their endpoints
                headers = (await one.headers("POST", stage.server + more)).headers
                assert headers["authorization"] == "DPoP access-1"
                assert is_signed(headers["dpop"], key)
                proofs.append(claims_of(headers["dpop"]))
    assert {(each["htm"], each["htu"]) for each in proofs} == {("POST", stage.server)}
    assert proofs[0]["jti"] != proofs[1]["jti"]


async def test_nobody_who_is_cancelled_waits_for_a_key_that_asks_a_person() -> None:
    key, person, signing = PrivateKey.generate("ES256"), threading.Event(), list[str]()

    class Device:
        def sign(self, data: bytes) -> bytes:
            # The end of a program waits for all threads but daemons.
            signing.append("asked by a daemon" if threading.current_thread().daemon else "asked")
            person.wait(PATIENCE)
            signing.append("answered")
            return key.sign(data)

    bound = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
    async with authority() as stage:
        stage.world.token["token_type"] = "DPoP"
        settings, store = AuthorizationSettings(dpop=bound), MemoryTokens()
        one = authorizer(stage, settings=settings, keys={"dpop": key}, store=store)
        await one.refused(Refused(status=401, lines=("DPoP",)))
        other = authorizer(stage, settings=settings, keys={"dpop": Device()}, store=store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.headers, "POST", stage.server)
            await until(lambda: signing)
            tasks.cancel_scope.cancel()
        assert signing == ["asked by a daemon"]
        person.set()


@pytest.mark.skipif(os.name != "posix", reason="a signal is sent to the thread")
def test_an_interrupt_waits_for_no_store_that_asks_a_person() -> None:
    """Trio raises it in the main task, which may wait for a token there."""
    main_thread, asked = threading.get_ident(), list[str]()

    class Asking(MemoryTokens):
        async def load(self, key: str) -> Stored:
            asked.append("asked")
            interrupt = partial(signal.pthread_kill, main_thread, signal.SIGINT)
            threading.Timer(0.1, interrupt).start()  # once the event loop is at rest
            await anyio.sleep(PATIENCE)
            asked.append("answered")
            return await super().load(key)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(Authorizer("https://mcp.example/mcp", store=Asking(), proxy=None).prepare)
    finally:
        signal.signal(signal.SIGINT, before)
    assert asked == ["asked"]


async def test_assertions_are_asked_for() -> None:
    issuers: list[str] = []

    async def assertion(issuer: str) -> str:
        issuers.append(issuer)
        return "the-jwt"

    def failing(_: str) -> str:
        raise RuntimeError("secret words")

    settings = AuthorizationSettings(
        grant=AssertionGrant(), client=ClientIdentity(client_id="me", client_secret="s")
    )
    async with authority() as stage:
        with patience():
            one = authorizer(stage, settings=settings, assertions=assertion)
            await one.refused(UNAUTHORIZED)
            assert issuers == [stage.site.url]
            assert stage.world.forms()[0]["assertion"] == "the-jwt"
            one = authorizer(stage, settings=settings, assertions=failing)
            with pytest.raises(AuthorizationError, match=r"^obtain: RuntimeError$"):
                await one.refused(UNAUTHORIZED)
            with pytest.raises(AuthorizationError, match="give `assertions`"):
                await authorizer(stage, settings=settings).refused(UNAUTHORIZED)


class Nothing:
    """A sign-in, a store and a key of an application that return nothing."""

    async def ask(self, need: OpenUrl, listener: object) -> Any:
        return None

    async def load(self, key: str) -> Any:
        return None

    async def save(self, key: str, record: bytes | None, version: int) -> Any:
        return None

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        yield

    def sign(self, data: bytes) -> Any:
        return None


class Stuck(MemoryTokens):
    """A store that cannot release its locks."""

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("no place")


class Away:
    """Nobody, who is asked and does not answer."""

    def __init__(self) -> None:
        self.asked = anyio.Event()

    async def ask(self, need: OpenUrl, listener: object) -> Any:
        self.asked.set()
        await anyio.sleep(HOUR)


SIGNED = AuthorizationSettings(
    grant=ClientCredentialsGrant(),
    client=ClientIdentity(client_id="me", signing=SigningKey(algorithm="ES256", key="mine")),
)
ASSERTED = AuthorizationSettings(grant=AssertionGrant(), client=ClientIdentity(client_id="me"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sign_in": Nothing()}, "the authorization failed: LocalProtocolError"),
        ({"store": Nothing()}, "the authorization failed: LocalProtocolError"),
        ({"settings": SIGNED, "keys": {"mine": Nothing()}}, "key 'mine' has made no signature"),
        ({"settings": ASSERTED, "assertions": lambda _: None}, "`assertions` has returned no text"),
        ({"settings": ASSERTED, "assertions": lambda _: ""}, "`assertions` has returned no text"),
    ],
)
async def test_a_mistake_of_the_application_ends_the_flow(
    options: dict[str, Any], why: str
) -> None:
    """And holds up neither those that wait for it nor the next one."""
    async with authority() as stage:
        stage.world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt", "none"]
        one = authorizer(stage, **options)
        for _ in range(2):
            assert why in await refusal(one)


async def test_a_lock_that_cannot_be_released_holds_up_nobody() -> None:
    person, ends = Away(), list[BaseException]()

    async def ask() -> None:
        try:
            await one.refused(UNAUTHORIZED)
        except BaseException as error:
            ends.append(error)
            raise

    async with authority() as stage:
        one = authorizer(stage, store=Stuck(), sign_in=person)
        with patience():  # nor ends it the tasks of others
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await person.asked.wait()
                tasks.cancel_scope.cancel()
    assert len(ends) == 1


async def test_a_store_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with authority() as stage:
        one = authorizer(stage, store=FileTokens(tmp_path / "file"))
        with patience(), pytest.raises(AuthorizationError, match="cannot be kept"):
            await one.token()
        assert "cannot be kept" in await refusal(one)


async def test_logs_hold_notes_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with authority() as stage:
        stage.world.token["expires_in"] = -1
        store = MemoryTokens()
        one = authorizer(stage, store=store, query="?key=marked")
        with patience():
            token = await one.refused(UNAUTHORIZED)
        (form,) = stage.world.forms()
        found = await store.load(key_of(f"{stage.server}?key=marked"))
    assert found.record
    assert f"{stage.server}: the lifetime of the token is not sound" in caplog.text
    assert "marked" not in caplog.text
    shown = caplog.text + repr((one.machine, token, found, stage.site.url))
    shown += "".join(str(vars(record)) for record in caplog.records if "mcpcore" in record.name)
    for secret in ("access-1", "refresh-1", form["code"], form["code_verifier"]):
        assert secret not in shown
