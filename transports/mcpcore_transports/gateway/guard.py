"""Policies of a gateway for one server: its circuit breaker, its retries, and the trust in it."""

import logging
import secrets
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import structs

from mcpcore.engine import events
from mcpcore.engine.events import Event
from mcpcore.engine.outbound import may_repeat
from mcpcore.policy.breaker import Breaker, Circuit, Permit
from mcpcore.policy.differences import ServerDescription
from mcpcore.policy.failover import may_go_elsewhere
from mcpcore.policy.failures import RequestFailure, failure_of_end, failure_of_error
from mcpcore.policy.retrying import Retrying
from mcpcore.policy.trust import BLOCKED, UNCHECKED, TrustPolicy, TrustSettings
from mcpcore.relay.link import Address, ListsUnread, PassedCall, is_cut_off
from mcpcore.relay.names import NameKind, Names, Naming
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.wire.jsontext import Body, to_json
from mcpcore.wire.message import RequestId
from mcpcore_transports.client.guarding import log_notice
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.running.audit import log_decision, printable, session_label
from mcpcore_transports.server.failures import operation
from mcpcore_transports.server.logs import label_server

logger = logging.getLogger("mcpcore.gateway")

_NONE = RequestFailure()
END_TEXTS: Mapping[type[Event], str] = {
    events.RequestEnded: "message",
    events.NegotiationFailed: "message",
    events.ConnectionEnded: "reason",
}
"""Members with the text of an end, by the type of its event."""


class ServerGuard:
    """Guard of one server, as the relay asks for it.

    ``pins`` are compared also without settings of the trust in it.  ``refused`` is told of each
    request that is not sent, and of what is blocked: ``trust`` or ``circuit``.  Raises ValueError
    for ``strict`` without pins.
    """

    def __init__(
        self,
        name: str,
        settings: GatewaySettings,
        pins: ServerDescription | None = None,
        refused: Callable[[str], object] = lambda by: None,
    ) -> None:
        self.name = name
        self._refused = refused
        trust = settings.guard.get(name, None if pins is None else TrustSettings())
        report = partial(log_notice, server=name)
        self._trust = None if trust is None else TrustPolicy(trust, pins, report=report)
        for glob in () if trust is None else _with_prefix(name, trust.deny):
            text = "%s: deny %r: globs are for the names that the server itself has"
            logger.warning(text, name, glob)
        self.breaker: Breaker | None = None
        """Circuit breaker of the server, if there is to be one."""
        self._retrying = None
        if settings.breaker is not None:
            self.breaker = Breaker(settings.breaker, name=name)
        if settings.retry is not None:
            self._retrying = Retrying(settings.retry, seed=secrets.token_bytes(16))

    def comparable(self, revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
        """Return those of some revisions in which the server may be trusted."""
        return revisions if self._trust is None else self._trust.comparable(revisions)

    def admit(
        self, now: float, method: str, params: Body, caller: Hashable = None
    ) -> Permit | None:
        """Return the permit of the circuit breaker.

        Raises LocalProtocolError while it is open, and for what the server is not trusted with;
        ListsUnread for what nobody has compared with its pin since the server may have changed.
        """
        trust = self._trust
        refusal = None if trust is None else trust.refusal_of(method, params)
        if trust is not None and refusal is UNCHECKED and (lists := trust.unread(method, params)):
            raise ListsUnread(UNCHECKED, lists)
        if refusal is not None:
            self._refuse(_label(caller), operation(method, to_json(params)), refusal)
            raise LocalProtocolError(refusal)
        breaker = self.breaker
        if breaker is None:
            return None
        permit = breaker.admit(now=now, party=caller)
        if permit is None:
            self._refused("circuit")
            wait = (breaker.deadline() or now) - now
            raise LocalProtocolError(
                f"the server keeps failing; it is tried again in {wait:.1f} s (circuit breaker)"
            )
        return permit

    def passed(self, event: Event, calls: Mapping[RequestId, PassedCall]) -> Event | None:
        """Return an event of the server as clients may see it, None if it is blocked whole.

        ``calls``: those that the server has yet to answer, by id there.
        """
        trust = self._trust
        if trust is None:
            return event
        if isinstance(event, events.Ready):
            trust.reconnected()
            return structs.replace(event, instructions=trust.greeted(event.instructions))
        elif isinstance(event, events.NotificationReceived | events.SubscriptionNotification):
            trust.notified(event.method)
            with suppress(msgspec.MsgspecError):
                params = trust.notification(event.method, event.params)
                return None if params is None else structs.replace(event, params=params)
            return None
        elif isinstance(event, events.RequestReceived):
            params = trust.question(event.method, event.params)
            if params is None:
                self._refuse(f"server {self.name}", event.method, BLOCKED)
                return None
            return structs.replace(event, params=params)
        elif isinstance(event, events.ErrorReceived):
            error = trust.error(event.method, event.error)
            if error.message is BLOCKED:
                self._refuse_call(calls.get(event.request), event.method)
            return structs.replace(event, error=error)
        elif isinstance(event, events.InputRequired):
            requests = trust.questions(event.method, event.requests)
            if requests is None:
                return self._blocked(event, calls)
            return structs.replace(event, requests=requests)
        elif told := END_TEXTS.get(type(event)):
            return self._ended(trust, event, told, calls)
        elif isinstance(event, events.ResultReceived):
            try:
                result = trust.passed(event.method, event.result)
            except msgspec.MsgspecError as error:
                return _failed(event, f"the result is malformed: {error}")
            except Exception:  # else its request would not end
                logger.exception("%s: what it answers cannot be looked at", self.name)
                return _failed(event, BLOCKED)
            if result is None:
                return self._blocked(event, calls)
            return structs.replace(event, result=result)
        return event

    def _ended(
        self, trust: TrustPolicy, event: Any, told: str, calls: Mapping[RequestId, PassedCall]
    ) -> Event:
        """Hold the text of an end as that of an error: a refusal of HTTP has the server's words."""
        if not isinstance(event, events.RequestEnded) or is_cut_off(event):
            trust.reconnected()
        method = getattr(event, "method", "initialize")
        text = trust.error(method, ErrorData(INTERNAL_ERROR, getattr(event, told))).message
        if text is BLOCKED:
            self._refuse_call(calls.get(getattr(event, "request", "")), method)
        ended: Event = structs.replace(event, **{told: text})
        return ended

    def _blocked(
        self,
        event: events.ResultReceived | events.InputRequired,
        calls: Mapping[RequestId, PassedCall],
    ) -> Event:
        self._refuse_call(calls.get(event.request), event.method)
        return _failed(event, BLOCKED)

    def _refuse_call(self, call: PassedCall | None, method: str) -> None:
        """Tell that the answer to a request is blocked: that of a call, else of the relay's own."""
        what = method if call is None else operation(method, call.params)
        self._refuse(_label(None if call is None else call.caller), what, BLOCKED)

    def _refuse(self, who: str, what: str, reason: str) -> None:
        with label_server(self.name):
            log_decision(who, f"{what} of server {self.name}", reason)
        self._refused("trust")

    @property
    def open(self) -> bool:
        """True while the circuit breaker lets no requests pass, but for a probe."""
        return self.breaker is not None and self.breaker.state is not Circuit.CLOSED

    def settle(
        self, permit: Permit | None, event: Event, now: float, caller: Hashable = None
    ) -> None:
        """Tell the circuit breaker of an outcome; that of a cancelled request says nothing.

        An error that blames the server may be that of one client alone: it counts by ``caller``,
        and without one as that of a probe only.  An end counts by ``caller`` if there is one.
        """
        breaker = self.breaker
        if breaker is None or permit is None:
            return
        failed: bool | None = failure_of(event).blames_server
        if isinstance(event, events.RequestEnded):
            failed = failed or None
        elif failed and caller is None and breaker.state is Circuit.CLOSED:
            failed = None
        several = isinstance(caller, Address)
        breaker.record(permit, failed=failed, now=now, party=caller, several=several)
        while (change := breaker.next_event()) is not None:
            logger.warning("%s: circuit breaker: %s", self.name, change.after.value)

    def again(self, call: PassedCall, event: Event, now: float) -> float | None:
        """Return the seconds until a failed call is sent again, None if that is not to be.

        It goes to each replica once, and then, as the retries have it, to all but the last.
        """
        retrying = self._retrying
        if retrying is not None and call.attempts is None:
            call.attempts = retrying.begin(now=now, timeout=call.until - now)
        if isinstance(event, events.ResultReceived):
            return None
        link, failure = call.link, failure_of(event)
        target = link.target
        repeatable = may_repeat(call.method, bytes(call.params), None, target.repeatable)
        movable = link.spread or link.ended or link.replica in target.gone
        if movable and now < call.until and may_go_elsewhere(failure, repeatable):
            call.tried.add(link.replica)
            if len(call.tried) < len(target.replica_names):
                return 0.0
        call.tried = {link.replica} if movable else set()
        if retrying is None:
            return None
        delay = retrying.failed(call.attempts, failure, repeatable=repeatable, now=now)
        while (decision := retrying.next_event()) is not None:
            logger.info("%s: %s: %s", self.name, printable(call.method), decision)
        return delay


def _with_prefix(server: str, globs: Iterable[str]) -> list[str]:
    """Return the globs that begin as the names of a server that a gateway has prefixed."""
    try:
        names = Names((server,), Naming.ALWAYS, 1)
    except ValueError:  # no prefix can be made of its name
        return []
    return [each for each in globs if any(names.inward(kind, each) for kind in NameKind)]


def _failed(event: events.ResultReceived | events.InputRequired, reason: str) -> Event:
    return events.ErrorReceived(event.request, event.method, ErrorData.make(INTERNAL_ERROR, reason))


def _label(caller: Hashable) -> str:
    """Return a caller as the audit log has it."""
    if isinstance(caller, str):
        return f"address {caller}" if isinstance(caller, Address) else f"principal {caller}"
    if not isinstance(caller, tuple):
        return "the gateway"
    machine, session = caller
    return f"session {session_label(session)}" if session else f"connection {id(machine):x}"


def failure_of(event: Event) -> RequestFailure:
    """Judge an outcome; a result is no failure."""
    if isinstance(event, events.ErrorReceived):
        return failure_of_error(event.error, event.fault)
    if isinstance(event, events.RequestEnded):
        return failure_of_end(event.reason, event.fault)
    return _NONE
