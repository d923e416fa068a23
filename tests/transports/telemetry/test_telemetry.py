"""Spans and durations of requests, as the semantic conventions for MCP have them."""

import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")

import anyio.lowlevel
import msgspec
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanContext, SpanKind

from mcpcore import (
    Callbacks,
    CallFailed,
    Client,
    Context,
    Gateway,
    McpError,
    RuntimeSettings,
    Server,
    ServeSettings,
    ToolError,
    connect,
)
from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import StreamSignal
from mcpcore.engine.peer import Peer
from mcpcore_transports.serve.assembling import server_config
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import Runtime
from mcpcore_transports.targets import MemoryTarget
from mcpcore_transports.telemetry.requests import (
    BUCKETS,
    network_attributes,
    observe_answers,
    observe_requests,
)
from mcpcore_transports.telemetry.sessions import STREAM_END, observe_sessions
from tests.clock import turns, until
from tests.docs.blocks import DOCS, programs
from tests.http.support import META, request
from tests.transports.served import served
from tests.transports.telemetry.telemetry_program import line
from tests.transports.telemetry.telemetry_program import server as program
from tests.warm import PYTHON

OBSERVABILITY = DOCS / "how-to" / "observability.md"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
PROGRAM = str(Path(__file__).with_name("telemetry_program.py"))
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
pytestmark = pytest.mark.anyio
eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


class Observatory:
    """Middleware of both sides, and what they have seen."""

    def __init__(self, **options: Any) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = tracers.get_tracer("tests")
        options = {"tracers": tracers, "meters": MeterProvider([self._metrics]), **options}
        self.client = observe_requests(to=options.pop("to", None), **options)
        self.server = observe_answers(**options)

    @asynccontextmanager
    async def talk(self, server: Server, era: str = MODERN, **more: Any) -> AsyncIterator[Client]:
        target = MemoryTarget(server, RuntimeSettings(middleware=(self.server,)))
        async with connect(target, revision=era, middleware=[self.client], **more) as client:
            yield client

    def finished(self) -> tuple[ReadableSpan, ...]:
        """Return all spans that have ended, in that order."""
        return self._spans.get_finished_spans()

    def spans(self) -> dict[SpanKind, ReadableSpan]:
        """Return the last span of each kind."""
        return {each.kind: each for each in self.finished()}

    def both(self) -> tuple[ReadableSpan, ReadableSpan]:
        """Return the last span of the client, and of the server."""
        found = self.spans()
        return found[SpanKind.CLIENT], found[SpanKind.SERVER]

    def durations(self) -> dict[str, list[Any]]:
        """Return the points of each histogram."""
        data: Any = self._metrics.get_metrics_data()
        found = [
            each for it in data.resource_metrics for s in it.scope_metrics for each in s.metrics
        ]
        assert {each.unit for each in found} == {"s"}
        return {each.name: list(each.data.data_points) for each in found}


def shop() -> Server:
    server = Server("shop", version="1")

    @server.tool
    def pay(amount: int) -> str:
        if amount < 0:
            raise ToolError("nothing to pay")
        if amount == 0:
            raise McpError(1234, "closed")
        return f"{trace.get_current_span().get_span_context().span_id:x}"

    @server.tool
    async def later() -> str:
        await anyio.lowlevel.checkpoint()
        return f"{trace.get_current_span().get_span_context().span_id:x}"

    @server.tool(thread=True)
    def beside() -> str:
        return f"{trace.get_current_span().get_span_context().span_id:x}"

    @server.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        return str(answer.content)

    @server.tool
    async def forever(context: Context) -> None:
        context.progress(1)
        await anyio.sleep_forever()

    @server.prompt
    def greet() -> str:
        return "Hello"

    @server.prompt
    def broken() -> str:
        raise RuntimeError("broken")

    @server.resource("shop://open")
    def hours() -> str:
        return "always"

    return server


CALL = {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool"}
PAY = {**CALL, "gen_ai.tool.name": "pay"}
TABLE: dict[str, tuple[Any, str, dict[str, str]]] = {
    "a list": (lambda client: client.list_tools(), "tools/list", {"mcp.method.name": "tools/list"}),
    "a tool": (lambda client: client.call_tool("pay", {"amount": 1}), "tools/call pay", PAY),
    "a tool that fails": (
        lambda client: client.call_tool("pay", {"amount": -1}),
        "tools/call pay",
        {**PAY, "error.type": "tool_error"},
    ),
    "a protocol error": (
        lambda client: client.call_tool("pay", {"amount": 0}),
        "tools/call pay",
        {**PAY, "error.type": "1234", "rpc.response.status_code": "1234"},
    ),
    "an unknown tool": (
        lambda client: client.call_tool("steal"),
        "tools/call steal",
        {
            **CALL,
            "gen_ai.tool.name": "steal",
            "error.type": "-32602",
            "rpc.response.status_code": "-32602",
        },
    ),
    "a prompt": (
        lambda client: client.get_prompt("greet"),
        "prompts/get greet",
        {"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "greet"},
    ),
    "a resource": (
        lambda client: client.read_resource("shop://open"),
        "resources/read",
        {"mcp.method.name": "resources/read", "mcp.resource.uri": "shop://open"},
    ),
}
UNBOUNDED = {"jsonrpc.request.id", "mcp.resource.uri", "mcp.session.id"}


@eras
@pytest.mark.parametrize("what", TABLE)
async def test_attributes(what: str, era: str) -> None:
    request, name, expected = TABLE[what]
    observatory = Observatory()
    async with observatory.talk(shop(), era) as client:
        with suppress(McpError):
            await request(client)
    client_span, server_span = observatory.both()
    assert (client_span.name, server_span.name) == (name, name)
    expected = {**expected, "mcp.protocol.version": era}
    for span in (client_span, server_span):
        found = dict(span.attributes or {})
        assert found.pop("jsonrpc.request.id", None) is not None, span.kind
        assert found == expected
        assert (span.status.status_code.name == "ERROR") is ("error.type" in expected)
    assert server_span.parent is not None
    assert server_span.parent.span_id == client_span.context.span_id
    assert server_span.context.trace_id == client_span.context.trace_id
    durations = observatory.durations()
    assert durations.pop("mcp.client.session.duration")
    assert durations.keys() == {f"mcp.{side}.operation.duration" for side in ("client", "server")}
    bounded = {name: value for name, value in expected.items() if name not in UNBOUNDED}
    if "rpc.response.status_code" in bounded:
        bounded.pop("gen_ai.tool.name")
    for points in durations.values():
        [point] = [each for each in points if each.attributes["mcp.method.name"] in name]
        assert dict(point.attributes) == bounded
        assert tuple(point.explicit_bounds) == BUCKETS


LONG = "s" * 5000
LONG_TEXTS: dict[str, Callable[[Client], Any]] = {
    "a name": lambda client: client.call_tool(LONG),
    "a URI": lambda client: client.read_resource(f"shop://{LONG}"),
    "an error": lambda client: client.call_tool("refuse"),
    "a method": lambda client: client.request(f"shop/{LONG}"),
}


@pytest.mark.parametrize("what", LONG_TEXTS)
async def test_texts_in_spans_are_cut(what: str) -> None:
    observatory, server = Observatory(), shop()
    observer = observe_sessions(tracers=observatory.tracers)
    front = ServeSettings(runtime=RuntimeSettings(observer=observer))
    target = MemoryTarget(server, RuntimeSettings(middleware=(observatory.server,)))

    @server.tool
    def refuse() -> None:
        raise McpError(1234, LONG)

    async with (
        served(Gateway({"only": target}), settings=front) as gateway,
        connect(gateway.url) as client,
    ):
        with suppress(McpError):
            await LONG_TEXTS[what](client)
    spans = observatory.finished()
    texts: list[Any] = [x for each in spans for x in (each.name, each.status.description)]
    texts += [value for each in spans for value in (each.attributes or {}).values()]
    lengths = [len(text) for text in texts if isinstance(text, str)]
    assert 1000 < max(lengths) < 1100


async def _given_up(client: Client) -> None:
    with anyio.CancelScope() as scope:
        await client.call_tool("forever", progress=lambda *_: scope.cancel())
    await turns()


OUTCOMES: dict[str, Callable[[Client], Any]] = {
    **{what: request for what, (request, _, _) in TABLE.items()},
    "a handler that breaks": lambda client: client.get_prompt("broken"),
    "an input round": lambda client: client.call_tool("ask"),
    "a name that is no text": lambda client: client.request("tools/call", {"name": 5}),
    "a request that is given up": _given_up,
}


@eras
@pytest.mark.parametrize("what", OUTCOMES)
async def test_durations_have_the_same_attributes_without_spans(what: str, era: str) -> None:
    found = []
    for tracers in (TracerProvider(), NoOpTracerProvider()):
        observatory = Observatory(tracers=tracers)
        callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
        async with observatory.talk(shop(), era, callbacks=callbacks) as client:
            with suppress(McpError):
                await OUTCOMES[what](client)
        points = observatory.durations()["mcp.server.operation.duration"]
        found.append({frozenset(each.attributes.items()): each.count for each in points})
    assert found[0] == found[1]


@eras
@pytest.mark.parametrize("tool", ["pay", "later", "beside"])
async def test_handlers_run_inside_of_the_span(tool: str, era: str) -> None:
    observatory = Observatory()
    async with observatory.talk(shop(), era) as client:
        result = await client.call_tool(tool, {"amount": 1} if tool == "pay" else {})
        assert not trace.get_current_span().get_span_context().is_valid
    _, span = observatory.both()
    assert result.content[0].text == f"{span.context.span_id:x}"  # type: ignore[union-attr]


async def test_what_is_current_around_a_request_is_linked_if_it_has_a_parent() -> None:
    observatory = Observatory()
    with observatory.tracer.start_as_current_span("around") as around:
        async with observatory.talk(shop()) as client:
            await client.list_tools()
    client_span, server_span = observatory.both()
    assert client_span.parent is not None
    assert client_span.parent.span_id == around.get_span_context().span_id
    assert [each.context.span_id for each in server_span.links] == [
        around.get_span_context().span_id
    ]


@pytest.mark.parametrize("through", ["directly", "through a gateway"])
async def test_without_spans_the_context_around_is_passed_on(through: str) -> None:
    nothing = NoOpTracerProvider()
    server, metered = shop(), RuntimeSettings(middleware=(observe_answers(tracers=nothing),))
    front = ServeSettings(runtime=RuntimeSettings(observer=observe_sessions(tracers=nothing)))
    contexts: list[SpanContext] = []

    @server.tool
    def where() -> None:
        contexts.append(trace.get_current_span().get_span_context())

    async with AsyncExitStack() as stack:
        target: Any = MemoryTarget(server, metered)
        if through != "directly":
            gateway = await stack.enter_async_context(
                served(Gateway({"only": target}), settings=front)
            )
            target = gateway.url
        with Observatory().tracer.start_as_current_span("around") as around:
            async with connect(target, middleware=[observe_requests(tracers=nothing)]) as client:
                await client.call_tool("where")
    assert [each.span_id for each in contexts] == [around.get_span_context().span_id]
    assert contexts[0].is_remote


PARENT = f"00-{7:032x}-{9:016x}-01"
CARRIED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "as it is": (given := {"traceparent": PARENT, "tracestate": "a=1", "baggage": "b=2"}, given),
    "a long state": (
        {"traceparent": PARENT, "tracestate": "a" * 513},
        {"traceparent": PARENT},
    ),
    "long baggage": ({"traceparent": PARENT, "baggage": "b" * 8193}, {"traceparent": PARENT}),
    "blanks": ({"baggage": f"b=2{' ' * 4000},\t\t c=3"}, {"baggage": "b=2 , c=3"}),
}


class Recorder(TextMapPropagator):
    """Propagator that keeps what it is to read."""

    @property
    def fields(self) -> set[str]:
        return set()

    def __init__(self) -> None:
        self.read: list[dict[str, str]] = []

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        self.read.append(dict(carrier))
        return context or {}

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        """Pass nothing on."""


@pytest.mark.parametrize("at", ["a server", "a gateway"])
@pytest.mark.parametrize("case", CARRIED)
async def test_no_trace_context_takes_long_to_read(at: str, case: str) -> None:
    meta, expected = CARRIED[case]
    observatory, recorder, known = Observatory(), Recorder(), propagate.get_global_textmap()
    observer = observe_sessions(tracers=observatory.tracers)
    front = ServeSettings(runtime=RuntimeSettings(observer=observer))
    propagate.set_global_textmap(recorder)
    try:
        async with AsyncExitStack() as stack:
            target: Any = MemoryTarget(shop(), RuntimeSettings(middleware=(observatory.server,)))
            if at == "a gateway":
                target = MemoryTarget(shop())
                gateway = Gateway({"only": target})
                target = (await stack.enter_async_context(served(gateway, settings=front))).url
            client = await stack.enter_async_context(connect(target))
            await client.call_tool("pay", {"amount": 1}, meta=meta)
    finally:
        propagate.set_global_textmap(known)
    assert recorder.read == [expected]


async def test_without_spans_handlers_have_the_span_around_them() -> None:
    spans: list[trace.Span] = []
    server = Server("inside", version="1")
    server.add_tool(lambda: spans.append(trace.get_current_span()), "inside")
    metered = RuntimeSettings(middleware=(observe_answers(tracers=NoOpTracerProvider()),))
    with Observatory().tracer.start_as_current_span("around") as around:
        async with connect(MemoryTarget(server, metered)) as client:
            await client.call_tool("inside")
    assert spans == [around]


LISTEN = {"mcp.method.name": "subscriptions/listen", "mcp.protocol.version": MODERN}
ENDS: dict[StreamSignal, Callable[[Peer], object]] = {
    StreamSignal.CANCEL: lambda peer: peer.receive_data(
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s"}}\n', now=2
    ),
    StreamSignal.FINISH: lambda peer: peer.close(now=2),
    StreamSignal.END: lambda peer: peer.receive_eof(now=2),
}


def observed(observatory: Observatory) -> tuple[Peer, Runtime]:
    """Make a server's end of a connection, and its runtime with an observer of sessions."""
    server, settings = shop(), RuntimeSettings()
    peer = Peer(Role.SERVER, server_config(server, settings))
    attributes = {"network.transport": "pipe"}
    observer = observe_sessions(attributes=attributes, tracers=observatory.tracers)
    return peer, observer.observed(ServerRuntime(server, peer, settings), peer)


def drain(peer: Peer, runtime: Runtime) -> None:
    while event := peer.next_event():
        runtime.handle(event)


def listen(peer: Peer, runtime: Runtime, **meta: str) -> None:
    """Let a client ask for a listen stream."""
    own = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        **meta,
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": own}
    request = {"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": params}
    peer.receive_data(msgspec.json.encode(request) + b"\n", now=1)
    drain(peer, runtime)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("meta", [{}, {"traceparent": f"00-{7:032x}-{9:016x}-01"}])
def test_a_listen_stream_is_a_span_until_it_ends(end: StreamSignal, meta: dict[str, str]) -> None:
    observatory = Observatory()
    peer, runtime = observed(observatory)
    with observatory.tracer.start_as_current_span("around") as around:
        listen(peer, runtime, **meta)
    assert [span.name for span in observatory.finished()] == ["around"]
    ENDS[end](peer)
    drain(peer, runtime)
    span = observatory.finished()[-1]
    assert (span.name, span.kind) == ("subscriptions/listen stream", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        **LISTEN,
        "network.transport": "pipe",
        "jsonrpc.request.id": "s",
        STREAM_END: end.value,
    }
    ambient = around.get_span_context().span_id
    assert span.parent is not None
    assert span.parent.span_id == (9 if meta else ambient)
    assert [each.context.span_id for each in span.links] == ([ambient] if meta else [])


async def test_a_listen_stream_ends_with_its_connection() -> None:
    observatory = Observatory()
    peer, runtime = observed(observatory)

    async def opened() -> None:
        listen(peer, runtime)
        assert not observatory.finished()

    await runtime.run(opened)
    [span] = observatory.finished()
    assert (span.attributes or {})[STREAM_END] == StreamSignal.END.value


@eras
async def test_input_rounds_are_one_span_of_the_client(era: str) -> None:
    observatory = Observatory()
    callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
    async with observatory.talk(shop(), era, callbacks=callbacks) as client:
        await client.call_tool("ask")
    spans = observatory.finished()
    sides = [each.kind for each in spans if each.name == "tools/call ask"]
    assert sides.count(SpanKind.CLIENT) == 1
    assert sides.count(SpanKind.SERVER) == (2 if era == MODERN else 1)
    assert not any("error.type" in (each.attributes or {}) for each in spans)
    events = [event.name for each in spans for event in each.events]
    asked = ["input_required"]
    assert events == ([*asked, *asked, "input_sent"] if era == MODERN else [])


async def test_a_request_that_is_given_up_is_an_error() -> None:
    observatory = Observatory()
    async with observatory.talk(shop()) as client:
        with anyio.CancelScope() as scope:
            await client.call_tool("forever", progress=lambda *_: scope.cancel())
        await turns()
        found = [str((span.attributes or {})["error.type"]) for span in observatory.both()]
        assert found == ["cancelled", "cancelled"]
        with pytest.raises(CallFailed):
            await client.call_tool("forever", timeout=0.01)
    attributes = observatory.spans()[SpanKind.CLIENT].attributes or {}
    assert attributes["error.type"] == "RequestTimeout"


@pytest.mark.parametrize("contents", [False, True])
async def test_arguments_and_results_are_there_only_if_asked_for(contents: bool) -> None:
    observatory = Observatory(contents=contents)
    async with observatory.talk(shop()) as client:
        await client.call_tool("pay", {"amount": 17})
    for span in observatory.both():
        found = dict(span.attributes or {})
        assert (found.get("gen_ai.tool.call.arguments") == '{"amount":17}') is contents
        assert ("content" in str(found.get("gen_ai.tool.call.result"))) is contents
    points = [point for each in observatory.durations().values() for point in each]
    assert not any("17" in str(dict(point.attributes)) for point in points)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["program"], {"network.transport": "pipe"}),
        ("unix:///tmp/x", {"network.transport": "unix", "server.address": "/tmp/x"}),
        ("tcp://h:8", {"network.transport": "tcp", "server.address": "h", "server.port": 8}),
        (
            "ws://h/mcp",
            {
                **{"network.transport": "tcp", "network.protocol.name": "websocket"},
                **{"server.address": "h", "server.port": 80},
            },
        ),
        (
            "https://h/mcp",
            {
                **{"network.transport": "tcp", "network.protocol.name": "http"},
                "network.protocol.version": "1.1",
                **{"server.address": "h", "server.port": 443},
            },
        ),
    ],
)
async def test_the_way_to_a_server(target: object, expected: dict[str, Any]) -> None:
    assert network_attributes(target) == expected
    observatory = Observatory(to=target)
    async with observatory.talk(shop()) as client:
        await client.list_tools()
    span = observatory.spans()[SpanKind.CLIENT]
    assert expected.items() <= dict(span.attributes or {}).items()


@eras
async def test_one_trace_over_http_with_the_session_in_spans_alone(era: str) -> None:
    observatory = Observatory()
    settings = ServeSettings(runtime=RuntimeSettings(middleware=(observatory.server,)))
    async with (
        served(shop(), settings=settings) as front,
        connect(front.url, revision=era, middleware=[observatory.client]) as client,
    ):
        await client.call_tool("later")
    client_span, server_span = observatory.both()
    assert server_span.context.trace_id == client_span.context.trace_id
    sessions = [dict(each.attributes or {}).get("mcp.session.id") for each in observatory.both()]
    assert sessions[0] == sessions[1]
    assert (sessions[0] is not None) is (era == LEGACY)
    points = [point for each in observatory.durations().values() for point in each]
    assert not any("mcp.session.id" in point.attributes for point in points)


CONVENTIONS = {
    *("mcp.method.name", "mcp.protocol.version", "mcp.session.id", "mcp.resource.uri"),
    *("error.type", "rpc.response.status_code", "jsonrpc.request.id", "jsonrpc.protocol.version"),
    *("gen_ai.operation.name", "gen_ai.prompt.name", "gen_ai.tool.name"),
    *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    *("network.transport", "network.protocol.name", "network.protocol.version"),
    *("server.address", "server.port", "client.address", "client.port"),
}
"""Attributes of spans in the semantic conventions for MCP, of client and server."""
LEFT_OUT = {"jsonrpc.protocol.version", "client.address", "client.port"}


async def test_the_page_has_the_attributes_of_spans_and_says_which_are_left_out() -> None:
    table, *rest = OBSERVABILITY.read_text().partition("| attribute |")[2].split("\n\n")
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    documented = {name for row in rows for name in re.findall("`(.+?)`", row)}
    assert documented - {STREAM_END} == CONVENTIONS - LEFT_OUT
    assert set(re.findall("`(.+?)`", rest[0])) >= LEFT_OUT
    observatory = Observatory(contents=True)
    observer = observe_sessions(tracers=observatory.tracers)
    runtime = RuntimeSettings(middleware=(observatory.server,), observer=observer)
    async with served(shop(), settings=ServeSettings(runtime=runtime)) as site:
        observed = observe_requests(to=site.url, tracers=observatory.tracers)
        for era in (LEGACY, MODERN):
            async with connect(site.url, revision=era, middleware=[observed]) as client:
                for request, _, _ in TABLE.values():
                    with suppress(McpError):
                        await request(client)
                async with client.listen(tools=True):
                    pass
    assert {name for span in observatory.finished() for name in span.attributes or {}} == documented


@eras
@pytest.mark.parametrize(("amount", "error"), [(1, None), (-1, "tool_error"), (0, "1234")])
async def test_the_span_of_a_gateway_is_between_client_and_server(
    amount: int, error: str | None, era: str
) -> None:
    observatory, between, meters = Observatory(), InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(between))
    observer = observe_sessions(tracers=tracers, meters=MeterProvider([meters]))
    front = ServeSettings(runtime=RuntimeSettings(observer=observer))
    target = MemoryTarget(shop(), RuntimeSettings(middleware=(observatory.server,)))
    async with (
        served(Gateway({"only": target}), settings=front) as gateway,
        connect(gateway.url, revision=era, middleware=[observatory.client]) as client,
    ):
        with suppress(McpError):
            await client.call_tool("pay", {"amount": amount})
    [middle] = [each for each in between.get_finished_spans() if each.name == "tools/call pay"]
    client_span, server_span = observatory.both()
    assert middle.parent is not None
    assert server_span.parent is not None
    assert middle.parent.span_id == client_span.context.span_id
    assert server_span.parent.span_id == middle.context.span_id
    assert middle.context.trace_id == client_span.context.trace_id
    assert (middle.attributes or {}).get("error.type") == error


@eras
async def test_one_trace_through_a_gateway_to_a_process(era: str) -> None:
    observatory = Observatory()
    behind = {"only": [*PYTHON, PROGRAM]}
    async with (
        served(Gateway(behind)) as front,
        connect(front.url, revision=era, middleware=[observatory.client]) as client,
    ):
        result = await client.call_tool("where")
    span = observatory.spans()[SpanKind.CLIENT]
    assert result.content[0].text == f"{span.context.trace_id:032x}"  # type: ignore[union-attr]


@eras
@pytest.mark.parametrize("behind", ["http", "stdio"])
@pytest.mark.parametrize("front", ["http", "stdio"])
async def test_client_gateway_and_server_are_one_trace(
    front: str, behind: str, era: str, tmp_path: Path
) -> None:
    observatory, file = Observatory(), tmp_path / "spans"
    file.touch()

    def spans() -> list[list[str]]:
        """Return trace, parent and id of each span of the call."""
        lines = [*file.read_text().splitlines(), *map(line, observatory.finished())]
        rows = [each.strip().split("\t") for each in lines]
        return [row[1:] for row in rows if row[0] == "tools/call where"]

    async with AsyncExitStack() as stack:
        target: Any = [*PYTHON, PROGRAM, str(file)]
        if behind == "http":
            settings = ServeSettings(runtime=RuntimeSettings(middleware=(observatory.server,)))
            target = (await stack.enter_async_context(served(program, settings=settings))).url
        if front == "http":
            observer = observe_sessions(tracers=observatory.tracers)
            settings = ServeSettings(runtime=RuntimeSettings(observer=observer))
            gateway = Gateway({"only": target})
            target = (await stack.enter_async_context(served(gateway, settings=settings))).url
        else:
            words = [target] if isinstance(target, str) else target
            target = [*PYTHON, PROGRAM, str(file), *words]
        client = await stack.enter_async_context(
            connect(target, revision=era, middleware=[observatory.client])
        )
        await client.call_tool("where")
        await until(lambda: len(spans()) == 3)
    by_parent = {parent: (own, of) for of, parent, own in spans()}
    first, whole = by_parent["0"]
    second, _ = by_parent[first]
    assert second in by_parent, "client, gateway, server"
    assert {of for _, of in by_parent.values()} == {whole}


@pytest.mark.parametrize("sets_up", [True, False])
async def test_serve_makes_spans_with_an_sdk_and_warns_without(
    tmp_path: Path, sets_up: bool
) -> None:
    [text] = {program.files["weather.py"] for program in programs(OBSERVABILITY) if program.files}
    if not sets_up:
        text = text.replace("trace.set_tracer_provider(provider)", "")
    (tmp_path / "weather.py").write_text(text)
    words = ("serve", "weather:server", "--stdio", "--telemetry")
    # Not a fork: the spans come when the interpreter ends.
    done = await anyio.run_process(
        [sys.executable, "-m", "mcpcore_transports.commands.main", *words],
        input=msgspec.json.encode(request("tools/list", {"_meta": META})) + b"\n",
        cwd=tmp_path,
    )
    assert b"forecast" in done.stdout
    said = done.stderr.decode()
    assert ('"name": "tools/list"' in said) is sets_up
    assert ("--telemetry: there are no spans" in said) is not sets_up


async def test_without_the_api_the_extra_is_named() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; from mcpcore import observe_answers"
    done = await anyio.run_process([sys.executable, "-c", code], check=False)
    assert b"needs the extra `otel`, pages for Prometheus `metrics` instead" in done.stderr
