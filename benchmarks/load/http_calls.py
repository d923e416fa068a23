"""Steady state over HTTP: a number of connections, one request in flight on each."""

import socket
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.load.asks import FIRST, HOLE, Question, Verifier
from benchmarks.load.http_wire import Place, Replies, asking, get_stream, open_session
from benchmarks.load.jobs import HttpCalls
from benchmarks.load.server import listening
from benchmarks.load.steady import one_by_one, steady, together
from benchmarks.method.samples import Sample

RING = 4096
"""Requests made beforehand, for all connections together; each connection has 8 at least."""
RING_BYTES = 64 * 1024 * 1024


class Caller:
    """One connection with its ready requests."""

    def __init__(
        self,
        connection: socket.socket,
        verifiers: Sequence[Verifier],
        ring: list[tuple[int, bytes]],
    ) -> None:
        """``verifiers``: for the requests of the ring, in turn."""
        self.connection = connection
        self.replies = Replies(connection)
        self._verifiers = verifiers
        self.ring = ring
        self._next = 0
        self._number = 0
        self._verifier = verifiers[0]
        self.begun = 0

    def send(self) -> None:
        """Send the next request."""
        self._number, data = self.ring[self._next]
        self._verifier = self._verifiers[self._next % len(self._verifiers)]
        self._next = (self._next + 1) % len(self.ring)
        self.begun = time.perf_counter_ns()
        self.connection.sendall(data)

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right.  Raises WrongReply."""
        reply = self.replies.receive()
        if reply is None:
            return False
        self._verifier.check(self._number, reply)
        return True

    def call(self) -> None:
        """Send a request and wait for its reply."""
        self.send()
        while not self.receive():
            pass


def ring(whole: bytes, first: int, count: int) -> list[tuple[int, bytes]]:
    """Requests with different ids, made of one with holes."""
    return [(number, whole.replace(HOLE, b"%d" % number)) for number in range(first, first + count)]


def questions(job: HttpCalls) -> list[Question]:
    """All that is asked, in turn."""
    return [Question(ask, job.era) for ask in (job.ask, *job.more)]


@contextmanager
def callers(place: Place, job: HttpCalls, sessions: Sequence[str] = ()) -> Iterator[list[Caller]]:
    """Connect, open sessions where the era has them, make the requests.

    ``sessions``: those to use in turn, in the place of one for each connection.
    """
    asked = questions(job)
    verifiers = [Verifier(question) for question in asked]
    made: list[Caller] = []
    try:
        for index in range(job.connections):
            connection = place.connect()
            caller = Caller(connection, verifiers, [])
            made.append(caller)
            own: Sequence[str | None] = sessions or [None]
            if job.era == "legacy" and not sessions:
                own = [open_session(place, connection, caller.replies)]
            wholes = [
                asking(place, question, job.replies, session, vary=job.vary)
                for session in own
                for question in asked
            ]
            each = max(min(RING // job.connections, RING_BYTES // len(wholes[0])), 2)
            each = -(-each // len(wholes)) * len(wholes)
            first = FIRST + index * each
            caller.ring = [
                entry
                for number in range(each)
                for entry in ring(wholes[number % len(wholes)], first + number, 1)
            ]
        yield made
    finally:
        for caller in made:
            caller.connection.close()


def measure(job: HttpCalls) -> Sample:
    """Run the job."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        with (
            crowd(place, job.sessions, job.streams) as sessions,
            callers(place, job, sessions if job.in_turn else ()) as made,
        ):
            if len(made) == 1:
                loop = one_by_one(made[0].call)
            else:

                def loop(until: float, latencies: "array[int] | None") -> int:
                    return together(made, until, latencies)

            # Every request that there is has been sent twice then, also where others are at work.
            kinds = len(made) * (1 + len(job.more)) * (len(sessions) if job.in_turn else 1)
            sample = steady(process, loop, warm=job.warm, seconds=job.seconds, least=2 * kinds)
            if job.wall:
                sample.facts["cpu"] = sample.value
                sample.value = 1e6 / sample.facts["rate"]
            return sample


@contextmanager
def crowd(place: Place, sessions: int, streams: int) -> Iterator[list[str]]:
    """Have legacy sessions, some of them with an open GET stream; gives their ids."""
    opened: list[str] = []
    if not sessions:
        yield opened
        return
    held: list[socket.socket] = []
    try:
        with place.connect() as connection:
            replies = Replies(connection)
            for number in range(sessions):
                session = open_session(place, connection, replies)
                opened.append(session)
                if number < streams:
                    held.append(open_stream(place, session))
        yield opened
    finally:
        for each in held:
            each.close()


def open_stream(place: Place, session: str) -> socket.socket:
    """Open a GET stream on a connection of its own, and wait for its head."""
    connection = place.connect()
    connection.sendall(get_stream(place, session))
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"no stream: {head[:200]!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"no stream: {head[:200]!r}")
    return connection
