"""Stages: a server that is served on a driver, and how its clients reach it."""

import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import anyio
import anyio.lowlevel
from msgspec import structs

from mcpcore import Principal, Refusal, Server
from mcpcore_transports.http.server.store_link import StoreLinkSettings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import serve
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings
from mcpcore_transports.targets import HttpTarget, MemoryTarget, WebSocketTarget, parse_target
from mcpcore_transports.tls import client_tls, server_tls
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.stories import hasty
from tests.torture.server import make_server, runtime
from tests.torture.story import headers
from tests.torture.suspensions import Cancelling
from tests.torture.users import fallible_settings
from tests.transports.certificates import papers

ANY_PORT = "127.0.0.1:0"


INPUT = 0.5
"""Seconds after which a server gives up to be answered."""
DEADLINE = 10.0
"""The same of a client."""


class Stage:
    """A server that is being served, for one run; all have ``patience`` times the usual time."""

    def __init__(
        self,
        cancelling: Cancelling,
        *,
        waits: bool,
        until: Callable[[str, Callable[[], object]], Awaitable[None]],
        patience: float = 1.0,
    ) -> None:
        self.cancelling = cancelling
        self.until = until
        """Waits for something, by its name, to be empty; that it is not is a problem of the run."""
        self.patience = patience
        self.waits = waits
        """Its middleware awaits."""
        self.released = anyio.Event()
        self.server: Server = make_server(self.released)
        self.target: Any = None
        self.http_client: Any = None
        self.client = hasty(DEADLINE * patience)
        """How clients connect."""
        self.driver: dict[str, str] = {}
        """Which driver of HTTP, as settings say it."""
        self.calm: Callable[[], object] = lambda: None
        """Called when the story has been told: what failed by itself does so no more."""
        self.come_back: Callable[[], list[str]] = list
        """Somebody comes by long after, who clears away what has had its time; what was wrong."""
        self.refusing = False
        """Nobody is let in, until the story is told."""
        self.websocket = WebSocketSettings()
        self.connections = 10_000
        """The most that there may be on one address ..."""
        self.turned_away = 100
        """... and of those that are told why they may not, of HTTP."""
        self.more: dict[str, Any] = {}
        """Settings of the runtime."""
        self.stop = anyio.Event()
        self.up = anyio.Event()
        self.ended = anyio.Event()
        self.failure: BaseException | None = None
        """What has come out of serving."""
        self.cancelled = False

    async def authenticate(self, request: object) -> Principal | Refusal:
        """Whoever asks is let in, after a moment, or is not."""
        await anyio.lowlevel.checkpoint()
        return Refusal(message="not yet") if self.refusing else Principal("somebody")

    def settings(self, **more: Any) -> ServeSettings:
        soon = 0.2 * self.patience
        link = HttpServerSettings(
            connections=self.connections,
            turned_away=self.turned_away,
            authenticate=self.authenticate,
            drain_time=0.5 * self.patience,
            linger_time=soon,
        )
        pump = self.pump()
        settings = ServeSettings(
            runtime=self._runtime(),
            http_link=structs.replace(link, **self.driver),
            websocket=structs.replace(self.websocket, close_timeout=soon, connection=pump),
            socket=SocketSettings(
                authenticate=self.authenticate,
                connections=self.connections,
                connection=pump,
                linger_time=soon,
            ),
            **more,
        )
        return fallible_settings(settings, "server.")

    def runtime(self) -> RuntimeSettings:
        return fallible_settings(self._runtime(), "server.runtime.")

    def _runtime(self) -> RuntimeSettings:
        made = runtime(waits=self.waits, input_timeout=INPUT * self.patience)
        return structs.replace(made, **self.more)

    def pump(self) -> ConnectionSettings:
        return ConnectionSettings(drain=0.2 * self.patience)

    def store_link(self) -> StoreLinkSettings:
        return StoreLinkSettings(listen=0.02, pause=0.01, farewell=1.0 * self.patience)

    async def run(self, serving: Callable[[], Any]) -> None:
        """Serve until ``stop``, or until that is cancelled."""
        try:
            with (
                anyio.CancelScope() as scope,
                self.cancelling.offering("server", scope.cancel),
            ):
                await serving()
            self.cancelled = scope.cancelled_caught
        except Exception as error:
            self.failure = error
        finally:
            self.ended.set()
            self.up.set()


Open = Callable[["Stage"], AbstractAsyncContextManager[Any]]
"""How a server is offered."""
Given = ParamSpec("Given")


def opening(
    offer: Callable[Concatenate[Stage, Given], AsyncIterator[None]],
) -> Callable[Given, Open]:
    """Make of a function that opens a stage one that takes its other arguments before."""
    manager = asynccontextmanager(offer)

    def given(*args: Given.args, **more: Given.kwargs) -> Open:
        return lambda stage: manager(stage, *args, **more)

    return given


def over_http(url: str) -> HttpTarget:
    return HttpTarget(url, headers)


def over_websocket(url: str) -> WebSocketTarget:
    return WebSocketTarget(url, headers)


def shared(url: str) -> WebSocketTarget | None:
    """Where WebSocket is served beside HTTP."""
    return over_websocket(url) if url.startswith("ws:") else None


@opening
async def in_memory(stage: Stage, *, wire: bool) -> AsyncIterator[None]:
    stage.target = MemoryTarget(stage.server, stage.runtime(), wire=wire)
    yield


@asynccontextmanager
async def served(stage: Stage, serving: Callable[[], Any]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run, serving)
        await stage.up.wait()
        yield
        stage.stop.set()
        await stage.ended.wait()


@opening
async def network(
    stage: Stage,
    /,
    binding: str,
    make_target: Callable[[str], Any] = parse_target,
    *,
    tls: bool = False,
    **more: Any,
) -> AsyncIterator[None]:
    """Serve on a binding of the network."""
    if tls:
        more["ssl_context"], context = contexts()
        stage.client = structs.replace(stage.client, ssl_context=context)
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        address = str(Path(room, "socket")) if binding == "unix" else ANY_PORT

        def listening(url: str) -> None:
            stage.target = stage.target or make_target(url)

        async def serving() -> None:
            await serve(
                stage.server,
                **{binding: address},  # type: ignore[arg-type]
                settings=stage.settings(**more),
                on_listening=listening,
                on_ready=stage.up.set,
                stop=stage.stop,
            )

        async with served(stage, serving):
            yield


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and its clients."""
    made = papers()
    return server_tls(made.server), client_tls(ca=made.trusted.file)
