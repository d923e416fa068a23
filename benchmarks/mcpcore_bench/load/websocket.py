"""Steady state over WebSocket: one request in flight on each connection, in one text frame."""

import os
import struct
import time
from array import array
from base64 import b64encode
from itertools import cycle

from mcpcore_bench.load.asks import FIRST, Question, Verifier, WrongReply, digits
from mcpcore_bench.load.http_calls import Request
from mcpcore_bench.load.http_wire import Place
from mcpcore_bench.load.jobs import WebSocketCalls
from mcpcore_bench.load.room import Room
from mcpcore_bench.load.server import listening, placed
from mcpcore_bench.load.steady import steady, together
from mcpcore_bench.method.samples import Sample

_MASK = 0x5A3C96E1
_TEXT = 0x81
_RING = 256
_RING_BYTES = 64 * 1024 * 1024


def frame(data: bytes) -> bytes:
    """A masked text frame."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", _TEXT, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _TEXT, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", _TEXT, 0x80 | 127, size)
    key = _MASK.to_bytes(4)
    whole = int.from_bytes(data) ^ int.from_bytes((key * (size // 4 + 1))[:size])
    return head + key + whole.to_bytes(size)


class Talker:
    """One connection with its ready frames."""

    def __init__(self, place: Place, verifier: Verifier, ring: list[Request]) -> None:
        self.connection = place.connect()
        self._verifier, self._ring = verifier, cycle(ring)
        self._room = Room.of(self.connection)
        self._id = bytearray()
        self.begun = 0
        self._open(place)

    def _open(self, place: Place) -> None:
        key = b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET {place.path} HTTP/1.1\r\nHost: {place.host}:{place.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n".encode()
        )
        room = self._room
        while not room.data.endswith(b"\r\n\r\n", 0, room.have):
            room.more()
        head = bytes(room.view[: room.have])
        if not head.startswith(b"HTTP/1.1 101"):
            raise WrongReply(f"no WebSocket: {head[:300]!r}")
        room.have = 0

    def send(self) -> None:
        """Send the next request."""
        self._id, data = next(self._ring)
        self.begun = time.perf_counter_ns()
        self.connection.sendall(data)

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right.  Raises WrongReply."""
        room = self._room
        room.more()
        data, have = room.data, room.have
        if have < 2:
            return False
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10]), 10
        if have < at + size:
            room.fit(at + size)
            return False
        if data[0] != _TEXT or have > at + size:
            raise WrongReply(f"not one text frame: {bytes(data[:100])!r}")
        self._verifier.check(self._id, room.view[at:have])
        room.have = 0
        return True


def measure(job: WebSocketCalls) -> Sample:
    """Run the job."""
    question = Question(job.ask, job.era)
    verifier = Verifier(question)
    with placed(job.server) as command, listening(command) as (process, url):
        place = Place.of(url)
        made: list[Talker] = []
        many = max(min(_RING, _RING_BYTES // len(question.body(FIRST))), 2)
        for index in range(job.connections):
            first = FIRST + index * many
            numbers = range(first, first + many)
            ring = [(digits(number), frame(question.body(number))) for number in numbers]
            made.append(Talker(place, verifier, ring))
        try:

            def loop(until: float, latencies: "array[int] | None") -> int:
                return together(made, until, latencies)

            return steady(process, loop, job)
        finally:
            for each in made:
                each.connection.close()
