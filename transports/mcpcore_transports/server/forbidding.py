"""Refusals of requests whose sender lacks scopes or roles, with the challenge that helps.

Sources: RFC 6750 section 3.1 (``insufficient_scope``); the authorization page of 2026-07-28, "Scope
Challenge Handling".
"""

from typing import TYPE_CHECKING

from mcpcore.auth.challenges import format_challenge, format_scopes
from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import Principal, Refusal
from mcpcore.spec.errors import ERRORS, FORBIDDEN, Forbidden

if TYPE_CHECKING:
    from mcpcore.http import HttpServer
    from mcpcore_transports.server.tasks.tasks import TaskCall


def forbid(replies: "HttpServer | TaskCall", event: RequestReceived, error: Forbidden) -> None:
    """Answer a request with a 403 and a challenge where that is possible, else with the error."""
    replies.forbid(event.key, error.error, refusal_for(event.principal, error))


def refusal_for(principal: str | None, error: Forbidden) -> Refusal:
    """Return the refusal of a request: by the scheme of its principal, else a Bearer challenge."""
    make = principal.challenge if isinstance(principal, Principal) else None
    challenge = (make or _bearer)(error.scopes, error.role)
    status = ERRORS[FORBIDDEN].status
    return Refusal(status=status, message=error.error.message, challenge=challenge)


def _bearer(scopes: frozenset[str], role: bool) -> str:
    text = "a role is missing" if role else "scopes are missing"
    wanted = format_scopes(scopes) or None
    params = {"error": "insufficient_scope", "error_description": text, "scope": wanted}
    return format_challenge("Bearer", params)
