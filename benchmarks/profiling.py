"""Where our time goes: rows run once more, under a sampling profiler."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from benchmarks.load.jobs import Command
from benchmarks.method.samples import Profile
from benchmarks.programs.sampling import VARIABLE
from benchmarks.runner import RunFailed, run_job
from benchmarks.table import ROWS

PROFILED = (
    "http:ours-anyio",
    "http:ours-asyncio",
    "http:ours-speed",
    "http-heads:ours-speed",
    "http-legacy:ours-asyncio",
    "http-legacy-sse:ours-asyncio",
    "progress:ours-asyncio",
    "stdio:ours-stdio",
    "stdio-64:ours-stdio",
    "websocket:ours-ws",
    "echo-1m:ours-asyncio",
    "waiting:ours-speed",
)
"""What the page of figures shows: servers once they are at work, so that starting is not in it."""
SECONDS = 6.0


def looked_at(server: Command, file: Path) -> Command:
    """The same server, with its counts written to a file.

    uvloop is no Python, and would count for whatever follows: the speed extra has asyncio's loop.
    """
    words = ("httptools" if word == "speed" else word for word in server.words)
    return Command(tuple(words), {**server.env, VARIABLE: str(file)})


def profile(name: str, seconds: float = SECONDS) -> Profile:
    """Run ``row:variant`` once and tell where its server has spent its time.  Raises RunFailed."""
    row, _, key = name.partition(":")
    variant = ROWS[row].variants[key]
    job = variant.job()
    with tempfile.TemporaryDirectory(prefix="mcpcore-bench-") as folder:
        file = Path(folder) / "profile.json"
        server = looked_at(job.server, file)
        run_job(structs.replace(job, server=server, seconds=seconds))
        try:
            found = json.loads(file.read_text())
        except FileNotFoundError:
            raise RunFailed(f"{name} was not profiled: only our own servers are") from None
    looks = sum(found["layers"].values())
    layers = sorted(found["layers"].items(), key=lambda each: -each[1])
    return Profile(
        title=f"{ROWS[row].title}: {variant.title}"
        + (", on asyncio" if server.words != job.server.words else ""),
        layers={layer: count / looks for layer, count in layers},
        kernel=found["kernel"],
        looks=looks,
    )


def profiles(names: Iterable[str] = PROFILED) -> dict[str, Profile]:
    """Profile each of these.  Raises RunFailed."""
    return {name: profile(name) for name in names}
