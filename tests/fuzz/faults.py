"""Faults of a target, and the smallest input of each."""

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from msgspec import Struct

HANG = 10.0
"""Seconds of the processor that one input may take, on however busy a machine ..."""
STILL = 120.0
"""... and seconds that may pass, whoever is waited for."""
_SHRINKING = 20.0
"""Seconds that are spent on making an input smaller."""


class Hang(Exception):
    """An input took too long."""


class Fault(Struct, frozen=True):
    """What a target raised."""

    what: str
    """The kind of the exception, and the line that raised it: the same for the same mistake."""
    report: str
    """The traceback."""


_ALARMS = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
"""Timers of the processor and of the clock, and what they send."""


def _set_alarms(busy: float, passed: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, busy)
    signal.setitimer(signal.ITIMER_REAL, passed)


@contextmanager
def _alarms() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        _set_alarms(0, 0)
        raise Hang(f"nothing came of it, says {signal.Signals(number).name}")

    before = {number: signal.signal(number, late) for number in _ALARMS.values()}
    try:
        yield
    finally:
        _set_alarms(0, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Runs inputs, each for a bounded time; to be used in the main thread, in ``with``."""

    def __init__(self, run: Callable[[bytes], object]) -> None:
        self._run = run
        self._alarms = _alarms()

    def __enter__(self) -> "Watch":
        self._alarms.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._alarms.__exit__(kind, error, trace)

    def fault(self, data: bytes) -> Fault | None:
        """Run one input; what it did wrong."""
        _set_alarms(HANG, STILL)
        try:
            self._run(data)
        except Exception as error:
            return Fault(_signature(error), "".join(traceback.format_exception(error)))
        return None


def _signature(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, Hang) or not frames:
        return type(error).__name__
    return f"{type(error).__name__} in {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def minimise(watch: Watch, data: bytes, what: str) -> bytes:
    """The smallest input found that fails in the same way, and of those one of small bytes."""
    until = time.monotonic() + (0 if what == Hang.__name__ else _SHRINKING)

    def fails(shorter: bytes) -> bool:
        fault = watch.fault(shorter)
        return fault is not None and fault.what == what

    size = len(data) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    for at in range(len(data)):
        if time.monotonic() > until:
            break
        for byte in b"\x000 ":
            plainer = data[:at] + bytes([byte]) + data[at + 1 :]
            if data[at] > byte and fails(plainer):
                data = plainer
                break
    return data
