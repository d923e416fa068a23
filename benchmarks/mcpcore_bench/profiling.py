"""Where our time goes: rows run once more, under a sampling profiler."""

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from mcpcore_bench.load.jobs import (
    AnyJob,
    Command,
    Events,
    HttpCalls,
    LineCalls,
    SelfMeasured,
    SseCalls,
    WebSocketCalls,
)
from mcpcore_bench.method.samples import Profile, Run
from mcpcore_bench.programs.sampling import VARIABLE
from mcpcore_bench.runner import RunFailed, run_job
from mcpcore_bench.table.table import ROWS

PROFILED = (
    "http:ours-anyio",
    "http:ours-asyncio",
    "http:ours-speed",
    "http-64:ours-speed",
    "http-1000:ours-speed",
    "http-lengths:ours-speed",
    "http-heads:ours-speed",
    "http-parsed:ours-anyio-parsed",
    "http-parsed:ours-asyncio-parsed",
    "http-parsed:ours-speed-parsed",
    "http-legacy:ours-asyncio",
    "http-legacy-sse:ours-asyncio",
    "sessions:10000",
    "sessions-anyio:10000",
    "sessions-speed:10000",
    "tools-speed:1000",
    "progress:ours-anyio",
    "progress:ours-asyncio",
    "progress-together:ours-asyncio",
    "progress-together:ours-anyio",
    "stdio:ours-stdio",
    "stdio-64:ours-stdio",
    "websocket:ours-ws",
    "websocket-1000:ours-ws",
    "echo-1m-websocket:ours-ws",
    "echo-16m-websocket:ours-ws",
    "echo-1m:ours-anyio",
    "echo-1m:ours-asyncio",
    "echo-1m:ours-speed",
    "echo-10m:ours-anyio",
    "echo-10m:ours-asyncio",
    "echo-10m:ours-speed",
    "waiting:ours-speed",
    "client:client",
    "client-1000:client",
)
"""What the page of figures shows: programs at work; of a server, starting is not in it."""
PROGRAMS = ("ours", "ours_asgi", "client")
"""Those that look at themselves."""
WORKS = (Events, HttpCalls, LineCalls, SelfMeasured, SseCalls, WebSocketCalls)
"""What goes on for as long as it is told to."""
SECONDS = 4.0
LOOKS = 800
"""So many at least, for shares that are right to a few hundredths."""
RUNS = 6
"""More are not made for that."""


class Found(Struct):
    """What a program has written of itself."""

    layers: dict[str, int]
    """Looks."""
    kernel: float
    """A share of the CPU time."""


def looked_at(program: Command, file: Path) -> Command:
    """The same program of ours, with its counts written to a file.

    uvloop is no Python, and would count for whatever follows: the speed extra has asyncio's loop.
    """
    words = ("httptools" if word == "speed" else word for word in program.words)
    return Command(tuple(words), {**program.env, VARIABLE: str(file)})


def to_be_profiled(run: Run) -> list[str]:
    """What a run shows the profiles of: :data:`PROFILED`, and what has MISSED a bound in it.

    What cannot be looked at is left out, which is what starts, or only holds memory.
    """
    missed = (
        f"{name}:{verdict.ours}"
        for name, row in run.rows.items()
        for verdict in row.verdicts
        if row.met(verdict) is False and can_be_profiled(name, verdict.ours)
    )
    return list(dict.fromkeys((*PROFILED, *missed)))


def can_be_profiled(row: str, variant: str) -> bool:
    """Whether this is a program of ours that goes on with its work, and looks at itself."""
    if row not in ROWS:
        return False
    job = ROWS[row].variants[variant].job()
    program = job.server.words[2].rpartition(".")[2]
    return isinstance(job, WORKS) and program in PROGRAMS


def profile(name: str, seconds: float = SECONDS, least: int = LOOKS) -> Profile:
    """Run ``row:variant`` until there are enough looks, and tell where its time goes.

    Raises RunFailed.
    """
    row, _, key = name.partition(":")
    variant = ROWS[row].variants[key]
    job = variant.job()
    found = together((_look(name, job, seconds) for _ in range(RUNS)), least)
    looks = sum(found.layers.values())
    if not looks:
        raise RunFailed(f"{name} was at work for too short a time to be looked at")
    layers = sorted(found.layers.items(), key=lambda each: -each[1])
    return Profile(
        title=f"{ROWS[row].title}: {variant.title}"
        + (", on asyncio's loop" if "speed" in job.server.words else ""),
        layers={layer: count / looks for layer, count in layers},
        kernel=found.kernel,
        looks=looks,
    )


def together(runs: Iterable[Found], least: int) -> Found:
    """Add runs up until there are enough looks; those that are not needed are not made."""
    layers: Counter[str] = Counter()
    kernel = 0.0
    for run in runs:
        layers.update(run.layers)
        kernel += run.kernel * sum(run.layers.values())
        if layers.total() >= least:
            break
    return Found(layers=dict(layers), kernel=kernel / max(layers.total(), 1))


def _look(name: str, job: AnyJob, seconds: float) -> Found:
    with tempfile.TemporaryDirectory(prefix="mcpcore-bench-") as folder:
        file = Path(folder) / "profile.json"
        run_job(structs.replace(job, server=looked_at(job.server, file), seconds=seconds))
        try:
            return msgspec.json.decode(file.read_bytes(), type=Found)
        except FileNotFoundError:
            raise RunFailed(
                f"{name} was not profiled: only our own servers and our client are"
            ) from None


def profiles(names: Iterable[str] = PROFILED) -> dict[str, Profile]:
    """Profile each of these.  Raises RunFailed."""
    return {name: profile(name) for name in names}
