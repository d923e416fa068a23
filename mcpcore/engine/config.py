"""Settings of one conversation: identity, capabilities, revisions and limits."""

import math
from collections.abc import Callable, Collection, Container, Mapping
from enum import Enum
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from mcpcore.engine.subscriptions import TOPICS
from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.spec.capabilities import Capabilities, declares, in_revision
from mcpcore.spec.methods import KNOWN_METHODS, METHODS, Method, lookup
from mcpcore.spec.revisions import REVISIONS, Revision, legacy_of, modern_of
from mcpcore.spec.types import base
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

DEFAULT_TIMEOUT = math.nan
"""Stands for the configured timeout, as None means to wait for ever."""

C = TypeVar("C", ClientCapabilities, ServerCapabilities)

ASKABLE = frozenset({"resources/subscribe", "resources/unsubscribe", "subscriptions/listen"})
"""Methods that a server's engine answers itself, optionally after asking the application."""
CLIENT_ASKABLE = frozenset({"ping"})
"""Methods that a client's engine answers so."""

HeaderParams = Mapping[str, tuple[str, ...]]
"""Header name (the part after ``Mcp-Param-``) to the property path of the argument."""


class _AnyExtension:
    """Set of all methods that no revision has."""

    def __contains__(self, method: object) -> bool:
        return method not in KNOWN_METHODS


ANY_EXTENSION: Container[str] = _AnyExtension()
"""Value of :attr:`Config.extension_methods` for a relay, which passes on what it does not know."""


class Role(Enum):
    """Role of this side in the conversation."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> "Role":
        """The role of the other side."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Negotiation(Enum):
    """Ways for a client to find the era of a server (versioning page, "Backward Compatibility")."""

    AUTO = "auto"
    """Probe with ``server/discover``, fall back to ``initialize``."""
    MODERN = "modern"
    LEGACY = "legacy"


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one conversation. Sizes in bytes, times in seconds.

    Here and in all other settings 0 is taken only where it has a meaning.  Raises ValueError.
    """

    message_size: int = 4 * 1024 * 1024
    """Maximum bytes of one message, or of one batch."""
    introduction: int = 64 * 1024
    """Maximum bytes of the params of ``initialize`` (identity and capabilities of the client).
    They are kept as long as the conversation lasts."""
    depth: int = 128
    """Maximum nesting of JSON: brackets open at once in one message, its own included."""
    in_flight: int = 1024
    """Maximum inbound requests in progress per conversation; listen streams are counted apart."""
    pending: int = 1024 * 16
    """Maximum outbound requests that wait for an answer, or for input that the server wants."""
    batch: int = 100
    """Maximum messages in one batch."""
    id: int = 4096
    """Maximum characters of the id, and of the progress token, of an inbound request."""
    subscriptions: int = 1024
    """Maximum resource URIs per conversation (legacy), or subjects per listen stream (modern)."""
    subscribed: int = 256 * 1024
    """Maximum characters of these URIs or subjects together."""
    listen_streams: int = 1024
    """Maximum listen streams per conversation (modern)."""
    queued: int = 1024 * 1024
    """Maximum bytes waiting to be sent.  Beyond it log messages are dropped (and counted), and
    progress and changes replace what they make obsolete."""
    input_rounds: int = 10
    """Maximum input rounds that a client goes through before a server has answered one request."""
    input_requests: int = 100
    """Maximum questions of a server, and answers of a client, in one input round."""
    request_timeout: float | None = 60.0
    """Default seconds to wait for an answer; None waits for ever."""
    max_timeout: float | None = 300.0
    """Maximum seconds to wait for an answer, whatever progress resets ``request_timeout``."""
    probe_timeout: float = 5.0
    """Seconds that the era probe may stay unanswered before ``initialize`` is tried."""
    farewell: float = 5.0
    """Seconds to wait for the result of a subscription that the server has cancelled."""

    def __post_init__(self) -> None:
        may_be_zero = ("queued", "input_rounds", "input_requests", "farewell")
        check_numbers(self, "batch", "subscriptions", "listen_streams", *may_be_zero)


class Config(Struct, frozen=True, kw_only=True):
    """Settings of one side. ``capabilities`` must be of the type of its role."""

    info: base.Implementation
    """Name and version of this side, as the other side is told."""
    capabilities: ServerCapabilities | ClientCapabilities
    """Capabilities to declare."""
    instructions: str | None = None
    """Server: text for models on how to use it."""
    revisions: tuple[Revision, ...] = REVISIONS
    """Revisions to speak; both eras may be restricted to any subset."""
    negotiation: Negotiation = Negotiation.AUTO
    """Client: way to find the era of its server."""
    assumed: Negotiation = Negotiation.AUTO
    """Client: remembered era of the server (AUTO: none), where ``negotiation`` leaves it open.

    LEGACY: no probe, unless the handshake is refused.  MODERN: a probe with the full timeout."""
    limits: Limits = field(default_factory=Limits)
    """Limits of the conversation."""
    discover_ttl_ms: int = 3_600_000
    """Server: milliseconds for which clients may keep the result of ``server/discover``."""
    discover_cache_scope: Literal["public", "private"] = "public"
    """Server: caches that may keep it: ``public`` for shared ones, too."""
    header_params: Mapping[str, HeaderParams] = field(default_factory=dict)
    """Tool name to its mirrored arguments; may be a live mapping that the application changes."""
    has_tool: Callable[[str, str | None], bool] | None = None
    """Server: function that returns True if a tool with mirrored arguments exists for a principal;
    to others nothing is said of them.  It raises nothing.  None: it does for all."""
    repeatable_tools: Collection[str] = frozenset()
    """Client: tools whose calls may be repeated; may be a live collection as well."""
    extension_methods: Container[str] = frozenset()
    """Requests beyond the specification's that the application answers."""
    asked_first: frozenset[str] = frozenset()
    """Requests that the engine answers itself, but only after the application has admitted them.

    A subset of :data:`ASKABLE`, or in a client of :data:`CLIENT_ASKABLE`.  Each is emitted as
    RequestReceived, unless it exceeds a limit, and waits for ``admit`` or ``fail``."""
    max_uri: int = 8192
    """Maximum characters of a URI that a client may subscribe to."""
    may_read: Callable[[str, str | None], bool] | None = None
    """Server: function that returns True if a principal may read a URI; others are not told of its
    changes.  It raises nothing.  None: all may."""
    route_scoped_ids: bool = False
    """True if inbound ids are unique per route only; a route's end cancels its requests."""
    id_prefix: str | None = None
    """Prefix that turns outbound request ids into strings (several workers, one session)."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range or no member, TypeError for another type.

        A string has its parts as members, so that it would count as several names.
        """
        if not isinstance(self.info, base.Implementation):
            raise TypeError(f"info must be an Implementation, not a {type(self.info).__name__}")
        if not isinstance(self.limits, Limits):
            raise TypeError(f"limits must be Limits, not a {type(self.limits).__name__}")
        if not all(isinstance(each, Revision) for each in self.revisions):
            raise TypeError(f"revisions are those of parse_revisions, not {self.revisions!r}")
        check_kinds(self)
        check_numbers(self, "discover_ttl_ms")
        for name in ("extension_methods", "repeatable_tools"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a collection of names, not a string")
        if not isinstance(self.discover_ttl_ms, int):
            raise TypeError(f"discover_ttl_ms must be a whole number, not {self.discover_ttl_ms}")

    def declaring(self, other: "Config") -> "Config":
        """Return these settings with what ``other`` tells clients: names, capabilities, texts."""
        return msgspec.structs.replace(
            self,
            info=other.info,
            capabilities=other.capabilities,
            instructions=other.instructions,
            discover_ttl_ms=other.discover_ttl_ms,
        )

    def declared(self, kind: type[C]) -> C:
        """Return the capabilities as those of one role.

        Raises TypeError if they are of the other role.
        """
        if not isinstance(self.capabilities, kind):
            raise TypeError(f"the capabilities must be {kind.__name__} in this role")
        return self.capabilities


# Facts that follow from the settings

Rows = tuple[dict[str, Method], ...]
"""Methods that one side may send, by the position of the revision, then by method."""

_SHORT, _KEPT = 1024, 32
"""Maximum bytes of encoded capabilities whose ``_meta`` is kept, and number of these."""
_PATHS = frozenset(method.capability for method in METHODS if method.capability is not None)
ROWS: dict[Role, Rows] = {
    role: tuple(
        {name: row for name in KNOWN_METHODS if (row := lookup(name, role.value, revision))}
        for revision in REVISIONS
    )
    for role in Role
}


class Profile:
    """Facts derived from one Config in one role, shared by all Peers of an endpoint that have them.

    Raises TypeError or ValueError for a Config that makes no sense in this role.
    """

    def __init__(self, role: Role, config: Config) -> None:
        capabilities: Capabilities
        if not isinstance(role, Role):
            raise TypeError(f"the role must be a Role, not {role!r}")
        if role is Role.CLIENT:
            capabilities = config.declared(ClientCapabilities)
        else:
            capabilities = config.declared(ServerCapabilities)
        if not config.revisions:
            raise ValueError("no revision is left to speak")
        if strange := config.asked_first - (ASKABLE if role is Role.SERVER else CLIENT_ASKABLE):
            raise ValueError(f"the engine does not ask its application about {min(strange)}")
        for icon in config.info.icons or ():
            if not icon.is_safe:
                raise ValueError(f"icon {icon.src[:80]!r}: expected an https: or data:image/ URI")
        self.role = role
        self.config = config
        self.modern = modern_of(config.revisions)
        self.legacy = legacy_of(config.revisions)
        self.by_name = {revision.name: revision for revision in self.modern}
        """Revisions that are served statelessly, by name."""
        self.ours = ROWS[role]
        self.theirs = ROWS[role.other]
        self.server_meta: dict[str, Any] = {base.META_SERVER_INFO: config.info}
        ours = b'"resultType":"complete","_meta":' + msgspec.json.encode(self.server_meta)
        self.complete = {row: ours if row.result_type else b"" for row in REVISIONS}
        """Encoded members of every complete result of this side, by revision."""
        self.offered = frozenset({None, *(p for p in _PATHS if declares(capabilities, p))})
        """Declared capabilities that methods need, as dotted paths; None, as some need none."""
        self.announced = {
            name: topic.row.capability in self.offered for name, topic in TOPICS.items()
        }
        """True if this side declared that it announces such changes, by notification method."""
        self._client_meta: dict[tuple[str, bytes], bytes] = {}
        """Members by revision and encoded capabilities, which are empty for those of the config."""

    def client_meta(
        self, revision: Revision, capabilities: ClientCapabilities | None = None
    ) -> bytes:
        """Return the ``_meta`` member of an outbound request in a modern ``revision``.

        It declares the client's ``capabilities``, or those of the config.
        """
        key = revision.name, b"" if capabilities is None else msgspec.json.encode(capabilities)
        meta = self._client_meta.get(key)
        if meta is None:
            declared = self.config.capabilities if capabilities is None else capabilities
            members: dict[str, Any] = {
                base.META_PROTOCOL_VERSION: revision.name,
                base.META_CLIENT_INFO: self.config.info,
                base.META_CLIENT_CAPABILITIES: in_revision(declared, revision),
            }
            meta = b'"_meta":' + msgspec.json.encode(members)
            if len(key[1]) <= _SHORT:
                if len(self._client_meta) >= _KEPT:
                    self._client_meta.clear()
                self._client_meta[key] = meta
        return meta
