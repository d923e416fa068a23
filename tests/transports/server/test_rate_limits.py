"""Rate limits of a server: what is refused, what is dropped, and who is counted as one."""

from collections.abc import Awaitable
from typing import Any, Literal

import anyio
import pytest
from msgspec import Raw, Struct

from mcpcore import Callbacks, Context, RuntimeSettings, Server, ServeSettings, clock, connect
from mcpcore.errors import InputFailed, PeerError
from mcpcore.policy.rates import Activity, Rate, RateLimits
from mcpcore.spec.errors import BUSY, INTERNAL_ERROR, LEGACY_BUSY
from mcpcore.spec.revisions import REVISIONS
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.targets import MemoryTarget
from tests.clock import PATIENCE, patience
from tests.transports.runtime_bench import LEGACY, MODERN, bench
from tests.transports.served import ANY_PORT, reachable, served

pytestmark = pytest.mark.anyio


class Nothing(Struct):
    """Form without a field."""


SELDOM = 1e-9
"""A rate at which nothing comes back while a test runs, so that only the burst counts."""


def busy_server() -> Server:
    server = Server("busy")

    @server.tool
    def count(context: Context, progress: int = 0, debug: int = 0, error: int = 0) -> str:
        done = [context.progress(step) for step in range(progress)]
        told = [context.debug(step) for step in range(debug)]
        told += [context.error(step) for step in range(error)]
        return f"{sum(done)} {sum(told)}"

    @server.tool(task="required")
    async def work(context: Context) -> str:
        return str(sum(context.progress(step) for step in range(5)))

    @server.prompt
    def greet(name: str) -> str:
        return f"Greet {name}"

    @server.completion(prompt="greet")
    def names(typed: str) -> list[str]:
        return [f"{typed}!"]

    return server


def limited(**bursts: int) -> tuple[RuntimeSettings, RateLimits]:
    rates = {Activity[name]: Rate(SELDOM, burst=burst) for name, burst in bursts.items()}
    limits = RateLimits(rates)
    return RuntimeSettings(limiter=limits), limits


def count(**arguments: int) -> dict[str, Any]:
    return {"name": "count", "arguments": arguments}


@pytest.mark.requirement(
    "server/tools/rate-limited",
    "server/utilities/completion/server-rate-limit",
    "server/utilities/completion/rate-limited",
)
@pytest.mark.parametrize(("revision", "code"), [(LEGACY, LEGACY_BUSY), (MODERN, BUSY)])
@pytest.mark.parametrize("activity", ["TOOLS", "COMPLETION"])
async def test_requests_over_the_limit_are_refused(activity: str, revision: str, code: int) -> None:
    settings, limits = limited(**{activity: 3})
    target = MemoryTarget(busy_server(), settings)
    async with connect(target, revision=revision) as client:

        async def call(times: int) -> None:
            for _ in range(times):
                await client.call_tool("count")

        async def complete(times: int) -> None:
            for _ in range(times):
                await client.complete(PromptReference(name="greet"), "name", "a")

        use, other = (call, complete) if activity == "TOOLS" else (complete, call)
        await use(3)
        for _ in range(2):
            with pytest.raises(PeerError, match=f"busy: too many {Activity[activity].value}") as e:
                await use(1)
            assert e.value.code == code
            assert isinstance(e.value.error.data, Raw)
            assert b"retryAfterMs" in bytes(e.value.error.data)
        await other(5)
        await client.ping()
    assert limits.refused == {Activity[activity]: 2}


@pytest.mark.requirement("basic/patterns/progress/rate-limited")
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_progress_over_the_limit_is_dropped(revision: str) -> None:
    settings, limits = limited(PROGRESS=3)
    seen: list[float] = []
    async with connect(MemoryTarget(busy_server(), settings), revision=revision) as client:
        unasked = await client.call_tool("count", {"progress": 9})
        result = await client.call_tool(
            "count", {"progress": 9}, progress=lambda value, total, message: seen.append(value)
        )
    assert [each.text for each in (unasked, result)] == [
        "0 0",
        "3 0",
    ]  # what nobody asked for uses nothing up
    assert seen == [0, 1, 2]
    assert limits.refused == {Activity.PROGRESS: 6}


@pytest.mark.requirement("server/utilities/logging/server-rate-limit")
@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_log_messages_over_the_limit_are_dropped(revision: str) -> None:
    settings, limits = limited(LOGGING=3)
    seen: list[Any] = []
    callbacks = Callbacks(log=lambda message: seen.append((message.level, message.data)))
    target = MemoryTarget(busy_server(), settings)
    async with connect(target, revision=revision, callbacks=callbacks) as client:
        await client.set_log_level("info")
        result = await client.call_tool("count", {"debug": 9, "error": 5})
    assert result.text == "0 3"
    assert seen == [("error", 0), ("error", 1), ("error", 2)]
    assert limits.refused == {Activity.LOGGING: 2}


@pytest.mark.requirement("basic/utilities/tasks/rate-limited")
@pytest.mark.parametrize(("revision", "code"), [(LEGACY, LEGACY_BUSY), (MODERN, BUSY)])
async def test_tasks_are_limited_too(revision: str, code: int) -> None:
    settings, limits = limited(PROGRESS=2, TASKS=2)
    modern = revision == MODERN
    capabilities: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    async with bench(busy_server(), settings) as made:
        if not modern:
            made.open_legacy()

        async def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            return await made.call(method, params, capabilities=capabilities, revision=revision)

        call: dict[str, Any] = {"name": "work", "_meta": {"progressToken": 1}}
        created = (await ask("tools/call", call if modern else {**call, "task": {}}))["result"]
        task = {"taskId": (created if modern else created["task"])["taskId"]}
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            assert (await ask("tasks/get", task))["result"]["status"] == "completed"
        third = await ask("tasks/get", task)
        assert third["error"]["code"] == code
        assert third["error"]["message"].startswith("busy: too many requests about tasks")
    assert limits.refused == {Activity.PROGRESS: 3, Activity.TASKS: 1}


class Spy:
    """A limiter that writes down who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Activity, str]] = []

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float:
        self.asked.append((activity, caller))
        return 0.0


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_every_class_of_requests_is_an_activity(revision: str) -> None:
    server, spy = busy_server(), Spy()

    @server.resource("test://{name}")
    def resource(name: str) -> str:
        return name

    @server.method("acme/do")
    def do() -> dict[str, Any]:
        return {}

    async with connect(MemoryTarget(server, RuntimeSettings(limiter=spy)), revision=revision) as it:
        await it.call_tool("count")
        await it.tools()
        await it.prompts()
        await it.resources()
        await it.resource_templates()
        await it.read_resource("test://a")
        await it.get_prompt("greet", {"name": "Ada"})
        await it.complete(PromptReference(name="greet"), "name", "a")
        async with it.listen(uris=["test://a"]):
            pass
        await it.request("acme/do")
        await it.ping()
    subscriptions = [Activity.SUBSCRIPTIONS] * (2 if revision == LEGACY else 1)
    assert [activity for activity, _ in spy.asked] == [
        Activity.TOOLS,
        *[Activity.LISTS] * 4,
        Activity.READS,
        Activity.PROMPTS,
        Activity.COMPLETION,
        *subscriptions,
        Activity.EXTENSIONS,
    ]


async def test_a_tool_may_have_a_rate_of_its_own() -> None:
    rates = {Activity.TOOLS: Rate(SELDOM, burst=3)}
    limits = RateLimits(rates, per_tool={"count": Rate(SELDOM, burst=1)})
    async with bench(busy_server(), RuntimeSettings(limiter=limits)) as made:
        replies = [await made.call("tools/call", count()) for _ in range(2)]
        assert ["error" in reply for reply in replies] == [False, True]
        other = {"name": "work", "arguments": {}}
        for _ in range(2):  # the refused call has taken nothing
            assert "busy" not in (await made.call("tools/call", other))["error"]["message"]
        assert "busy" in (await made.call("tools/call", other))["error"]["message"]
        nameless = await made.call("tools/call", {"name": 7})
        assert "busy" in nameless["error"]["message"]
    assert limits.refused == {"count": 1, Activity.TOOLS: 2}


class Later:
    """A limiter that awaits; ``answers`` are given in turn, an exception is raised."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.go_on = anyio.Event()

    async def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float:
        await self.go_on.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_a_limiter_may_await(revision: str) -> None:
    later = Later(0.0, 2.5, ConnectionError("limiter down"), 0.0)
    later.go_on.set()
    settings = RuntimeSettings(limiter=later)
    async with connect(MemoryTarget(busy_server(), settings), revision=revision) as client:
        assert (await client.call_tool("count", {"progress": 1})).text == "0 0"
        with pytest.raises(PeerError, match=r"too many tool calls; try again in 2\.5 seconds"):
            await client.call_tool("count")
        with pytest.raises(PeerError, match="the rate of tool calls is unknown"):
            await client.call_tool("count")
        prompt = await client.get_prompt("greet", {"name": "Ada"})
        assert len(prompt.messages) == 1


async def test_a_request_may_be_cancelled_while_the_limiter_awaits() -> None:
    later = Later(0.0)
    async with connect(MemoryTarget(busy_server(), RuntimeSettings(limiter=later))) as client:
        with anyio.move_on_after(0.01):
            await client.call_tool("count")
        later.go_on.set()
        assert (await client.call_tool("count")).text == "0 0"


async def test_a_handler_may_be_cancelled_after_the_limiter_has_awaited() -> None:
    server, started, ended = busy_server(), anyio.Event(), anyio.Event()

    @server.tool
    async def sleep() -> str:
        try:
            started.set()
            await anyio.sleep_forever()
        finally:
            ended.set()
        return "never"

    later = Later(0.0)
    later.go_on.set()
    with patience(20.0):
        async with connect(MemoryTarget(server, RuntimeSettings(limiter=later))) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "sleep")
                await started.wait()
                group.cancel_scope.cancel()
            await ended.wait()


async def test_a_limiter_must_not_await_for_notifications(caplog: pytest.LogCaptureFixture) -> None:
    settings = RuntimeSettings(limiter=Mixed(0.0))
    async with connect(MemoryTarget(busy_server(), settings), revision=LEGACY) as client:
        result = await client.call_tool("count", {"progress": 2}, progress=lambda *_: None)
    assert result.text == "0 0"
    assert "a rate limiter answers with seconds, not <coroutine" in caplog.text


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
@pytest.mark.parametrize("awaits", [False, True])
async def test_a_client_limits_what_its_server_asks(awaits: bool, revision: str) -> None:
    server = busy_server()

    @server.tool
    async def ask(context: Context, roots: bool = False) -> str:
        if roots:
            return str(len(await context.list_roots()))
        return (await context.elicit("Well?", Nothing)).action

    local = RateLimits({Activity.ELICITATION: Rate(SELDOM, burst=1)})
    later = Later(0.0, 1e9, 0.0)
    later.go_on.set()
    callbacks = Callbacks(
        elicitation=lambda params: {}, roots=["file:///a"], limiter=later if awaits else local
    )
    async with connect(server, callbacks=callbacks, revision=revision) as client:
        assert (await client.call_tool("ask")).text == "accept"
        told = "too many requests for elicitation; try again in 1e\\+09 seconds"
        if revision == LEGACY:  # the server gets the error, and its tool fails
            assert (await client.call_tool("ask")).is_error
        else:
            with pytest.raises(InputFailed, match=told):
                await client.call_tool("ask")
        assert (await client.call_tool("ask", {"roots": True})).text == "1"


class Mixed:
    """A limiter that awaits for notifications alone."""

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float | Awaitable[float]:
        return self.answer if activity is Activity.TOOLS else self._later()

    async def _later(self) -> float:
        return self.answer


async def test_who_is_counted_as_one() -> None:
    """Connections and sessions are callers of their own; stateless HTTP is one."""
    spy = Spy()
    settings = ServeSettings(runtime=RuntimeSettings(limiter=spy))

    async def calls(url: str, revision: str) -> list[str]:
        before = len(spy.asked)
        async with connect(url, revision=revision) as one, connect(url, revision=revision) as two:
            for client in (one, two, one):
                await client.call_tool("count")
        return [caller for _, caller in spy.asked[before:]]

    async with served(
        busy_server(), http=ANY_PORT, ws=ANY_PORT, settings=settings, seconds=PATIENCE
    ) as site:
        http, ws = site.urls
        sessions = await calls(http, LEGACY)
        stateless = await calls(http, MODERN)
        sockets = await calls(ws, MODERN)
    for callers in (sessions, sockets):
        assert callers[0] == callers[2] != callers[1]
    assert all(caller.startswith("session ") for caller in sessions)
    assert len(set(stateless)) == 1
    assert len({*sessions, *stateless, *sockets}) == 5


async def test_who_was_authenticated_is_one_wherever_he_comes_from() -> None:
    spy = Spy()
    settings = RuntimeSettings(limiter=spy)
    line = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","_meta":'
        b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
        b'"io.modelcontextprotocol/clientCapabilities":{}}}}'
    )
    for principal in ("ada", "ada", "bob", None):
        async with bench(busy_server(), settings) as made:
            made.peer.receive(line, now=clock(), principal=principal)
            made.flush_soon()
    callers = [caller for _, caller in spy.asked]
    assert callers[:3] == ["principal ada", "principal ada", "principal bob"]
    assert callers[3].startswith("connection ")


class Broken:
    """A limiter that has lost its counts: it raises, or answers nonsense."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float:
        if self.answer is None:
            raise ConnectionError("limiter down")
        wait: float = self.answer
        return wait


@pytest.mark.parametrize("transport", ["memory", "http", "ws"])
@pytest.mark.parametrize("revision", [revision.name for revision in REVISIONS])
@pytest.mark.parametrize("fate", ["refuse", "admit"])
async def test_a_limiter_that_fails_takes_nothing_down(
    fate: Literal["refuse", "admit"],
    revision: str,
    transport: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = RuntimeSettings(limiter=Broken(), limiter_failure=fate)
    seen: list[float] = []
    with patience():
        async with (
            reachable(transport, busy_server(), settings) as target,
            connect(target, revision=revision) as client,
        ):
            for _ in range(2):
                if fate == "admit":
                    result = await client.call_tool(
                        "count", {"progress": 2}, progress=lambda value, *_: seen.append(value)
                    )
                    assert result.text == "2 0"
                else:
                    with pytest.raises(PeerError, match="rate of tool calls is unknown") as e:
                        await client.call_tool("count")
                    assert e.value.code == INTERNAL_ERROR
            await client.ping()
    assert seen == ([0, 1, 0, 1] if fate == "admit" else [])
    assert "the rate limiter's decision on tool calls failed (error id " in caplog.text
    assert "limiter down" in caplog.text


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), "soon", []])
async def test_a_limiter_that_answers_nonsense_has_failed(answer: Any) -> None:
    async with bench(busy_server(), RuntimeSettings(limiter=Broken(answer))) as made:
        reply = await made.call("tools/call", count())
        assert reply["error"]["code"] == INTERNAL_ERROR


class Half(Broken):
    """One that fails for notifications only."""

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float:
        if activity in (Activity.PROGRESS, Activity.LOGGING):
            return super().admit(activity, caller, now=now)
        return 0.0


@pytest.mark.parametrize(("fate", "told"), [("refuse", "0 0"), ("admit", "3 1")])
async def test_a_handler_does_not_fail_with_the_limiter(
    fate: Literal["refuse", "admit"], told: str
) -> None:
    settings = RuntimeSettings(limiter=Half(), limiter_failure=fate)
    async with connect(MemoryTarget(busy_server(), settings), revision=LEGACY) as client:
        result = await client.call_tool(
            "count", {"progress": 3, "error": 1}, progress=lambda *_: None
        )
    assert result.text == told
