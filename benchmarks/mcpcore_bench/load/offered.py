"""Calls that are offered to a server for some time, and how long each one took.

In the open loop a call is due at a moment that the rate sets, whatever became of those before it,
and its time counts from that moment, also while it waits for a place: so a server that stalls is
charged for all that it has kept waiting (no coordinated omission).  In the closed loop a call is
due when the one before it has ended.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

import anyio
from msgspec import Struct, field

from mcpcore.spec.errors import LocalError, McpError
from mcpcore_bench.method.histogram import Histogram

__all__ = ["MOST_KINDS", "SHARES", "OfferedLoad", "OfferedResult", "offer"]

SHARES = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""Percentiles that are told."""
MOST_KINDS = 50
"""Maximum kinds of errors that are told apart."""
_OTHER = "other errors"
_NANO = 1e9
_TURN = 1000
"""Calls given up in a row, after which other tasks have their turn."""

Call = Callable[[], Awaitable[bool]]
"""Function that makes a call; False if the tool has failed."""


class OfferedLoad(Struct, frozen=True, kw_only=True):
    """How much is offered."""

    seconds: float
    """While calls become due."""
    in_flight: int
    """Maximum calls at a time; in the closed loop always as many."""
    rate: float | None = None
    """Calls due in a second; None: the closed loop."""
    patience: float = 60.0
    """Seconds for calls that are in flight at the end."""


class OfferedResult(Struct):
    """Measurements, also while they go on; times are nanoseconds."""

    times: Histogram = field(default_factory=Histogram)
    """Of all calls, failed ones too; of those that never began or ended, until it was given up."""
    errors: Counter[str] = field(default_factory=Counter)
    """By kind."""
    ended: int = 0
    unsent: int = 0
    """Calls that were due, and for which there was no place until the end."""
    unanswered: int = 0
    """Calls that were in flight when it was given up."""
    seconds: float = 0.0
    """How long calls were offered, or until the last one has ended."""

    @property
    def rate(self) -> float:
        """Calls that ended in a second."""
        return self.ended / self.seconds if self.seconds else 0.0

    def take(self, seconds: float) -> None:
        """Count a time."""
        self.times.record(round(max(0.0, seconds) * _NANO))

    def end(self, kind: str | None) -> None:
        """Count a call that has ended, with a kind of error or well."""
        self.ended += 1
        if kind is not None:
            known = kind in self.errors or len(self.errors) < MOST_KINDS
            self.errors[kind if known else _OTHER] += 1

    def percentiles(self) -> dict[str, float]:
        """Return milliseconds by percentile."""
        return {f"p{share:g}": self.times.percentile(share) / 1e6 for share in SHARES}


async def offer(calls: Sequence[Call], load: OfferedLoad, result: OfferedResult) -> None:
    """Offer calls, in turn by each of ``calls``; ``result`` is kept up to date.

    It is what there is when this is cancelled, too.
    """
    begin = anyio.current_time()
    end = begin + load.seconds
    numbers = count()
    flying: dict[int, float] = {}

    async def work(place: int, call: Call) -> None:
        while True:
            due = anyio.current_time()
            if load.rate is not None:
                due = begin + next(numbers) / load.rate
            if due >= end:
                return
            if due > anyio.current_time():
                await anyio.sleep_until(due)
            elif anyio.current_time() >= end:
                result.unsent += 1
                result.take(end - due)
                if result.unsent % _TURN == 0:
                    await anyio.lowlevel.checkpoint()
                continue
            flying[place] = due
            kind = await _kind(call)
            del flying[place]
            result.take(anyio.current_time() - due)
            result.end(kind)
            await anyio.lowlevel.checkpoint()  # a call that never waits would leave no turn

    try:
        with anyio.move_on_at(end + load.patience):
            async with anyio.create_task_group() as group:
                for number in range(load.in_flight):
                    group.start_soon(work, number, calls[number % len(calls)])
    finally:
        now = anyio.current_time()
        result.seconds = now - begin
        result.unanswered = len(flying)
        for due in flying.values():
            result.take(now - due)


async def _kind(call: Call) -> str | None:
    """Make a call; return what kind of error it ends with, None without one."""
    try:
        return None if await call() else "the tool failed"
    except McpError as error:
        return f"error {error.code}"
    except (LocalError, OSError) as error:
        return type(error).__name__
