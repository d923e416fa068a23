"""Settings of a server with telemetry, as the commands have them."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.telemetry.requests import observe_answers
from mcpcore_transports.telemetry.sessions import observe_sessions


def observed_settings(
    settings: ServeSettings,
    attributes: Mapping[str, str | int],
    *,
    page: str | None = None,
    spans: bool = False,
    contents: bool = False,
    relays: bool = False,
    place: Path | None = None,
) -> ServeSettings:
    """Return settings of a server that is observed, from before its other middleware.

    ``attributes``: those of the transport; ``page``: path of the metrics for Prometheus, in place
    of those for the SDK of the process; ``spans``: True to have spans; ``contents``: as in
    :func:`observe_answers`; ``relays``: True for a gateway, whose observer has the requests, too;
    ``place``: that of a worker, as of :class:`Lifeline`, whose page has
    the metrics of all.  Raises ExtraMissingError; ValueError for a path that is taken; OSError.
    """
    meters: MeterProvider | None = None
    http = settings.http
    if page is not None:
        from mcpcore_transports.telemetry.prometheus import PrometheusMeters  # needs its extra

        meters = shown = PrometheusMeters()
        http = structs.replace(http, pages={**http.pages, page: shown.page})
        if place is not None:
            from mcpcore_transports.telemetry.workers import WorkerPages  # needs the extra, too

            shared = WorkerPages(shown.registry, place)
            http = structs.replace(http, pages={**http.pages, page: shared.page})
    tracers = None if spans else NoOpTracerProvider()
    middleware = settings.runtime.middleware
    if not relays:
        answers = observe_answers(
            attributes=attributes, contents=contents, tracers=tracers, meters=meters
        )
        middleware = (answers, *middleware)
    runtime = structs.replace(
        settings.runtime,
        middleware=middleware,
        observer=observe_sessions(attributes=attributes, tracers=tracers, meters=meters),
    )
    return structs.replace(settings, runtime=runtime, http=http)


def telemetry_warning() -> str | None:
    """Return a warning that this process makes no spans, as no SDK is set up, or None."""
    if not isinstance(get_tracer_provider(), ProxyTracerProvider):
        return None
    return (
        "--telemetry: there are no spans, as nobody has set up an SDK of OpenTelemetry; the module "
        "of the server can, with trace.set_tracer_provider() (docs/how-to/observability.md)"
    )
