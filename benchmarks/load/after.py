"""What a server does when there is nothing to do any more."""

import time

from benchmarks.load.http_calls import callers
from benchmarks.load.http_wire import Place
from benchmarks.load.jobs import After, HttpCalls
from benchmarks.load.server import cpu, listening
from benchmarks.load.steady import together
from benchmarks.method.samples import Sample

_PAUSE = 1.0


def measure(job: After) -> Sample:
    """Run the job: load, then a pause, then the CPU of some seconds, connections still open."""
    calls = HttpCalls(server=job.server, connections=job.connections)
    with listening(job.server) as (process, url), callers(Place.of(url), calls) as made:
        together(made, time.perf_counter() + job.warm, None)
        time.sleep(_PAUSE)
        spent, began = cpu(process), time.perf_counter()
        time.sleep(2 * job.seconds)
        spent, wall = cpu(process) - spent, time.perf_counter() - began
    return Sample(value=spent / wall * 1e6)
