"""Seeded schedules: clients of two principals, two servers, and a network that does its worst.

On both sides of the relay everything that arrives is late by a random time, and may be lost or
doubled; a conversation may be cut; a server may crash, stay away and start again; a client may
come back.  Both principals use the same ids, tokens and URIs.  At the end:

- every request of a client has ended, and exactly once;
- whatever a client hears is its own: each call, question, list and URI names its principal;
- the relay has made one request of each call, whatever happened to it, unless it may be repeated;
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
    EndReason,
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
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.outbound import may_repeat
from mcpcore.http.settings import HttpSettings
from mcpcore.relay.link import PassedCall, Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
from tests.engine.bench import CLIENT_ALL, SERVER_ALL, rows
from tests.relay.bench import LEGACY, ME, MODERN, WALL

ENDS = (ResultReceived, ErrorReceived, RequestEnded)
KINDS = ("quick", "ask", "ask", "report", "slow", "list", "watch", "cancel", "read")
FRONT = Config(
    info=ME,
    capabilities=msgspec.convert(SERVER_ALL, ServerCapabilities),
    asked_first=ASKABLE,
    extension_methods=ANY_EXTENSION,
)


class Wire:
    """One direction between two Peers: frames arrive later, and maybe not, or twice."""

    def __init__(
        self, world: "World", source: Peer | None, sink: Peer, shaky: bool = False
    ) -> None:
        self.world, self.source, self.sink, self.shaky = world, source, sink, shaky
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
            chance = self.world.chance
            due = max(last, now + chance.choice((0.0, 0.0, 0.1, 1.0)))
            faults = self.shaky or self.world.shaky
            copies = chance.choices((1, 0, 2), (96, 2, 2))[0] if faults else 1
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
        self.back_at = 0.0
        """Time until which it is away."""
        self.done: dict[tuple[str, str], set[tuple[int, Any]]] = {}
        """Requests that asked for a call, by its principal and number."""

    def connect(self, link: UpstreamLink) -> Peer:
        world = self.world
        base = Config(info=ME, capabilities=ClientCapabilities())
        near, far = Peer(Role.CLIENT, link.config(base)), Peer(Role.SERVER, self.config)
        near.start(now=world.now)
        world.links.append((link, near, far, self))
        world.live.append(world.links[-1])
        if world.now < self.back_at:
            world.later(0.0, lambda: near.receive_eof(now=world.now))
            return near
        world.wires.append(Wire(world, near, far, shaky=True))
        world.wires.append(Wire(world, far, near, shaky=True))
        return near

    def take(self, far: Peer, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.method == "tools/call":
            self.call(far, event)
        elif isinstance(event, RequestReceived):
            far.respond(event.key, self.list(event))
        elif isinstance(event, ResultReceived) and (id(far), event.request) in self.asked:
            request, who = self.asked.pop((id(far), event.request))
            self.finish(far, request, who, event.result)
        elif isinstance(event, ErrorReceived | RequestEnded):
            found = self.asked.pop((id(far), event.request), None)
            if found is not None:
                far.respond(found[0].key, {"content": [], "who": found[1]})

    def list(self, event: RequestReceived) -> Any:
        who = msgspec.json.decode(event.params).get("_meta", {}).get("example/who")
        hints = {"ttlMs": 3000, "cacheScope": "private"} if event.revision.modern else {}
        schema = {"type": "object"}
        tool = {"name": "t", "description": who, "inputSchema": schema}
        repeatable = {**tool, "name": "r", "annotations": {"readOnlyHint": True}}
        return {"tools": [tool, repeatable], **hints}

    def call(self, far: Peer, event: RequestReceived) -> None:
        arguments = msgspec.json.decode(event.params)["arguments"]
        who, kind = arguments["who"], arguments["kind"]
        question = {"message": who, "requestedSchema": {"type": "object", "properties": {}}}
        if event.input_responses is not None:
            self.finish(far, event, who, event.input_responses["q"])
            return
        name = msgspec.json.decode(event.params)["name"]
        self.done.setdefault((who, name + arguments["number"]), set()).add((id(far), event.id))
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
            far.notify("notifications/tools/list_changed")
            self.finish(far, event, who, None)
        elif kind == "slow":
            self.world.later(1.5, lambda: self.finish(far, event, who, None))
        elif kind == "quick":
            self.finish(far, event, who, None)

    def finish(self, far: Peer, event: RequestReceived, who: str, answer: Raw | None) -> None:
        said = None if answer is None else msgspec.json.decode(answer)["content"]["who"]
        if not far.respond(event.key, {"content": [], "who": who, "said": said}):
            far.release(event.key)


class Guard:
    """Policy of the relay: what may be repeated is, twice, if the server fails."""

    def admit(self, now: float) -> None:
        pass

    def settle(self, permit: None, event: Event, now: float, caller: object = None) -> None:
        pass

    def again(self, call: PassedCall, event: Event, now: float) -> float | None:
        call.attempts = attempts = (call.attempts or 0) + 1
        repeatable = may_repeat(call.method, bytes(call.params), None, call.link.target.repeatable)
        failed = isinstance(event, RequestEnded) and event.reason is not EndReason.CANCELLED
        return 0.5 if failed and repeatable and attempts < 3 else None


class User:
    """A client, and what it has been told."""

    peer: Peer
    front: Peer
    """The relay's end of its connection."""
    down: Wire

    def __init__(self, world: "World", who: str, revision: str) -> None:
        self.world, self.who, self.legacy = world, who, revision == LEGACY
        self.revision = revision
        self.open: set[Any] = set()
        self.connections = 0
        self.numbers = 0
        self.streams: list[Any] = []
        """Listen streams, of which most are closed again."""
        self.outcomes: Counter[str] = Counter()
        self.connect()

    def connect(self) -> None:
        """Begin a connection, with the same ids as the one before."""
        world = self.world
        client = Config(
            info=Implementation(name=self.who, version="1"),
            capabilities=msgspec.convert(CLIENT_ALL, ClientCapabilities),
            revisions=rows(self.revision),
        )
        self.peer = Peer(Role.CLIENT, client)
        session = f"{self.who}{self.connections}"
        self.front = Peer(Role.SERVER, FRONT, endpoint=world.endpoint, session=session)
        self.front.principal = self.who
        world.fronts.sessions[session] = self.front
        self.down = world.down[session] = Wire(world, None, self.peer)
        self.up = Wire(world, self.peer, self.front)
        world.wires += (self.down, self.up)
        self.connections += 1
        self.peer.start(now=world.now)

    def drop(self) -> None:
        """Break the connection."""
        self.up.cut = self.down.cut = True
        for peer in (self.peer, self.front):
            peer.receive_eof(now=self.world.now)

    def act(self, chance: random.Random) -> None:
        """Call a tool, ask for a list, subscribe, cancel."""
        kind = chance.choice(KINDS)
        now, peer = self.world.now, self.peer
        if kind == "cancel" and self.streams:
            peer.cancel(self.streams.pop(), now=now)
        elif kind == "cancel" and self.open:
            peer.cancel(chance.choice(sorted(self.open)), now=now)
        elif kind == "list":
            meta = {"example/who": self.who}
            self.open.add(peer.request("tools/list", {}, now=now, timeout=150, meta=meta))
        elif kind == "watch" and self.legacy:
            uri = {"uri": f"{chance.choice('ab')}+x:1"}
            self.open.add(peer.request("resources/subscribe", uri, now=now, timeout=150))
        elif kind == "watch":
            wanted = {"resourceSubscriptions": ["a+x:1", "b+x:1"], "toolsListChanged": True}
            listen = {"notifications": wanted}
            self.streams.append(peer.request("subscriptions/listen", listen, now=now, timeout=90))
        elif kind != "cancel":
            self.numbers += 1
            name = "r" if kind == "read" else "t"
            kind = "quick" if kind == "read" else kind
            arguments = {"who": self.who, "kind": kind, "number": str(self.numbers)}
            params = {"name": f"{chance.choice('ab')}__{name}", "arguments": arguments}
            self.open.add(peer.request("tools/call", params, now=now, progress=True, timeout=150))

    def take(self, event: Event, chance: random.Random) -> None:
        answer = {"action": "accept", "content": {"who": self.who}}
        if isinstance(event, RequestReceived):
            self.check(msgspec.json.decode(event.params)["message"])
            self.peer.respond(event.key, answer)
        elif isinstance(event, InputRequired):
            self.open.discard(event.request)
            for question in event.requests.values():
                self.check(msgspec.json.decode(question)["params"]["message"])
            answers = dict.fromkeys(event.requests, answer)
            retry = self.peer.retry(event.request, answers, now=self.world.now, timeout=150)
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
            if isinstance(event, ResultReceived) and event.method == "tools/list":
                for tool in msgspec.json.decode(event.result)["tools"]:
                    self.check(tool["description"])
        elif isinstance(event, ProgressReceived):
            self.check(event.message)
        elif isinstance(event, NotificationReceived | SubscriptionNotification):
            assert b"x:1" not in bytes(event.params) or b"+x:1" in bytes(event.params)

    def check(self, who: Any) -> None:
        assert who == self.who, f"{self.who} was told what is {who}'s"


class Fronts:
    """The downstream machine: Peers that share an endpoint, one for each client."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.any = peer = Peer(Role.SERVER, FRONT, endpoint=endpoint, session="any")
        self.respond, self.fail, self.require_input = peer.respond, peer.fail, peer.require_input
        self.admit, self.narrow, self.progress = peer.admit, peer.narrow, peer.progress
        self.release = peer.release
        self.sessions: dict[str, Peer] = {}
        self.settings = HttpSettings()

    def _of(self, where: dict[str, Any], parent: Any) -> Peer:
        session = where.pop("session", None)
        if session is not None:
            return self.sessions[session]
        owners = [peer for peer in self.sessions.values() if parent in self._keys(peer)]
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
        for peer in self.sessions.values():
            peer.cancel(request, **more)


class World:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.now = 0.0
        self.links: list[tuple[UpstreamLink, Peer, Peer, Server]] = []
        self.live: list[tuple[UpstreamLink, Peer, Peer, Server]] = []
        """Those that have not ended."""
        self.wires: list[Wire] = []
        self.shaky = False
        """True once the connections of clients lose and double messages as well."""
        self.down: dict[str, Wire] = {}
        self.timers: list[tuple[float, Any]] = []
        self.endpoint = Endpoint()
        self.fronts = Fronts(self.endpoint)
        eras = (LEGACY, MODERN)
        self.servers = [Server(self, name, chance.choice(eras)) for name in "ab"]
        targets = [Target(server.name, server.connect, Guard()) for server in self.servers]
        seal = make_seal(SealSettings(keys=(SealKey(b"k" * 32),)))
        settings = RelaySettings(call_timeout=60.0, question_timeout=20.0, parked_timeout=40.0)
        self.relay = Relay(targets, seal=seal, settings=settings)
        self.users = [User(self, who, chance.choice(eras)) for who in ("ann", "bob")]
        self.relay.start(now=0.0)

    def later(self, seconds: float, work: Any) -> None:
        self.timers.append((self.now + seconds, work))

    def settle(self) -> None:
        """Handle all that can be handled at this time."""
        moving = True
        while moving:
            moving = False
            while (event := self.fronts.any.next_event()) is not None:
                fronts: Any = self.fronts
                self.relay.from_client(fronts, event, now=self.now, wall=WALL + self.now)
                moving = True
            for user in self.users:
                while (event := user.peer.next_event()) is not None:
                    user.take(event, self.chance)
                    moving = True
            for link, near, far, server in self.live:
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
        self.wires = [wire for wire in self.wires if not wire.cut]
        self.live = [link for link in self.live if link[1].state is not SessionState.CLOSED]

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
        for _, near, far, _ in self.live:
            near.handle_timeout(self.now)
            far.handle_timeout(self.now)
        self.settle()

    def cut(self, link: tuple[UpstreamLink, Peer, Peer, Server]) -> None:
        """Break a conversation with a server."""
        _, near, far, _ = link
        for wire in self.wires:
            if wire.source in (near, far):
                wire.cut = True
        near.receive_eof(now=self.now)
        far.receive_eof(now=self.now)

    def crash(self) -> None:
        """End a server with all of its conversations; it starts again after a while."""
        server = self.chance.choice(self.servers)
        server.back_at = self.now + self.chance.choice((0.0, 3.0, 90.0))
        for link in [each for each in self.links if each[3] is server]:
            self.cut(link)

    def come_back(self) -> None:
        """Break the connection of a client, which opens another."""
        user = self.chance.choice(self.users)
        user.drop()
        self.settle()
        user.connect()

    def run(self, steps: int = 12) -> None:
        """Run the schedule and check the invariants."""
        self.settle()
        for _ in range(3):
            self.pass_time(1.0)
        self.shaky = True
        for _ in range(steps):
            for user in self.users:
                if user.peer.state is SessionState.CLOSED:  # its opening went wrong
                    user.connect()
                if self.chance.random() < 0.6:
                    user.act(self.chance)
            fault = self.chance.random()
            if fault < 0.06:
                self.cut(self.chance.choice(self.links))
            elif fault < 0.10:
                self.crash()
            elif fault < 0.14:
                self.come_back()
            self.settle()
            self.pass_time(self.chance.choice((0.0, 0.1, 0.5, 2.0)))
        for _ in range(24):
            self.pass_time(15.0)
        for user in self.users:
            assert not user.open, f"{user.who} waits for {sorted(user.open)}"
        assert self.relay.idle, "the relay has something open"
        assert self.fronts.any._endpoint.inbound.keys() <= self.streams()
        for server in self.servers:
            for (who, number), requests in server.done.items():
                most = 3 if number.startswith("r") else 1
                assert len(requests) <= most, f"{number} of {who} was made by {len(requests)}"
        for link, *_ in self.links:
            waiting = (link.permits.keys() | link.pending.keys()) - link.listens.keys()
            left = [*link.calls, *link.asked, *waiting]
            assert not left, f"a conversation has something open: {left}"

    def streams(self) -> set[int]:
        fronts = self.fronts.sessions.values()
        return {key for front in fronts for key in front._state.streams}
