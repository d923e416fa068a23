"""Starting HTTP servers that are told their port and announce nothing."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep

from conformance.peers.programs import PORT
from mcpcore_conformance.launch import LaunchError

TIMEOUT = 30.0
"""Seconds to start."""


@contextmanager
def listening(command: Sequence[str]) -> Iterator[str]:
    """Run ``command`` on a free port, and yield the URL once it accepts connections.

    Raises LaunchError if it ends before, or takes too long.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = [str(port) if word == PORT else word for word in command]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = monotonic() + TIMEOUT
        while not _accepts(port):
            if process.poll() is not None or monotonic() > until:
                raise LaunchError(f"{' '.join(words)}: nobody listens on port {port}")
            sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
