"""Logs as JSON, whose records name the request that they belong to.

::

    handler.setFormatter(JsonLines())
    RuntimeSettings(middleware=(label_logs(),))

A record of a handler, of whatever logger, has the members of its :class:`LogLabels`; one about a
masked exception has the ``error_id`` that the client was told.
"""

import json
import logging
import time
from contextvars import ContextVar
from typing import Any

from msgspec import Struct, structs

from mcpcore_transports.running.audit import printable, session_label
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

__all__ = ["LABELS", "JsonLines", "LogLabels", "label_logs"]


class LogLabels(Struct, frozen=True, kw_only=True):
    """Request that log records belong to."""

    request_id: str
    method: str
    session: str | None
    """Label of the session, from which its id cannot be had."""
    principal: str | None
    traceparent: str | None
    """Trace context that came with the request."""


LABELS: ContextVar[LogLabels | None] = ContextVar("mcpcore_log_labels", default=None)
"""Labels of the request that is being handled."""


def label_logs() -> ServerMiddleware:
    """Return middleware that sets :data:`LABELS` around the handling of each request."""

    def labelled(request: Context) -> Steps[Answer]:
        session, who, trace = request.session, request.principal, request.meta.traceparent
        token = LABELS.set(
            LogLabels(
                request_id=printable(str(request.request_id)),
                method=printable(request.method),
                session=None if session is None else session_label(session),
                principal=None if who is None else printable(str(who)),
                traceparent=None if trace is None else printable(trace),
            )
        )
        try:
            yield
        finally:
            LABELS.reset(token)

    return labelled


class JsonLines(logging.Formatter):
    """Formatter of records as JSON objects, one a line, in UTC.

    Members: ``time``, ``level``, ``logger``, ``message``, those of :class:`LogLabels`, the
    attributes of the record that begin with ``mcp_`` without that, and ``exception``.
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
        labels = LABELS.get()
        if labels is not None:
            found |= structs.asdict(labels)
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
