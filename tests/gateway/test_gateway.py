"""A gateway end to end: clients of both eras before servers of both eras, over their transports."""

import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import Callbacks, Client, PeerError, Server, connect
from mcpcore.engine.config import Negotiation, Role
from mcpcore.engine.events import Ready
from mcpcore.engine.peer import Peer
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.policy.breaker import BreakerSettings
from mcpcore.policy.rates import Activity, Rate, RateLimits
from mcpcore.policy.retrying import RetrySettings
from mcpcore.relay.link import Audience, UpstreamLink
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore.spec.revisions import parse_revisions
from mcpcore.spec.types.base import Icon, Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.gateway.upstreams import UpstreamAddress
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.serve.wsgi import wsgi_app
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import (
    HttpTarget,
    MemoryTarget,
    StdioTarget,
    Target,
    parse_target,
)
from tests.clock import patience
from tests.gateway.backend import backend
from tests.transports.served import ANY_PORT, Served, served
from tests.transports.server.test_handler_exits import until
from tests.warm import PYTHON

LEGACY, MODERN = "2025-11-25", "2026-07-28"
ERAS = (LEGACY, MODERN)
ROOT = str(Path(__file__).parents[2])
PROGRAM = str(Path(__file__).with_name("backend.py"))
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]


def command(name: str, revision: str) -> StdioTarget:
    """The server as a program."""
    return StdioTarget((*PYTHON, PROGRAM, name, revision), env={"PYTHONPATH": ROOT})


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def answer(params: ElicitParams) -> ElicitResult:
    """Answer the question of the server."""
    return ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def gateway(
    targets: Mapping[str, Any], settings: GatewaySettings | None = None, **more: Any
) -> AsyncIterator[Served]:
    """Serve a gateway before servers."""
    made = Gateway(
        targets, settings=settings, revisions=more.pop("revisions", parse_revisions(ERAS))
    )
    served_with = more.pop("settings_of", None)
    async with served(made, settings=served_with, **more) as front:
        yield front


def text(result: CallToolResult) -> str:
    """Return the text of a result."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def talk(client: Client) -> None:
    """Use what the server has."""
    assert {tool.name for tool in await client.tools()} >= {"echo", "ask", "count"}
    result = await client.call_tool("echo", {"text": "hi"})
    assert text(result) == "backend: hi"
    steps: list[float] = []
    await client.call_tool("count", progress=lambda done, *_: steps.append(done))
    assert steps == [1, 2]
    result = await client.call_tool("ask")
    assert text(result) == "Hello Ada"
    contents = (await client.read_resource("file:///backend")).contents
    assert contents[0].text == "contents"
    with pytest.raises(PeerError, match="nothing"):
        await client.call_tool("nothing")


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize("up", ["http", "ws", "tcp", "stdio", "memory"])
async def test_four_cells(client: str, server: str, up: str) -> None:
    async with AsyncExitStack() as stack:
        target: Target
        if up == "stdio":
            target = command("backend", server)
        elif up == "memory":
            target = MemoryTarget(backend(), RuntimeSettings(revisions=parse_revisions([server])))
        else:
            binding: dict[str, Any] = {up: ANY_PORT}
            behind = await stack.enter_async_context(
                served(backend(), revisions=[server], **binding)
            )
            target = parse_target(behind.url)
        front = await stack.enter_async_context(
            gateway({"only": target}, http=ANY_PORT, ws=ANY_PORT, tcp=ANY_PORT)
        )
        for url in front.urls:
            callbacks = Callbacks(elicitation=answer)
            async with connect(url, revision=client, callbacks=callbacks) as connected:
                await talk(connected)


async def test_work_that_fails_does_not_end_the_gateway(caplog: pytest.LogCaptureFixture) -> None:
    made = Gateway({"only": MemoryTarget(backend())})

    def fail() -> None:
        raise RuntimeError("a fault")

    async with served(made) as front, connect(front.url) as client:
        made.routes[None].relay.later(0.0, fail)
        assert text(await client.call_tool("echo", {"text": "hi"})) == "backend: hi"
        await until(lambda: "a fault" in caplog.text)
        assert text(await client.call_tool("echo", {"text": "hi"})) == "backend: hi"


async def test_an_item_that_is_left_out_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    twins = {name: MemoryTarget(backend(), RuntimeSettings()) for name in ("one", "other")}
    settings = GatewaySettings(relay=RelaySettings(naming=Naming.NEVER))
    async with gateway(twins, settings, http=ANY_PORT) as front, connect(front.url) as client:
        for _ in range(2):
            assert len([tool for tool in await client.tools() if tool.name == "echo"]) == 1
    told = [each.getMessage() for each in caplog.records if "'echo'" in each.getMessage()]
    assert told == ["the tool 'echo' of 'other' is left out: 'one' has one of that name"]


def alive(process: int) -> bool:
    """Return True if a process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(process: int) -> None:
    """Wait for the end of a process."""
    with patience():
        while alive(process):  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)


async def process_of(client: Client, tool: str = "process") -> int:
    return int(text(await client.call_tool(tool)))


async def test_legacy_sessions_have_a_process_each_and_leave_none() -> None:
    async with (
        gateway({"only": command("a", LEGACY)}, http=ANY_PORT) as front,
        connect(front.url, revision=LEGACY) as one,
    ):
        first = await process_of(one)
        assert await process_of(one) == first
        async with connect(front.url, revision=LEGACY) as other:
            second = await process_of(other)
        await gone(second)
        assert alive(first)
        assert first != second
    await gone(first)


async def test_modern_clients_share_a_process_that_ends_when_idle() -> None:
    settings = GatewaySettings(relay=RelaySettings(link_idle=0.2))
    async with (
        gateway({"only": command("a", MODERN)}, settings, http=ANY_PORT) as front,
        connect(front.url) as one,
        connect(front.url) as other,
    ):
        first = await process_of(one)
        assert await process_of(other) == first
        await gone(first)
        assert await process_of(other) != first


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("shared", [True, False])
async def test_who_shares_a_process_can_be_set(server: str, shared: bool) -> None:
    settings = GatewaySettings(shared={"only": shared})
    async with (
        gateway({"only": command("a", server)}, settings, http=ANY_PORT) as front,
        connect(front.url, revision=LEGACY) as one,
        connect(front.url, revision=LEGACY) as other,
    ):
        first, second = await process_of(one), await process_of(other)
        assert (first == second) is shared
        assert await process_of(one) == first


async def test_processes_are_limited() -> None:
    settings = GatewaySettings(
        processes_per_server=1,
        breaker=BreakerSettings(consecutive=2),
    )
    async with (
        gateway({"only": command("a", LEGACY)}, settings, http=ANY_PORT) as front,
        connect(front.url, revision=LEGACY) as one,
        connect(front.url, revision=LEGACY) as other,
    ):
        first = await process_of(one)
        for _ in range(3):  # which says nothing of the server
            with pytest.raises(PeerError, match=r"only: .*busy: 1 processes run already"):
                await process_of(other)
        assert await process_of(one) == first


async def test_a_command_that_starts_when_it_is_needed() -> None:
    made = Gateway({"a": command("a", MODERN)}, settings=GatewaySettings(lazy=True))
    there = made.routes[None].upstreams["a"]
    async with served(made, http=ANY_PORT) as front, connect(front.url) as one:
        assert one.revision.modern
        assert not there.conversations
        assert await process_of(one) == await process_of(one)
        assert len(there.conversations) == 1


async def test_a_process_that_hangs_at_its_start_does_not_keep_others_from_starting() -> None:
    hung = StdioTarget((sys.executable, "-c", "import time; time.sleep(1000)"))
    made = Gateway(
        {"hung": hung, "good": command("good", LEGACY)},
        settings=GatewaySettings(starting=1, start_time=0.1),
    )
    async with served(made, http=ANY_PORT) as front, connect(front.url, revision=MODERN) as client:
        assert text(await client.call_tool("good__echo", {"text": "hi"})) == "good: hi"
        assert made.routes[None].upstreams["hung"].addresses[""].failures == 0  # its start goes on


async def test_the_end_of_a_process_ends_its_calls_and_the_next_call_starts_another() -> None:
    async with (
        gateway({"only": command("a", MODERN)}, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        first = await process_of(client)
        with pytest.raises(PeerError, match=r"only: .*exited with code 3"):
            await client.call_tool("crash")
        assert await process_of(client) != first


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of a gateway."""
    records = [each for each in caplog.records if each.name == "mcpcore.gateway"]
    return [each.getMessage() for each in records if each.levelname == "WARNING"]


DYING = "import sys; print('a \\x1bsecret', file=sys.stderr); sys.exit(4)"


@pytest.mark.parametrize(
    ("words", "said", "logged"),
    [
        ((sys.executable, "-c", DYING), "exited with code 4", "exited with code 4"),
        (
            ("/nowhere/at-all",),
            "command not found: at-all",
            "command not found: /nowhere/at-all",
        ),
    ],
)
async def test_a_process_that_ends_at_once_is_an_error_at_once(
    words: tuple[str, ...], said: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one warning, with its last words."""
    settings = GatewaySettings(start_time=1000.0, first_delay=1000.0, max_delay=1000.0)
    async with (
        gateway({"only": StdioTarget(words)}, settings, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        with pytest.raises(PeerError) as refused:
            await process_of(client)
    error = str(refused.value)
    assert re.match(f"only: the server cannot be reached: .*{said}; the next attempt", error)
    assert "secret" not in error
    [warning] = warnings(caplog)
    assert re.match(f"only: cannot be reached: .*{logged}", warning)
    assert ("ends with: a ?secret" in warning) is (DYING in words)


async def test_a_call_that_may_be_repeated_is_sent_again_to_the_next_process(
    tmp_path: Path,
) -> None:
    settings = GatewaySettings(retry=RetrySettings(first_delay=0.01))
    async with (
        gateway({"only": command("a", MODERN)}, settings, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        arguments = {"file": str(tmp_path / "crashed")}
        with pytest.raises(PeerError, match="exited with code 3"):  # nothing tells that it may
            await client.call_tool("crash_once", arguments)
        await client.tools()
        (tmp_path / "crashed").unlink()
        result = await client.call_tool("crash_once", arguments)
        assert text(result) == "done"


async def test_the_circuit_breaker_refuses_calls_to_a_server_that_keeps_failing() -> None:
    settings = GatewaySettings(breaker=BreakerSettings(consecutive=2), retry=None)
    async with (
        gateway({"only": command("a", MODERN)}, settings, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        for _ in range(2):
            with pytest.raises(PeerError, match="exited with code 3"):
                await client.call_tool("crash")
        with pytest.raises(PeerError, match=r"only: the server keeps failing.*circuit breaker"):
            await process_of(client)


async def test_rates_are_limited() -> None:
    rates = RateLimits({Activity.TOOLS: Rate(1, per=1000.0)})
    served_with = ServeSettings(runtime=RuntimeSettings(limiter=rates))
    async with (
        gateway({"only": command("a", MODERN)}, http=ANY_PORT, settings_of=served_with) as front,
        connect(front.url) as client,
    ):
        await process_of(client)
        with pytest.raises(PeerError, match="busy: too many tool calls"):
            await process_of(client)


@pytest.mark.parametrize("make", [asgi_app, wsgi_app])
async def test_a_gateway_is_no_application_of_another_web_server(make: Any) -> None:
    with pytest.raises(TypeError, match=r"Gateway: it is served with serve\(\) or run\(\)"):
        make(Gateway({"only": MemoryTarget(backend())}))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({}, ValueError, "needs a server"),
        ("http://127.0.0.1:1/mcp", TypeError, "targets by name, not a str"),
        (["http://127.0.0.1:1/mcp"], TypeError, "targets by name, not a list"),
    ],
)
def test_a_gateway_is_given_targets_by_name(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Gateway(given)


CHALLENGE = 'Bearer resource_metadata="https://of-the-server.example/metadata", scope="x"'


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("status", "challenge"), [(401, CHALLENGE), (403, CHALLENGE), (403, None)])
async def test_a_server_that_refuses_the_gateway_is_an_error_of_ours(
    client: str, server: str, status: int, challenge: str | None
) -> None:
    """Its challenge is for the gateway: a client that followed it would show a token to another.

    Its words are, too: it may repeat the credentials.
    """
    trusted = True

    def look(request: HttpRequest) -> Verdict:
        refusal = Refusal(status=status, challenge=challenge, message="no key of-the-server")
        return Principal("gateway") if trusted else refusal

    behind = ServeSettings(http_link=HttpServerSettings(authenticate=look))
    async with (
        served(backend(), revisions=[server], http=ANY_PORT, settings=behind) as origin,
        gateway({"only": parse_target(origin.url)}, http=ANY_PORT) as front,
        connect(front.url, revision=client) as connected,
    ):
        assert await connected.tools()
        trusted = False
        with pytest.raises(PeerError, match=f"^only: .*{status}") as refused:
            await connected.call_tool("echo", {"text": "hi"})
        assert refused.value.error.code == INTERNAL_ERROR
        assert "of-the-server" not in repr(refused.value.error)


async def test_several_servers_have_namespaces_and_one_that_is_away_delays_no_other() -> None:
    settings = GatewaySettings(start_time=2.0)
    away = parse_target("http://127.0.0.1:9/mcp")
    targets = {"a": command("a", LEGACY), "b": command("b", MODERN), "c": away}
    async with gateway(targets, settings, http=ANY_PORT) as front:
        for revision in ERAS:
            callbacks = Callbacks(elicitation=answer)
            async with connect(front.url, revision=revision, callbacks=callbacks) as client:
                names = {tool.name for tool in await client.tools()}
                assert {"a__echo", "b__echo"} <= names
                for name in "ab":
                    result = await client.call_tool(f"{name}__echo", {"text": "hi"})
                    assert text(result) == f"{name}: hi"
                    result = await client.call_tool(f"{name}__ask")
                    assert text(result) == "Hello Ada"
                with pytest.raises(PeerError, match="c: the server cannot be reached"):
                    await client.call_tool("c__echo", {"text": "hi"})


async def test_a_server_of_this_process_whose_lifespan_fails_cannot_be_reached() -> None:
    @asynccontextmanager
    async def fails(_: object) -> AsyncIterator[None]:
        await anyio.open_file("/no/such/database")
        yield

    settings = GatewaySettings(start_time=1.0)
    target = MemoryTarget(Server("here", lifespan=fails))
    async with (
        gateway({"only": target}, settings, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        with pytest.raises(PeerError, match=r"only: .*the lifespan of the server has failed"):
            await client.call_tool("echo", {"text": "hi"})


@pytest.mark.parametrize(
    ("target", "text", "told"),
    [
        (HttpTarget("https://in.example/mcp"), "in.example:443 is gone", "its address is gone"),
        (HttpTarget("https://in.example/mcp"), "not for 'in.example'.", "not for its address."),
        (HttpTarget("https://in.example/mcp"), "'other'", "'other'"),
        (StdioTarget(("/home/ann/run", "x")), "not found: /home/ann/run", "not found: run"),
        (StdioTarget(("run",), cwd="/home/ann"), "not found: /home/ann", "not found: ann"),
        (StdioTarget(("run",)), "not found: run", "not found: run"),
    ],
)
def test_no_text_tells_clients_where_a_server_is(target: Target, text: str, told: str) -> None:
    assert UpstreamAddress(target, Negotiation.AUTO).hidden(text) == told


@pytest.mark.parametrize("scheme", ["http", "sse+http", "ws", "tcp", "unix"])
async def test_clients_are_not_told_where_a_server_is(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mcpcore.gateway")
    place = "/no/such" if scheme == "unix" else "127.0.0.1:1"
    target = parse_target(f"{scheme}://{place}")
    settings = GatewaySettings(retry=None)
    async with (
        gateway({"far": target}, settings, http=ANY_PORT) as front,
        connect(front.url) as client,
    ):
        with pytest.raises(PeerError) as refused:
            await client.call_tool("add")
    assert str(refused.value).startswith("far: the server cannot be reached: ")
    assert place not in str(refused.value)
    [warning] = warnings(caplog)
    assert warning.startswith("far: cannot be reached: ")
    assert place in warning


@pytest.mark.parametrize("client", ERAS)
async def test_clients_learn_what_a_server_declares_that_comes_late(client: str) -> None:
    here = anyio.Event()

    @asynccontextmanager
    async def wait(_: Server) -> AsyncIterator[None]:
        await here.wait()
        yield

    late = Server("late", instructions="Add.", lifespan=wait)
    late.tool(add)
    settings = GatewaySettings(start_time=0.01)
    async with gateway(
        {"late": MemoryTarget(late)}, settings, http=ANY_PORT, tcp=ANY_PORT
    ) as front:
        for url in front.urls:
            async with connect(url, revision=client) as first:
                assert first.instructions == ("Add." if here.is_set() else None)
                here.set()
                await first.call_tool("add", {"a": 1, "b": 2})
            async with connect(url, revision=client) as second:
                assert (second.instructions, second.server_info) == ("Add.", late.info)
                assert second.capabilities.prompts is None


@pytest.mark.parametrize(
    ("ttls", "told"), [((60_000, 5_000), 5_000), ((60_000, None), 60_000), ((None,), 3_600_000)]
)
async def test_clients_keep_what_servers_declare_no_longer_than_any_of_them_allows(
    ttls: tuple[int | None, ...], told: int
) -> None:
    """One of the legacy era (None) allows nothing and forbids nothing."""
    targets = {f"s{number}": MemoryTarget(backend()) for number in range(len(ttls))}
    route = Gateway(targets).routes[None]
    for behind, ttl in zip(route.upstreams.values(), ttls, strict=True):
        [revision] = parse_revisions([LEGACY if ttl is None else MODERN])
        declared = ServerCapabilities()
        behind.relayed.greeting = Ready(revision, None, declared, ttl_ms=ttl or 0)
    assert route.config(RuntimeSettings()).discover_ttl_ms == told


@pytest.mark.parametrize("revision", ERAS)
async def test_icons_of_a_server_that_clients_have_to_refuse_are_left_out(revision: str) -> None:
    """An endpoint would not declare them."""
    route = Gateway({"only": MemoryTarget(backend())}).routes[None]
    settings = RuntimeSettings()
    front = Peer(Role.SERVER, route.config(settings))
    route.runtime(front, settings)
    target = route.relay.targets["only"]
    link = UpstreamLink(target, Audience(), (), route.relay.used)
    icons = [Icon(src="http://example.com/a.png"), Icon(src="https://example.com/b.png")]
    info = Implementation(name="only", version="1", icons=icons)
    [row] = parse_revisions([revision])
    ready = Ready(row, info, ServerCapabilities())
    route.relay.from_server(link, ready, now=0.0, wall=0.0)
    assert route.config(settings).info.icons == icons[1:]
    assert route.config(settings).has_tool == route.relay.lists.has_mirrored


@pytest.mark.parametrize("client", ERAS)
async def test_more_than_a_hundred_calls_are_with_a_server_at_once(client: str) -> None:
    """All clients share the conversation with a modern server, and none waits for another."""
    server, many, all_there = Server("gathering"), 130, anyio.Event()
    there = 0

    @server.tool
    async def gather() -> str:
        """Answer once all are there."""
        nonlocal there
        there += 1
        if there == many:
            all_there.set()
        await all_there.wait()
        return "here"

    async with (
        served(server, http=ANY_PORT, revisions=[MODERN]) as behind,
        gateway({"only": parse_target(behind.url)}, ws=ANY_PORT) as front,
        connect(front.url, revision=client) as connected,
    ):
        with patience():
            async with anyio.create_task_group() as group:
                for _ in range(many):
                    group.start_soon(connected.call_tool, "gather")
    assert there == many


async def test_calls_to_a_process_that_is_being_started_are_made() -> None:
    """The first call of a session starts it; the others come before it can be written to."""
    said: list[str] = []

    async def call(client: Client, number: int) -> None:
        said.append(text(await client.call_tool("echo", {"text": str(number)})))

    async with (
        gateway({"only": command("backend", LEGACY)}, http=ANY_PORT) as front,
        connect(front.url, revision=LEGACY) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(20):
            group.start_soon(call, client, number)
    assert sorted(said) == sorted(f"backend: {number}" for number in range(20))
