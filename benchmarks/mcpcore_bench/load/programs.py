"""Programs that measure themselves: clients, and what stays within one process."""

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mcpcore_bench.load.jobs import SelfMeasured
from mcpcore_bench.load.server import ServerFailed, cpu, listening, placed
from mcpcore_bench.method.samples import Sample

_LOOK = 0.02
"""Seconds from one look at what whoever answers has taken to the next."""
Look = tuple[float, float]
"""A moment, and the seconds of CPU until then."""


def measure(job: SelfMeasured) -> Sample:
    """Run the program, beside the server that it needs, whose URL is its last word.

    The facts tell what that takes, or a server that the program has started itself.
    """
    if job.beside is None:
        return _printed(job, ())
    with placed(job.beside) as command, listening(command) as (process, url):
        return _printed(job, (url,), process)


def _printed(job: SelfMeasured, more: tuple[str, ...], beside: int | None = None) -> Sample:
    words = (*job.server.words, str(job.warm), str(job.seconds), *more)
    looks: list[Look] = []
    child = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **job.server.env},
    )
    try:
        while child.returncode is None:
            answering = started_by(child.pid) if beside is None else [beside]
            with suppress(OSError):  # it may have ended meanwhile
                if answering:
                    looks.append((time.perf_counter(), sum(map(cpu, answering))))
            with suppress(subprocess.TimeoutExpired):
                said, wrong = child.communicate(timeout=_LOOK)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode:
        raise ServerFailed(wrong.decode(errors="replace")[-2000:])
    sample = msgspec.json.decode(said, type=Sample)
    return with_answering(sample, looks)


def started_by(process: int) -> list[int]:
    """The children of a process, where the kernel tells."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # threads end
            found += map(int, file.read_text().split())
    return found


def with_answering(sample: Sample, looks: Sequence[Look]) -> Sample:
    """The sample with what whoever answers took in its steady state.

    Only the program knows when that was: it is taken to be the stretch, as long as it was, in which
    most was taken.
    """
    if "rate" in sample.facts and len(looks) > 1:
        count = sample.facts["count"]
        wall = count / sample.facts["rate"]
        share = busiest(looks, wall)
        sample.facts |= {"answering": share * wall / count * 1e6, "answering_busy": share}
    return sample


def busiest(looks: Sequence[Look], stretch: float) -> float:
    """The most CPU a second that was taken in so many seconds, or in all of them if there are less.

    Looks are in the order of time, and more than one.
    """
    (begun, before), (moment, spent) = looks[0], looks[-1]
    if moment - begun < stretch:
        return (spent - before) / (moment - begun)
    first, most = 0, 0.0
    for moment, spent in looks:
        while moment - looks[first][0] >= stretch:
            begun, before = looks[first]
            most = max(most, (spent - before) / (moment - begun))
            first += 1
    return most
