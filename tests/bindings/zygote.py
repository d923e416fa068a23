"""Stdio servers by the hundred: one program that has imported everything, and forks.

``zygote.py BACKEND SOCKET``: each :mod:`launcher <tests.launcher>` that connects becomes a
server of its own, on the launcher's standard streams.
"""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mcpcore.service import Server
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.server.settings import RuntimeSettings
from tests.bindings.places import ROOMY
from tests.bindings.workbench import make_workbench
from tests.forks import fork_for_each, take_streams

SETTINGS = ServeSettings(runtime=RuntimeSettings(limits=ROOMY))


def serve(
    backend: str, make_server: Callable[[], Server], settings: ServeSettings, link: socket.socket
) -> None:
    """Be the server on the streams that come over ``link``; does not return."""
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    take_streams(streams)
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
    fork_for_each(path, partial(serve, backend, make_server, settings))


if __name__ == "__main__":
    main()
