"""Last moments of a connection on a stream of anyio: its last reply must be readable."""

from typing import cast

import anyio
from anyio.abc import ByteStream

from mcpcore_transports.http.settings import HttpServerSettings

_DEFAULTS = HttpServerSettings()

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""Exceptions raised at the end of a connection."""


async def linger(stream: ByteStream, settings: HttpServerSettings = _DEFAULTS) -> None:
    """Let the client read the reply: closing with unread input would reset the connection."""
    # Imported late: one is for upgrades, the other for TLS.
    from mcpcore_transports.http.server.protocol_stream import ProtocolStream
    from mcpcore_transports.stream.channels import SecureStream

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
