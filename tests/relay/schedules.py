"""Seeded schedules: clients of two principals, two servers, and a network that does its worst.

Everything that arrives is late by a random time; a conversation with a server may be cut, what it
was sending lost or doubled.  Both principals use the same ids, tokens and URIs.  At the end:

- every request of a client has ended, and exactly once;
- whatever a client hears is its own: each call, question and URI names its principal;
- the relay has made one request of each call, whatever happened to it;
- nothing is left open at the relay.
"""

import random
from collections import Counter
from typing import Any

import msgspec
from msgspec import Raw

from mcpcore.engine import ANY_EXTENSION, Config, Endpoint, Peer, Role
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionNotification,
)
from mcpcore.relay.link import Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
from tests.engine.bench import CLIENT_ALL, SERVER_ALL, rows
from tests.relay.bench import LEGACY, ME, MODERN, WALL

ENDS = (ResultReceived, ErrorReceived, RequestEnded)


class Wire:
    """One direction between two Peers: frames arrive later, and maybe not, or twice."""

    def __init__(
        self, source: Peer | None, sink: Peer, chance: random.Random, faults: bool = False
    ) -> None:
        self.source, self.sink, self.chance, self.faults = source, sink, chance, faults
        self.queue: list[tuple[float, bytes]] = []
        self.cut = False

    def turn(self, now: float) -> bool:
        """Take what was sent, deliver what is due; True if anything moved."""
        taken = [] if self.source is None else self.source.data_to_send()
        self.put([b"".join(frame.data) for frame in taken if frame.data], now)
        moved = bool(taken)
        while self.queue and self.queue[0][0] <= now:
            text = self.queue.pop(0)[1]
            moved = True
            if not self.cut:
                self.sink.receive(text, now=now, principal=self.sink.principal)
        return moved

    def put(self, texts: list[bytes], now: float) -> None:
        """Send texts on their way, in order."""
        for text in texts:
            last = self.queue[-1][0] if self.queue else now
            due = max(last, now + self.chance.choice((0.0, 0.0, 0.1, 1.0)))
            copies = self.chance.choices((1, 0, 2), (96, 2, 2))[0] if self.faults else 1
            self.queue += [(due, text)] * copies


class Server:
    """A server whose tool says who called, asks, reports progress, or waits a while."""

    def __init__(self, world: "World", name: str, revision: str) -> None:
        self.world, self.name = world, name
        self.config = Config(
            info=Implementation(name=name, version="1"),
            capabilities=msgspec.convert(SERVER_ALL, ServerCapabilities),
            revisions=rows(revision),
        )
        self.asked: dict[tuple[int, Any], tuple[RequestReceived, str]] = {}
        self.done: dict[tuple[str, str], set[tuple[int, Any]]] = {}
        """Requests that asked for a call, by its principal and number."""

    def connect(self, link: UpstreamLink) -> Peer:
        world = self.world
        base = Config(info=ME, capabilities=ClientCapabilities())
        near, far = Peer(Role.CLIENT, link.config(base)), Peer(Role.SERVER, self.config)
        near.start(now=world.now)
        world.links.append((link, near, far, self))
        world.wires.append(Wire(near, far, world.chance, faults=True))
        world.wires.append(Wire(far, near, world.chance, faults=True))
        return near

    def take(self, far: Peer, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.method == "tools/call":
            self.call(far, event)
        elif isinstance(event, RequestReceived):
            far.respond(event.key, {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})
        elif isinstance(event, ResultReceived) and (id(far), event.request) in self.asked:
            request, who = self.asked.pop((id(far), event.request))
            self.finish(far, request, who, event.result)
        elif isinstance(event, ErrorReceived | RequestEnded):
            found = self.asked.pop((id(far), event.request), None)
            if found is not None:
                far.respond(found[0].key, {"content": [], "who": found[1]})

    def call(self, far: Peer, event: RequestReceived) -> None:
        arguments = msgspec.json.decode(event.params)["arguments"]
        who, kind = arguments["who"], arguments["kind"]
        question = {"message": who, "requestedSchema": {"type": "object", "properties": {}}}
        if event.input_responses is not None:
            self.finish(far, event, who, event.input_responses["q"])
            return
        self.done.setdefault((who, arguments["number"]), set()).add((id(far), event.id))
        if kind == "ask" and event.revision.modern:
            asked = msgspec.json.encode({"method": "elicitation/create", "params": question})
            far.require_input(event.key, {"q": Raw(asked)}, who)
        elif kind == "ask":
            asked_id = far.request(
                "elicitation/create", question, now=self.world.now, parent=event.key, timeout=30
            )
            self.asked[id(far), asked_id] = event, who
        elif kind == "report":
            far.progress(event.key, 1, None, who)
            far.notify("notifications/resources/updated", {"uri": "x:1"})
            self.finish(far, event, who, None)
        elif kind == "slow":
            self.world.later(1.5, lambda: self.finish(far, event, who, None))
        elif kind == "quick":
            self.finish(far, event, who, None)

    def finish(self, far: Peer, event: RequestReceived, who: str, answer: Raw | None) -> None:
        said = None if answer is None else msgspec.json.decode(answer)["content"]["who"]
        if not far.respond(event.key, {"content": [], "who": who, "said": said}):
            far.release(event.key)


class User:
    """A client, and what it has been told."""

    def __init__(self, world: "World", who: str, revision: str, endpoint: Endpoint) -> None:
        self.world, self.who, self.legacy = world, who, revision == LEGACY
        self.peer = Peer(
            Role.CLIENT,
            Config(
                info=Implementation(name=who, version="1"),
                capabilities=msgspec.convert(CLIENT_ALL, ClientCapabilities),
                revisions=rows(revision),
            ),
        )
        config = Config(
            info=ME,
            capabilities=msgspec.convert(SERVER_ALL, ServerCapabilities),
            asked_first=ASKABLE,
            extension_methods=ANY_EXTENSION,
        )
        self.front = Peer(Role.SERVER, config, endpoint=endpoint, session=who)
        self.front.principal = who
        self.open: set[Any] = set()
        self.numbers: dict[Any, str] = {}
        self.streams: list[Any] = []
        """Listen streams, of which most are closed again."""
        self.outcomes: Counter[str] = Counter()
        self.told: list[Event] = []

    def act(self, chance: random.Random) -> None:
        """Call a tool, ask for a list, subscribe, cancel."""
        kind = chance.choice(("quick", "ask", "ask", "report", "slow", "list", "watch", "cancel"))
        now, peer = self.world.now, self.peer
        if kind == "cancel" and self.streams:
            peer.cancel(self.streams.pop(), now=now)
        elif kind == "cancel" and self.open:
            peer.cancel(chance.choice(sorted(self.open)), now=now)
        elif kind == "list":
            self.open.add(peer.request("tools/list", {}, now=now, timeout=200))
        elif kind == "watch" and self.legacy:
            uri = {"uri": f"{chance.choice('ab')}+x:1"}
            self.open.add(peer.request("resources/subscribe", uri, now=now, timeout=200))
        elif kind == "watch":
            wanted = {"resourceSubscriptions": ["a+x:1", "b+x:1"], "toolsListChanged": True}
            listen = {"notifications": wanted}
            self.streams.append(peer.request("subscriptions/listen", listen, now=now, timeout=90))
        elif kind != "cancel":
            number = str(len(self.numbers))
            arguments = {"who": self.who, "kind": kind, "number": number}
            params = {"name": f"{chance.choice('ab')}__t", "arguments": arguments}
            id = peer.request("tools/call", params, now=now, progress=True, timeout=200)
            self.open.add(id)
            self.numbers[id] = number

    def take(self, event: Event, chance: random.Random) -> None:
        self.told.append(event)
        answer = {"action": "accept", "content": {"who": self.who}}
        if isinstance(event, RequestReceived):
            self.check(msgspec.json.decode(event.params)["message"])
            self.peer.respond(event.key, answer)
        elif isinstance(event, InputRequired):
            self.open.discard(event.request)
            for question in event.requests.values():
                self.check(msgspec.json.decode(question)["params"]["message"])
            answers = dict.fromkeys(event.requests, answer)
            retry = self.peer.retry(event.request, answers, now=self.world.now, timeout=200)
            self.open.add(retry)
        elif isinstance(event, ENDS) and event.method == "subscriptions/listen":
            self.streams = [stream for stream in self.streams if stream != event.request]
        elif isinstance(event, ENDS):
            assert event.request in self.open, "a request has ended twice"
            self.open.discard(event.request)
            self.outcomes[type(event).__name__] += 1
            if isinstance(event, ResultReceived) and event.method == "tools/call":
                result = msgspec.json.decode(event.result)
                self.check(result["who"])
                assert result.get("said") in (None, self.who)
        elif isinstance(event, ProgressReceived):
            self.check(event.message)
        elif isinstance(event, NotificationReceived | SubscriptionNotification):
            assert b"x:1" not in bytes(event.params) or b"+x:1" in bytes(event.params)

    def check(self, who: Any) -> None:
        assert who == self.who, f"{self.who} was told what is {who}'s"


class Fronts:
    """The downstream machine: Peers that share an endpoint, one for each client."""

    def __init__(self, users: list[User]) -> None:
        peer = users[0].front
        self.respond, self.fail, self.require_input = peer.respond, peer.fail, peer.require_input
        self.admit, self.narrow, self.progress = peer.admit, peer.narrow, peer.progress
        self.release = peer.release
        self.users = {user.who: user.front for user in users}
        self.any = peer

    def _of(self, where: dict[str, Any], parent: Any) -> Peer:
        session = where.pop("session", None)
        if session is not None:
            return self.users[session]
        owners = [peer for peer in self.users.values() if parent in self._keys(peer)]
        return owners[0] if owners else self.any

    def _keys(self, peer: Peer) -> list[int]:
        return [record.key for record in peer._state.in_flight_by_id.values()]

    def request(self, method: str, params: Any = None, **where: Any) -> Any:
        return self._of(where, where.get("parent")).request(method, params, **where)

    def notify(self, method: str, params: Any = None, **where: Any) -> Any:
        return self._of(where, where.get("parent")).notify(method, params, **where)

    def log(self, key: Any, level: str, data: Any, logger: Any = None, **where: Any) -> bool:
        return self._of(where, key).log(key, level, data, logger)

    def cancel(self, request: Any, **more: Any) -> None:
        for peer in self.users.values():
            peer.cancel(request, **more)


class World:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.now = 0.0
        self.links: list[tuple[UpstreamLink, Peer, Peer, Server]] = []
        self.wires: list[Wire] = []
        self.timers: list[tuple[float, Any]] = []
        endpoint = Endpoint()
        eras = (LEGACY, MODERN)
        self.users = [User(self, who, chance.choice(eras), endpoint) for who in ("ann", "bob")]
        self.servers = [Server(self, name, chance.choice(eras)) for name in "ab"]
        targets = [Target(server.name, server.connect) for server in self.servers]
        seal = make_seal(SealSettings(keys=(SealKey(b"k" * 32),)))
        settings = RelaySettings(call_timeout=60.0, question_timeout=20.0, parked_timeout=40.0)
        self.fronts = Fronts(self.users)
        self.relay = Relay(self.fronts, targets, seal=seal, settings=settings)  # type: ignore[arg-type]
        self.down = {user.who: Wire(None, user.peer, chance) for user in self.users}
        self.wires += self.down.values()
        for user in self.users:
            self.wires.append(Wire(user.peer, user.front, chance))
            user.peer.start(now=0.0)
        self.relay.start(now=0.0)

    def later(self, seconds: float, work: Any) -> None:
        self.timers.append((self.now + seconds, work))

    def settle(self) -> None:
        """Handle all that can be handled at this time."""
        moving = True
        while moving:
            moving = False
            while (event := self.fronts.any.next_event()) is not None:
                self.relay.from_client(event, now=self.now, wall=WALL + self.now)
                moving = True
            for user in self.users:
                while (event := user.peer.next_event()) is not None:
                    user.take(event, self.chance)
                    moving = True
            for link, near, far, server in self.links:
                while (event := far.next_event()) is not None:
                    server.take(far, event)
                    moving = True
                while (event := near.next_event()) is not None:
                    self.relay.from_server(link, event, now=self.now, wall=WALL + self.now)
                    moving = True
            for frame in self.fronts.any.data_to_send():
                moving = True
                if frame.data and frame.peer.session is not None:
                    self.down[frame.peer.session].put([b"".join(frame.data)], self.now)
            for wire in list(self.wires):
                moving |= wire.turn(self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [work for when, work in self.timers if when <= self.now]
        self.timers = [each for each in self.timers if each[0] > self.now]
        for work in due:
            work()
        self.relay.handle_timeout(self.now)
        self.fronts.any.handle_timeout(self.now)
        for user in self.users:
            user.peer.handle_timeout(self.now)
        for _, near, far, _ in self.links:
            near.handle_timeout(self.now)
            far.handle_timeout(self.now)
        self.settle()

    def cut(self) -> None:
        """Break a conversation with a server."""
        if not self.links:
            return
        _, near, far, _ = self.chance.choice(self.links)
        for wire in self.wires:
            if wire.source in (near, far):
                wire.cut = True
        near.receive_eof(now=self.now)
        far.receive_eof(now=self.now)

    def run(self, steps: int = 12) -> None:
        """Run the schedule and check the invariants."""
        self.settle()
        for _ in range(steps):
            for user in self.users:
                if self.chance.random() < 0.6:
                    user.act(self.chance)
            if self.chance.random() < 0.08:
                self.cut()
            self.settle()
            self.pass_time(self.chance.choice((0.0, 0.1, 0.5, 2.0)))
        for _ in range(40):
            self.pass_time(5.0)
        for user in self.users:
            assert not user.open, f"{user.who} waits for {sorted(user.open)}"
        assert self.relay.idle, "the relay has something open"
        assert self.fronts.any._endpoint.inbound.keys() <= self.streams()
        for server in self.servers:
            for (who, number), requests in server.done.items():
                assert len(requests) == 1, f"call {number} of {who} was made by {len(requests)}"

    def streams(self) -> set[int]:
        return {key for user in self.users for key in user.front._state.streams}
