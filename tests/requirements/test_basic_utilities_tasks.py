"""basic/utilities/tasks: the experimental tasks of 2025-11-25, as a server keeps them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import ToolError
from mcpcore.http.server.server import HttpServer
from mcpcore.service import Server
from mcpcore.service.task_settings import TaskSettings
from mcpcore.service.tasks import TRANSITIONS, TaskSignal, TaskTable
from mcpcore.spec.errors import ErrorData, McpError
from mcpcore.spec.types.tasks import TERMINAL
from mcpcore_transports.link import Link
from mcpcore_transports.serve.serve import server_config
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import patience
from tests.http.support import Bench as HttpBench
from tests.http.support import initialize, note, request
from tests.transports.runtime_bench import LEGACY, Bench, bench

pytestmark = pytest.mark.anyio

RELATED = "io.modelcontextprotocol/related-task"
ELICITS: dict[str, Any] = {"elicitation": {}}
SECRET = bytes(range(32))
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Workshop(Server):
    """Tools that wait until a test lets them ``go``."""

    def __init__(self) -> None:
        super().__init__("workshop")
        self.go = anyio.Event()
        self.stopped = anyio.Event()
        self.add_tool(lambda: "x", "plain")
        for name in ("work", "fail", "break", "ask", "report"):
            function = getattr(self, f"_{name}")
            self.add_tool(function, name, task="optional")
        self.add_tool(self._work, "must", task="required")

    async def _work(self) -> str:
        try:
            await self.go.wait()
        finally:
            self.stopped.set()
        return "done"

    async def _fail(self) -> str:
        raise ToolError("out of paper")

    async def _break(self) -> str:
        raise McpError(-32099 + 50, "broken", {"part": 7})

    async def _ask(self, context: Context) -> str:
        schema = {"type": "object", "properties": {}}
        action = (await context.elicit("Go on?", schema)).action
        await self.go.wait()
        return action

    async def _report(self, context: Context) -> str:
        context.progress(1, 2, "half")
        context.error("heard")
        await self.go.wait()
        context.progress(2, 2)
        return "done"


@asynccontextmanager
async def opened(**tasks: Any) -> AsyncIterator[tuple[Workshop, Bench]]:
    server = Workshop()
    async with bench(server, RuntimeSettings(tasks=TaskSettings(**tasks))) as made:
        made.open_legacy(ELICITS)
        yield server, made


async def call(made: Bench, method: str, params: dict[str, Any] | None = None) -> Any:
    return await made.call(method, params or {}, revision=LEGACY)


async def begin(made: Bench, tool: str, **task: Any) -> Any:
    """Call a tool as a task and return the task."""
    reply = await call(made, "tools/call", {"name": tool, "arguments": {}, "task": task})
    return reply["result"]["task"]


async def get(made: Bench, id: str) -> Any:
    return (await call(made, "tasks/get", {"taskId": id}))["result"]


async def until(made: Bench, id: str, status: str) -> Any:
    while (task := await get(made, id))["status"] != status:
        await anyio.lowlevel.checkpoint()
    return task


def told(made: Bench, method: str) -> list[Any]:
    return [message for message in made.sent if message.get("method") == method]


# Which calls become tasks


@pytest.mark.requirement("basic/utilities/tasks/declared")
async def test_tasks_are_declared_by_kind_of_request() -> None:
    async with opened() as (_, made):
        capabilities = made.sent[0]["result"]["capabilities"]
    assert capabilities["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}


@pytest.mark.requirement("basic/utilities/tasks/undeclared-processed")
async def test_without_tasks_the_wish_for_one_is_ignored() -> None:
    server = Server("s")
    server.add_tool(lambda: "x", "plain")
    async with bench(server) as made:
        made.open_legacy()
        assert "tasks" not in made.sent[0]["result"]["capabilities"]
        reply = await call(made, "tools/call", {"name": "plain", "task": {"ttl": 5000}})
    assert reply["result"]["content"] == [{"type": "text", "text": "x"}]


@pytest.mark.requirement(
    "basic/utilities/tasks/tool-forbids-error", "basic/utilities/tasks/tool-requires-error"
)
@pytest.mark.parametrize(("tool", "task"), [("plain", {"task": {}}), ("must", {})])
async def test_calls_that_do_not_fit_their_tool(tool: str, task: dict[str, Any]) -> None:
    async with opened() as (_, made):
        reply = await call(made, "tools/call", {"name": tool, **task})
    assert reply["error"]["code"] == -32601
    assert "task" in reply["error"]["message"]


@pytest.mark.requirement(
    "basic/utilities/tasks/create-result",
    "basic/utilities/tasks/create-soon",
    "basic/utilities/tasks/begins-working",
    "basic/utilities/tasks/id-string",
    "basic/utilities/tasks/id-by-receiver",
    "basic/utilities/tasks/id-unique",
    "basic/utilities/tasks/created-at",
    "basic/utilities/tasks/updated-at",
    "basic/utilities/tasks/ttl",
)
async def test_a_call_is_answered_with_its_task_at_once() -> None:
    async with opened() as (_, made):
        tasks = [await begin(made, "work", taskId="mine", ttl=60_000) for _ in range(3)]
        shown = await get(made, tasks[0]["taskId"])
    assert {type(task["taskId"]) for task in tasks} == {str}
    assert len({task["taskId"] for task in tasks} - {"mine"}) == 3
    for task in [*tasks, shown]:
        assert task["status"] == "working"
        assert TIME.fullmatch(task["createdAt"])
        assert TIME.fullmatch(task["lastUpdatedAt"])
        assert task["ttl"] == 60_000
        assert task["pollInterval"] > 0


@pytest.mark.requirement(
    "basic/utilities/tasks/unbound-ids-secure", "basic/security-best-practices/handles-random"
)
def test_ids_cannot_be_guessed() -> None:
    tables = [TaskTable(SECRET), TaskTable(SECRET[::-1])]
    ids = [table.create(None, wall=0).id for table in tables for _ in range(500)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", id) for id in ids)
    for position in range(32):
        assert len({id[position] for id in ids}) > 30


# Where a task stands


@pytest.mark.requirement(
    "basic/utilities/tasks/transitions", "basic/utilities/tasks/terminal-final"
)
def test_tasks_move_as_they_may() -> None:
    moves: dict[str, set[str]] = {}
    for (before, _), after in TRANSITIONS.items():
        if before != after:
            moves.setdefault(before, set()).add(after)
    assert moves == {
        "working": {"input_required", "completed", "failed", "cancelled"},
        "input_required": {"working", "completed", "failed", "cancelled"},
    }
    assert not any(
        (status, signal) in TRANSITIONS for status, signal in product(TERMINAL, TaskSignal)
    )


@pytest.mark.requirement("basic/utilities/tasks/terminal-final")
@pytest.mark.parametrize("first", ["complete", "fail", "cancel"])
@pytest.mark.parametrize("second", ["complete", "fail", "cancel", "ask"])
def test_a_task_that_has_ended_stays_as_it_is(first: str, second: str) -> None:
    table = TaskTable(SECRET)
    record = table.create(None, wall=0)
    ends: dict[str, Any] = {
        "complete": lambda: table.complete(record, b"{}", wall=1),
        "fail": lambda: table.fail(record, ErrorData(-1, "x"), wall=1),
        "cancel": lambda: table.cancel(record, "x", wall=1),
        "ask": lambda: table.ask(record, "k", "roots/list", b"{}", wall=1),
    }
    assert ends[first]() is True
    status = record.status
    assert not ends[second]()
    assert record.status == status


@pytest.mark.requirement(
    "basic/utilities/tasks/input-status",
    "basic/utilities/tasks/input-related",
    "basic/utilities/tasks/input-left",
    "basic/utilities/tasks/related-shared",
)
async def test_a_task_that_asks() -> None:
    async with opened() as (server, made):
        id = (await begin(made, "ask"))["taskId"]
        await until(made, id, "input_required")
        waiting = made.post("tasks/result", {"taskId": id}, revision=LEGACY)
        [question] = told(made, "elicitation/create")
        assert question["params"]["_meta"][RELATED] == {"taskId": id}
        answer = {"action": "decline"}
        made.send({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        await until(made, id, "working")
        server.go.set()
        reply = await made.reply(waiting)
    assert reply["result"]["content"][0]["text"] == "decline"


@pytest.mark.requirement(
    "basic/utilities/tasks/result-blocks",
    "basic/utilities/tasks/result-terminal",
    "basic/utilities/tasks/result-related",
)
async def test_the_result_is_waited_for_and_is_that_of_the_call() -> None:
    async with opened() as (server, made):
        id = (await begin(made, "work"))["taskId"]
        waiting = made.post("tasks/result", {"taskId": id}, revision=LEGACY)
        await anyio.wait_all_tasks_blocked()
        assert not any(message.get("id") == waiting for message in made.sent)
        server.go.set()
        early = await made.reply(waiting)
        late = await call(made, "tasks/result", {"taskId": id})
        plain = await call(made, "tools/call", {"name": "work"})
    assert early["result"] == late["result"]
    assert early["result"].pop("_meta")[RELATED] == {"taskId": id}
    plain["result"].pop("_meta", None)
    assert early["result"] == plain["result"]


@pytest.mark.requirement(
    "basic/utilities/tasks/result-terminal", "basic/utilities/tasks/failed-message"
)
@pytest.mark.parametrize(("tool", "message"), [("fail", "out of paper"), ("break", "broken")])
async def test_what_failed_gives_what_the_call_would_have_given(tool: str, message: str) -> None:
    async with opened() as (_, made):
        id = (await begin(made, tool))["taskId"]
        task = await until(made, id, "failed")
        result = await call(made, "tasks/result", {"taskId": id})
        plain = await call(made, "tools/call", {"name": tool})
    assert message in task["statusMessage"]
    assert result.get("error") == plain.get("error")
    for reply in (result, plain):
        reply.get("result", {}).pop("_meta", None)
    assert result.get("result") == plain.get("result")


# Metadata


@pytest.mark.requirement(
    "basic/utilities/tasks/related-task",
    "basic/utilities/tasks/status-plain",
    "basic/utilities/progress/task-token-kept",
    "basic/utilities/progress/task-same-token",
    "basic/utilities/progress/task-stops",
)
async def test_what_a_task_says_names_it() -> None:
    async with opened() as (server, made):
        meta = {"progressToken": "t"}
        params = {"name": "report", "arguments": {}, "task": {}, "_meta": meta}
        created = (await call(made, "tools/call", params))["result"]
        id = created["task"]["taskId"]
        assert created["_meta"][RELATED] == {"taskId": id}
        while not told(made, "notifications/message"):
            await anyio.lowlevel.checkpoint()
        server.go.set()
        await until(made, id, "completed")
        said = [*told(made, "notifications/progress"), *told(made, "notifications/message")]
        assert [message["params"]["_meta"][RELATED] for message in said] == [{"taskId": id}] * 3
        progress = told(made, "notifications/progress")
        assert [each["params"]["progressToken"] for each in progress] == ["t", "t"]
        statuses = told(made, "notifications/tasks/status")
        ends = [number for number, m in enumerate(made.sent) if m is statuses[-1]]
        assert statuses[-1]["params"]["status"] == "completed"
        assert ends[0] > max(made.sent.index(each) for each in progress)
        assert RELATED not in str(statuses)


@pytest.mark.requirement(
    "basic/utilities/tasks/id-parameter-rules", "basic/utilities/tasks/related-not-sent"
)
async def test_the_parameter_names_the_task_and_nothing_else() -> None:
    async with opened() as (_, made):
        one, other = [(await begin(made, "work"))["taskId"] for _ in range(2)]
        meta = {RELATED: {"taskId": other}}
        found = await call(made, "tasks/get", {"taskId": one, "_meta": meta})
        cancelled = await call(made, "tasks/cancel", {"taskId": one, "_meta": meta})
        listed = await call(made, "tasks/list")
        assert (await get(made, other))["status"] == "working"
    assert found["result"]["taskId"] == cancelled["result"]["taskId"] == one
    assert RELATED not in str([found, cancelled, listed])


# Lists, ends, errors


@pytest.mark.requirement(
    "basic/utilities/tasks/list-pages",
    "basic/utilities/tasks/list-next-cursor",
    "basic/utilities/tasks/list-complete",
)
async def test_every_task_is_listed_page_by_page() -> None:
    async with opened(page_size=2) as (_, made):
        ids = [(await begin(made, "work"))["taskId"] for _ in range(5)]
        listed: list[list[str]] = []
        params: dict[str, Any] = {}
        while True:
            page = (await call(made, "tasks/list", params))["result"]
            listed.append([task["taskId"] for task in page["tasks"]])
            if "nextCursor" not in page:
                break
            params = {"cursor": page["nextCursor"]}
    assert listed == [ids[:2], ids[2:4], ids[4:]]


@pytest.mark.requirement(
    "basic/utilities/tasks/cancel-stops",
    "basic/utilities/tasks/cancel-status-first",
    "basic/utilities/tasks/cancel-final",
    "basic/utilities/tasks/cancel-terminal",
)
async def test_cancelling() -> None:
    async with opened() as (server, made):
        id = (await begin(made, "work"))["taskId"]
        await anyio.wait_all_tasks_blocked()
        reply = await call(made, "tasks/cancel", {"taskId": id})
        assert reply["result"]["status"] == "cancelled"
        await server.stopped.wait()
        server.go.set()
        await anyio.wait_all_tasks_blocked()
        assert (await get(made, id))["status"] == "cancelled"
        again = await call(made, "tasks/cancel", {"taskId": id})
    assert again["error"]["code"] == -32602
    assert "cancelled" in again["error"]["message"]


@pytest.mark.requirement(
    "basic/utilities/tasks/protocol-errors", "basic/utilities/tasks/errors-informative"
)
@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("tasks/get", {"taskId": "nobody"}, "no such task"),
        ("tasks/result", {"taskId": "nobody"}, "no such task"),
        ("tasks/cancel", {"taskId": "nobody"}, "no such task"),
        ("tasks/get", {"taskId": 7}, "taskId"),
        ("tasks/list", {"cursor": "nowhere"}, "cursor"),
    ],
)
async def test_what_cannot_be_found(method: str, params: dict[str, Any], says: str) -> None:
    async with opened() as (_, made):
        error = (await call(made, method, params))["error"]
    assert error["code"] == -32602
    assert says in error["message"]


# Bounds


@pytest.mark.requirement("basic/utilities/tasks/limit-concurrent")
async def test_tasks_of_one_client_are_limited() -> None:
    async with opened(per_owner=2) as (_, made):
        for _ in range(2):
            await begin(made, "work")
        refused = await call(made, "tools/call", {"name": "work", "task": {}})
    assert "busy" in refused["error"]["message"]


@pytest.mark.requirement("basic/utilities/tasks/limit-ttl")
async def test_the_time_of_a_task_is_limited() -> None:
    async with opened(max_ttl=9_000) as (_, made):
        assert (await begin(made, "work", ttl=10**12))["ttl"] == 9_000


@pytest.mark.requirement("basic/utilities/tasks/expired-removed")
def test_what_has_expired_is_removed() -> None:
    table = TaskTable(SECRET, TaskSettings(keep=0))
    record = table.create("me", wall=100.0, ttl=5_000)
    table.complete(record, b"{}", wall=101.0)
    assert table.deadline() == 105.0
    table.expire(104.9)
    assert len(table) == 1
    table.expire(105.0)
    assert len(table) == 0
    with pytest.raises(McpError, match="no such task"):
        table.find(record.id, "me", wall=105.0)


# Over HTTP


class Endpoint(Link):
    """A server's runtime behind an HTTP endpoint without sockets."""

    def __init__(self, server: Server) -> None:
        settings = RuntimeSettings()
        self.http = HttpBench(HttpServer(server_config(server, settings), secret=SECRET))
        self.runtime = ServerRuntime(server, self.http.server, settings)
        self.runtime.link = self
        self._serial = 0

    def flush_soon(self) -> None:
        """Hand all events to the runtime."""
        self.http.pump()
        while self.http.events:
            self.runtime.handle(self.http.events.pop(0))
            self.http.pump()

    async def aclose(self) -> None:
        """There is nothing to close."""

    def session(self, principal: str) -> str:
        """Open a session."""
        reply = self.http.post(initialize(), principal=principal)
        session = reply.headers["mcp-session-id"]
        ready = note("notifications/initialized")
        self.http.post(ready, mcp_session_id=session, principal=principal)
        self.flush_soon()
        return session

    async def post(self, principal: str, session: str, method: str, params: dict[str, Any]) -> Any:
        """Send a request and wait for its reply."""
        self._serial += 1
        body = request(method, params, id=self._serial)
        reply = self.http.post(body, mcp_session_id=session, principal=principal)
        self.flush_soon()
        while reply.end is None:
            await anyio.lowlevel.checkpoint()
        return reply


@asynccontextmanager
async def endpoint() -> AsyncIterator[tuple[Workshop, Endpoint]]:
    server = Workshop()
    made = Endpoint(server)
    begun, done = anyio.Event(), anyio.Event()

    async def run() -> None:
        begun.set()
        await done.wait()

    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(made.runtime.run, run)
            await begun.wait()
            yield server, made
            done.set()


@pytest.mark.requirement(
    "basic/utilities/tasks/http-rules-hold", "basic/utilities/tasks/get-not-streamed"
)
async def test_answers_about_tasks_are_json() -> None:
    async with endpoint() as (server, made):
        session = made.session("ann")
        params = {"name": "work", "arguments": {}, "task": {}}
        created = await made.post("ann", session, "tools/call", params)
        named = {"taskId": created.json["result"]["task"]["taskId"]}
        found = await made.post("ann", session, "tasks/get", named)
        server.go.set()
        result = await made.post("ann", session, "tasks/result", named)
    for reply in (created, found, result):
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert result.json["result"]["content"][0]["text"] == "done"


@pytest.mark.requirement(
    "basic/utilities/tasks/bound-to-context", "basic/utilities/tasks/foreign-rejected"
)
async def test_tasks_belong_to_who_made_them() -> None:
    async with endpoint() as (_, made):
        ann, bob, again = made.session("ann"), made.session("bob"), made.session("ann")
        params = {"name": "work", "arguments": {}, "task": {}}
        created = await made.post("ann", ann, "tools/call", params)
        task = created.json["result"]["task"]
        named = {"taskId": task["taskId"]}
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await made.post("bob", bob, method, named)).code == -32602
        lists = [
            (await made.post(who, session, "tasks/list", {})).json["result"]["tasks"]
            for who, session in (("bob", bob), ("ann", ann), ("ann", again))
        ]
        found = await made.post("ann", again, "tasks/get", named)
    assert lists == [[], [task], [task]]
    assert found.json["result"]["status"] == "working"
