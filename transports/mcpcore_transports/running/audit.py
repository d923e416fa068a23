"""Audit log: refusals and sign-ins, as records of the logger ``mcpcore.audit``.

Each record says who (``mcp_who``), what (``mcp_what``), why (``mcp_reason``) and whether it was let
through (``mcp_admitted``); tokens and arguments are in none.
"""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # late: stdio has no HTTP requests
    from mcpcore.http.messages import HttpRequest

AUDIT_LOGGER = "mcpcore.audit"
"""Name of the logger."""
_LONGEST = 200
"""Maximum characters of a text of the other side."""
LONGEST_REASON = 1000
"""Maximum characters of a reason, which may name what the other side has sent."""

logger = logging.getLogger(AUDIT_LOGGER)


def log_decision(who: str, what: str, reason: str = "", *, admitted: bool = False) -> None:
    """Log a decision about what somebody wanted; ``reason``: "" for none."""
    if not logger.isEnabledFor(logging.INFO):
        return
    who, what, reason = printable(who), printable(what), printable(reason, LONGEST_REASON)
    extra = {"mcp_who": who, "mcp_what": what, "mcp_reason": reason, "mcp_admitted": admitted}
    verdict = "admitted" if admitted else "refused"
    logger.info("%s: %s %s%s", who, what, verdict, f": {reason}" if reason else "", extra=extra)


def log_foreign(request: "HttpRequest", reason: str) -> None:
    """Log a request that is refused for its Host or Origin."""
    log_decision(f"peer {request.peer}", f"{request.method} {request.path}", reason)


def printable(text: str, longest: int = _LONGEST) -> str:
    """Return text of a client as one line of bounded length."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest])


def session_label(id: str) -> str:
    """Return the label of a session in logs: constant for a session, and useless to an attacker."""
    from hashlib import sha256  # late: every server has this module

    return sha256(id.encode()).hexdigest()[:12]
