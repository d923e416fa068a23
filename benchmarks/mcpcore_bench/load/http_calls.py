"""Steady state over HTTP: a number of connections, one request in flight on each."""

import socket
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle

from mcpcore_bench.load.asks import FIRST, HOLE, Question, Verifier, digits
from mcpcore_bench.load.http_wire import Place, Replies, asking, get_stream, open_session
from mcpcore_bench.load.jobs import HttpCalls
from mcpcore_bench.load.server import listening, placed
from mcpcore_bench.load.steady import one_by_one, steady, together
from mcpcore_bench.load.tokens import HOLE as TOKEN
from mcpcore_bench.load.tokens import issued
from mcpcore_bench.method.samples import Sample

RING = 4096
"""Requests made beforehand, for all connections together; each connection has 8 at least."""
RING_BYTES = 64 * 1024 * 1024
Request = tuple[bytearray, bytes]
"""An id, and the request that has it."""
Turns = Iterator[tuple[Request, Verifier]]
"""Requests again and again, each with what checks its reply."""


class Caller:
    """One connection, and what it asks."""

    def __init__(self, connection: socket.socket, replies: Replies, turns: Turns) -> None:
        """``turns``: ready requests, which it has to itself or shares with other connections."""
        self.connection = connection
        self._replies = replies
        self._turns = turns
        self._id = bytearray()
        self._verifier: Verifier
        self.begun = 0

    def send(self) -> None:
        """Send the next request."""
        (self._id, data), self._verifier = next(self._turns)
        self.begun = time.perf_counter_ns()
        self.connection.sendall(data)

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right.  Raises WrongReply."""
        reply = self._replies.receive()
        if reply is None:
            return False
        self._verifier.check(self._id, reply)
        return True

    def call(self) -> None:
        """Send a request and wait for its reply."""
        self.send()
        self._verifier.check(self._id, self._replies.wait())


def taking_turns(requests: Sequence[Request], verifiers: Sequence[Verifier]) -> Turns:
    """These requests again and again; ``verifiers``: for them, in turn, of which each has one."""
    return cycle(list(zip(requests, cycle(verifiers), strict=False)))


def ring(whole: bytes, first: int, count: int) -> list[Request]:
    """Requests with different ids, made of one with holes."""
    ids = map(digits, range(first, first + count))
    return [(id, whole.replace(HOLE, id)) for id in ids]


def questions(job: HttpCalls) -> list[Question]:
    """All that is asked, in turn."""
    return [Question(ask, job.era) for ask in (job.ask, *job.more)]


@contextmanager
def callers(
    place: Place, job: HttpCalls, sessions: Sequence[str] = (), tokens: Sequence[bytes] = ()
) -> Iterator[list[Caller]]:
    """Connect, open sessions where the era has them, make the requests.

    ``sessions``: those to use in turn, in the place of one for each connection; ``tokens``: access
    tokens, which all connections together take in turn.
    """
    asked = questions(job)
    verifiers = [Verifier(question) for question in asked]
    rings = 1 if job.in_turn else job.connections
    made: list[Caller] = []

    def turns(index: int, own: Sequence[str | None]) -> Turns:
        """The requests of a ring, for these sessions in turn."""
        wholes = [
            asking(
                place,
                question,
                job.replies,
                session,
                vary=job.vary,
                bearer=TOKEN.decode() if tokens else "",
            )
            for session in own
            for question in asked
        ]
        each = max(min(RING // rings, RING_BYTES // len(wholes[0])), 2)
        each = -(-each // len(wholes)) * len(wholes)
        first = FIRST + index * each
        requests = [
            entry
            for number in range(each)
            for entry in ring(
                bearing(wholes[number % len(wholes)], number * rings + index), first + number, 1
            )
        ]
        return taking_turns(requests, verifiers)

    def bearing(whole: bytes, number: int) -> bytes:
        """The request with a token."""
        return whole.replace(TOKEN, tokens[number % len(tokens)]) if tokens else whole

    shared = turns(0, sessions or [None]) if job.in_turn else None
    with ExitStack() as stack:
        for index in range(job.connections):
            connection = stack.enter_context(place.connect())
            replies = Replies(connection)
            if shared is not None:
                made.append(Caller(connection, replies, shared))
                continue
            session = open_session(place, connection, replies) if job.era == "legacy" else None
            made.append(Caller(connection, replies, turns(index, [session])))
        yield made


def measure(job: HttpCalls) -> Sample:
    """Run the job."""
    with (
        issued(job.bearer) as known,
        placed(job.server, known.issuer, job.behind) as command,
        listening(command) as (process, url),
    ):
        place = Place.of(url)
        with (
            crowd(place, job.sessions, job.streams) as sessions,
            callers(place, job, sessions if job.in_turn else (), known.tokens) as made,
        ):
            if len(made) == 1:
                loop = one_by_one(made[0].call)
            else:

                def loop(until: float, latencies: "array[int] | None") -> int:
                    return together(made, until, latencies)

            # Every request that there is has been sent twice then, also where others are at work.
            each = max(len(sessions), 1) if job.in_turn else len(made)
            kinds = each * (1 + len(job.more))
            sample = steady(process, loop, job, least=2 * kinds)
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
