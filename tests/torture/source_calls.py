"""System calls in the source of ``transports``, and reasons why some are no points.

They are found by their names: whatever of a module of the system is named anywhere, called or not,
and each method that is called as one of a socket, a process, a file or a database is.
"""

import ast
import importlib
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.torture.calls import OS, OTHERS, SOCKET
from tests.torture.points import DRIVERS

_MODULES = {
    *("fcntl", "os", "resource", "select", "shutil", "signal", "socket", "sqlite3"),
    *("subprocess", "tempfile"),
}
_TYPES = (socket.socket, subprocess.Popen, sqlite3.Connection, sqlite3.Cursor)
_POLL = {"poll", "register", "unregister"}
_FILES = {
    *("chmod", "exists", "expanduser", "home", "is_dir", "is_file", "iterdir", "lstat", "mkdir"),
    *("open", "read_bytes", "read_text", "rename", "resolve", "rmdir", "stat", "touch", "unlink"),
    *("write_bytes", "write_text"),
}
"""Methods of paths that ask the system for something."""
_LOOP = {"add_reader", "wait_readable", "wait_writable"}


def named_calls() -> dict[str, set[str]]:
    """What is named, as ``os.read`` or as ``.recv``, to the lines where it is."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(DRIVERS).rglob("*.py")):
        name = str(path.relative_to(DRIVERS))
        for what, line in _named_in(ast.parse(path.read_text())):
            found.setdefault(what, set()).add(f"transports/{name}:{line}")
    return found


def _named_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    methods = {name for kind in _TYPES for name in dir(kind)} | _POLL | _FILES | _LOOP
    nodes = [*ast.walk(tree)]
    imports = (each.names for each in nodes if isinstance(each, ast.Import))
    modules = _MODULES & {each.name for names in imports for each in names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in _MODULES:
            yield from ((f"{node.module}.{each.name}", node.lineno) for each in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "open":
                yield "open", node.lineno
        elif isinstance(node, ast.Attribute):
            inner = node.value.id if isinstance(node.value, ast.Name) else ""
            if inner in modules and _does_something(inner, node.attr):
                yield f"{inner}.{node.attr}", node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            inner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if name in methods and inner not in modules and not name.startswith("_"):
                yield f".{name}", node.lineno


def _does_something(module: str, name: str) -> bool:
    """No number, and no error."""
    found = getattr(importlib.import_module(module), name, _does_something)
    return callable(found) and not (isinstance(found, type) and issubclass(found, BaseException))


def watched_calls() -> set[str]:
    """Those that are points, by the same names."""
    others = {what.replace("Popen.__init__", "subprocess.Popen") for what in OTHERS}
    methods = {what for what in others if what.startswith(("Path.", "anyio.", "loop."))}
    return {
        *(f"os.{name}" for name in OS),
        *(f".{name}" for name in SOCKET),
        *(others - methods),
        *(f".{what.partition('.')[2]}" for what in methods),
        *("socket.socket", "sqlite3.connect", ".execute"),
    }


_ASKS = "it asks nothing of the system that the system could refuse, or is another one's"
_OWN = "of what is ours it fails only where the descriptor or the process is none, or for memory"
_WHOLE = "it is made of calls that are points"
_START = "the command line, and what is looked at before a process is started: tests of their own"
_LAST = "it ends this process"

NO_POINTS: dict[str, str] = {
    **dict.fromkeys(
        (
            *(
                ".connection",
                "os.PathLike",
                "os.fsdecode",
                "os.fsencode",
                "os.fspath",
                "os.geteuid",
                "os.getpid",
            ),
            *("os.register_at_fork", "os.stat_result", "os.strerror", "os.urandom"),
            *("signal.Signals", "signal.getsignal", "signal.set_wakeup_fd", "signal.signal"),
            *("sqlite3.Connection", "sqlite3.Cursor", "sqlite3.complete_statement"),
        ),
        _ASKS,
    ),
    **dict.fromkeys(
        (
            *("fcntl.ioctl", "os.fdopen", "os.get_blocking", "os.get_inheritable", "os.waitid"),
            *("os.set_inheritable", "select.poll"),
            *(".close", ".fileno", ".kill", ".poll", ".register", ".set_inheritable"),
            *(".setblocking", ".settimeout", ".unregister", ".wait"),
        ),
        _OWN,
    ),
    **dict.fromkeys(("socket.create_server", ".fetchall", ".fetchone", ".commit"), _WHOLE),
    **dict.fromkeys(
        (
            *("os.getcwd", "resource.getrlimit", "shutil.which"),
            *("tempfile.TemporaryDirectory", ".exists", ".expanduser", ".home", ".is_file"),
            *("open", "os.chdir", "os.fsync", "os.replace"),
            *("os.walk", ".unlink", ".write_bytes", ".write_text"),
            *("tempfile.mkstemp", ".is_dir", ".iterdir", ".mkdir", ".open", ".read_bytes"),
            *(".resolve", ".stat"),
        ),
        _START,
    ),
    "os._exit": _LAST,
}
"""What is no point, and why: by the same names."""
