"""Stdio servers by the hundred: one program that has imported everything, and forks.

``zygote.py BACKEND SOCKET``: each :mod:`launcher <tests.bindings.launcher>` that connects becomes a
server of its own, on the launcher's standard streams.
"""

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mcpcore.service import Server
from tests.bindings.places import ROOMY
from tests.bindings.workbench import make_workbench
from transports.runtime import RuntimeSettings
from transports.server import ServeSettings, run

SETTINGS = ServeSettings(runtime=RuntimeSettings(limits=ROOMY))


def serve(
    link: socket.socket, backend: str, make_server: Callable[[], Server], settings: ServeSettings
) -> None:
    """Be the server on the streams that come over ``link``; does not return."""
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    status = 1
    try:
        run(make_server(), stdio=True, settings=settings, backend=backend)
        status = 0
    finally:
        with suppress(OSError):  # whom it would tell may be gone
            link.send(bytes([status]))
        os._exit(status)


def main(
    make_server: Callable[[], Server] = make_workbench, settings: ServeSettings = SETTINGS
) -> None:
    """Be the program."""
    backend, path = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
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
                serve(link, backend, make_server, settings)
            link.close()


if __name__ == "__main__":
    main()
