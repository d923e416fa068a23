"""A wire between client and server machines that breaks wherever it is told to."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from mcpcore import Limits, Negotiation, Recovery, SseDecoder, StreamInterrupted
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    NotificationReceived,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpSend
from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore.spec.revisions import BY_NAME
from tests.http.stored.cluster import Cluster, Worker
from tests.http.support import Wire, make_client, make_server

SEEN, HALF_OPEN, FULL = "seen by both", "half open", "half open and full"
"""How a connection breaks: the server learns of it, does not, and cannot write either."""

Item = HttpHead | HttpChunk | HttpEnd


class Point(Struct, frozen=True):
    """Where a connection breaks: after so many whole events, and so many bytes of the next."""

    events: int = 0
    extra: int = 0
    before: str = ""
    """Instead: before the ``request`` has arrived, before the ``head``, before the ``end``."""

    def within(self, body: bytes) -> int | None:
        """How much of ``body`` gets through, None if it does not reach as far."""
        place = 0
        for _ in range(self.events):
            found = body.find(b"\n\n", place)
            if found < 0:
                return None
            place = found + 2
        place += self.extra
        return place if len(body) >= place else None


class Cable(Struct):
    """One connection."""

    send: HttpSend
    points: Point | None = None
    transit: list[Item] = []
    """Written by the server, not delivered."""
    body: bytes = b""
    """Delivered."""
    reached: bool = False
    """The head has been delivered."""


class CutWire(Wire):
    """Holds what the server has written until it is delivered, a byte at a time if need be.

    ``choose`` names the point at which the connection of a request breaks.
    """

    def __init__(
        self,
        version: str,
        *,
        server: HttpSettings | None = None,
        client: HttpClientSettings | None = None,
        sizes: tuple[int, ...] = (1 << 20,),
        seed: bytes = b"",
        workers: int = 0,
        in_flight: int = 1024,
    ) -> None:
        """``workers``: so many share a store; 0: one server, in memory.

        ``in_flight``: the requests that a session may have at all workers together.
        """
        limits = Limits(in_flight=in_flight)
        self.cluster = Cluster(workers, server, limits=limits) if workers else None
        super().__init__(
            make_client(
                client, revisions=(BY_NAME[version],), negotiation=Negotiation.LEGACY, seed=seed
            ),
            self.cluster or make_server(server),
            sizes=sizes,
        )
        self.version = version
        self.cables: dict[int, Cable] = {}
        self.half_open: set[int] = set()
        """Dead, but the server does not know."""
        self.full: set[int] = set()
        """Those among them that take nothing from the server any more."""
        self.choose: Callable[[HttpSend], Point | None] = lambda send: None
        self.dies = SEEN
        """How connections break where nothing else is said."""
        self.cuts = 0
        self._told: set[int] = set()

    # Moving

    def _send(self, plan: HttpSend) -> None:
        cable = self.cables[plan.exchange] = Cable(plan, self.choose(plan))
        if cable.points is not None and cable.points.before == "request":
            self.cuts += 1
            self.sent.append(plan)
            self.client.response_end(plan.exchange, error="connection refused", now=self.now)
        else:
            super()._send(plan)

    def run(self) -> Wire:
        """Deliver everything that is under way, and let everything move."""
        for route in self.alive():
            if self.cables[route].points is None:
                self.deliver(route, 1 << 30)
        return super().run()

    def settle(self) -> None:
        """Let both machines act, without anything being delivered to the client."""
        while True:
            moved = self._events()
            for plan in self.client.requests_to_send():
                moved = True
                self._take(plan)
            if not moved:
                return

    def writable(self) -> list[int]:
        """The connections to which the server has something to write, and can."""
        return self._writable()

    def write(self, route: int, limit: int) -> None:
        """Let the server write; what goes to a dead connection is lost."""
        self._told.discard(route)
        items = self.server.data_to_send(route, limit)
        if route in self._open:
            self.cables[route].transit += items
        elif any(isinstance(item, HttpEnd) for item in items):
            self.half_open.discard(route)

    def deliver(self, route: int, count: int) -> None:
        """Bring up to ``count`` bytes of what is under way to the client, and the end behind."""
        cable = self.cables[route]
        while cable.transit and route in self._open:
            item = cable.transit[0]
            if isinstance(item, HttpHead):
                cable.reached = True
                self.client.response_head(route, item.status, item.headers, now=self.now)
            elif isinstance(item, HttpEnd):
                self._open.discard(route)
                self.client.response_end(route, now=self.now)
            elif count == 0:
                return
            else:
                part, rest = item.data[:count], item.data[count:]
                count -= len(part)
                cable.body += part
                self.client.response_data(route, part, now=self.now)
                if rest:
                    cable.transit[0] = HttpChunk(route, rest)
                    continue
            del cable.transit[0]

    def _writable(self) -> list[int]:
        # The server tells of each once: what is not taken then is remembered here.
        self._told.update(self.server.writable())
        return [route for route in sorted(self._told) if route not in self.full]

    def _deliver(self, route: int) -> None:
        self.write(route, next(self._sizes))
        if route not in self._open:
            return
        cable = self.cables[route]
        point = cable.points
        under_way = b"".join(item.data for item in cable.transit if isinstance(item, HttpChunk))
        if point is None or point.before == "request":
            self.deliver(route, 1 << 30)
        elif point.before == "head":
            self.cut(route)
        elif point.before == "end":
            ends = isinstance(cable.transit[-1], HttpEnd)
            if ends:
                cable.transit.pop()
            self.deliver(route, 1 << 30)
            if ends:
                self.cut(route)
        else:
            whole = point.within(cable.body + under_way)
            self.deliver(route, 1 << 30 if whole is None else whole - len(cable.body))
            if whole is not None and route in self._open:
                self.cut(route)

    # Breaking

    def cut(
        self,
        exchange: int,
        error: str | None = "connection reset",
        *,
        dies: str | None = None,
    ) -> None:
        """Break a connection: the client sees it, the server perhaps not yet."""
        self.cuts += 1
        self._open.discard(exchange)
        self.cables[exchange].transit.clear()
        self.half_open.add(exchange)
        how = self.dies if dies is None else dies
        if how == FULL:
            self.full.add(exchange)
        if how == SEEN:
            self.tell(exchange)
        self.client.response_end(exchange, error=error, now=self.now)

    def tell(self, exchange: int) -> None:
        """The server learns that a connection is dead."""
        self.half_open.discard(exchange)
        self.full.discard(exchange)
        self.server.disconnect(exchange, now=self.now)

    def kill(self, worker: Worker) -> None:
        """A worker dies, and all of its connections with it."""
        assert self.cluster is not None
        for exchange in self.cluster.kill(worker):
            self.half_open.discard(exchange)
            self.full.discard(exchange)
            if exchange in self._open:
                self._open.discard(exchange)
                self.cables[exchange].transit.clear()
                self.client.response_end(exchange, error="connection reset", now=self.now)

    def alive(self) -> list[int]:
        """The connections that stand, whose request has arrived."""
        return sorted(self._open)

    def named(self, exchange: int) -> bool:
        """Whether the client has got an id on this connection."""
        decoder = SseDecoder()
        decoder.receive(self.cables[exchange].body)
        return bool(decoder.last_event_id)


class Talk:
    """Calls and messages over a CutWire, and an account of what became of them."""

    def __init__(self, wire: CutWire) -> None:
        self.wire = wire
        self.keys: dict[int, int] = {}
        """Our number of a call to the server's key."""
        self.requests: dict[int, int] = {}
        """The client's request to our number."""
        self.made: dict[int, list[int]] = {0: []}
        """What was sent for a call, in order; 0: for none."""
        self.got: dict[int, list[int]] = {0: []}
        self.outcomes: dict[int, list[str]] = {}
        self.interruptions: list[StreamInterrupted] = []
        self.lossy = False
        """A worker died, and what it had not written down for nobody in particular."""
        self.asked: dict[Any, int] = {}
        self.ran: dict[int, int] = {}
        """As ``keys``, of all calls that ever came to a server."""
        self.answered: list[int] = []
        """Calls whose question was answered."""
        self._count = 0
        wire.on_server = self._at_server
        wire.on_client = self._at_client
        wire.start()

    # Acts

    def call(self) -> int:
        self._count += 1
        number = self._count
        self.made[number], self.got[number], self.outcomes[number] = [], [], []
        request = self.wire.client.request(
            "tools/call",
            {"name": "x", "arguments": {"number": number}},
            now=self.wire.now,
            timeout=None,
        )
        self.requests[request] = number  # type: ignore[index]
        return number

    def tell(self, call: int) -> None:
        """The server says something, for a call or (0) for none."""
        made = self.made[call]
        made.append(len(made) + 1)
        self.wire.server.notify(
            "notifications/n",
            {"call": call, "n": made[-1]},
            parent=self.keys[call] if call else None,
        )

    def ask(self, call: int) -> None:
        """The server asks something for a call."""
        server = self.wire.server
        asked = server.request(
            "roots/list", now=self.wire.now, parent=self.keys[call], timeout=None
        )
        self.asked[asked] = call

    def answer(self, call: int) -> None:
        key = self.keys.pop(call)
        self.wire.server.respond(key, {"content": [], "call": call})

    # What happens

    def _at_server(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            number = msgspec.json.decode(event.params)["arguments"]["number"]
            assert number not in self.keys, "a call was made twice"
            self.keys[number] = self.ran[number] = event.key
        elif isinstance(event, ResultReceived):
            self.answered.append(self.asked.pop(event.request))

    def _at_client(self, event: Event) -> None:
        if isinstance(event, NotificationReceived):
            params = msgspec.json.decode(event.params)
            self.got[params["call"]].append(params["n"])
        elif isinstance(event, RequestReceived):
            self.wire.client.respond(event.key, {"roots": []})
        elif isinstance(event, ResultReceived):
            number = self.requests[event.request]  # type: ignore[index]
            assert msgspec.json.decode(event.result)["call"] == number
            self.outcomes[number].append("result")
        elif isinstance(event, ErrorReceived):
            self.outcomes[self.requests[event.request]].append("error")  # type: ignore[index]
        elif isinstance(event, RequestEnded):
            self.outcomes[self.requests[event.request]].append("ended")  # type: ignore[index]
        elif isinstance(event, StreamInterrupted):
            self.interruptions.append(event)

    @property
    def reopened(self) -> bool:
        """The standalone stream was begun anew, or given up, or what it would carry was lost."""
        return self.lossy or any(
            event.request is None and event.recovery is not Recovery.RESUME
            for event in self.interruptions
        )

    def check(self) -> None:
        """What must hold at any time: nothing twice, nothing out of order, one end for each."""
        for call, got in self.got.items():
            if call or not self.reopened:
                assert got == self.made[call][: len(got)], (call, got)
            else:
                assert len(set(got)) == len(got), got
        assert all(len(outcomes) <= 1 for outcomes in self.outcomes.values())

    def check_end(self) -> None:
        """What must hold in the end: nothing is lost of what could be saved."""
        self.check()
        for call, outcomes in self.outcomes.items():
            assert len(outcomes) == 1, call
            if outcomes == ["result"]:
                assert self.got[call] == self.made[call]
        if not self.reopened:
            assert self.got[0] == self.made[0]
