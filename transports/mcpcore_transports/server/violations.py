"""Violations of a server's clients: their log, and the suspicion about those who cause many."""

import logging
import os
from typing import TYPE_CHECKING

from mcpcore.engine.events import RequestReceived, Violation
from mcpcore_transports.link import clock
from mcpcore_transports.running.audit import (
    LONGEST_REASON,
    log_decision,
    printable,
    session_label,
)

if TYPE_CHECKING:  # late: few count them
    from mcpcore.policy.suspicion import Suspicion

logger = logging.getLogger("mcpcore.server")


def connection_name() -> str:
    """Return a name for the callers of one machine, unique as several workers may count them."""
    return f"connection {os.urandom(8).hex()}"


def caller_of(event: RequestReceived | Violation, connection: str) -> str:
    """Return the caller: the authenticated principal, else the session, else the connection.

    The session is there by its label, as callers are told of in logs.
    """
    if event.principal is not None:
        return f"principal {event.principal}"
    return connection if event.session is None else f"session {session_label(event.session)}"


class ClientViolations:
    """Log of the violations at one machine."""

    def __init__(self, suspicion: "Suspicion | None") -> None:
        self._suspicion = suspicion
        self._name = connection_name()

    def hear(self, event: Violation) -> None:
        """Log and count a violation."""
        logger.info("a client broke a rule: %s", printable(event.message, LONGEST_REASON))
        suspicion = self._suspicion
        if suspicion is None:
            return
        caller = caller_of(event, self._name)
        found = suspicion.note(caller, event.message, now=clock())
        if found is not None:
            who, last = printable(found.caller), printable(found.reason, LONGEST_REASON)
            logger.warning("%s breaks many rules, the last one: %s", who, last)
            log_decision(found.caller, "many broken rules", found.reason)
            if suspicion.tell is not None:
                suspicion.tell(found)
