"""A stream of a session that broke off is picked up: what one event that was missed costs."""

import re
import socket
import time

from benchmarks.load.asks import WrongReply
from benchmarks.load.events import request
from benchmarks.load.http_wire import Place, Replies, get_stream, open_session
from benchmarks.load.jobs import Events, Resume
from benchmarks.load.server import cpu, listening
from benchmarks.method.samples import Sample

_EVENT_ID = re.compile(rb"^id: ?([^\r\n]+)", re.MULTILINE)
_STEP = re.compile(rb'"progress":(\d+)')
_ROOM = 1 << 18
_CALM = 0.05
"""The share of a CPU below which the events have all been made."""


def measure(job: Resume) -> Sample:
    """Run the job: CPU in microseconds an event, and the seconds that catching up took."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        with place.connect() as first:
            session = open_session(place, first, Replies(first))
            asked = Events(server=job.server, era="legacy", count=job.count, together=True)
            first.sendall(request(place, asked, session))
            seen = b""
            while (found := _EVENT_ID.search(seen)) is None or not seen.endswith(b"\n"):
                seen += _received(first)
        _settled(process)
        with place.connect() as again:
            began, spent = time.perf_counter(), cpu(process)
            again.sendall(get_stream(place, session, found[1].decode()))
            steps = _caught_up(again)
            wall, spent = time.perf_counter() - began, cpu(process) - spent
        if steps[-1] != job.count or steps != list(range(steps[0], job.count + 1)):
            raise WrongReply(f"{len(steps)} events, from {steps[:2]} to {steps[-2:]}")
        facts = {"seconds": wall, "count": float(len(steps)), "rate": len(steps) / wall}
        return Sample(value=spent / len(steps) * 1e6, facts=facts)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(_ROOM)
    if not data:
        raise WrongReply("the stream has ended")
    return data


def _settled(process: int) -> None:
    """Wait until the server has nothing to do."""
    while True:
        before = cpu(process)
        time.sleep(0.2)
        if cpu(process) - before < _CALM * 0.2:
            return


def _caught_up(connection: socket.socket) -> list[int]:
    """Read until the result has come; returns the steps."""
    parts, tail = [], b""
    while b'"id":1000001' not in tail:
        data = _received(connection)
        parts.append(data)
        tail = tail[-64:] + data
    return [int(step) for step in _STEP.findall(joined(b"".join(parts)))]


def joined(data: bytes) -> bytes:
    """Take the heads of chunks away, which may stand within an event."""
    at, parts = data.find(b"\r\n\r\n") + 4, []
    while at < len(data):
        end = data.find(b"\r\n", at)
        size = int(data[at:end], 16)
        if not size:
            break
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(parts)
