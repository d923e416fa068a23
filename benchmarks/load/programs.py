"""Programs that measure themselves: clients, and what stays within one process."""

import os
import subprocess

import msgspec

from benchmarks.load.jobs import SelfMeasured
from benchmarks.load.server import ServerFailed, listening, placed
from benchmarks.method.samples import Sample


def measure(job: SelfMeasured) -> Sample:
    """Run the program, beside the server that it needs, whose URL is its last word."""
    if job.beside is None:
        return _printed(job, ())
    with placed(job.beside) as command, listening(command) as (_, url):
        return _printed(job, (url,))


def _printed(job: SelfMeasured, more: tuple[str, ...]) -> Sample:
    words = (*job.server.words, str(job.warm), str(job.seconds), *more)
    done = subprocess.run(
        words, capture_output=True, env={**os.environ, **job.server.env}, check=False
    )
    if done.returncode:
        raise ServerFailed(done.stderr.decode(errors="replace")[-2000:])
    return msgspec.json.decode(done.stdout, type=Sample)
