"""Imports, and the time from the start of a stdio server to its first reply."""

import os
import subprocess
import time

from mcpcore_bench.load.asks import initialize, opened
from mcpcore_bench.load.jobs import FirstReply, Import
from mcpcore_bench.load.lines import Lines
from mcpcore_bench.load.server import ServerFailed, cpu, piped
from mcpcore_bench.method.samples import Sample


def measure(job: FirstReply | Import) -> Sample:
    """Run the job: milliseconds of CPU; the wall clock's beside it."""
    return first_reply(job) if isinstance(job, FirstReply) else imported(job)


def first_reply(job: FirstReply) -> Sample:
    """From before the program is started to its answer to ``initialize``."""
    began = time.perf_counter()
    with piped(job.server) as (process, sink, source):
        lines = Lines(sink, source)
        lines.write(initialize(1) + b"\n")
        reply = bytes(lines.read()[0])
        wall, spent = time.perf_counter() - began, cpu(process)
    opened(1, reply)
    return Sample(value=spent * 1000, facts={"wall": wall * 1000})


def imported(job: Import) -> Sample:
    """What a program that only imports takes, with the start of its interpreter."""
    began = time.perf_counter()
    child = subprocess.Popen(
        job.server.words, stderr=subprocess.PIPE, env={**os.environ, **job.server.env}
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise ServerFailed(said.decode(errors="replace")[-500:])
    wall = time.perf_counter() - began
    return Sample(value=(usage.ru_utime + usage.ru_stime) * 1000, facts={"wall": wall * 1000})
