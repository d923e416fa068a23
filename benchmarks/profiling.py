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
    "http-legacy:ours-asyncio",
    "http-legacy-sse:ours-asyncio",
    "progress:ours-asyncio",
    "stdio:ours-stdio",
    "stdio-64:ours-stdio",
    "websocket:ours-ws",
)
"""What the page of figures shows.  Not uvloop: it is no Python, and counts for whatever follows."""
SECONDS = 6.0


def profile(name: str) -> Profile:
    """Run ``row:variant`` once and tell where its server has spent its time.  Raises RunFailed."""
    row, _, key = name.partition(":")
    variant = ROWS[row].variants[key]
    job = variant.job()
    with tempfile.TemporaryDirectory(prefix="mcpcore-bench-") as folder:
        file = Path(folder) / "profile.json"
        server = Command(job.server.words, {**job.server.env, VARIABLE: str(file)})
        run_job(structs.replace(job, server=server, seconds=SECONDS))
        try:
            found = json.loads(file.read_text())
        except FileNotFoundError:
            raise RunFailed(f"{name} was not profiled: only our own servers are") from None
    looks = sum(found["layers"].values())
    layers = sorted(found["layers"].items(), key=lambda each: -each[1])
    return Profile(
        title=f"{ROWS[row].title}: {variant.title}",
        layers={layer: count / looks for layer, count in layers},
        kernel=found["kernel"],
        looks=looks,
    )


def profiles(names: Iterable[str] = PROFILED) -> dict[str, Profile]:
    """Profile each of these.  Raises RunFailed."""
    return {name: profile(name) for name in names}
