"""What recorded spans add to a call in memory, of client and server; run in a peer's environment.

``recorded.py sdk|fastmcp WARM SECONDS`` prints a sample: µs of CPU that a call takes more with the
SDK of OpenTelemetry than without, when the peer makes spans all the same, which go nowhere.
"""

import logging
import sys
import warnings
from functools import partial
from pathlib import Path

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

sys.path[0] = str(Path(__file__).resolve().parents[1])
from mcpcore_bench.programs.measuring import TEXT, added
from mcpcore_bench.programs.spans import Nowhere

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


class Switch(trace.TracerProvider, trace.Tracer):
    """Provider and tracer that records while it is on; off, it does as without the SDK."""

    def __init__(self):
        recording = TracerProvider()
        recording.add_span_processor(SimpleSpanProcessor(Nowhere()))
        self.tracers = {True: recording.get_tracer("on"), False: trace.NoOpTracer()}
        self.on = False

    def get_tracer(self, *args, **kwargs):
        """Return this one."""
        return self

    def start_span(self, *args, **kwargs):
        """Return a span that is recorded or not."""
        return self.tracers[self.on].start_span(*args, **kwargs)

    def start_as_current_span(self, *args, **kwargs):
        """Return a context with such a span."""
        return self.tracers[self.on].start_as_current_span(*args, **kwargs)


def peer(kind):
    """A client of the peer, to be entered, with a server of it in the same process."""
    if kind == "fastmcp":
        from fastmcp import Client
        from fastmcp import FastMCP as Server
    else:
        from mcp import Client
        from mcp.server import MCPServer as Server

    server = Server("recorded")

    @server.tool()
    def echo(text: str) -> str:
        """Say it again."""
        return text

    return Client(server)


async def main(kind, warm, seconds):
    """Measure calls with and without in turns."""
    switch = Switch()
    trace.set_tracer_provider(switch)
    async with peer(kind) as client:
        await client.list_tools()

        async def call(on):
            switch.on = on
            result = await client.call_tool("echo", {"text": TEXT})
            if result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await added(partial(call, False), partial(call, True), warm, seconds))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
