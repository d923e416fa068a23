"""A client of TLS that says when which of its bytes are sent."""

import ssl
from contextlib import suppress

import anyio
from anyio.abc import SocketStream

from mcpcore_transports.tls import client_tls


class ByHand:
    """One end of TLS, without a connection."""

    def __init__(self, authority: str) -> None:
        self._came, self._ready = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_tls(ca=authority)
        self.end = context.wrap_bio(self._came, self._ready, server_hostname="localhost")
        self.established = self.over = False

    def take(self, data: bytes) -> bytes:
        """Take what has come; return what it holds.  Raises ssl.SSLError for an alert."""
        self._came.write(data)
        parts: list[bytes] = []
        try:
            if not self.established:
                self.end.do_handshake()
                self.established = True
            while part := self.end.read(1 << 20):
                parts.append(part)
            self.over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # we have ended, too
            self.over = True
        return b"".join(parts)

    def write(self, data: bytes, *, last: bool = False) -> bytes:
        """What is to be sent for ``data``, with the word that nothing follows if it is the last."""
        if data:
            self.end.write(data)
        if last:
            with suppress(ssl.SSLWantReadError):
                self.end.unwrap()
        return self.ready()

    def ready(self) -> bytes:
        """What is to be sent."""
        return self._ready.read()


async def dial(port: int, authority: str) -> tuple[ByHand, SocketStream]:
    """Connect, and make the handshake."""
    stream, client = await anyio.connect_tcp("127.0.0.1", port), ByHand(authority)
    client.take(b"")
    while not client.established:
        await stream.send(client.ready())
        client.take(await stream.receive())
    await stream.send(client.ready())
    return client, stream


async def read_on(client: ByHand, stream: SocketStream, until: bytes = b"") -> bytes:
    """What the server says, to its end or until it has said that."""
    text, looked = bytearray(), 0
    while not client.over and not (until and text.find(until, looked) >= 0):
        looked = max(0, len(text) - len(until))
        try:
            text += client.take(await stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            break
    return bytes(text)
