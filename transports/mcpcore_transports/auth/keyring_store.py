"""Store of tokens in the keyring of the system (the extra ``keyring``)."""

import os
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

from mcpcore.auth.needs import Stored
from mcpcore.errors import AuthorizationError, ExtraMissingError
from mcpcore_transports.auth.file_store import LOCK_TIME, Entry, FileTokens, release
from mcpcore_transports.running.functions import let_wait


class KeyringTokens:
    """Tokens in the keyring of the system (the extra ``keyring``); locks are files.

    One that asks a person to unlock it is waited for as long as the task that wants the token is,
    but not for the refresh of one that is good still.
    ``folder`` and ``lock_time`` are those of :class:`FileTokens`, for the locks.  Raises
    ExtraMissingError without the extra.
    """

    def __init__(
        self,
        service: str = "mcpcore",
        folder: str | os.PathLike[str] | None = None,
        *,
        lock_time: float = LOCK_TIME,
    ) -> None:
        self._keyring = _keyring()
        self._service = service
        self._files = FileTokens(folder, lock_time=lock_time)

    async def load(self, key: str) -> Stored:
        """Implement :meth:`TokenStore.load`."""
        return await let_wait(self._load, key)

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        """Implement :meth:`TokenStore.save`."""
        # The thread has the lock to its end: a task that is cancelled does not wait for it.
        held = await self._files.take(f"write {key}")
        return await let_wait(self._save, key, record, version, held)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Implement :meth:`TokenStore.lock`."""
        return self._files.lock(key)

    def _load(self, key: str) -> Stored:
        text = read_password(self._service, key)
        return Stored() if text is None else Entry.read(text, key)

    def _save(self, key: str, record: bytes | None, version: int, held: int) -> Stored:
        """Replace a record; release the lock ``held``, whose file this thread closes."""
        try:
            known = self._load(key)
            if known.version != version:
                return known
            fresh = Stored(record, version + 1)
            try:
                self._keyring.set_password(self._service, key, Entry.of(key, fresh).decode())
            except Exception as error:  # of a backend, which may be any
                raise _unusable(type(error).__name__) from None
            return fresh
        finally:
            release(held)


def read_password(service: str, name: str) -> str | None:
    """Return a password of the keyring, None if it has none.

    Raises AuthorizationError, ExtraMissingError without the extra.
    """
    keyring = _keyring()
    try:
        found: str | None = keyring.get_password(service, name)
    except Exception as error:  # of a backend, which may be any
        raise _unusable(type(error).__name__) from None
    return found


def _keyring() -> Any:
    try:
        return import_module("keyring")
    except ImportError:
        raise ExtraMissingError(
            "secrets in the keyring need the extra `keyring`: pip install 'mcpcore[keyring]'"
        ) from None


def _unusable(reason: str) -> AuthorizationError:
    return AuthorizationError(f"the keyring cannot be used: {reason}")
