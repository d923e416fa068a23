"""Connections that make one request each: what one of them costs, from connecting to the end."""

from collections.abc import Callable
from itertools import cycle

from benchmarks.load.asks import FIRST, Question, Verifier, digits
from benchmarks.load.http_calls import ring
from benchmarks.load.http_wire import Place, Replies, asking, open_session
from benchmarks.load.jobs import Binding, Setup
from benchmarks.load.legacy_sse import Session
from benchmarks.load.lines import Lines, handshake, reached
from benchmarks.load.server import listening, placed
from benchmarks.load.steady import one_by_one, steady
from benchmarks.load.websocket import Talker, frame
from benchmarks.method.samples import Sample

_RING = 256
_NUMBERS = range(FIRST, FIRST + _RING)
Visit = Callable[[], None]


def measure(job: Setup) -> Sample:
    """Run the job: CPU of a connection with its request; in the legacy era with its session."""
    with placed(job.server) as command, listening(command) as (process, url):
        visit = _VISITS[job.binding](job, url, Question(job.ask, job.era))
        return steady(process, one_by_one(visit), job)


def _http(job: Setup, url: str, question: Question) -> Visit:
    place, verifier = Place.of(url), Verifier(question)
    requests = cycle(ring(asking(place, question, job.replies, "{session}"), FIRST, _RING))

    def visit() -> None:
        id, data = next(requests)
        with place.connect() as connection:
            replies = Replies(connection)
            if job.era == "legacy":
                session = open_session(place, connection, replies)
                data = data.replace(b"{session}", session.encode())
            connection.sendall(data)
            verifier.check(id, replies.wait())

    return visit


def _websocket(job: Setup, url: str, question: Question) -> Visit:
    place, verifier = Place.of(url), Verifier(question)
    requests = cycle([(digits(number), frame(question.body(number))) for number in _NUMBERS])

    def visit() -> None:
        talker = Talker(place, verifier, [next(requests)])
        with talker.connection:
            talker.send()
            while not talker.receive():
                pass

    return visit


def _lines(job: Setup, url: str, question: Question) -> Visit:
    verifier = Verifier(question)
    requests = cycle([(digits(number), question.body(number) + b"\n") for number in _NUMBERS])

    def visit() -> None:
        id, data = next(requests)
        with reached(url) as connection:
            lines = Lines(connection.fileno(), connection.fileno())
            handshake(lines, job.era)
            lines.write(data)
            verifier.check(id, lines.read()[0])

    return visit


def _sse(job: Setup, url: str, question: Question) -> Visit:
    verifier, numbers = Verifier(question), cycle(_NUMBERS)
    url = url.removeprefix("sse+")

    def visit() -> None:
        session = Session(url, question, verifier, next(numbers), 1)
        try:
            session.send()
            while not session.receive():
                pass
        finally:
            session.close()

    return visit


_VISITS: dict[Binding, Callable[[Setup, str, Question], Visit]] = {
    "http": _http,
    "ws": _websocket,
    "tcp": _lines,
    "unix": _lines,
    "sse": _sse,
}
"""How each binding is visited: connect, ask, read the reply, leave."""
