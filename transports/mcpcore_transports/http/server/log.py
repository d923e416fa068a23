"""Log of an HTTP endpoint: one structured record for each exchange, session and judgement.

Off unless enabled by ``HttpServerSettings(log=True)``; the logger is ``mcpcore.http``.  The message
of a record is for people, attributes with the prefix ``mcp_`` are for programs: those of
:class:`~mcpcore.ExchangeEnded`, with the ``duration`` in seconds; or ``session``,
``principal`` and ``reason`` of a session that was opened or closed.  ``mcp_method`` is that of
JSON-RPC in every log, and ``mcp_http_method`` that of HTTP.  As the id of a session grants its use,
records have its :func:`session_label`.  Bodies, headers and queries are not logged.

Judgements are those of :func:`log_judgement`, an ``audit=`` of schemes of authentication; they go
to the audit log (:mod:`mcpcore_transports.running.audit`), with the attributes of
:class:`~mcpcore.AuthEvent`.
"""

import logging
from typing import TYPE_CHECKING, Any

from msgspec import structs

from mcpcore.engine.events import Event
from mcpcore.http.server.exchange import ExchangeEnded
from mcpcore.http.server.sessions import SessionClosed, SessionOpened
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.audit import (
    AUDIT_LOGGER,
    LONGEST_REASON,
    printable,
    session_label,
)

if TYPE_CHECKING:  # late: few authorize
    from mcpcore.auth.resource_server import AuthEvent

LOGGER = "mcpcore.http"
"""Name of the logger."""

_NAMES = {
    "method": "http_method",
    "rpc_method": "method",
    "operation": "method",
    "request": "request_id",
}
"""Names in records for the attributes of events."""

logger = logging.getLogger(LOGGER)


class HttpLog:
    """Application wrapper that logs the reports of a machine and passes all events on."""

    def __init__(self, app: App) -> None:
        self._app = app

    def handle(self, event: Event) -> None:
        """Implement :meth:`App.handle <mcpcore_transports.link.App.handle>`."""
        if isinstance(event, ExchangeEnded):
            _log_exchange(event)
        elif isinstance(event, SessionOpened):
            label = session_label(event.session)
            extra = {"mcp_session": label, "mcp_principal": _plain(event.principal)}
            logger.info("session %s opened", label, extra=extra)
        elif isinstance(event, SessionClosed):
            label = session_label(event.session)
            extra = {"mcp_session": label, "mcp_reason": event.reason}
            logger.info("session %s closed: %s", label, event.reason, extra=extra)
        self._app.handle(event)


def _log_exchange(event: ExchangeEnded) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    facts = structs.asdict(event)
    facts["duration"] = clock() - facts.pop("began")
    facts["session"] = None if event.session is None else session_label(event.session)
    facts["principal"] = _plain(event.principal)
    facts["request"] = None if event.request is None else printable(str(event.request))
    logger.info(
        "%s %s%s %s%s in %.1f ms",
        event.method,
        printable(event.path),
        "" if event.rpc_method is None else f" {printable(event.rpc_method)}",
        event.status or "no answer",
        "" if event.complete else ", cut off",
        facts["duration"] * 1000,
        extra=_attributes(facts),
    )


def log_judgement(event: "AuthEvent") -> None:
    """Log the judgement of a request, or of an operation that it asked for."""
    reason = printable(event.reason, LONGEST_REASON)
    facts = {**structs.asdict(event), "reason": reason}
    if event.subject is not None:
        facts["subject"] = printable(event.subject)
    logging.getLogger(AUDIT_LOGGER).info(
        "%s %s%s %s",
        event.method,
        printable(event.path),
        "" if event.operation is None else f" {printable(event.operation)}",
        "authorized" if event.admitted else f"not authorized: {reason}",
        extra=_attributes(facts),
    )


def _attributes(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a record, by their names in every log."""
    return {f"mcp_{_NAMES.get(name, name)}": value for name, value in facts.items()}


def _plain(principal: str | None) -> str | None:
    return None if principal is None else str(principal)
