"""Connections that make one request each: what one of them costs, from connecting to the end."""

from itertools import cycle

from benchmarks.load.asks import FIRST, Question, Verifier
from benchmarks.load.http_calls import ring
from benchmarks.load.http_wire import Place, Replies, asking, open_session
from benchmarks.load.jobs import Setup
from benchmarks.load.server import listening
from benchmarks.load.steady import one_by_one, steady
from benchmarks.method.samples import Sample

_RING = 256


def measure(job: Setup) -> Sample:
    """Run the job: CPU of a connection with its request; in the legacy era with its session."""
    question = Question(job.ask, job.era)
    verifier = Verifier(question)
    with listening(job.server) as (process, url):
        place = Place.of(url)
        requests = cycle(ring(asking(place, question, job.replies, "{session}"), FIRST, _RING))

        def call() -> None:
            id, data = next(requests)
            with place.connect() as connection:
                replies = Replies(connection)
                if job.era == "legacy":
                    session = open_session(place, connection, replies)
                    data = data.replace(b"{session}", session.encode())
                connection.sendall(data)
                verifier.check(id, replies.wait())

        return steady(process, one_by_one(call), job)
