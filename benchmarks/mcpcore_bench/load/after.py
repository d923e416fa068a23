"""What a server does when there is nothing to do any more."""

import time

from mcpcore_bench.load.http_calls import callers
from mcpcore_bench.load.http_wire import Place
from mcpcore_bench.load.jobs import After, HttpCalls
from mcpcore_bench.load.server import cpu, listening
from mcpcore_bench.load.steady import together
from mcpcore_bench.method.samples import Sample

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
