"""The program that a client takes for a stdio server: it passes everything on to the kit.

``python relay.py PORT TOKEN``.  Bytes go through one loopback connection as they are; a second one
carries what is not bytes: the process id and signals to the kit; from it orders, one a line:
``stderr HEX``, ``exit STATUS`` (negative: by that signal), ``deaf`` (leave the input unread) and
``hear``.  Imports little, so that it is there at once.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing would take longer than all the rest
    from collections.abc import Callable
    from typing import Any

CHUNK = 65536


def main(port: int, token: str) -> int:
    """Relay until the kit or the client says that it is over."""
    told = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    data = socket.create_connection(("127.0.0.1", port))
    data.sendall(f"data {token} {os.getpid()}\n".encode())
    control = socket.create_connection(("127.0.0.1", port))
    control.sendall(f"control {token} {os.getpid()}\n".encode())
    for each in told:
        signal.signal(
            each,
            lambda number, frame: control.sendall(
                f"signal {signal.Signals(number).name}\n".encode()
            ),
        )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, told)
    readable: list[Any] = [0, data, control]
    orders = b""
    while True:
        ready = select.select(readable, [], [])[0]
        if 0 in ready:
            taken = os.read(0, CHUNK)
            if not taken:
                readable.remove(0)
                if _still(data.shutdown, socket.SHUT_WR):
                    control.sendall(b"eof\n")
            elif not _still(data.sendall, taken):
                readable.remove(0)
        if data in ready:
            taken = data.recv(CHUNK)
            if not taken:
                readable.remove(data)
                os.close(1)
            elif not _written(taken):
                readable.remove(data)
                control.sendall(b"deaf\n")
        if control in ready:
            taken = control.recv(CHUNK)
            if not taken:
                return 0
            *lines, orders = (orders + taken).split(b"\n")
            for line in lines:
                word, _, value = line.partition(b" ")
                if word == b"exit":
                    # what was said before is on its way through the other connection
                    _drain(data, readable)
                    if int(value) < 0:
                        if -int(value) != signal.SIGKILL:
                            signal.signal(-int(value), signal.SIG_DFL)
                        os.kill(os.getpid(), -int(value))
                    return int(value)
                if word == b"deaf" and 0 in readable:
                    readable.remove(0)
                if word == b"hear" and 0 not in readable:
                    readable.append(0)
                if word == b"stderr":
                    os.write(2, bytes.fromhex(value.decode()))


def _still(send: Callable[[Any], object], value: Any) -> bool:
    try:
        send(value)
    except OSError:
        return False
    return True


def _written(data: bytes) -> bool:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except OSError:
        return False
    return True


def _drain(data: socket.socket, readable: list[Any]) -> None:
    while data in readable and select.select([data], [], [], 0)[0]:
        taken = data.recv(CHUNK)
        if not taken or not _written(taken):
            return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
