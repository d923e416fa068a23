"""Clients and servers that talk HTTP: each request has a connection of its own."""

from collections.abc import Callable
from typing import Any

from mcpcore import HttpAbort, HttpClient, HttpEnd, HttpHead, HttpSend, HttpServer
from mcpcore.engine.events import (
    ConnectionEnded,
    Event,
    Fault,
    FaultKind,
    NegotiationFailed,
    Ready,
    RequestEnded,
)
from mcpcore.engine.reconnection import Reconnection, ReconnectSettings
from tests.simulation.cancelling import GIVEN_UP, GivenUp, called_off
from tests.simulation.hosts import App, Host, Machine, Scene
from tests.simulation.network import Weather
from tests.simulation.returns import Returns
from tests.simulation.trip import Trip

_GHOST = 30.0
"""Seconds after which whoever has sent a request twice has left."""
_INITIALIZE = b'"initialize"'
_REFUSED = Fault(FaultKind.CONNECT)


class HttpServerHost(Host):
    """One HttpServer."""

    stored = False
    """It shares a store with others."""

    def __init__(
        self,
        scene: Scene,
        name: str,
        make_machine: Callable[[str], HttpServer],
        make_app: Callable[["HttpServerHost"], App],
    ) -> None:
        super().__init__(scene, name)
        self._make_machine = make_machine
        self._make_app = make_app
        self.trips: dict[int, Trip] = {}
        self.told = self.now()
        """The time that its machine was told last."""
        self._boot()

    def _boot(self) -> None:
        self.identity = f"{self.name}-{self.life}"
        """Its name in this life."""
        self.machine = self._make_machine(self.identity)
        self.app = self._make_app(self)

    def tick(self, machine: Machine, turn: Callable[[], None]) -> None:
        """Let the machine do what is due now."""
        due = machine.deadline()
        if due is not None and due <= self.now():
            self.told = self.now()
        super().tick(machine, turn)

    def turn(self) -> None:
        """Let the machine do what it can."""
        if self.up:
            self.take_turn(self.machine, self._turn)

    def _turn(self) -> None:
        while True:
            self.drain(self.machine, self)
            told = self.machine.writable()
            if not told:
                break
            for route in told:
                trip = self.trips.get(route)
                if trip is not None:
                    trip.pending = True
                    self._take(trip)
        self.scene.look(self.machine)
        self.arm(self.machine, self.turn)

    def handle(self, event: Event, machine: Any) -> None:
        """Take an event."""
        self.app.handle(event, machine)

    def write(self, trip: Trip) -> None:
        """There is room again."""
        if trip.pending and trip.lives[1] == self.life and self.up:
            self._take(trip)
            self.turn()

    def _take(self, trip: Trip) -> None:
        while trip.pending and (room := trip.down.room) > 0:
            items = self.machine.data_to_send(trip.route, room)
            trip.pending = bool(items)
            for item in items:
                if isinstance(item, HttpEnd):
                    trip.pending = trip.open[1] = False
                    self.trips.pop(trip.route, None)
                data = item if isinstance(item, HttpHead | HttpEnd) else bytes(item.data)
                shown = data if isinstance(data, bytes) else repr(data).encode()
                self.world.note(self.name, f"writes on {trip.route}", shown)
                trip.put(data)
        if trip.pending:
            trip.silence.over(self.world.time)  # nothing is due before the network takes it

    # Life

    def crash(self) -> list[Trip]:
        """Forget everything; give the connections that break."""
        self.up = False
        self.life += 1
        self._forget_sessions()
        trips = list(self.trips.values())
        self.trips.clear()
        self._armed.clear()
        return trips

    def _forget_sessions(self) -> None:
        self.scene.streams.until.clear()

    def restart(self) -> None:
        """Begin anew."""
        self.up = True
        self._boot()

    def tick_all(self) -> None:
        """The clock has jumped."""
        self.tick(self.machine, self.turn)

    @property
    def machines(self) -> list[Any]:
        """All that it runs."""
        return [self.machine]


class HttpClientHost(Host):
    """One HttpClient; over HTTP+SSE it comes back with another stream."""

    def __init__(
        self,
        scene: Scene,
        name: str,
        machine: HttpClient,
        number: int,
        weather: Weather,
        make_app: Callable[["HttpClientHost"], Any],
        pick: Callable[[HttpSend], HttpServerHost | None],
        reconnect: ReconnectSettings | None,
    ) -> None:
        super().__init__(scene, name)
        self.machine = machine
        self.number = number
        self.weather = weather
        self._pick = pick
        self._reconnect = reconnect
        self.plan = Reconnection(reconnect, reconnect.attempts) if reconnect else None
        self._chance = scene.world.chance(f"network/{name}")
        self.trips: dict[int, Trip] = {}
        self._delayed: dict[int, HttpSend] = {}
        self.twice = 0
        """So many of the next requests arrive a second time."""
        self.returns = Returns()
        self.begun = self.closing = self.over = False
        self._given_up = GivenUp()
        self.session: str | None = None
        """That of the last message it has sent, if it is open."""
        self._asked: dict[Any, str] = {}
        """By request: the session in which it was sent last."""
        self.app = make_app(self)

    def begin(self) -> None:
        """Start to negotiate."""
        self.machine.start(now=self.now())
        self.turn()

    def turn(self) -> None:
        """Let the machine do what it can."""
        if self.up:
            self.take_turn(self.machine, self._turn)

    def _turn(self) -> None:
        while True:
            self.drain(self.machine, self)
            plans = self.machine.requests_to_send()
            if not plans:
                break
            for plan in plans:
                if isinstance(plan, HttpAbort):
                    self._abort(plan.exchange)
                elif plan.after:
                    self._delayed[plan.exchange] = plan
                    self.after(plan.after, self._send_later, plan.exchange)
                else:
                    self._send(plan)
        if not self.closing and not self.over:
            self._given_up.settled()
            self.app.questions_end()
        self.scene.look(self.machine)
        self.scene.books.overdue(self.number, self.now())
        self.arm(self.machine, self.turn)

    def _send_later(self, exchange: int) -> None:
        plan = self._delayed.pop(exchange, None)
        if plan is not None:
            self._send(plan)

    def _send(self, plan: HttpSend) -> None:
        self.world.note(self.name, f"sends {plan.method} {plan.exchange}", plan.body)
        for id in called_off(plan.body):
            self._given_up.said(id)
        if plan.method == "POST" and _INITIALIZE in plan.body:
            self.session = None
        server = None if self.weather.refuses else self._pick(plan)
        if server is None:
            self.after(0.01, self._refused, plan.exchange)
            return
        trip = self.trips[plan.exchange] = Trip(self, server, plan, self._chance)
        wire = trip.wire
        self.returns.asks(wire, plan.exchange)
        if wire.session is not None:
            if not wire.listens:  # a stream may still be asked for in a session that is lost
                self.session = wire.session
            if wire.request is not None:
                self._asked[wire.request] = wire.session
        self.world.note(self.name, f"exchange {plan.exchange} is {trip.route} at {server.name}")
        for seconds, what in ((plan.timeout, "all"), (plan.head_timeout, "head")):
            if seconds is not None:
                self.after(seconds, self._expire, trip, what)
        if self.twice and plan.method == "POST":
            self.twice -= 1
            ghost = self._pick(plan)
            if ghost is not None:
                books = self.scene.books
                if (ask := books.by_id.get(self.number, {}).get(trip.wire.request)) is not None:
                    books.doubled[self.number, ask.number] = self.world.time + _GHOST
                second = Trip(self, ghost, plan, self._chance, ghost=True)
                self.world.after(_GHOST, second.left)

    def _expire(self, trip: Trip, what: str) -> None:
        if trip.open[0]:
            trip.expire(what)

    def _refused(self, exchange: int) -> None:
        self.machine.response_end(
            exchange, error="connection refused", fault=_REFUSED, now=self.now()
        )
        self.turn()

    def _abort(self, exchange: int) -> None:
        self.world.note(self.name, f"gives up {exchange}")
        self._delayed.pop(exchange, None)
        trip = self.trips.pop(exchange, None)
        if trip is not None:
            trip.open[0] = False
            if trip.wire.session is None:
                self._given_up.said(trip.wire.request)
            self.world.after(0.005 + 0.02 * self._chance.random(), trip.left)

    def handle(self, event: Event, machine: Any) -> None:
        """Take an event, and see to what follows on the end of a conversation."""
        if isinstance(event, Ready):
            self.begun = True
            if self.plan is not None and not self.closing:
                self.plan.opened(self.now())
                self.machine.reconnects = self._reconnect if self.machine.uses_sse else None
        if isinstance(event, RequestEnded) and event.reason in GIVEN_UP:
            self._gave_up(event.request)
        self.app.handle(event, machine)
        if isinstance(event, NegotiationFailed):
            if self.plan is not None and self.begun:
                self.machine.end(now=self.now(), reason=event.message)
            else:
                self.over = True
        if isinstance(event, ConnectionEnded):
            self.session = None
            again = None
            if self.plan is not None and self.begun and not self.closing:
                again = self.plan.lost(self.now())
            if again is None or self.machine.reconnects is None:
                self.machine.renounce("nobody comes back")
                self.over = True
            else:
                self.machine.succeed()
                self.after(again.delay, self._come_back)

    def _gave_up(self, id: Any) -> None:
        """Whoever gives up a request that is under way leaves its exchange, or says so."""
        session = self._asked.get(id)
        if session is not None:
            under_way = session == self.session
        else:
            under_way = any(trip.wire.request == id for trip in self.trips.values())
        if under_way:
            self._given_up.owes(id)

    def _come_back(self) -> None:
        if not self.closing and not self.over:
            self.machine.start(now=self.now())
            self.turn()

    def close(self, *, half: bool) -> None:
        """End in good order."""
        if not self.closing:
            self.closing = True
            self.machine.close(now=self.now())
            self.turn()

    def crash(self) -> list[Trip]:
        """Vanish; give the connections that break."""
        self.up = False
        self.life += 1
        self._armed.clear()
        return list(self.trips.values())

    def tick_all(self) -> None:
        """The clock has jumped."""
        self.tick(self.machine, self.turn)

    @property
    def machines(self) -> list[Any]:
        """All that it runs."""
        return [self.machine]
