"""Store of tokens in files that all processes of a user share."""

import errno
import hashlib
import logging
import math
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from mcpcore.auth.needs import Stored
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.stores import TICK

logger = logging.getLogger("mcpcore.auth")

LOCK_TIME = 330.0
"""Seconds to wait for a lock: longer than a person may take to sign in."""
_SILENCE = 3.0
"""Seconds of waiting for a lock without a word."""
_MAX_FILE = 1024 * 1024


class Entry(Struct, frozen=True):
    """Record with its key and version, as it is kept."""

    key: str
    version: int
    record: msgspec.Raw
    """JSON; null where there is no record."""

    @classmethod
    def of(cls, key: str, stored: Stored) -> bytes:
        """Return what is kept for a key."""
        raw = b"null" if stored.record is None else stored.record
        return msgspec.json.encode(cls(key, stored.version, msgspec.Raw(raw)))

    @classmethod
    def read(cls, data: bytes | str, key: str) -> Stored:
        """Return what was kept for a key, :data:`DAMAGED` for anything else."""
        try:
            found = msgspec.json.decode(data, type=cls)
        except ValueError:
            return DAMAGED
        if found.key != key:
            return DAMAGED
        record = bytes(found.record)
        return Stored(None if record == b"null" else record, found.version)


DAMAGED = Stored(b"")
"""Record that nobody can read, and that the next one replaces."""


class FileTokens:
    """Tokens in files that only this user can read, shared by all processes of the user.

    ``folder`` is made with mode 0700, by default ``mcpcore/tokens`` below the user's folder for
    state (``XDG_STATE_HOME``, ``~/.local/state``).  A file that is a link, belongs to another user
    or can be read by others is refused, and so is a folder that others can write to; a damaged file
    is replaced by the next sign-in.  ``lock_time``: seconds to wait for the lock of another
    process, more than a person may take to sign in.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, lock_time: float = LOCK_TIME
    ) -> None:
        self._lock_time = lock_time
        self.folder = default_folder() if folder is None else Path(folder)

    async def load(self, key: str) -> Stored:
        """Implement :meth:`TokenStore.load`."""
        return await anyio.to_thread.run_sync(self._load, key)

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        """Implement :meth:`TokenStore.save`."""
        async with self._lock(self.folder / "write.lock"):
            return await anyio.to_thread.run_sync(self._save, key, record, version)

    async def entries(self) -> tuple[dict[str, Stored], list[str]]:
        """Return all records by their keys, and what is wrong with files that cannot be read.

        These are logged, too.  Raises AuthorizationError for the folder.
        """
        return await anyio.to_thread.run_sync(self._entries)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Implement :meth:`TokenStore.lock`."""
        return self._lock(self._path(key, ".lock"))

    async def take(self, key: str) -> int:
        """Take the lock of a key; return its file, for :func:`release`."""
        return await self._take(self._path(key, ".lock"))

    @asynccontextmanager
    async def _lock(self, path: Path) -> AsyncIterator[None]:
        handle = await self._take(path)
        try:
            yield
        finally:
            release(handle)

    async def _take(self, path: Path) -> int:
        with _errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            handle = _open(path, os.O_RDWR | os.O_CREAT)
        try:
            with anyio.move_on_after(self._lock_time) as scope, _errors(path):
                until = anyio.current_time() + _SILENCE
                while not _try_lock(handle):
                    if anyio.current_time() >= until:
                        logger.warning(
                            "another process holds the lock of the tokens, which is waited for: it "
                            "may be asking a person to sign in"
                        )
                        until = math.inf
                    await anyio.sleep(TICK)
            if scope.cancelled_caught:
                raise AuthorizationError(
                    "another process holds the lock of the tokens for too long"
                )
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _path(self, key: str, suffix: str = ".json") -> Path:
        return self.folder / (hashlib.sha256(key.encode()).hexdigest() + suffix)

    def _check_folder(self) -> None:
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, "it is no folder")
        if os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise OSError(errno.EPERM, "it belongs to another user, or others can write to it")

    def _load(self, key: str) -> Stored:
        with _errors(self.folder):
            return self._read(key)

    def _read(self, key: str) -> Stored:
        try:
            self._check_folder()
            return Entry.read(_content(self._path(key)), key)
        except FileNotFoundError:
            return Stored()

    def _entries(self) -> tuple[dict[str, Stored], list[str]]:
        with _errors(self.folder), suppress(FileNotFoundError):
            self._check_folder()
        found, wrong = dict[str, Stored](), list[str]()
        for path in sorted(self.folder.glob("*.json")):
            try:
                data = _content(path)
                key = msgspec.json.decode(data, type=Entry).key
                found[key] = Entry.read(data, key)
            except OSError as error:
                wrong.append(f"{path}: {error.strerror}: make it yours alone (0600), or remove it")
            except ValueError:
                wrong.append(f"{path}: it is damaged: remove it")
        for text in wrong:
            logger.warning("tokens are not used: %s", text)
        return {key: each for key, each in found.items() if each.record is not None}, wrong

    def _save(self, key: str, record: bytes | None, version: int) -> Stored:
        with _errors(self.folder):
            known = self._read(key)
            if known.version == version:
                known = Stored(record, version + 1)
                self._write(key, known)
            return known

    def _write(self, key: str, stored: Stored) -> None:
        """Write a file as a whole: a crash leaves the old one or the new one.

        The caller holds the lock for writing, so that a file that is in the way is of a crash.
        """
        path, fresh = self._path(key), self._path(key, ".new")
        with suppress(FileNotFoundError):
            fresh.unlink()
        handle = _open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(Entry.of(key, stored))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        if os.name == "posix":
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                with suppress(OSError):  # the record is there; not all file systems do this
                    os.fsync(folder)  # a rotated token is worth nothing without its successor
            finally:
                os.close(folder)


def release(handle: int) -> None:
    """Release a lock."""
    _unlock(handle)  # as a process that was forked meanwhile has the file open as well
    os.close(handle)


def default_folder() -> Path:
    """Return the folder for tokens of this user.  Raises AuthorizationError for one without any."""
    named = map(os.environ.get, ("XDG_STATE_HOME", "LOCALAPPDATA"))
    base = next((each for each in named if each and os.path.isabs(each)), None)
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "mcpcore" / "tokens"
    except RuntimeError:  # of pathlib: HOME is not set, and the system does not know the user
        text = "there is no home directory to keep tokens in: set XDG_STATE_HOME"
        raise AuthorizationError(text) from None


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        place = error.filename or folder
        raise AuthorizationError(f"tokens cannot be kept in {place}: {reason}") from None


def _content(path: Path) -> bytes:
    """Return what is in a file, cut to its limit."""
    with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
        return file.read(_MAX_FILE)


def _open(path: Path, flags: int) -> int:
    """Open a file that only this user can read or write, and that is no link."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    extra |= getattr(os, "O_NONBLOCK", 0)  # else a pipe would be waited for before it is refused
    try:
        handle = os.open(path, flags | extra, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link", str(path)) from None
        raise
    found = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "it is no file"
    elif os.name == "posix" and found.st_uid != os.geteuid():
        problem = "it belongs to another user"
    elif os.name == "posix" and found.st_mode & 0o077:
        problem = "others can read it"
    if problem is not None:
        os.close(handle)
        raise OSError(errno.EPERM, problem, str(path))
    return handle


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        """Do nothing: a handle is of one process, and closing it releases the lock."""

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        with suppress(OSError):  # of a file system without locks, where there was none
            fcntl.flock(handle, fcntl.LOCK_UN)
