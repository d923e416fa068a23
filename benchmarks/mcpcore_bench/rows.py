"""The rows of the table: what is measured, at whom, and how our cost is bounded.

Every value is a cost, so every bound is the most that ours may be as a multiple of the peer's.
"""

import sys
from collections.abc import Callable
from functools import partial

from msgspec import Struct, structs

from mcpcore_bench.load.jobs import AnyJob, Command, SelfMeasured
from mcpcore_bench.subjects import SUBJECTS

COMPILING = 2.0
"""Seconds of warm-up for Node ..."""
COMPILED = 6_000
"""... and units, until what they run is compiled: the last of the SDK 2.x is after 5,000 calls."""
UNCHANGED = 1.10
"""Cost per request stays within ten per cent, whatever the number of sessions, tools, streams."""


class Variant(Struct, frozen=True):
    """One column of a row."""

    title: str
    job: Callable[[], AnyJob]
    needs: Callable[[], str | None]
    since: str = ""
    """When the table got it, as ISO 8601 in UTC: a run that began before lacks nothing."""


class Bound(Struct, frozen=True):
    """``ours`` costs at most ``most`` times what ``peer`` does; None: the ratio is only shown.

    ``clock``: what counts is the wall clock that the row has beside its CPU.
    """

    ours: str
    peer: str
    most: float | None = None
    clock: bool = False


class Row(Struct, frozen=True, kw_only=True):
    """A kind of work."""

    name: str
    title: str
    unit: str
    variants: dict[str, Variant]
    bounds: tuple[Bound, ...] = ()
    goal: bool = True
    """It stands in the table of goals; else it is only worth knowing."""
    note: str = ""
    """What whoever reads its figures has to know, in a sentence or two."""


def at(make: Callable[[str], AnyJob], *names: str, since: str = "") -> dict[str, Variant]:
    """A variant for each of these subjects; ``make`` is given the name of one."""
    found = {}
    for name in names:
        subject = SUBJECTS[name]
        found[name] = Variant(subject.title, partial(_warmed, make, name), subject.needs, since)
    return found


def constant(title: str, value: float, since: str = "") -> Variant:
    """Return a number to hold ours against, which nobody has measured."""
    said = f"print('{{\"value\":{value}}}')"
    job = SelfMeasured(server=Command((sys.executable, "-c", said)))
    return Variant(title, lambda: job, lambda: None, since)


def _warmed(make: Callable[[str], AnyJob], name: str) -> AnyJob:
    job = make(name)
    # What compiles as it runs is given the time to.
    if not name.startswith("typescript"):
        return job
    return structs.replace(job, warm=COMPILING, warm_units=COMPILED)
