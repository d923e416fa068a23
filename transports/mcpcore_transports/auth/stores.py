"""Stores of tokens and registrations: in memory, in files, in the keyring of the system.

A record has a version, so that nobody replaces or removes what another process has stored
meanwhile.  A lock makes one of several processes refresh, while the others wait and then find what
it has stored.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from mcpcore.errors import AuthorizationError

_LOCK_TIME = 330.0
"""Seconds to wait for a lock: longer than a person may take to sign in."""
_TICK = 0.05
_MAX_FILE = 1024 * 1024


class StoredRecord(Struct, frozen=True):
    """Record and its version; None and the last version where there is none."""

    record: bytes | None = None
    version: int = 0

    def __repr__(self) -> str:
        return f"StoredRecord(version={self.version})"


class TokenStore(Protocol):
    """Place where a client keeps its tokens.  Its methods raise AuthorizationError."""

    async def load(self, key: str) -> StoredRecord:
        """Return the record of a key."""
        ...

    async def save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        """Replace version ``version`` of a record, or remove it; return what is stored now."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return a context in which no other task or process holds the lock of ``key``."""
        ...


class MemoryTokens:
    """Tokens of this process."""

    def __init__(self) -> None:
        self._records: dict[str, StoredRecord] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def load(self, key: str) -> StoredRecord:
        """Implement :meth:`TokenStore.load`."""
        return self._records.get(key, StoredRecord())

    async def save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        """Implement :meth:`TokenStore.save`."""
        known = self._records.get(key, StoredRecord())
        if known.version == version:
            known = self._records[key] = StoredRecord(record, version + 1)
        return known

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Implement :meth:`TokenStore.lock`."""
        async with self._locks.setdefault(key, anyio.Lock()):
            yield


class _File(Struct, frozen=True, omit_defaults=True):
    key: str
    version: int
    record: msgspec.Raw | None = None


class FileTokens:
    """Tokens in files that only this user can read, shared by all processes of the user.

    ``folder`` is made with mode 0700, by default ``mcpcore/tokens`` below the user's folder for
    state (``XDG_STATE_HOME``, ``~/.local/state``).  A file that is a link, belongs to another user
    or can be read by others is refused.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    async def load(self, key: str) -> StoredRecord:
        """Implement :meth:`TokenStore.load`."""
        return await anyio.to_thread.run_sync(self._load, key)

    async def save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        """Implement :meth:`TokenStore.save`."""
        return await anyio.to_thread.run_sync(self._save, key, record, version)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Implement :meth:`TokenStore.lock`."""
        with _errors(self.folder):
            self._make_folder()
            handle = _open(self._path(key, ".lock"), os.O_RDWR | os.O_CREAT)
        try:
            with anyio.move_on_after(_LOCK_TIME) as scope:
                while not _try_lock(handle):
                    await anyio.sleep(_TICK)
            if scope.cancelled_caught:
                raise AuthorizationError("another process holds the lock of the tokens for too long")
            yield
        finally:
            os.close(handle)  # which releases the lock

    def _path(self, key: str, suffix: str = ".json") -> Path:
        return self.folder / (hashlib.sha256(key.encode()).hexdigest() + suffix)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, "it is no folder")
        if os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise OSError(errno.EPERM, "it belongs to another user, or others can write to it")

    def _load(self, key: str) -> StoredRecord:
        with _errors(self.folder):
            return self._read(key)

    def _read(self, key: str) -> StoredRecord:
        try:
            handle = _open(self._path(key), os.O_RDONLY)
        except FileNotFoundError:
            return StoredRecord()
        with os.fdopen(handle, "rb") as file:
            data = file.read(_MAX_FILE + 1)
        try:
            found = msgspec.json.decode(data[:_MAX_FILE], type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise OSError(errno.EINVAL, "a file in it is damaged") from None
        if found.key != key:
            raise OSError(errno.EINVAL, "a file in it is of another key")
        return StoredRecord(None if found.record is None else bytes(found.record), found.version)

    def _save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        with _errors(self.folder):
            self._make_folder()
            handle = _open(self.folder / "write.lock", os.O_RDWR | os.O_CREAT)
            try:
                _wait_lock(handle)
                known = self._read(key)
                if known.version == version:
                    known = StoredRecord(record, version + 1)
                    self._write(key, known)
                return known
            finally:
                os.close(handle)

    def _write(self, key: str, stored: StoredRecord) -> None:
        """Write a file as a whole: a crash leaves the old one or the new one."""
        raw = None if stored.record is None else msgspec.Raw(stored.record)
        data = msgspec.json.encode(_File(key, stored.version, raw))
        path, fresh = self._path(key), self._path(key, f".{os.getpid()}")
        with suppress(FileNotFoundError):
            fresh.unlink()
        handle = _open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


class KeyringTokens:
    """Tokens in the keyring of the system (the extra ``keyring``); locks are files.

    Raises ExtraMissingError without the extra.
    """

    def __init__(self, service: str = "mcpcore", folder: Path | None = None) -> None:
        try:
            import keyring  # an extra
        except ImportError:
            from mcpcore.errors import ExtraMissingError

            raise ExtraMissingError(
                "tokens in the keyring need the extra keyring: pip install mcpcore[keyring]"
            ) from None
        self._keyring = keyring
        self._service = service
        self._files = FileTokens(folder)

    async def load(self, key: str) -> StoredRecord:
        """Implement :meth:`TokenStore.load`."""
        return await anyio.to_thread.run_sync(self._load, key)

    async def save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        """Implement :meth:`TokenStore.save`."""
        async with self._files.lock(f"write {key}"):
            return await anyio.to_thread.run_sync(self._save, key, record, version)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Implement :meth:`TokenStore.lock`."""
        return self._files.lock(key)

    def _load(self, key: str) -> StoredRecord:
        try:
            text = self._keyring.get_password(self._service, key)
        except self._keyring.errors.KeyringError as error:
            raise _unusable(type(error).__name__) from None
        if text is None:
            return StoredRecord()
        try:
            found = msgspec.json.decode(text, type=_File)
        except msgspec.MsgspecError:
            raise _unusable("an entry is damaged") from None
        return StoredRecord(None if found.record is None else bytes(found.record), found.version)

    def _save(self, key: str, record: bytes | None, version: int) -> StoredRecord:
        known = self._load(key)
        if known.version != version:
            return known
        raw = None if record is None else msgspec.Raw(record)
        text = msgspec.json.encode(_File(key, version + 1, raw)).decode()
        try:
            self._keyring.set_password(self._service, key, text)
        except self._keyring.errors.KeyringError as error:
            raise _unusable(type(error).__name__) from None
        return StoredRecord(record, version + 1)


def default_folder() -> Path:
    """Return the folder for tokens of this user."""
    base = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mcpcore" / "tokens"


def _unusable(reason: str) -> AuthorizationError:
    return AuthorizationError(f"the keyring cannot be used: {reason}")


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise AuthorizationError(f"tokens cannot be kept in {folder}: {reason}") from None


def _open(path: Path, flags: int) -> int:
    """Open a file that only this user can read or write, and that is no link."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(path, flags | extra, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a file in it is a link") from None
        raise
    found = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "it holds something that is no file"
    elif os.name == "posix" and found.st_uid != os.geteuid():
        problem = "a file in it belongs to another user"
    elif os.name == "posix" and found.st_mode & 0o077:
        problem = "others can read a file in it"
    if problem is not None:
        os.close(handle)
        raise OSError(errno.EPERM, problem)
    return handle


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
