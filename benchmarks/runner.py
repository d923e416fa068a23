"""Running jobs: each in a process of its own, in turn, A B A B."""

import compileall
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path

import msgspec

from benchmarks.load.jobs import (
    AnyJob,
    Ask,
    Command,
    Events,
    HttpCalls,
    LineCalls,
    Resume,
    Setup,
    SseCalls,
    WebSocketCalls,
)
from benchmarks.method.samples import Measured, RowResult, Sample, Verdict
from benchmarks.rows import Row
from benchmarks.subjects import OURS, ROOT, SUBJECTS

PATIENCE = 180.0
"""Seconds that one run may take, starting and ending included."""
GRACE = 5.0
"""Seconds in which a run that is interrupted may end by itself."""
QUICK = 0.4
"""Seconds of steady state where it should be quick."""
TRIES = 2
"""A variant that has failed so often is left out of the rounds that follow."""
PACKAGES = tuple(ROOT / name for name in ("mcpcore", "transports", "benchmarks"))
"""Where the modules are that our programs, and the raw ones, are made of."""


class RunFailed(Exception):
    """A run that measured nothing; the message says why."""


def compile_modules(packages: Sequence[Path] = PACKAGES) -> None:
    """Have bytecode beside all modules, as pip leaves it for the packages of the peers.

    Otherwise what starts up would be charged with compiling whatever was edited last, and all of it
    each time where PYTHONDONTWRITEBYTECODE is set.
    """
    for package in packages:
        compileall.compile_dir(package, quiet=2)


def run_job(job: AnyJob) -> Sample:
    """Run one job in a load generator of its own.  Raises RunFailed."""
    words = (sys.executable, "-m", "benchmarks.load", msgspec.json.encode(job).decode())
    with grouped(words) as child:
        try:
            said, wrong = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"nothing came of it within {PATIENCE:g} s") from None
    if child.returncode:
        raise RunFailed(wrong.decode(errors="replace").strip()[-600:] or "it failed")
    return msgspec.json.decode(said.splitlines()[-1], type=Sample)


@contextmanager
def grouped(
    words: Sequence[str], pass_fds: Sequence[int] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Have a child that ends with all that it has started, whatever becomes of us.

    Its temporary files are in a folder of ours, which goes with it: also what it has no time for.
    """
    with tempfile.TemporaryDirectory(prefix="mcpcore-bench-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,
            pass_fds=pass_fds,
        )
        try:
            yield child
        finally:
            _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a group of processes: it is asked to, and then made to."""
    with suppress(ProcessLookupError):  # nothing is left of the group, if all went well
        os.killpg(child.pid, signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
        finally:
            os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def run_row(
    row: Row,
    rounds: int,
    *,
    quick: bool,
    only: Sequence[str] = (),
    told: Callable[[int, str], object],
    kept: Callable[[RowResult], object] = lambda result: None,
) -> RowResult:
    """Measure a row: every variant in turn, as often as there are rounds.

    ``only``: these variants and no others; ``told`` gets the round and the variant that follows,
    ``kept`` after each round what there is then.  A variant that fails twice is left out of those
    that follow, and says why.
    """
    result = RowResult(row.title, row.unit, {})
    chosen = {}
    for name, variant in row.variants.items():
        if only and name not in only:
            continue
        measured = result.variants[name] = Measured(variant.title)
        measured.missing = variant.needs()
        if measured.missing is None:
            chosen[name] = variant
    failures: Counter[str] = Counter()
    for number in range(1, rounds + 1):
        for name, variant in chosen.items():
            measured = result.variants[name]
            if failures[name] >= TRIES:
                continue
            told(number, variant.title)
            job = variant.job()
            if quick and job.seconds > QUICK:
                job = msgspec.structs.replace(job, seconds=QUICK, warm_units=0)
            try:
                sample = run_job(job)
            except RunFailed as problem:
                failures[name] += 1
                measured.missing = f"failed: {problem}"
            else:
                measured.samples.append(msgspec.structs.replace(sample, round=number))
        result.verdicts = judge(row, result)
        kept(deepcopy(result))
    return result


def judge(row: Row, result: RowResult) -> list[Verdict]:
    """Hold a row against its bounds."""
    verdicts = []
    for bound in row.bounds:
        if not {bound.ours, bound.peer} <= set(result.variants):
            continue
        found = Verdict(bound.ours, bound.peer, bound.most, None, bound.clock)
        ours, peer = result.held(found)
        if ours.samples and peer.samples:
            found.ratio = ours.median / peer.median
        verdicts.append(found)
    return verdicts


def measure_load(told: Callable[[str], object], *, quick: bool = False) -> dict[str, float]:
    """What the load generator takes by itself, against the least that can answer.

    Microseconds of CPU a request, or an event, for each kind of work; beside it what the responder
    takes, and the rate that the two reach.
    """
    found = {}
    for name, job in self_measurements().items():
        told(name)
        if quick:
            job = msgspec.structs.replace(job, warm=QUICK / 8, seconds=QUICK / 4)
        sample = run_job(job)
        found[name] = sample.facts["load"]
        found[f"{name}, responder"] = sample.value
        found[f"{name}, a second"] = sample.facts["rate"]
    return found


def self_measurements() -> dict[str, AnyJob]:
    """Each kind of work that the load generator does in a steady state, by name."""
    command = SUBJECTS["responder"].command
    http, tcp = command(), command("--binding", "tcp")
    stdio, list_1000 = command("--binding", "stdio"), command("--tools", "1000")
    jobs: dict[str, AnyJob] = {
        f"HTTP, {count:,} in flight": HttpCalls(server=http, connections=count)
        for count in (1, 16, 1000)
    }
    jobs["HTTP, SSE replies, 16 in flight"] = HttpCalls(server=http, replies="sse")
    jobs["HTTP, a connection each"] = Setup(server=http)
    jobs["HTTP, a connection and a session each"] = Setup(server=http, era="legacy")
    for title, size in (("10 kB", 10_000), ("1 MB", 1_000_000), ("16 MB", 16_000_000)):
        ask = Ask("echo", size)
        jobs[f"HTTP, {title} and back"] = HttpCalls(server=http, connections=1, ask=ask)
    jobs["HTTP, a list of 1,000"] = HttpCalls(
        server=list_1000, connections=1, ask=Ask("list", 1000)
    )
    jobs["events on a stream, one at a time"] = Events(server=http)
    jobs["events on a stream, together"] = Events(server=http, together=True)
    jobs["WebSocket, 16 in flight"] = WebSocketCalls(server=http)
    for window in (1, 64):
        jobs[f"stdio, {window} in flight"] = LineCalls(server=stdio, era="modern", window=window)
    jobs["TCP, 1 in flight"] = LineCalls(server=tcp, era="modern", binding="tcp")
    unix = command("--binding", "unix", "--path", "{path}")
    jobs["Unix socket, 1 in flight"] = LineCalls(server=unix, era="modern", binding="unix")
    sse = Command((OURS, "-m", "benchmarks.programs.responder_sse"))
    jobs["HTTP+SSE, 16 in flight"] = SseCalls(server=sse)
    # Where a stream is to be picked up is nothing that ready bytes could know.
    jobs["events that were missed, of the raw protocol"] = Resume(
        server=SUBJECTS["raw-protocol"].command()
    )
    return {name: msgspec.structs.replace(job, seconds=0.5) for name, job in jobs.items()}
