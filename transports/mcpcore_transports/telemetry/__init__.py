"""Telemetry of servers and clients: spans and metrics.

Needs an extra, ``pip install 'mcpcore[otel]'``: OpenTelemetry's API.
"""

from mcpcore.errors import ExtraMissingError

try:
    import opentelemetry.trace as _trace  # noqa: F401
except ImportError as error:
    raise ExtraMissingError(
        "telemetry needs the extra `otel`, pages for Prometheus `metrics` instead: "
        "pip install 'mcpcore[otel]'"
    ) from error
