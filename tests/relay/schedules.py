"""Seeded schedules: clients of two principals, two servers of one era or both, and bad networks.

On both sides of the relay everything that arrives is late by a random time, and may be lost or
doubled; a conversation may be cut; a server may crash, stay away and start again; a client may
come back.  Both principals use the same ids, tokens and URIs, and try the states, tasks and cursors
of each other.  Each server has a circuit breaker; at some, the principals sign in, and out.  At the
end:

- every request of a client has ended, and exactly once;
- whatever a client hears is its own: each call, question, list, URI, task and log message names its
  principal, and the id of a task or a cursor is known to one principal alone;
- a server is asked about a task by the principal that began it;
- a server at which principals sign in has a conversation for each, and hears in it of no other;
- log messages are of a level that the client has asked for;
- the relay has made one request of each call, whatever happened to it, unless it may be repeated,
  or came again from its client once it was answered;
- a server gets the requests that its breaker admits, each outcome is told to it once, and what it
  does not admit ends with an error that names the server;
- nothing is left open at the relay.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, structs

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
    SubscriptionAcknowledged,
    SubscriptionNotification,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.outbound import may_repeat
from mcpcore.http.settings import HttpSettings
from mcpcore.policy.breaker import BreakerSettings, Permit
from mcpcore.relay.link import PassedCall, SignInOffer, Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, ErrorData, LocalProtocolError
from mcpcore.spec.methods import REPEATABLE
from mcpcore.spec.types.base import META_RELATED_TASK, Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.jsontext import Body
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
from tests.engine.bench import SERVER_ALL, rows
from tests.faults import seeds
from tests.relay.bench import LEGACY, ME, MODERN, WALL
from tests.relay.test_tasks import CLIENT, SERVER, STATE

USERS = ("ann", "bob")
ENDS = (ResultReceived, ErrorReceived, RequestEnded)
KINDS = (
    *("quick", "ask", "ask", "report", "slow", "read", "list", "watch", "cancel", "level"),
    *("dig", "dig", "dig", "task", "task", "task", "tasks", "steal", "steal"),
)
MORE_FROM = 1_000_000
"""First seed of schedules with acts that those before have not."""
MORE_KINDS = (*KINDS, "watch", "watch twice", "leave", "other lists")
SPOKEN = ((LEGACY,), (MODERN,), (LEGACY, MODERN))
"""Eras of a server."""
LEVELS = ("debug", "info", "warning", "error")
TASK_METHODS = {
    LEGACY: ("tasks/get", "tasks/result", "tasks/cancel"),
    MODERN: ("tasks/get", "tasks/update", "tasks/cancel"),
}
LISTED = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""Members of the results of lists other than that of tools."""
TOLD = {
    False: {SessionState.OPEN},
    True: {*SessionState} - {SessionState.CLOSED},
}
"""States of a conversation in which a server has notices, by True for a modern one."""
FRONT = Config(
    info=ME,
    capabilities=msgspec.convert(
        {**SERVER_ALL, **SERVER[LEGACY], **SERVER[MODERN]}, ServerCapabilities
    ),
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
            name = self.sink.config.info.name
            self.world.note(f"for {name} at {due:.1f}, {copies} of it:", text)


class Near(Peer):
    """The relay's end of a conversation with a server, which counts its requests."""

    guard: "Guard"

    def request(self, *arguments: Any, **more: Any) -> Any:
        self.guard.sent += 1
        return super().request(*arguments, **more)

    def retry(self, *arguments: Any, **more: Any) -> Any:
        self.guard.sent += 1
        return super().retry(*arguments, **more)


class Server:
    """A server whose tool says who called, logs, asks, reports progress, begins a task, or waits.

    It has one principal, the relay: its tasks are of anybody who knows their ids.
    """

    def __init__(self, world: "World", name: str, eras: Sequence[str]) -> None:
        self.world, self.name = world, name
        self.speak(eras)
        self.asked: dict[tuple[int, Any], tuple[RequestReceived, str]] = {}
        self.back_at = 0.0
        """Time until which it is away."""
        self.done: dict[tuple[str, str, str], set[tuple[int, Any]]] = {}
        """Requests that it got, by principal, name and number of what the client asked for."""
        self.tasks: dict[str, str] = {}
        """Principals who began its tasks."""

    def speak(self, eras: Sequence[str]) -> None:
        """Begin to speak some eras."""
        self.eras = eras
        declared = SERVER_ALL | {key: value for era in eras for key, value in SERVER[era].items()}
        self.config = Config(
            info=Implementation(name=self.name, version="1"),
            capabilities=msgspec.convert(declared, ServerCapabilities),
            revisions=rows(*eras),
        )
        self.refuses = len(eras) > 1 and self.world.chance.random() < 0.2
        """True if it refuses the handshake that it lists."""

    def connect(self, link: UpstreamLink) -> Peer:
        world = self.world
        base = Config(info=ME, capabilities=ClientCapabilities())
        refuses = self.refuses and not link.audience.revision.modern
        config = structs.replace(self.config, revisions=rows(MODERN)) if refuses else self.config
        near, far = Near(Role.CLIENT, link.config(base)), Peer(Role.SERVER, config)
        near.guard = world.guards[self.name]
        near.start(now=world.now)
        world.links.append((link, near, far, self))
        world.live.append(world.links[-1])
        if world.now < self.back_at:
            world.later(0.0, lambda: near.receive_eof(now=world.now))
            return near
        world.wires.append(Wire(world, near, far, shaky=True))
        world.wires.append(Wire(world, far, near, shaky=True))
        return near

    def take(self, link: UpstreamLink, far: Peer, event: Event) -> None:
        if isinstance(event, RequestReceived):
            who = msgspec.json.decode(event.params).get("_meta", {}).get("example/who")
            if link.target.desk is not None:
                assert who in (None, link.audience.principal), f"{who} by {link.audience.principal}"
            self.answer(far, event)
        elif isinstance(event, ResultReceived) and (id(far), event.request) in self.asked:
            request, who = self.asked.pop((id(far), event.request))
            self.finish(far, request, who, event.result)
        elif isinstance(event, ErrorReceived | RequestEnded):
            found = self.asked.pop((id(far), event.request), None)
            if found is not None:
                far.respond(found[0].key, {"content": [], "who": found[1]})

    def answer(self, far: Peer, event: RequestReceived) -> None:
        params = msgspec.json.decode(event.params)
        meta = params.get("_meta", {})
        who = meta.get("example/who")
        if event.input_responses is None:
            name = params.get("name", event.method)
            asked = self.done.setdefault((who, name, meta.get("example/number")), set())
            asked.add((id(far), event.id))
        if event.method == "tools/call":
            self.call(far, event, params)
        elif event.method == "tasks/list":
            after = int(params.get("cursor", "task 0").split()[1])
            page = [self.task(id, False) for id in list(self.tasks)[after : after + 2]]
            more = {"nextCursor": f"task {after + 2}"} if len(self.tasks) > after + 2 else {}
            far.respond(event.key, {"tasks": page, **more})
        elif event.method.startswith("tasks/"):
            self.about_task(far, event, params["taskId"], who)
        else:
            far.respond(event.key, self.list(event, who))

    def list(self, event: RequestReceived, who: str) -> Any:
        hints = {"ttlMs": 3000, "cacheScope": "private"} if event.revision.modern else {}
        if event.method in LISTED:
            item = {"name": "x", "uri": "x:1", "uriTemplate": "x:{a}", "description": who}
            return {LISTED[event.method]: [item], **hints}
        schema = {"type": "object"}
        tool = {"name": "t", "description": who, "inputSchema": schema}
        repeatable = {**tool, "name": "r", "annotations": {"readOnlyHint": True}}
        return {"tools": [tool, repeatable], **hints}

    def call(self, far: Peer, event: RequestReceived, params: Any) -> None:
        arguments, modern = params["arguments"], event.revision.modern
        who, kind = arguments["who"], arguments["kind"]
        question = {"message": who, "requestedSchema": {"type": "object", "properties": {}}}
        if event.input_responses is not None:
            self.finish(far, event, who, event.input_responses["q"])
            return
        for key in (event.key,) if modern else (event.key, None):
            far.log(key, self.world.chance.choice(LEVELS), who)
        if kind == "ask" and modern:
            asked = msgspec.json.encode({"method": "elicitation/create", "params": question})
            far.require_input(event.key, {"q": Raw(asked)}, who)
        elif kind == "ask":
            self.ask(far, event, who)
        elif kind == "report":
            far.progress(event.key, 1, None, who)
            for uri in ("x:1", "x:ann", "x:bob"):
                far.notify("notifications/resources/updated", {"uri": uri})
            far.notify("notifications/tools/list_changed")
            self.finish(far, event, who, None)
        elif kind == "slow":
            self.world.later(1.5, lambda: self.finish(far, event, who, None))
        elif kind == "dig" and (declares_tasks(event) if modern else "task" in params):
            task = f"task {len(self.tasks)}"
            self.tasks[task] = who
            state = self.task(task, modern)
            far.respond(event.key, {"resultType": "task", **state} if modern else {"task": state})
        elif kind in ("quick", "dig"):
            self.finish(far, event, who, None)

    def ask(self, far: Peer, event: RequestReceived, who: str, **more: Any) -> None:
        """Ask the client of a legacy conversation."""
        question = {"message": who, "requestedSchema": {"type": "object", "properties": {}}}
        now = self.world.now
        asked = far.request(
            "elicitation/create", question, now=now, parent=event.key, timeout=30, **more
        )
        self.asked[id(far), asked] = event, who

    def finish(self, far: Peer, event: RequestReceived, who: str, answer: Raw | None) -> None:
        said = None if answer is None else msgspec.json.decode(answer)["content"]["who"]
        if not far.respond(event.key, {"content": [], "who": who, "said": said}):
            far.release(event.key)

    # Tasks

    def task(self, id: str, modern: bool) -> dict[str, Any]:
        ttl = "ttlMs" if modern else "ttl"
        return {"taskId": id, **STATE, "statusMessage": self.tasks[id], ttl: None}

    def about_task(self, far: Peer, event: RequestReceived, task: str, who: str) -> None:
        """Answer a request about a task, and tell everybody of its state."""
        if task not in self.tasks:
            far.fail(event.key, ErrorData(INVALID_PARAMS, "no task of that id"))
            return
        assert self.tasks[task] == who, f"{who} has the id of a task of {self.tasks[task]}"
        state = self.task(task, event.revision.modern)
        related = {META_RELATED_TASK: {"taskId": task}}
        if event.method == "tasks/result" and self.world.chance.random() < 0.5:
            self.ask(far, event, who, meta=related)
        elif event.method == "tasks/result":
            far.respond(event.key, {"content": [], "who": who, "_meta": related})
        elif event.method == "tasks/get" or not event.revision.modern:
            far.respond(event.key, state)
        else:
            far.respond(event.key, {})
        for link, _, each, server in self.world.live:
            modern = MODERN in self.eras and link.audience.revision.modern
            notice = "notifications/tasks" if modern else "notifications/tasks/status"
            if server is self and each.state in TOLD[modern]:
                each.notify(notice, self.task(task, modern), meta=None if modern else related)


def declares_tasks(event: RequestReceived) -> bool:
    return TASKS_EXTENSION in (event.client_capabilities.extensions or {})


class Guard(ServerGuard):
    """Policy of the relay: a breaker, and what may be repeated is, twice, if the server fails."""

    def __init__(self, name: str) -> None:
        breaker = BreakerSettings(consecutive=2, open_time=3.0)
        super().__init__(name, GatewaySettings(retry=None, breaker=breaker))
        self.sent = self.admitted = self.settled = 0
        """Numbers of requests."""

    def admit(
        self, now: float, method: str, params: Body, caller: Hashable = None
    ) -> Permit | None:
        permit = super().admit(now, method, params, caller)
        self.admitted += 1
        return permit

    def settle(
        self, permit: Permit | None, event: Event, now: float, caller: object = None
    ) -> None:
        super().settle(permit, event, now, caller)
        self.settled += 1

    def again(self, call: PassedCall, event: Event, now: float) -> float | None:
        call.attempts = attempts = (call.attempts or 0) + 1
        repeatable = may_repeat(call.method, bytes(call.params), None, call.link.target.repeatable)
        failed = isinstance(event, RequestEnded) and event.reason is not EndReason.CANCELLED
        return 0.5 if failed and repeatable and attempts < 3 else None


class Desk:
    """Sign-in at a server."""

    def __init__(self) -> None:
        self.known: set[str | None] = set()
        self.waiting: set[str | None] = set()

    def signed_in(self, principal: str | None) -> bool:
        return principal in self.known

    def asked(self, principal: str | None) -> bool:
        return principal in self.waiting

    def question(self, principal: str) -> SignInOffer:
        if principal in self.known:
            raise LocalProtocolError("a sign-in would not help")
        self.waiting.add(principal)
        return SignInOffer(principal, f"https://gateway.example/{principal}", principal)


class User:
    """A client, and what it has been told."""

    peer: Peer
    front: Peer
    """The relay's end of its connection."""
    down: Wire

    def __init__(self, world: "World", who: str, revision: str) -> None:
        self.world, self.who, self.legacy = world, who, revision == LEGACY
        self.revision = revision
        self.open: dict[Any, tuple[Any, bool]] = {}
        """Requests: params, and True if it must fail, as it has something of another principal."""
        self.connections = 0
        self.numbers = 0
        self.streams: list[Any] = []
        """Listen streams, of which most are closed again."""
        self.uris: set[str] = set()
        """Resources that it has ever subscribed to."""
        self.severity = SEVERITY["info" if self.legacy else "emergency"]
        """Severity from which it has ever asked for log messages."""
        self.outcomes: Counter[str] = Counter()
        self.connect()

    def connect(self) -> None:
        """Begin a connection, with the same ids as the one before."""
        world = self.world
        client = Config(
            info=Implementation(name=self.who, version="1"),
            capabilities=msgspec.convert(CLIENT[self.revision], ClientCapabilities),
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
        """Do one of the things that clients do."""
        kind = chance.choice(self.world.kinds)
        ACTS.get(kind, partial(User.call, kind=kind))(self, chance)

    def send(self, method: str, params: Any, *, forbidden: bool = False, **more: Any) -> Any:
        """Send a request; return its id."""
        self.numbers += 1
        meta = {"example/who": self.who, "example/number": str(self.numbers)}
        id = self.peer.request(
            method, params, now=self.world.now, timeout=150, meta=meta, force=True, **more
        )
        self.open[id] = params, forbidden
        return id

    def call(self, chance: random.Random, kind: str) -> None:
        name, servers = "r" if kind == "read" else "t", self.world.servers
        if kind == "dig":
            servers = [each for each in servers if self.revision in each.eras] or servers
        params: dict[str, Any] = {
            "name": self.world.outer(chance.choice(servers), name),
            "arguments": {"who": self.who, "kind": kind},
        }
        if kind == "dig" and self.legacy:
            params["task"] = {}
        level = None if self.legacy else chance.choice((None, *LEVELS))
        if level is not None:
            self.severity = min(self.severity, SEVERITY[level])
        self.send("tools/call", params, progress=True, log_level=level)

    def list_tools(self, chance: random.Random) -> None:
        self.send("tools/list", {})

    def list_others(self, chance: random.Random) -> None:
        self.send(chance.choice([*LISTED]), {})

    def watch(self, chance: random.Random) -> None:
        servers = self.world.servers
        uris = [self.world.outer(each, f"x:{end}") for each in servers for end in ("1", self.who)]
        if self.legacy:
            uris = [chance.choice(uris)]
            self.send("resources/subscribe", {"uri": uris[0]})
        else:
            wanted: dict[str, Any] = {"resourceSubscriptions": uris, "toolsListChanged": True}
            wanted["taskIds"] = [*self.world.tasks, "task 0"]
            listen, now = {"notifications": wanted}, self.world.now
            stream = self.peer.request("subscriptions/listen", listen, now=now, timeout=90)
            self.streams.append(stream)
        self.uris.update(uris)

    def watch_twice(self, chance: random.Random) -> None:
        """Subscribe twice to one resource, and maybe cancel one of the two requests."""
        if self.legacy:
            uri = self.world.outer(chance.choice(self.world.servers), "x:1")
            self.uris.add(uri)
            asked = [self.send("resources/subscribe", {"uri": uri}) for _ in range(2)]
            if chance.random() < 0.5:
                self.peer.cancel(chance.choice(asked), now=self.world.now)

    def leave(self, chance: random.Random) -> None:
        if self.legacy and self.uris:
            self.send("resources/unsubscribe", {"uri": chance.choice(sorted(self.uris))})
        elif self.streams:
            self.peer.cancel(self.streams.pop(0), now=self.world.now)

    def cancel(self, chance: random.Random) -> None:
        if self.streams:
            self.peer.cancel(self.streams.pop(), now=self.world.now)
        elif self.open:
            self.peer.cancel(chance.choice(sorted(self.open)), now=self.world.now)

    def set_level(self, chance: random.Random) -> None:
        if self.legacy:
            level = chance.choice(LEVELS)
            self.severity = min(self.severity, SEVERITY[level])
            self.send("logging/setLevel", {"level": level})

    def visit(self, chance: random.Random) -> None:
        own = [each for each, who in self.world.tasks.items() if who == self.who]
        if own:
            self.about_task(chance.choice(own), chance)

    def about_task(self, task: str, chance: random.Random, *, forbidden: bool = False) -> None:
        method = chance.choice(TASK_METHODS[self.revision])
        more: dict[str, Any] = {"inputResponses": {}} if method == "tasks/update" else {}
        self.send(method, {"taskId": task, **more}, forbidden=forbidden)

    def list_tasks(self, chance: random.Random) -> None:
        cursor = chance.choice([None, *self.world.cursors])
        params = {} if cursor is None else {"cursor": cursor}
        if self.legacy:
            owner = self.world.cursors.get(cursor or "", self.who)
            self.send("tasks/list", params, forbidden=owner != self.who)

    def steal(self, chance: random.Random) -> None:
        """Use the id of a task, or the state of a call, of another principal."""
        tasks = [each for each, who in self.world.tasks.items() if who != self.who]
        states = [params for who, params in self.world.states if who != self.who]
        if states and not self.legacy and chance.random() < 0.5:
            self.send("tools/call", chance.choice(states), forbidden=True)
        else:
            self.about_task(chance.choice([*tasks, "task 0"]), chance, forbidden=True)

    def take(self, event: Event, chance: random.Random) -> None:
        answer = {"action": "accept", "content": {"who": self.who}}
        if isinstance(event, RequestReceived):
            self.check(msgspec.json.decode(event.params))
            self.peer.respond(event.key, answer)
        elif isinstance(event, InputRequired):
            params, forbidden = self.open.pop(event.request)
            signs_in = "sign_in_" in event.requests
            assert signs_in or not forbidden
            for question in event.requests.values():
                self.check(msgspec.json.decode(question)["params"])
            answers = dict.fromkeys(event.requests, answer)
            again = {"requestState": event.state, "inputResponses": answers}
            if not signs_in:
                self.world.states.append((self.who, {**params, **again}))
            self.outcomes["sign-in"] += signs_in
            retry = self.peer.retry(event.request, answers, now=self.world.now, timeout=150)
            self.open[retry] = params, forbidden
        elif isinstance(event, ENDS) and event.method == "subscriptions/listen":
            self.streams = [stream for stream in self.streams if stream != event.request]
        elif isinstance(event, ENDS):
            self.ended(event)
        elif isinstance(event, ProgressReceived):
            self.check({"who": event.message})
        elif isinstance(event, SubscriptionAcknowledged):
            self.check({"tasks": [{"taskId": each} for each in event.filter.task_ids]})
        elif isinstance(event, NotificationReceived | SubscriptionNotification):
            self.check(msgspec.json.decode(event.params))

    def ended(self, event: ResultReceived | ErrorReceived | RequestEnded) -> None:
        _, forbidden = self.open.pop(event.request)  # raises KeyError if it has ended twice
        self.outcomes[type(event).__name__] += 1
        if isinstance(event, ResultReceived):
            assert not forbidden, f"{self.who} has got what is of another by {event.method}"
            self.check(msgspec.json.decode(event.result))
            self.outcomes[event.method] += 1
        elif isinstance(event, ErrorReceived) and "circuit breaker" in event.error.message:
            names = [f"{each.name}: the server keeps failing" for each in self.world.servers]
            assert event.error.message.startswith(tuple(names)), event.error.message
            self.outcomes["breaker"] += 1

    def check(self, told: Any) -> None:
        """Check what the client is told, as far as it has members that are known."""
        for name in CHECKS.keys() & told.keys():
            CHECKS[name](self, told[name])

    def check_all(self, told: Any) -> None:
        for each in told:
            if "sign_in_at" not in each.get("name", ""):  # it is for anybody
                self.check(each)

    def are_mine(self, listed: Any) -> None:
        for each in listed:
            self.is_mine(each["description"])

    def is_mine(self, who: Any) -> None:
        assert who in (None, self.who), f"{self.who} was told what is {who}'s"

    def has_task(self, task: str) -> None:
        assert not task.startswith("task"), "the id of a server has come through"
        self.is_mine(self.world.tasks.setdefault(task, self.who))

    def has_cursor(self, cursor: str) -> None:
        assert not cursor.startswith("task"), "the cursor of a server has come through"
        self.is_mine(self.world.cursors.setdefault(cursor, self.who))

    def watches(self, uri: str) -> None:
        assert uri in self.uris, f"{self.who} has not subscribed to {uri}"

    def hears(self, level: str) -> None:
        assert SEVERITY[level] >= self.severity, f"{self.who} has not asked for {level}"
        self.outcomes["log"] += 1


ACTS: dict[str, Callable[[User, random.Random], None]] = {
    "list": User.list_tools,
    "other lists": User.list_others,
    "watch": User.watch,
    "watch twice": User.watch_twice,
    "leave": User.leave,
    "cancel": User.cancel,
    "level": User.set_level,
    "task": User.visit,
    "tasks": User.list_tasks,
    "steal": User.steal,
}
"""Functions for what clients do but for calls, by kind."""
CHECKS: dict[str, Callable[[User, Any], None]] = {
    **dict.fromkeys(("who", "said", "message", "description", "statusMessage"), User.is_mine),
    "data": User.is_mine,
    "level": User.hears,
    "uri": User.watches,
    "taskId": User.has_task,
    "nextCursor": User.has_cursor,
    **dict.fromkeys(("_meta", META_RELATED_TASK, "task"), User.check),
    **dict.fromkeys(("tools", "tasks"), User.check_all),
    **dict.fromkeys(LISTED.values(), User.are_mine),
}
"""Checks of members of what a client is told, by name."""


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

    def __init__(self, seed: int, timeline: list[str] | None = None) -> None:
        self.chance = chance = random.Random(seed)
        self.timeline = timeline
        self.kinds = KINDS if seed < MORE_FROM else MORE_KINDS
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
        self.tasks: dict[str, str] = {}
        """Principals by the ids of tasks that they were told."""
        self.cursors: dict[str, str] = {}
        """Principals by the cursors of lists of tasks."""
        self.came: Counter[tuple[Any, Any]] = Counter()
        """Number of times that a request came, retries too, by principal and number."""
        self.doubled: Counter[tuple[Any, Any]] = Counter()
        """Those with an id that it had before."""
        self.heard: set[tuple[str | None, Any]] = set()
        """Sessions and ids of requests."""
        self.states: list[tuple[str, Any]] = []
        """Retries of parked calls: principal and params."""
        eras = (LEGACY, MODERN)
        names = chance.choice(("a", "ab", "ab"))
        self.servers = [Server(self, name, chance.choice(SPOKEN)) for name in names]
        self.guards = {name: Guard(name) for name in names}
        self.signs = random.Random(f"signs {seed}")
        targets = [
            Target(
                each.name,
                each.connect,
                self.guards[each.name],
                shared=chance.choice((None, None, True, False)),
                personal=chance.choice((False, True)),
                desk=Desk() if self.signs.random() < 0.3 else None,
            )
            for each in self.servers
        ]
        for target in targets:
            target.personal |= target.desk is not None
        seal = make_seal(SealSettings(keys=(SealKey(b"k" * 32),)))
        settings = RelaySettings(
            call_timeout=60.0, question_timeout=20.0, parked_timeout=40.0, sign_in_wait=5.0
        )
        self.relay = Relay(targets, seal=seal, settings=settings)
        self.users = [User(self, who, chance.choice(eras)) for who in USERS]
        self.relay.start(now=0.0)

    def outer(self, server: Server, name: str) -> str:
        """Return the name, or the URI, for clients."""
        mark = "+" if ":" in name else "__"
        return name if len(self.servers) == 1 else f"{server.name}{mark}{name}"

    def note(self, what: str, text: bytes = b"") -> None:
        """Keep what happens for whoever looks at this schedule."""
        if self.timeline is not None:
            self.timeline.append(f"{self.now:7.1f}  {what} {text.decode().strip()}".rstrip())

    def later(self, seconds: float, work: Any) -> None:
        self.timers.append((self.now + seconds, work))

    def settle(self) -> None:
        """Handle all that can be handled at this time."""
        moving = True
        while moving:
            moving = False
            for user in self.users:
                while (event := user.peer.next_event()) is not None:
                    user.take(event, self.chance)
                    moving = True
            for link, near, far, server in self.live:
                while (event := far.next_event()) is not None:
                    server.take(link, far, event)
                    moving = True
                while (event := near.next_event()) is not None:
                    self.relay.from_server(link, event, now=self.now, wall=WALL + self.now)
                    moving = True
            while (event := self.fronts.any.next_event()) is not None:  # before the output
                fronts: Any = self.fronts
                if isinstance(event, RequestReceived):
                    self.count(event)
                self.relay.from_client(fronts, event, now=self.now, wall=WALL + self.now)
                moving = True
            for frame in self.fronts.any.data_to_send():
                moving = True
                if frame.data and frame.peer.session is not None:
                    self.down[frame.peer.session].put([b"".join(frame.data)], self.now)
            for wire in list(self.wires):
                moving |= wire.turn(self.now)
        self.wires = [wire for wire in self.wires if not wire.cut]
        self.live = [link for link in self.live if link[1].state is not SessionState.CLOSED]

    def count(self, event: RequestReceived) -> None:
        """Count a request; it may come again, with the same id, once it is answered."""
        meta = msgspec.json.decode(event.params).get("_meta", {})
        call, key = (meta.get("example/who"), meta.get("example/number")), (event.session, event.id)
        self.came[call] += 1
        self.doubled[call] += key in self.heard
        self.heard.add(key)

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
        _, near, far, server = link
        self.note(f"a conversation with {server.name} breaks")
        for wire in self.wires:
            if wire.source in (near, far):
                wire.cut = True
        near.receive_eof(now=self.now)
        far.receive_eof(now=self.now)

    def crash(self) -> None:
        """End a server with all of its conversations; it starts again after a while."""
        server = self.chance.choice(self.servers)
        server.back_at = self.now + self.chance.choice((0.0, 3.0, 90.0))
        self.note(f"{server.name} ends, until {server.back_at:.1f}")
        if self.chance.random() < 0.5:
            server.speak(self.chance.choice(SPOKEN))
        for link in [each for each in self.links if each[3] is server]:
            self.cut(link)

    def sign(self) -> None:
        """Let a principal sign in at a server, or out."""
        target, who = self.signs.choice([*self.relay.targets.values()]), self.signs.choice(USERS)
        if isinstance(target.desk, Desk) and who in target.desk.known:
            target.desk.known.discard(who)
        elif isinstance(target.desk, Desk):
            target.desk.known.add(who)
            target.desk.waiting.discard(who)
            self.relay.signed_in(target, who, who, now=self.now)

    def come_back(self) -> None:
        """Break the connection of a client, which opens another."""
        user = self.chance.choice(self.users)
        self.note(f"the connection of {user.who} breaks")
        user.drop()
        self.settle()
        user.connect()

    def run(self, steps: int = 24) -> None:
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
            if self.signs.random() < 0.3:
                self.sign()
            fault = self.chance.random()
            if fault < 0.03 and self.links:
                self.cut(self.chance.choice(self.links))
            elif fault < 0.05:
                self.crash()
            elif fault < 0.07:
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
            for (who, name, number), requests in server.done.items():
                most = 1 + self.doubled[who, number]
                if name in {"r", *REPEATABLE}:
                    most = 3 * max(self.came[who, number], 1)
                assert len(requests) <= most, f"{name} {number} of {who}: {len(requests)} requests"
            guard = self.guards[server.name]
            assert guard.sent == guard.admitted, "a request goes past the breaker"
            permits = sum(len(link.permits) for link, *_, each in self.links if each is server)
            assert guard.admitted == guard.settled + permits, "an outcome is not told once"
        left = self.waiting()
        self.pass_time(15.0)  # enough for a subscription that was just renewed
        left &= self.waiting()
        assert not left, f"a conversation has something open: {left}"

    def waiting(self) -> set[tuple[int, str, Any]]:
        """Requests between the relay and servers: number of the conversation, side, id."""
        waiting = set()
        for number, (link, *_) in enumerate(self.links):
            asked = link.calls.keys() | (link.permits | link.pending).keys() - link.listens.keys()
            waiting |= {(number, "relay", id) for id in asked}
            waiting |= {(number, "server", key) for key in link.asked}
        return waiting

    def streams(self) -> set[int]:
        fronts = self.fronts.sessions.values()
        return {key for front in fronts for key in front._state.streams}


def play(seed: int, timeline: list[str] | None = None) -> Counter[str]:
    """Run the schedule of a seed; return its outcomes.  Raises AssertionError with the seed.

    What happens is put into ``timeline``.
    """
    world = World(seed, timeline)
    try:
        world.run()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    outcomes: Counter[str] = Counter()
    for user in world.users:
        outcomes += user.outcomes
    return outcomes


def _outcome(seed: int, timeline: bool) -> seeds.Outcome:
    told: list[str] | None = [] if timeline else None
    try:
        return seeds.Outcome(counts=play(seed, told), timeline=told)
    except AssertionError as broken:
        return seeds.Outcome(str(broken), timeline=told)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # breakers tell of themselves
    raise SystemExit(seeds.command("tests.relay.schedules", __doc__, _outcome))
