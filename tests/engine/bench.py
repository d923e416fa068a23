"""A pair of Peers joined by nothing but bytes, with a clock that only tests move."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from mcpcore.engine import Config, Limits, Negotiation, Peer, Role
from mcpcore.engine.events import Event, RequestReceived
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

SERVER_ALL: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
CLIENT_ALL: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
}
LEGACY_NAMES = [revision.name for revision in REVISIONS if revision.handshake]
MODERN_NAMES = [revision.name for revision in REVISIONS if revision.modern]
ALL_NAMES = [revision.name for revision in REVISIONS]

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN_NAMES[-1],
    "io.modelcontextprotocol/clientCapabilities": {},
}


def rows(*names: str) -> tuple[Revision, ...]:
    """Revision rows by name."""
    return tuple(BY_NAME[name] for name in names)


def server_config(capabilities: dict[str, Any] | None = None, **settings: Any) -> Config:
    """A server's configuration that declares everything unless told otherwise."""
    declared = SERVER_ALL if capabilities is None else capabilities
    return Config(
        info=Implementation(name="server", version="1"),
        capabilities=msgspec.convert(declared, ServerCapabilities),
        **settings,
    )


def client_config(capabilities: dict[str, Any] | None = None, **settings: Any) -> Config:
    """A client's configuration that declares everything unless told otherwise."""
    declared = CLIENT_ALL if capabilities is None else capabilities
    return Config(
        info=Implementation(name="client", version="1"),
        capabilities=msgspec.convert(declared, ClientCapabilities),
        **settings,
    )


def drain(peer: Peer) -> list[Event]:
    """All events that a Peer has to tell."""
    events = []
    while (event := peer.next_event()) is not None:
        events.append(event)
    return events


T = TypeVar("T")


def expect(kind: type[T], events: list[Event]) -> T:
    """Check that there is one event, of this kind; return it."""
    [event] = events
    assert isinstance(event, kind)
    return event


def sent(peer: Peer) -> list[Any]:
    """All frames that a Peer wants sent, decoded."""
    return [json.loads(b"".join(frame.data)) for frame in peer.data_to_send() if frame.data]


def feed(peer: Peer, *messages: Any, now: float = 0.0) -> list[Event]:
    """Give a Peer messages (anything JSON, or bytes as they are) and return its events."""
    for message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        peer.receive_data(data + b"\n", now=now)
    return drain(peer)


def call(id: Any, method: str, params: Any = None, *, modern: bool = False) -> dict[str, Any]:
    """A request as JSON; ``modern`` adds the metadata that 2026-07-28 requires."""
    params = dict(params or {})
    if modern:
        params["_meta"] = {**META, **params.get("_meta", {})}
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def tell(method: str, params: Any = None) -> dict[str, Any]:
    """A notification as JSON."""
    return {"jsonrpc": "2.0", "method": method, "params": params or {}}


def initialize(id: Any = 0, revision: str = LEGACY_NAMES[-1], **capabilities: Any) -> Any:
    """An initialize request."""
    return call(
        id,
        "initialize",
        {
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "client", "version": "1"},
        },
    )


def legacy_server(revision: str = LEGACY_NAMES[-1], *, config: Config | None = None) -> Peer:
    """A server that has finished its handshake with a client that declared everything."""
    peer = Peer(Role.SERVER, config or server_config())
    feed(peer, initialize(revision=revision, **CLIENT_ALL), tell("notifications/initialized"))
    peer.data_to_send()
    return peer


def modern_server(config: Config | None = None) -> Peer:
    """A server, which needs nothing to serve modern requests."""
    return Peer(Role.SERVER, config or server_config())


def legacy_client(revision: str = LEGACY_NAMES[-1], *, config: Config | None = None) -> Peer:
    """A client that has finished its handshake with a server that declared everything."""
    peer = Peer(Role.CLIENT, config or client_config(negotiation=Negotiation.LEGACY))
    peer.start(now=0.0)
    [request] = sent(peer)
    feed(
        peer,
        {
            "jsonrpc": "2.0",
            "id": request["id"],
            "result": {
                "protocolVersion": revision,
                "capabilities": SERVER_ALL,
                "serverInfo": {"name": "server", "version": "1"},
            },
        },
    )
    peer.data_to_send()
    return peer


def modern_client(config: Config | None = None) -> Peer:
    """A client that has discovered a modern server that declared everything."""
    peer = Peer(Role.CLIENT, config or client_config())
    peer.start(now=0.0)
    [request] = sent(peer)
    feed(
        peer,
        {
            "jsonrpc": "2.0",
            "id": request["id"],
            "result": {
                "resultType": "complete",
                "supportedVersions": MODERN_NAMES,
                "capabilities": SERVER_ALL,
                "ttlMs": 0,
                "cacheScope": "public",
            },
        },
    )
    peer.data_to_send()
    return peer


def answer(id: Any, result: Any = None) -> dict[str, Any]:
    """A successful response as JSON."""
    return {"jsonrpc": "2.0", "id": id, "result": result if result is not None else {}}


def error(id: Any, code: int, message: str = "no", data: Any = None) -> dict[str, Any]:
    """An error response as JSON."""
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": id, "error": body}


Handler = Callable[[Peer, RequestReceived], None]


class Pair:
    """A client and a server; ``settle`` moves bytes until both are silent."""

    def __init__(
        self,
        *,
        client: Config | None = None,
        server: Config | None = None,
        handler: Handler | None = None,
    ) -> None:
        self.client = Peer(Role.CLIENT, client or client_config())
        self.server = Peer(Role.SERVER, server or server_config())
        self.handler = handler
        self.now = 0.0
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.to_server: list[Any] = []
        self.to_client: list[Any] = []

    def start(self) -> None:
        """Negotiate."""
        self.client.start(now=self.now)
        self.settle()

    def settle(self) -> None:
        """Move bytes until nothing moves."""
        moved = True
        while moved:
            moved = False
            for frame in self.client.lines_to_send().splitlines(keepends=True):
                moved = True
                self.to_server.append(json.loads(frame))
                self.server.receive_data(frame, now=self.now)
            for event in drain(self.server):
                self.server_events.append(event)
                if isinstance(event, RequestReceived) and self.handler is not None:
                    self.handler(self.server, event)
            for frame in self.server.lines_to_send().splitlines(keepends=True):
                moved = True
                self.to_client.append(json.loads(frame))
                self.client.receive_data(frame, now=self.now)
            self.client_events += drain(self.client)

    def tick(self, seconds: float) -> None:
        """Let time pass on both sides."""
        self.now += seconds
        self.client.handle_timeout(self.now)
        self.server.handle_timeout(self.now)
        self.settle()


def limits(**values: Any) -> Limits:
    """Limits with some changed."""
    return Limits(**values)
