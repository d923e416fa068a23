"""A process that fuzzes one target, so that whatever it does to itself stays its own affair.

``plain`` mutates the corpus by chance and a seed.  ``guided`` hands the target to atheris, which
keeps what reaches new code and goes on from there; it ends the process itself.  ``minimise`` makes
one input smaller.
"""

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct, field

from tests.fuzz.faults import STILL, Watch, minimise
from tests.fuzz.mutation import MAX_SIZE, Mutator
from tests.fuzz.registry import CORPUS, Counted, Target, load
from tests.rest import at_rest

_KINDS = 5
"""Faults of one target that are told apart; then it has had enough."""


class Found(Struct):
    """A fault and the smallest input known for it."""

    what: str
    report: str
    file: str


class Tally(Struct):
    """What became of one target."""

    target: str
    engine: str
    executions: int = 0
    messages: int = 0
    """What was delivered in conversations; 0 where none are held, or nobody counts."""
    seconds: float = 0.0
    covered: int = 0
    """Edges of our code, taken together with how often; 0 where nobody counts them."""
    new: int = 0
    """Inputs that reached something which no other had reached."""
    faults: list[Found] = field(default_factory=list)


def keep(target: str, folder: Path, data: bytes) -> Path:
    """Write an input down, by target and content."""
    path = folder / target / f"fault-{sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def fuzz(
    target: Target,
    *,
    seed: int,
    executions: int | None = None,
    seconds: float | None = None,
    found: Callable[[bytes, str, str], None],
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Run the corpus, then mutations of it; gives how many inputs there were.

    ``found`` is called once for each kind of fault, with its smallest input; ``enough`` is asked
    before each input.
    """
    mutator = Mutator(Random(seed), target.corpus(), target.tokens)
    corpus = target.corpus()
    until = None if seconds is None else time.monotonic() + seconds
    kinds: set[str] = set()
    count = 0
    at_rest()  # connections make much garbage in cycles
    with Watch(target.run) as watch:
        while (executions is None or count < executions) and len(kinds) < _KINDS:
            if enough():
                break
            if until is not None and time.monotonic() > until:
                break
            data = corpus[count] if count < len(corpus) else mutator.next()
            count += 1
            fault = watch.fault(data)
            if fault is not None and fault.what not in kinds:
                kinds.add(fault.what)
                found(minimise(watch, data, fault.what), fault.what, fault.report)
    return count


def _plain(options: argparse.Namespace) -> None:
    # An exception out of nowhere would be one of the target.
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    counted = Counted(load(options.target))
    tally = Tally(options.target, "plain")

    def found(data: bytes, what: str, report: str) -> None:
        path = keep(options.target, Path(options.keep), data)
        tally.faults.append(Found(what, report, str(path)))

    began = time.monotonic()
    tally.executions = fuzz(
        counted.target,
        seed=options.seed,
        executions=options.executions,
        seconds=options.seconds,
        found=found,
        enough=lambda: bool(interrupts),
    )
    tally.messages = counted.messages
    tally.seconds = time.monotonic() - began
    print(msgspec.json.encode(tally).decode())


def _minimise(options: argparse.Namespace) -> None:
    with Watch(load(options.target).run) as watch:
        data = Path(options.file).read_bytes()
        fault = watch.fault(data)
        if fault is None:
            raise SystemExit("this input does nothing wrong")
        path = keep(options.target, Path(options.keep), minimise(watch, data, fault.what))
    print(msgspec.json.encode(Found(fault.what, fault.report, str(path))).decode())


def _guided(options: argparse.Namespace) -> None:
    # For atheris, which tells how far it is: an exception out of nowhere would be a fault.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["mcpcore", "mcpcore_transports"]):
        target = load(options.target)
    folder = Path(options.keep) / options.target
    grown = folder / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens))
    arguments = [
        sys.argv[0],
        f"-seed={options.seed + 1}",
        f"-max_len={MAX_SIZE}",
        f"-timeout={STILL:.0f}",
        f"-artifact_prefix={folder}/raw-",
        f"-dict={words}",
        "-print_final_stats=1",
        "-len_control=0",
        "-rss_limit_mb=4096",
    ]
    if options.executions is not None:
        arguments.append(f"-runs={options.executions}")
    if options.seconds is not None:
        arguments.append(f"-max_total_time={max(1, round(options.seconds))}")
    arguments.append(str(grown))
    if (CORPUS / options.target).is_dir():
        arguments.append(str(CORPUS / options.target))

    def one(data: bytes) -> None:  # what a target gives would mean something to atheris
        target.run(data)

    atheris.Setup(arguments, one)
    at_rest()
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in token)


def main() -> None:
    """Do one piece of work and print what came of it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["plain", "guided", "minimise"])
    parser.add_argument("target")
    parser.add_argument("--keep", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--file")
    options = parser.parse_args()
    {"plain": _plain, "guided": _guided, "minimise": _minimise}[options.work](options)


if __name__ == "__main__":
    main()
