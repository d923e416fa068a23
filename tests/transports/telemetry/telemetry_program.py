"""A server on its streams that says which trace its handlers are in, or a gateway before another.

``telemetry_program.py [FILE [TARGET...]]``: with FILE its spans are appended there, a line each;
with TARGET, a URL or a command, it is a gateway.
"""

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from mcpcore import Gateway, RuntimeSettings, Server, ServeSettings, run
from mcpcore_transports.telemetry.requests import observe_answers
from mcpcore_transports.telemetry.sessions import observe_sessions

server = Server("observed", version="1")


@server.tool
def where() -> str:
    """Says the id of the trace that it is called in."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def line(span: ReadableSpan) -> str:
    """Return name, trace, parent and id of a span as a line."""
    parent = 0 if span.parent is None else span.parent.span_id
    own = span.context
    return f"{span.name}\t{own.trace_id}\t{parent}\t{own.span_id}\n"


def main(file: str = "", *target: str) -> None:
    """Serve on standard input and output."""
    if file:
        tracers = TracerProvider()
        out = open(file, "a")  # noqa: SIM115 - for as long as the program
        tracers.add_span_processor(
            SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=line))
        )
        trace.set_tracer_provider(tracers)
    if target:
        only = target[0] if "://" in target[0] else list(target)
        runtime = RuntimeSettings(observer=observe_sessions())
        run(Gateway({"only": only}), settings=ServeSettings(runtime=runtime))
    else:
        run(
            server, settings=ServeSettings(runtime=RuntimeSettings(middleware=(observe_answers(),)))
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
