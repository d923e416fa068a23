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

from mcpcore.spec.errors import LocalError, McpError, ToolFailed
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

Call = Callable[[], Awaitable[object]]
"""Function that makes a call.  Raises ToolFailed, McpError, LocalError, OSError."""


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
    examples: dict[str, str] = field(default_factory=dict)
    """What the first error of each kind said."""
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

    def fail(self, kind: str, said: str) -> None:
        """Count an error."""
        if kind not in self.errors and len(self.errors) >= MOST_KINDS:
            kind = _OTHER
        self.errors[kind] += 1
        self.examples.setdefault(kind, said)

    def percentiles(self) -> dict[str, float]:
        """Return milliseconds by percentile; none without a call."""
        shares = SHARES if len(self.times) else ()
        return {f"p{share:g}": self.times.percentile(share) / 1e6 for share in shares}


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
            failure = await _failure(call)
            del flying[place]
            result.take(anyio.current_time() - due)
            result.ended += 1
            if failure is not None:
                result.fail(*failure)
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


async def _failure(call: Call) -> tuple[str, str] | None:
    """Make a call; return the kind of error that it ends with, and the text; None without one."""
    try:
        await call()
    except ToolFailed as error:
        return "the tool failed", str(error)
    except McpError as error:
        return f"error {error.code}", error.error.message
    except (LocalError, OSError) as error:
        return type(error).__name__, str(error)
    return None
