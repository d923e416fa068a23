"""Connections that make one request each: what one of them costs, from connecting to the end."""

from collections.abc import Callable
from itertools import cycle
from typing import Protocol

from mcpcore_bench.load.asks import FIRST, Question, Verifier, digits
from mcpcore_bench.load.http_calls import ring
from mcpcore_bench.load.http_wire import Place, Replies, asking, open_session
from mcpcore_bench.load.jobs import Ask, Binding, Era, Setup
from mcpcore_bench.load.jobs import Replies as Accepted
from mcpcore_bench.load.legacy_sse import Session
from mcpcore_bench.load.lines import Lines, handshake, reached
from mcpcore_bench.load.server import listening, placed
from mcpcore_bench.load.steady import one_by_one, steady
from mcpcore_bench.load.websocket import Talker, frame
from mcpcore_bench.method.samples import Sample

_RING = 256
_NUMBERS = range(FIRST, FIRST + _RING)


class Guest(Protocol):
    """A connection that has had the answer to a request."""

    def close(self) -> None:
        """Leave."""


Come = Callable[[], Guest]


def measure(job: Setup) -> Sample:
    """Run the job: CPU of a connection with its request; in the legacy era with its session."""
    with placed(job.server) as command, listening(command) as (process, url):
        come = coming(job.binding, url, job.ask, job.era, job.replies)
        return steady(process, one_by_one(lambda: come().close()), job)


def coming(
    binding: Binding, url: str, ask: Ask, era: Era = "modern", replies: Accepted = "json"
) -> Come:
    """How somebody comes to a server: connects, asks, reads the reply, and stays.

    What it returns raises WrongReply.
    """
    question = Question(ask, era)
    if binding == "http":
        return _http(url, question, replies)
    return _OTHERS[binding](url, question)


def _http(url: str, question: Question, accepted: Accepted) -> Come:
    place, verifier = Place.of(url), Verifier(question)
    requests = cycle(ring(asking(place, question, accepted, "{session}"), FIRST, _RING))

    def come() -> Guest:
        id, data = next(requests)
        connection = place.connect()
        replies = Replies(connection)
        if question.era == "legacy":
            session = open_session(place, connection, replies)
            data = data.replace(b"{session}", session.encode())
        connection.sendall(data)
        verifier.check(id, replies.wait())
        return connection

    return come


def _websocket(url: str, question: Question) -> Come:
    place, verifier = Place.of(url), Verifier(question)
    requests = cycle([(digits(number), frame(question.body(number))) for number in _NUMBERS])

    def come() -> Guest:
        talker = Talker(place, verifier, [next(requests)])
        talker.send()
        while not talker.receive():
            pass
        return talker.connection

    return come


def _lines(url: str, question: Question) -> Come:
    verifier = Verifier(question)
    requests = cycle([(digits(number), question.body(number) + b"\n") for number in _NUMBERS])

    def come() -> Guest:
        id, data = next(requests)
        connection = reached(url)
        lines = Lines(connection.fileno(), connection.fileno())
        handshake(lines, question.era)
        lines.write(data)
        verifier.check(id, lines.read()[0])
        return connection

    return come


def _sse(url: str, question: Question) -> Come:
    verifier, numbers = Verifier(question), cycle(_NUMBERS)
    url = url.removeprefix("sse+")

    def come() -> Guest:
        session = Session(url, question, verifier, next(numbers), 1)
        session.send()
        while not session.receive():
            pass
        return session

    return come


_OTHERS: dict[Binding, Callable[[str, Question], Come]] = {
    "ws": _websocket,
    "tcp": _lines,
    "unix": _lines,
    "sse": _sse,
}
