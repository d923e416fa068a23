"""Resident memory of what a server holds."""

import select
import socket
import time
from collections.abc import Callable, Sequence

from mcpcore_bench.load.asks import FIRST, Question, Verifier, WrongReply, digits
from mcpcore_bench.load.http_calls import open_stream, ring
from mcpcore_bench.load.http_wire import Place, Replies, asking, open_session
from mcpcore_bench.load.jobs import Ask, Era, Memory
from mcpcore_bench.load.lines import Lines, reached
from mcpcore_bench.load.server import cpu, listening, placed, resident
from mcpcore_bench.load.setup import Guest, coming
from mcpcore_bench.load.websocket import Talker, frame
from mcpcore_bench.method.samples import Sample

_BEFORE = 20
"""So many of a kind are there before the first look: what the first of them take is not theirs."""
_LOOKS = frozenset({100, 300})
"""Besides at the end, memory is looked at when there are so many."""
AT = "MB at "
"""Begins the names of the facts that say how much all of them take together."""
_LONG = 600_000


class Holder:
    """Holds connections, sessions, streams or calls open at a server."""

    def __init__(self, place: Place, job: Memory) -> None:
        self._place = place
        self.held: list[socket.socket] = []
        self._shared = place.connect()
        self.held.append(self._shared)
        self._replies = Replies(self._shared)
        modern = Question(Ask(), "modern")
        self._modern = ring(asking(place, modern, "any", None), FIRST, 1)[0]
        self._verifier = Verifier(modern)
        self._wait = Question(Ask("wait", _LONG), job.era)
        self._accepted = job.replies
        self._calls: list[socket.socket] = []
        """Those whose call is to wait."""
        self.add: Callable[[], None] = {
            "connection": self._connection,
            "session": self._session,
            "stream": self._stream,
            "call": self._call,
            "idle": self._connection,
        }[job.what]

    def _connected(self) -> socket.socket:
        """A connection that has made a modern request."""
        connection = self._place.connect()
        self.held.append(connection)
        id, data = self._modern
        connection.sendall(data)
        self._verifier.check(id, Replies(connection).wait())
        return connection

    def _connection(self) -> None:
        self._connected()

    def _session(self) -> None:
        open_session(self._place, self._shared, self._replies)

    def _stream(self) -> None:
        session = open_session(self._place, self._shared, self._replies)
        self.held.append(open_stream(self._place, session))

    def _call(self) -> None:
        # What is not waited for comes faster than a server accepts: so something is, each time.
        if self._wait.era == "legacy":
            session = open_session(self._place, self._shared, self._replies)
            connection = self._place.connect()
            self.held.append(connection)
        else:
            session, connection = None, self._connected()
        self._calls.append(connection)
        whole = asking(self._place, self._wait, self._accepted, session)
        connection.sendall(ring(whole, FIRST, 1)[0][1])

    def check(self) -> None:
        """See that every call waits.  Raises WrongReply."""
        see_waiting(self._calls)

    def close(self) -> None:
        """Let go of everything."""
        for each in self.held:
            each.close()


class Guests:
    """Holds connections of another binding than HTTP open, each of which has made a request."""

    def __init__(self, job: Memory, url: str) -> None:
        era: Era = "legacy" if job.binding == "sse" else "modern"
        self._come = coming(job.binding, url, Ask(), era)
        self._held: list[Guest] = []

    def add(self) -> None:
        """One more.  Raises WrongReply."""
        self._held.append(self._come())

    def check(self) -> None:
        """There is nothing that could have gone wrong since."""

    def close(self) -> None:
        """Let go of everything."""
        for each in self._held:
            each.close()


class Waiters:
    """Holds connections of another binding than HTTP open, each of which has a call that waits.

    It had the answer to another one before.
    """

    def __init__(self, job: Memory, url: str) -> None:
        self._url = url
        short, long = Question(Ask(), "modern"), Question(Ask("wait", _LONG), "modern")
        self._verifier = Verifier(short)
        self._first, self._second = short.body(FIRST), long.body(FIRST + 1)
        self._connect = self._websocket if job.binding == "ws" else self._lines
        self._held: list[socket.socket] = []

    def add(self) -> None:
        """One more.  Raises WrongReply."""
        self._held.append(self._connect())

    def _websocket(self) -> socket.socket:
        frames = [(digits(FIRST), frame(self._first)), (digits(FIRST + 1), frame(self._second))]
        talker = Talker(Place.of(self._url), self._verifier, frames)
        talker.send()
        while not talker.receive():
            pass
        talker.send()
        return talker.connection

    def _lines(self) -> socket.socket:
        connection = reached(self._url)
        connection.sendall(self._first + b"\n")
        lines = Lines(connection.fileno(), connection.fileno())
        self._verifier.check(digits(FIRST), lines.read()[0])
        connection.sendall(self._second + b"\n")
        return connection

    def check(self) -> None:
        """See that every call waits.  Raises WrongReply."""
        see_waiting(self._held)

    def close(self) -> None:
        """Let go of everything."""
        for each in self._held:
            each.close()


def see_waiting(calls: Sequence[socket.socket]) -> None:
    """See that every call waits: nothing came on its connection, which is open.

    Raises WrongReply.
    """
    poll = select.poll()
    for each in calls:
        poll.register(each, select.POLLIN)
    if ready := poll.poll(0):
        first = next(each for each in calls if each.fileno() == ready[0][0])
        said = first.recv(300, socket.MSG_DONTWAIT)
        raise WrongReply(f"{len(ready)} of {len(calls)} calls do not wait: {said!r}")


def holding(job: Memory, url: str) -> Holder | Guests | Waiters:
    """What holds what the job is about."""
    if job.binding == "http":
        return Holder(Place.of(url), job)
    return Waiters(job, url) if job.what == "call" else Guests(job, url)


def measure(job: Memory) -> Sample:
    """Run the job."""
    with (
        placed(job.server, behind=job.behind) as command,
        listening(command) as (process, url),
    ):
        holder = holding(job, url)
        try:
            for _ in range(_BEFORE if job.what != "idle" else 1):
                holder.add()
            settle(process)
            before = resident(process)
            if job.what == "idle":
                return Sample(value=before / 1e6)
            grown, steps = 0, {}
            for number in range(1, job.count + 1):
                holder.add()
                if number in _LOOKS or number == job.count:
                    settle(process)
                    holder.check()
                    grown = resident(process) - before
                    steps[f"{AT}{number}"] = grown / 1e6
        finally:
            holder.close()
    return Sample(value=grown / job.count / 1000, facts=steps)


def settle(process: int) -> None:
    """Wait until the server has nothing to do, half a minute at most."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        before = cpu(process)
        time.sleep(0.2)
        if cpu(process) - before < 0.01:
            return
