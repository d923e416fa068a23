"""Messages of a client on one connection, and look-ups in them."""

from typing import Any

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES
from mcpcore_conformance.kit.client_eras import is_modern, of_session
from mcpcore_conformance.kit.client_wire import Asked, Signal
from mcpcore_conformance.kit.heard import Done, Gone, Headers, Noise, header
from mcpcore_conformance.kit.messages import Kind, Message


class ClientRecord:
    """Everything that was heard on a connection, oldest first."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.seen: list[Message] = []
        self.asked: list[Asked] = []
        """HTTP requests, also those that bring no message; for WebSockets the upgrade."""
        self.strays: list[Asked] = []
        """HTTP requests without a message for another path than the endpoint's."""
        self.heads: dict[int, Asked] = {}
        self.dropped: dict[int, Done] = {}
        """Exchanges that the client gave up."""
        self.signals: list[Signal] = []
        self.noise: list[Noise] = []
        self.invalid: list[Message] = []
        """Data that should have been messages."""
        self.gone: Gone | None = None

    @property
    def beginning(self) -> Message | None:
        """First message of the conversation, by which the client has begun.

        The first request of the modern era, after initialize, has to show that it is one.
        """
        if self.revision.handshake:
            return next(reversed(self.requests("initialize")), None)
        found = self.requests()
        legacy = any(each.method == "initialize" for each in found)
        for each in found:
            if each.method != "initialize" and (is_modern(each) or not legacy):
                return each
        return None

    @property
    def session(self) -> list[Message]:
        """Messages that were heard, in the older era without those by which the client found it."""
        return of_session(self.seen) if self.revision.handshake else self.seen

    @property
    def elsewhere(self) -> bool:
        """True if the client has tried the other era alone: it may begin on another connection."""
        return self.beginning is None and bool(self.requests())

    def requests(self, method: str = "") -> list[Message]:
        """Requests so far, of a method or of all."""
        return [
            each for each in self.seen if each.kind is Kind.REQUEST and method in ("", each.method)
        ]

    def notifications(self, method: str = "") -> list[Message]:
        """Notifications so far, of a method or of all."""
        return [
            each
            for each in self.seen
            if each.kind is Kind.NOTIFICATION and method in ("", each.method)
        ]

    def posts(self, method: str = "") -> list[Asked]:
        """HTTP requests so far by their HTTP method."""
        return [each for each in self.asked if method in ("", each.method)]

    def headers(self, message: Message) -> Headers:
        """The headers of the HTTP request that brought a message."""
        found = self.heads.get(message.source.exchange)
        return found.headers if found is not None else []

    def header(self, message: Message, name: str) -> str | None:
        """Return the value of a header of that request, by its name in lower case."""
        return header(self.headers(message), name)

    @property
    def client_capabilities(self) -> dict[str, Any]:
        """Capabilities that the client has declared, in initialize or in its newest request."""
        for message in reversed(self.requests()):
            if message.method == "initialize":
                found = message.params.get("capabilities")
                return found if isinstance(found, dict) else {}
            meta = message.params.get("_meta")
            if isinstance(meta, dict) and isinstance(meta.get(META_CLIENT_CAPABILITIES), dict):
                return dict(meta[META_CLIENT_CAPABILITIES])
        return {}
