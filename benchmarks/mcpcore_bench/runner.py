"""Running jobs: each in a process of its own, in turn, A B A B."""

import compileall
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache
from pathlib import Path

import msgspec

import mcpcore
import mcpcore_bench
import mcpcore_transports
from mcpcore_bench.load.jobs import (
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
from mcpcore_bench.load.server import HEAP
from mcpcore_bench.method.samples import LEAST_ROUNDS, Measured, RowResult, Sample, Verdict
from mcpcore_bench.rows import Row
from mcpcore_bench.subjects import OURS, ROOT, SUBJECTS

PATIENCE = 180.0
"""Seconds that one run may take, starting and ending included."""
GRACE = 5.0
"""Seconds in which a run that is interrupted may end by itself."""
QUICK = 0.4
"""Seconds of steady state where it should be quick."""
SHORT = 0.2
"""Seconds of steady state in which the load generator is measured by itself."""
TRIES = 2
"""A variant that has failed so often is left out of the rounds that follow."""
PACKAGES = tuple(
    Path(next(iter(package.__path__))) for package in (mcpcore, mcpcore_transports, mcpcore_bench)
)
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
    words = (sys.executable, "-m", "mcpcore_bench.load", msgspec.json.encode(job).decode())
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
            env={**os.environ, **HEAP, "TMPDIR": folder},
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


def measure_load(
    told: Callable[[str], object], *, rounds: int = LEAST_ROUNDS, quick: bool = False
) -> dict[str, Measured]:
    """What the load generator takes by itself, against the least that can answer.

    The costs are those of whoever answers, for each kind of work; beside each of them is what the
    load generator took, and the rate that the two reached.
    """
    return _in_turn(self_measurements(), told, rounds=rounds, quick=quick)


def _in_turn(
    jobs: Mapping[str, AnyJob], told: Callable[[str], object], *, rounds: int, quick: bool
) -> dict[str, Measured]:
    """Run jobs one after the other, as often as there are rounds.  Raises RunFailed."""
    found = {name: Measured(name) for name in jobs}
    for number in range(1, rounds + 1):
        for name, job in jobs.items():
            told(name)
            length = QUICK / 4 if quick else SHORT
            sample = run_job(msgspec.structs.replace(job, warm=length / 4, seconds=length))
            found[name].samples.append(msgspec.structs.replace(sample, round=number))
    return found


def undercut(
    row: Row,
    result: RowResult,
    own: Mapping[str, Measured],
    told: Callable[[str], object],
    *,
    quick: bool = False,
) -> dict[str, str]:
    """The variants of a row that cost less than whoever answers the load generator by itself.

    Says why for each of them: what looks for nothing in a request is not the least that can answer
    then.  The machine may have been slower when that was measured: who costs less is run again, in
    turn with it, and only what does so then, beyond the spread of both, is told.
    Raises RunFailed.
    """
    found = {}
    for name, measured in result.variants.items():
        job = row.variants[name].job()
        kind = kind_of(job)
        least = own.get(kind or "")
        if kind is None or least is None:
            continue
        if min(len(least.samples), len(measured.samples)) < LEAST_ROUNDS:
            continue
        if measured.median >= least.median:
            continue
        jobs = {"responder": self_measurements()[kind], name: job}
        again = _in_turn(jobs, told, rounds=LEAST_ROUNDS, quick=quick)
        (low, high), (lower, higher) = (again[each].quartiles for each in (name, "responder"))
        if high < lower:
            found[name] = (
                f"{measured.title} takes {low:.3g} to {high:.3g} µs, and the responder, which "
                f"should be the least ({kind}), {lower:.3g} to {higher:.3g}"
            )
    return found


def kind_of(job: AnyJob) -> str | None:
    """The kind of work by which the load generator was measured that a job is, if it is one."""
    return _kinds().get(_alike(job))


@cache
def _kinds() -> dict[bytes, str]:
    return {
        _alike(job): name
        for name, job in self_measurements().items()
        if "mcpcore_bench.programs.responder" in job.server.words[2]
    }


def _alike(job: AnyJob) -> bytes:
    """What a job has in common with all those that are the same work for who looks for nothing.

    Such a program does not care for the era, for what heads say, or for sessions that are there.
    """
    members = msgspec.to_builtins(job)
    own = ("server", "seconds", "warm", "warm_units", "more", "vary", "sessions", "in_turn")
    for name in (*own, "streams", *(() if isinstance(job, Setup) else ("era",))):
        members.pop(name, None)
    if members.get("replies") == "any":
        members["replies"] = "json"
    return msgspec.json.encode(members)


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
    sse = Command((OURS, "-m", "mcpcore_bench.programs.responder_sse"))
    jobs["HTTP+SSE, 16 in flight"] = SseCalls(server=sse)
    # Where a stream is to be picked up is nothing that ready bytes could know.
    jobs["events that were missed, of the raw protocol"] = Resume(
        server=SUBJECTS["raw-protocol"].command()
    )
    return jobs
