"""Framing of the reply to one request: from the output of the machine to HTTP/1.x bytes.

Also the replies of the driver itself to input that never became a request.
"""

from collections.abc import Iterable
from typing import cast

import anyio
from anyio.abc import ByteStream

from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore.spec.revisions import Revision
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.http1.format import error_response, format_reply, format_response
from mcpcore_transports.http1.heads import RequestHead

_DEFAULTS = HttpServerSettings()

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""Exceptions raised at the end of a connection."""


class Reply:
    """Framing of one reply: by its length where that is known, else in chunks, or by the close."""

    __slots__ = ("_bodiless", "_chunked", "_http_1_0", "_plain", "begun", "close", "complete")

    def __init__(self, request: RequestHead) -> None:
        self._http_1_0 = request.http_1_0
        self._plain = request.plain
        self._bodiless = request.request.method == "HEAD"
        self._chunked = False
        self.begun = False
        """True once the head has been encoded."""
        self.complete = False
        self.close = not request.keep_alive
        """True if the connection ends with this reply; may be set at any time."""

    @property
    def may_interject(self) -> bool:
        """True if an interim response can be sent."""
        return not self.begun and not self._http_1_0

    @property
    def may_be_whole(self) -> bool:
        """True if ``format_reply`` may encode the whole reply."""
        return self._plain and not (self.begun or self.close)

    def encode_whole(self, whole: HttpReply) -> bytes:
        """Return the bytes of the whole reply; only if :attr:`may_be_whole`."""
        self.begun = self.complete = True
        return format_reply(whole)

    def encode(self, items: Iterable[HttpHead | HttpChunk | HttpEnd]) -> bytes:
        """Return the bytes of the next parts of the reply, in order."""
        parts: list[bytes] = []
        for item in items:
            if isinstance(item, HttpChunk):
                if self._bodiless or not item.data:
                    continue
                if self._chunked:
                    parts += (b"%x\r\n" % len(item.data), item.data, b"\r\n")
                else:
                    parts.append(item.data)
            elif isinstance(item, HttpHead):
                parts.append(self._head(item))
            else:
                if self._chunked:
                    parts.append(b"0\r\n\r\n")
                self.close = self.close or item.close
                self.complete = True
        return b"".join(parts)

    def _head(self, head: HttpHead) -> bytes:
        self.begun = True
        headers = head.headers
        # RFC 9112 section 6.3
        self._bodiless = self._bodiless or head.status in (204, 304)
        if not self._bodiless:
            for name, _ in headers:
                if name == b"content-length":
                    break
            else:
                if self._http_1_0:
                    self.close = True
                else:
                    self._chunked = True
                    headers = [*headers, (b"transfer-encoding", b"chunked")]
        if self.close:
            headers = [*headers, (b"connection", b"close")]
        return format_response(head.status, headers)


async def refuse(
    stream: ByteStream,
    status: int,
    message: str,
    revision: Revision | None = None,
    extra: Iterable[tuple[bytes, bytes]] = (),
    *,
    settings: HttpServerSettings = _DEFAULTS,
) -> None:
    """Answer with an error and end the connection, in bounded time."""
    try:
        with anyio.move_on_after(settings.write_time) as writing:  # behind a reply that is not read
            await stream.send(error_response(status, message, revision, extra))
    except LOST:
        return
    if not writing.cancelled_caught:
        await linger(stream, settings)


async def linger(stream: ByteStream, settings: HttpServerSettings = _DEFAULTS) -> None:
    """Let the client read the reply: closing with unread input would reset the connection."""
    from mcpcore_transports.http.server.protocol_stream import (
        ProtocolStream,  # imported late: it is for upgrades
    )
    from mcpcore_transports.stream.secure import SecureStream  # and this for TLS

    with anyio.move_on_after(settings.linger_time):
        try:
            # Further input is not needed, and TLS itself cannot be closed in one direction.
            if isinstance(stream, SecureStream):
                await stream.finish()
                stream = cast(ByteStream, stream.transport_stream)
            elif isinstance(stream, ProtocolStream):
                stream = stream.beneath()
            await stream.send_eof()
            left = settings.linger_bytes
            while left > 0:
                left -= len(await stream.receive())
        except LOST:
            pass
