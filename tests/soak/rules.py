"""When a soak is flat: the second half against the first, and the end against the beginning."""

from collections import Counter
from collections.abc import Mapping
from statistics import median

from msgspec import Struct

from tests.soak.kept import MAY_GROW
from tests.soak.sampling import Sample
from tests.torture.tables import more

GROWTH, SLACK = 0.10, 16.0
"""Resident memory may be larger in the last quarter than it ever was in the first half by this
share, and so many MB: what an allocator has had for a storm it does not give back as it was; storms
differ."""
IN_USE = 8.0
"""Memory in use may be larger in the last quarter than in the second by ``GROWTH`` and so many MB:
the answers of 2 MB each that slow readers have not taken come and go."""
KEPT, BLOCKS = 0.05, 20_000
"""The same of blocks of memory, which are exact, between the second quarter and the last: what is
cached, and what comes and goes."""
LEFT = 8.0
"""... and so many MB of memory in use when all is over, beside the same share: what was imported on
the way, and tables of the event loop that had 14,000 tasks and do not become smaller, are 3 to 5.
In a soak of 20 minutes 50 bytes for each call that was answered are as much as this."""
GROWN = 8
"""So many members more of the tables of one kind are no chance: what residents call leaves nothing,
and each of them has made every kind of call more often."""
CALM = 100
"""Requests in flight that are no storm."""
SPARE = 4
"""Descriptors and tasks that are there for a moment only, such as those of an idle thread."""
IDLE, LOOKING = 0.01, 0.02
"""Share of a processor that a process may take that has nothing to do; and one that looks into a
database for news fifty times a second."""
STORES = "store server"
"""What processes are called that share a store, with their number."""
STORM = 10_000
"""Calls in flight that are cancelled at once."""


def storms(count: int) -> str:
    """What is counted where a storm of so many calls is over."""
    return f"storms of {count:,}"


ROUNDS = "rounds of each resident"
NEEDED = {
    **dict.fromkeys(("calls", storms(STORM), "floods", "notifications", "harmed"), 1),
    **dict.fromkeys(("slow readers", "killed children", "malformed", "intruders"), 1),
    ROUNDS: GROWN,
}
"""What a soak must have done at least so often; storms over HTTP are smaller, and do not count."""


class Moment(Struct):
    """All processes at one time."""

    seconds: float
    servers: Sample
    load: Sample
    done: dict[str, int]
    each: dict[str, Sample] = {}
    """The processes of which the servers are made, by name."""


def growing(moments: list[Moment]) -> list[str]:
    """What grows under load: the medians of quarters, and the most there was in the first half.

    A storm takes memory while it lasts, so moments within one do not count.
    """
    found = []
    for side in ("servers", "load"):
        samples = [getattr(moment, side) for moment in moments]
        samples = [each for each in samples if each.in_flight <= CALM] or samples
        quarter = max(len(samples) // 4, 1)
        before, after = samples[quarter : 2 * quarter], samples[-quarter:]
        was = max(each.rss for each in samples[: 2 * quarter])
        now = median(each.rss for each in after)
        if now > was * (1 + GROWTH) + SLACK:
            found.append(f"memory of the {side}: {was:.1f} MB, then {now:.1f} MB")
        was, now = (median(each.in_use for each in part) for part in (before, after))
        if now > was * (1 + GROWTH) + IN_USE:
            found.append(f"memory in use by the {side}: {was:.1f} MB, then {now:.1f} MB")
        was, now = (median(each.blocks for each in part) for part in (before, after))
        if now > was * (1 + GROWTH) + BLOCKS:
            found.append(f"blocks of the {side}: {was:.0f}, then {now:.0f}")
    return found


def remaining(begin: Moment, end: Moment) -> list[str]:
    """What is left once the load is over and everything had its time to go, and what was logged."""
    found = []
    for side in ("servers", "load"):
        was, now = getattr(begin, side), getattr(end, side)
        for name in ("descriptors", "tasks", "threads", "sessions"):
            first, last = getattr(was, name), getattr(now, name)
            if last > first + (SPARE if name in ("descriptors", "threads") else 0):
                more = f": {now.work}" if name == "tasks" else ""
                found.append(f"{name} of the {side}: {first}, then {last}{more}")
        if now.blocks > was.blocks * (1 + KEPT) + BLOCKS:
            found.append(f"blocks of the {side}: {was.blocks}, then {now.blocks}, without garbage")
        if now.in_use > was.in_use * (1 + KEPT) + LEFT:
            found.append(f"memory in use by the {side}: {was.in_use:.1f}, then {now.in_use:.1f} MB")
        if now.in_flight:
            found.append(f"in flight at the {side}: {now.in_flight}")
        found += [f"logged by the {side}: {error}" for error in now.errors]
    return found


def grown(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """What tables have more, and of which objects there are more, in which process."""
    return [
        f"kept by the {where}: {found}"
        for where, now in after.items()
        for found in more(Counter(now), Counter(before[where]), MAY_GROW, GROWN)
    ]


def busy(before: Sample, after: Sample, seconds: float) -> float:
    """The share of a processor that was taken meanwhile, but for being looked at."""
    return (after.cpu - before.cpu - before.looking) / seconds


def restless(idle: dict[str, float]) -> list[str]:
    """Who takes a processor with nothing to do; ``idle``: the shares that processes take."""
    return [
        f"{side} takes {share:.1%} of a processor with nothing to do"
        for side, share in idle.items()
        if share > (LOOKING if side.startswith(STORES) else IDLE)
    ]


def missing(done: dict[str, int]) -> list[str]:
    """What has not been done often enough, so that the soak shows nothing about it."""
    return [name for name, least in NEEDED.items() if done.get(name, 0) < least]
