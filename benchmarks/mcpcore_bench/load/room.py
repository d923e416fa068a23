"""Where a connection's bytes arrive: a buffer that is written again and again."""

import socket
import ssl
from collections.abc import Callable
from functools import partial

from mcpcore_bench.load.asks import WrongReply

Receive = Callable[[memoryview], int]
_FIRST = 1 << 12
"""Room for most replies, little enough for a thousand connections to stay in the caches."""

_RECORD = 1 << 15
"""Room for a record of TLS, behind what there is of a reply as small as those over TLS are."""


class Room:
    """What was received and is not done with yet: the first ``have`` bytes of ``data``.

    Nothing is copied, and no memory is made anew for a reply, however large: whoever looks at the
    bytes does so here, before the next are received.
    """

    def __init__(self, receive: Receive, patient: Receive | None = None) -> None:
        """``receive``: fills as much as there is, and tells how much that was.

        ``patient``: waits until all is full.
        """
        self._receive, self._patient = receive, patient or receive
        self.data = bytearray(_FIRST)
        self.view = memoryview(self.data)
        self.have = 0

    @classmethod
    def of(cls, connection: socket.socket) -> "Room":
        """What a socket receives."""
        receive = connection.recv_into
        if isinstance(connection, ssl.SSLSocket):
            # What is left of a record is kept by OpenSSL, unseen by who waits for the socket.
            room = cls(receive)
            room.fit(_RECORD)
            return room
        return cls(receive, partial(receive, flags=socket.MSG_WAITALL))

    def more(self, total: int = 0) -> None:
        """Receive once; where ``total`` is known, all that is missing.

        Raises WrongReply at the end.
        """
        have = self.have
        if total:
            got = self._patient(self.view[have:total])
        else:
            got = self._receive(self.view[have:] if have else self.view)
        if not got:
            raise WrongReply(
                f"the connection has ended after {bytes(self.view[: min(have, 200)])!r}"
            )
        self.have = have + got

    def fit(self, size: int) -> None:
        """Have room for so many bytes."""
        if size > len(self.data):
            data = bytearray(size)
            data[: self.have] = self.view[: self.have]
            self.data, self.view = data, memoryview(data)

    def widen(self) -> None:
        """Have room for more, if it is full."""
        if self.have == len(self.data):
            self.fit(2 * self.have)

    def keep(self, begin: int) -> None:
        """Be done with what comes before."""
        rest = self.have - begin
        if rest:
            self.data[:rest] = self.data[begin : self.have]
        self.have = rest
