"""Samples of a process: memory, descriptors, tasks, requests in flight, and CPU."""

import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.state import Endpoint
from mcpcore.http.server.server import HttpServer
from tests.bindings.workbench import census
from tests.faults.allocated import in_use
from tests.faults.complaints import Complaints

DEADLINES = 65
"""Entries that a table of deadlines may have, and four for each deadline that there is or was when
one was set last."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(Struct):
    """One look at a process."""

    rss: float
    """Resident memory in MB."""
    in_use: float
    """What of it is in use, in MB; the rest is code, and what the allocator keeps."""
    objects: int
    """Objects that the garbage collector knows."""
    descriptors: int
    tasks: int
    threads: int
    in_flight: int
    """Requests in the tables of all its endpoints, both ways."""
    sessions: int
    """Legacy sessions of its HTTP servers; where they live in a store, those that it knows of."""
    cpu: float
    """Seconds so far, without this look."""
    looking: float = 0.0
    """Seconds that this look took."""
    deadlines: int = 0
    """Entries of all tables of deadlines, those that were over before their time among them."""
    overdue: int = 0
    """How much the table has that has most beyond what it may have for so many deadlines."""
    heads: int = 0
    """Heads of requests that the parser remembered which had most."""
    work: dict[str, int] = {}
    """How many tasks do what."""
    kept: dict[str, int] = {}
    """What its tables have, and how many objects of which class there are, where that was asked."""
    errors: list[str] = []
    """What has been logged as an error: a mistake of ours, as nobody of the load makes handlers
    fail."""


ERRORS = Complaints(most=20)


def listen_to_errors() -> None:
    """Keep errors for the samples; warnings are of no interest, as the load breaks every rule."""
    logging.basicConfig(handlers=[ERRORS], level=logging.ERROR)


def sample(begun: float | None = None, heads: int = 0) -> Sample:
    """Look at this process; ``begun``: the seconds of CPU at which that has begun; ``heads``: those
    that were forgotten for it."""
    begun = time.process_time() if begun is None else begun
    there = census()
    known = gc.get_objects()
    endpoints = [each for each in known if type(each) is Endpoint]
    machines = [each for each in known if HttpServer in type(each).__mro__]
    sizes = [(len(each._heap), each.live) for each in known if type(each) is Deadlines]
    return Sample(
        rss=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6,
        in_use=in_use(),
        objects=len(known),
        descriptors=there.descriptors,
        tasks=sum(there.tasks.values()),
        threads=there.threads,
        in_flight=sum(len(endpoint.inbound) + len(endpoint.outbound) for endpoint in endpoints),
        sessions=sum(machine.sessions for machine in machines),
        cpu=begun,
        looking=time.process_time() - begun,
        deadlines=sum(size for size, _ in sizes),
        overdue=max((size - DEADLINES - 4 * live for size, live in sizes), default=0),
        heads=heads,
        work=there.tasks,
        errors=ERRORS.heard,
    )


def together(samples: Sequence[Sample]) -> Sample:
    """What several processes hold, as if they were one, without what each of them keeps."""
    work: Counter[str] = Counter()
    for each in samples:
        work.update(each.work)
    sums = {
        name: sum(getattr(each, name) for each in samples)
        for name, kind in Sample.__annotations__.items()
        if kind in (int, float)
    }
    errors = [error for each in samples for error in each.errors]
    return Sample(**sums, work=dict(work), errors=errors)
