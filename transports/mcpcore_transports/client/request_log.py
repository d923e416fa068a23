"""Middleware that logs requests: one structured record each, through :mod:`logging`.

Off unless enabled::

    RuntimeSettings(middleware=(log_incoming(),))
    connect(target, middleware=[log_outgoing()])

The message of a record is for people (``tools/call 'add': answered in 0.2 ms``).  For programs it
has the attributes of :class:`RequestRecord`, each with the prefix ``mcp_``.  Arguments and results,
which may contain secrets, are never logged.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from msgspec import Struct, structs

from mcpcore.errors import InputNeeded
from mcpcore.spec.errors import McpError
from mcpcore.wire.jsontext import to_json
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.link import clock
from mcpcore_transports.running.audit import session_label
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.failures import subject
from mcpcore_transports.server.middleware import Answer, ServerMiddleware

LOGGER = "mcpcore.requests"
"""Name of the default logger."""


class RequestRecord(Struct, kw_only=True):
    """Log record of one request."""

    side: Literal["client", "server"]
    """Side that logs."""
    method: str
    subject: str | None
    """Name of the tool or prompt, or a URI."""
    revision: str | None = None
    session: str | None = None
    """Label of the session, as in :mod:`mcpcore_transports.http.server.log`."""
    principal: str | None = None
    traceparent: str | None = None
    outcome: Literal["answered", "failed", "refused", "asked", "ended", "cancelled"] = "ended"
    """``failed``: a tool result with an error; ``refused``: a protocol error; ``asked``: the client
    has to answer a question first; ``ended``: without an answer."""
    code: int | None = None
    """Error code of a refusal."""
    duration: float = 0.0
    """Duration in seconds."""


def log_incoming(
    logger: logging.Logger | None = None, level: int = logging.INFO
) -> ServerMiddleware:
    """Return the middleware for the server."""

    def incoming(request: Context) -> Steps[Answer]:
        record = RequestRecord(
            side="server",
            method=request.method,
            subject=subject(request.method, request.params),
            revision=request.revision.name,
            session=None if request.session is None else session_label(request.session),
            principal=request.principal,
            traceparent=request.meta.traceparent,
        )
        with _logged(logger, level, record):
            answer = yield
            record.outcome = "failed" if answer.failed else "answered"

    return incoming


def log_outgoing(
    logger: logging.Logger | None = None, level: int = logging.INFO
) -> ClientMiddleware:
    """Return the middleware for the client."""

    def outgoing(request: OutgoingRequest) -> Steps[Outcome]:
        record = RequestRecord(
            side="client",
            method=request.method,
            subject=subject(request.method, to_json(request.params)),
            revision=request.revision,
            traceparent=request.meta.get("traceparent"),
        )
        with _logged(logger, level, record):
            try:
                outcome = yield
            finally:  # known once it was sent
                record.session = None if request.session is None else session_label(request.session)
            record.outcome = "failed" if outcome.failed else "answered"

    return outgoing


@contextmanager
def _logged(logger: logging.Logger | None, level: int, record: RequestRecord) -> Iterator[None]:
    began = clock()
    try:
        yield
    except InputNeeded:
        record.outcome = "asked"
        raise
    except McpError as error:
        record.outcome, record.code = "refused", error.code
        raise
    except BaseException as error:  # a cancellation is no Exception in asyncio and trio
        record.outcome = "ended" if isinstance(error, Exception) else "cancelled"
        raise
    finally:
        record.duration = clock() - began
        name = record.method if record.subject is None else f"{record.method} {record.subject!r}"
        code = "" if record.code is None else f" ({record.code})"
        extra = {f"mcp_{key}": value for key, value in structs.asdict(record).items()}
        said = (name, record.outcome, code, record.duration * 1000)
        target = logger or logging.getLogger(LOGGER)
        target.log(level, "%s: %s%s in %.1f ms", *said, extra=extra)
