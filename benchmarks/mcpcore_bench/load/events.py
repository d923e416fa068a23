"""Progress events on one stream: what one of them costs, all of them counted and in order."""

import re
import socket

from mcpcore_bench.load.asks import LEGACY, META, MODERN, WrongReply, message
from mcpcore_bench.load.http_wire import Place, Replies, dechunked, open_session, post
from mcpcore_bench.load.jobs import Events
from mcpcore_bench.load.room import Room
from mcpcore_bench.load.server import listening
from mcpcore_bench.load.steady import one_by_one, steady
from mcpcore_bench.method.samples import Sample

_STEP = re.compile(rb'"progress":(\d+)')
_ID = 1_000_001
_END = b"0\r\n\r\n"


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


class Telling:
    """Reads the streams of one connection, which has one at a time."""

    def __init__(self, connection: socket.socket, count: int) -> None:
        self._room = Room.of(connection)
        self._count = count
        self._known = bytearray()
        self.read = 0
        """How many were read, and not only compared with the one before."""

    def wait(self) -> None:
        """Read one stream to its end.  Raises WrongReply unless all events came, in order."""
        room = self._room
        room.more()
        while not room.data.endswith(_END, 0, room.have):
            room.widen()
            room.more()
        begin = room.data.find(b"\r\n\r\n", 0, room.have) + 4
        body = room.view[begin : room.have]
        if self._known != body:
            self._check(bytes(body))
            self._known = bytearray(body)
            self.read += 1
        room.have = 0

    def _check(self, chunks: bytes) -> None:
        body = dechunked(chunks, 0) or b""
        steps = [int(step) for step in _STEP.findall(body)]
        if steps != list(range(1, self._count + 1)):
            raise WrongReply(f"{len(steps)} of {self._count} events, the last {steps[-3:]}")
        if b'"id":%d' % _ID not in body:
            raise WrongReply("the stream ended without the result")


def measure(job: Events) -> Sample:
    """Run the job."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        with place.connect() as connection:
            session = None
            if job.era == "legacy":
                session = open_session(place, connection, Replies(connection))
            data, telling = request(place, job, session), Telling(connection, job.count)

            def call() -> None:
                connection.sendall(data)
                telling.wait()

            loop = one_by_one(call)
            return steady(process, loop, job, units=job.count)
