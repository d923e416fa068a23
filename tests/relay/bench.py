"""A relay between Peers: clients before it, servers behind it, and a clock that tests move."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from mcpcore.engine import ANY_EXTENSION, Config, Limits, Peer, Role
from mcpcore.engine.config import ASKABLE, CLIENT_ASKABLE
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    InputRequired,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.relay.link import ReplicaSet, Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
from tests.engine.bench import CLIENT_ALL, SERVER_ALL, rows

LEGACY, MODERN = "2025-11-25", "2026-07-28"
BOTH = f"{LEGACY} {MODERN}"
CELLS = [(client, server) for client in (LEGACY, MODERN) for server in (LEGACY, MODERN)]
WALL = 1_000_000.0
ME = Implementation(name="relay", version="1")
QUESTION = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
ANSWER = {"action": "accept", "content": {"name": "Ada"}}

Handler = Callable[["Backend", Peer, RequestReceived], object]


def text(value: str) -> dict[str, Any]:
    """A tool result."""
    return {"content": [{"type": "text", "text": value}]}


class Backend:
    """A server behind the relay; every conversation with it is a Peer of its own."""

    def __init__(self, name: str, revision: str, handler: Handler, **capabilities: Any) -> None:
        self.name, self.handler = name, handler
        declared = capabilities or SERVER_ALL
        self.config = Config(
            info=Implementation(name=name, version="1"),
            capabilities=msgspec.convert(declared, ServerCapabilities),
            revisions=rows(*revision.split()),
            extension_methods=ANY_EXTENSION,
            route_scoped_ids=False,
        )
        self.wires: list[tuple[UpstreamLink, Peer, Peer]] = []
        """Conversations: the link, the relay's end, the server's end."""
        self.events: list[Event] = []
        self.waiting: dict[Any, Any] = {}
        self.down = False
        self.personal = False
        self.desk: Any = None
        self.replicas: ReplicaSet | None = None

    def connect(self, scene: "Scene", link: UpstreamLink) -> Peer:
        base = Config(info=ME, capabilities=ClientCapabilities(), limits=scene.limits)
        client = Peer(Role.CLIENT, link.config(base))
        client.start(now=scene.now)
        self.wires.append((link, client, Peer(Role.SERVER, self.config)))
        return client

    def take(self, peer: Peer, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RequestReceived):
            self.handler(self, peer, event)
        elif isinstance(event, ResultReceived) and event.request in self.waiting:
            self.waiting.pop(event.request)(event.result)

    def requests(self, method: str | None = None) -> list[RequestReceived]:
        found = [event for event in self.events if isinstance(event, RequestReceived)]
        return [event for event in found if method in (None, event.method)]


def tools(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    """The tools of a server: they echo, ask, fail and wait."""
    params = msgspec.json.decode(event.params)
    if event.method == "tools/list":
        tool = {"name": "echo", "inputSchema": {"type": "object"}, "from": backend.name}
        peer.respond(event.key, {"tools": [tool]})
    elif event.method == "resources/list":
        peer.respond(event.key, {"resources": [{"name": "r", "uri": f"file:///{backend.name}"}]})
    elif event.method == "prompts/list":
        peer.respond(event.key, {"prompts": [{"name": "p"}]})
    elif event.method == "resources/read":
        peer.respond(event.key, {"contents": [{"uri": params["uri"], "text": backend.name}]})
    elif params.get("name") == "ask":
        ask(backend, peer, event)
    elif params.get("name") == "wait":
        keep(backend, peer, event)
    else:
        peer.respond(event.key, text(f"{backend.name}: {params.get('arguments')}"))


def ask(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    """A tool that asks for a name, as its era does."""

    def greet(answer: Any) -> None:
        peer.respond(event.key, text(f"Hello {msgspec.json.decode(answer)['content']['name']}"))

    if event.input_responses is not None:
        assert event.request_state == f"{backend.name} state"
        greet(event.input_responses["who"])
    elif event.revision.modern:
        question = {"method": "elicitation/create", "params": QUESTION}
        asked = Raw(msgspec.json.encode(question))
        peer.require_input(event.key, {"who": asked}, f"{backend.name} state")
    else:
        id = peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        backend.waiting[id] = greet


def asking(then: Handler) -> Handler:
    """A tool of a legacy server that asks for a name, and does the rest once that is answered."""

    def act(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method != "tools/call":
            tools(backend, peer, event)
            return
        id = peer.request("elicitation/create", QUESTION, now=0.0, parent=event.key)
        backend.waiting[id] = lambda _: then(backend, peer, event)

    return act


def keep(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    """Leave the end of a call to the test."""
    backend.waiting["call"] = peer, event.key


class Scene:
    """One client, the relay, its servers."""

    def __init__(
        self,
        revision: str,
        *backends: Backend,
        settings: RelaySettings | None = None,
        limits: Limits | None = None,
        principal: str | None = "ann",
        capabilities: dict[str, Any] | None = None,
        beside: "Scene | None" = None,
        declared: dict[str, Any] | None = None,
    ) -> None:
        """``beside``: scene with the relay and its servers; this one has another machine of it.

        ``declared``: what that machine declares besides the usual.
        """
        self.now, self.limits = 0.0, limits or Limits()
        self.backends = backends
        targets = [
            Target(
                each.name,
                self._connector(each),
                personal=each.personal,
                desk=each.desk,
                replicas=each.replicas,
            )
            for each in backends
        ]
        config = Config(
            info=ME,
            capabilities=msgspec.convert({**SERVER_ALL, **(declared or {})}, ServerCapabilities),
            asked_first=ASKABLE,
            extension_methods=ANY_EXTENSION,
        )
        self.front = Peer(Role.SERVER, config)
        self.front.principal = principal
        seal = make_seal(SealSettings(keys=(SealKey(b"k" * 32),)))
        self.relay: Relay = beside.relay if beside else Relay(targets, seal=seal, settings=settings)
        capabilities = CLIENT_ALL if capabilities is None else capabilities
        self.client = Peer(
            Role.CLIENT,
            Config(
                info=Implementation(name="client", version="1"),
                capabilities=msgspec.convert(capabilities, ClientCapabilities),
                revisions=rows(revision),
                extension_methods=ANY_EXTENSION,
                asked_first=CLIENT_ASKABLE,
            ),
        )
        self.events: list[Event] = []
        self.answers: dict[str, Any] | None = ANSWER
        if beside is None:
            self.relay.start(now=self.now)
        self.client.start(now=self.now)
        self.move()

    def _connector(self, backend: Backend) -> Callable[[UpstreamLink], Peer]:
        return lambda link: backend.connect(self, link)

    def move(self) -> None:
        """Let all say what they have to say, until they are quiet."""
        moving = True
        while moving:
            moving = self._cross(self.client, self.front) | self._turn_front()
            moving |= self._cross(self.front, self.client) | self._turn_client()
            for backend in self.backends:
                for link, near, far in list(backend.wires):
                    if not backend.down:
                        moving |= self._cross(near, far) | self._cross(far, near)
                    while (event := far.next_event()) is not None:
                        backend.take(far, event)
                        moving = True
                    while (event := near.next_event()) is not None:
                        self.relay.from_server(link, event, now=self.now, wall=WALL + self.now)
                        moving = True

    def _cross(self, one: Peer, other: Peer) -> bool:
        data = one.lines_to_send()
        if data:
            other.receive_data(data, now=self.now)
        return bool(data)

    def _turn_front(self) -> bool:
        moved = False
        while (event := self.front.next_event()) is not None:
            self.relay.from_client(self.front, event, now=self.now, wall=WALL + self.now)
            moved = True
        return moved

    def _turn_client(self) -> bool:
        moved = False
        while (event := self.client.next_event()) is not None:
            self.events.append(event)
            moved = True
            if self.answers is None:
                continue
            if isinstance(event, RequestReceived) and event.method == "ping":
                self.client.admit(event.key)
            elif isinstance(event, RequestReceived):
                self.client.respond(event.key, self.answers)
            elif isinstance(event, InputRequired):
                answers = dict.fromkeys(event.requests, self.answers)
                self.client.retry(event.request, answers, now=self.now)
        return moved

    def lose(self, backend: Backend, reason: str = "closed") -> None:
        """End every conversation with a server."""
        for _, near, _ in list(backend.wires):
            near.receive_eof(now=self.now, reason=reason)
        self.move()

    def leave(self) -> None:
        """End the connection of the client."""
        self.front.receive_eof(now=self.now)
        self.move()

    def cancel(self, id: Any, reason: str | None = None) -> None:
        """Let the client take a request back."""
        self.client.cancel(id, now=self.now, reason=reason)
        self.move()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for peer in (self.client, self.front):
            peer.handle_timeout(self.now)
        self.relay.handle_timeout(self.now)
        for backend in self.backends:
            for _, near, far in backend.wires:
                near.handle_timeout(self.now)
                far.handle_timeout(self.now)
        self.move()

    def ask(self, method: str, params: Any = None, **more: Any) -> Any:
        """Make a request and return the event that ends it, if any does."""
        id = self.client.request(method, params, now=self.now, force=True, **more)
        before = len(self.events)
        self.move()
        ends = (ResultReceived, ErrorReceived, RequestEnded)
        for event in self.events[before:]:
            if isinstance(event, ends) and event.method == method:
                return event
        return id

    def result(self, method: str, params: Any = None, **more: Any) -> Any:
        """Make a request and return its result, decoded."""
        event = self.ask(method, params, **more)
        assert isinstance(event, ResultReceived), event
        return msgspec.json.decode(event.result)

    def call(self, name: str, **arguments: Any) -> str:
        """Call a tool and return its text."""
        result = self.result("tools/call", {"name": name, "arguments": arguments})
        return str(result["content"][0]["text"])

    def error(self, method: str, params: Any = None, **more: Any) -> Any:
        """Make a request and return its error."""
        event = self.ask(method, params, **more)
        assert isinstance(event, ErrorReceived), event
        return event.error

    def told(self, kind: type[Event]) -> list[Any]:
        """Events of the client of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def relayed(
    client: str, server: str, handler: Handler = tools, **more: Any
) -> tuple[Scene, Backend]:
    """A client before a relay, and the only server behind that."""
    backend = Backend("a", server, handler)
    return Scene(client, backend, **more), backend
