"""Unix sockets: their files, and the user at the other end.

Two checks decide who may connect: the permissions of the file, and the system's data about the peer
process (SO_PEERCRED of Linux unix(7); getpeereid(3) of the BSDs and macOS).  The second also works
where permissions of sockets are ignored, and at a client, whose server could be another user's.

A file is created without a moment in which others could connect: nothing can before ``listen``, and
by then it has its permissions.  (A umask would apply to the whole process, threads included.)
"""

import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio

from mcpcore.errors import BadTarget, LinkError

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Maximum bytes of a path: ``sun_path`` without its final NUL."""

_LINUX = sys.platform == "linux"
_OWNER_ONLY, _EVERYBODY = 0o600, 0o666
_LOCK_PAUSE = 0.02
_BACKLOG = 128


def checked_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a socket file.  Raises BadTarget for an invalid one."""
    text = os.fspath(path)
    if not hasattr(socket, "AF_UNIX"):
        raise BadTarget("this platform has no Unix sockets")
    if not text:
        raise BadTarget("a Unix socket needs a path")
    if text.startswith(("@", "\0")):
        raise BadTarget(
            f"{text!r} would be an abstract socket, which has no file and no permissions: "
            "expected a path (./@name for a file of that name)"
        )
    if "\0" in text:
        raise BadTarget(f"{text!r} is no path: it contains a NUL character")
    if text.endswith("/"):
        raise BadTarget(f"{text!r} is a directory, not the path of a socket")
    whole = os.path.abspath(text)
    size = len(os.fsencode(whole))
    if size > LONGEST_PATH:
        raise BadTarget(
            f"the path of the socket is too long: {whole!r} has {size} bytes, "
            f"of which the system takes {LONGEST_PATH}"
        )
    return whole


class UnixFile:
    """Listening socket and its file, which is ours until :meth:`remove`."""

    def __init__(self, path: str, listener: socket.socket, identity: tuple[int, int]) -> None:
        self.path = path
        self.listener = listener
        self._identity = identity

    def remove(self) -> None:
        """Remove the file if it is still ours; must be called before the socket is closed.

        As long as we listen, no other server takes the file for a stale one.
        """
        with suppress(OSError):
            if _identity(os.lstat(self.path)) == self._identity:
                os.unlink(self.path)


async def listen_unix(
    path: str,
    *,
    mode: int | None = None,
    users: Collection[int] | None = (),
    lock_time: float = 5.0,
) -> UnixFile:
    """Listen on ``path``, in place of a stale socket file if there is one.

    Raises LinkError if another server answers there, or if the path cannot be used; BadTarget for
    an invalid path.
    """
    path = checked_path(path)
    if mode is None:
        others = users is None or any(user != os.geteuid() for user in users)
        mode = _EVERYBODY if others else _OWNER_ONLY
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        async with _locked_folder(path, lock_time):
            _make_way(path)
            return UnixFile(path, listener, _bind(listener, path, mode))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise LinkError(f"cannot listen on the Unix socket {path}: {reason}") from error
    except BaseException:
        listener.close()
        raise


def _bind(listener: socket.socket, path: str, mode: int) -> tuple[int, int]:
    """Create the file and listen; return the identity of the file."""
    with suppress(OSError):  # Linux creates the file with this mode, others ignore it
        os.fchmod(listener.fileno(), mode)
    listener.bind(path)
    try:
        os.chmod(path, mode)
        listener.listen(_BACKLOG)
        return _identity(os.lstat(path))
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _make_way(path: str) -> None:
    """Remove a stale socket file.  Raises LinkError if a server answers or it is no socket."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise LinkError(f"cannot listen on {path}: there is a file that is no socket; it was kept")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # stale: the process that made it is gone
            return
        except FileNotFoundError:
            return
        except PermissionError:
            text = f"cannot listen on {path}: the socket there belongs to another user"
            raise LinkError(text) from None
        except OSError:
            pass  # its queue is full, or it is of another type: a server has it
    raise LinkError(f"cannot listen on {path}: another server is listening there")


# Locking against servers that start at the same time.  Each could take the file of the other, which
# is bound and does not listen yet, for a stale one.  So only one at a time checks and binds in a
# directory.


@asynccontextmanager
async def _locked_folder(path: str, seconds: float) -> AsyncIterator[None]:
    folder: int | None = None
    with suppress(PermissionError):  # a directory that may be searched, not read, cannot be locked
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        if folder is not None:
            await _lock(folder, path, seconds)
        yield
    finally:
        if folder is not None:
            os.close(folder)


async def _lock(folder: int, path: str, seconds: float) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    with anyio.move_on_after(seconds):
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                await anyio.sleep(_LOCK_PAUSE)
    text = f"cannot listen on {path}: its directory has been locked for {seconds:g} s"
    raise LinkError(text)


# Peer credentials

_PEERCRED = struct.Struct("3i")


class Credentials(NamedTuple):
    """User, group and process at the other end of a Unix socket."""

    uid: int
    gid: int
    pid: int | None = None


def credentials(sock: socket.socket) -> Credentials | None:
    """Return the peer's credentials, None where the system has none.  Raises OSError."""
    if _LINUX:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        pid, uid, gid = _PEERCRED.unpack(data)
        return Credentials(uid, gid, pid)
    return credentials_bsd(sock, _system_library())


def credentials_bsd(sock: socket.socket, library: Any) -> Credentials | None:
    """Return them from ``getpeereid`` of the system's C library; None if it lacks that."""
    getpeereid = getattr(library, "getpeereid", None)
    if getpeereid is None:
        return None
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    if getpeereid(sock.fileno(), ctypes.byref(uid), ctypes.byref(gid)) != 0:
        number = ctypes.get_errno() or errno.ENOTCONN
        raise OSError(number, os.strerror(number))
    return Credentials(uid.value, gid.value)


def _system_library() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # no such library (Windows)
        return None


def not_welcome(found: Credentials | None, users: Collection[int] | None) -> str | None:
    """Return the reason why the peer's user is refused, or None if it is allowed."""
    if users is None:
        return None
    if found is None:
        return "this platform does not tell which user is at the other end of a Unix socket"
    if found.uid == os.geteuid() or found.uid in users:
        return None
    return f"user {found.uid} is not allowed here"
