"""Metrics of a server's sessions, streams, requests in progress, refusals and policies (``otel``).

A listen stream is a span, too, from its acknowledgement to its end.

::

    RuntimeSettings(middleware=(observe_answers(),), observer=observe_sessions())

A session is a connection of a stream, or a legacy session over HTTP; modern HTTP has none.  With a
store they are those that this worker holds; one that ends at another worker has no duration.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.trace import Span, SpanKind, TracerProvider, get_tracer

from mcpcore.engine.events import (
    Event,
    Key,
    Ready,
    SubscriptionClosed,
    SubscriptionOpened,
    Violation,
)
from mcpcore.engine.lifecycle import State, StreamSignal
from mcpcore.engine.peer import Peer
from mcpcore.http.server.exchange import ExchangeEnded
from mcpcore.http.server.sessions import SessionClosed, SessionOpened
from mcpcore.http.storing import SessionForgotten
from mcpcore.policy.balancing import Standing
from mcpcore.policy.breaker import Breaker, Circuit, CircuitChanged
from mcpcore_transports.client.policies import log_event
from mcpcore_transports.link import Link, clock
from mcpcore_transports.server.settings import Observer, Runtime, RuntimeSettings, ServerMachine
from mcpcore_transports.telemetry.relaying import RelayedRequests
from mcpcore_transports.telemetry.requests import (
    SCOPE,
    RequestInstruments,
    histogram_of,
    origin_of,
)

__all__ = ["GAUGES", "REFUSALS", "STREAM_END", "observe_circuits", "observe_sessions"]

T = TypeVar("T")

REFUSALS = "mcp.server.refusals"
"""Name of the counter of refusals.

Its attributes are ``mcp.refusal.by``, ``protocol``, ``http`` or ``rates``, at gateways also
``trust`` or ``circuit``, and ``error.type``, the code of JSON-RPC or the status; a request that is
refused over HTTP may count in two of them.
"""
STREAM_END = "mcp.stream.end"
"""Attribute of the span of a listen stream: what has ended it, as :class:`StreamSignal` has it."""
_LISTEN = "subscriptions/listen"
_CIRCUIT = "mcp.policy.circuit"
_MOST_CIRCUITS = 1000
"""Maximum circuit breakers of a client that are told of; those that changed first are left out."""
_SESSION = "mcp.server.session.duration"
_ERRORS = 400
"""Status from which on an HTTP response is a refusal."""


def observe_sessions(
    *,
    attributes: Mapping[str, str | int] | None = None,
    tracers: TracerProvider | None = None,
    meters: MeterProvider | None = None,
) -> Observer:
    """Return an observer of sessions for the settings of a server or gateway.

    ``attributes``: those of the transport, such as ``network.transport``, for the durations of
    sessions and the spans of streams; ``tracers``, ``meters``: providers, in place of those of the
    process.  A gateway has spans and durations of its requests by it, without middleware.
    """
    return _SessionObserver(attributes or {}, tracers, meters)


class _SessionObserver:
    """Observer of :func:`observe_sessions`."""

    def __init__(
        self,
        attributes: Mapping[str, str | int],
        tracers: TracerProvider | None,
        meters: MeterProvider | None,
    ) -> None:
        self.attributes = attributes
        self._providers = tracers, meters
        self._relaying: RequestInstruments | None = None
        self.durations = histogram_of(_SESSION, meters)
        self.runtimes: set[_ObservedRuntime] = set()
        """Runtimes that run now."""
        self._tracer = get_tracer(SCOPE, tracer_provider=tracers)
        self._watched: list[Callable[[], Iterable[Breaker]]] = []
        self._replicas: list[Callable[[], Iterable[tuple[str, Standing]]]] = []
        meter = get_meter(SCOPE, meter_provider=meters)
        self._refusals = meter.create_counter(
            REFUSALS, "{request}", "Requests that were refused before a handler ran."
        )
        for name, (unit, description, count) in GAUGES.items():
            meter.create_observable_gauge(name, [_reading(self, count)], unit, description)

    def observed(self, runtime: Runtime, machine: ServerMachine) -> Runtime:
        """Implement :meth:`Observer.observed`."""
        return _ObservedRuntime(self, runtime, machine)

    def relayed(self, machine: ServerMachine) -> RelayedRequests:
        """Implement :meth:`Observer.relayed`."""
        if self._relaying is None:
            tracers, meters = self._providers
            self._relaying = RequestInstruments(
                "server", SpanKind.SERVER, self.attributes, tracers, meters, contents=False
            )
        return RelayedRequests(self._relaying, machine)

    def watch(
        self,
        breakers: Callable[[], Iterable[Breaker]],
        standings: Callable[[], Iterable[tuple[str, Standing]]],
    ) -> None:
        """Implement :meth:`Observer.watch`."""
        self._watched.append(breakers)
        self._replicas.append(standings)

    def refused(self, by: str, code: int) -> None:
        """Implement :meth:`Observer.refused`."""
        self._refusals.add(1, {"mcp.refusal.by": by, "error.type": str(code)})

    def stream(self, opened: SubscriptionOpened) -> Span:
        """Start the span of a listen stream."""
        attributes = {
            **self.attributes,
            "mcp.method.name": _LISTEN,
            "mcp.protocol.version": opened.revision.name,
            "jsonrpc.request.id": str(opened.id),
        }
        parent, links = origin_of(opened.meta)
        return self._tracer.start_span(
            f"{_LISTEN} stream", parent, SpanKind.SERVER, attributes, links
        )

    def circuits(self) -> Iterator[Breaker]:
        """Yield the circuit breakers that are watched."""
        for breakers in self._watched:
            yield from breakers()

    def standings(self) -> Iterator[tuple[str, Standing]]:
        """Yield the names and states of the replicas that are watched."""
        for standings in self._replicas:
            yield from standings()

    def over(self, began: float, **more: str) -> None:
        """Record the duration of a session that is over."""
        self.durations.record(clock() - began, {**self.attributes, **more})


class _ObservedRuntime:
    """Runtime between a machine and its own one."""

    def __init__(self, observer: _SessionObserver, inner: Runtime, machine: ServerMachine) -> None:
        self.settings: RuntimeSettings = inner.settings
        self.machine = machine
        self.streams: dict[Key, Span] = {}
        """Spans of the open listen streams."""
        self._observer = observer
        self._inner = inner
        self._handle = inner.handle
        self._began: dict[str, float] = {}
        self._versions: dict[str | None, str] = {}
        """Revisions by session; None: that of the connection."""
        self._table: dict[type[Event], Callable[[Any], None]] = {
            Ready: self._ready,
            Violation: self._broken,
            ExchangeEnded: self._answered,
            SessionOpened: self._opened,
            SessionClosed: self._closed,
            SessionForgotten: self._forgotten,
            SubscriptionOpened: self._stream_opened,
            SubscriptionClosed: lambda event: self._stream_ended(event.key, event.reason),
        }
        if not isinstance(machine, Peer):
            machine.reports = True

    @property
    def link(self) -> Link | None:
        """Link of the runtime that is observed."""
        return self._inner.link

    @link.setter
    def link(self, link: Link | None) -> None:
        self._inner.link = link

    @property
    def sessions(self) -> int:
        """Number of open sessions."""
        return 1 if isinstance(self.machine, Peer) else self.machine.sessions

    @property
    def requests(self) -> int:
        """Number of requests in progress, listen streams excluded."""
        machine = self.machine
        found = machine.in_flight if isinstance(machine, Peer) else machine.calls
        return max(0, found - len(self.streams))

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the inner runtime; a connection is a session."""
        observer, began = self._observer, clock()
        observer.runtimes.add(self)
        failure: dict[str, str] = {}
        try:
            await self._inner.run(link_run)
        except Exception as error:
            failure = {"error.type": type(error).__name__}
            raise
        finally:
            observer.runtimes.discard(self)
            for key in tuple(self.streams):  # if the link was cancelled
                self._stream_ended(key, StreamSignal.END)
            if isinstance(self.machine, Peer):
                observer.over(began, **self._agreed(None), **failure)

    def handle(self, event: Event) -> None:
        """Note an event, and pass it on."""
        note = self._table.get(type(event))
        if note is not None:
            note(event)
        self._handle(event)

    def _ready(self, event: Ready) -> None:
        if isinstance(self.machine, Peer) or event.session in self._began:
            self._versions[event.session] = event.revision.name

    def _agreed(self, session: str | None) -> dict[str, str]:
        """Return the attributes of a session that is over."""
        version = self._versions.pop(session, None)
        return {} if version is None else {"mcp.protocol.version": version}

    def _opened(self, event: SessionOpened) -> None:
        self._began[event.session] = clock()

    def _closed(self, event: SessionClosed) -> None:
        began = self._began.pop(event.session, None)
        if began is not None:
            self._observer.over(began, **self._agreed(event.session))

    def _forgotten(self, event: SessionForgotten) -> None:
        self._began.pop(event.session, None)  # it goes on elsewhere
        self._agreed(event.session)

    def _stream_opened(self, event: SubscriptionOpened) -> None:
        self.streams[event.key] = self._observer.stream(event)

    def _stream_ended(self, key: Key, reason: StreamSignal) -> None:
        span = self.streams.pop(key, None)
        if span is not None:
            span.set_attribute(STREAM_END, reason.value)
            span.end()

    def _broken(self, event: Violation) -> None:
        if event.refused:
            self._observer.refused("protocol", event.code)

    def _answered(self, event: ExchangeEnded) -> None:
        if event.status is None or event.status < _ERRORS or isinstance(self.machine, Peer):
            return
        if event.path not in self.machine.settings.health_paths:
            self._observer.refused("http", event.status)


Counts = Iterable[tuple[int, dict[str, str]]]
"""Values of a gauge with their attributes."""


def _sum_of(name: str) -> Callable[[_SessionObserver], Counts]:
    """Return a function that adds up an attribute of all runtimes."""

    def count(observer: _SessionObserver) -> Counts:
        values = (getattr(each, name) for each in tuple(observer.runtimes))
        return [(sum(map(_size, values)), {})]

    return count


def _size(value: Any) -> int:
    return value if isinstance(value, int) else len(value)


def _failing(observer: _SessionObserver) -> Counts:
    """Count the health checks that fail, by name."""
    machines = [each.machine for each in tuple(observer.runtimes)]
    names = Counter(
        name for each in machines if not isinstance(each, Peer) for name in each.failing
    )
    return [(1, {"mcp.check.name": name}) for name in names]


def _circuits(observer: _SessionObserver) -> Counts:
    return _states("circuit", ((each.name, each.state) for each in observer.circuits()))


def _standings(observer: _SessionObserver) -> Counts:
    return _states("replica", observer.standings())


def _states(kind: str, states: Iterable[tuple[str, State]]) -> Counts:
    """Tell of each circuit breaker or replica and each state whether it is in it."""
    return [
        (int(state is now), {f"mcp.{kind}.name": name, f"mcp.{kind}.state": state.value})
        for name, now in tuple(states)
        for state in type(now)
    ]


GAUGES: dict[str, tuple[str, str, Callable[[_SessionObserver], Counts]]] = {
    "mcp.server.active_sessions": ("{session}", "Open sessions.", _sum_of("sessions")),
    "mcp.server.active_streams": ("{stream}", "Open listen streams.", _sum_of("streams")),
    "mcp.server.active_requests": (
        "{request}",
        "Requests that are not answered yet: the depth of the queue.",
        _sum_of("requests"),
    ),
    "mcp.server.failing_checks": ("{check}", "Health checks that fail.", _failing),
    _CIRCUIT: ("1", "1 for the state that a circuit breaker is in.", _circuits),
    "mcp.policy.replica": ("1", "1 for the state that a replica is in.", _standings),
}
"""Units, descriptions and functions of the gauges, by name."""


def observe_circuits(
    name: str,
    *,
    meters: MeterProvider | None = None,
    report: Callable[[Event], object] = log_event,
) -> Callable[[Event], None]:
    """Return a function for ``report`` of :func:`break_circuit`: a gauge has the states.

    ``name`` is that of the server; with breakers of tools, those that are not closed have it and
    the tool's name.  ``meters``: the provider, in place of that of the process.  ``report`` takes
    each event, too.
    """
    states = {name: Circuit.CLOSED}

    def take(event: Event) -> None:
        if isinstance(event, CircuitChanged):
            breaker = f"{name} {event.name}" if event.name else name
            states.pop(breaker, None)
            if breaker == name or event.after is not Circuit.CLOSED:
                states[breaker] = event.after
            if len(states) > _MOST_CIRCUITS:
                del states[next(iter(states))]
        report(event)

    unit, description, _ = GAUGES[_CIRCUIT]
    meter = get_meter(SCOPE, meter_provider=meters)
    read = _reading(states, lambda states: _states("circuit", states.items()))
    meter.create_observable_gauge(_CIRCUIT, [read], unit, description)
    return take


def _reading(
    source: T, count: Callable[[T], Counts]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, cast(Any, attributes)) for value, attributes in count(source)]

    return read
