"""Program that ends the servers of a client that was killed.

:mod:`mcpcore_transports.stdio.reaper` starts it and gives the reason.  It reads lines: ``expect
MARK CLOSE TERM``, ``born MARK PID`` and ``gone MARK``.  At the end of its input the client has
died, and the servers that are not gone are ended: each has CLOSE seconds to exit by itself, as its
input is closed now, then TERM seconds after SIGTERM, then SIGKILL follows.

It is run as a file, by an interpreter without search path: it imports the standard library and one
module beside it.
"""

import os
import signal
import sys
import time
from contextlib import suppress

if __name__ == "__main__":
    sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from mcpcore_transports.stdio.tree import (
    HAS_PROC,
    Process,
    family,
    identify,
    is_alive,
    marked,
    signal_all,
)

_TICK = 0.02
_ROUNDS = 50


class Server:
    """Server that may have to be ended."""

    def __init__(self, mark: str, close_wait: float, term_wait: float) -> None:
        self.mark = mark
        self.close_wait = close_wait
        self.term_wait = term_wait
        self.pid: int | None = None
        self.root: Process | None = None
        self.seen: set[Process] = set()

    def born(self, pid: int) -> None:
        """Set the process id with which the server was started."""
        self.pid = pid
        self.root = identify(pid) if HAS_PROC else None

    def alive(self) -> set[Process]:
        """Return the processes of the server that still run (Linux)."""
        self.seen |= marked(self.mark)
        if self.root is not None:
            self.seen |= family(self.root, self.mark) | {self.root}
        self.seen = {each for each in self.seen if is_alive(each)}
        return self.seen

    def send(self, number: int) -> bool:
        """Signal all processes of the server; return True if any was present."""
        if HAS_PROC:
            return bool(signal_all(self.alive(), number))
        with suppress(OSError):
            if self.pid is not None:
                os.killpg(self.pid, number)
                return True
        return False

    def present(self) -> bool:
        """Return True if any process of the server is present."""
        return bool(self.alive()) if HAS_PROC else self.send(0)


def listen() -> list[Server]:
    """Read until our client has died; return the servers that it leaves behind."""
    servers: dict[str, Server] = {}
    for line in sys.stdin:
        word, mark, *rest = line.split()
        if word == "expect":
            servers[mark] = Server(mark, float(rest[0]), float(rest[1]))
        elif word == "born" and mark in servers:
            servers[mark].born(int(rest[0]))
        else:
            servers.pop(mark, None)
    return list(servers.values())


def bury(servers: list[Server]) -> None:
    """End all servers at the same time, each within its own times."""
    now = time.monotonic()
    steps = [(now + each.close_wait, signal.SIGTERM, each) for each in servers]
    while steps:
        later = []
        for due, number, server in steps:
            if not server.present():
                continue
            if time.monotonic() < due:
                later.append((due, number, server))
            elif number == signal.SIGTERM:
                server.send(number)
                later.append((due + server.term_wait, signal.SIGKILL, server))
            else:
                for _ in range(_ROUNDS):  # they may be starting others
                    if not server.send(number):
                        break
                    time.sleep(_TICK)
        steps = later
        time.sleep(_TICK)


if __name__ == "__main__":
    bury(listen())
