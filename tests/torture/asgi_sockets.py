"""A small ASGI server for WebSockets, on TCP: what a client of ours meets is its application."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import SocketStream
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.faults.cutting import LOST
from tests.torture.points import Watch
from tests.torture.suspensions import Cancelling


def fails(site: str) -> bool:
    """Whether a call of the server is to fail now."""
    watch = Watch.current
    return watch is not None and watch.visit("call", site, ("error",)) is not None


class _Socket:
    """One connection, as the application sees it."""

    def __init__(self, stream: SocketStream) -> None:
        self.scope: dict[str, Any] = {}
        self._stream = stream
        self._writing = anyio.Lock()  # answers to pings and closes come between messages
        self._wire = WSConnection(ConnectionType.SERVER)
        self._events: deque[Event] = deque()
        self._asked = self._over = False
        self._text = ""
        self._refusal = 403

    async def open(self) -> None:
        """Read the request."""
        event = await self._next()
        assert isinstance(event, Request)
        self.scope = {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "path": event.target,
            "query_string": b"",
            "headers": [(b"host", event.host.encode()), *event.extra_headers],
            "client": ("127.0.0.1", 5000),
            "subprotocols": event.subprotocols,
            "extensions": {"websocket.http.response": {}},
        }

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "websocket.connect"}
        if fails("ASGI receive"):
            raise OSError("the client has left")
        while not self._over:
            event = await self._next()
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    whole, self._text = self._text, ""
                    return {"type": "websocket.receive", "text": whole}
            elif isinstance(event, BytesMessage):
                return {"type": "websocket.receive", "bytes": bytes(event.data)}
            elif isinstance(event, Ping):
                await self._say(event.response())
            elif isinstance(event, CloseConnection):
                self._over = True
                with suppress(LocalProtocolError, *LOST):
                    await self._say(event.response())
        return {"type": "websocket.disconnect", "code": 1005}

    async def send(self, message: dict[str, Any]) -> None:
        if fails("ASGI send") or self._over:
            raise OSError("the client has left")
        await anyio.lowlevel.checkpoint()
        match message["type"]:
            case "websocket.accept":
                accepted = AcceptConnection(subprotocol=message["subprotocol"])
                await self._say(accepted)
            case "websocket.send":
                await self._say(TextMessage(message["text"]))
            case "websocket.close":
                self._over = True
                await self._say(CloseConnection(message["code"], message["reason"]))
            case "websocket.http.response.start":
                headers = message["headers"]
                start = RejectConnection(
                    status_code=message["status"], headers=headers, has_body=True
                )
                await self._say(start)
            case _:
                self._over = True
                await self._say(RejectData(message["body"]))

    async def _next(self) -> Event:
        while not self._events:
            try:
                data: bytes | None = await self._stream.receive()
            except LOST:
                data = None
            try:
                self._wire.receive_data(data)
                self._events.extend(self._wire.events())
            except RemoteProtocolError:
                self._events.append(CloseConnection(1002))
            if data is None and not self._events:
                self._events.append(CloseConnection(1006))
        return self._events.popleft()

    async def _say(self, event: Event) -> None:
        try:
            async with self._writing:
                await self._stream.send(self._wire.send(event))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise OSError("the client has left") from error


async def serve_socket(stream: SocketStream, app: Any, cancelling: Cancelling) -> None:
    """Have an application serve one connection."""
    async with stream:
        socket = _Socket(stream)
        with (
            suppress(AssertionError, OSError, LocalProtocolError),
            anyio.CancelScope() as cancelled,
            cancelling.offering("application", cancelled.cancel),
        ):
            await socket.open()
            await app(socket.scope, socket.receive, socket.send)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Tell an application that the server begins, and that it ends."""
    stop = anyio.Event()
    ready = anyio.Event()
    told = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> dict[str, Any]:
        message = next(told)
        if message == "lifespan.shutdown":
            await stop.wait()
        return {"type": message}

    async def send(message: dict[str, Any]) -> None:
        ready.set()

    async with anyio.create_task_group() as group:
        group.start_soon(app, {"type": "lifespan"}, receive, send)
        await ready.wait()
        yield
        stop.set()
