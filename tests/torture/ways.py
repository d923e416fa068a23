"""The same drivers in other ways: with tasks, with one of everything, cut off, behind a proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from msgspec import structs

from mcpcore import HttpSettings, Limits, ReconnectSettings
from mcpcore.service.task_settings import TaskSettings
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.input_rounds import OwnSeal
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.targets import StdioTarget
from mcpcore_transports.tls import client_tls
from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.stories import hasty
from tests.faults.cutting import Road, listening, passed, tunnelling, until_said
from tests.torture.features_server import limiter, make_features
from tests.torture.functions import fallible
from tests.torture.points import Watch, unwatched_entry
from tests.torture.raw_http import CONNECTIONS, LONGEST
from tests.torture.sites import process
from tests.torture.stages import (
    Open,
    Stage,
    contexts,
    network,
    opening,
    over_http,
    over_websocket,
)
from tests.torture.tasks import make_task_server
from tests.torture.users import fallible_settings

SILENT = 2.0
"""Seconds for which a process that does not go may say nothing, as its server is gone."""

_QUEUED = 1000
"""Bytes of notifications that may wait to be sent where there is little room."""

SOON = HttpSettings(reconnect_delay=0.01)
"""Of a server over HTTP whose clients come back at once."""


def _heard(what: object) -> None:
    """Be told, and do nothing about it."""


@opening
async def with_tasks(stage: Stage, inner: Open, *, listen: bool = False) -> AsyncIterator[None]:
    stage.server = make_task_server(stage.released)
    own = TaskSettings(poll_interval=50)
    options = TaskOptions(poll=0.01, min_poll=0.01, listen=listen, own=own)
    stage.client = structs.replace(stage.client, tasks=options)
    async with inner(stage):
        yield


@asynccontextmanager
async def returning(stage: Stage) -> AsyncIterator[None]:
    """A client that comes back where its connection is lost."""
    again = ReconnectSettings(attempts=4, max_restarts=4, first_delay=0.01, jitter=0.0)
    stage.client = structs.replace(stage.client, reconnect=again)
    async with network("ws", over_websocket)(stage):
        yield


@asynccontextmanager
async def raw(stage: Stage) -> AsyncIterator[None]:
    """For clients that send plain bytes."""
    stage.connections = CONNECTIONS
    settings = HttpSettings(max_body=LONGEST)
    async with network("http", over_http, http=settings)(stage):
        yield


@opening
async def crowded(stage: Stage, inner: Open) -> AsyncIterator[None]:
    """Where there is room for few, and one at a time is told why it is let in no more."""
    stage.connections, stage.turned_away = CONNECTIONS, 1
    async with inner(stage):
        yield


@opening
async def with_features(stage: Stage, inner: Open) -> AsyncIterator[None]:
    """The same with a server and a client that have one of everything."""
    soon = 0.5 * stage.patience
    stage.server = make_features(soon)
    stage.more = {"limiter": limiter(), "input_timeout": soon, "seal": OwnSeal()}
    trace = Trace(fallible(_heard, "Trace.to"))
    stage.client = structs.replace(stage.client, visit_timeout=soon, trace=trace)
    async with inner(stage):
        yield


@opening
async def driven(
    stage: Stage, inner: Open, driver: str = "anyio", parser: str = "h11"
) -> AsyncIterator[None]:
    """The same on one of the drivers of HTTP, whichever is usual on the event loop."""
    stage.driver = {"driver": driver, "parser": parser}
    async with inner(stage):
        yield


@opening
async def cut_off(
    stage: Stage, inner: Open, *cuts: int, words: bytes | None = None
) -> AsyncIterator[None]:
    """Behind a network that loses connections, for a client that comes back."""
    again = ReconnectSettings(attempts=4, max_restarts=4, first_delay=0.01, jitter=0.0)
    assert stage.client.http is not None
    http = structs.replace(stage.client.http, max_resumes=5, retry_delay=0.01, min_retry_delay=0.01)
    stage.client = structs.replace(stage.client, reconnect=again, http=http)
    async with inner(stage):
        if not stage.target:
            yield
            return
        url = urlsplit(stage.target.url)
        way = Road(url.port, cuts, passed if words is None else until_said(words, 2))
        async with unwatched_entry(listening(way.carry)) as port:
            stage.calm = way.calm
            place = url._replace(netloc=f"127.0.0.1:{port}")
            stage.target = structs.replace(stage.target, url=place.geturl())
            yield


@asynccontextmanager
async def behind_a_proxy(stage: Stage) -> AsyncIterator[None]:
    """Over TLS, through a tunnel of a proxy that is itself reached over TLS."""
    server, client = contexts()
    async with network("http", over_http, tls=True)(stage):
        if not stage.target:
            yield
            return
        upstream = urlsplit(stage.target.url).port
        async with unwatched_entry(tunnelling(upstream, server)) as port:
            proxy = Proxy(
                host="127.0.0.1",
                port=port,
                secure=True,
                authorization=b"Basic eDp5",
                ssl_context=client,
            )
            stage.client = structs.replace(stage.client, proxy=proxy)
            yield


@opening
async def narrow(stage: Stage, inner: Open, room: int) -> AsyncIterator[None]:
    """On a system that takes little at a time, and every second time nothing."""
    watch = Watch.current
    assert watch is not None
    watch.room = room
    stage.more = {"limits": Limits(queued=_QUEUED)}

    @stage.server.tool
    @fallible
    async def tells(context: Context, count: int) -> str:
        """Tell much, no more of it than there is room for."""
        for step in range(count):
            context.progress(2 * step, message="x" * _QUEUED)
            await context.room()
            context.progress(2 * step + 1)
            await context.drained()
        return str(count)

    async with inner(stage):
        yield


@opening
async def refusing(stage: Stage, inner: Open) -> AsyncIterator[None]:
    """Nobody is let in."""
    stage.refusing = True
    async with inner(stage):
        yield


@asynccontextmanager
async def pinging(stage: Stage) -> AsyncIterator[None]:
    """WebSocket, whose sides look often whether the other is there."""
    stage.websocket = WebSocketSettings(ping_interval=0.001, on_latency=_heard)
    assert stage.client.websocket is not None
    own = structs.replace(stage.client.websocket, ping_interval=0.001, on_latency=_heard)
    stage.client = fallible_settings(structs.replace(stage.client, websocket=own), "client.")
    async with network("ws", over_websocket)(stage):
        yield


@asynccontextmanager
async def stubborn(stage: Stage) -> AsyncIterator[None]:
    """A process that does not go when it is told to, and has started another."""
    soon = 0.02 * stage.patience
    async with process(stage):
        command = stage.target.command
        script = "trap '' TERM; echo noise; sleep 60 & \"$@\"; echo bye >&2; sleep 60"
        stage.target = StdioTarget(("sh", "-c", script, "sh", *command))
        client = hasty(SILENT * stage.patience)
        assert client.process is not None
        settings = structs.replace(
            client.process, close_wait=soon, term_wait=soon, descendants=True, stderr=_heard
        )
        stage.client = fallible_settings(structs.replace(client, process=settings), "client.")
        yield


@opening
async def dying(stage: Stage, script: str) -> AsyncIterator[None]:
    """A process that ends by itself, and was never a server."""
    soon = 0.02 * stage.patience
    assert stage.client.process is not None
    settings = structs.replace(
        stage.client.process,
        close_wait=soon,
        term_wait=soon,
        descendants=True,
        connection=ConnectionSettings(drain=soon),
    )
    stage.client = structs.replace(stage.client, process=settings)
    stage.target = StdioTarget(("sh", "-c", script))
    yield


@opening
async def untrusted(stage: Stage, inner: Open) -> AsyncIterator[None]:
    """A server over TLS whose certificate its clients do not know."""
    async with inner(stage):
        stage.client = structs.replace(stage.client, ssl_context=client_tls())
        yield


@asynccontextmanager
async def behind_a_firm_proxy(stage: Stage) -> AsyncIterator[None]:
    """Behind one that lets nobody through."""
    async with unwatched_entry(tunnelling(None)) as port:
        stage.client = structs.replace(stage.client, proxy=Proxy(host="127.0.0.1", port=port))
        stage.target = over_http("https://localhost/mcp")
        yield


@asynccontextmanager
async def alone(stage: Stage) -> AsyncIterator[None]:
    """No server at all."""
    stage.target = "nobody"
    yield
