"""Drivers that need more than an address: ASGI, processes, HTTP clients of others."""

import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import httpx
from anyio.abc import TaskGroup

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore_transports.link import App, Handshake
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.assembling import serve_connection
from mcpcore_transports.serve.serve import _until_signalled, serve, ungrouped
from mcpcore_transports.stdio.server import StdioServerLink
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.settings import StdioSettings
from mcpcore_transports.targets import HttpTarget, StdioTarget, WebSocketTarget, parse_target
from tests.faults.cutting import listening
from tests.forks import launcher
from tests.torture.asgi_sockets import lifespan, serve_socket
from tests.torture.bridge import Bridge
from tests.torture.functions import Failed, fallible
from tests.torture.stages import (
    ANY_PORT,
    Stage,
    network,
    over_http,
    served,
)
from tests.torture.story import headers


@asynccontextmanager
async def adapted(stage: Stage) -> AsyncIterator[None]:
    async with network("http", over_http)(stage), httpx.AsyncClient(trust_env=False) as client:
        stage.http_client = client
        yield


@asynccontextmanager
async def asgi(stage: Stage) -> AsyncIterator[None]:
    app = asgi_app(stage.server, settings=stage.settings(), principal=_nobody_yet)
    async with anyio.create_task_group() as group:
        stage.http_client = Bridge(app, group, stage.cancelling)
        stage.target = HttpTarget("http://localhost/mcp", headers)
        yield
        await app.aclose()


@fallible
def _nobody_yet(scope: object) -> None:
    """Whom middleware has authenticated: it is left to the server."""


@asynccontextmanager
async def asgi_sockets(stage: Stage) -> AsyncIterator[None]:
    """WebSocket in an ASGI application, which is told when to begin and to end."""
    app = asgi_app(stage.server, settings=stage.settings(shared=True), principal=_nobody_yet)
    serving_it = partial(serve_socket, app=app, cancelling=stage.cancelling)

    async def serving() -> None:
        with ungrouped():
            await serve_sockets()

    async def serve_sockets() -> None:
        async with lifespan(app), listening(serving_it) as port:
            stage.target = WebSocketTarget(f"ws://127.0.0.1:{port}/mcp", headers)
            stage.up.set()
            try:
                await stage.stop.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await app.aclose()

    async with served(stage, serving):
        yield


@asynccontextmanager
async def signalled(stage: Stage) -> AsyncIterator[None]:
    """As a whole program, which ends when it is signalled to, or when it is told."""

    def listening(url: str) -> None:
        stage.target = parse_target(url)

    async def serving() -> None:
        inner = partial(
            serve,
            stage.server,
            tcp=ANY_PORT,
            settings=stage.settings(),
            on_listening=listening,
            on_ready=stage.up.set,
        )
        await _until_signalled(inner, stage.stop.wait)

    async with served(stage, serving):
        yield


@asynccontextmanager
async def process(stage: Stage) -> AsyncIterator[None]:
    """A client that spawns a process, whose standard streams are served by us."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as room, socket.socket(socket.AF_UNIX) as ear:
        path = Path(room, "socket")
        ear.bind(str(path))
        ear.listen(8)
        ear.setblocking(False)
        stage.target = StdioTarget(launcher(path))

        async def serving(group: TaskGroup) -> None:
            with ear:  # who connects later is refused
                stage.up.set()
                while True:
                    await anyio.wait_readable(ear)
                    link, _ = ear.accept()
                    group.start_soon(_hold, stage, link)

        async def until_stopped() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(serving, group)
                await stage.stop.wait()
                group.cancel_scope.cancel()

        async with served(stage, until_stopped):
            yield


@fallible
def _stdio_begins(link: StdioServerLink) -> None:
    """As ``on_stdio_begin`` of ``serve``."""


@fallible
def _stdio_ends() -> None:
    """As ``on_stdio_end`` of ``serve``."""


async def _hold(stage: Stage, link: socket.socket) -> None:
    """Serve on the streams of the process at the other end; it exits when that is over."""
    with link:
        _, streams, _, _ = socket.recv_fds(link, 1, 3)
        stdin, stdout, _ = streams

        def make_link(peer: Peer, app: App) -> StreamConnection:
            settings = StdioSettings(connection=stage.pump(), redirect=False, signals=False)
            return StdioServerLink(
                peer,
                app,
                settings=settings,
                stdin=stdin,
                stdout=stdout,
                on_begin=_stdio_begins,
                on_end=_stdio_ends,
            )

        try:
            with (
                suppress(OSError, LinkError, Failed),
                ungrouped(),
            ):  # the streams cannot be used, or who is told of that fails: it is over
                await serve_connection(
                    stage.server, make_link, Handshake(), settings=stage.runtime()
                )
        finally:
            for fd in streams:
                os.close(fd)
            with suppress(OSError):
                link.send(b"\0")
