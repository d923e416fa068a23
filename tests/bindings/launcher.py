"""A command that hands its standard streams to whoever listens on a Unix socket.

``launcher.py SOCKET``: for tests of stdio. To the client it is the server's process; the streams
are spoken by the test itself or by a fork of a program that has imported everything already, so
that a hundred servers cost as little as one.  It exits with the status that it is sent, and with 1
if nobody sends one.

It is run without ``site`` and imports what is built in only, as it is started very often.
"""

import _socket
import posix
import sys

STREAMS = (0, 1, 2)


def main() -> None:
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.connect(sys.argv[1])
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in STREAMS)
    link.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    for number in STREAMS:
        posix.close(number)  # from now on there is one owner of each
    status = link.recv(1)
    posix._exit(status[0] if status else 1)


main()
