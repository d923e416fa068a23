"""``python -m tests.simulation``: play many schedules, or one again with all that happens in it."""

import argparse
import multiprocessing
import sys
from queue import Empty
from typing import Any

from tests.simulation.campaign import Tally, campaign, smallest
from tests.simulation.play import play
from tests.simulation.schedule import SCENARIOS, Schedule, draw, read_faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, help="stop after so much processor time a job")
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--seed", type=int, help="play this one, and tell what happens in it")
    parser.add_argument("--faults", help="... with these faults instead of those of the seed")
    parser.add_argument(
        "--shrink", action="store_true", help="... and leave out what it can do without"
    )
    parser.add_argument("--mutation", help="break the core in this way first (mutations/)")
    parser.add_argument(
        "--last", type=int, default=400, help="lines of the timeline to show; 0: all"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 if a rule was broken."""
    options = _parser().parse_args(arguments)
    if options.mutation is not None:
        from tests.simulation.mutations import apply

        apply(options.mutation)
    if options.seed is not None:
        return _again(options)
    tally = _many(options)
    print(tally.text())
    tally.save()
    for failure in tally.failures:
        print(f"\n{failure.breach}\n  {failure.command}")
    return 1 if tally.failures else 0


def _again(options: argparse.Namespace) -> int:
    schedule = draw(options.seed, options.scenario)
    if options.faults is not None:
        schedule = Schedule(schedule.seed, schedule.scenario, read_faults(options.faults))
    if options.shrink:
        schedule = smallest(schedule)
    outcome = play(schedule, timeline=True)
    lines = outcome.timeline or []
    for line in lines[-options.last :]:
        print(line)
    print(schedule.command())
    print(f"{outcome.steps} steps, {outcome.requests} requests, digest {outcome.digest}")
    print(f"broken: {outcome.breach}" if outcome.breach else "all rules were kept")
    return 1 if outcome.breach else 0


def _job(options: argparse.Namespace, number: int, results: Any) -> None:
    if options.mutation is not None:
        from tests.simulation.mutations import apply

        apply(options.mutation)
    tally = campaign(
        options.first + number,
        options.schedules // options.jobs,
        seconds=options.seconds,
        scenario=options.scenario,
        every=options.jobs,
        tell=lambda tally: results.put((number, False, tally)),
    )
    results.put((number, True, tally))


def _many(options: argparse.Namespace) -> Tally:
    """Play in several processes, and tell how far they are."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    jobs = [
        context.Process(target=_job, args=(options, number, results), daemon=True)
        for number in range(options.jobs)
    ]
    for job in jobs:
        job.start()
    latest: dict[int, Tally] = {}
    open_jobs = set(range(options.jobs))
    while open_jobs:
        try:
            number, last, tally = results.get(timeout=5.0)
        except Empty:
            if not all(jobs[number].is_alive() for number in open_jobs):
                raise RuntimeError("a job has ended without a word") from None
            continue
        latest[number] = tally
        if last:
            open_jobs.discard(number)
        total = Tally()
        for each in latest.values():
            total.join(each)
        print(f"\r{total.schedules} schedules", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return total


if __name__ == "__main__":
    raise SystemExit(main())
