"""Our reference client by the hundred: one program that has imported everything, and forks.

``client_zygote.py SOCKET``: each :mod:`launcher <tests.conformance_kit.client_launcher>` that
connects becomes a client of its own, with the launcher's address, environment and standard streams.
Most of what a client takes that is started for one case is its start.
"""

import gc
import importlib
import os
import selectors
import signal
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

from conformance.everything import client

HERE = Path(__file__).parent
LATER = (
    "transports.http_link",
    "transports.json_schema",
    "transports.process",
    "transports.websocket_client",
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
    status = 1
    try:
        size, streams, _, _ = socket.recv_fds(link, 4, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
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
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
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
                os.setsid()
                _be_client(link)
            link.close()


if __name__ == "__main__":
    main()
