"""A stream of a session that broke off is picked up: what one event that was missed costs."""

import re
import socket
import time

from mcpcore_bench.load.asks import WrongReply
from mcpcore_bench.load.events import request
from mcpcore_bench.load.http_wire import Place, Replies, get_stream, open_session
from mcpcore_bench.load.jobs import Events, Resume
from mcpcore_bench.load.server import cpu, listening
from mcpcore_bench.method.samples import Sample

_EVENT_ID = re.compile(rb"^id: ?([^\r\n]+)", re.MULTILINE)
_EVENT_END = re.compile(rb"\r?\n\r?\n")
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
            while (left := left_at(joined(seen))) is None:
                seen += _received(first)
            last, step = left
        _settled(process)
        with place.connect() as again:
            own, began, spent = time.process_time(), time.perf_counter(), cpu(process)
            again.sendall(get_stream(place, session, last.decode()))
            steps = _caught_up(again)
            wall, own = time.perf_counter() - began, time.process_time() - own
            # The clock of a process may stand still from when it is woken to when it sleeps again.
            _settled(process)
            spent = cpu(process) - spent
        verify(steps, step, job.count)
        facts = {
            "seconds": wall,
            "count": float(len(steps)),
            "rate": len(steps) / wall,
            "load": own / len(steps) * 1e6,
            "busy": spent / wall,
            "load_busy": own / wall,
        }
        return Sample(value=spent / len(steps) * 1e6, facts=facts)


def left_at(stream: bytes) -> tuple[bytes, int] | None:
    """The first event with an id, and which step is the next behind it; None: there is none yet."""
    *events, _ = _EVENT_END.split(stream)
    step = 1
    for event in events:
        step += len(_STEP.findall(event))
        if found := _EVENT_ID.search(event):
            return found[1], step
    return None


def verify(steps: list[int], first: int, last: int) -> None:
    """Hold what was replayed against what was missed.  Raises WrongReply."""
    if steps != list(range(first, last + 1)):
        found = f"{len(steps)} events, from {steps[:2]} to {steps[-2:]}"
        raise WrongReply(f"{found}, not {first} to {last}")


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
    """Take heads away, also those of chunks, which may stand within an event; as far as it goes."""
    at, parts = data.find(b"\r\n\r\n") + 4, []
    while at >= 4 and (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        if not size:
            break
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(parts)
