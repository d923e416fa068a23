"""Following tasks: what the client does when all goes well, and when it does not."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Callbacks, ClientSettings, Context, MemoryTarget, RuntimeSettings, Server, Steps
from mcpcore.engine.config import Limits
from mcpcore.errors import (
    ConnectionClosed,
    InputFailed,
    InvalidResponse,
    PeerError,
    RequestTimeout,
    TaskCancelled,
)
from mcpcore.spec.errors import LocalProtocolError, McpError
from mcpcore.spec.types.client_features import ElicitParams
from mcpcore.spec.types.tasks import Task
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.running.middleware import CallNext
from mcpcore_transports.server.middleware import Answer
from tests.clock import patience
from tests.more_time import with_more_time
from tests.transports.scripted import DISCOVERY, child, modern
from tests.transports.tasks.workshop import Name, Workshop

pytestmark = pytest.mark.anyio

LEGACY, MODERN = "2025-11-25", "2026-07-28"
QUICK = TaskOptions(max_poll=0.01, min_poll=0.001)


@pytest.fixture(params=[LEGACY, MODERN])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Shop(Workshop):
    def __init__(self) -> None:
        super().__init__()
        self.started = anyio.Event()
        self.ends: list[str] = []
        for name in ("work", "ask", "report"):
            self.add_tool(getattr(self, f"_{name}"), name, task="optional", task_poll=0.001)
        self.add_tool(self._work, "must", task="required")

    async def _work(self) -> str:
        self.started.set()
        try:
            await self.go.wait()
            self.ends.append("done")
        except anyio.get_cancelled_exc_class():
            self.ends.append("cancelled")
            raise
        finally:
            self.stopped.set()
        return "done"

    async def _ask(self, context: Context) -> str:
        try:
            answer = await context.elicit("Who are you?", Name)
        finally:
            self.stopped.set()
        return answer.content.name if answer.content else answer.action

    async def _report(self, context: Context) -> str:
        self.started.set()
        context.progress(1, 3, "begun")
        await self.go.wait()
        context.progress(2, 3)
        context.progress(3, 3)
        return "reported"


@asynccontextmanager
async def connected(
    target: Any,
    revision: str,
    *,
    options: TaskOptions | None = QUICK,
    limits: Limits | None = None,
    middleware: Sequence[Any] = (),
    **callbacks: Any,
) -> AsyncIterator[Client]:
    settings = ClientSettings(tasks=options, limits=limits or Limits())
    with patience():
        async with connect(
            target,
            revision=revision,
            callbacks=Callbacks(**callbacks),
            settings=settings,
            middleware=middleware,
        ) as client:
            if isinstance(target, Server):
                await client.tools()
            yield client


@pytest.mark.requirement("basic/utilities/cancellation/tasks-cancelled-by-task")
async def test_a_caller_that_is_cancelled_cancels_its_task(revision: str) -> None:
    server = Shop()

    async def slowly(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        await anyio.lowlevel.checkpoint()  # as one that writes a log
        return await call_next()

    async with connected(server, revision, middleware=[slowly]) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "work")
            await server.started.wait()
            group.cancel_scope.cancel()
        await server.stopped.wait()
        assert server.ends == ["cancelled"]


async def test_a_caller_that_waits_no_longer_than_this(revision: str) -> None:
    server = Shop()
    async with connected(server, revision) as client:
        for seconds in (0.05, 1.0, 10.0):  # the call has to become a task before it is over
            with pytest.raises(RequestTimeout) as caught:
                await client.call_tool("work", timeout=seconds)
            if server.started.is_set() and "did not end" in str(caught.value):
                break
        assert f"did not end within {seconds} s" in str(caught.value)
        await server.stopped.wait()


async def test_without_a_limit_of_its_own_a_call_may_take_long(revision: str) -> None:
    async def attempt(limit: float) -> None:
        server = Shop()
        async with (
            connected(server, revision, limits=Limits(request_timeout=limit)) as client,
            anyio.create_task_group() as group,
        ):

            async def call() -> None:
                assert (await client.call_tool("work")).text == "done"

            group.start_soon(call)
            await anyio.sleep(limit + 0.2)  # longer than any single request may take
            server.go.set()

    await with_more_time(attempt, 0.6, 6.0)


@pytest.mark.parametrize("error", [McpError(-1, "not now"), ValueError("bug")])
async def test_a_question_that_cannot_be_answered_ends_the_task(error: Exception) -> None:
    server = Shop()

    def refuse(params: ElicitParams) -> None:
        raise error

    async with connected(server, MODERN, elicitation=refuse) as client:
        with pytest.raises(InputFailed) as failed:
            await client.call_tool("ask")
        assert failed.value.__cause__ is error
        await server.stopped.wait()


async def test_a_refusal_on_the_wire_is_the_tools_to_deal_with() -> None:
    def refuse(params: ElicitParams) -> None:
        raise McpError(-1, "not now")

    async with connected(Shop(), LEGACY, elicitation=refuse) as client:
        result = await client.call_tool("ask")
        assert result.is_error is True
        assert "refused elicitation/create: not now" in result.text


async def test_a_look_that_fails_before_there_is_news_ends_the_call() -> None:
    """What has changed before anybody listened is told by nobody: it would be waited for."""
    server = Shop()
    server.go.set()

    def guards(request: Context) -> Steps[Answer]:
        if request.method == "tasks/get":
            raise McpError(-31999, "no entry")
        yield

    target = MemoryTarget(server, RuntimeSettings(middleware=(guards,)))
    options = TaskOptions(max_poll=3600, listen=True)
    async with connected(target, MODERN, options=options) as client:
        with pytest.raises(PeerError, match="no entry"):
            await client.call_tool("work")


async def test_a_tool_that_must_be_a_task_is_found_out() -> None:
    server = Shop()
    server.go.set()
    settings = ClientSettings(tasks=QUICK)
    with patience():
        async with connect(server, revision=LEGACY, settings=settings) as client:
            assert (await client.call_tool("must")).text == "done"
            with pytest.raises(PeerError, match="Unknown tool"):
                await client.call_tool("nothing of the kind")


async def test_progress_goes_on_in_the_task() -> None:
    server = Shop()
    seen: list[Any] = []
    heard = anyio.Event()

    def progress(value: float, total: float | None, message: str | None) -> None:
        seen.append((value, total, message))
        heard.set()

    async with connected(server, LEGACY) as client, anyio.create_task_group() as group:

        async def call() -> None:
            assert (await client.call_tool("report", progress=progress)).text == "reported"

        group.start_soon(call)
        await heard.wait()
        server.go.set()
    assert seen == [(1, 3, "begun"), (2, 3, None), (3, 3, None)]


async def test_the_client_asks_for_its_ttl() -> None:
    options = TaskOptions(ttl=30)
    async with connected(Shop(), LEGACY, options=options) as client:
        default, own = await client.tasks.start("work"), await client.tasks.start("work", ttl=40)
        assert isinstance(default, Task)
        assert isinstance(own, Task)
        assert (default.ttl, own.ttl) == (30_000, 40_000)


@pytest.mark.parametrize(
    ("revision", "method", "arguments"),
    [
        (LEGACY, "update", ("t", {})),
        (MODERN, "list", ()),
        (MODERN, "result", ("t",)),
        ("2025-06-18", "get", ("t",)),
        ("2025-06-18", "cancel", ("t",)),
    ],
)
async def test_methods_that_a_revision_does_not_have(
    revision: str, method: str, arguments: tuple[Any, ...]
) -> None:
    async with connected(Shop(), revision) as client:
        with pytest.raises(LocalProtocolError):
            await getattr(client.tasks, method)(*arguments)


async def test_where_there_are_no_tasks_calls_are_calls() -> None:
    server = Shop()
    server.go.set()
    async with connected(server, "2025-06-18") as client:
        assert (await client.call_tool("work")).text == "done"
        result = await client.tasks.start("work")
        assert isinstance(result, CallToolResult)
        with pytest.raises(PeerError) as caught:
            await client.call_tool("must")
        assert caught.value.code == -32601


# Servers that do it wrong

STATE = {"taskId": "t", "createdAt": "x", "lastUpdatedAt": "x", "ttlMs": None, "pollIntervalMs": 1}


def task(status: str, **more: Any) -> dict[str, Any]:
    return {"result": modern({**STATE, "status": status, **more})}


CREATED = {"result": {**STATE, "status": "working", "resultType": "task"}}
DONE = task("completed", result={"content": [{"type": "text", "text": "42"}]})
ERROR = {"error": {"code": -32602, "message": "there is no such task"}}


def question(key: str) -> dict[str, Any]:
    asked = {"method": "elicitation/create", "params": {"message": key, "requestedSchema": FORM}}
    return {key: asked}


EXTENSION: dict[str, Any] = {"io.modelcontextprotocol/tasks": {}}
DISCOVERED = {**DISCOVERY, "capabilities": {"tools": {}, "extensions": EXTENSION}}


def tasked(replies: dict[str, Any]) -> list[str]:
    """The command of a scripted server that declares the extension."""
    return child({"server/discover": {"result": DISCOVERED}, **replies})


FORM: dict[str, Any] = {"type": "object", "properties": {}}
ASKS = task("input_required", inputRequests=question("a"))
ACK = {"result": modern({})}


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("replies", "outcome", "says"),
    [
        ({"tasks/get": DONE}, None, "42"),
        ({"tasks/get": [task("working"), task("working"), DONE]}, None, "42"),
        ({"tasks/get": [task("working", pollIntervalMs=10**400), DONE]}, None, "42"),
        ({"tasks/get": [ASKS, ASKS, task("working"), DONE], "tasks/update": ACK}, None, "42"),
        ({"tasks/get": ERROR}, PeerError, "no such task"),
        (
            {"tasks/get": task("failed", error={"code": -5, "message": "broken"})},
            PeerError,
            "broken",
        ),
        ({"tasks/get": task("cancelled", statusMessage="tired")}, TaskCancelled, "tired"),
        ({"tasks/get": task("failed")}, InvalidResponse, "without outcome"),
        ({"tasks/get": task("completed")}, InvalidResponse, "without outcome"),
        ({"tasks/get": task("dreaming")}, InvalidResponse, "dreaming"),
        ({"tasks/get": {"result": modern({"taskId": "t"})}}, InvalidResponse, "malformed"),
        ({"tasks/get": ASKS, "tasks/update": ERROR}, PeerError, "no such task"),
        (
            {"tasks/get": [ASKS, task("input_required", inputRequests=question("b"))]},
            InputFailed,
            "more than 1 questions",
        ),
        ({"tasks/get": "silence"}, RequestTimeout, "tasks/get"),
        ({"tasks/get": ["silence", "silence", DONE]}, None, "42"),
        ({"tasks/get": "exit"}, ConnectionClosed, "last words"),
        (
            {"tools/call": {"result": {"resultType": "task", "status": "working"}}},
            InvalidResponse,
            "taskId",
        ),
    ],
)
async def test_what_a_server_may_answer(
    replies: dict[str, Any], outcome: type[Exception] | None, says: str
) -> None:
    options = TaskOptions(max_poll=0.01, min_poll=0.001, questions=1)
    server = tasked({"tools/call": CREATED, "tasks/cancel": ACK, "tasks/update": ACK, **replies})

    async def attempt(seconds: float) -> None:
        async with connected(
            server,
            MODERN,
            options=options,
            limits=Limits(request_timeout=seconds),
            elicitation=lambda params: {},
        ) as client:
            if outcome is None:
                assert (await client.call_tool("x")).text == says
                return
            with pytest.raises(outcome, match=says):
                await client.call_tool("x")

    await with_more_time(attempt, 1.0, 10.0)  # the process has to start in it as well


@pytest.mark.parametrize(("failures", "borne"), [(1, 0), (2, 1)])
async def test_so_many_looks_may_stay_unanswered(failures: int, borne: int) -> None:
    options = TaskOptions(max_poll=0.01, min_poll=0.001, failures=failures)

    async def attempt(seconds: float) -> None:
        limits = Limits(request_timeout=seconds)
        for silent in (borne, borne + 1):
            looks = {"tasks/get": [*["silence"] * silent, DONE]}
            server = tasked({"tools/call": CREATED, "tasks/cancel": ACK, **looks})
            async with connected(server, MODERN, options=options, limits=limits) as client:
                if silent < failures:
                    assert (await client.call_tool("x")).text == "42"
                else:
                    with pytest.raises(RequestTimeout, match="tasks/get"):
                        await client.call_tool("x")

    await with_more_time(attempt, 1.0, 10.0)  # the process has to start in it as well


@pytest.mark.parametrize("declared", ["by the server", "by the client", "by nobody"])
async def test_a_task_that_was_not_agreed_upon_is_no_answer(declared: str) -> None:
    server = (tasked if declared == "by the server" else child)({"tools/call": CREATED})
    options = QUICK if declared == "by the client" else None
    async with connected(server, MODERN, options=options) as client:
        with pytest.raises(InvalidResponse, match="task"):
            await client.call_tool("x")
