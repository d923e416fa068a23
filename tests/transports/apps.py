"""Small applications for the tests of the drivers: real Peers, and Apps that keep what they saw."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import msgspec

from mcpcore.engine.config import Config, Limits, Negotiation, Role
from mcpcore.engine.events import (
    ConnectionEnded,
    ErrorReceived,
    Event,
    Key,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    RootsCapability,
    ServerCapabilities,
    ToolsCapability,
)
from mcpcore.wire.message import RequestId
from mcpcore_transports.link import Link, clock
from tests.clock import patience


def make_server(**limits: Any) -> Peer:
    """A server Peer with tools."""
    config = Config(
        info=Implementation(name="server", version="1"),
        capabilities=ServerCapabilities(tools=ToolsCapability()),
        limits=Limits(**limits),
    )
    return Peer(Role.SERVER, config)


def make_client(negotiation: Negotiation = Negotiation.MODERN, **limits: Any) -> Peer:
    """A client Peer with roots."""
    config = Config(
        info=Implementation(name="client", version="1"),
        capabilities=ClientCapabilities(roots=RootsCapability()),
        negotiation=negotiation,
        limits=Limits(**limits),
    )
    return Peer(Role.CLIENT, config)


class Recorder:
    """An App that keeps all events and lets a test wait for them."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.events: list[Event] = []
        self.link: Link | None = None
        self._news = anyio.Event()

    def handle(self, event: Event) -> None:
        """Keep the event and wake who waits."""
        self.events.append(event)
        self.react(event)
        self._news.set()
        self._news = anyio.Event()

    def react(self, event: Event) -> None:
        """Do what this application does with an event."""

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until a condition over the events holds."""
        with patience():
            while not done():
                await self._news.wait()

    def of(self, *kinds: type[Event]) -> list[Any]:
        """The events of these types."""
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def ended(self) -> bool:
        """Whether the last event of all was ConnectionEnded, and only the last."""
        return [type(event) is ConnectionEnded for event in self.events].index(True) == (
            len(self.events) - 1
        )


class ToolServer(Recorder):
    """Answers ``tools/call``: ``echo`` at once, ``hold`` when told to; others raise exceptions.

    ``echo`` gives its arguments back as a text; ``size`` among them asks for that many bytes.
    """

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.held: list[Key] = []

    def react(self, event: Event) -> None:
        if isinstance(event, RequestCancelled):
            self.held = [key for key in self.held if key != event.key]
            self.peer.release(event.key)
        if not isinstance(event, RequestReceived):
            return
        params = msgspec.json.decode(event.params)
        name, arguments = params.get("name"), params.get("arguments", {})
        if name == "fail":
            raise ZeroDivisionError("the application failed")
        if name == "break":
            raise ConnectionResetError("not the connection of the link") from KeyError("its cause")
        if name == "hold":
            self.held.append(event.key)
            return
        text = "x" * arguments["size"] if "size" in arguments else json.dumps(arguments)
        self.answer(event.key, text)

    def answer(self, key: Key, text: str) -> None:
        """Answer one call with a text."""
        self.peer.respond(key, {"content": [{"type": "text", "text": text}]})

    def release(self, text: str) -> None:
        """Answer all held calls, as a handler in a task of its own would."""
        for key in self.held:
            self.answer(key, text)
        self.held.clear()
        assert self.link is not None
        self.link.flush_soon()


class Caller(Recorder):
    """A client that calls tools."""

    def begin(self) -> None:
        """Start to negotiate."""
        self.peer.start(now=clock())
        self.flush()

    def flush(self) -> None:
        """Have what the Peer wants to say written."""
        assert self.link is not None
        self.link.flush_soon()

    def call(self, name: str, arguments: Any = None, **options: Any) -> RequestId:
        """Send a call; the outcome is an event."""
        body = {"name": name, "arguments": arguments or {}}
        request = self.peer.request("tools/call", body, now=clock(), **options)
        self.flush()
        return request

    async def outcome(self, request: RequestId) -> Any:
        """Wait for the terminal event of a request."""
        found: list[Any] = []

        def done() -> bool:
            found[:] = [
                event
                for event in self.events
                if getattr(event, "request", None) == request and type(event) in _TERMINAL
            ]
            return bool(found)

        await self.until(done)
        assert len(found) == 1
        return found[0]

    async def echo(self, **arguments: Any) -> Any:
        """Call ``echo`` and return what came back."""
        event = await self.outcome(self.call("echo", arguments))
        assert isinstance(event, ResultReceived), event
        return json.loads(msgspec.json.decode(event.result)["content"][0]["text"])

    async def ready(self) -> None:
        """Wait for the end of negotiation."""
        await self.until(lambda: bool(self.of(Ready)))


_TERMINAL = (ResultReceived, ErrorReceived, RequestEnded)
