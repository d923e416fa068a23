"""Responses that refuse a client's WebSocket upgrade."""

import re
from contextlib import suppress

import anyio
import h11
import msgspec
from anyio.abc import ByteStream
from msgspec import Struct

from mcpcore.engine.events import Fault, FaultKind
from mcpcore_transports.http1.body import BadBody, Body, ChunkedBody, LengthBody, StreamBody
from mcpcore_transports.link_errors import STREAM_ERRORS

BODY_LIMIT = 4 * 1024
"""Maximum bytes of a refusal's body that are read for its first line."""

_PATIENCE = 1.0
"""Seconds for reading that part of the body."""
_RETRY_AFTER = re.compile(rb"[0-9]{1,9}")


class NotOpened(Exception):
    """Failure to open a WebSocket; the message gives the reason, ``fault`` its kind."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class _Said(Struct):
    message: str


class _Answer(Struct):
    error: _Said


async def refusal(
    stream: ByteStream, http_url: str, head: h11.Response, buffer: bytearray
) -> NotOpened:
    """Return the failure for a response without upgrade; ``http_url``: the address for HTTP."""
    fields = dict(head.headers)
    said = await _beginning(stream, head, buffer)
    text = f"the server refused the WebSocket with status {head.status_code}"
    where = fields.get(b"location")
    location = None if where is None else where.decode("latin-1")
    if location is not None:
        text += f", pointing to {location[:200]}"
    retry = fields.get(b"retry-after", b"")
    after = float(retry) if _RETRY_AFTER.fullmatch(retry) else None
    kind = FaultKind.REDIRECT if 300 <= head.status_code < 400 else FaultKind.STATUS
    fault = Fault(kind, head.status_code, after, location)
    try:
        message = msgspec.json.decode(said, type=_Answer).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        line = said.decode("utf-8", "replace").strip().split("\n", 1)[0][:200]
        return NotOpened(f"{text}: {line}" if line else text, fault)
    hint = f"it serves MCP over HTTP: try {http_url}"
    return NotOpened(f"{text}: {message[:200]!r}; {hint}", fault)


async def _beginning(stream: ByteStream, head: h11.Response, buffer: bytearray) -> bytes:
    """Read the beginning of a body, as far as it arrives soon."""
    fields = dict(head.headers)
    length = fields.get(b"content-length")
    body: Body = StreamBody() if length is None else LengthBody(int(length))
    if b"transfer-encoding" in fields:
        body = ChunkedBody()
    said = b""
    with anyio.move_on_after(_PATIENCE), suppress(OSError, *STREAM_ERRORS):
        try:
            while head.status_code not in (204, 304) and len(said) < BODY_LIMIT:
                said += body.take(buffer)
                if body.done:
                    break
                buffer += await stream.receive()
        except BadBody as error:
            said += error.content
    return said[:BODY_LIMIT]
