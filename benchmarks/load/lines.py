"""Steady state on byte streams of lines: standard input and output, TCP, a Unix socket."""

import os
import re
import socket
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from urllib.parse import urlsplit

from benchmarks.load.asks import (
    FIRST,
    INITIALIZED,
    Question,
    Verifier,
    WrongReply,
    initialize,
)
from benchmarks.load.jobs import Command, LineCalls
from benchmarks.load.server import listening, piped, placed
from benchmarks.load.steady import steady
from benchmarks.method.samples import Sample

RING = 4096
RING_BYTES = 64 * 1024 * 1024
_ROOM = 1 << 16
_ID = re.compile(rb'"id":(\d+)')


class Lines:
    """A connection on which lines are written and read."""

    def __init__(self, sink: int, source: int) -> None:
        self._sink, self._source = sink, source
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Write all of it."""
        written = os.write(self._sink, data)
        if written < len(data):
            view = memoryview(data)[written:]
            while view:
                view = view[os.write(self._sink, view) :]

    def read(self) -> list[bytes]:
        """Read until there is a whole line at least.  Raises WrongReply at the end."""
        data = os.read(self._source, _ROOM)
        parts = [self._rest]
        while data and b"\n" not in data:
            parts.append(data)
            data = os.read(self._source, _ROOM)
        if not data:
            raise WrongReply(f"the server has ended after {b''.join(parts)[:200]!r}")
        *lines, self._rest = b"".join([*parts, data]).split(b"\n")
        return lines


def handshake(lines: Lines, job: LineCalls) -> None:
    """Open a legacy conversation; a modern one needs nothing.  Raises WrongReply."""
    if job.era == "legacy":
        lines.write(initialize(1) + b"\n")
        while b'"protocolVersion"' not in lines.read()[-1]:
            pass
        lines.write(INITIALIZED + b"\n")


@contextmanager
def connected(job: LineCalls) -> Iterator[tuple[int, Lines]]:
    """Have a server and a connection to it."""
    if job.binding == "stdio":
        with piped(job.server) as (process, sink, source):
            yield process, Lines(sink, source)
        return
    with (
        placed(job.server) as command,
        _listening(command) as (process, connection),
        connection,
    ):
        yield process, Lines(connection.fileno(), connection.fileno())


@contextmanager
def _listening(command: Command) -> Iterator[tuple[int, socket.socket]]:
    with listening(command) as (process, url):
        parts = urlsplit(url)
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(parts.path)
        else:
            connection = socket.create_connection((parts.hostname, parts.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield process, connection


def measure(job: LineCalls) -> Sample:
    """Run the job."""
    question = Question(job.ask, job.era)
    size = len(question.body(FIRST))
    count = max(min(RING, RING_BYTES // size), job.window + 1)
    numbers = range(FIRST, FIRST + count)
    ring = cycle([(number, question.body(number) + b"\n") for number in numbers])
    verifier = Verifier(question)
    with connected(job) as (process, lines):
        handshake(lines, job)

        def loop(until: float, latencies: "array[int] | None") -> int:
            return windowed(lines, ring, verifier, job.window, until, latencies)

        return steady(process, loop, warm=job.warm, seconds=job.seconds)


def windowed(
    lines: Lines,
    ring: Iterator[tuple[int, bytes]],
    verifier: Verifier,
    window: int,
    until: float,
    latencies: "array[int] | None",
) -> int:
    """Keep so many requests in flight; replies may come in any order."""
    clock = time.perf_counter_ns
    last, count = int(until * 1e9), 0
    flying: dict[int, int] = {}
    fresh = window
    while True:
        now = clock()
        if fresh and now < last:
            batch = [next(ring) for _ in range(fresh)]
            flying.update((number, now) for number, _ in batch)
            lines.write(b"".join([data for _, data in batch]))
        elif not flying:
            return count
        fresh = 0
        for line in lines.read():
            number = _answered(line, flying)
            begun = flying.pop(number)
            verifier.check(number, line)
            fresh += 1
            if latencies is not None:
                latencies.append(clock() - begun)
        count += fresh


def _answered(line: bytes, flying: Mapping[int, int]) -> int:
    """Which request a reply answers, most likely the oldest.  Raises WrongReply."""
    if not flying:
        raise WrongReply(f"a reply to nothing: {line[:200]!r}")
    oldest = next(iter(flying))
    if b'"id":%d' % oldest in line:
        return oldest
    found = _ID.search(line)
    number = int(found[1]) if found else 0
    if number not in flying:
        raise WrongReply(f"a reply to none of what was asked: {line[:200]!r}")
    return number
