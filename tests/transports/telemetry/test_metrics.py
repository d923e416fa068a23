"""Metrics of sessions, streams, requests, refusals and policies, and their page for Prometheus."""

from typing import Any

import anyio
import pytest
from msgspec import structs

pytest.importorskip("prometheus_client", reason="the client of Prometheus is not installed")

from prometheus_client.parser import text_string_to_metric_families

from mcpcore import (
    Activity,
    BreakerSettings,
    ClientSettings,
    Context,
    Gateway,
    HttpSettings,
    McpError,
    Rate,
    RateLimits,
    ReconnectSettings,
    Replicas,
    RuntimeSettings,
    Server,
    ServeSettings,
    break_circuit,
    connect,
)
from mcpcore.engine.events import EndReason, Event, RequestEnded
from mcpcore.policy.breaker import Circuit, CircuitChanged
from mcpcore.policy.trust import TrustSettings
from mcpcore.spec.errors import INTERNAL_ERROR, LocalProtocolError
from mcpcore_transports.gateway.guard import ServerGuard
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.targets import MemoryTarget, TcpTarget
from mcpcore_transports.telemetry.prometheus import PrometheusMeters
from mcpcore_transports.telemetry.requests import observe_answers, observe_requests
from mcpcore_transports.telemetry.sessions import observe_circuits, observe_sessions
from tests.clock import turns, until
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio
LEGACY, MODERN = "2025-11-25", "2026-07-28"
eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


class Board:
    """Page of metrics of a server and its clients."""

    def __init__(self, **more: Any) -> None:
        self.meters = PrometheusMeters()
        self.sessions = RuntimeSettings(observer=observe_sessions(meters=self.meters), **more)
        answers = observe_answers(meters=self.meters)
        self.runtime = structs.replace(self.sessions, middleware=(answers,))
        self.client = observe_requests(meters=self.meters)

    def read(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        page = self.meters.page()
        assert dict(page.headers)[b"content-type"].startswith(b"text/plain")
        return sum(
            sample.value
            for family in text_string_to_metric_families(page.body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def shop() -> Server:
    server = Server("shop", version="1")

    @server.tool
    def pay(amount: int) -> str:
        return str(amount)

    @server.tool
    async def wait(context: Context) -> str:
        context.progress(1)
        await anyio.sleep_forever()
        return ""

    return server


@eras
async def test_a_session_of_a_connection_from_begin_to_end(era: str) -> None:
    board = Board()
    target = MemoryTarget(shop(), board.runtime)
    for _ in range(2):
        async with connect(target, revision=era, middleware=[board.client]) as client:
            await client.call_tool("pay", {"amount": 3})
            assert board.read("mcp_server_active_sessions") == 1
    assert board.read("mcp_server_active_sessions") == 0
    named = {"gen_ai_tool_name": "pay", "mcp_protocol_version": era}
    for side in ("client", "server"):
        assert board.read(f"mcp_{side}_session_duration_seconds_count") == 2
        assert board.read(f"mcp_{side}_operation_duration_seconds_count", **named) == 2
        assert board.read(f"mcp_{side}_operation_duration_seconds_bucket", le="+Inf", **named) == 2
    found = board.read("mcp_client_session_duration_seconds_count", mcp_protocol_version=era)
    assert found == 2


@pytest.mark.parametrize("lost", [False, True])
async def test_a_session_that_is_lost_has_an_error(lost: bool) -> None:
    board = Board()
    settings = ClientSettings(reconnect=ReconnectSettings(attempts=0))
    async with (
        served(shop(), tcp=(ANY_PORT,)) as front,
        connect(front.url, middleware=[board.client], settings=settings) as client,
    ):
        if lost:
            front.stop.set()
            await until(lambda: client.closed is not None)
    name, error = "mcp_client_session_duration_seconds_count", "ConnectionClosed"
    assert (board.read(name), board.read(name, error_type=error)) == (1, lost)


async def test_requests_and_streams_while_they_are_open() -> None:
    board = Board()
    async with (
        connect(MemoryTarget(shop(), board.runtime)) as client,
        anyio.create_task_group() as g,
    ):
        begun = anyio.Event()
        g.start_soon(lambda: client.call_tool("wait", progress=lambda *_: begun.set()))
        await begun.wait()
        assert board.read("mcp_server_active_requests") == 1
        async with client.listen(tools=True):
            assert board.read("mcp_server_active_streams") == 1
            assert board.read("mcp_server_active_requests") == 1
        g.cancel_scope.cancel()
    await turns()
    assert board.read("mcp_server_active_streams") == 0


async def test_refusals_by_rates_and_the_protocol() -> None:
    board = Board(limiter=RateLimits({Activity.TOOLS: Rate(1, per=3600.0)}, callers=10))
    async with connect(MemoryTarget(shop(), board.runtime)) as client:
        await client.call_tool("pay", {"amount": 3})
        with pytest.raises(McpError):
            await client.call_tool("pay", {"amount": 3})
        with pytest.raises(McpError):
            await client.request("no/such", {})
    assert board.read("mcp_server_refusals_total", mcp_refusal_by="rates") == 1
    assert board.read("mcp_server_refusals_total", mcp_refusal_by="protocol") == 1


async def test_the_page_and_sessions_over_http() -> None:
    board = Board()
    pages = HttpSettings(pages={"/metrics": board.meters.page})
    settings = ServeSettings(runtime=board.runtime, http=pages)
    server = shop()
    server.health_check(lambda: False)
    async with served(server, settings=settings) as front:
        async with connect(front.url, revision=LEGACY) as client:
            await client.call_tool("pay", {"amount": 3})
            assert board.read("mcp_server_active_sessions") == 1
            base = front.url.removesuffix("/mcp")
            assert b"mcp_server_active_sessions 1.0" in await page_of(f"{base}/metrics")
        assert b"nothing is served" in await page_of(f"{base}/other")
        assert b" 503 " in await page_of(f"{base}/health")
    assert board.read("mcp_server_active_sessions") == 0
    named = {"mcp_protocol_version": LEGACY}
    assert board.read("mcp_server_session_duration_seconds_count", **named) == 1
    refused = {"mcp_refusal_by": "http", "error_type": "404"}
    assert board.read("mcp_server_refusals_total", **refused) == 1
    assert board.read("mcp_server_refusals_total") == 1  # a health check is no refusal


async def page_of(url: str) -> bytes:
    """Return the whole response to a GET."""
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(
            f"GET /{path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode()
        )
        return b"".join([part async for part in stream])


async def test_circuit_breakers_and_replicas_of_a_gateway() -> None:
    board = Board()
    gateway = Gateway(
        {"shop": Replicas(targets=[shop()], fallback=[TcpTarget("127.0.0.1", 1)])},
        settings=GatewaySettings(breaker=BreakerSettings()),
    )
    async with served(gateway, settings=ServeSettings(runtime=board.sessions)):
        states = {"mcp_circuit_name": "shop", "mcp_circuit_state": "closed"}
        assert board.read("mcp_policy_circuit", **states) == 1
        assert board.read("mcp_policy_circuit", mcp_circuit_name="shop") == 1
        for state in ("usable", "down"):
            replica = {"mcp_replica_name": "shop tcp://127.0.0.1:1", "mcp_replica_state": state}
            assert board.read("mcp_policy_replica", **replica) == (state == "usable")


def circuit_changed(name: str, after: Circuit) -> CircuitChanged:
    return CircuitChanged(name=name, before=Circuit.CLOSED, after=after)


async def test_circuit_breakers_of_a_client() -> None:
    meters, told = PrometheusMeters(), list[Event]()
    report = observe_circuits("shop", meters=meters, report=told.append)
    breaker = break_circuit(BreakerSettings(consecutive=1), report=report)
    server = shop()

    @server.tool
    def broken() -> str:
        raise McpError(INTERNAL_ERROR, "broken")

    def states() -> set[tuple[str, str, float]]:
        found = text_string_to_metric_families(meters.page().body.decode())
        samples = (each for family in found for each in family.samples)
        return {
            (each.labels["mcp_circuit_name"], each.labels["mcp_circuit_state"], each.value)
            for each in samples
            if each.name == "mcp_policy_circuit" and each.value
        }

    assert states() == {("shop", "closed", 1)}
    async with connect(server, middleware=[breaker]) as client:
        with pytest.raises(McpError):
            await client.call_tool("broken")
    assert states() == {("shop", "open", 1)}
    assert told == [circuit_changed("", Circuit.OPEN)]
    report(circuit_changed("pay", Circuit.OPEN))
    assert states() == {("shop", "open", 1), ("shop pay", "open", 1)}
    report(circuit_changed("pay", Circuit.CLOSED))
    assert states() == {("shop", "open", 1)}
    for number in range(2000):
        report(circuit_changed(f"tool{number}", Circuit.OPEN))
    assert len(states()) == 1000


async def test_refusals_of_a_gateway() -> None:
    board = Board()
    guard = {"shop": TrustSettings(deny=("pay",))}
    gateway = Gateway({"shop": shop()}, settings=GatewaySettings(guard=guard))
    async with served(gateway, settings=ServeSettings(runtime=board.sessions)) as front:
        async with connect(front.url) as client:
            with pytest.raises(McpError):
                await client.call_tool("pay", {"amount": 3})
        refused = {"mcp_refusal_by": "trust", "error_type": "-32603"}
        assert board.read("mcp_server_refusals_total", **refused) == 1


@eras
async def test_methods_that_nobody_has_are_one_at_a_gateway(era: str) -> None:
    """It passes on what it does not know: any client could fill the page with words of its own."""
    board = Board()
    gateway = Gateway({"shop": shop()})
    async with (
        served(gateway, settings=ServeSettings(runtime=board.sessions)) as front,
        connect(front.url, revision=era) as client,
    ):
        for method in ("example/1", "example/2"):
            with pytest.raises(McpError):
                await client.request(method, {})
    name = "mcp_server_operation_duration_seconds_count"
    assert board.read(name, mcp_method_name="_OTHER", error_type="-32601") == 2
    assert "example/" not in board.meters.page().body.decode()


def test_an_open_circuit_is_told_of_what_it_refuses() -> None:
    told: list[str] = []
    settings = GatewaySettings(breaker=BreakerSettings(consecutive=1))
    guard = ServerGuard("shop", settings, refused=told.append)
    permit = guard.admit(0.0, "tools/list", {})
    end = RequestEnded(request=1, method="tools/list", reason=EndReason.CLOSED, message="")
    guard.settle(permit, end, 0.0)
    assert told == []
    with pytest.raises(LocalProtocolError, match="circuit breaker"):
        guard.admit(0.0, "tools/list", {})
    assert told == ["circuit"]


def test_label_sets_are_bounded_and_spread_over_buckets() -> None:
    meters = PrometheusMeters()
    meter = meters.get_meter("any")
    counter = meter.create_counter("many")
    assert counter is meter.create_counter("many")
    for number in range(2005):
        counter.add(1, {"n": number})
    page = meters.page().body.decode()
    assert 'many_total{otel_metric_overflow="true"} 5.0' in page
    histogram = meter.create_histogram("h", "s", explicit_bucket_boundaries_advisory=(1, 2))
    for value in (0.5, 1, 1.5, 9):
        histogram.record(value)
    page = meters.page().body.decode()
    rows = [line for line in page.splitlines() if line.startswith("h_seconds_")]
    assert rows == [
        'h_seconds_bucket{le="1.0"} 2.0',
        'h_seconds_bucket{le="2.0"} 3.0',
        'h_seconds_bucket{le="+Inf"} 4.0',
        "h_seconds_count 4.0",
        "h_seconds_sum 12.0",
    ]
