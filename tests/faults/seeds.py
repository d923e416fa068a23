"""Worlds of which a seed decides everything: play many seeds, or one again."""

from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from tests.tools import Parser, positive


class Outcome(Struct, frozen=True):
    """What came of a seed."""

    breach: str | None = None
    """The rule that was broken, and by what."""
    counts: dict[str, int] = {}
    digest: str = ""
    """Stands for all that has happened."""
    timeline: list[str] | None = None


def command(module: str, description: str | None, play: Callable[[int, bool], Outcome]) -> int:
    """Play as the command line of a module says; returns 1 if a rule was broken.

    ``play`` takes a seed, and whether to keep a timeline.
    """
    parser = Parser(prog=f"python -m {module}", description=description)
    parser.add_argument("--schedules", type=positive, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one, and tell what happens in it")
    options = parser.parse_args()
    if options.seed is not None:
        outcome = play(options.seed, True)
        print("\n".join(outcome.timeline or ()))
        print(f"broken: {outcome.breach}" if outcome.breach else "all rules were kept")
        return 1 if outcome.breach else 0
    totals: Counter[str] = Counter()
    failures = 0
    for seed in range(options.first, options.first + options.schedules):
        outcome = play(seed, False)
        totals.update(outcome.counts)
        if outcome.breach:
            failures += 1
            print(f"{outcome.breach}\n  .venv/bin/python -m {module} --seed {seed}")
    said = ", ".join(f"{count} {name}" for name, count in sorted(totals.items()))
    print(f"{options.schedules} schedules, {failures} failures: {said}")
    return 1 if failures else 0
