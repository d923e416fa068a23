"""An inbox of what has arrived."""

from collections import deque
from typing import Generic, TypeVar

import anyio

from tests.clock import PATIENCE

T = TypeVar("T")


class Inbox(Generic[T]):
    """First in, first out; there is always room."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._more = anyio.Event()

    def put(self, thing: T) -> None:
        self._waiting.append(thing)
        more, self._more = self._more, anyio.Event()
        more.set()

    async def get(self) -> T:
        """Wait for the next; TimeoutError if nothing comes."""
        with anyio.fail_after(PATIENCE):
            while not self._waiting:
                await self._more.wait()
        return self._waiting.popleft()
