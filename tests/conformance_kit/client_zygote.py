"""Our reference client by the hundred: one program that has imported everything, and forks.

``client_zygote.py SOCKET``: each :mod:`launcher <tests.conformance_kit.client_launcher>` that
connects becomes a client of its own, with the launcher's address, environment and standard streams.
"""

import gc
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from mcpcore_conformance.everything import client
from tests.forks import fork_for_each, take_streams

HERE = Path(__file__).parent
LATER = (
    "mcpcore_transports.http.link",
    "mcpcore_transports.schema",
    "mcpcore_transports.stdio.process",
    "mcpcore_transports.websocket.client",
)
"""What a client imports when it needs it: to have it here saves time, and nothing else."""


@contextmanager
def warm_client() -> Iterator[Sequence[str]]:
    """Have such a program; gives the command that is a client of it."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        path = str(Path(room, "zygote"))
        words = [sys.executable, __file__, path]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield (sys.executable, "-I", "-S", str(HERE / "client_launcher.py"), path)
            process.stdin.close()
            assert process.wait() == 0


def _die_with(link: socket.socket) -> None:
    """End when the launcher does, which says nothing more."""
    link.recv(1)
    os._exit(1)


def _be_client(link: socket.socket) -> None:
    """Be the client that a launcher stands for; does not return."""
    os.setsid()
    status = 1
    try:
        size, streams, _, _ = socket.recv_fds(link, 4, 3)
        take_streams(streams)
        with link.makefile("rb") as reader:
            given = reader.read(int.from_bytes(size, "big"))
        address, *environment = given.split(b"\0")
        os.environb.clear()
        for entry in environment:
            name, _, value = entry.partition(b"=")
            os.environb[name] = value
        threading.Thread(target=_die_with, args=(link,), daemon=True).start()
        status = client.main([address.decode()])
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        link.send(bytes([status]))
        os._exit(status)


def main() -> None:
    """Be the program."""
    for name in LATER:
        importlib.import_module(name)
    anyio.run(anyio.sleep, 0)  # imports what it does on this event loop
    gc.collect()
    gc.freeze()  # pages that forks share stay shared
    fork_for_each(sys.argv[1], _be_client)


if __name__ == "__main__":
    main()
