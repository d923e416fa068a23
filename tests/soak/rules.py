"""Rules of a flat soak: its last quarter against the second, its end against the beginning."""

from collections import Counter
from collections.abc import Mapping
from statistics import median

from msgspec import Struct

from tests.bindings.places import LEGACY, MODERN
from tests.faults.allowed import MAY_GROW
from tests.faults.holdings import more
from tests.soak.sampling import Sample

GROWTH = 0.10
"""By this share, and what follows, there may be more of something in the last quarter under load
than in the second one."""
MORE = {"rss": 40.0, "in_use": 12.0, "objects": 20_000}
"""MB of resident memory and of memory in use, and objects: the answers of 2 MB each that slow
readers have not taken come and go, and so do conversations; just after a storm more is resident."""
KEPT = 0.05
"""By this share, and what follows, there may be more when the load is over than at the start."""
LEFT = {"in_use": 8.0, "objects": 20_000}
"""What was imported on the way, and tables of the event loop that had 14,000 tasks and do not
become smaller, are 3 to 5 MB in use.  In a soak of 20 minutes 50 bytes for each call that was
answered are as much as the 8 MB."""
PINNED = {"servers": 24.0, "load": 48.0}
"""... and MB of resident memory: what is in use keeps all of the page that it is in, which is up to
25 MB more in the process of the servers and up to 38 in that of the load; they come with the first
storms, and some of it goes in the first half minute without load."""
UNITS = {"rss": "MB of resident memory", "in_use": "MB of memory in use", "objects": "objects"}
GROWN = 8
"""So many members more of the tables of one kind are no chance: what residents call leaves nothing,
and each of them has made every kind of call more often."""
CALM, CROWD = 100, 500
"""Requests in flight that are no storm; and tasks, beyond the fewest of the process: on a busy
machine those of the calls of a storm end long after the calls."""
LOOKS = 8
"""Looks without a storm that it takes to compare the second quarter of them with the last."""
HEADS = 1024
"""Heads of requests that a parser may remember, of each kind."""
SPARE = 4
"""Descriptors and tasks that are there for a moment only, such as those of an idle thread."""
IDLE, LOOKING = 0.01, 0.02
"""Share of a processor that a process may take that has nothing to do; and one that looks into a
database for news fifty times a second."""
STORES = "store server"
"""What processes are called that share a store in SQLite, with their number ..."""
REDIS_STORES = "Redis store server"
"""... and in Redis, which tells them of news."""
STORM = 10_000
"""Calls in flight that are cancelled at once."""
OVER_HTTP = "a storm of 10,000 over HTTP"
"""What is counted where each of them had a connection."""


def storms(count: int) -> str:
    """What is counted where a storm of so many calls is over."""
    return f"storms of {count:,}"


ROUNDS = "rounds of each resident"
NEEDED = {
    **dict.fromkeys(("calls", storms(STORM), "floods", "notifications", "harmed"), 1),
    **dict.fromkeys(("slow readers", "killed children", "killed workers"), 1),
    **dict.fromkeys(("malformed", "intruders"), 1),
    ROUNDS: GROWN,
}
"""What a soak must have done at least so often; small storms over HTTP do not count."""
GREAT = (("http", MODERN), ("http", LEGACY), ("http-uvloop", MODERN))
"""Where a long one must have had a storm over HTTP beside that, if so many connections can be had:
binding and era."""


class Moment(Struct):
    """All processes at one time."""

    seconds: float
    servers: Sample
    load: Sample
    done: dict[str, int]
    each: dict[str, Sample] = {}
    """The processes of which the servers are made, by name."""

    @property
    def processes(self) -> dict[str, Sample]:
        """All of them, that of the load too, by name."""
        return {**self.each, "load": self.load}


def calm(moments: list[Moment]) -> list[Moment]:
    """Those within no storm: a storm takes memory while it lasts, of all who have a part in it."""
    fewest = {
        side: min(moment.processes[side].tasks for moment in moments) + CROWD
        for side in (moments[0].processes if moments else ())
    }
    return [
        moment
        for moment in moments
        if all(
            each.in_flight <= CALM and each.tasks <= fewest[side]
            for side, each in moment.processes.items()
        )
    ]


def growing(moments: list[Moment], *, resident: bool = True) -> list[str]:
    """What grows under load, in which process: the medians of the second quarter and of the last.

    Moments within a storm do not count; where there are too few without, that is what is wrong.
    ``resident``: what is free has gone back to the system, so that resident memory tells something.
    """
    moments = calm(moments)
    if len(moments) < LOOKS:
        return [f"looks under load without a storm: {len(moments)}, of {LOOKS} that are needed"]
    quarter = len(moments) // 4
    found = []
    for side in moments[0].processes:
        samples = [moment.processes[side] for moment in moments]
        parts = samples[quarter : 2 * quarter], samples[-quarter:]
        for name, room in MORE.items():
            if name == "rss" and not resident:
                continue
            was, now = (median(getattr(each, name) for each in part) for part in parts)
            if now > was * (1 + GROWTH) + room:
                found.append(f"{UNITS[name]} of the {side} under load: {was:.1f}, then {now:.1f}")
    return found


def overfull(moments: list[Moment], over: Moment) -> list[str]:
    """What has more than it may: heads at any time, deadlines once the load is ``over``.

    Deadlines that were over before their time are cleared away when the next one is set, so that as
    many may be there as were allowed at that time: for :data:`CALM` that there were at most.  Just
    after a storm there may be more, which one look may meet, but not two.
    """
    found = []
    without = calm(moments)
    for side, now in over.processes.items():
        heads = max(each.processes[side].heads for each in (*moments, over))
        if heads > HEADS:
            found.append(f"heads of requests that the {side} remembered: {heads:,}")
        samples = [each.processes[side] for each in without]
        full = [each for each in samples if each.overdue > 4 * CALM]
        if len(full) > 1 or now.overdue > 4 * CALM:
            most = max(each.overdue for each in (*full, now))
            found.append(f"deadlines of the {side} that were over and are there: {most:,}")
    return found


def larger(begin: Moment, end: Moment, when: str, *, resident: bool = True) -> list[str]:
    """What takes more memory than before, in which process, while just as little goes on."""
    found = []
    for side, now in end.processes.items():
        rooms = {**LEFT, "rss": PINNED["load" if side == "load" else "servers"]}
        for name, room in (rooms if resident else LEFT).items():
            was, more = getattr(begin.processes[side], name), getattr(now, name)
            if more > was * (1 + KEPT) + room:
                found.append(f"{UNITS[name]} of the {side} {when}: {was:.1f}, then {more:.1f}")
    return found


def remaining(begin: Moment, end: Moment) -> list[str]:
    """What is left once the load is over and everything had its time to go, and what was logged."""
    found = larger(begin, end, "at the end", resident=False)
    for side, now in end.processes.items():
        was = begin.processes[side]
        for name in ("descriptors", "tasks", "threads", "sessions"):
            first, last = getattr(was, name), getattr(now, name)
            if last > first + (SPARE if name in ("descriptors", "threads") else 0):
                more = f": {now.work}" if name == "tasks" else ""
                found.append(f"{name} of the {side}: {first}, then {last}{more}")
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


def missing(done: Mapping[str, int], needed: Mapping[str, int] = NEEDED) -> list[str]:
    """What has not been done often enough, so that the soak shows nothing about it."""
    return [name for name, least in needed.items() if done.get(name, 0) < least]
