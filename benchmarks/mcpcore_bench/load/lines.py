"""Steady state on byte streams of lines: standard input and output, TCP, a Unix socket."""

import os
import re
import socket
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from urllib.parse import urlsplit

from mcpcore_bench.load.asks import (
    FIRST,
    INITIALIZED,
    Question,
    Verifier,
    WrongReply,
    digits,
    initialize,
    opened,
)
from mcpcore_bench.load.http_wire import connected as connected_to
from mcpcore_bench.load.jobs import Era, LineCalls
from mcpcore_bench.load.room import Room
from mcpcore_bench.load.server import listening, piped, placed
from mcpcore_bench.load.steady import one_by_one, steady
from mcpcore_bench.method.samples import Sample

RING = 4096
RING_BYTES = 64 * 1024 * 1024
_ROOM = 1 << 16
_ID = re.compile(rb'"id":(\d+)')
Line = tuple[int, bytearray, bytes]
"""An id as a number and as it stands in messages, and the request that has it."""


class Lines:
    """A connection on which lines are written and read."""

    def __init__(self, sink: int, source: int) -> None:
        self._sink, self._source = sink, source
        self._room = Room(lambda view: os.readv(source, (view,)))
        self._room.fit(_ROOM)
        self._done = 0
        """So much of the room belongs to lines that were given."""

    def write(self, data: bytes) -> None:
        """Write all of it."""
        written = os.write(self._sink, data)
        if written < len(data):
            view = memoryview(data)[written:]
            while view:
                view = view[os.write(self._sink, view) :]

    def read(self) -> Sequence[bytes | memoryview]:
        """Read until there is a whole line at least: they are good until the next call.

        Raises WrongReply at the end.
        """
        room = self._room
        room.keep(self._done)
        while True:
            looked = room.have
            room.widen()
            room.more()
            last = room.data.rfind(b"\n", looked, room.have)
            if last >= 0:
                break
        self._done = last + 1
        if room.data.find(b"\n", looked, last) < 0:
            return (room.view[:last],)
        return bytes(room.view[:last]).split(b"\n")


def handshake(lines: Lines, era: Era) -> None:
    """Open a legacy conversation; a modern one needs nothing.  Raises WrongReply."""
    if era == "legacy":
        lines.write(initialize(1) + b"\n")
        said = bytes(lines.read()[-1])
        while b'"id"' not in said:  # a server may say something of itself before
            said = bytes(lines.read()[-1])
        opened(1, said)
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
        listening(command) as (process, url),
        reached(url) as connection,
    ):
        yield process, Lines(connection.fileno(), connection.fileno())


def reached(url: str) -> socket.socket:
    """Open a connection to where a TCP or Unix server says that it is."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
        return connection
    assert parts.hostname is not None
    assert parts.port is not None
    return connected_to((parts.hostname, parts.port))


def measure(job: LineCalls) -> Sample:
    """Run the job."""
    question = Question(job.ask, job.era)
    size = len(question.body(FIRST))
    count = max(min(RING, RING_BYTES // size), job.window + 1)
    numbers = range(FIRST, FIRST + count)
    ring = cycle([(number, digits(number), question.body(number) + b"\n") for number in numbers])
    verifier = Verifier(question)
    with connected(job) as (process, lines):
        handshake(lines, job.era)

        def call() -> None:
            _, id, data = next(ring)
            lines.write(data)
            found = lines.read()
            if len(found) > 1:
                raise WrongReply(f"a reply to nothing: {bytes(found[1][:200])!r}")
            verifier.check(id, found[0])

        def several(until: float, latencies: "array[int] | None") -> int:
            return windowed(lines, ring, verifier, job.window, until, latencies)

        loop = one_by_one(call) if job.window == 1 else several
        return steady(process, loop, job)


def windowed(
    lines: Lines,
    ring: Iterator[Line],
    verifier: Verifier,
    window: int,
    until: float,
    latencies: "array[int] | None",
) -> int:
    """Keep so many requests in flight; replies may come in any order."""
    clock = time.perf_counter_ns
    last, count = int(until * 1e9), 0
    flying: dict[int, tuple[bytearray, int]] = {}
    fresh = window
    while True:
        now = clock()
        if fresh and now < last:
            batch = list(islice(ring, fresh))
            flying.update({number: (id, now) for number, id, _ in batch})
            lines.write(b"".join([data for _, _, data in batch]))
        elif not flying:
            return count
        found = lines.read()
        for line in found:
            number = _answered(line, flying, verifier)
            _, begun = flying.pop(number)
            if latencies is not None:
                latencies.append(clock() - begun)
        fresh = len(found)
        count += fresh


def _answered(
    line: bytes | memoryview, flying: Mapping[int, tuple[bytearray, int]], verifier: Verifier
) -> int:
    """Which request a reply answers rightly, most likely the oldest.  Raises WrongReply."""
    if not flying:
        raise WrongReply(f"a reply to nothing: {bytes(line[:200])!r}")
    oldest = next(iter(flying))
    if verifier.knows(flying[oldest][0], line):
        return oldest
    found = _ID.search(line)
    number = int(found[1]) if found else 0
    if number not in flying:
        raise WrongReply(f"a reply to none of what was asked: {bytes(line[:200])!r}")
    verifier.check(flying[number][0], line)
    return number
