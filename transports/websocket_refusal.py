"""What a client makes of a response that is no upgrade."""

import re
from contextlib import suppress

import anyio
import h11
import msgspec
from anyio.abc import ByteStream
from msgspec import Struct

from mcpcore.engine.faults import Fault, FaultKind
from transports.http_body import BadBody, Body, ChunkedBody, LengthBody, StreamBody
from transports.link_errors import STREAM_ERRORS

BODY_LIMIT = 4 * 1024
"""How much of a refusal's body is read for its first line, in bytes."""

_PATIENCE = 1.0
"""Seconds for that."""
_RETRY_AFTER = re.compile(rb"[0-9]{1,9}")


class NotOpened(Exception):
    """There is no WebSocket; the message says why, ``fault`` what kind of failure it is."""

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
    """Say why the server did not upgrade; ``http_url``: the same place for HTTP."""
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
    """Read what there is soon of a body."""
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
