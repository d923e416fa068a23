"""Policies as middleware of a client: what is sent again, and what is not sent at all."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from mcpcore import errors
from mcpcore.engine.events import ErrorReceived, Event, Fault, FaultKind
from mcpcore.policy.breaker import BreakerSettings, Circuit, CircuitChanged
from mcpcore.policy.rates import Activity, Rate, RateLimits
from mcpcore.policy.retrying import NoRetry, RetryDenied, RetryPlanned, RetrySettings
from mcpcore.service import Server
from mcpcore.spec.errors import BUSY, INTERNAL_ERROR, INVALID_PARAMS, ErrorData
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.errors import failure_of_request
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.client.policies import break_circuit, retry_requests
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import PATIENCE, patience
from tests.transports.runtime_bench import LEGACY, MODERN
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

AT_ONCE = RetrySettings(first_delay=0.0)


def make_server() -> Server:
    server = Server("tools")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def look() -> str:
        return "seen"

    @server.tool
    def make() -> str:
        return "made"

    @server.tool
    def refuse() -> str:
        raise errors.ToolError("not today")

    @server.prompt
    def greet() -> str:
        return "Hello"

    return server


class Faulty:
    """Innermost middleware: notes every attempt, and fails as many as there are faults."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.attempts: list[str] = []
        self.timeouts: list[float | None] = []

    def __call__(self, request: OutgoingRequest) -> Steps[Outcome]:
        self.attempts.append(request.method)
        self.timeouts.append(request.timeout)
        if self.faults:
            raise self.faults.pop(0)
        yield


def peer_error(code: int, data: Any = None, fault: Fault | None = None) -> Exception:
    error = ErrorData.make(code, "m", data)
    return failure_of_request(ErrorReceived(1, "tools/call", error, fault))


def status(code: int, retry_after: float | None = None) -> errors.HttpStatusError:
    error = errors.HttpStatusError("tools/call", f"status {code}")
    error.fault = Fault(FaultKind.STATUS, code, retry_after)
    return error


def unreachable() -> errors.ConnectFailed:
    error = errors.ConnectFailed("tools/call", "nobody listens")
    error.fault = Fault(FaultKind.CONNECT)
    return error


@pytest.mark.parametrize(
    ("fault", "look", "make"),
    [
        (peer_error(BUSY), True, False),
        (peer_error(BUSY, {"retryAfterMs": 1}), True, False),
        (peer_error(INTERNAL_ERROR), False, False),
        (peer_error(INTERNAL_ERROR, fault=Fault(FaultKind.STATUS, 429, 0.001)), True, False),
        (peer_error(BUSY, fault=Fault(FaultKind.STATUS, 503, 3600.0)), False, False),
        (status(429, 0.001), True, True),
        (status(429, 3600.0), False, False),
        (status(503), True, False),
        (status(500), False, False),
        (unreachable(), True, True),
        (errors.ConnectionClosed("m", "lost"), True, False),
        (errors.RequestTimeout("m", "late"), False, False),
        (errors.InvalidResponse("m", "nonsense"), False, False),
        (errors.RequestAborted("m", "cancelled"), False, False),
        (errors.InputFailed("m", "nobody is asked"), False, False),
        (errors.CircuitOpen("m", 1.0), False, False),
        (errors.LocalProtocolError("m"), False, False),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
@pytest.mark.parametrize("tool", ["look", "make"])
async def test_a_request_is_sent_again_if_that_is_safe_and_may_help(
    fault: Exception, look: bool, make: bool, tool: str
) -> None:
    faulty = Faulty()
    middleware = [retry_requests(AT_ONCE), faulty]
    async with connect(make_server(), middleware=middleware) as client:
        await client.tools()  # tells that `look` is read-only
        faulty.faults, before = [fault], len(faulty.attempts)
        again = look if tool == "look" else make
        if again:
            assert (await client.call_tool(tool)).text in ("seen", "made")
        else:
            with pytest.raises(type(fault)) as raised:
                await client.call_tool(tool)
            assert raised.value is fault
        assert len(faulty.attempts) - before == 1 + again


async def test_the_caller_decides_before_the_protocol() -> None:
    faulty, told = Faulty(), list[Event]()
    middleware = [retry_requests(AT_ONCE, report=told.append), faulty]
    async with connect(make_server(), middleware=middleware) as client:
        await client.tools()
        faulty.faults = [peer_error(BUSY)]
        assert (await client.call_tool("make", repeat=True)).text == "made"
        faulty.faults = [peer_error(BUSY)]
        with pytest.raises(errors.PeerError):
            await client.call_tool("look", repeat=False)
    assert told == [
        RetryPlanned(attempt=2, delay=0.0),
        RetryDenied(attempts=1, reason=NoRetry.UNSAFE),
    ]


@pytest.mark.parametrize("timeout", [None, 100.0])
async def test_all_attempts_share_the_timeout(timeout: float | None) -> None:
    faulty = Faulty(status(503, 0.002), status(503, 0.002))
    async with connect(make_server(), middleware=[retry_requests(AT_ONCE), faulty]) as client:
        await client.list_tools(timeout=timeout)
    if timeout is None:
        assert faulty.timeouts == [None] * 3
    else:
        first, second, third = map(float, map(str, faulty.timeouts))
        assert timeout == first > second > third > 0


async def test_a_stream_of_changes_is_left_to_itself() -> None:
    faulty = Faulty(unreachable())
    server = make_server()
    middleware = [retry_requests(AT_ONCE), faulty]
    async with connect(server, middleware=middleware, revision=MODERN) as client:
        with pytest.raises(errors.ConnectFailed):
            async with client.listen(tools=True):
                pass
    assert faulty.attempts == ["subscriptions/listen"]


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_a_server_over_its_rate_is_asked_again_when_it_said(revision: str) -> None:
    """Nothing is simulated here: `retryAfterMs` of a real limiter over real HTTP."""
    limiter = RateLimits({Activity.LISTS: Rate(20, burst=1)})
    settings = ServeSettings(runtime=RuntimeSettings(limiter=limiter))
    retry = retry_requests(RetrySettings(first_delay=0.05, attempts=10))
    async with (
        served(make_server(), http=ANY_PORT, settings=settings, seconds=PATIENCE) as site,
        connect(
            site.url, revision=revision, middleware=[retry], settings=ClientSettings(cache=False)
        ) as client,
    ):
        with patience():
            while limiter.refused[Activity.LISTS] < 3:  # a slow machine may be within the rate
                assert len((await client.list_prompts()).prompts) == 1


def states(told: Sequence[Event], name: str = "") -> list[Circuit]:
    return [each.after for each in told if isinstance(each, CircuitChanged) and each.name == name]


OPENING = BreakerSettings(consecutive=2, open_time=1000.0)


@pytest.mark.parametrize(
    ("fault", "opens"),
    [
        (partial(peer_error, INTERNAL_ERROR), True),
        (partial(peer_error, BUSY), True),
        (partial(peer_error, INVALID_PARAMS), False),
        (partial(status, 500), True),
        (partial(status, 429), False),
        (unreachable, True),
        (partial(errors.ConnectionClosed, "m", "lost"), True),
        (partial(errors.RequestTimeout, "m", "late"), True),
        (partial(errors.InputFailed, "m", "nobody is asked"), False),
        (partial(errors.RequestAborted, "m", "cancelled"), False),
    ],
)
async def test_a_server_that_keeps_failing_is_left_alone(
    fault: Callable[[], Exception], opens: bool
) -> None:
    told = list[Event]()
    faulty = Faulty(fault(), fault())
    middleware = [break_circuit(OPENING, report=told.append), faulty]
    async with connect(make_server(), middleware=middleware) as client:
        for _ in range(2):
            with pytest.raises(type(fault())):
                await client.call_tool("make")
        if not opens:
            assert (await client.call_tool("make")).text == "made"
            return
        with pytest.raises(errors.CircuitOpen, match=r"tools/call: the circuit breaker is open"):
            await client.call_tool("make")
        with pytest.raises(errors.CircuitOpen) as raised:
            await client.list_prompts()
    assert 0 < raised.value.wait <= 1000
    assert states(told) == [Circuit.OPEN]
    assert faulty.attempts == ["tools/call"] * 2


@pytest.mark.parametrize("result", ["answered", "cancelled"])
async def test_one_probe_goes_when_it_is_half_open(result: str) -> None:
    told, release, here = list[Event](), anyio.Event(), anyio.Event()
    settings = BreakerSettings(consecutive=1, open_time=1e-9)

    async def slow(request: OutgoingRequest, call_next: Any) -> Outcome:
        if not told:
            raise status(500)
        here.set()
        await release.wait()
        outcome: Outcome = await call_next()
        return outcome

    middleware: list[ClientMiddleware] = [break_circuit(settings, report=told.append), slow]
    async with connect(make_server(), middleware=middleware) as client:
        with pytest.raises(errors.HttpStatusError):
            await client.list_prompts()
        async with anyio.create_task_group() as group:
            group.start_soon(client.list_prompts)
            await here.wait()
            for _ in range(3):
                with pytest.raises(errors.CircuitOpen):
                    await client.list_prompts()
            if result == "answered":
                release.set()
            else:
                group.cancel_scope.cancel()
        release.set()
        await client.list_prompts()
    probing = [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.PROBING]
    again = [Circuit.HALF_OPEN, Circuit.PROBING] if result == "cancelled" else []
    assert states(told) == [*probing, *again, Circuit.CLOSED]


async def test_a_tool_may_have_a_breaker_of_its_own() -> None:
    told, faulty = list[Event](), Faulty()
    middleware = [break_circuit(OPENING, tools=2, tool_errors=True, report=told.append), faulty]
    async with connect(make_server(), middleware=middleware) as client:
        for _ in range(2):
            assert (await client.call_tool("refuse")).is_error
        with pytest.raises(errors.CircuitOpen):
            await client.call_tool("refuse")
        assert (await client.call_tool("make")).text == "made"
        assert states(told, "refuse") == [Circuit.OPEN]
        with pytest.raises(errors.CircuitOpen):
            await client.call_tool("refuse")
        assert (await client.call_tool("look")).text == "seen"
        with pytest.raises(errors.CircuitOpen):  # `make` was unused for longer
            await client.call_tool("refuse")
        for tool in ("look", "make"):
            await client.call_tool(tool)
        assert (await client.call_tool("refuse")).is_error  # two others came in between


async def test_the_error_of_a_tool_counts_only_if_asked() -> None:
    async with connect(make_server(), middleware=[break_circuit(OPENING)]) as client:
        for _ in range(5):
            assert (await client.call_tool("refuse")).is_error


async def test_an_open_breaker_ends_the_attempts() -> None:
    faulty = Faulty(*[status(503) for _ in range(9)])
    settings = RetrySettings(first_delay=0.0, attempts=9)
    middleware = [retry_requests(settings), break_circuit(OPENING), faulty]
    async with connect(make_server(), middleware=middleware) as client:
        with pytest.raises(errors.CircuitOpen):
            await client.list_prompts()
    assert len(faulty.attempts) == 2


async def test_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mcpcore.client")
    middleware = [retry_requests(AT_ONCE), break_circuit(OPENING), Faulty(status(503), status(503))]
    async with connect(make_server(), middleware=middleware) as client:
        with pytest.raises(errors.CircuitOpen):
            await client.list_prompts()
    assert "RetryPlanned(attempt=2, delay=0.0)" in caplog.text
    assert "CircuitChanged(name='', before=<Circuit.CLOSED: 'closed'>" in caplog.text


async def test_a_report_that_fails_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    def report(event: Event) -> None:
        raise ZeroDivisionError("of the application")

    retry, breaker = retry_requests(AT_ONCE, report=report), break_circuit(OPENING, report=report)
    middleware = [retry, breaker, Faulty(status(503), status(503))]
    async with connect(make_server(), middleware=middleware) as client:
        with pytest.raises(errors.CircuitOpen):
            await client.list_prompts()
    for name in ("RetryPlanned", "CircuitChanged"):
        assert f"the report of {name}" in caplog.text
    assert "of the application" in caplog.text
