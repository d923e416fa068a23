"""A process whose work another does: it hands on its streams, and ends as it is told.

``launcher.py SOCKET [WORD ...]``: standard input, output and error go to whoever listens on a Unix
socket: to the test itself, or to a fork of a program that has imported everything already, so that
a hundred servers or clients cost as little as one.  Words, the folder and the environment follow if
there are words, and then the number of each SIGTERM and SIGINT that it gets.  It exits with the
status that it is sent, and with 1 if nobody sends one; whoever listens learns from the end of the
connection that it was killed.

It is run without ``site`` and imports what is built in only, as it is started very often.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys

STREAMS = (0, 1, 2)
SIGNALS = (_signal.SIGTERM, _signal.SIGINT)


def main() -> None:
    """Be the process."""
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.connect(sys.argv[1])
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in STREAMS)
    link.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    if words := [word.encode("utf-8", "surrogateescape") for word in sys.argv[2:]]:
        entries = (name + b"=" + value for name, value in posix.environ.items())
        given = b"\0".join([b"%d" % len(words), *words, posix.getcwdb(), *entries])
        link.sendall(len(given).to_bytes(4, "big") + given)
        for number in SIGNALS:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, lambda number, frame: link.send(bytes([number])))
    for number in STREAMS:
        posix.close(number)  # from now on there is one owner of each
    status = link.recv(1)
    posix._exit(status[0] if status else 1)


if __name__ == "__main__":
    main()
