"""TLS between a transport of asyncio and a protocol: bytes in, bytes out.

asyncio has such a layer too, but what it does at the ends of a connection is not enough here: it
leaves unsent the alert that says why a handshake has failed, and cannot be read to the end of what
a client sends behind a refusal.
"""

import ssl
from contextlib import suppress

from mcpcore.http.certificates import ClientCertificate
from transports.tls import read_all, shown_certificate


class ServerTls:
    """The server's end of one connection."""

    __slots__ = ("_connection", "_in", "_out", "established", "over", "untaken")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._connection = context.wrap_bio(self._in, self._out, server_side=True)
        self.established = False
        """The handshake is complete."""
        self.over = False
        """The client has said that nothing follows."""
        self.untaken = 0
        """Bytes of :meth:`pending` that the client has not taken; counted by who writes them."""

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take what has come; return what it holds.  Look at :meth:`pending` afterwards.

        Raises ssl.SSLError for what is refused; then there may be something pending, too.
        """
        self._in.write(data)
        parts: list[bytes] = []
        try:
            if not self.established:
                self._connection.do_handshake()
                self.established = True
            self.over = read_all(self._connection, self._in, parts)
        except ssl.SSLWantReadError:
            pass  # of the handshake
        return b"".join(parts)

    def pending(self) -> bytes:
        """Take what is to be sent."""
        return self._out.read()

    def send(self, data: bytes | memoryview) -> bytes:
        """Return what is to be sent for ``data``, and with it."""
        self._connection.write(data)
        return self._out.read()

    def finish(self) -> bytes:
        """Return what says that nothing follows (RFC 8446 section 6.1); nothing the second time."""
        with suppress(ssl.SSLError):  # the client's own end is not waited for
            self._connection.unwrap()
        return self._out.read()

    def certificate(self) -> ClientCertificate | None:
        """The verified certificate of the client, once established."""
        return shown_certificate(self._connection)
