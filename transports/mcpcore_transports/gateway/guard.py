"""Policies for the requests of a gateway to one server: its circuit breaker and its retries."""

import logging
import secrets
from collections.abc import Hashable

from mcpcore.engine import events
from mcpcore.engine.events import Event
from mcpcore.engine.outbound import may_repeat
from mcpcore.policy.breaker import Breaker, Circuit, Permit
from mcpcore.policy.failures import RequestFailure, failure_of_end, failure_of_error
from mcpcore.policy.retrying import Retrying
from mcpcore.relay.link import Address, PassedCall
from mcpcore.spec.errors import LocalProtocolError
from mcpcore_transports.gateway.settings import GatewaySettings

logger = logging.getLogger("mcpcore.gateway")

_NONE = RequestFailure()


class ServerGuard:
    """Guard of one server, as the relay asks for it."""

    def __init__(self, name: str, settings: GatewaySettings) -> None:
        self.name = name
        self._breaker = None
        self._retrying = None
        if settings.breaker is not None:
            self._breaker = Breaker(settings.breaker, name=name)
        if settings.retry is not None:
            self._retrying = Retrying(settings.retry, seed=secrets.token_bytes(16))

    def admit(self, now: float, caller: Hashable = None) -> Permit | None:
        """Return the permit of the circuit breaker.  Raises LocalProtocolError while it is open."""
        breaker = self._breaker
        if breaker is None:
            return None
        permit = breaker.admit(now=now, party=caller)
        if permit is None:
            wait = (breaker.deadline() or now) - now
            raise LocalProtocolError(
                f"the server keeps failing; it is tried again in {wait:.1f} s (circuit breaker)"
            )
        return permit

    @property
    def open(self) -> bool:
        """True while the circuit breaker lets no requests pass, but for a probe."""
        return self._breaker is not None and self._breaker.state is not Circuit.CLOSED

    def settle(
        self, permit: Permit | None, event: Event, now: float, caller: Hashable = None
    ) -> None:
        """Tell the circuit breaker of an outcome; that of a cancelled request says nothing.

        An error that blames the server may be that of one client alone: it counts by ``caller``,
        and without one as that of a probe only.
        """
        breaker = self._breaker
        if breaker is None or permit is None:
            return
        failed: bool | None = _failure(event).blames_server
        if isinstance(event, events.RequestEnded):
            failed, caller = failed or None, None
        elif failed and caller is None and breaker.state is Circuit.CLOSED:
            failed = None
        several = isinstance(caller, Address)
        breaker.record(permit, failed=failed, now=now, party=caller, several=several)
        while (change := breaker.next_event()) is not None:
            logger.warning("%s: circuit breaker: %s", self.name, change.after.value)

    def again(self, call: PassedCall, event: Event, now: float) -> float | None:
        """Return the seconds until a failed call is sent again, None if that is not to be."""
        retrying = self._retrying
        if retrying is None:
            return None
        if call.attempts is None:
            call.attempts = retrying.begin(now=now, timeout=call.until - now)
        if isinstance(event, events.ResultReceived):
            return None
        target = call.link.target
        repeatable = may_repeat(call.method, bytes(call.params), None, target.repeatable)
        delay = retrying.failed(call.attempts, _failure(event), repeatable=repeatable, now=now)
        while (decision := retrying.next_event()) is not None:
            logger.info("%s: %s: %s", self.name, call.method, decision)
        return delay


def _failure(event: Event) -> RequestFailure:
    """Judge an outcome; a result is no failure."""
    if isinstance(event, events.ErrorReceived):
        return failure_of_error(event.error)
    if isinstance(event, events.RequestEnded):
        return failure_of_end(event.reason, event.fault)
    return _NONE
