"""One HTTP request and its response, on a connection of its own."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from mcpcore import Fault, HttpEnd, HttpHead, HttpRequest, HttpSend
from tests.simulation.accounts import Run
from tests.simulation.cancelling import heeded
from tests.simulation.network import Pipe
from tests.simulation.silence import Silence
from tests.simulation.wires import Exchange

if TYPE_CHECKING:
    from tests.simulation.http_hosts import HttpClientHost, HttpServerHost

_PASSED_ON = 1.0
"""Seconds in which workers tell each other, where their store lets them."""
_STORE, _LATE_STORE = 1.0, 20.0
"""Seconds that a store may take for what is read, and written down, before anything leaves; one
that is slow has failed after that time."""
_END = "end"
"""Travels behind a request's last bytes."""


class Trip:
    """One request and its response.  A ``ghost`` is a second one that nobody has sent twice:
    its response comes to nobody."""

    def __init__(
        self,
        client: "HttpClientHost",
        server: "HttpServerHost",
        plan: HttpSend,
        chance: Random,
        *,
        ghost: bool = False,
    ) -> None:
        self.client = client
        self.server = server
        self.plan = plan
        self.ghost = ghost
        self.route = client.scene.new_route()
        self.open = [not ghost, True]
        """By side: it has not heard of the end."""
        self.opened = False
        """The request has reached the server."""
        self.listens = False
        self.got_head = False
        self.pending = False
        """The server has something to write, as far as it said."""
        self.silence = Silence(client.scene.settings, self._slack)
        self._streams = False
        """Its response is an event stream."""
        self.crlf = chance.random() < 0.25
        self.lives = [client.life, server.life]
        self._wanted = 0
        self._meant: list[Run] = []
        """What had begun of the requests that it calls off, when it had arrived."""
        self.wire = Exchange(
            client.scene.books, client.scene.streams, client.number, plan, self.route
        )
        if not ghost and self.wire.request is not None:
            client.scene.books.sent(client.number, self.wire.request)
        world, weather = client.world, client.weather
        down: Callable[[Any], None] = self._ignored if ghost else self._to_client
        self.up = Pipe(world, chance, weather, 1, self._to_server, lambda: None)
        self.down = Pipe(world, chance, weather, 0, down, lambda: server.write(self))
        path, _, query = plan.target.partition("?")
        peer = f"10.0.0.{client.number % 250}"
        head = HttpRequest(
            method=plan.method, path=path, query=query, headers=plan.headers, peer=peer
        )
        self.up.send(head, plan.body, _END)

    def _to_server(self, item: Any) -> None:
        server = self.server
        if self.lives[1] != server.life or not self.open[1]:
            return
        now = server.told = server.now()
        self.wire.used(now, whole=item is _END)
        if isinstance(item, HttpRequest):
            self.opened = True
            server.trips[self.route] = self
            self._wanted = server.machine.open(self.route, item, now=now)
        elif self._wanted:
            end = item is _END
            server.machine.body(self.route, b"" if end else item, end=end, now=now)
            if end and self.wire.awaits:
                self.silence.asked(server.world.time)
        server.turn()
        if item is _END and self.wire.calls_off:
            # one that is let in only later, as its session is being loaded, is not known yet
            self._meant = self.client.scene.arrivals.meant(self.wire.session, self.wire.calls_off)
            if not server.stored:
                self._called_off()

    def _called_off(self) -> None:
        """A notification that calls requests off was taken in."""
        heeded(self._meant)

    def _passed_on(self) -> None:
        """... and what was taken in is known to all workers, if nothing has kept them from it."""
        books, time = self.client.scene.books, self.client.world.time
        heeded(
            run
            for run in self._meant
            # Of two requests of one id in a session either may be meant.
            if (run.client, run.ask) not in books.doubled
            and not books.excuses.store(run.since, time)
        )

    def _ignored(self, item: Any) -> None:
        """Nobody is there to take it."""

    def _to_client(self, item: Any) -> None:
        client = self.client
        if self.lives[0] != client.life or not self.open[0]:
            return
        now, exchange, machine = client.now(), self.plan.exchange, client.machine
        if isinstance(item, HttpHead):
            self.got_head = True
            kind = [value for name, value in item.headers if name == b"content-type"]
            self.listens = kind == [b"text/event-stream"]
            client.returns.refused(self.wire, item.status)
            machine.response_head(exchange, item.status, item.headers, now=now)
        elif isinstance(item, HttpEnd):
            self.open[0] = False
            del client.trips[exchange]
            machine.response_end(exchange, now=now)
        else:
            if self.listens:
                client.returns.got(self.wire, item)
            machine.response_data(exchange, item, now=now)
        client.turn()

    def put(self, item: Any) -> None:
        """Something has left the server."""
        self._break_silence(item)
        if isinstance(item, HttpHead):
            self.wire.head(item, self.client.number, self.server.now())
            taken = item.status == 202 and self.wire.calls_off
            books = self.client.scene.books
            if item.status == 404 and self.wire.session is not None:
                books.refused(self.route)
            if taken and self.server.stored:
                self.client.world.after(_PASSED_ON, self._passed_on)
            self.crlf = self.crlf and self._streams
        elif isinstance(item, HttpEnd):
            self.wire.end()
            # A machine knows the time that it was told last.
            self.wire.used(self.server.told, over=True)
            # Where nobody can come back, the end of the response ends the work on it.
            self.client.scene.arrivals.left(self.route)
        else:
            self.wire.data(item)
            if self.crlf:
                # On the way somebody writes other line ends, which event streams may have.
                item = item.replace(b"\n", b"\r\n")
        self.down.send(item)

    def _break_silence(self, item: Any) -> None:
        if isinstance(item, HttpHead):
            kind = [value for name, value in item.headers if name == b"content-type"]
            self._streams = kind == [b"text/event-stream"]
        if self._streams and not isinstance(item, HttpEnd):
            self.silence.said(self.server.world.time)
        else:
            self.silence.over(self.server.world.time)

    def broken(self, error: str, fault: Fault | None = None) -> None:
        """The client hears that nothing more will come."""
        client = self.client
        if self.open[0] and self.lives[0] == client.life:
            self.open[0] = False
            client.trips.pop(self.plan.exchange, None)
            client.machine.response_end(
                self.plan.exchange, error=error, fault=fault, now=client.now()
            )
            client.turn()

    def left(self) -> None:
        """The server hears that the client is gone."""
        server = self.server
        if self.open[1] and self.lives[1] == server.life:
            self.silence.over(server.world.time)
            self.open[1] = False
            server.trips.pop(self.route, None)
            if self.opened:
                server.told = server.now()
                self.wire.used(server.told, over=True)
                server.machine.disconnect(self.route, now=server.now())
                server.turn()
                client = self.client
                client.scene.arrivals.left(self.route)

    def drop(self, share: float, client_after: float, server_after: float) -> None:
        """Break: so much of what is under way arrives; each side learns of it when it does."""
        self.up.cut(0.0)
        self.down.cut(share)
        self.client.world.after(client_after, self.broken, "connection reset")
        self.server.world.after(server_after, self.left)

    def expire(self, what: str) -> None:
        """A time that the plan has set is over."""
        if what == "all" or not self.got_head:
            self.up.cut(0.0)
            self.down.cut(0.0)
            self.client.world.after(0.01, self.left)
            self.broken(f"timed out: {what}")

    def _slack(self, since: float, until: float) -> float:
        """Seconds that what a server says may take because of its store."""
        if not self.server.stored:
            return 0.0
        late = self.client.scene.books.excuses.store(since, until)
        return _LATE_STORE if late else _STORE
