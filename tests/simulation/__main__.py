"""``python -m tests.simulation``: play many schedules, or one again with all that happens in it."""

import argparse
import signal
import threading
from concurrent.futures import Future
from multiprocessing import resource_tracker

from msgspec import structs

from tests.simulation.campaign import EVERY, Tally, smallest
from tests.simulation.jobs import Order, Teller, play_all
from tests.simulation.mutations import MUTATIONS, apply
from tests.simulation.play import play
from tests.simulation.schedule import (
    KINDS,
    SCENARIOS,
    Fault,
    Place,
    draw,
    read_faults,
    read_works,
    write_works,
)
from tests.tools import INTERRUPTED, Parser, positive, time_in

_OF_ONE = "faults", "works", "shrink", "last"
"""Options of one schedule ..."""
_OF_MANY = "schedules", "first", "jobs", "seconds", "failures", "only"
"""... and of many."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=positive, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=positive, default=1, help="processes")
    parser.add_argument(
        "--seconds", type=time_in("seconds"), help="stop after so much time by the clock"
    )
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--failures", type=positive, default=3, help="stop after so many a job")
    parser.add_argument("--only", type=_kinds, help="kinds of faults, with commas between them")
    parser.add_argument("--seed", type=int, help="play this one, and tell what happens in it")
    parser.add_argument(
        "--faults", type=_faults, help="... with these faults instead of those of the seed"
    )
    parser.add_argument(
        "--works", type=_works, help="... with this work alone of what the seed has for clients"
    )
    parser.add_argument("--shrink", action="store_true", help="... with as few of both as it takes")
    parser.add_argument("--last", type=int, default=400, help="lines of the timeline; 0: all")
    parser.add_argument("--mutation", choices=MUTATIONS, help="break the core in this way first")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in text.split(",")) if text else ()
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"there is no fault {kind!r}, but {', '.join(KINDS)}")
    return kinds


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        return read_faults(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither none nor a list of faults, each kind@time:target:amount:length, "
            f"with commas between them; kinds are {', '.join(KINDS)}"
        ) from None


def _works(text: str) -> tuple[Place, ...]:
    try:
        return read_works(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither none nor a list of work, each slot:number, with commas between"
        ) from None


def _played(order: Order) -> tuple[Tally, bool]:
    """Play what was ordered; whether it was to the end, not to an interrupt.

    An interrupt must not come up within a schedule, nor within a job, which are processes of the
    same terminal: a thread that leaves the signal alone plays, and its children inherit that.
    """
    told, done = Teller(), Future[Tally]()
    resource_tracker.ensure_running()  # or else it would let the signal through again

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            done.set_result(play_all(order, told))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.result(), True
    except KeyboardInterrupt:
        return told.latest, False


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 if a rule was broken, 130 after an interrupt."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.seed is None:
        _refuse(parser, options, _OF_ONE, "is of one schedule, which --seed names")
    else:
        _refuse(parser, options, _OF_MANY, "is of many schedules, and --seed plays one")
        try:
            return _again(parser, options)
        except KeyboardInterrupt:
            return INTERRUPTED
    for scenario in [options.scenario] if options.scenario else SCENARIOS:
        if options.only and not any(scenario in KINDS[kind].scenarios for kind in options.only):
            can = ", ".join(kind for kind in KINDS if scenario in KINDS[kind].scenarios)
            parser.error(
                f"--only names no fault that the scenario {scenario} has, which has {can}; "
                "--scenario names one alone"
            )
    tally, whole = _played(
        Order(
            schedules=options.schedules,
            first=options.first,
            jobs=options.jobs,
            seconds=options.seconds,
            scenario=options.scenario,
            only=options.only or (),
            failures=options.failures,
            mutation=options.mutation,
        )
    )
    print(f"\n{tally.text()}")
    if options.mutation is None and whole:
        tally.save()
    for failure in tally.failures:
        print(f"\n{failure.breach}\n  {failure.command}")
    if not whole:
        print(f"interrupted: this is what was told last, which is each {EVERY} schedules of a job")
        return INTERRUPTED
    return 1 if tally.failures else 0


def _refuse(
    parser: argparse.ArgumentParser, options: argparse.Namespace, names: tuple[str, ...], why: str
) -> None:
    """End the program if any of these options was given."""
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name} {why}")


def _again(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.mutation is not None:
        apply(options.mutation)
    schedule = draw(options.seed, options.scenario)
    if options.faults is not None:
        schedule = structs.replace(schedule, faults=options.faults)
    if options.works is not None:
        there = play(schedule).works
        missing = [place for place in options.works if place not in there]
        if missing:
            parser.error(
                f"--works names {write_works(missing)}, which the seed has not, "
                f"but {write_works(there)}"
            )
        schedule = structs.replace(schedule, works=options.works)
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
