"""Shared parts of messages: ``_meta``, identity, icons, annotations, common params and results.

Every type of the protocol is one Struct, the superset of all revisions: a member that some
revision lacks, or does not require, is optional (:class:`~mcpcore.spec.types.model.Model` says how
it reads when it is absent).  Unknown members are ignored.  Source: the base protocol page and
``schema.ts`` of each revision.
"""

from typing import Any, Literal

from msgspec import Raw, field, structs
from msgspec.json import Decoder

from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.model import Maybe, Model

META_PREFIX = "io.modelcontextprotocol/"
"""Prefix of the ``_meta`` keys that the specification itself defines."""
META_PROTOCOL_VERSION = META_PREFIX + "protocolVersion"
META_CLIENT_INFO = META_PREFIX + "clientInfo"
META_CLIENT_CAPABILITIES = META_PREFIX + "clientCapabilities"
META_LOG_LEVEL = META_PREFIX + "logLevel"
META_SUBSCRIPTION_ID = META_PREFIX + "subscriptionId"
META_SERVER_INFO = META_PREFIX + "serverInfo"
META_RELATED_TASK = META_PREFIX + "related-task"
META_PROGRESS_TOKEN = "progressToken"  # noqa: S105 - the name of a member, not a secret
META_APP = "ui/resourceUri"
"""Deprecated key of the URI of a tool's app (SEP-1865), which some hosts read alone."""

TRACE_KEYS = ("traceparent", "tracestate", "baggage")
"""Keys of W3C Trace Context and Baggage in ``_meta`` (2026-07-28, basic protocol page)."""

RequestId = str | int
"""JSON-RPC id; the same type as in :mod:`mcpcore.wire.message`."""
ProgressToken = str | int
Cursor = str
Meta = dict[str, Any]
"""``_meta`` object kept whole, unknown keys included."""
Role = Literal["user", "assistant"]
"""``Role`` of the schema: the sender of a message, the audience of content.

Not to be confused with :class:`mcpcore.Role`, the side of a connection.
"""
LoggingLevel = Literal[
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
]


class Icon(Model, kw_only=True):
    """Icon of a server, client, tool, prompt or resource; ``src`` is an https or data URI."""

    src: str
    mime_type: Maybe[str] = None
    sizes: list[str] = field(default_factory=list)
    theme: Maybe[Literal["light", "dark"]] = None

    @property
    def is_safe(self) -> bool:
        """True if ``src`` is https or an image in a data URI; others must be refused.

        >>> Icon(src="javascript:alert(1)").is_safe
        False
        """
        return self.src[:16].lower().startswith(("https://", "data:image/"))


class Annotations(Model, kw_only=True):
    """Hints on the audience of content and its importance (``priority`` from 0 to 1)."""

    audience: list[Role] = field(default_factory=list)
    priority: Maybe[float] = None
    last_modified: Maybe[str] = None


class Implementation(Model, kw_only=True):
    """Self-reported identity of a client or a server; it decides nothing."""

    name: str
    version: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    website_url: Maybe[str] = None
    icons: list[Icon] = field(default_factory=list)

    def without_unsafe_icons(self) -> "Implementation":
        """Return the same identity without the icons that clients have to refuse."""
        return structs.replace(self, icons=[each for each in self.icons if each.is_safe])


class RequestMeta(Model, kw_only=True):
    """Keys of a request's ``_meta`` that the protocol defines; :func:`full_meta` has the rest.

    Those of :data:`TRACE_KEYS` are passed on as they are; one that is no string counts as absent.
    """

    progress_token: Maybe[ProgressToken] = None
    protocol_version: Maybe[str] = field(default=None, name=META_PROTOCOL_VERSION)
    client_info: Maybe[Implementation] = field(default=None, name=META_CLIENT_INFO)
    client_capabilities: Maybe[ClientCapabilities] = field(
        default=None, name=META_CLIENT_CAPABILITIES
    )
    log_level: Maybe[LoggingLevel] = field(default=None, name=META_LOG_LEVEL)
    subscription_id: Maybe[RequestId] = field(default=None, name=META_SUBSCRIPTION_ID)
    traceparent: Maybe[str] = None
    tracestate: Maybe[str] = None
    baggage: Maybe[str] = None

    @property
    def trace(self) -> dict[str, str]:
        """Trace context that came with the request, as members for another ``_meta``."""
        if self.traceparent is self.tracestate is self.baggage is None:  # as in most requests
            return {}
        return {key: value for key in TRACE_KEYS if (value := getattr(self, key)) is not None}


class NotificationMeta(Model, kw_only=True):
    """Keys of a notification's ``_meta`` that the protocol defines."""

    subscription_id: Maybe[RequestId] = field(default=None, name=META_SUBSCRIPTION_ID)


class ResultMeta(Model, kw_only=True):
    """Keys of a result's ``_meta`` that the protocol defines."""

    server_info: Maybe[Implementation] = field(default=None, name=META_SERVER_INFO)
    subscription_id: Maybe[RequestId] = field(default=None, name=META_SUBSCRIPTION_ID)


class Skim(Model, kw_only=True):
    """Members of a request's params that the engine needs for routing and gating.

    Only ``_meta`` is typed.  The rest stays ``Raw``, as another method may use the same names for
    something else; they are decoded once the method is known.
    """

    meta: Maybe[RequestMeta] = field(default=None, name="_meta")
    name: Maybe[Raw] = None
    arguments: Maybe[Raw] = None
    uri: Maybe[Raw] = None
    task_id: Maybe[Raw] = None
    input_responses: Maybe[Raw] = None
    request_state: Maybe[Raw] = None


class NotificationSkim(Model, kw_only=True):
    """Members of a notification's params that the engine reads."""

    meta: Maybe[NotificationMeta] = field(default=None, name="_meta")


class ResultSkim(Model, kw_only=True):
    """Members of a result that tell its kind; the rest is not read."""

    result_type: Maybe[str] = None
    input_requests: Maybe[dict[str, Raw]] = None
    request_state: Maybe[str] = None


class _WithMeta(Model):
    meta: Maybe[Meta] = field(default=None, name="_meta")


_full_meta = Decoder(_WithMeta)


def full_meta(body: bytes | Raw) -> Meta:
    """Return the whole ``_meta`` of a params or result object, unknown keys included.

    Raises msgspec.ValidationError if it is no object, or holds a number that Python cannot read.
    """
    meta = _full_meta.decode(body).meta
    return {} if meta is None else meta


class TaskMetadata(Model, kw_only=True):
    """``task`` member of a request that asks to be run as a task; ``ttl`` in milliseconds."""

    ttl: Maybe[int] = None


class RequestParams(Model, kw_only=True):
    """Params of a request without members of its own.

    In params ``_meta`` stays ``Raw``: the engine has read it already (:class:`RequestMeta`).
    """

    meta: Maybe[Raw] = field(default=None, name="_meta")


class NotificationParams(Model, kw_only=True):
    """Params of a notification without members of its own."""

    meta: Maybe[Raw] = field(default=None, name="_meta")


class PaginatedParams(RequestParams, kw_only=True):
    """Params of every ``.../list`` request: the cursor of the page."""

    cursor: Maybe[Cursor] = None


class CancelledParams(NotificationParams, kw_only=True):
    """``notifications/cancelled``; without ``request_id`` (2025-11-25 only) it names a task."""

    request_id: Maybe[RequestId] = None
    reason: Maybe[str] = None


class ProgressParams(NotificationParams, kw_only=True):
    """``notifications/progress``: ``progress`` strictly increases, ``total`` may be unknown."""

    progress_token: ProgressToken
    progress: int | float
    total: Maybe[int | float] = None
    message: Maybe[str] = None


class Result(Model, kw_only=True):
    """Result without members of its own; ``result_type`` is set by the engine (modern)."""

    meta: Maybe[Meta] = field(default=None, name="_meta")
    result_type: Maybe[str] = None


class EmptyResult(Result, kw_only=True):
    """Empty result: an acknowledgement."""


class PaginatedResult(Result, kw_only=True):
    """Page of a list; ``next_cursor`` is absent on the last one, or null (pagination page)."""

    next_cursor: Cursor | None = None


class CacheableResult(Result, kw_only=True):
    """Result with cache hints (modern): milliseconds of freshness, and who may share the copy.

    An integer of JSON Schema may be written as ``6e4`` or ``60000.0``.
    """

    ttl_ms: Maybe[int | float] = None
    cache_scope: Maybe[Literal["public", "private"]] = None


class CacheablePage(CacheableResult, kw_only=True):
    """Page of a list, with cache hints."""

    next_cursor: Cursor | None = None


class EmbeddedRequest(Model, kw_only=True):
    """Request embedded in an input round (``InputRequest``): a method and its params, no id."""

    method: str
    params: Maybe[Raw] = None


class InputRequiredResult(Result, kw_only=True):
    """Demand for input: the requests to the client, and the state to return with the answers."""

    input_requests: Maybe[dict[str, EmbeddedRequest]] = None
    request_state: Maybe[str] = None


class InputResponseParams(RequestParams, kw_only=True):
    """Params of a request that may be a retry with answers (modern)."""

    input_responses: Maybe[dict[str, Raw]] = None
    request_state: Maybe[str] = None
