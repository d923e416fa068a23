"""Clients and servers that talk over byte streams with newlines: stdio, sockets."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from mcpcore import Config, Peer, Role
from mcpcore.engine.events import ConnectionEnded, Event, NegotiationFailed, Ready, RequestEnded
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.reconnection import Reconnection, ReconnectSettings
from tests.simulation.cancelling import LinesIn
from tests.simulation.hosts import App, Host, Scene
from tests.simulation.network import Pipe, Weather
from tests.simulation.wires import Lines

_TOGETHER = 0.5
"""Seconds for which a client that sends batches waits for more that goes into one."""
_MOST = 20
"""Messages in a batch."""
HALF = "half"
"""Travels behind the last bytes of a side that will not write any more, but reads."""


class Link:
    """One connection: both pipes, and who is at its ends."""

    def __init__(
        self, client: "LineClient", server: "LineServer", chance: Random, weather: Weather
    ) -> None:
        self.client = client
        self.server = server
        self.peer: Peer | None = None
        """The server's end."""
        self.open = [True, True]
        """By side: it has not heard of the end."""
        world = client.world
        self.lives = [client.life, server.life]
        self.wire = Lines(client.scene.books, self, client.number)
        self.taken = LinesIn()
        self.crlf = chance.random() < 0.25
        self._batch: list[bytes] = []
        """Requests and notifications of the client that go out together."""
        down, up = self._to_client, self._to_server
        self.up = Pipe(world, chance, weather, 1, up, lambda: client.flush(self))
        self.down = Pipe(world, chance, weather, 0, down, lambda: server.flush(self))

    def _to_client(self, data: bytes | str | None) -> None:
        if self.open[0] and self.lives[0] == self.client.life:
            self.client.heard(self, data)

    def _to_server(self, data: bytes | str | None) -> None:
        if self.open[1] and self.lives[1] == self.server.life:
            self.server.heard(self, data)

    def put(self, pipe: Pipe, data: bytes) -> None:
        """Send lines, which may end as on other systems."""
        pipe.send(data.replace(b"\n", b"\r\n") if self.crlf else data)

    @property
    def room(self) -> int:
        """How many bytes the client may send now."""
        return self.up.room - sum(map(len, self._batch))

    def ask(self, lines: bytes) -> None:
        """Send what a client says, where its revision has them in batches."""
        revision = self.client.machine.revision
        if not self.client.batches or revision is None or not revision.batches:
            self.put(self.up, lines)
            return
        for line in lines.splitlines():
            if b'"method"' not in line or "method" not in json.loads(line):
                self.send_batch()  # answers have arrays of their own
                self.put(self.up, line + b"\n")
                continue
            if not self._batch:
                self.client.world.after(_TOGETHER, self._send_later)
            self._batch.append(line)
            if len(self._batch) == _MOST:
                self.send_batch()

    def _send_later(self) -> None:
        self.send_batch()
        if self.lives[0] == self.client.life:
            self.client.flush(self)

    def send_batch(self) -> None:
        """Send what has waited."""
        batch, self._batch = self._batch, []
        if len(batch) == 1:
            self.put(self.up, batch[0] + b"\n")
        elif batch:
            data = b"[" + b",".join(batch) + b"]\n"
            self.client.world.note(self.client.name, "sends together", data)
            self.wire.together(batch)
            self.put(self.up, data)

    def end(self, item: str | None) -> None:
        """The client says nothing more."""
        self.send_batch()
        self.up.send(item)

    def drop(self, share: float, client_after: float, server_after: float) -> None:
        """Break: so much of what is under way arrives; each side learns of it when it does."""
        self._batch.clear()
        self.up.cut(share)
        self.down.cut(share)
        self.client.world.after(client_after, self._to_client, None)
        self.server.world.after(server_after, self._to_server, None)


class LineServer(Host):
    """Takes connections, each with a Peer of its own."""

    stored = False

    def __init__(
        self, scene: Scene, name: str, config: Config, make_app: Callable[["LineServer"], App]
    ) -> None:
        super().__init__(scene, name)
        self._config = config
        self._make_app = make_app
        self.app = make_app(self)
        self.links: dict[int, Link] = {}
        """By Peer."""

    def accept(self, link: Link) -> None:
        """Take a connection in."""
        peer = link.peer = Peer(Role.SERVER, self._config)
        self.links[id(peer)] = link

    def heard(self, link: Link, data: bytes | str | None) -> None:
        """Something has arrived on a connection, or its end."""
        peer = link.peer
        assert peer is not None
        over = link.taken.taken(data) if isinstance(data, bytes) else ()
        self.scene.arrivals.taken = {(link, id) for id in link.taken.batched}
        if data is None:
            link.open[1] = False
            peer.receive_eof(now=self.now())
        elif isinstance(data, str):
            peer.receive_eof(now=self.now(), half=True)
        else:
            peer.receive_data(data, now=self.now())
        self.turn(peer)
        self.scene.arrivals.taken.clear()
        for id in over:
            self.scene.arrivals.cancelled(link, id)
        if data is None:
            self.scene.arrivals.left(link)

    def turn(self, peer: Peer) -> None:
        """Let a Peer do what it can."""
        link = self.links.get(id(peer))
        if link is not None:
            self.take_turn(peer, lambda: self._turn(peer, link))

    def handle(self, event: Event, machine: Any) -> None:
        """Take an event of a Peer."""
        if isinstance(event, RequestEnded):
            self.links[id(machine)].wire.gave_up(1, event)
        self.app.handle(event, machine)

    def _turn(self, peer: Peer, link: Link) -> None:
        self.drain(peer, self)
        self.flush(link)
        self.scene.look(peer)
        self.arm(peer, lambda: self.turn(peer))
        if peer._state.ended and not peer.in_flight:
            del self.links[id(peer)]
            self._armed.pop(id(peer), None)

    def flush(self, link: Link) -> None:
        """Let out what the network takes."""
        peer = link.peer
        if peer is None or link.lives[1] != self.life:
            return
        while not peer._state.ended and link.down.room > 0:
            data = peer.lines_to_send(link.down.room)
            if not data:
                link.wire.said_all(1)
                break
            self.world.note(self.name, "sends", data)
            link.wire.sent(1, data)
            link.put(link.down, data)
        idle = not peer._endpoint.outbox.frames
        if peer._state.half_closed and peer.finished and link.open[1] and idle:
            link.open[1] = False
            link.down.send(None)
            peer.receive_eof(now=self.now())
            self.drain(peer, self.app)

    def crash(self) -> list[Link]:
        """Forget everything; give the connections that break."""
        self.up = False
        self.life += 1
        links = list(self.links.values())
        self.links.clear()
        self._armed.clear()
        return links

    def restart(self) -> None:
        """Begin anew."""
        self.up = True
        self.app = self._make_app(self)

    def tick_all(self) -> None:
        """The clock has jumped."""
        for link in [*self.links.values()]:
            peer = link.peer
            assert peer is not None
            self.tick(peer, lambda peer=peer: self.turn(peer))  # type: ignore[misc]

    @property
    def machines(self) -> list[Any]:
        """All that it runs."""
        return [link.peer for link in self.links.values()]


class LineClient(Host):
    """Talks to one server, and comes back when the connection breaks, if it is to."""

    def __init__(
        self,
        scene: Scene,
        name: str,
        config: Config,
        number: int,
        make_app: Callable[["LineClient"], Any],
        dial: Callable[["LineClient"], Link | None],
        reconnect: ReconnectSettings | None,
        *,
        batches: bool,
    ) -> None:
        super().__init__(scene, name)
        self.number = number
        self.batches = batches
        """What it sends at about the same time it sends in one, where the revision has them."""
        self.config = config
        self._dial = dial
        self._reconnect = reconnect
        self.plan = Reconnection(reconnect, reconnect.attempts) if reconnect else None
        self.machine = Peer(Role.CLIENT, config)
        self.link: Link | None = None
        self.begun = False
        self.closing = False
        self.over = False
        """Nothing follows."""
        self.app = make_app(self)

    def begin(self) -> None:
        """Open the first connection."""
        self._connect()

    def _connect(self) -> None:
        peer = self.machine
        link = self._dial(self)
        if link is None:
            peer.receive_eof(now=self.now(), reason="connection refused")
        else:
            self.link = link
            peer.start(now=self.now())
            self.after(60.0, self._give_up_opening, peer)
        self.turn()

    def _give_up_opening(self, peer: Peer) -> None:
        if (
            peer is self.machine
            and peer.state is not SessionState.OPEN
            and not peer._state.ended
            and self.link is not None
        ):
            self.link.open[0] = False
            self._hang_up(self.link)
            peer.receive_eof(now=self.now(), reason="there was no conversation in time")
            self.turn()

    def heard(self, link: Link, data: bytes | str | None) -> None:
        """Something has arrived, or the end."""
        if link is not self.link:
            return
        if data is None:
            link.open[0] = False
            self._hang_up(link)
            self.machine.receive_eof(now=self.now())
        elif isinstance(data, bytes):
            self.machine.receive_data(data, now=self.now())
        self.turn()

    def _hang_up(self, link: Link) -> None:
        """This side is gone: the other one hears of it behind what was sent."""
        link.end(None)

    def turn(self) -> None:
        """Let the machine do what it can."""
        self.take_turn(self.machine, self._turn)

    def _turn(self) -> None:
        self.drain(self.machine, self)
        if self.link is not None:
            self.flush(self.link)
        self.scene.look(self.machine)
        self.scene.books.overdue(self.number, self.now())
        self.arm(self.machine, self.turn)

    def flush(self, link: Link) -> None:
        """Let out what the network takes."""
        peer = self.machine
        if link is not self.link or not link.open[0]:
            return
        while not peer._state.ended and (room := link.room) > 0:
            data = peer.lines_to_send(room)
            if not data:
                link.wire.said_all(0)
                return
            self.world.note(self.name, "sends", data)
            link.wire.sent(0, data)
            link.ask(data)

    def handle(self, event: Event, machine: Any) -> None:
        """Take an event, and see to what follows on the end of a conversation."""
        if isinstance(event, Ready):
            self.begun = True
            if self.plan is not None and not self.closing:
                self.plan.opened(self.now())
                self.machine.reconnects = self._reconnect
        if isinstance(event, RequestEnded) and self.link is not None:
            self.link.wire.gave_up(0, event)
        self.app.handle(event, machine)
        if isinstance(event, NegotiationFailed) and self.link is not None and self.link.open[0]:
            self.link.open[0] = False
            self._hang_up(self.link)
            self.machine.receive_eof(now=self.now(), reason="negotiation failed")
        elif isinstance(event, ConnectionEnded):
            self._ended()

    def _ended(self) -> None:
        again = None
        if self.plan is not None and self.begun and not self.closing:
            again = self.plan.lost(self.now())
        if again is None or self.machine.reconnects is None:
            if self.machine.reconnects is not None:
                self.machine.renounce("nobody comes back")
            self.over = True
            return
        self._armed.pop(id(self.machine), None)
        self.link = None
        self.machine = self.machine.succeed()
        self.after(again.delay, self._connect)

    def close(self, *, half: bool) -> None:
        """End in good order; ``half``: say only that nothing more comes, and hear to the end."""
        if self.over or self.closing:
            return
        self.closing = True
        self.machine.reconnects = None
        link = self.link
        if half and link is not None and link.open[0] and self.machine.state is SessionState.OPEN:
            link.end(HALF)
            return
        if self.machine._state.expected or not self.begun or link is None or not link.open[0]:
            self.machine.receive_eof(now=self.now(), reason="closed by this side")
        else:
            self.machine.close(now=self.now())
            self.turn()
            link.open[0] = False
            self._hang_up(link)
            self.machine.receive_eof(now=self.now(), reason="closed by this side")
        self.turn()

    def crash(self) -> list[Link]:
        """Vanish; give the connections that break."""
        self.up = False
        self.life += 1
        self._armed.clear()
        return [] if self.link is None else [self.link]

    def tick_all(self) -> None:
        """The clock has jumped."""
        self.tick(self.machine, self.turn)

    @property
    def machines(self) -> list[Any]:
        """All that it runs."""
        return [self.machine]
