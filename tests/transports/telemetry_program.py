"""A server on its streams that says which trace its handlers are in."""

from opentelemetry import trace

from mcpcore import RuntimeSettings, Server, ServeSettings, run
from mcpcore_transports.telemetry.requests import observe_answers

server = Server("observed", version="1")


@server.tool
def where() -> str:
    """Says the id of the trace that it is called in."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


if __name__ == "__main__":
    run(server, settings=ServeSettings(runtime=RuntimeSettings(middleware=(observe_answers(),))))
