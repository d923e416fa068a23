"""Progress events on one stream: what one of them costs, all of them counted and in order."""

import re
import socket

from benchmarks.load.asks import LEGACY, META, MODERN, WrongReply, message
from benchmarks.load.http_wire import Place, Replies, dechunked, open_session, post
from benchmarks.load.jobs import Events
from benchmarks.load.server import listening
from benchmarks.load.steady import one_by_one, steady
from benchmarks.method.samples import Sample

_STEP = re.compile(rb'"progress":(\d+)')
_ID = 1_000_001
_END = b"0\r\n\r\n"
_ROOM = 1 << 18


def request(place: Place, job: Events, session: str | None) -> bytes:
    """The POST that asks for the events."""
    meta = {"progressToken": 7}
    arguments = {"count": job.count, "together": job.together}
    params = {"name": "events", "arguments": arguments}
    if job.era == "modern":
        body = message(_ID, "tools/call", {**params, "_meta": {**META, **meta}})
        return post(
            place,
            body,
            MCP_Protocol_Version=MODERN,
            Mcp_Method="tools/call",
            Mcp_Name="events",
        )
    body = message(_ID, "tools/call", {**params, "_meta": meta})
    return post(place, body, MCP_Protocol_Version=LEGACY, Mcp_Session_Id=session or "")


def told(connection: socket.socket, count: int) -> None:
    """Read one stream to its end.  Raises WrongReply unless all events came, in order."""
    buffer = bytearray()
    while not buffer.endswith(_END):
        data = connection.recv(_ROOM)
        if not data:
            raise WrongReply(f"the stream broke off after {len(buffer)} bytes")
        buffer += data
    body = dechunked(buffer, buffer.find(b"\r\n\r\n") + 4)
    steps = [int(step) for step in _STEP.findall(body or b"")]
    if steps != list(range(1, count + 1)):
        raise WrongReply(f"{len(steps)} of {count} events, the last {steps[-3:]}")
    if b'"id":%d' % _ID not in (body or b""):
        raise WrongReply("the stream ended without the result")


def measure(job: Events) -> Sample:
    """Run the job."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        with place.connect() as connection:
            session = None
            if job.era == "legacy":
                session = open_session(place, connection, Replies(connection))
            data = request(place, job, session)

            def call() -> None:
                connection.sendall(data)
                told(connection, job.count)

            loop = one_by_one(call)
            return steady(process, loop, warm=job.warm, seconds=job.seconds, units=job.count)
