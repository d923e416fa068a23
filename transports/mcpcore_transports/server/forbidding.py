"""Refusals of requests whose sender lacks scopes or roles, with the challenge that helps.

Source: the authorization page of 2026-07-28, "Scope Challenge Handling".
"""

import logging
from typing import TYPE_CHECKING

from mcpcore.auth.scopes import Missing
from mcpcore.engine.events import RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Principal, Refusal
from mcpcore.spec.errors import ERRORS, FORBIDDEN, Forbidden
from mcpcore_transports.running.audit import log_decision
from mcpcore_transports.server.failures import operation, subject

if TYPE_CHECKING:  # types alone: loaded with HTTP
    from mcpcore.http.server.server import HttpServer
    from mcpcore_transports.server.tasks.tasks import TaskCall

logger = logging.getLogger("mcpcore.server")


def forbid(
    replies: "Peer | HttpServer | TaskCall", event: RequestReceived, error: Forbidden
) -> None:
    """Answer a request with a 403 and a challenge where that is possible, else with the error.

    The principal's scheme is told, for its audit.
    """
    principal = event.principal if isinstance(event.principal, Principal) else None
    try:
        _tell(principal, event, error)
    except Exception:  # of the application, as below
        logger.exception("telling of a refused operation failed")
    if isinstance(replies, Peer):
        replies.fail(event.key, error.error)
    else:
        replies.forbid(event.key, error.error, _refusal(principal, error))


def _tell(principal: Principal | None, event: RequestReceived, error: Forbidden) -> None:
    if principal is not None and principal.refused is not None:
        found = subject(event.method, event.params)
        principal.refused(event.method, found, error.error.message)
    else:
        who, what = str(event.principal), operation(event.method, event.params)
        log_decision(who, what, error.error.message)


def _refusal(principal: Principal | None, error: Forbidden) -> Refusal:
    """Return the refusal of a request: by the scheme of its principal, else a Bearer challenge.

    It names no scopes if some cannot stand in a header: no client can ask for these.
    """
    status, message = ERRORS[FORBIDDEN].status, error.error.message
    make = None if principal is None else principal.challenge
    try:
        if make is None:
            challenge: str | None = Missing(error.scopes, error.role).challenge
        else:
            challenge = make(error.scopes, error.role)
        return Refusal(status=status, message=message, challenge=challenge)
    except Exception:
        logger.exception("no challenge can be made for a refused operation")
        challenge = Missing(role=error.role).challenge
        return Refusal(status=status, message=message, challenge=challenge)
