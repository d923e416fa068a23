"""Steady state over HTTP+SSE of 2024-11-05: requests are posted, replies come on the stream."""

import socket
import time
from array import array
from itertools import cycle
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
from mcpcore_bench.load.http_wire import Place, Replies, post, request
from mcpcore_bench.load.jobs import SseCalls
from mcpcore_bench.load.server import listening
from mcpcore_bench.load.steady import steady, together
from mcpcore_bench.method.samples import Sample

_RING = 256
_ROOM = 1 << 16
_REVISION = "2024-11-05"


class Session:
    """A stream and the connection beside it on which is posted."""

    def __init__(
        self, url: str, question: Question, verifier: Verifier, first: int, many: int = _RING
    ) -> None:
        """Open it, ready for ``many`` requests that have the ids from ``first``."""
        place = Place.of(url)
        self.connection: socket.socket = place.connect()
        self._verifier = verifier
        self._buffer = bytearray()
        self._id = bytearray()
        self.begun = 0
        self.connection.sendall(request(place, "GET", b"", {"Accept": "text/event-stream"}))
        while (event := self._event()) is None or b"/messages" not in event:
            self._buffer += self.connection.recv(_ROOM)
        parts = urlsplit(event.decode())
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._place = place._replace(path=path)
        self._posts = self._place.connect()
        self._replies = Replies(self._posts)
        self._post(initialize(1, _REVISION))
        while (event := self._event()) is None:
            self._buffer += self.connection.recv(_ROOM)
        opened(1, event)
        self._post(INITIALIZED)
        numbers = range(first, first + many)
        self._ring = cycle(
            [(digits(number), post(self._place, question.body(number))) for number in numbers]
        )

    def _post(self, body: bytes) -> None:
        self._posts.sendall(post(self._place, body))
        self._replies.wait()

    def _event(self) -> bytes | None:
        """The data of the next event, if it is there."""
        buffer = self._buffer
        at = buffer.find(b"data: ")
        end = buffer.find(b"\n", at)
        if at < 0 or end < 0:
            return None
        data = bytes(buffer[at + 6 : end]).rstrip(b"\r")
        del buffer[:end]
        return data

    def send(self) -> None:
        """Post the next request, and read that it was taken."""
        self._id, data = next(self._ring)
        self.begun = time.perf_counter_ns()
        self._posts.sendall(data)
        self._replies.wait()

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right.  Raises WrongReply."""
        data = self.connection.recv(_ROOM)
        if not data:
            raise WrongReply("the stream has ended")
        self._buffer += data
        event = self._event()
        if event is None:
            return False
        self._verifier.check(self._id, event)
        return True

    def close(self) -> None:
        """Leave."""
        self.connection.close()
        self._posts.close()


def measure(job: SseCalls) -> Sample:
    """Run the job."""
    question = Question(job.ask, "legacy")
    verifier = Verifier(question)
    with listening(job.server) as (process, url):
        url = url.removeprefix("sse+")
        made = [
            Session(url, question, verifier, FIRST + index * _RING)
            for index in range(job.connections)
        ]
        try:

            def loop(until: float, latencies: "array[int] | None") -> int:
                return together(made, until, latencies)

            return steady(process, loop, job)
        finally:
            for each in made:
                each.close()
