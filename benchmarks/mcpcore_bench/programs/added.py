"""What is added to a call in memory by what looks at it: telemetry, and trust in servers.

``python -m mcpcore_bench.programs.added KIND WARM SECONDS`` prints a sample: µs of CPU that a call
takes more, with KIND one of metrics, no-op, recorded (spans of the server) and recorded-both, or
guarded.  KIND pins: µs of the comparison alone; screening: ms for the descriptions of 1,000 tools.
"""

import sys
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
from msgspec import Raw
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import NoOpTracerProvider

from mcpcore import (
    MemoryTarget,
    PrometheusMeters,
    RuntimeSettings,
    Server,
    connect,
    guard_server,
    observe_answers,
    observe_requests,
    observe_sessions,
    read_description,
)
from mcpcore.policy.differences import describe_server
from mcpcore.policy.trust import TrustPolicy
from mcpcore.types import Tool
from mcpcore_bench.programs.in_memory import check
from mcpcore_bench.programs.measuring import TEXT, Call, added, measured
from mcpcore_bench.programs.spans import Nowhere
from mcpcore_transports.client.middleware import ClientMiddleware

_TOOLS = 1000
_TEXT = "Return the {} of a document, as text. The path is relative to the root of the project. "


def _observed(**providers: Any) -> RuntimeSettings:
    answers, sessions = observe_answers(**providers), observe_sessions(**providers)
    return RuntimeSettings(middleware=(answers,), observer=sessions)


def _recording() -> TracerProvider:
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(Nowhere()))
    return tracers


_SERVERS: dict[str, Callable[[], RuntimeSettings]] = {
    "metrics": lambda: _observed(tracers=NoOpTracerProvider(), meters=PrometheusMeters()),
    "no-op": _observed,  # with metrics for nobody, as without the SDK
    "recorded": lambda: _observed(tracers=_recording(), meters=PrometheusMeters()),
    "recorded-both": lambda: _observed(tracers=_recording()),
    "guarded": RuntimeSettings,
}


async def beside(kind: str, warm: float, seconds: float) -> str:
    """Measure calls beside others without it."""
    server = Server("added", version="1")

    @server.tool
    def echo(text: str) -> str:
        """Say it again."""
        return text

    async with connect(server) as plain:
        middleware: list[ClientMiddleware] = []
        if kind == "guarded":
            middleware = [guard_server(pins=await read_description(plain))]
        elif kind == "recorded-both":
            middleware = [observe_requests(tracers=_recording())]
        target = MemoryTarget(server, _SERVERS[kind]())
        async with connect(target, middleware=middleware) as other:

            def calling(client: Any) -> Call:
                async def call() -> None:
                    check(await client.call_tool("echo", {"text": TEXT}))

                return call

            for client in (plain, other):
                await client.tools()
            return await added(calling(plain), calling(other), warm, seconds)


async def alone(kind: str, warm: float, seconds: float) -> str:
    """Measure the policy alone."""
    tools = [
        Tool(
            name=f"tool_{number}",
            description=_TEXT.format(f"part {number}") * 3,
            input_schema={"type": "object", "properties": {"path": {"type": "string"}}},
        )
        for number in range(_TOOLS)
    ]
    page = Raw(msgspec.json.encode({"tools": tools}))
    policy = TrustPolicy(pins=describe_server(tools=tools))
    policy.listed("tools/list", page)
    params = {"name": f"tool_{_TOOLS - 1}", "arguments": {}}

    async def pins() -> None:
        for _ in range(1000):
            assert policy.refusal_of("tools/call", params) is None

    async def screening() -> None:
        TrustPolicy().listed("tools/list", page)

    # A thousandth of either: of a thousand comparisons, and of microseconds to have milliseconds.
    sample = msgspec.json.decode(
        await measured(pins if kind == "pins" else screening, warm, seconds)
    )
    return msgspec.json.encode({"value": sample["value"] / 1000}).decode()


if __name__ == "__main__":
    run = beside if sys.argv[1] in _SERVERS else alone
    print(anyio.run(run, sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
