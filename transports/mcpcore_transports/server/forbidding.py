"""Refusals of requests whose sender lacks scopes or roles, with the challenge that helps.

Source: the authorization page of 2026-07-28, "Scope Challenge Handling".
"""

from typing import TYPE_CHECKING

from mcpcore.auth.scopes import Missing
from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import Principal, Refusal
from mcpcore.spec.errors import ERRORS, FORBIDDEN, Forbidden

if TYPE_CHECKING:  # types alone: loaded with HTTP
    from mcpcore.http.server.server import HttpServer
    from mcpcore_transports.server.tasks.tasks import TaskCall


def forbid(replies: "HttpServer | TaskCall", event: RequestReceived, error: Forbidden) -> None:
    """Answer a request with a 403 and a challenge where that is possible, else with the error."""
    replies.forbid(event.key, error.error, refusal_for(event.principal, error))


def refusal_for(principal: str | None, error: Forbidden) -> Refusal:
    """Return the refusal of a request: by the scheme of its principal, else a Bearer challenge."""
    make = principal.challenge if isinstance(principal, Principal) else None
    if make is None:
        challenge: str | None = Missing(error.scopes, frozenset(), error.role).challenge
    else:
        challenge = make(error.scopes, error.role)
    status = ERRORS[FORBIDDEN].status
    return Refusal(status=status, message=error.error.message, challenge=challenge)
