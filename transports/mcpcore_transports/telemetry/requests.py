"""Spans and durations of requests for OpenTelemetry (extra ``otel``): middleware of both sides.

::

    connect(url, middleware=[observe_requests(to=url)])
    RuntimeSettings(middleware=(observe_answers(),))

Names, attributes and buckets are those of the semantic conventions for the Model Context Protocol;
what they go to is for the application to set up, with the SDK of OpenTelemetry.  The context of a
client's span travels in the ``_meta`` of its request, and the server's span is its child, also
through a gateway.

Source: OpenTelemetry, semantic conventions for generative AI, "Model Context Protocol"; SEP-414.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.context import attach, detach
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import (
    Link,
    NoOpTracer,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)

from mcpcore.engine.bodies import UNREADABLE, decode_skim
from mcpcore.errors import CallFailed, ConnectionClosed, InputNeeded
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore.spec.methods import SUBJECTS
from mcpcore.spec.types.base import RequestMeta, Skim
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import RequestId
from mcpcore_transports import targets
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.link import clock
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

if TYPE_CHECKING:  # the module of clients imports this one's neighbours
    from mcpcore_transports.client.core import ClientCore

__all__ = [
    *("BUCKETS", "DURATIONS", "SCOPE", "TOOL_ERROR"),
    *(
        "ObservedRequest",
        "RequestInstruments",
        "histogram_of",
        "network_attributes",
        "observe_answers",
        "observe_requests",
        "origin_of",
        "parent_of",
    ),
]

SCOPE = "mcpcore"
"""Name of the instrumentation scope of all spans and metrics."""
DURATIONS = {
    "mcp.client.operation.duration": "Duration of a request as its sender sees it.",
    "mcp.server.operation.duration": "Duration of a request as its receiver sees it.",
    "mcp.client.session.duration": "Duration of a session as the client sees it.",
    "mcp.server.session.duration": "Duration of a session as the server sees it.",
}
"""Descriptions of the histograms, by name."""
BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Bounds of the buckets of the histograms, in seconds."""
TOOL_ERROR = "tool_error"
"""``error.type`` of a result with ``isError``."""
_CANCELLED = "cancelled"
_OTHER = "_OTHER"
"""Label of methods that nobody has, as that of HTTP in the conventions."""
_TOOL, _PROMPT, _URI = "gen_ai.tool.name", "gen_ai.prompt.name", "mcp.resource.uri"
_ERROR = "error.type"
_STATUS = "rpc.response.status_code"
_ID, _SESSION = "jsonrpc.request.id", "mcp.session.id"
_TARGETS = {
    "tools/call": _TOOL,
    "prompts/get": _PROMPT,
    "resources/read": _URI,
    "resources/subscribe": _URI,
    "resources/unsubscribe": _URI,
}
"""Attributes that have the subjects of requests; those with a name are in metrics, too."""
_LONGEST = {"traceparent": 512, "tracestate": 512, "baggage": 8192}
"""Maximum characters of a member of the trace context; more need not be passed on (W3C)."""
_MOST = 1024
"""Maximum characters of a text of the other side in a span, of which exporters keep thousands."""
_BLANKS = re.compile("[ \\t]+")
_decode_text = msgspec.json.Decoder(str).decode
_KINDS = 1000
"""Maximum kinds of requests whose attributes are kept."""
CALL = "tools/call"
"""Method whose spans name a tool."""


def network_attributes(target: object) -> dict[str, str | int]:
    """Return the attributes of the way to a server: its transport, address and port.

    ``target``: a URL, a command or a target, as ``connect()`` takes them.
    """
    parsed = targets.parse_target(target)
    if isinstance(parsed, targets.StdioTarget):
        return {"network.transport": "pipe"}
    url = getattr(parsed, "url", None)
    if url is None:
        return {}
    parts = urlsplit(url)
    if isinstance(parsed, targets.UnixTarget):
        return {"network.transport": "unix", "server.address": parts.path}
    found: dict[str, str | int] = {"network.transport": "tcp"}
    if isinstance(parsed, targets.WebSocketTarget):
        found["network.protocol.name"] = "websocket"
    elif not isinstance(parsed, targets.TcpTarget):
        found |= {"network.protocol.name": "http", "network.protocol.version": "1.1"}
    if parts.hostname:
        found["server.address"] = parts.hostname
        default = 443 if parts.scheme in ("https", "wss") else 80
        found["server.port"] = parts.port or default
    return found


def histogram_of(name: str, meters: MeterProvider | None) -> Histogram:
    """Make a histogram of durations in seconds, of :data:`DURATIONS`."""
    return metrics.get_meter(SCOPE, meter_provider=meters).create_histogram(
        name, "s", DURATIONS[name], explicit_bucket_boundaries_advisory=BUCKETS
    )


def parent_of(meta: RequestMeta) -> TraceContext | None:
    """Return the trace context that came with a request, without members that are too long.

    OpenTelemetry reads a run of blanks in the square of its length, and some versions read members
    of any length: blanks are made one.
    """
    carrier = {
        name: _BLANKS.sub(" ", value)
        for name, value in meta.trace.items()
        if len(value) <= _LONGEST[name]
    }
    return propagate.extract(carrier) if carrier else None


def origin_of(meta: RequestMeta) -> tuple[TraceContext | None, tuple[Link, ...]]:
    """Return the parent of a server's span, from the request, and a link to what is around it."""
    parent = parent_of(meta)
    if parent is None:
        return None, ()
    ambient = trace.get_current_span().get_span_context()
    return parent, (Link(ambient),) if ambient.is_valid else ()


class RequestInstruments:
    """Instruments for the requests of one side."""

    def __init__(
        self,
        side: str,
        kind: SpanKind,
        fixed: Mapping[str, Any],
        tracers: TracerProvider | None,
        meters: MeterProvider | None,
        *,
        contents: bool,
    ) -> None:
        self.fixed = fixed
        self.kind = kind
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracers)
        self.traces = not isinstance(self.tracer, NoOpTracer)
        """False if there are no spans."""
        self.contents = contents and self.traces
        self._duration = histogram_of(f"mcp.{side}.operation.duration", meters)
        self.recorder = lru_cache(maxsize=_KINDS)(self._recorder)
        """Return the function that records the seconds of requests of one kind."""

    def labels(self, method: str, revision: str, name: str | None) -> dict[str, Any]:
        """Return the attributes of a duration, which the span has, too; ``name``: as in metrics."""
        labels = {
            **self.fixed,
            "mcp.method.name": method,
            "mcp.protocol.version": revision,
        }
        if method == CALL:
            labels["gen_ai.operation.name"] = "execute_tool"
        if name is not None:
            labels[_TARGETS[method]] = name
        return labels

    def _recorder(
        self, method: str, revision: str, name: str | None, error: str | None, refused: bool
    ) -> Callable[[float], None]:
        labels = self.labels(method, revision, name)
        if error is not None:
            labels[_ERROR] = error
        if refused:
            labels[_STATUS] = error
        own = getattr(self._duration, "recorder", None)  # the page of Prometheus has it
        return partial(self._duration.record, attributes=labels) if own is None else own(labels)


class ObservedRequest:
    """Span and duration of one request, from its begin to :meth:`end`.

    ``skim``: its params; ``id`` and ``session``: attributes of the span alone, as there is no bound
    on their values.
    """

    __slots__ = (
        *("context", "later", "method", "skim", "span", "unknown"),
        *("_began", "_error", "_instruments", "_message", "_name", "_refused", "_revision"),
    )

    def __init__(
        self,
        instruments: RequestInstruments,
        method: str,
        revision: str,
        skim: Skim | None,
        id: RequestId | None = None,
        session: str | None = None,
        parent: TraceContext | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        self.method = method = method[:_MOST]
        self.skim = skim
        self.later: dict[str, Any] = {}
        """Attributes that the span gets when it ends."""
        self.unknown = False
        """True if its method may be any text: metrics have it only if there is such a method."""
        self._error: str | None = None
        self._message = ""
        self._refused = False
        self._instruments = instruments
        self._revision = revision
        attribute = _TARGETS.get(method)
        target = None if attribute is None else _text(skim, SUBJECTS[method])
        self._name = name = None if attribute == _URI else target
        if instruments.traces or parent is not None:
            attributes = instruments.labels(method, revision, name)
            if attribute is not None and target is not None:
                attributes[attribute] = target
            if id is not None:
                attributes[_ID] = str(id)
            if session is not None:
                attributes[_SESSION] = session
            title = method if name is None else f"{method} {name}"
            self.span = instruments.tracer.start_span(
                title, parent, instruments.kind, attributes, links
            )
        else:
            self.span = trace.INVALID_SPAN
        self.context = parent
        """Trace context inside of the request, None for the one around it."""
        if self.span is not trace.INVALID_SPAN:
            self.context = trace.set_span_in_context(self.span, parent)
        self._began = clock()

    def failed(self, kind: str, message: str = "") -> None:
        """Note an error."""
        self._error, self._message = kind, message[:_MOST]

    def cancelled(self) -> None:
        """Note that it was given up."""
        self.failed(_CANCELLED)

    def refused(self, code: int, message: str) -> None:
        """Note an error of JSON-RPC."""
        self._refused = True
        self.failed(str(code), message)

    def end(self) -> None:
        """End the span, and record the duration."""
        elapsed = clock() - self._began
        span, name, error, refused = self.span, self._name, self._error, self._refused
        method = self.method
        if error is not None and error != TOOL_ERROR:
            name = None  # it may be any text, of no tool
            method = _OTHER if self.unknown else method
        if span is not trace.INVALID_SPAN and span.is_recording():
            if refused:
                self.later[_STATUS] = error
            if error is not None:
                self.later[_ERROR] = error
                span.set_status(Status(StatusCode.ERROR, self._message or None))
            if self.later:
                span.set_attributes(self.later)
            span.end()
        record = self._instruments.recorder(method, self._revision, name, error, refused)
        record(elapsed)


def _text(skim: Skim | None, member: str) -> str | None:
    """Return a member of params that is a string, cut; None for another, which is refused."""
    raw = None if skim is None else getattr(skim, member)
    try:
        return None if raw is None else _decode_text(raw)[:_MOST]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _ObservedClient:
    """Middleware of :func:`observe_requests`, of any number of connections."""

    def __init__(self, observer: RequestInstruments, sessions: Histogram) -> None:
        self._observer = observer
        self._sessions = sessions
        self._began: dict[ClientCore, float] = {}

    async def attach(self, core: "ClientCore", instructions: str | None) -> None:
        """Note the begin of a connection."""
        self._began[core] = clock()

    def detach(self, core: "ClientCore") -> None:
        """Record the duration of a connection."""
        began = self._began.pop(core, None)
        if began is not None:
            attributes = {**self._observer.fixed, "mcp.protocol.version": core.revision.name}
            if core.lost:
                attributes[_ERROR] = ConnectionClosed.__name__
            self._sessions.record(clock() - began, attributes)

    def __call__(self, request: OutgoingRequest) -> Steps[Outcome]:
        """Observe a request with all its input rounds."""
        observer = self._observer
        method, skim = request.method, None
        if method in _TARGETS:
            with suppress(*UNREADABLE):  # then it is refused
                skim = decode_skim(to_json(request.params))
        operation = ObservedRequest(observer, method, request.revision, skim)
        propagate.inject(request.meta, operation.context)
        request.on_round.append(operation.span.add_event)
        try:
            outcome = yield
            if method == CALL:
                if outcome.failed:
                    operation.failed(TOOL_ERROR)
                if observer.contents:
                    _add_contents(operation, outcome.result)
        except McpError as error:
            operation.refused(error.code, error.error.message)
            raise
        except CallFailed as error:
            operation.failed(type(error).__name__, str(error))
            raise
        except BaseException:
            operation.cancelled()
            raise
        finally:
            if request.id is not None:
                operation.later[_ID] = str(request.id)
            if request.session is not None:
                operation.later[_SESSION] = request.session
            operation.end()


def _add_contents(operation: ObservedRequest, result: Raw) -> None:
    """Add arguments and result of a tool, as JSON."""
    skim = operation.skim
    arguments = None if skim is None else skim.arguments
    given = "{}" if arguments is None else bytes(arguments).decode()
    operation.later["gen_ai.tool.call.arguments"] = given
    operation.later["gen_ai.tool.call.result"] = bytes(result).decode()


def observe_requests(
    *,
    to: object = None,
    contents: bool = False,
    tracers: TracerProvider | None = None,
    meters: MeterProvider | None = None,
) -> ClientMiddleware:
    """Return middleware for the spans of a client, and the durations of requests and sessions.

    ``to``: where the server is, for :func:`network_attributes`; ``contents``: True to have the
    arguments and results of tools in spans, as JSON.  ``tracers``, ``meters``: providers, in place
    of those of the process.  A request with its input rounds is one span; answers from the cache
    have none.
    """
    fixed = {} if to is None else network_attributes(to)
    return _ObservedClient(
        RequestInstruments("client", SpanKind.CLIENT, fixed, tracers, meters, contents=contents),
        histogram_of("mcp.client.session.duration", meters),
    )


def observe_answers(
    *,
    attributes: Mapping[str, str | int] | None = None,
    contents: bool = False,
    tracers: TracerProvider | None = None,
    meters: MeterProvider | None = None,
) -> ServerMiddleware:
    """Return middleware for the spans of a server, and ``mcp.server.operation.duration``.

    The parent of a span is what came with the request, and what is current around it (a span of
    HTTP) is linked; without the first, it is the parent.  Handlers run inside of the span.
    ``attributes``: those of the transport, such as ``network.transport``, for all spans; the rest
    as in :func:`observe_requests`.  With 2026-07-28 each round of a request is a request.
    """
    observer = RequestInstruments(
        "server", SpanKind.SERVER, attributes or {}, tracers, meters, contents=contents
    )

    def observed(request: Context) -> Steps[Answer]:
        event = request.event
        parent, links = origin_of(event.meta)
        operation = ObservedRequest(
            observer,
            event.method,
            event.revision.name,
            event.skim,
            event.id,
            event.session,
            parent,
            links,
        )
        context, token = operation.context, None
        if context is not None and context is not parent:  # else there is no span to be inside of
            token = attach(context)
        try:
            answer = yield
            if answer.failed:
                operation.failed(TOOL_ERROR)
            if observer.contents and event.method == CALL:
                _add_contents(operation, answer.result)
        except McpError as error:
            operation.refused(error.code, error.error.message)
            raise
        except InputNeeded:
            operation.span.add_event("input_required")
            raise
        except Exception:
            operation.refused(INTERNAL_ERROR, "")  # as the client is told; the log has the rest
            raise
        except BaseException:
            operation.cancelled()
            raise
        finally:
            if token is not None:
                detach(token)
            operation.end()

    return observed
