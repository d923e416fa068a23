"""Schedules: seed, faults and work as plain data; drawing, writing, reading, shrinking."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from msgspec import Struct, structs

SPAN = 20.0
"""Seconds in which clients begin things and faults begin."""

CLIENT, SERVER, STORE, ANY = "client", "server", "store", "any"


class Kind(Struct, frozen=True):
    """A kind of fault."""

    whom: str
    """Whom it befalls: ``target`` counts these."""
    amounts: tuple[float, ...]
    lengths: tuple[float, ...]
    scenarios: tuple[str, ...] = ("lines", "http", "store", "sse")


_LENGTHS = (0.5, 2.0, 8.0, 25.0)
_HTTP = ("http", "store", "sse")

KINDS: dict[str, Kind] = {
    # everything takes up to ``amount`` seconds more, so that connections overtake each other
    "delay": Kind(CLIENT, (0.05, 0.5, 3.0, 12.0), _LENGTHS),
    # of all that is sent at once the first 24 pieces, and 24 from a place that is drawn, are
    # ``amount`` bytes long
    "split": Kind(CLIENT, (1, 2, 7, 30), _LENGTHS),
    # a connection breaks, ``amount`` of what is under way arrives; the server hears of it after
    # ``length``
    "drop": Kind(CLIENT, (0.0, 0.1, 0.5, 0.9, 1.0), (0.0, 0.0, 1.0, 30.0)),
    # ... and it is the client that hears of it late
    "mute": Kind(CLIENT, (0.0, 0.3, 0.8), (1.0, 10.0, 30.0)),
    # no connection can be opened
    "refuse": Kind(CLIENT, (0.0,), _LENGTHS),
    # the next requests arrive twice
    "twice": Kind(CLIENT, (1, 3), (2.0, 8.0), _HTTP),
    # the client (amount 0) or the server (1) does not read
    "deaf": Kind(CLIENT, (0, 1), (0.5, 5.0, 40.0)),
    # a small window: writers have to wait
    "narrow": Kind(CLIENT, (16, 200, 1000), _LENGTHS),
    # all is forgotten, and ``length`` seconds later it begins anew
    "crash_server": Kind(SERVER, (0.0,), (0.1, 2.0, 10.0)),
    "crash_client": Kind(CLIENT, (0.0,), (0.1, 2.0)),
    # a clock is ``amount`` seconds further on
    "jump": Kind(ANY, (1.0, 15.0, 70.0, 400.0, 2000.0), (0.0,)),
    "store_slow": Kind(SERVER, (0.1, 1.0, 12.0), _LENGTHS, ("store",)),
    # steps fail; with ``amount`` 1 they are carried out all the same
    "store_fail": Kind(SERVER, (0, 1), (0.5, 2.0, 15.0), ("store",)),
    # a server and the store hear nothing of each other; beyond 10 seconds the others take over
    "store_cut": Kind(SERVER, (0.0,), (2.0, 15.0, 40.0), ("store",)),
    # the wall clock of one worker, by which a store counts, is ``amount`` seconds wrong
    "wall": Kind(SERVER, (-70.0, -15.0, 15.0, 70.0), _LENGTHS, ("store",)),
}
SCENARIOS = ("lines", "http", "store", "sse")
_WALL = 0.2
"""So often is a wall clock wrong in a schedule with a store."""


class Fault(Struct, frozen=True):
    """One thing that goes wrong."""

    at: float
    kind: str
    target: int
    amount: float
    length: float

    def __str__(self) -> str:
        return f"{self.kind}@{self.at:g}:{self.target}:{self.amount:g}:{self.length:g}"


Place = tuple[int, int]
"""Some work of a client: the slot in which it stands, and the number of the work."""


class Schedule(Struct, frozen=True):
    """All that decides a run."""

    seed: int
    scenario: str
    faults: tuple[Fault, ...]
    works: tuple[Place, ...] | None = None
    """What clients do, of all that the seed has for them; None: all of it."""

    def command(self) -> str:
        """What runs it again."""
        written = ",".join(map(str, self.faults)) or "none"
        words = (
            f".venv/bin/python -m tests.simulation --seed {self.seed} --scenario {self.scenario}"
        )
        words += f" --faults {written}"
        if self.works is not None:
            words += f" --works {write_works(self.works)}"
        return words


def read_faults(text: str) -> tuple[Fault, ...]:
    """Read faults as they are written.  Raises ValueError."""
    if text in ("", "none"):
        return ()
    faults = []
    for part in text.split(","):
        kind, _, rest = part.strip().partition("@")
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind!r}; there are: {', '.join(KINDS)}")
        at, target, amount, length = rest.split(":")
        faults.append(Fault(float(at), kind, int(target), float(amount), float(length)))
    return tuple(faults)


def write_works(works: Iterable[Place]) -> str:
    """Write down what clients do, as ``slot:number``."""
    return ",".join(f"{slot}:{number}" for slot, number in works) or "none"


def read_works(text: str) -> tuple[Place, ...]:
    """Read it.  Raises ValueError."""
    if text in ("", "none"):
        return ()
    pairs = (part.split(":") for part in text.split(","))
    return tuple((int(slot), int(number)) for slot, number in pairs)


def draw(seed: int, scenario: str | None = None, only: tuple[str, ...] = ()) -> Schedule:
    """The schedule of a seed; ``only``: of faults of these kinds."""
    chance = Random(f"{seed}/schedule")
    scenario = scenario or SCENARIOS[seed % len(SCENARIOS)]
    kinds = [name for name, kind in KINDS.items() if scenario in kind.scenarios]
    kinds += ["crash_server", "drop"]
    # Clocks are drawn last, so that all else is as it would be without.
    kinds = [name for name in kinds if (name in only if only else name != "wall")]
    many = chance.choice((0, 1, 1, 2, 2, 3, 4, 6, 9))
    faults = [_draw_fault(chance, chance.choice(kinds)) for _ in range(many)]
    clocks = Random(f"{seed}/clocks")
    if scenario == "store" and not only and clocks.random() < _WALL:
        faults.append(_draw_fault(clocks, "wall"))
    faults.sort(key=lambda each: each.at)
    return Schedule(seed, scenario, tuple(faults))


def _draw_fault(chance: Random, name: str) -> Fault:
    kind = KINDS[name]
    # The beginning is where most can go wrong.
    span = 0.2 if chance.random() < 0.25 else SPAN
    at = round(chance.random() * span, 3)
    amount, length = chance.choice(kind.amounts), chance.choice(kind.lengths)
    return Fault(at, name, chance.randrange(8), amount, length)


def shrink(
    schedule: Schedule,
    works: Sequence[Place],
    fails: Callable[[Schedule], bool],
    most: int = 400,
) -> Schedule:
    """Leave out faults and work as long as what is left still fails; of it all nothing can go then.

    ``works``: all the work of the schedule.  After ``most`` tries it is left as it is.
    """
    tries = 0

    def still(smaller: Schedule) -> bool:
        nonlocal tries
        tries += 1
        return tries <= most and fails(smaller)

    before = None
    if schedule.works is None:
        schedule = structs.replace(schedule, works=tuple(works))
    while schedule != before and tries < most:
        before = schedule
        for name in ("faults", "works"):
            schedule = _shrunk(schedule, name, still)
    return structs.replace(schedule, works=None) if schedule.works == tuple(works) else schedule


def _shrunk(schedule: Schedule, name: str, fails: Callable[[Schedule], bool]) -> Schedule:
    """Leave out items of one member, at first many at a time."""
    size = len(getattr(schedule, name))
    while size >= 1:
        found = _without(schedule, name, size, fails)
        if found is None:
            size //= 2
        else:
            schedule, size = found, min(size, len(getattr(found, name)))
    return schedule


def _without(
    schedule: Schedule, name: str, size: int, fails: Callable[[Schedule], bool]
) -> Schedule | None:
    items = getattr(schedule, name)
    for begin in range(0, len(items), size):
        kept = items[:begin] + items[begin + size :]
        smaller: Schedule = structs.replace(schedule, **{name: kept})
        if fails(smaller):
            return smaller
    return None


def counted(schedules: Iterable[Schedule]) -> dict[str, int]:
    """Faults by kind."""
    counts = dict.fromkeys(KINDS, 0)
    for schedule in schedules:
        for fault in schedule.faults:
            counts[fault.kind] += 1
    return counts
