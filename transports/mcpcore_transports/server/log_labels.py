"""Labels of log records: the request that is being handled, and the server behind a gateway.

``RuntimeSettings(middleware=(label_logs(),))`` sets them, in a server and in a gateway;
:class:`~mcpcore_transports.telemetry.logs.JsonLines` shows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct, structs

from mcpcore.engine.events import RequestReceived
from mcpcore_transports.running.audit import printable, session_label
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

__all__ = ["LABELS", "LogLabels", "label_logs", "label_server", "labelled", "without_labels"]


class LogLabels(Struct, frozen=True, kw_only=True):
    """Request and server that log records belong to."""

    request_id: str | None = None
    exchange: int | None = None
    """Number of the HTTP exchange, as clients choose the same ids."""
    method: str | None = None
    session: str | None = None
    """Label of the session, from which its id cannot be had."""
    principal: str | None = None
    traceparent: str | None = None
    """Trace context that came with the request."""
    server: str | None = None
    """Name of the server behind a gateway."""


_NO_LABELS = LogLabels()
LABELS: ContextVar[LogLabels] = ContextVar("mcpcore_log_labels", default=_NO_LABELS)
"""Labels of what is being handled."""


def labels_of(request: Context | RequestReceived) -> LogLabels:
    """Return the labels of a request of a client."""
    event = request._event if isinstance(request, Context) else request
    session, who, trace = request.session, request.principal, request.meta.traceparent
    return LogLabels(
        request_id=printable(str(event.id)),
        exchange=event.route or None,
        method=printable(request.method),
        session=None if session is None else session_label(session),
        principal=None if who is None else printable(str(who)),
        traceparent=None if trace is None else printable(trace),
    )


@contextmanager
def labelled(request: Context | RequestReceived) -> Iterator[None]:
    """Set :data:`LABELS` to a request, at the server that they name already."""
    token = LABELS.set(structs.replace(labels_of(request), server=LABELS.get().server))
    try:
        yield
    finally:
        LABELS.reset(token)


@contextmanager
def label_server(name: str) -> Iterator[None]:
    """Add the name of a server behind a gateway to :data:`LABELS`."""
    token = LABELS.set(structs.replace(LABELS.get(), server=name))
    try:
        yield
    finally:
        LABELS.reset(token)


def _label(request: Context) -> Steps[Answer]:
    with labelled(request):
        yield


def label_logs() -> ServerMiddleware:
    """Return middleware that sets :data:`LABELS` around the handling of each request."""
    return _label


def without_labels(
    middleware: tuple[ServerMiddleware, ...],
) -> tuple[bool, tuple[ServerMiddleware, ...]]:
    """Tell if records are to be labelled, as a gateway does itself; return the other middleware."""
    others = tuple(each for each in middleware if each is not _label)
    return len(others) < len(middleware), others
