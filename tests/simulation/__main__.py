"""``python -m tests.simulation``: play many schedules, or one again with all that happens in it."""

import argparse

from tests.simulation.campaign import smallest
from tests.simulation.jobs import Order, play_all
from tests.simulation.mutations import MUTATIONS, apply
from tests.simulation.play import play
from tests.simulation.schedule import SCENARIOS, Schedule, draw, read_faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, help="stop after so much processor time a job")
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--failures", type=int, default=3, help="stop after so many a job")
    parser.add_argument("--only", default="", help="kinds of faults, with commas between them")
    parser.add_argument("--seed", type=int, help="play this one, and tell what happens in it")
    parser.add_argument("--faults", help="... with these faults instead of those of the seed")
    parser.add_argument("--shrink", action="store_true", help="... with as few of them as it takes")
    parser.add_argument("--last", type=int, default=400, help="lines of the timeline; 0: all")
    parser.add_argument("--mutation", choices=MUTATIONS, help="break the core in this way first")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 if a rule was broken."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _again(options)
    tally = play_all(
        Order(
            schedules=options.schedules,
            first=options.first,
            jobs=options.jobs,
            seconds=options.seconds,
            scenario=options.scenario,
            only=tuple(options.only.split(",")) if options.only else (),
            failures=options.failures,
            mutation=options.mutation,
        )
    )
    print(f"\n{tally.text()}")
    if options.mutation is None:
        tally.save()
    for failure in tally.failures:
        print(f"\n{failure.breach}\n  {failure.command}")
    return 1 if tally.failures else 0


def _again(options: argparse.Namespace) -> int:
    if options.mutation is not None:
        apply(options.mutation)
    schedule = draw(options.seed, options.scenario)
    if options.faults is not None:
        schedule = Schedule(schedule.seed, schedule.scenario, read_faults(options.faults))
    if options.shrink:
        schedule = smallest(schedule)
    outcome = play(schedule, timeline=True)
    for line in (outcome.timeline or [])[-options.last :]:
        print(line)
    print(schedule.command())
    print(f"{outcome.steps} steps, {outcome.requests} requests, digest {outcome.digest}")
    print(f"broken: {outcome.breach}" if outcome.breach else "all rules were kept")
    return 1 if outcome.breach else 0


if __name__ == "__main__":
    raise SystemExit(main())
