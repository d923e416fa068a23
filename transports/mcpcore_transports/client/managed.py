"""Connection to one of several servers: opened when needed, and again after it was lost."""

import math
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct, field, structs

from mcpcore import errors
from mcpcore.engine import reconnection
from mcpcore.engine.events import Event, Fault, FaultKind
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.policy.balancing import BalanceSettings
from mcpcore.policy.breaker import BreakerSettings, Circuit, CircuitChanged
from mcpcore.policy.health import Condition, ConditionChanged, Health, HealthSettings, ProbeDue
from mcpcore.policy.retrying import RetrySettings
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.listen import LISTEN
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.client.policies import blames_server, break_circuit
from mcpcore_transports.client.reconnect import StandingStill
from mcpcore_transports.link import clock
from mcpcore_transports.running.middleware import CallNext
from mcpcore_transports.targets import Replicas, Target

if TYPE_CHECKING:  # types alone: few authorize
    from mcpcore_transports.auth.stores import TokenStore
    from mcpcore_transports.http.client.authorization import Auth
else:  # for signatures
    Auth = Any

START_SHARE = 1.0
"""Seconds after which a connection that is not open yet no longer keeps others from beginning."""
LATENCIES = 1000
"""Maximum latencies that are kept for the percentiles of a target."""


class ServerOptions(Replicas, frozen=True, kw_only=True):
    """Options of one of several servers.  Times are in seconds.

    Every target is anything that :func:`~mcpcore.connect` takes.  Raises ValueError, BadTarget.
    """

    revisions: Sequence[str] | None = None
    """Revisions to speak, of which the newest common one is used; None: all."""
    auth: "Auth | None" = None
    """Authorization at its targets, as :func:`~mcpcore.connect` takes it."""
    callbacks: Callbacks | None = None
    """Callbacks; without ``connection``, as :class:`AvailabilityChanged` tells the same."""
    settings: ClientSettings = field(default_factory=ClientSettings)
    """Settings of each connection; ``reconnect`` has the delays, and the attempts do not end."""
    middleware: Sequence[ClientMiddleware] = ()
    """Middleware outside of the circuit breaker."""
    start_timeout: float = 10.0
    """Maximum time for opening a connection, without that for its authorization."""
    list_timeout: float = 10.0
    """Maximum time that a merged list waits for this server; if a person has to sign in again for
    an open connection, it waits for that, too."""
    stale: float = 0.0
    """Maximum age of the last list that is used while the server gives none; 0: none is."""
    in_flight: int = 1024
    """Maximum requests to the server at a time; one more is refused."""
    retry: RetrySettings = field(default_factory=RetrySettings)
    """Retries of requests that failed."""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    """Circuit breaker of each target."""
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    """Balancing of requests over the targets."""
    health: HealthSettings = field(default_factory=HealthSettings)
    """Health of the targets, and the probes of it."""

    def __post_init__(self) -> None:
        check_numbers(self, "stale")
        super().__post_init__()
        if self.revisions is not None:
            parse_revisions(self.revisions)
        if self.callbacks is not None and self.callbacks.connection is not None:
            raise ValueError("the callback `connection` is not used: `report` tells of changes")


class Availability(State):
    """States of a target's connection."""

    IDLE = "idle"
    """Server that no request has needed yet."""
    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"
    """Lost, or not opened; another attempt follows."""
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class AvailabilitySignal(State):
    """Signals that move a target's connection."""

    USE = "first request"
    OPENED = "conversation begun"
    FAIL = "failed or lost"
    RETRY = "time for another attempt"
    REST = "no attempt by itself"
    CLOSE = "closed by this side"


AVAILABILITY: Table[Availability, AvailabilitySignal] = {
    (Availability.IDLE, AvailabilitySignal.USE): Availability.CONNECTING,
    (Availability.CONNECTING, AvailabilitySignal.OPENED): Availability.OPEN,
    (Availability.CONNECTING, AvailabilitySignal.FAIL): Availability.WAITING,
    (Availability.OPEN, AvailabilitySignal.FAIL): Availability.WAITING,
    (Availability.WAITING, AvailabilitySignal.RETRY): Availability.RECONNECTING,
    (Availability.WAITING, AvailabilitySignal.REST): Availability.IDLE,
    (Availability.RECONNECTING, AvailabilitySignal.OPENED): Availability.OPEN,
    (Availability.RECONNECTING, AvailabilitySignal.FAIL): Availability.WAITING,
    **{
        (each, AvailabilitySignal.CLOSE): Availability.CLOSED
        for each in Availability
        if each is not Availability.CLOSED
    },
}
DIAGRAMS = (
    (
        "Connection of one of several servers",
        "Each target of `connect_all()`; a failure for good waits too, and then for a request.",
        AVAILABILITY,
    ),
)
"""Title, text and table of each diagram."""


class AvailabilityChanged(Event, frozen=True, kw_only=True, gc=False):
    """Change of a target's connection."""

    before: Availability
    after: Availability
    reason: str | None = None
    """Reason of a failure."""


class TargetHealth(Struct, frozen=True, kw_only=True):
    """Health of one target.  Latencies are in seconds, of the latest answers; None without any."""

    target: str
    availability: Availability
    condition: Condition
    circuit: Circuit
    revision: str | None
    """The negotiated revision, None before the first conversation."""
    requests: int
    failures: int
    """Requests for whose failure the server, or the way to it, is at fault."""
    in_flight: int
    p50: float | None
    p90: float | None
    p99: float | None
    reason: str | None
    """Reason of the last failure to connect, or of the last loss."""


class _Patient(connect):
    """Connection whose flows of authorization let limits of time stand still."""

    still: StandingStill

    @contextmanager
    def _authorizing(self) -> Iterator[None]:
        with self.still.flow(), super()._authorizing():
            yield


class ManagedConnection:
    """Connection to one target of ``server``.

    ``starts`` bounds how many begin at a time.  ``report`` takes every event and ``marked`` the
    health, True for up.
    """

    def __init__(
        self,
        server: str,
        name: str,
        target: Target,
        options: ServerOptions,
        group: TaskGroup,
        starts: anyio.Semaphore,
        report: Callable[[Event], object],
        marked: Callable[[bool], object],
    ) -> None:
        self.name = name
        self.state = Availability.IDLE
        self.client: Client | None = None
        """The open conversation, or the last one."""
        self._server = server
        self._target = target
        self._options = options
        self._group = group
        self._starts = starts
        self._report = report
        self._marked = marked
        self._middleware = (
            *options.middleware,
            break_circuit(options.breaker, report=self._on_circuit),
            self._observe,
        )
        self._circuit = Circuit.CLOSED
        self._condition = Condition.UNKNOWN
        self._health: Health | None = None
        self._changed = anyio.Event()
        self._lost = anyio.Event()
        self._scope = anyio.CancelScope()
        """Scope of the attempt to connect, or of the time until the next one."""
        self._probe = anyio.CancelScope()
        """Scope of the last request that was sent to see how the server is."""
        self.still = StandingStill()
        """Limits that wait while a person is asked for this connection."""
        self._tokens: TokenStore | None = options.settings.tokens
        """Store of the tokens for all connections, one after the other."""
        self._failure: Exception | None = None
        self._retry_at: float | None = None
        self._unauthorized = False
        """True if the last request has failed for want of authorization: a probe might ask a person
        each time, and nobody waits for it."""
        self._requests = self._failures = self._in_flight = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)

    async def opened(self, method: str, *, patient: bool) -> Client:
        """Return the open client, connected first if needed.  Raises ServerUnavailable.

        ``patient``: True to wait even if the last attempt has failed.
        """
        if self.state is Availability.IDLE:
            self._step(AvailabilitySignal.USE)
            self._group.start_soon(self._run)
        while True:
            client = self.client if self.state is Availability.OPEN else None
            if client is not None and client.closed is None:
                return client
            if client is not None:
                self._lost.set()
            elif not self._is_coming(patient):
                break
            await self._changed.wait()
        if self._is_closed():
            raise errors.ConnectionClosed(method, "closed by this side")
        wait = None if self._retry_at is None else max(0.0, self._retry_at - clock())
        fault, _ = _judge(self._failure)
        reason = _text(self._failure)
        error = errors.ServerUnavailable(method, self._server, reason, wait, fault)
        raise error from self._failure

    def _is_coming(self, patient: bool) -> bool:
        again = patient and self.state is Availability.RECONNECTING
        return again or self.state is Availability.CONNECTING

    def _is_closed(self) -> bool:
        return self.state is Availability.CLOSED

    def close(self) -> None:
        """Begin to close the connection."""
        was_open = self.state is Availability.OPEN
        self._step(AvailabilitySignal.CLOSE)
        if was_open:
            self._lost.set()
            self._probe.cancel()
        else:
            self._scope.cancel()

    def health(self) -> TargetHealth:
        """Return the health of the target."""
        ordered = sorted(self._latencies)

        def percentile(share: float) -> float | None:
            return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None

        return TargetHealth(
            target=self.name,
            availability=self.state,
            condition=self._condition,
            circuit=self._circuit,
            revision=None if self.client is None else self.client.revision.name,
            requests=self._requests,
            failures=self._failures,
            in_flight=self._in_flight,
            p50=percentile(0.5),
            p90=percentile(0.9),
            p99=percentile(0.99),
            reason=None if self._failure is None else _text(self._failure),
        )

    # Connections, one after the other

    async def _run(self) -> None:
        pace = self._options.settings.reconnect
        plan = reconnection.Reconnection(pace, sys.maxsize, seed=secrets.token_bytes(16))
        while not self._is_closed():
            try:
                await self._converse(plan)
            except Exception as error:  # whatever it is, the other servers go on
                self._failure = error
            if self._is_closed():
                return
            fault, final = _judge(self._failure)
            attempt = plan.lost(clock(), final=final, fault=fault)
            delay = pace.max_delay if attempt is None else attempt.delay
            self._retry_at = None if attempt is None else clock() + delay
            self._step(AvailabilitySignal.FAIL)
            with anyio.CancelScope() as self._scope:
                await anyio.sleep(delay)
            if self._is_closed():
                return
            if attempt is None:
                self._condition = Condition.UNKNOWN  # nothing but a request finds out
                self._marked(True)
                self._step(AvailabilitySignal.REST)
                return
            self._step(AvailabilitySignal.RETRY)

    async def _converse(self, plan: reconnection.Reconnection) -> None:
        """Connect, and keep the connection until it is lost or closed; raise its failure."""
        options = self._options
        reconnect = structs.replace(options.settings.reconnect, attempts=0, max_restarts=0)
        callbacks = options.callbacks or Callbacks()
        if self._tokens is None and (options.auth or getattr(self._target, "auth", None)):
            from mcpcore_transports.auth.stores import MemoryTokens  # late: few authorize

            self._tokens = MemoryTokens()
        settings = structs.replace(options.settings, reconnect=reconnect, tokens=self._tokens)
        connecting = _Patient(
            self._target,
            callbacks=structs.replace(callbacks, connection=self._on_connection),
            revisions=options.revisions,
            auth=options.auth,
            settings=settings,
            middleware=self._middleware,
        )
        connecting.still = self.still
        begun = anyio.Event()
        self._lost = anyio.Event()
        try:
            with anyio.CancelScope() as self._scope, ExitStack() as opening:
                await self._starts.acquire()
                self._group.start_soon(self._share_start, begun)
                self._scope.deadline = anyio.current_time() + options.start_timeout
                opening.enter_context(self.still.within(self._scope))
                async with connecting as self.client:
                    opening.close()
                    self._scope.deadline = math.inf
                    begun.set()
                    plan.opened(clock())
                    self._step(AvailabilitySignal.OPENED)
                    await self._watch(self.client)
        finally:
            begun.set()
        if self._is_closed():
            return
        if self._scope.cancelled_caught:
            raise errors.LinkError(f"there was no conversation within {options.start_timeout:g} s")
        closed = None if self.client is None else self.client.closed
        raise errors.LinkError(closed or "the connection ended")

    async def _share_start(self, begun: anyio.Event) -> None:
        """Give room to the next connection once this one is open, has failed, or takes long."""
        with anyio.move_on_after(START_SHARE):
            await begun.wait()
        self._starts.release()

    async def _watch(self, client: Client) -> None:
        """Probe the server when its health says so, until the connection is lost or closed."""
        health = Health(client.revision, self._options.health, now=clock())
        self._health = health
        health.record(failed=False, now=clock())  # negotiation has succeeded
        self._tell_health()
        while not self._lost.is_set():
            with anyio.move_on_after(health.deadline() - clock()):
                await self._lost.wait()
                return
            health.handle_timeout(clock())
            due = self._tell_health()
            if due and self._unauthorized:
                health.postpone(clock())
            elif due:
                # it was observed like any request
                with suppress(Exception), anyio.CancelScope() as self._probe:
                    await client.ping(timeout=self._options.health.probe_time)

    # Signals and events

    def _on_connection(self, event: reconnection.ConnectionEvent) -> None:
        if isinstance(event, reconnection.ReconnectingGivenUp):
            self._lost.set()

    def _on_circuit(self, event: Event) -> None:
        if isinstance(event, CircuitChanged):
            self._circuit = event.after
        self._report(event)

    async def _observe(self, request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        """Count a request and its outcome, for the report and the health."""
        if request.method == LISTEN:  # it lasts as long as it is wanted
            return await call_next()
        began, failed = clock(), None
        self._requests += 1
        self._in_flight += 1
        try:
            outcome = await call_next()
            failed = self._unauthorized = False
            return outcome
        except (errors.PeerError, errors.CallFailed) as error:
            failed = blames_server(error)
            self._unauthorized = isinstance(error, errors.AuthorizationError)
            raise
        finally:
            self._in_flight -= 1
            self._failures += failed is True
            if failed is False:
                self._latencies.append(clock() - began)
            if failed is not None and self._health is not None:
                self._health.record(failed=failed, now=clock())
                self._tell_health()

    def _tell_health(self) -> bool:
        """Report the events of the health; return True if a probe is due."""
        due = False
        while self._health is not None and (event := self._health.next_event()) is not None:
            self._report(event)
            if isinstance(event, ConditionChanged):
                self._condition = event.after
                self._marked(event.after is Condition.UP)
            due = due or isinstance(event, ProbeDue)
        return due

    def _step(self, signal: AvailabilitySignal) -> None:
        before, after = self.state, step(AVAILABILITY, self.state, signal)
        if after is None:
            return
        self.state = after
        reason = _text(self._failure) if after is Availability.WAITING else None
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        self._report(AvailabilityChanged(before=before, after=after, reason=reason))


def _judge(error: Exception | None) -> tuple[Fault, bool]:
    """Return the fault of a failed connection, and True if the next one would fail alike."""
    cause = error.__cause__ if isinstance(error, errors.NegotiationError) else error
    fault = getattr(cause, "fault", None)
    known = fault or Fault(FaultKind.CONNECT)
    if isinstance(error, errors.LinkError):
        return known, error.final
    if isinstance(error, errors.AuthorizationError):
        return fault or Fault(FaultKind.AUTHORIZATION), not (fault and fault.passing)
    if isinstance(error, errors.NegotiationError):
        return known, reconnection.refuses_for_good(error.error) or reconnection.fails_for_good(
            fault
        )
    return known, True  # a mistake in the target, its settings or a function of the application


def _text(error: Exception | None) -> str:
    """Return the reason for a message; the text of a foreign exception may hold secrets."""
    if isinstance(error, errors.LocalError | errors.McpError):
        return str(error)
    return type(error).__name__
