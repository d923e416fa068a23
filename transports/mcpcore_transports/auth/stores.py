"""Stores of tokens and registrations: their interface, and the one in memory.

A record has a version, so that nobody replaces or removes what another process has stored
meanwhile.  A lock makes one of several processes refresh, while the others wait and then find what
it has stored.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio

from mcpcore.auth.needs import Stored

TICK = 0.05
"""Seconds between two attempts to take a lock whose release nobody tells of."""


class TokenStore(Protocol):
    """Place where a client keeps its tokens: records of JSON.

    Its methods raise AuthorizationError.
    """

    async def load(self, key: str) -> Stored:
        """Return the record of a key."""
        ...

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        """Replace version ``version`` of a record, or remove it; return what is stored now."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Return a context in which no other task or process holds the lock of ``key``."""
        ...


class MemoryTokens:
    """Tokens of this process, for all its threads and event loops."""

    def __init__(self) -> None:
        self._records: dict[str, Stored] = {}
        self._saving = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    async def load(self, key: str) -> Stored:
        """Implement :meth:`TokenStore.load`."""
        return self._records.get(key, Stored())

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        """Implement :meth:`TokenStore.save`."""
        with self._saving:
            known = self._records.get(key, Stored())
            if known.version == version:
                known = self._records[key] = Stored(record, version + 1)
        return known

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Implement :meth:`TokenStore.lock`."""
        lock = self._locks.setdefault(key, threading.Lock())
        while not lock.acquire(blocking=False):  # noqa: ASYNC110 - none of anyio is for threads
            await anyio.sleep(TICK)
        try:
            yield
        finally:
            lock.release()
