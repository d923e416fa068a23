"""An ASGI server in memory, which is to a client of ours an HTTP client of its own."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from tests.torture.asgi_sockets import fails
from tests.torture.suspensions import Cancelling

_PART = 100
"""A longer body comes in two parts, of which this is the first."""


class _Headers:
    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw


class _Exchange:
    """One request, its response as far as it has come, and whether anybody still wants it."""

    def __init__(self, body: bytes) -> None:
        self.status_code = 0
        self.headers = _Headers([])
        self.left = anyio.Event()
        self.over = False
        self._to_come = deque([body[:_PART], body[_PART:]] if len(body) > _PART else [body])
        self._parts: deque[bytes] = deque()
        self._more = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        if fails("ASGI receive"):
            self.end()
            raise OSError("the client has left")
        if self._to_come:
            await anyio.lowlevel.checkpoint()
            part = self._to_come.popleft()
            return {"type": "http.request", "body": part, "more_body": bool(self._to_come)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if fails("ASGI send"):
            self.end()
            raise OSError("the client has left")
        if self.left.is_set():
            raise OSError("the client has left")
        await anyio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self.status_code, self.headers = message["status"], _Headers(message["headers"])
        else:
            self._parts.append(message["body"])
            self.over = not message["more_body"]
        self._tell()

    def end(self) -> None:
        self.over = True
        self._tell()

    def _tell(self) -> None:
        more, self._more = self._more, anyio.Event()
        more.set()

    async def head(self) -> None:
        while not self.status_code:
            if self.over:
                raise OSError("the server closed the connection")
            await self._more.wait()

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        while True:
            while self._parts:
                yield self._parts.popleft()
            if self.over:
                return
            await self._more.wait()


class Bridge:
    """Calls an application for each request, in ``group``."""

    def __init__(self, app: Any, group: TaskGroup, cancelling: Cancelling) -> None:
        self.app = app
        self._group = group
        self._cancelling = cancelling

    async def _run(self, scope: dict[str, Any], exchange: _Exchange) -> None:
        try:
            with (
                anyio.CancelScope() as cancelled,
                self._cancelling.offering("application", cancelled.cancel),
            ):
                await self.app(scope, exchange.receive, exchange.send)
        except OSError:
            pass  # as servers take it that the client has left
        finally:
            exchange.end()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: list[tuple[bytes, bytes]],
        timeout: object,
        follow_redirects: bool,
    ) -> AsyncIterator[_Exchange]:
        parts = urlsplit(url)
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(b"host", parts.netloc.encode()), *headers],
            "client": ("127.0.0.1", 5000),
        }
        if content:
            scope["headers"].append((b"content-length", b"%d" % len(content)))
        exchange = _Exchange(content or b"")
        self._group.start_soon(self._run, scope, exchange)
        try:
            await exchange.head()
            yield exchange
        finally:
            exchange.left.set()
