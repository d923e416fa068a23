"""One place in an HTTP client's pool: a connection that carries one exchange after the other.

A place outlives its connection: if the server closed that between two exchanges, the place opens
another one.
"""

import math
import select
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute

from mcpcore.engine.events import Route
from mcpcore.http.messages import HttpSend
from transports.http_body import BadBody, Body, ChunkedBody, LengthBody, StreamBody
from transports.http_heads import (
    BadHead,
    ResponseHead,
    find_head,
    format_request,
    parse_response,
)
from transports.http_origin import Failure
from transports.link import clock

if TYPE_CHECKING:
    from transports.http_client import HttpClientLink

_LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
_INTERIM = 64
"""Interim (1xx) responses borne before a final one."""
_OWN_HEADERS = ((b"accept-encoding", b"identity"),)
_EVENT_STREAM = b"text/event-stream"
_WRITING = "does not take the request"


class _Poll(Protocol):
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...


class PooledConnection:
    """A place in the pool; ``deadline`` is when it has lasted too long at what it is doing."""

    def __init__(self, link: "HttpClientLink", send: HttpSend) -> None:
        self.deadline = math.inf
        self._link = link
        self._settings = link.settings
        self._limits = link.settings.head_limits
        self._send: HttpSend | None = send
        self._stream: ByteStream | None = None
        self._poll: _Poll | None = None
        self._received = False  # something of the response to this request
        self._sent = False  # all of the request
        self._phase = ""  # what an expired deadline would say
        self._overdue = False
        self._buffer = bytearray()
        self._scope = anyio.CancelScope()
        self._signal = anyio.Event()

    @property
    def usable(self) -> bool:
        """Whether the connection can carry another exchange."""
        return self._stream is not None and not self._scope.cancel_called

    def resume(self, send: HttpSend) -> None:
        """Carry out another exchange; only while idle."""
        self.deadline = math.inf
        self._send = send
        self._signal.set()

    def stop(self) -> None:
        """Close at once; an exchange that the machine did not abort fails."""
        self._scope.cancel()

    def expire(self) -> None:
        """The deadline has passed."""
        self._overdue = True
        self._scope.cancel()

    async def run(self) -> None:
        """Carry out exchanges until there was none for ``idle_time``."""
        error: str | None = f"the connection to {self._link.origin} was closed"
        try:
            with self._scope:
                while (send := self._send) is not None:
                    result = await self._carry_out(send)
                    self._send = None
                    self._signal = anyio.Event()
                    self.deadline = clock() + self._settings.idle_time
                    self._link.finish(self, send.exchange, result)  # may resume us
                    if self._idle():
                        await self._signal.wait()
            if self._overdue:
                error = f"{self._link.origin} {self._phase}"
        finally:
            if self._send is not None:
                self._link.finish(self, self._send.exchange, error)
            await self._close()
            self._link.discard(self)

    def _idle(self) -> bool:
        return self._send is None and self.usable

    async def _carry_out(self, send: HttpSend) -> str | None:
        """Send one request and feed the response; return what went wrong.

        If a connection that was used before turns out to be closed, and not a byte was received,
        the server had most likely closed it before the request came: that is tried once more.
        """
        try:
            head = format_request(send.method, send.target, [*send.headers, *_OWN_HEADERS])
        except ValueError as error:
            return str(error)
        while True:
            reused = self._stream is not None and not self._stale()
            self._received = False
            try:
                if not reused:
                    await self._connect()
                await self._converse(head + send.body, send.exchange)
                return None
            except Failure as failure:
                problem = str(failure)
            except (BadHead, BadBody) as error:
                problem = f"malformed response from {self._link.origin}: {error}"
            except _LOST:
                where = "within a response" if self._received else "without a response"
                problem = f"{self._link.origin} closed the connection {where}"
            await self._close()
            if self._received or not reused:
                return problem

    async def _connect(self) -> None:
        await self._close()
        self._stream = await self._link.origin.connect(self._settings.connect_time)
        if hasattr(select, "poll"):
            poll = select.poll()
            raw_socket = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
            poll.register(raw_socket, select.POLLIN)
            self._poll = poll

    def _stale(self) -> bool:
        """An idle connection has nothing to say: if there is input, it is the end or garbage."""
        return self._poll is not None and bool(self._poll.poll(0))

    async def _close(self) -> None:
        stream, self._stream, self._poll = self._stream, None, None
        self._buffer.clear()
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _converse(self, data: bytes, exchange: Route) -> None:
        """Send a request and feed the response.

        While a large one is being sent the response is listened for already, as it may say that
        it is too large (RFC 9112 section 9.5).
        """
        if len(data) <= self._settings.write_size:
            await self._write(data)
            await self._read(exchange)
            return
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, data)
            try:
                await self._read(exchange)
            except (Failure, BadHead, BadBody, *_LOST) as error:
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not self._sent:  # the rest, that nobody wants
            await self._close()

    async def _write(self, data: bytes) -> None:
        stream, size = self._stream, self._settings.write_size
        assert stream is not None  # noqa: S101 - connected by the caller
        self._phase, self._sent = _WRITING, False
        try:
            for start in range(0, len(data), size):
                if self._phase == _WRITING:
                    self.deadline = clock() + self._settings.write_time
                await stream.send(data if len(data) <= size else data[start : start + size])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return  # the server may have answered without reading everything
        self._sent = True
        if self._phase == _WRITING:
            self._phase = ""
            self.deadline = math.inf

    async def _read(self, exchange: Route) -> None:
        """Feed the response to the machine as it comes."""
        link, machine, buffer = self._link, self._link.machine, self._buffer
        head = await self._read_head()
        encodings = [value for name, value in head.headers if name == b"content-encoding"]
        if any(value.lower() != b"identity" for value in encodings):
            raise Failure(f"{link.origin} sent the content encoding {encodings[0]!r} unasked")
        machine.response_head(exchange, head.status, head.headers, now=clock())
        if not any(n == b"content-type" and _EVENT_STREAM in v.lower() for n, v in head.headers):
            self._phase = "took too long to send its response"
            self.deadline = clock() + self._settings.body_time
        body: Body
        if head.chunked:
            body = ChunkedBody()
        elif head.length is not None:
            body = LengthBody(head.length)
        else:
            body = StreamBody()
        while True:
            if data := body.take(buffer):
                machine.response_data(exchange, data, now=clock())
            if body.done:
                break
            link.flush_soon()
            try:
                await self._receive()
            except anyio.EndOfStream:
                if not body.end():
                    raise
                break
        if buffer or not head.keep_alive:
            await self._close()

    async def _read_head(self) -> ResponseHead:
        buffer = self._buffer
        for _ in range(_INTERIM):
            while not (size := find_head(buffer, self._limits)):
                await self._receive()
            raw = bytes(buffer[:size])
            del buffer[:size]
            if not raw.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
                return parse_response(raw)
            if raw[9:12] == b"101":
                raise Failure(f"{self._link.origin} switched protocols unasked")
        raise Failure(f"{self._link.origin} sent {_INTERIM} interim responses")

    async def _receive(self) -> None:
        assert self._stream is not None  # noqa: S101 - connected by the caller
        self._buffer += await self._stream.receive()
        self._received = True
