"""Labels of log records, and logs as JSON, which show them.

::

    handler.setFormatter(JsonLines())
    RuntimeSettings(middleware=(label_logs(),))

A record of a handler, of whatever logger, has the members of its :class:`LogLabels`: the request
that is being handled, and the server behind a gateway.  One about a masked exception has the
``error_id`` that the client was told.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import Struct, structs

from mcpcore.engine.events import RequestReceived
from mcpcore_transports.running.audit import printable, session_label
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

__all__ = [
    "LABELS",
    "JsonLines",
    "LogLabels",
    "label_logs",
    "label_server",
    "labelled",
    "without_labels",
]


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


class JsonLines(logging.Formatter):
    """Formatter of records as JSON objects, one a line, in UTC.

    Members: ``time``, ``level``, ``logger``, ``message``, those of the labels, the attributes
    of the record that begin with ``mcp_`` without that, and ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= structs.asdict(LABELS.get())
        found |= {
            name.removeprefix("mcp_"): value
            for name, value in vars(record).items()
            if name.startswith("mcp_")
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            found["stack"] = self.formatStack(record.stack_info)
        known = {name: value for name, value in found.items() if value is not None}
        return json.dumps(known, default=str)
