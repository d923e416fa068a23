"""Ports for programs that have to be told which one they listen on."""

import socket
import sys

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that nobody listens on.

    On Linux it is held until this process ends, by a socket that is bound and does not listen: no
    other socket is given it by chance, and a program that sets ``SO_REUSEADDR`` can listen on it.
    """
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
    else:
        holder.close()
    return port
