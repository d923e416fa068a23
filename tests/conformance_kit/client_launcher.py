"""``client_launcher.py SOCKET ADDRESS``: our reference client, but for the time of its start.

What it was given (address, environment, standard streams) goes to a fork of a :mod:`program that
has imported everything <tests.conformance_kit.client_zygote>`; it ends with the status of that, or
with 1 if the fork came to no end of its own.  If this process is killed, the fork ends as well.

It is run without ``site`` and imports what is built in only, as it is started very often.
"""

import _socket
import posix
import sys

STREAMS = (0, 1, 2)


def main() -> None:
    """Be the client's process."""
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.connect(sys.argv[1])
    words = [sys.argv[2].encode()]
    words += [name + b"=" + value for name, value in posix.environ.items()]
    given = b"\0".join(words)
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in STREAMS)
    size = len(given).to_bytes(4, "big")
    link.sendmsg([size], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    link.sendall(given)
    for number in STREAMS:
        posix.close(number)  # from now on there is one owner of each
    status = link.recv(1)
    posix._exit(status[0] if status else 1)


main()
