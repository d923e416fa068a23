"""Steady state: warm-up, then a slice of time in which CPU and latencies are taken."""

import select
import socket
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from mcpcore_bench.load.jobs import Job
from mcpcore_bench.load.server import cpu
from mcpcore_bench.method.histogram import Histogram
from mcpcore_bench.method.samples import Sample

LONGEST = 10.0
"""Seconds that a warm-up by count takes at most."""


class Loop(Protocol):
    """Asks until a moment has come, and then waits for what is in flight."""

    def __call__(self, until: float, latencies: "array[int] | None") -> int:
        """Ask until ``until`` (perf_counter); returns how many replies there were.

        ``latencies`` gets the nanoseconds that each took.
        """


def steady(process: int, loop: Loop, job: Job, *, units: int = 1, least: int = 0) -> Sample:
    """Warm up, measure, and return the server's CPU in microseconds a unit.

    ``units``: so many are in one request; ``least``: so many replies belong to the warm-up, however
    long they take.
    """
    seconds, began = job.seconds, time.perf_counter()
    warmed = loop(began + job.warm, None)
    while warmed < least or (
        warmed * units < job.warm_units and time.perf_counter() < began + LONGEST
    ):
        warmed += loop(time.perf_counter() + job.warm, None)
    latencies = array("q")
    own, theirs, began = time.process_time(), cpu(process), time.perf_counter()
    count = loop(began + seconds, latencies)
    wall = time.perf_counter() - began
    theirs, own = cpu(process) - theirs, time.process_time() - own
    histogram = Histogram()
    histogram.record_all(latencies)
    done = count * units
    return Sample(
        value=theirs / done * 1e6,
        facts={
            "rate": done / wall,
            "load": own / done * 1e6,
            "busy": theirs / wall,
            "load_busy": own / wall,
            "count": float(done),
        },
        latency=histogram.counts,
    )


def one_by_one(ask: Callable[[], object]) -> Loop:
    """A loop for what is asked one at a time: ``ask`` returns when it has been answered."""

    def loop(until: float, latencies: "array[int] | None") -> int:
        count = 0
        clock = time.perf_counter_ns
        last, begun = int(until * 1e9), clock()
        while begun < last or not count:
            ask()
            now = clock()
            if latencies is not None:
                latencies.append(now - begun)
            begun = now
            count += 1
        return count

    return loop


class Caller(Protocol):
    """One connection with ready requests."""

    connection: socket.socket
    begun: int
    """When the request in flight was sent, in nanoseconds."""

    def send(self) -> None:
        """Send the next request."""

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right."""


def together(made: Sequence[Caller], until: float, latencies: "array[int] | None") -> int:
    """Keep one request in flight on each connection until a moment has come."""
    by_fd = {caller.connection.fileno(): caller for caller in made}
    clock = time.perf_counter_ns
    last, count, waiting = int(until * 1e9), 0, len(made)
    with select.epoll() as poll:
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        for caller in made:
            caller.send()
        while waiting:
            for fd, _ in poll.poll():
                caller = by_fd[fd]
                if not caller.receive():
                    continue
                now = clock()
                count += 1
                if latencies is not None:
                    latencies.append(now - caller.begun)
                if now < last:
                    caller.send()
                else:
                    waiting -= 1
    return count
