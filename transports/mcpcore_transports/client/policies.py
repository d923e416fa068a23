"""Policies as middleware of a client: retries, and a circuit breaker.

::

    connect(url, middleware=[retry_requests(), break_circuit()])

In this order each attempt passes the breaker, and an open breaker ends the attempts.  Clients that
are given the same middleware share its state.
"""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable

import anyio
from msgspec import structs

from mcpcore import errors
from mcpcore.engine.events import Event
from mcpcore.policy.breaker import Breaker, BreakerSettings
from mcpcore.policy.failures import RequestFailure, failure_of_end, failure_of_error
from mcpcore.policy.retrying import Retrying, RetrySettings
from mcpcore.wire.jsontext import to_json
from mcpcore_transports.client.errors import reason_of
from mcpcore_transports.client.listen import LISTEN
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.client.tasks import CALL
from mcpcore_transports.link import clock
from mcpcore_transports.running.middleware import CallNext
from mcpcore_transports.server.failures import subject

logger = logging.getLogger("mcpcore.client")


def log_event(event: Event) -> None:
    """Log an event of a policy."""
    logger.info("%s", event)


def retry_requests(
    settings: RetrySettings | None = None, *, report: Callable[[Event], object] = log_event
) -> ClientMiddleware:
    """Return middleware that sends failed requests again, within their timeout.

    Only requests that may be carried out twice, or were certainly not carried out at all, are sent
    again; see :meth:`OutgoingRequest.may_repeat`.  ``report`` takes the events
    :class:`~mcpcore.policy.retrying.RetryPlanned` and
    :class:`~mcpcore.policy.retrying.RetryDenied`; what it raises is logged.
    """
    retrying = Retrying(settings, seed=secrets.token_bytes(16))

    async def retried(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        if request.method == LISTEN:  # the stream is opened again by itself
            return await call_next()
        call = retrying.begin(now=clock(), timeout=request.timeout)
        while True:
            try:
                return await call_next()
            except (errors.PeerError, errors.CallFailed) as error:
                failure, repeatable = request_failure(error), request.may_repeat()
                delay = retrying.failed(call, failure, repeatable=repeatable, now=clock())
                _report(retrying, report)
                if delay is None:
                    raise
            await anyio.sleep(delay)
            if call.deadline is not None:
                request.timeout = max(0.0, call.deadline - clock())

    return retried


def break_circuit(
    settings: BreakerSettings | None = None,
    *,
    tools: int = 0,
    tool_errors: bool = False,
    report: Callable[[Event], object] = log_event,
) -> ClientMiddleware:
    """Return middleware that raises CircuitOpen while the server keeps failing.

    ``tools``: maximum tools that have a circuit breaker each, besides that of all other requests;
    the one unused for longest is dropped first.  ``tool_errors``: True if a result with ``isError``
    counts as a failure.  ``report`` takes the events
    :class:`~mcpcore.policy.breaker.CircuitChanged`, whose name is that of the tool, or empty.
    """
    shared = Breaker(settings)
    breakers: OrderedDict[str, Breaker] = OrderedDict()

    def breaker_of(request: OutgoingRequest) -> Breaker:
        if not tools or request.method != CALL:
            return shared
        params = request.params
        name = params.get("name") if isinstance(params, dict) else subject(CALL, to_json(params))
        if not isinstance(name, str):
            return shared
        breaker = breakers.setdefault(name, Breaker(settings, name=name))
        breakers.move_to_end(name)
        if len(breakers) > tools:
            breakers.popitem(last=False)
        return breaker

    async def guarded(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        breaker, failed = breaker_of(request), None
        now = clock()
        permit = breaker.admit(now=now)
        _report(breaker, report)
        if permit is None:
            raise errors.CircuitOpen(request.method, (breaker.deadline() or now) - now)
        try:
            outcome = await call_next()
            failed = tool_errors and request.method == CALL and outcome.failed
            return outcome
        except (errors.PeerError, errors.CallFailed) as error:
            failed = blames_server(error)
            raise
        finally:
            breaker.record(permit, failed=failed, now=clock())
            _report(breaker, report)

    return guarded


def request_failure(error: errors.PeerError | errors.CallFailed) -> RequestFailure:
    """Judge a failed request by its exception."""
    if isinstance(error, errors.PeerError):
        return failure_of_error(error.error, error.fault)
    reason = reason_of(error)
    failure = RequestFailure() if reason is None else failure_of_end(reason, error.fault)
    if isinstance(error, errors.ServerUnavailable):
        passing = failure.passing and error.wait is not None
        failure = structs.replace(failure, passing=passing, wait=error.wait)
    return failure


def blames_server(error: errors.PeerError | errors.CallFailed) -> bool | None:
    """Return True if the server failed, False if it answered, None if nothing is known of it."""
    if request_failure(error).blames_server:
        return True
    return False if isinstance(error, errors.PeerError) else None


def _report(policy: Retrying | Breaker, report: Callable[[Event], object]) -> None:
    while (event := policy.next_event()) is not None:
        try:
            report(event)
        except Exception:
            logger.exception("the report of %s failed", event)
