"""What every message shares: ``_meta``, identity, icons, annotations, common params and results.

Every type of the protocol is one Struct, the superset of all revisions: a member that some
revision lacks, or does not require, is optional and absent as ``UNSET``.  Unknown members are
ignored.  Source: the base protocol page and ``schema.ts`` of each revision.
"""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec.json import Decoder

from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.model import Model

META_PREFIX = "io.modelcontextprotocol/"
"""The prefix of the ``_meta`` keys that the specification itself defines."""
META_PROTOCOL_VERSION = META_PREFIX + "protocolVersion"
META_CLIENT_INFO = META_PREFIX + "clientInfo"
META_CLIENT_CAPABILITIES = META_PREFIX + "clientCapabilities"
META_LOG_LEVEL = META_PREFIX + "logLevel"
META_SUBSCRIPTION_ID = META_PREFIX + "subscriptionId"
META_SERVER_INFO = META_PREFIX + "serverInfo"
META_RELATED_TASK = META_PREFIX + "related-task"
META_PROGRESS_TOKEN = "progressToken"  # noqa: S105 - the name of a member, not a secret

TRACE_KEYS = ("traceparent", "tracestate", "baggage")
"""The ``_meta`` keys of W3C Trace Context and Baggage (2026-07-28, basic protocol page)."""

RequestId = str | int
"""A JSON-RPC id; the same type as in :mod:`mcpcore.wire.message`."""
ProgressToken = str | int
Cursor = str
Meta = dict[str, Any]
"""A ``_meta`` object kept whole, unknown keys included."""
Role = Literal["user", "assistant"]
LoggingLevel = Literal[
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
]


class Icon(Model, kw_only=True):
    """An image that stands for something; ``src`` is an https or data URI."""

    src: str
    mime_type: str | UnsetType = UNSET
    sizes: list[str] | UnsetType = UNSET
    theme: Literal["light", "dark"] | UnsetType = UNSET


class Annotations(Model, kw_only=True):
    """Hints on whom something is for and how much it matters (``priority`` from 0 to 1)."""

    audience: list[Role] | UnsetType = UNSET
    priority: float | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET


class Implementation(Model, kw_only=True):
    """The self-reported identity of a client or a server; it decides nothing."""

    name: str
    version: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    website_url: str | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET


class RequestMeta(Model, kw_only=True):
    """The keys of a request's ``_meta`` that the protocol defines; :func:`full_meta` has the rest.

    Those of :data:`TRACE_KEYS` are passed on as they are; one that is no string counts as absent.
    """

    progress_token: ProgressToken | UnsetType = UNSET
    protocol_version: str | UnsetType = field(default=UNSET, name=META_PROTOCOL_VERSION)
    client_info: Implementation | UnsetType = field(default=UNSET, name=META_CLIENT_INFO)
    client_capabilities: ClientCapabilities | UnsetType = field(
        default=UNSET, name=META_CLIENT_CAPABILITIES
    )
    log_level: LoggingLevel | UnsetType = field(default=UNSET, name=META_LOG_LEVEL)
    subscription_id: RequestId | UnsetType = field(default=UNSET, name=META_SUBSCRIPTION_ID)
    traceparent: str | UnsetType = UNSET
    tracestate: str | UnsetType = UNSET
    baggage: str | UnsetType = UNSET

    @property
    def trace(self) -> dict[str, str]:
        """The trace context that came with the request, as members for another ``_meta``."""
        found = {key: getattr(self, key) for key in TRACE_KEYS}
        return {key: value for key, value in found.items() if value is not UNSET}


class NotificationMeta(Model, kw_only=True):
    """The keys of a notification's ``_meta`` that the protocol defines."""

    subscription_id: RequestId | UnsetType = field(default=UNSET, name=META_SUBSCRIPTION_ID)


class ResultMeta(Model, kw_only=True):
    """The keys of a result's ``_meta`` that the protocol defines."""

    server_info: Implementation | UnsetType = field(default=UNSET, name=META_SERVER_INFO)
    subscription_id: RequestId | UnsetType = field(default=UNSET, name=META_SUBSCRIPTION_ID)


class Skim(Model, kw_only=True):
    """The engine's second look at a request: what routing and gating need, nothing else.

    Only ``_meta`` is typed.  The rest stays ``Raw``, as another method may use the same names for
    something else; whoever needs one decodes it once the method is known.
    """

    meta: RequestMeta | UnsetType = field(default=UNSET, name="_meta")
    name: Raw | UnsetType = UNSET
    arguments: Raw | UnsetType = UNSET
    uri: Raw | UnsetType = UNSET
    task_id: Raw | UnsetType = UNSET
    input_responses: Raw | UnsetType = UNSET
    request_state: Raw | UnsetType = UNSET


class NotificationSkim(Model, kw_only=True):
    """The engine's second look at a notification."""

    meta: NotificationMeta | UnsetType = field(default=UNSET, name="_meta")


class ResultSkim(Model, kw_only=True):
    """The engine's second look at a result of the modern era."""

    meta: ResultMeta | UnsetType = field(default=UNSET, name="_meta")
    result_type: str | UnsetType = UNSET
    input_requests: dict[str, Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class _WithMeta(Struct):
    meta: Meta | UnsetType = field(default=UNSET, name="_meta")


_full_meta = Decoder(_WithMeta)


def full_meta(body: bytes | Raw) -> Meta:
    """Return the whole ``_meta`` of a params or result object, unknown keys included.

    Raises msgspec.ValidationError if it is no object, or holds a number that Python cannot read.
    """
    meta = _full_meta.decode(body).meta
    return {} if meta is UNSET else meta


class TaskMetadata(Model, kw_only=True):
    """The ``task`` member of a request that asks to be run as a task; ``ttl`` in milliseconds."""

    ttl: int | UnsetType = UNSET


class RequestParams(Model, kw_only=True):
    """The params of a request without members of its own.

    In params ``_meta`` stays ``Raw``: the engine has read it already (:class:`RequestMeta`).
    """

    meta: Raw | UnsetType = field(default=UNSET, name="_meta")


class NotificationParams(Model, kw_only=True):
    """The params of a notification without members of its own."""

    meta: Raw | UnsetType = field(default=UNSET, name="_meta")


class PaginatedParams(RequestParams, kw_only=True):
    """The params of every ``.../list`` request: where to go on."""

    cursor: Cursor | UnsetType = UNSET


class CancelledParams(NotificationParams, kw_only=True):
    """``notifications/cancelled``; without ``request_id`` (2025-11-25 only) it names a task."""

    request_id: RequestId | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class ProgressParams(NotificationParams, kw_only=True):
    """``notifications/progress``: ``progress`` strictly increases, ``total`` may be unknown."""

    progress_token: ProgressToken
    progress: int | float
    total: int | float | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Result(Model, kw_only=True):
    """A result without members of its own; ``result_type`` is set by the engine (modern)."""

    meta: Meta | UnsetType = field(default=UNSET, name="_meta")
    result_type: str | UnsetType = UNSET


class EmptyResult(Result, kw_only=True):
    """An acknowledgement."""


class PaginatedResult(Result, kw_only=True):
    """One page; ``next_cursor`` is absent on the last one."""

    next_cursor: Cursor | UnsetType = UNSET


class CacheableResult(Result, kw_only=True):
    """Cache hints (modern): milliseconds of freshness, and who may share the copy."""

    ttl_ms: int | UnsetType = UNSET
    cache_scope: Literal["public", "private"] | UnsetType = UNSET


class CacheablePage(CacheableResult, kw_only=True):
    """One page that carries cache hints."""

    next_cursor: Cursor | UnsetType = UNSET


class InputRequest(Model, kw_only=True):
    """A request embedded in an input round: a method and its params, no id."""

    method: str
    params: Raw | UnsetType = UNSET


class InputRequiredResult(Result, kw_only=True):
    """The server needs input first: what it asks, and what to bring back with the answers."""

    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class InputResponseParams(RequestParams, kw_only=True):
    """The params of a request that may be a retry with answers (modern)."""

    input_responses: dict[str, Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET
