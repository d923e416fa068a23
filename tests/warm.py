"""Python programs without the time of their start: forks of one that has imported everything.

``warm.py SOCKET MODULE ...`` imports modules; each :mod:`launcher <tests.launcher>` that connects
becomes the program of its words (``-W ACTION`` if at all, ``-m MODULE``, ``-c CODE`` or ``FILE``,
and arguments), with its environment, its folder, its module search path and its standard streams.
What a module reads from the environment when imported is that of this program.

Tests about what programs say start them with ``PYTHON``.
Tests of a process as such (its start, what it imports, its terminal, its id, its end by a signal
that it does not catch) use ``sys.executable``.
"""

import importlib
import os
import pkgutil
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.forks import fork_for_each, launcher, take_streams
from tests.rest import at_rest

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
_CASES = "mcpcore_conformance.cases"
_FOLDER = Path(__file__).parents[1] / "conformance" / _CASES.replace(".", "/")
PROGRAMS = (
    "anyio._backends._trio",
    "hypothesis",
    "mcpcore_bench.commands.app",
    "mcpcore_conformance.commands.app",
    "mcpcore_conformance.pytest.subject",
    "mcpcore_conformance.trace.app",
    "mcpcore_transports.commands.app",
    "mcpcore_transports.commands.client",
    "mcpcore_transports.commands.gateway",
    "mcpcore_transports.commands.serve",
    "mcpcore_transports.http.server.host",
    "mcpcore_transports.websocket.server",
    *CLIENT,
    *SERVER,
    "pytest",
    "typer._adapters",
    "uvloop",
    *(f"{_CASES}.{each.name}" for each in pkgutil.iter_modules([str(_FOLDER)])),
)
"""Modules of the programs that tests start, likewise."""
_PATH = Path(tempfile.gettempdir(), f"mcp-warm-{os.getpid()}", "zygote")
"""Where the warm program of this process listens."""

PYTHON = launcher(_PATH)
"""The words that stand for ``python`` while :func:`warm_programs` lasts."""


@contextmanager
def warm_programs() -> Iterator[None]:
    """Have the program behind ``PYTHON``."""
    shutil.rmtree(_PATH.parent, ignore_errors=True)  # of a process of this number that was killed
    _PATH.parent.mkdir(mode=0o700)
    try:
        with _listening(str(_PATH), PROGRAMS, {}):
            yield
    finally:
        shutil.rmtree(_PATH.parent)


@contextmanager
def warm_program(
    modules: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, ...]]:
    """Have such a program; gives the words for ``python -m`` and the first of ``modules``."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        path = str(Path(room, "zygote"))
        with _listening(path, modules, environment or {}):
            yield (*launcher(path), "-m", modules[0])


@contextmanager
def _listening(path: str, modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, __file__, path, *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()
        assert process.wait() == 0


def _heed(link: socket.socket, leave: Callable[[int], NoReturn]) -> None:
    """Get the signals that the launcher gets; end when it does."""
    main = threading.main_thread().ident
    assert main is not None
    while number := link.recv(1):
        signal.pthread_kill(main, number[0])  # which may wait in a system call
    leave(1)


def _run(words: list[str]) -> None:
    """Do what ``python`` does with words."""
    if words[0] == "-W":
        warnings.simplefilter(words[1])  # type: ignore[arg-type]
        words = words[2:]
    first, *sys.argv = words
    if first == "-m":
        sys.modules.pop(sys.argv[0], None)  # else it is warned of
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    if first == "-c":
        name, code = "<string>", sys.argv[0]
        sys.argv[0] = first
    else:
        name, code = first, Path(first).read_text("utf-8")
        sys.argv = words
        sys.path[0] = str(Path(first).resolve().parent)
        main.__file__ = first
    exec(compile(code, name, "exec"), vars(main))


def _become(link: socket.socket) -> None:
    """Be the program that a launcher stands for; does not return."""
    leave = os._exit

    def end(status: int) -> NoReturn:
        """Leave at once, as the program may, and have the launcher leave with that status."""
        link.send(bytes([status & 255]))
        leave(status)

    os._exit = end
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
        words, folder = rest[: int(count)], rest[int(count)]
        os.chdir(folder)
        os.environ.clear()
        for entry in rest[int(count) + 1 :]:
            name, _, value = entry.partition("=")
            os.environ[name] = value
        search = os.environ.get("PYTHONPATH", "")
        sys.path[:0] = [folder, *filter(None, search.split(os.pathsep))]
        threading.Thread(target=_heed, args=(link, leave), daemon=True).start()
        _run(words)
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
        end(status if isinstance(status, int) else 1)


def main() -> None:
    """Be the program."""
    path, *modules = sys.argv[1:]
    sys.path.remove(str(Path(__file__).parent))  # whose names would hide those of others
    for name in modules:
        importlib.import_module(name)
    anyio.run(anyio.sleep, 0)  # imports what it does on this event loop
    at_rest()  # pages that forks share stay shared
    fork_for_each(path, _become)


if __name__ == "__main__":
    main()
