"""The settings of one conversation: identity, capabilities, revisions and limits."""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Literal, TypeVar

from msgspec import Struct, field

from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.lifecycle import ClientCapabilities, ServerCapabilities

C = TypeVar("C", ClientCapabilities, ServerCapabilities)

ASKABLE = frozenset({"resources/subscribe", "resources/unsubscribe", "subscriptions/listen"})
"""What a server's engine answers itself and may have to ask its owner about."""

HeaderParams = Mapping[str, tuple[str, ...]]
"""Header name (the part after ``Mcp-Param-``) to the property path of the argument."""


class Role(Enum):
    """Which end of the conversation we are."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> "Role":
        """The other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Negotiation(Enum):
    """How a client finds out the era of the server (versioning page, "Backward Compatibility")."""

    AUTO = "auto"
    """Probe with ``server/discover``, fall back to ``initialize``."""
    MODERN = "modern"
    LEGACY = "legacy"


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one conversation. Sizes in bytes, times in seconds.

    Here and in all other settings 0 is taken only where it has a meaning.  Raises ValueError.
    """

    message_size: int = 4 * 1024 * 1024
    introduction: int = 64 * 1024
    """Bytes of the params of ``initialize``: who the client is and what it can do, which is kept
    for as long as the conversation lasts."""
    depth: int = 128
    in_flight: int = 1024
    """Requests of the other side that are being worked on, per conversation; listen streams are
    counted apart."""
    pending: int = 1024 * 16
    """Requests of ours that wait for an answer, or for the input that their server asked for."""
    batch: int = 100
    """Messages in one batch."""
    id: int = 4096
    """Characters of the id, and of the progress token, of a request of the other side."""
    subscriptions: int = 1024
    """Resource URIs per conversation (legacy), and what one listen stream may list (modern)."""
    subscribed: int = 256 * 1024
    """Characters of these together."""
    listen_streams: int = 1024
    """Listen streams per conversation (modern)."""
    queued: int = 1024 * 1024
    """Bytes waiting to be sent beyond which log messages are dropped (and counted), and progress
    and changes take the place of what they make obsolete."""
    input_rounds: int = 10
    """How often a server may ask for input before it has answered one request."""
    input_requests: int = 100
    """Questions that a server may ask, and a client may answer, in one round of input."""
    request_timeout: float | None = 60.0
    """Default time for an answer; None waits for ever."""
    max_timeout: float | None = 300.0
    """Upper bound whatever progress arrives (progress resets ``request_timeout``)."""
    probe_timeout: float = 5.0
    """How long the era probe may stay unanswered before we open as with a legacy server."""
    farewell: float = 5.0
    """How long the result of a subscription that the server has cancelled may take."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            "batch",
            "subscriptions",
            "listen_streams",
            "queued",
            "input_rounds",
            "input_requests",
            "farewell",
        )


class Config(Struct, frozen=True, kw_only=True):
    """Who we are and what we allow. ``capabilities`` must be of the type of our role."""

    info: Implementation
    capabilities: ServerCapabilities | ClientCapabilities
    instructions: str | None = None
    revisions: tuple[Revision, ...] = REVISIONS
    """What we speak; both eras may be restricted to any subset."""
    negotiation: Negotiation = Negotiation.AUTO
    assumed: Negotiation = Negotiation.AUTO
    """A client's memory of the server's era (AUTO: none), where ``negotiation`` leaves it open.

    LEGACY: no probe, unless the handshake is refused.  MODERN: a probe that may take its time.
    """
    limits: Limits = field(default_factory=Limits)
    discover_ttl_ms: int = 3_600_000
    discover_cache_scope: Literal["public", "private"] = "public"
    header_params: Mapping[str, HeaderParams] = field(default_factory=dict)
    """Tool name to its mirrored arguments; may be a live mapping that its owner keeps changing."""
    repeatable_tools: Collection[str] = frozenset()
    """Tools of which a client knows that a call may be repeated; may be live as well."""
    extension_methods: frozenset[str] = frozenset()
    """Requests beyond the specification's that our owner answers."""
    asked_first: frozenset[str] = frozenset()
    """Requests that the engine answers itself, but only after our owner has let them through.

    Out of :data:`ASKABLE`.  Each is told as RequestReceived and waits for ``admit`` or ``fail``.
    """
    max_uri: int = 8192
    """Longest URI, in characters, that a client may subscribe to."""
    route_scoped_ids: bool = False
    """Inbound ids are unique per route only, and the end of a route cancels what it asked for."""
    id_prefix: str | None = None
    """Ids of our requests become strings with this prefix (several workers, one session)."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be, TypeError for parts of a millisecond."""
        check_numbers(self, "discover_ttl_ms")
        if not isinstance(self.discover_ttl_ms, int):
            raise TypeError(f"discover_ttl_ms must be a whole number, not {self.discover_ttl_ms}")
        if self.discover_cache_scope not in ("public", "private"):
            scope = self.discover_cache_scope
            raise ValueError(f"discover_cache_scope must be 'public' or 'private', not {scope!r}")

    def declared(self, kind: type[C]) -> C:
        """The capabilities as those of one role. Raises TypeError if they are of the other."""
        if not isinstance(self.capabilities, kind):
            raise TypeError(f"the capabilities must be {kind.__name__} in this role")
        return self.capabilities
