"""Each call of the system: sockets, descriptors, processes, SQLite; failing as it can fail.

What is patched is what the event loops and the drivers themselves call, so that what is under test
are the real loops, streams and drivers on top of it.  ``again``: nothing is there after all.
``short``: one byte, really, and the rest stays where it is.  ``end``: the other side has closed.
Where a run has little room, that is so of every write (:attr:`~tests.torture.points.Watch.room`).
"""

import errno
import fcntl
import importlib
import os
import pathlib
import pkgutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import types
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import Any
from unittest import mock

import anyio
import trio._socket

import mcpcore_transports
from tests.torture.points import DRIVERS, Watch, caller, ours

_READS = ("error", "short", "end")
_WRITES = ("error", "short")
SOCKET = {
    "recv": (errno.ECONNRESET, _READS),
    "recv_into": (errno.ECONNRESET, _READS),
    "send": (errno.EPIPE, _WRITES),
    "sendall": (errno.EPIPE, ("error",)),
    "sendmsg": (errno.EPIPE, _WRITES),
    "recvmsg": (errno.ECONNRESET, ("error",)),
    "accept": (errno.EMFILE, ("error",)),
    "connect": (errno.ECONNREFUSED, ("error",)),
    "bind": (errno.EADDRINUSE, ("error",)),
    "listen": (errno.EADDRINUSE, ("error",)),
    "shutdown": (errno.ENOTCONN, ("error",)),
    "setsockopt": (errno.EINVAL, ("error",)),
    "getsockopt": (errno.EINVAL, ("error",)),
    "getpeername": (errno.ENOTCONN, ("error",)),
    "getsockname": (errno.ENOBUFS, ("error",)),
}
"""Methods of sockets: what they fail with, and how."""
_WAITS = {"recv", "recv_into", "send", "sendmsg", "accept"}
"""Those of a non-blocking socket that may find nothing to do after all."""
OS = {
    "read": (errno.EIO, _READS),
    "write": (errno.EPIPE, _WRITES),
    **dict.fromkeys(
        ("open", "close", "stat", "fstat", "lstat", "unlink", "chmod", "fchmod", "listdir"),
        (errno.EIO, ("error",)),
    ),
    **dict.fromkeys(("dup", "dup2", "pipe", "pidfd_open"), (errno.EMFILE, ("error",))),
    **dict.fromkeys(("kill", "killpg", "set_blocking"), (errno.EPERM, ("error",))),
}
OTHERS: dict[str, tuple[Any, Exception, tuple[str, ...]]] = {
    "socket.socketpair": (socket, OSError(errno.EMFILE, "EMFILE"), ("error",)),
    "socket.getaddrinfo": (
        *(socket, socket.gaierror(socket.EAI_AGAIN, "EAI_AGAIN")),
        ("error",),
    ),
    "fcntl.flock": (fcntl, OSError(errno.ENOLCK, "ENOLCK"), ("error", "again")),
    "fcntl.fcntl": (fcntl, OSError(errno.EMFILE, "EMFILE"), ("error",)),
    "signal.pidfd_send_signal": (signal, OSError(errno.EPERM, "EPERM"), ("error",)),
    "Path.read_text": (pathlib.Path, OSError(errno.EIO, "EIO"), ("error",)),
    "anyio.wait_readable": (anyio, OSError(errno.ENOSPC, "ENOSPC"), ("error",)),
    "anyio.wait_writable": (anyio, OSError(errno.ENOSPC, "ENOSPC"), ("error",)),
    "loop.add_reader": (BaseSelectorEventLoop, OSError(errno.ENOSPC, "ENOSPC"), ("error",)),
    "Popen.__init__": (subprocess.Popen, OSError(errno.EAGAIN, "EAGAIN"), ("error",)),
}
"""Everything else: where it is, what it fails with, and how."""
_OWN = {
    *("socket", "socketpair", "flock", "fcntl", "pidfd_send_signal", "read_text"),
    *("wait_readable", "wait_writable", "add_reader"),
}
"""Of these only those of a driver's: event loops make some for themselves."""
_CROWD, _FIRST = "process_tree", 3
"""What looks at every process of the machine: those that it looks at first are enough."""
_CARRY = {"recv", "recv_into", "recvmsg", "send", "sendall", "sendmsg"}
"""Those whose errors are the end of the connection."""
_OPTIONS = {"setsockopt", "getsockopt", "getpeername", "getsockname"}
"""What the event loops make of a failure of these is theirs."""
_LOOPS = ("site-packages", "asyncio", "concurrent/futures")
"""Where event loops are, and the threads in which they make calls."""
_LOOPS_OWN = {"_read_from_self", "_write_to_self", "wakeup_thread_and_signal_safe", "drain"}
"""Functions of the event loops that wake them up: no I/O of a driver's."""


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _site(name: str, frame: FrameType) -> str | None:
    """Where a call is made; None where it is none of a driver's."""
    if frame.f_code.co_name in _LOOPS_OWN:
        return None
    if name in _OPTIONS and not frame.f_code.co_filename.startswith(DRIVERS):
        return None
    where = ours(frame)
    if where is None and name in _OWN:
        return None
    if where is None:
        file = os.path.basename(frame.f_code.co_filename)
        where = f"{file} {frame.f_code.co_name}"
        if not any(words in frame.f_code.co_filename for words in _LOOPS):
            return None
    return f"{where} {name}"


def _way(name: str, kinds: tuple[str, ...], frame: FrameType) -> str | None:
    watch = Watch.current
    site = None if watch is None or not watch.on else _site(name, frame)
    if watch is None or site is None:
        return None
    return watch.visit("call", site, kinds, most=_FIRST if _CROWD in site else sys.maxsize)


def _taken(name: str, frame: FrameType, descriptor: int, data: Any) -> Any:
    """As much of what is written as the system takes now.  Raises BlockingIOError."""
    watch = Watch.current
    if watch is None or watch.room is None or descriptor < 0 or _site(name, frame) is None:
        return data
    # Copied: who has written, and failed, may change what it is from.
    part = bytes(data[: watch.taken(descriptor, len(data))])
    if data and not part:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return part


def _socket_method(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    number, kinds = SOCKET[name]

    @wraps(real, updated=())
    def call(self: socket.socket, *args: Any) -> Any:
        possible = kinds
        if name in _WAITS and self.gettimeout() == 0.0:
            possible = (*kinds, "again")
        way = _way(name, possible, caller())
        if way == "error":
            if name in _CARRY:
                _kill(self)
            raise _failure(number)
        if way == "again":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if way == "end":
            return 0 if name == "recv_into" else b""
        if way == "short":
            args = (_SHORT[name](args[0]), *args[1:])
        elif name == "send" and self.gettimeout() == 0.0:
            args = (_taken(name, caller(), self.fileno(), args[0]), *args[1:])
        return real(self, *args)

    return call


def _first(parts: Iterable[Any]) -> list[memoryview]:
    return [memoryview(part)[:1] for part in parts if len(part)][:1]


_SHORT: dict[str, Callable[[Any], Any]] = {
    "recv": lambda size: min(size, 1),
    "recv_into": lambda room: memoryview(room)[:1],
    "send": lambda data: memoryview(data)[:1],
    "sendmsg": _first,
}
"""What a call is given that takes or gives one byte."""


def _kill(sock: socket.socket) -> None:
    """Let the connection be at its end for the other side as well: such errors do not pass."""
    with suppress(OSError):
        _shutdown(sock, socket.SHUT_RDWR)


_shutdown = socket.socket.shutdown


def _trio_helper(real: Callable[..., Any]) -> Callable[..., Any]:
    async def helper(self: Any, wait: Any, fn: Callable[..., Any], /, *args: Any) -> Any:
        name = fn.__name__
        return await real(self, wait, _socket_method(name, fn) if name in SOCKET else fn, *args)

    return helper


def _os_function(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    number, kinds = OS[name]

    @wraps(real)
    def call(*args: Any, **options: Any) -> Any:
        possible = kinds
        if name in ("read", "write") and not os.get_blocking(args[0]):
            possible = (*kinds, "again")
        way = _way(name, possible, caller())
        if way == "error":
            if name == "close":
                real(*args)
            elif name in ("read", "write") and stat.S_ISSOCK(os.fstat(args[0]).st_mode):
                with socket.socket(fileno=os.dup(args[0])) as sock:
                    _kill(sock)
            raise _failure(number)
        if way == "again":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if way == "end":
            return b""
        if way == "short":
            args = (args[0], 1) if name == "read" else (args[0], memoryview(args[1])[:1])
        elif name == "write" and not os.get_blocking(args[0]):
            args = (args[0], _taken(name, caller(), args[0], args[1]))
        return real(*args, **options)

    return call


class _Database(sqlite3.Connection):
    def execute(self, *args: Any) -> Any:
        frame = caller()
        if frame.f_code.co_name in ("_run", "_row", "_value") and frame.f_back is not None:
            frame = frame.f_back
        _perhaps_sqlite(args[0], frame)
        return super().execute(*args)


def _perhaps_sqlite(statement: str, frame: FrameType) -> None:
    if _way(statement.split()[0], ("error",), frame) is not None:
        raise sqlite3.OperationalError("disk I/O error")


def _connect(*args: Any, **options: Any) -> Any:
    if _way("connect", ("error",), caller()) is not None:
        raise sqlite3.OperationalError("unable to open database file")
    return sqlite3.connect(*args, factory=_Database, **options)


def _new_socket(real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def make(self: Any, *args: Any, **options: Any) -> None:
        # One around a descriptor that is there asks nothing of the system.
        there = len(args) > 3 or options.get("fileno") is not None
        if not there and _way("socket", ("error",), caller()) is not None:
            self._closed = True
            raise _failure(errno.EMFILE)
        real(self, *args, **options)

    return make


def _other(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    _, error, kinds = OTHERS[what]
    where, _, name = what.partition(".")
    name = where if name == "__init__" else name

    @wraps(real)
    def call(*args: Any, **options: Any) -> Any:
        way = _way(name, kinds, caller())
        if way == "error":
            raise type(error)(*error.args)
        if way == "again":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(*args, **options)

    return call


def _like(module: types.ModuleType, **instead: Any) -> types.ModuleType:
    """A module that has some other functions."""
    made = types.ModuleType(module.__name__)
    made.__dict__.update(module.__dict__)
    made.__dict__.update(instead)
    return made


def modules() -> dict[str, types.ModuleType]:
    """All of ``transports``, imported: what is only imported in a run would not be watched."""
    found = pkgutil.walk_packages(mcpcore_transports.__path__, "mcpcore_transports.")
    return {each.name: importlib.import_module(each.name) for each in found}


@contextmanager
def watched() -> Iterator[None]:
    """Let every call be a point."""
    own_os = _like(os, **{name: _os_function(name, getattr(os, name)) for name in OS})
    every = modules()
    with ExitStack() as stack:

        def instead(owner: Any, name: str, made: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, made))

        for name in SOCKET:
            instead(socket.socket, name, _socket_method(name, getattr(socket.socket, name)))
        instead(socket.socket, "__init__", _new_socket(socket.socket.__init__))
        helper = _trio_helper(trio._socket._SocketType._nonblocking_helper)
        instead(trio._socket._SocketType, "_nonblocking_helper", helper)
        for what, (owner, _, _) in OTHERS.items():
            name = what.partition(".")[2]
            instead(owner, name, _other(what, getattr(owner, name)))
        for module in every.values():
            if getattr(module, "os", None) is os:
                instead(module, "os", own_os)
        opening = _like(sqlite3, connect=_connect)
        instead(every["mcpcore_transports.stores.sqlite_file"], "sqlite3", opening)
        yield
