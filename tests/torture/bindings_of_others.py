"""A binding of somebody else's, on connections that it has accepted itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import SocketStream, TaskStatus

from mcpcore.engine.peer import Peer
from mcpcore_transports.link import App
from mcpcore_transports.serve.serve import Accept, serve
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.targets import parse_target
from tests.faults.cutting import listening
from tests.torture.functions import fallible
from tests.torture.stages import Stage, served


@asynccontextmanager
async def custom(stage: Stage) -> AsyncIterator[None]:
    """Serve on it alone."""

    async def listen(accept: Accept, *, task_status: TaskStatus[str]) -> None:
        async def serve_one(stream: SocketStream) -> None:
            async with stream:
                await accept(fallible(partial(_Link, stream=stream), "custom.make_link"))

        async with listening(serve_one) as port:
            task_status.started(f"tcp://127.0.0.1:{port}")
            await anyio.sleep_forever()

    def found(url: str) -> None:
        stage.target = parse_target(url)

    async def serving() -> None:
        await serve(
            stage.server,
            custom=[fallible(listen, "serve.custom")],
            settings=stage.settings(),
            on_listening=fallible(found, "serve.on_listening"),
            on_ready=fallible(stage.up.set, "serve.on_ready"),
            stop=stage.stop,
        )

    async with served(stage, serving):
        yield


class _Link(StreamConnection):
    """A Peer on a stream, line by line."""

    binding = "tcp"

    def __init__(self, peer: Peer, app: App, stream: SocketStream) -> None:
        super().__init__(peer, app, settings=ConnectionSettings(drain=0.2))
        self._stream = stream

    @fallible
    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            return b""

    @fallible
    async def _send(self, data: memoryview) -> int:
        await self._stream.send(bytes(data))
        return len(data)

    @fallible
    async def _close(self) -> None:
        await self._stream.aclose()
