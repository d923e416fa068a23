"""A program that has imported everything, and forks for each who connects.

Most of what a process takes that is started for one case is its start.
"""

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def launcher(path: str | Path) -> tuple[str, ...]:
    """The command that hands its streams, and words behind it, to whoever listens on ``path``."""
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py")), str(path))


def fork_for_each(path: str, become: Callable[[socket.socket], object]) -> None:
    """Listen on a Unix socket at ``path``, say so, and fork until standard input ends.

    A fork runs ``become`` with its connection, and is to leave by ``os._exit``.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, _reap)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if 0 in ready:  # the test has gone
                return
            link, _ = listener.accept()
            if os.fork() == 0:
                selector.close()
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                become(link)
            link.close()


def _reap(*_: object) -> None:
    """Wait for the forks that have ended: what they took counts as what this program took."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def take_streams(streams: list[int]) -> None:
    """Have the descriptors that came as standard streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
