"""The tasks extension as a server keeps it: messages in, messages out, no transport between."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Context, Elicit, McpError, RuntimeSettings, ToolError, clock
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from tests.clock import until
from tests.more_time import with_more_time
from tests.transports.runtime_bench import Bench, bench
from tests.transports.tasks.workshop import Name, Workshop

pytestmark = pytest.mark.anyio

EXTENSION = "io.modelcontextprotocol/tasks"
REQUIRED: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
FOLLOWS: dict[str, Any] = {"extensions": {EXTENSION: {}}}
ASKED: dict[str, Any] = {**FOLLOWS, "elicitation": {}}
OPEN = ("working", "input_required")


class Shop(Workshop):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.add_tool(lambda: "x", "plain")
        self.add_tool(lambda: "done at once", "quick", task="optional")
        self.add_tool(self._work, "work", task="optional", task_ttl=60, task_poll=0.2)
        self.add_tool(self._work, "must", task="required")
        self.add_tool(self._work, "soon", task="optional", task_after=0.01)
        self.add_tool(self._work, "late", task="optional", task_after=3600.0)
        self.add_tool(self._hurry, "hurry", task="optional", task_after=0.01)
        self.add_tool(self._fail, "fail", task="optional")
        self.add_tool(self._break, "break", task="optional")
        self.add_tool(self._crash, "crash", task="optional")
        self.add_tool(self._ask, "ask", task="optional")
        self.add_tool(self._ask_both, "both", task="optional")
        self.add_tool(self._compose, "compose", task="optional", task_after=None)
        self.add_tool(self._insist, "insist", task="optional", task_after=None)
        self.add_tool(self._chatter, "chatter", task="optional", task_poll=3600)
        self.add_tool(self._report, "report", task="optional", task_poll=0.001)

    async def _hurry(self, context: Context) -> str:
        return f"task: {context.task_id}"

    async def _fail(self) -> str:
        raise ToolError("out of paper")

    async def _break(self) -> str:
        raise McpError(-32050, "broken", {"part": 7})

    async def _crash(self) -> str:
        raise RuntimeError("secret")

    async def _ask(self, context: Context) -> str:
        answer = await context.elicit("Who are you?", Name, key="who")
        self.asked.append(str(answer.content))
        await self.go.wait()
        return f"{answer.action} {answer.content.name if answer.content else ''}"

    async def _ask_both(self, context: Context) -> str:
        answers = await context.gather_inputs({"a": Elicit("A?", Name), "b": Elicit("B?", Name)})
        return " ".join(answer.content.name for answer in answers.values())

    async def _compose(self, context: Context) -> str:
        first = await context.elicit("Who?", Name, key="who")
        before = context.task_id
        began = context.start_task() and context.start_task()
        second = await context.elicit("And who else?", Name, key="who")
        assert first.content
        assert second.content
        return f"{before} {began} {first.content.name} {second.content.name}"

    async def _insist(self, context: Context) -> str:
        return str(context.start_task())

    async def _report(self, context: Context) -> str:
        sent: list[int] = [context.progress(1, 4), context.progress(2, 4, "half way")]
        sent += [context.progress(2, 4), context.info("hello")]
        sent += [context.notify("notifications/message", {"level": "info", "data": 1})]
        await self.go.wait()
        return str(sent)

    async def _chatter(self, context: Context) -> str:
        await self.go.wait()
        for step in range(1, 1000):
            context.progress(step, 1000)
        return "done"


class Desk:
    """A modern client that follows tasks, by hand."""

    def __init__(self, server: Shop, made: Bench) -> None:
        self.server = server
        self.bench = made

    async def request(
        self, method: str, params: dict[str, Any], capabilities: dict[str, Any] = ASKED
    ) -> dict[str, Any]:
        return await self.bench.call(method, params, capabilities=capabilities)

    async def call(
        self, name: str, capabilities: dict[str, Any] = ASKED, **more: Any
    ) -> dict[str, Any]:
        return await self.request("tools/call", {"name": name, **more}, capabilities)

    async def start(self, name: str, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = (await self.call(name, **more))["result"]
        assert result["resultType"] == "task"
        return result

    async def get(self, task: dict[str, Any]) -> dict[str, Any]:
        reply = await self.request("tasks/get", {"taskId": task["taskId"]})
        result: dict[str, Any] = reply["result"]
        assert result["resultType"] == "complete"
        return result

    async def update(self, task: dict[str, Any], answers: dict[str, Any]) -> None:
        params = {"taskId": task["taskId"], "inputResponses": answers}
        reply = await self.request("tasks/update", params)
        assert empty(reply)

    async def until(
        self, task: dict[str, Any], condition: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        while not condition(state := await self.get(task)):
            await anyio.lowlevel.checkpoint()
        return state

    async def end(self, task: dict[str, Any]) -> dict[str, Any]:
        return await self.until(task, lambda state: state["status"] not in OPEN)


def empty(reply: dict[str, Any]) -> bool:
    """The reply is an acknowledgement, and nothing else."""
    result = dict(reply["result"])
    del result["_meta"]
    return bool(result == {"resultType": "complete"})


def accept(name: Any) -> dict[str, Any]:
    return {"action": "accept", "content": {"name": name}}


@asynccontextmanager
async def desk(**settings: Any) -> AsyncIterator[Desk]:
    server = Shop()
    async with bench(server, RuntimeSettings(tasks=TaskSettings(**settings))) as made:
        yield Desk(server, made)


async def test_a_call_becomes_a_task_and_its_result_is_found_in_it() -> None:
    async with desk() as it:
        task = await it.start("work")
        assert set(task) == {
            *("resultType", "taskId", "status", "createdAt", "lastUpdatedAt"),
            *("ttlMs", "pollIntervalMs", "_meta"),
        }
        assert (task["status"], task["ttlMs"], task["pollIntervalMs"]) == ("working", 60_000, 200)
        assert (await it.get(task))["status"] == "working"
        it.server.go.set()
        state = await it.end(task)
        assert state["status"] == "completed"
        assert state["result"] == {
            "resultType": "complete",
            "content": [{"type": "text", "text": "done"}],
        }
        assert "error" not in state
        assert "inputRequests" not in state


@pytest.mark.parametrize(
    ("tool", "capabilities", "outcome"),
    [
        ("plain", FOLLOWS, "complete"),
        ("quick", FOLLOWS, "task"),
        ("quick", {}, "complete"),
        ("quick", {"extensions": {"com.example/tasks": {}}}, "complete"),
        ("must", FOLLOWS, "task"),
        ("must", {}, -32021),
        ("must", {"tasks": {"list": {}}}, -32021),
    ],
)
async def test_the_server_decides_if_the_client_can_follow(
    tool: str, capabilities: dict[str, Any], outcome: str | int
) -> None:
    async with desk() as it:
        reply = await it.call(tool, capabilities)
        if isinstance(outcome, int):
            assert reply["error"]["code"] == outcome
            assert reply["error"]["data"] == REQUIRED
        else:
            assert reply["result"]["resultType"] == outcome


async def test_arguments_that_do_not_fit_make_no_task() -> None:
    async with desk() as it:
        reply = await it.call("work", arguments={"unknown": 1})
        assert reply["result"]["resultType"] == "complete"
        assert reply["result"]["isError"] is True
        reply = await it.call("no such tool")
        assert reply["error"]["code"] == -32602


async def test_a_call_that_takes_its_time_becomes_a_task() -> None:
    async with desk() as it:
        assert (await it.call("hurry"))["result"]["content"][0]["text"] == "task: None"
        task = await it.start("soon")
        it.server.go.set()
        assert (await it.end(task))["result"]["content"][0]["text"] == "done"


async def test_a_call_that_ends_in_time_does_not() -> None:
    async with desk() as it:
        request = it.bench.post("tools/call", {"name": "late"}, capabilities=FOLLOWS)
        it.server.go.set()
        reply = await it.bench.reply(request)
        assert reply["result"]["resultType"] == "complete"


async def test_a_request_is_cancelled_like_any_other_until_it_is_a_task() -> None:
    async with desk() as it:
        request = it.bench.post("tools/call", {"name": "late"}, capabilities=FOLLOWS)
        await anyio.lowlevel.checkpoint()
        it.bench.cancel(request)
        await it.server.stopped.wait()
        await until(lambda: not it.bench.peer.in_flight)
        assert it.bench.sent == []
        assert len(it.bench.runtime._tasks.host.table) == 0  # type: ignore[union-attr]


async def test_cancelling_the_request_does_not_cancel_the_task() -> None:
    async with desk() as it:
        task = await it.start("work")
        it.bench.cancel(1)
        it.server.go.set()
        assert (await it.end(task))["status"] == "completed"


async def test_rounds_come_first_and_then_the_task() -> None:
    async with desk() as it:
        first = (await it.call("compose"))["result"]
        assert first["resultType"] == "input_required"
        assert "taskId" not in first
        answers = {"inputResponses": {"who": accept("Ada")}, "requestState": first["requestState"]}
        task = await it.start("compose", **answers)
        assert "requestState" not in task
        assert "inputRequests" not in task
        state = await it.until(task, lambda state: state["status"] == "input_required")
        assert "requestState" not in state
        await it.update(task, {"who": accept("Grace")})
        state = await it.end(task)
        assert state["result"]["content"][0]["text"] == "None True Ada Grace"


async def test_who_cannot_follow_has_all_of_it_in_rounds() -> None:
    async with desk() as it:
        only: dict[str, Any] = {"elicitation": {}}
        first = (await it.call("compose", only))["result"]
        answers = {"who": accept("Ada")}
        more = {"inputResponses": answers, "requestState": first["requestState"]}
        reply = await it.call("compose", only, **more)
        # The same key in one request means the same question, so that one round is enough here.
        assert reply["result"]["content"][0]["text"] == "None False Ada Ada"


@pytest.mark.parametrize(
    ("tool", "status", "member", "value"),
    [
        ("fail", "completed", "isError", True),
        ("break", "failed", "code", -32050),
        ("crash", "completed", "isError", True),
    ],
)
async def test_failures_of_tools_are_results_and_those_of_the_protocol_errors(
    tool: str, status: str, member: str, value: Any
) -> None:
    async with desk() as it:
        state = await it.end(await it.start(tool))
        assert state["status"] == status
        payload, other = ("result", "error") if status == "completed" else ("error", "result")
        assert state[payload][member] == value
        assert other not in state
        assert "secret" not in str(state)


async def test_an_error_keeps_its_data_and_says_what_happened() -> None:
    async with desk() as it:
        state = await it.end(await it.start("break"))
        assert state["error"] == {"code": -32050, "message": "broken", "data": {"part": 7}}
        assert state["statusMessage"] == "broken"


async def test_cancelling_stops_the_work_and_may_be_said_twice() -> None:
    async with desk() as it:
        task = await it.start("work")
        for _ in range(2):
            assert empty(await it.request("tasks/cancel", {"taskId": task["taskId"]}))
        state = await it.get(task)
        assert state["status"] == "cancelled"
        assert "result" not in state
        await it.server.stopped.wait()
        assert (await it.get(task))["status"] == "cancelled"


async def test_a_result_that_is_too_large_is_an_error() -> None:
    async with desk(result_size=20) as it:
        state = await it.end(await it.start("quick"))
        assert state["status"] == "failed"
        assert state["error"]["code"] == -32603
        assert "room for 20" in state["error"]["message"]


async def test_too_many_tasks_are_refused() -> None:
    async with desk(tasks=1) as it:
        await it.start("work")
        reply = await it.call("work")
        assert reply["error"]["code"] == 1001
        assert "1 tasks" in reply["error"]["message"]
        # What need not be a task goes on without one.
        reply = await it.call("insist")
        assert reply["result"]["content"][0]["text"] == "False"
        it.server.go.set()


async def test_what_does_not_end_in_time_fails() -> None:
    async def attempt(ttl: float) -> None:
        async with desk(ttl=ttl) as it:
            task = await it.start("must")
            assert task["ttlMs"] == ttl
            state = await it.end(task)
            assert state["status"] == "failed"
            assert state["error"]["code"] == 1003
            assert state["ttlMs"] > 60_000  # it is kept for its client to see
            await it.server.stopped.wait()

    await with_more_time(attempt, 30, 6000)  # milliseconds, in which its work has to begin


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"taskId": "unknown", "inputResponses": {}}, "no such task"),
        ({"inputResponses": {}}, "taskId"),
        ({"taskId": 7, "inputResponses": {}}, "taskId"),
    ],
)
async def test_what_is_no_task(method: str, params: dict[str, Any], says: str) -> None:
    async with desk() as it:
        reply = await it.request(method, params)
        assert reply["error"]["code"] == -32602
        assert says in reply["error"]["message"]


async def test_an_answer_that_does_not_fit_is_asked_for_again_under_another_key() -> None:
    async with desk() as it:
        task = await it.start("ask")
        seen = []
        for answer in (accept(5), accept(None), accept(7)):
            state = await it.until(task, lambda state: bool(state.get("inputRequests")))
            ((key, question),) = state["inputRequests"].items()
            seen.append(key)
            if len(seen) > 1:
                assert "did not fit" in question["params"]["message"]
            await it.update(task, {key: answer})
        assert seen == ["who", "who-2", "who-3"]
        state = await it.end(task)
        assert state["result"]["isError"] is True
        assert "does not fit" in state["result"]["content"][0]["text"]
        assert it.server.asked == []


async def test_what_was_not_declared_is_not_asked() -> None:
    async with desk() as it:
        reply = await it.call("ask", FOLLOWS)
        state = await it.end(reply["result"])
        assert state["status"] == "failed"
        assert state["error"]["code"] == -32021
        assert state["error"]["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}


async def test_a_task_that_is_cancelled_asks_nothing_any_more() -> None:
    async with desk() as it:
        task = await it.start("ask")
        await it.until(task, lambda state: state["status"] == "input_required")
        await it.request("tasks/cancel", {"taskId": task["taskId"]})
        state = await it.get(task)
        assert state["status"] == "cancelled"
        assert "inputRequests" not in state
        await it.update(task, {"who": accept("late")})
        assert it.server.asked == []


async def test_a_task_asks_so_much_and_no_more() -> None:
    async with desk(questions=1) as it:
        task = await it.start("both")
        state = await it.end(task)
        assert state["result"]["isError"] is True
        assert "1 questions" in state["result"]["content"][0]["text"]


# What a task says meanwhile


async def test_progress_is_the_message_of_the_task() -> None:
    async with desk() as it:
        task = await it.start("report", _meta={"progressToken": "p", "x/logLevel": "debug"})
        state = await it.until(task, lambda state: "statusMessage" in state)
        assert state["statusMessage"] == "half way"
        it.server.go.set()
        state = await it.end(task)
        # Two reports, one that did not increase; logs and notifications have no place in tasks.
        said = state["result"]["content"][0]["text"]
        assert said == "[True, True, False, False, False]"
        assert "statusMessage" not in state
        assert [message for message in it.bench.sent if "method" in message] == []


def listening(it: Desk, task_ids: list[str]) -> int:
    params = {"notifications": {"taskIds": task_ids}}
    return it.bench.post("subscriptions/listen", params, capabilities=FOLLOWS)


def told(it: Desk) -> list[dict[str, Any]]:
    found = [message for message in it.bench.sent if "method" in message]
    it.bench.sent.clear()
    return found


async def test_a_listen_stream_tells_every_change_in_full() -> None:
    async with desk() as it:
        task, other = await it.start("ask"), await it.start("work")
        await it.until(task, lambda state: state["status"] == "input_required")
        request = listening(it, [task["taskId"], "unknown"])
        (acknowledged,) = told(it)
        assert acknowledged["params"]["notifications"] == {"taskIds": [task["taskId"]]}

        before = await it.get(task)
        await it.update(task, {"who": accept("Ada")})
        assert before["status"] == "input_required"
        working = await it.get(task)
        it.server.go.set()
        completed = await it.end(task)
        await it.end(other)
        news = told(it)
        for message, state in zip(news, (working, completed), strict=True):
            assert message["method"] == "notifications/tasks"
            params = dict(message["params"])
            assert params.pop("_meta") == {META_SUBSCRIPTION_ID: request}
            del state["_meta"], state["resultType"]
            assert params == state


async def test_a_stream_that_has_ended_tells_nothing() -> None:
    async with desk() as it:
        task = await it.start("work")
        request = listening(it, [task["taskId"]])
        told(it)
        it.bench.cancel(request)
        it.server.go.set()
        await it.end(task)
        assert told(it) == []


async def test_a_stream_that_ends_while_all_are_told_keeps_no_news_from_others() -> None:
    async with desk() as it:
        task = await it.start("work")
        streams = [listening(it, [task["taskId"]]) for _ in range(3)]
        told(it)
        for place in (0, 2):  # the engine finds this as the news are written
            cancelled = {"requestId": streams[place], "reason": "left"}
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}
            it.bench.peer.receive_data(json.dumps(message).encode() + b"\n", now=clock())
        it.server.go.set()
        await it.server.stopped.wait()
        await anyio.wait_all_tasks_blocked()
        news = [each["params"]["_meta"][META_SUBSCRIPTION_ID] for each in told(it)]
        assert streams[1] in news


async def test_messages_alone_are_told_sparingly() -> None:
    async with desk() as it:
        task = await it.start("chatter")
        listening(it, [task["taskId"]])
        told(it)
        it.server.go.set()
        await it.end(task)
        statuses = [(m["params"]["status"], m["params"].get("statusMessage")) for m in told(it)]
        assert statuses == [("working", "1 of 1000"), ("completed", None)]
