"""When a soak is flat: the second half against the first, and the end against the beginning."""

from statistics import median

from msgspec import Struct

from tests.soak.sampling import Sample

GROWTH, SLACK = 0.10, 16.0
"""Memory may be larger in the last quarter than it ever was in the first half by this share, and
so many MB: what an allocator has had for a storm it does not give back as it was; storms differ."""
KEPT, BLOCKS = 0.05, 20_000
"""The same of blocks of memory, which are exact, between the second quarter and the last: what is
cached, and what comes and goes."""
CALM = 100
"""Requests in flight that are no storm."""
SPARE = 4
"""Descriptors and tasks that are there for a moment only, such as those of an idle thread."""
IDLE = 0.01
"""Share of a processor that a process may take that has nothing to do."""
STORM = 10_000
"""Calls in flight that are cancelled at once."""


def storms(count: int) -> str:
    """What is counted where a storm of so many calls is over."""
    return f"storms of {count:,}"


NEEDED = (
    "calls",
    storms(STORM),
    "floods",
    "notifications",
    "harmed",
    "slow readers",
    "killed children",
    "malformed",
)
"""What a soak must have done at least once; storms over HTTP are smaller, and do not count here."""


class Moment(Struct):
    """Both processes at one time."""

    seconds: float
    servers: Sample
    load: Sample
    done: dict[str, int]


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
        if now.in_flight:
            found.append(f"in flight at the {side}: {now.in_flight}")
        found += [f"logged by the {side}: {error}" for error in now.errors]
    return found


def busy(before: Sample, after: Sample, seconds: float) -> float:
    """The share of a processor that was taken meanwhile, but for being looked at."""
    return (after.cpu - before.cpu - before.looking) / seconds


def restless(idle: dict[str, float]) -> list[str]:
    """Who takes a processor with nothing to do; ``idle``: the shares that both sides take."""
    return [
        f"the idle {side} takes {share:.1%} of a processor"
        for side, share in idle.items()
        if share > IDLE
    ]


def missing(done: dict[str, int]) -> list[str]:
    """What has not been done even once, so that the soak shows nothing about it."""
    return [name for name in NEEDED if not done.get(name)]
