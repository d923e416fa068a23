"""Where a wire's reading tasks put what they hear, and dialogues take it."""

import math
from collections import deque
from collections.abc import Callable

import anyio

from mcpcore_conformance.kit.heard import Heard


class Inbox:
    """A queue without a limit of its own: readers stop when ``full`` says so."""

    def __init__(self, clock: Callable[[], float], limit: int = 100_000) -> None:
        self._clock = clock
        self._limit = limit
        self._heard: deque[Heard] = deque()
        self._event = anyio.Event()

    def put(self, heard: Heard) -> None:
        """Add what was heard now; beyond the limit it is given up."""
        heard.at = self._clock()
        if len(self._heard) < self._limit:
            self._heard.append(heard)
        self._event.set()

    async def get(self, within: float) -> Heard | None:
        """Take what came first; None if nothing comes in that many seconds."""
        if not self._heard:
            self._event = anyio.Event()
            with anyio.move_on_after(within):
                await self._event.wait()
        return self._heard.popleft() if self._heard else None


class Rest:
    """A pause of the task that reads, as long as much is written and for a moment more."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._until = -math.inf

    def begin(self, seconds: float) -> None:
        """Read nothing until nothing was written for so many seconds."""
        self._seconds = seconds
        self._until = anyio.current_time() + seconds

    def wrote(self) -> None:
        """Something was written: whoever rests goes on to rest."""
        now = anyio.current_time()
        if now < self._until:
            self._until = now + self._seconds

    async def over(self) -> None:
        """Wait for its end, if there is one on."""
        while (until := self._until) > anyio.current_time():  # noqa: ASYNC110 - put off by writing
            await anyio.sleep_until(until)
