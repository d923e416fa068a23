"""TLS between a transport of asyncio and a protocol: bytes in, bytes out.

asyncio has such a layer too, but its handling of the ends of a connection is not enough here: it
leaves unsent the alert that tells why a handshake has failed, and the data that a client sends
after a refusal cannot be read to its end.
"""

import ssl
from contextlib import suppress

from mcpcore.http.certificates import ClientCertificate
from mcpcore_transports.tls import read_all, shown_certificate


class ServerTls:
    """Server side of TLS on one connection."""

    __slots__ = ("_connection", "_in", "_out", "established", "over", "untaken")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._connection = context.wrap_bio(self._in, self._out, server_side=True)
        self.established = False
        """True once the handshake is complete."""
        self.over = False
        """True once the client has announced the end of its data."""
        self.untaken = 0
        """Bytes of :meth:`pending` that the client has not taken; counted by the caller."""

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take received bytes; return the decrypted data.  Look at :meth:`pending` afterwards.

        Raises ssl.SSLError for input that is refused; then there may be pending output, too.
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
        """Take and return the bytes to be sent."""
        return self._out.read()

    def send(self, data: bytes | memoryview) -> bytes:
        """Return the bytes to be sent for ``data``, with those pending."""
        self._connection.write(data)
        return self._out.read()

    def finish(self) -> bytes:
        """Return the close alert (RFC 8446 section 6.1); empty at the second call."""
        with suppress(ssl.SSLError):  # the client's own end is not waited for
            self._connection.unwrap()
        return self._out.read()

    def certificate(self) -> ClientCertificate | None:
        """Return the verified certificate of the client, once established."""
        return shown_certificate(self._connection)
