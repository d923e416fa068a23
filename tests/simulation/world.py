"""Virtual time, what is to happen in it, and chance that one number decides."""

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any

_SHOWN = 160
"""Bytes of a message that a timeline shows."""


class World:
    """A clock that only moves when something happens, and the queue of what will happen.

    The same ``seed`` gives the same run, byte for byte: :attr:`digest` tells two runs apart.
    """

    def __init__(self, seed: int, *, timeline: bool = False) -> None:
        self.seed = seed
        self.time = 0.0
        self.steps = 0
        self.timeline: list[str] | None = [] if timeline else None
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._made = 0
        self._digest = blake2b(digest_size=16)

    def chance(self, purpose: str) -> Random:
        """Chance for one purpose, so that what one of them uses up changes nothing for others."""
        return Random(f"{self.seed}/{purpose}")

    def at(self, time: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen at a time; what is due together happens in the order of asking."""
        self._made += 1
        heappush(self._queue, (max(time, self.time), self._made, act, args))

    def after(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen in so many seconds."""
        self._made += 1
        heappush(self._queue, (self.time + delay, self._made, act, args))

    def step(self, until: float) -> bool:
        """Let the next thing happen that is due by then; False, at that time, if there is none."""
        if not self._queue or self._queue[0][0] > until:
            self.time = max(self.time, until)
            return False
        self.time, _, act, args = heappop(self._queue)
        self.steps += 1
        act(*args)
        return True

    @property
    def idle(self) -> bool:
        """Nothing will ever happen again by itself."""
        return not self._queue

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        """Write down what has happened."""
        self._digest.update(f"{self.time!r} {who} {what} ".encode())
        self._digest.update(data)
        if self.timeline is not None:
            text = data[:_SHOWN].decode("utf-8", "replace").strip()
            more = f" ... ({len(data)} bytes)" if len(data) > _SHOWN else ""
            self.timeline.append(f"{self.time:10.4f}  {who:<10} {what} {text}{more}".rstrip())

    @property
    def digest(self) -> str:
        """Stands for all that has happened."""
        return self._digest.hexdigest()
