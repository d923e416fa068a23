"""Python programs without the time of their start: forks of one that has imported everything.

``warm.py SOCKET MODULE ...`` imports modules; each :mod:`launcher <tests.launcher>` that connects
becomes the program of its words (``-m MODULE ARGUMENT ...``), with its environment, its folder and
its standard streams.  What a module reads from the environment when imported is that of this
program.
"""

import gc
import importlib
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.forks import fork_for_each, launcher, take_streams

CLIENT = (
    "mcpcore_conformance.everything.client",
    "mcpcore_transports.http.link",
    "mcpcore_transports.schema",
    "mcpcore_transports.stdio.process",
    "mcpcore_transports.websocket.client",
)
"""Modules of our reference client, with what it imports when it needs it."""
SERVER = (
    "mcpcore_conformance.everything.server",
    "mcpcore_transports.schema",
    "mcpcore_transports.stdio.server",
)
"""Modules of our reference server over stdio, likewise."""


@contextmanager
def warm_program(
    modules: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, ...]]:
    """Have such a program; gives the words for ``python -m`` and the first of ``modules``."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        path = str(Path(room, "zygote"))
        with subprocess.Popen(
            [sys.executable, __file__, path, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield (*launcher(path), "-m", modules[0])
            process.stdin.close()
            assert process.wait() == 0


def _heed(link: socket.socket) -> None:
    """Get the signals that the launcher gets; end when it does."""
    while number := link.recv(1):
        os.kill(os.getpid(), number[0])
    os._exit(1)


def _become(link: socket.socket) -> None:
    """Be the program that a launcher stands for; does not return."""
    os.setsid()
    status: object = 1
    try:
        _, streams, _, _ = socket.recv_fds(link, 1, 3)
        take_streams(streams)
        with link.makefile("rb", 0) as reader:
            given = b""
            size = int.from_bytes(reader.read(4), "big")
            while len(given) < size:
                given += reader.read(size - len(given))
        count, *rest = map(os.fsdecode, given.split(b"\0"))
        (_, module, *arguments), folder = rest[: int(count)], rest[int(count)]
        os.chdir(folder)
        os.environ.clear()
        for entry in rest[int(count) + 1 :]:
            name, _, value = entry.partition("=")
            os.environ[name] = value
        threading.Thread(target=_heed, args=(link,), daemon=True).start()
        sys.argv[1:] = arguments
        sys.modules.pop(module, None)  # else it is warned of
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = ended.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        code = status if isinstance(status, int) else 1
        link.send(bytes([code & 255]))
        os._exit(code)


def main() -> None:
    """Be the program."""
    path, *modules = sys.argv[1:]
    for name in modules:
        importlib.import_module(name)
    anyio.run(anyio.sleep, 0)  # imports what it does on this event loop
    gc.collect()
    gc.freeze()  # pages that forks share stay shared
    fork_for_each(path, _become)


if __name__ == "__main__":
    main()
