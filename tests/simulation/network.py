"""The network: pipes that delay, cut into pieces, hold back and break what they carry.

A pipe carries bytes, and between them things that are not cut: the head of an HTTP message, its
end.
Bytes on one pipe stay in order, as on TCP; what travels on different ones overtakes.
"""

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from tests.simulation.world import World

RUN = 24
"""So many small pieces in a row are cut off what is sent at once: at its beginning, and at a place
within the rest that is drawn.  What is between and behind them stays whole, to bound the work."""
WINDOW = 1 << 16


class Weather:
    """What the network is like for one client, at present."""

    def __init__(self) -> None:
        self.slow = 0.0
        """So many seconds more, at most, does anything take: each piece another time."""
        self.pieces = 0
        """What is sent is cut into pieces of this size, two runs of them; 0: as it comes."""
        self.refuses = False
        """No connection can be opened."""
        self.deaf = [0.0, 0.0]
        """Until then the client, or the server, reads nothing."""
        self.usual_window = WINDOW
        self.window = WINDOW
        """Bytes that may be under way on a pipe before its sender has to wait."""


class Pipe:
    """One direction of one connection.  ``reader``: 0 if the client reads it, 1 if the server."""

    def __init__(
        self,
        world: World,
        chance: Random,
        weather: Weather,
        reader: int,
        take: Callable[[Any], None],
        roomy: Callable[[], None],
    ) -> None:
        self._world = world
        self._chance = chance
        self._weather = weather
        self._reader = reader
        self._take = take
        self._roomy = roomy
        self._transit: deque[Any] = deque()
        self._last = 0.0
        self._awaited = False
        self.waiting = 0
        """Bytes under way."""
        self.dead = False

    @property
    def room(self) -> int:
        """How many bytes may be sent now."""
        window = self._weather.window
        room = 0 if self.dead else window - self.waiting
        if room < window // 2:  # as TCP does, so that nobody writes byte by byte
            self._awaited = True
            return 0
        return room

    def send(self, *items: Any) -> None:
        """Send bytes, or other things between them."""
        if self.dead:
            return
        for item in items:
            for piece in self._pieces(item) if isinstance(item, bytes) else (item,):
                self._transit.append(piece)
                if isinstance(piece, bytes):
                    self.waiting += len(piece)
                delay = 0.001 + 0.02 * self._chance.random()
                if self._weather.slow:
                    delay += self._weather.slow * self._chance.random()
                self._last = max(self._last, self._world.time + delay)
                self._world.at(self._last, self._arrive)

    def _pieces(self, data: bytes) -> list[bytes]:
        most = self._weather.pieces
        if most and len(data) > most:
            return self._split(data, most)
        if len(data) > 1 and self._chance.random() < 0.25:
            cut = self._chance.randrange(1, len(data))
            return [data[:cut], data[cut:]]
        return [data]

    def _split(self, data: bytes, size: int) -> list[bytes]:
        span = RUN * size
        begins = [0]
        if len(data) > span:
            begins.append(self._chance.randrange(span, len(data)))
        cuts = {
            place
            for begin in begins
            for place in range(begin, min(begin + span + 1, len(data)), size)
        }
        return [data[place:end] for place, end in pairwise([*sorted(cuts), len(data)])]

    def _arrive(self) -> None:
        if not self._transit:
            return
        until = self._weather.deaf[self._reader]
        if until > self._world.time:
            self._world.at(until, self._arrive)
            return
        item = self._transit.popleft()
        if isinstance(item, bytes):
            self.waiting -= len(item)
        self._take(item)
        if self._awaited and not self.dead:
            self._awaited = False
            self._roomy()

    def cut(self, share: float) -> None:
        """Break it: of the bytes under way so much still arrives at once, and then nothing."""
        if self.dead:
            return
        self.dead = True
        under_way = list(self._transit)
        self._transit.clear()
        rest = int(share * self.waiting) if share else -1
        self.waiting = 0
        for item in under_way:
            if rest < 0:
                return
            if isinstance(item, bytes):
                part, rest = item[:rest], rest - len(item)
                if part:
                    self._take(part)
            else:
                self._take(item)
