"""Page of metrics for Prometheus (extra ``metrics``), of the instruments of OpenTelemetry.

::

    meters = PrometheusMeters()
    runtime = RuntimeSettings(
        middleware=(observe_answers(meters=meters),), observer=observe_sessions(meters=meters)
    )
    ServeSettings(runtime=runtime, http=HttpSettings(pages={"/metrics": meters.page}))

Sources: OpenTelemetry, "Prometheus and OpenMetrics Compatibility"; Prometheus, "Exposition
formats".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    MeterProvider,
    NoOpMeter,
    ObservableGauge,
)

from mcpcore.errors import ExtraMissingError
from mcpcore.http import headers
from mcpcore.http.documents import DocumentReply
from mcpcore.http.messages import HttpRequest

try:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise ExtraMissingError(
        "pages for Prometheus need the extra `metrics`: pip install 'mcpcore[metrics]'"
    ) from None

__all__ = ["PrometheusMeters", "metric_name"]

_MOST = 2000
"""Maximum label sets of an instrument, as OpenTelemetry has it; further ones count as one."""
_OVERFLOW = frozenset({("otel_metric_overflow", "true")})
_UNITS = {"s": "_seconds"}

Labels = frozenset[tuple[str, Any]]


def metric_name(name: str, unit: str) -> str:
    """Return the name by which Prometheus knows a metric, without the suffix of its type."""
    return name.replace(".", "_") + _UNITS.get(unit, "")


def exposed(registry: CollectorRegistry) -> DocumentReply:
    """Return the page of a registry."""
    kind = headers.CONTENT_TYPE, CONTENT_TYPE_PLAIN_0_0_4.encode()
    return DocumentReply(200, (kind,), generate_latest(registry))


class _Series:
    """Values of an instrument by attributes."""

    def __init__(self, name: str, unit: str, description: str, kind: str, size: int = 1) -> None:
        self.name, self._description, self._kind = metric_name(name, unit), description, kind
        self.lock = Lock()
        self._size = size
        self._found: dict[Labels, list[float]] = {}

    def values_of(self, attributes: Mapping[str, Any] | None) -> list[float]:
        """Return the values for some attributes, to be changed under the lock."""
        key: Labels = frozenset(attributes.items()) if attributes else frozenset()
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST:
                key = _OVERFLOW
            found = self._found.setdefault(key, [0.0] * self._size)
        return found

    def metric(self) -> Metric:
        """Return the metric with all samples."""
        found = Metric(self.name, self._description, self._kind)
        with self.lock:
            known = [(key, list(values)) for key, values in self._found.items()]
        for key, values in known:
            labels = {name.replace(".", "_"): str(value) for name, value in sorted(key)}
            for suffix, more, value in self.samples(values):
                found.add_sample(self.name + suffix, {**labels, **more}, value)
        return found

    def samples(self, values: list[float]) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield suffix, further labels and value of each sample."""
        yield "_total", {}, values[0]


class _PageCounter(Counter):
    def __init__(self, name: str, unit: str, description: str) -> None:
        self.series = _Series(name, unit, description, "counter")

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        with self.series.lock:
            self.series.values_of(attributes)[0] += amount


class _Buckets(_Series):
    """Values of a histogram: a count for each bucket, and the sum."""

    def __init__(self, name: str, unit: str, description: str, bounds: Sequence[float]) -> None:
        super().__init__(name, unit, description, "histogram", len(bounds) + 2)
        self.bounds = tuple(map(float, bounds))

    def samples(self, values: list[float]) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield the samples of a histogram, whose buckets contain the smaller ones."""
        count = 0.0
        for bound, value in zip((*self.bounds, "+Inf"), values, strict=False):
            count += value
            yield "_bucket", {"le": str(bound)}, count
        yield "_count", {}, count
        yield "_sum", {}, values[-1]


class _PageHistogram(Histogram):
    def __init__(self, name: str, unit: str, description: str, bounds: Sequence[float]) -> None:
        self.series = _Buckets(name, unit, description, bounds)

    def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self.recorder(attributes)(amount)

    def recorder(self, attributes: Mapping[str, Any] | None) -> Callable[[float], None]:
        """Return the function that records amounts with some attributes."""
        lock, bounds = self.series.lock, self.series.bounds
        with lock:
            values = self.series.values_of(attributes)

        def record(amount: float) -> None:
            with lock:
                values[bisect_left(bounds, amount)] += 1
                values[-1] += amount

        return record


class _PageGauge(ObservableGauge):
    def __init__(
        self, name: str, callbacks: Sequence[Any] | None, unit: str, description: str
    ) -> None:
        self._callbacks = list(callbacks or ())
        self._metric = metric_name(name, unit), description

    def join(self, callbacks: Sequence[Any] | None) -> None:
        """Add callbacks, of another one who has asked for the instrument."""
        self._callbacks += callbacks or ()

    def metric(self) -> Metric:
        """Return the metric with the values of now; those with equal attributes are added."""
        values: dict[Labels, float] = {}
        for callback in self._callbacks:
            for each in callback(CallbackOptions()):
                key: Labels = frozenset((each.attributes or {}).items())
                values[key] = values.get(key, 0) + each.value
        name, description = self._metric
        found = Metric(name, description, "gauge")
        for key, value in values.items():
            labels = {label.replace(".", "_"): str(it) for label, it in sorted(key)}
            found.add_sample(name, labels, value)
        return found


class _PageMeter(NoOpMeter, Collector):
    """Meter with the instruments that mcpcore has."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._made: dict[str, Any] = {}

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Counter:
        counter: Counter = self._made.get(name) or _PageCounter(name, unit, description)
        self._made[name] = counter
        return counter

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> Histogram:
        bounds = tuple(explicit_bucket_boundaries_advisory or ())
        made: Histogram = self._made.get(name) or _PageHistogram(name, unit, description, bounds)
        self._made[name] = made
        return made

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> ObservableGauge:
        gauge: _PageGauge | None = self._made.get(name)
        if gauge is None:
            gauge = self._made[name] = _PageGauge(name, callbacks, unit, description)
        else:
            gauge.join(callbacks)
        return gauge

    def collect(self) -> Iterable[Metric]:
        """Implement :class:`Collector`."""
        for each in tuple(self._made.values()):
            yield (each if isinstance(each, _PageGauge) else each.series).metric()


class PrometheusMeters(MeterProvider):
    """Provider of meters, whose values :meth:`page` shows to Prometheus.

    It keeps counters, histograms and observable gauges, all of one scope; other instruments do
    nothing.  ``registry``: where they are shown; None: one of its own, with the figures of the
    process beside them.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        self._meter = _PageMeter("mcpcore")
        registry.register(self._meter)

    def get_meter(self, name: str, *args: Any, **more: Any) -> _PageMeter:
        """Return the meter, which is one for all scopes."""
        return self._meter

    def page(self, _: HttpRequest | None = None) -> DocumentReply:
        """Return the page, for ``HttpSettings.pages``."""
        return exposed(self.registry)
