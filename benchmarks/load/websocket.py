"""Steady state over WebSocket: one request in flight on each connection, in one text frame."""

import os
import struct
import time
from array import array
from base64 import b64encode

from benchmarks.load.asks import FIRST, Question, Verifier, WrongReply
from benchmarks.load.http_wire import Place
from benchmarks.load.jobs import WebSocketCalls
from benchmarks.load.server import listening
from benchmarks.load.steady import steady, together
from benchmarks.method.samples import Sample

_MASK = 0x5A3C96E1
_TEXT = 0x81
_RING = 256
_ROOM = 1 << 16


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

    def __init__(self, place: Place, verifier: Verifier, ring: list[tuple[int, bytes]]) -> None:
        self.connection = place.connect()
        self._verifier, self._ring = verifier, ring
        self._buffer = bytearray()
        self._next = self._number = 0
        self.begun = 0
        self._open(place)

    def _open(self, place: Place) -> None:
        key = b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET {place.path} HTTP/1.1\r\nHost: {place.host}:{place.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.connection.recv(_ROOM)
            if not data:
                raise WrongReply(f"no WebSocket: {head[:300]!r}")
            head += data
        if not head.startswith(b"HTTP/1.1 101"):
            raise WrongReply(f"no WebSocket: {head[:300]!r}")

    def send(self) -> None:
        """Send the next request."""
        self._number, data = self._ring[self._next]
        self._next = (self._next + 1) % len(self._ring)
        self.begun = time.perf_counter_ns()
        self.connection.sendall(data)

    def receive(self) -> bool:
        """Read once; whether the reply is there, and right.  Raises WrongReply."""
        buffer = self._buffer
        data = self.connection.recv(_ROOM)
        if not data:
            raise WrongReply("the connection has ended")
        buffer += data
        if len(buffer) < 2:
            return False
        size, at = buffer[1], 2
        if size == 126:
            size, at = int.from_bytes(buffer[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < at + size:
            return False
        if buffer[0] != _TEXT:
            raise WrongReply(f"not one text frame: {bytes(buffer[:100])!r}")
        self._verifier.check(self._number, bytes(buffer[at : at + size]))
        del buffer[: at + size]
        return True


def measure(job: WebSocketCalls) -> Sample:
    """Run the job."""
    question = Question(job.ask, job.era)
    verifier = Verifier(question)
    with listening(job.server) as (process, url):
        place = Place.of(url)
        made: list[Talker] = []
        for index in range(job.connections):
            first = FIRST + index * _RING
            numbers = range(first, first + _RING)
            ring = [(number, frame(question.body(number))) for number in numbers]
            made.append(Talker(place, verifier, ring))
        try:

            def loop(until: float, latencies: "array[int] | None") -> int:
                return together(made, until, latencies)

            return steady(process, loop, warm=job.warm, seconds=job.seconds)
        finally:
            for each in made:
                each.connection.close()
