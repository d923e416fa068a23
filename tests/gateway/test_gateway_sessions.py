"""Sessions through a gateway: ended at the servers, begun again, and closed when it stops."""

import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import pytest

from mcpcore import Callbacks, CallFailed, connect
from mcpcore.engine.events import ConnectionEnded
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal
from mcpcore.http.settings import HttpClientSettings
from mcpcore.relay.link import Audience, UpstreamLink
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.gateway.upstreams import Fleet, ServerBehind
from mcpcore_transports.http1.settings import HttpClientLinkSettings, HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import StdioTarget, parse_target
from tests.clock import HOUR, patience, until
from tests.gateway.backend import backend
from tests.gateway.test_gateway import LEGACY, MODERN, alive, gateway, text
from tests.transports.served import ANY_PORT, Served, served

pytestmark = pytest.mark.anyio


class Origin:
    """Server of the legacy era, and the heads of the requests that came to it."""

    def __init__(self, name: str = "backend") -> None:
        self.server = backend(name)
        self.heads: list[HttpRequest] = []
        self.release = anyio.Event()
        self.waiting = anyio.Event()

        @self.server.tool
        async def wait() -> str:
            self.waiting.set()
            await self.release.wait()
            return "released"

    def _look(self, request: HttpRequest) -> Principal:
        self.heads.append(request)
        return Principal("gateway")

    def served(self, http: str = ANY_PORT) -> AbstractAsyncContextManager[Served]:
        """Serve it."""
        settings = ServeSettings(http_link=HttpServerSettings(authenticate=self._look))
        return served(self.server, revisions=[LEGACY], http=http, settings=settings)

    def sessions(self, method: str = "POST") -> set[bytes]:
        """Return the sessions of the requests with an HTTP method."""
        heads = [dict(head.headers) for head in self.heads if head.method == method]
        return {head[b"mcp-session-id"] for head in heads if b"mcp-session-id" in head}


async def test_the_end_of_a_session_ends_those_at_the_servers() -> None:
    origins = {name: Origin(name) for name in "ab"}
    async with AsyncExitStack() as stack:
        targets = {}
        for name, origin in origins.items():
            behind = await stack.enter_async_context(origin.served())
            targets[name] = parse_target(behind.url)
        front = await stack.enter_async_context(gateway(targets, http=ANY_PORT))
        async with connect(front.url, revision=LEGACY) as client:
            for name in origins:
                assert text(await client.call_tool(f"{name}__echo", {"text": "hi"}))
            assert not [each for origin in origins.values() for each in origin.sessions("DELETE")]
        for origin in origins.values():
            await until(partial(origin.sessions, "DELETE"))


async def test_a_session_that_a_server_has_lost_is_begun_again_once() -> None:
    """All calls go on in the next session, with the subscriptions of the lost one."""
    origin = Origin()
    updated: list[str] = []

    async def note(uri: str) -> None:
        updated.append(uri)

    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(origin.served())
        target = parse_target(behind.url)
        front = await stack.enter_async_context(gateway({"only": target}, http=ANY_PORT))
        callbacks = Callbacks(resource_updated=note)
        client = await stack.enter_async_context(
            connect(front.url, revision=LEGACY, callbacks=callbacks)
        )
        await client.subscribe("file:///backend")
        behind.stop.set()
        await behind.ended.wait()  # with its sessions
        address = behind.url.removeprefix("http://").removesuffix("/mcp")
        await stack.enter_async_context(origin.served(http=address))
        before, texts = origin.sessions(), list[str]()

        async def call() -> None:
            texts.append(text(await client.call_tool("echo", {"text": "hi"})))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(call)
        assert texts == ["backend: hi"] * 10
        assert len(origin.sessions() - before) == 1
        origin.server.resource_updated("file:///backend")
        await until(lambda: "file:///backend" in updated)


async def test_sessions_share_the_subscriptions_of_a_shared_conversation() -> None:
    """Each ends its own alone, the last one that at the server."""
    origin, uri = Origin(), "file:///backend"
    updates: list[list[str]] = [[], []]

    def noting(updated: list[str]) -> Callbacks:
        async def note(uri: str) -> None:
            updated.append(uri)

        return Callbacks(resource_updated=note)

    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(origin.served())
        settings = GatewaySettings(shared={"only": True}, relay=RelaySettings(link_idle=0.1))
        targets = {"only": parse_target(behind.url)}
        front = await stack.enter_async_context(gateway(targets, settings, http=ANY_PORT))
        sessions = await stack.enter_async_context(AsyncExitStack())
        one, other = [
            await sessions.enter_async_context(
                connect(front.url, revision=LEGACY, callbacks=noting(updated))
            )
            for updated in updates
        ]
        await one.subscribe(uri)
        await other.subscribe(uri)
        ended = partial(origin.sessions, "DELETE")
        await until(lambda: len(origin.sessions() - ended()) == 1)  # the first told the era
        [shared] = origin.sessions() - ended()
        await one.unsubscribe(uri)
        origin.server.resource_updated(uri)
        await until(lambda: updates[1])
        assert updates == [[], [uri]]
        assert shared not in ended()
        await sessions.aclose()
        await until(lambda: shared in ended())  # nothing holds it any more


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_a_gateway_that_stops_lets_calls_finish_and_ends_its_sessions(revision: str) -> None:
    origin = Origin()
    async with (
        origin.served() as behind,
        gateway({"only": parse_target(behind.url)}, http=ANY_PORT) as front,
        connect(front.url, revision=revision) as client,
        anyio.create_task_group() as group,
    ):
        texts: list[str] = []

        async def call() -> None:
            texts.append(text(await client.call_tool("wait")))

        group.start_soon(call)
        await origin.waiting.wait()
        front.stop.set()
        assert not front.ended.is_set()
        origin.release.set()
        await front.ended.wait()
        assert texts == ["released"]
        assert origin.sessions("DELETE") == origin.sessions()


@pytest.mark.parametrize("tool", ["wait", "ask"])
async def test_a_gateway_that_stops_waits_no_longer_than_it_may(tool: str) -> None:
    """Neither for a call nor for one that is parked until its client answers a question."""
    origin = Origin()

    async def ponder(params: ElicitParams) -> ElicitResult:
        origin.waiting.set()
        await anyio.sleep_forever()
        raise AssertionError

    rules = ServeSettings(http_link=HttpServerSettings(drain_time=0.1))
    callbacks = Callbacks(elicitation=ponder)
    async with (
        origin.served() as behind,
        gateway({"only": parse_target(behind.url)}, http=ANY_PORT, settings_of=rules) as front,
        connect(front.url, revision=MODERN, callbacks=callbacks) as client,
        anyio.create_task_group() as group,
    ):

        async def call() -> None:
            with pytest.raises(CallFailed):
                await client.call_tool(tool)

        group.start_soon(call)
        await origin.waiting.wait()
        front.stop.set()
        await front.ended.wait()
        assert origin.sessions("DELETE") == origin.sessions()
        origin.release.set()
        group.cancel_scope.cancel()


async def test_a_gateway_that_stops_does_not_wait_for_a_server_that_hangs() -> None:
    """A session that is being ended there has what is left of the time for draining."""
    ends, settled = anyio.Event(), anyio.Event()

    async def hang(request: HttpRequest) -> Principal:
        if request.method == "DELETE":
            ends.set()
            await settled.wait()
        return Principal("gateway")

    client = ClientSettings(
        http=HttpClientSettings(notify_timeout=HOUR),
        http_link=HttpClientLinkSettings(close_time=HOUR),
    )
    patient = GatewaySettings(close_time=HOUR, client=client)
    rules = ServeSettings(http_link=HttpServerSettings(drain_time=0.1))
    behind = ServeSettings(http_link=HttpServerSettings(authenticate=hang, authenticate_time=HOUR))
    async with (
        served(backend(), revisions=[LEGACY], settings=behind) as origin,
        gateway(
            {"only": parse_target(origin.url)}, patient, http=ANY_PORT, settings_of=rules
        ) as front,
    ):
        async with connect(front.url, revision=MODERN) as connected:
            assert text(await connected.call_tool("echo", {"text": "hi"})) == "backend: hi"
        front.stop.set()
        await ends.wait()
        await front.ended.wait()
        settled.set()


STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(999)
"""


async def test_a_gateway_that_stops_ends_a_process_that_does_not_want_to_end(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    process = ProcessSettings(close_wait=HOUR, term_wait=HOUR)
    settings = GatewaySettings(
        close_time=HOUR, start_time=0.01, client=ClientSettings(process=process)
    )
    target = StdioTarget((sys.executable, "-c", STUBBORN, str(pid)))
    rules = ServeSettings(http_link=HttpServerSettings(drain_time=0.1))
    async with gateway({"only": target}, settings, http=ANY_PORT, settings_of=rules) as front:
        await until(lambda: pid.exists() and pid.read_text() != "")
        front.stop.set()
        with patience():
            await front.ended.wait()
    assert not alive(int(pid.read_text()))


async def test_sessions_leave_connections_of_a_modern_server_to_calls() -> None:
    link = HttpClientLinkSettings(connections=2)
    settings = GatewaySettings(client=ClientSettings(http_link=link))

    async def decline(params: ElicitParams) -> ElicitResult:
        return ElicitResult(action="decline")

    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(served(backend(), revisions=[MODERN]))
        targets = {"only": parse_target(behind.url)}
        front = await stack.enter_async_context(gateway(targets, settings, http=ANY_PORT))
        for number in range(4):
            asks = Callbacks(elicitation=decline) if number % 2 else None
            opened = connect(front.url, callbacks=asks, revision=LEGACY)
            client = await stack.enter_async_context(opened)
            with patience():
                assert text(await client.call_tool("echo", {"text": "hi"})) == "backend: hi"


async def test_a_conversation_that_its_client_gives_up_is_no_failure_to_start() -> None:
    target = parse_target("http://127.0.0.1:9")
    behind = ServerBehind(
        "a", target, Fleet(GatewaySettings()), take=lambda *_: None, start=lambda *_: None
    )
    for ended, failures in ((True, 0), (False, 1)):
        link = UpstreamLink(behind.relayed, Audience(), (), set(), ended=ended)
        link.open()
        conversation = behind.conversations[link]
        conversation._begun = True
        conversation.handle(ConnectionEnded(reason="closed"))
        behind.ended(conversation)
        assert behind.addresses[""].failures == failures
