"""Tasks across connections, sessions and principals: who finds them, who hears of them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Callbacks, ClientSettings, Context, PeerError, Server, Steps, TaskOptions, clock
from mcpcore.spec.types.tasks import Task
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.running.tasks import TaskHost
from mcpcore_transports.server.middleware import Answer
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import PATIENCE, patience, until
from tests.steps import steps_of
from tests.transports.runtime_bench import LEGACY, MODERN, Bench, bench
from tests.transports.served import ANY_PORT, served
from tests.transports.tasks.workshop import Name, Workshop

pytestmark = pytest.mark.anyio

FOLLOWS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
QUICK = ClientSettings(tasks=TaskOptions(max_poll=0.01, min_poll=0.001))


class Shop(Workshop):
    def __init__(self) -> None:
        super().__init__()
        self.add_tool(self._work, "work", task="optional", task_poll=0.001)
        self.add_tool(self._ask, "ask", task="optional", task_poll=0.001)

    async def _ask(self, context: Context) -> str:
        answer = await context.elicit("Who are you?", Name)
        return answer.content.name if answer.content else answer.action


@asynccontextmanager
async def both(server: Server) -> AsyncIterator[list[str]]:
    """Serve over HTTP and WebSocket."""
    async with served(server, http=ANY_PORT, ws=ANY_PORT, seconds=PATIENCE) as site:
        yield site.urls


def connecting(url: str, revision: str) -> Any:
    callbacks = Callbacks(elicitation=lambda params: {"name": "Ada"})
    return connect(url, revision=revision, callbacks=callbacks, settings=QUICK)


async def start(client: Client, tool: str) -> str:
    task = await client.tasks.start(tool)
    assert isinstance(task, Task)
    return task.task_id


@pytest.mark.parametrize("first", [0, 1], ids=["http", "ws"])
@pytest.mark.parametrize("second", [0, 1], ids=["http", "ws"])
async def test_a_task_outlives_the_connection_that_asked_for_it(first: int, second: int) -> None:
    server = Shop()
    async with both(server) as urls:
        async with connecting(urls[first], MODERN) as client:
            work, ask = await start(client, "work"), await start(client, "ask")
        server.go.set()
        async with connecting(urls[second], MODERN) as client:
            assert (await client.tasks.wait(work)).text == "done"
            assert (await client.tasks.wait(ask)).text == "Ada"


@pytest.mark.parametrize("binding", [0, 1], ids=["http", "ws"])
async def test_an_experimental_task_ends_with_its_session(binding: int) -> None:
    server = Shop()
    async with both(server) as urls:
        async with (
            connecting(urls[binding], LEGACY) as client,
            connecting(urls[binding], LEGACY) as other,
        ):
            task = await start(client, "work")
            assert [each.task_id for each in (await client.tasks.list()).tasks] == [task]
            assert (await other.tasks.list()).tasks == []
            with pytest.raises(PeerError, match="no such task"):
                await other.tasks.get(task)
        await server.stopped.wait()


@pytest.mark.parametrize("binding", [0, 1], ids=["http", "ws"])
async def test_news_reach_every_connection_that_listens(binding: int) -> None:
    server = Shop()
    async with both(server) as urls, connecting(urls[0], MODERN) as client:
        task = await start(client, "work")
        async with (
            connecting(urls[binding], MODERN) as other,
            other.listen(task_ids=[task]) as changes,
        ):
            server.go.set()
            assert (await anext(changes)).task_id == task
            state = changes.tasks[task]
            assert state.status == "completed"
            assert state.result is not None


ELICITS: dict[str, Any] = {"elicitation": {}}


def asked(made: Bench) -> list[dict[str, Any]]:
    return [each for each in made.sent if each.get("method") == "elicitation/create"]


def withdrawn(made: Bench) -> list[Any]:
    cancelled = [each for each in made.sent if each.get("method") == "notifications/cancelled"]
    return [each["params"]["requestId"] for each in cancelled]


async def legacy_task(made: Bench, tool: str = "ask") -> str:
    params = {"name": tool, "task": {}}
    reply = await made.call("tools/call", params, revision=LEGACY)
    task_id: str = reply["result"]["task"]["taskId"]
    return task_id


async def test_a_question_waits_for_somebody_who_waits_for_the_result() -> None:
    async with bench(Shop()) as made:
        made.open_legacy(ELICITS)
        task = await legacy_task(made)
        about = {"taskId": task}
        state: dict[str, Any] = {}
        while state.get("status") != "input_required":
            await anyio.lowlevel.checkpoint()
            state = (await made.call("tasks/get", about, revision=LEGACY))["result"]
        assert asked(made) == []

        first = made.post("tasks/result", about, revision=LEGACY)
        (question,) = asked(made)
        assert question["params"]["_meta"] == {
            "io.modelcontextprotocol/related-task": about,
        }
        # It went with that request; without it, it goes with the next.
        made.cancel(first)
        assert withdrawn(made) == [question["id"]]
        second = made.post("tasks/result", about, revision=LEGACY)
        assert len(asked(made)) == 2
        third = made.post("tasks/result", about, revision=LEGACY)
        assert len(asked(made)) == 2

        answer = {"action": "accept", "content": {"name": "Ada"}}
        made.send({"jsonrpc": "2.0", "id": asked(made)[1]["id"], "result": answer})
        for request in (second, third):
            result = (await made.reply(request))["result"]
            assert result["content"][0]["text"] == "Ada"
            assert result["_meta"] == {"io.modelcontextprotocol/related-task": about}


async def test_a_question_is_put_to_nobody_who_has_lost_the_tool_since() -> None:
    shop, shown, ready = Shop(), {True}, anyio.Event()

    @shop.tool(visible=lambda who: True in shown, task="optional", task_poll=0.001)
    async def late(context: Context) -> str:
        await ready.wait()
        return (await context.elicit("Who are you?", Name)).action

    async with bench(shop) as made:
        made.open_legacy(ELICITS)
        about = {"taskId": await legacy_task(made, "late")}
        made.post("tasks/result", about, revision=LEGACY)
        shown.clear()
        ready.set()
        await anyio.wait_all_tasks_blocked()
        assert asked(made) == []
        shown.add(True)
        made.post("tasks/result", about, revision=LEGACY)
        assert len(asked(made)) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"error": {"code": -1, "message": "not now"}}, "refused elicitation/create: not now"),
        ({"result": {"action": "accept", "content": {"name": 5}}}, None),
    ],
)
async def test_answers_on_the_wire_that_are_none(answer: dict[str, Any], says: str | None) -> None:
    async with bench(Shop()) as made:
        made.open_legacy(ELICITS)
        about = {"taskId": await legacy_task(made)}
        request = made.post("tasks/result", about, revision=LEGACY)
        for number in range(1 if says else 3):
            while len(asked(made)) <= number:
                await anyio.lowlevel.checkpoint()
            made.send({"jsonrpc": "2.0", "id": asked(made)[number]["id"], **answer})
        result = (await made.reply(request))["result"]
        assert result["isError"] is True
        assert (says or "does not fit") in result["content"][0]["text"]


async def test_a_question_nobody_answers_in_time() -> None:
    async with bench(Shop(), RuntimeSettings(input_timeout=0.0)) as made:
        made.open_legacy(ELICITS)
        about = {"taskId": await legacy_task(made)}
        request = made.post("tasks/result", about, revision=LEGACY)
        await until(lambda: asked(made))
        made.peer.handle_timeout(clock() + 1)
        made.flush_soon()
        result = (await made.reply(request))["result"]
        assert "did not answer elicitation/create" in result["content"][0]["text"]


async def test_a_cancelled_task_takes_its_question_back() -> None:
    async with bench(Shop()) as made:
        made.open_legacy(ELICITS)
        about = {"taskId": await legacy_task(made)}
        request = made.post("tasks/result", about, revision=LEGACY)
        await until(lambda: asked(made))
        (question,) = asked(made)
        await made.call("tasks/cancel", about, revision=LEGACY)
        assert (await made.reply(request))["error"]["code"] == -32600
        await until(lambda: withdrawn(made))
        assert withdrawn(made) == [question["id"]]


async def test_the_end_of_a_task_takes_no_longer_while_many_wait_for_others() -> None:
    async with bench(Shop()) as made:
        made.open_legacy()
        steps = []
        for number in (10, 100):
            abouts = [{"taskId": await legacy_task(made, "work")} for _ in range(number)]
            for about in abouts:
                made.post("tasks/result", about, revision=LEGACY)
            end = partial(made.post, "tasks/cancel", abouts[0], revision=LEGACY)
            steps.append(steps_of(end, "/server/tasks/"))
        assert steps[1] == steps[0]


async def test_the_end_of_a_task_takes_no_longer_while_many_listen_to_others() -> None:
    async with bench(Shop()) as made:
        steps = []
        for number in (10, 50):
            abouts = []
            for _ in range(number):
                reply = await made.call("tools/call", {"name": "work"}, capabilities=FOLLOWS)
                abouts.append({"taskId": reply["result"]["taskId"]})
                heard = {"notifications": {"taskIds": [abouts[-1]["taskId"]]}}
                made.post("subscriptions/listen", heard, capabilities=FOLLOWS)
            end = partial(made.post, "tasks/cancel", abouts[0], capabilities=FOLLOWS)
            steps.append(steps_of(end, "/server/tasks/"))
        assert steps[1] == steps[0]


async def call_as(
    made: Bench, principal: str | None, method: str, params: dict[str, Any]
) -> dict[str, Any]:
    made.principal = principal
    return await made.call(method, params, capabilities=FOLLOWS)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize("stranger", [None, "grace"])
async def test_a_task_belongs_to_who_was_authenticated(method: str, stranger: str | None) -> None:
    async with bench(Shop()) as made:
        reply = await call_as(made, "ada", "tools/call", {"name": "work"})
        params = {"taskId": reply["result"]["taskId"], "inputResponses": {}}
        refused = await call_as(made, stranger, method, params)
        assert refused["error"]["code"] == -32602
        assert refused["error"]["message"] == "there is no such task (any more)"
        allowed = await call_as(made, "ada", method, params)
        assert "result" in allowed


@asynccontextmanager
async def connections(count: int) -> AsyncIterator[list[Bench]]:
    """Several connections of one principal to one server."""
    server, settings = Shop(), RuntimeSettings()
    host = TaskHost()
    made = [Bench(server, settings) for _ in range(count)]
    done = anyio.Event()
    with patience():
        async with anyio.create_task_group() as group:
            host.begin(group)
            for each in made:
                each.principal = "ada"
                each.runtime = ServerRuntime(server, each.peer, settings, tasks=host)
                each.runtime.link = each
                group.start_soon(each.runtime.run, done.wait)
            await anyio.wait_all_tasks_blocked()
            yield made
            done.set()
            group.cancel_scope.cancel()


async def test_the_end_of_a_task_takes_no_longer_with_more_connections() -> None:
    steps = []
    for number in (1, 50):
        async with connections(number) as made:
            made[0].open_legacy()
            about = {"taskId": await legacy_task(made[0], "work")}
            end = partial(made[0].post, "tasks/cancel", about, revision=LEGACY)
            steps.append(steps_of(end, "/tasks"))
    assert steps[1] == steps[0]


async def test_a_question_moves_to_the_next_connection_of_its_principal() -> None:
    async with connections(2) as (first, second):
        for each in (first, second):
            each.open_legacy(ELICITS)
        about = {"taskId": await legacy_task(first)}
        first.post("tasks/result", about, revision=LEGACY)
        await until(lambda: asked(first))
        first.peer.receive_eof(now=clock())
        first.flush_soon()
        result = second.post("tasks/result", about, revision=LEGACY)
        (question,) = asked(second)
        answer = {"action": "accept", "content": {"name": "Ada"}}
        second.send({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        assert (await second.reply(result))["result"]["content"][0]["text"] == "Ada"


async def test_no_task_begins_for_a_request_that_was_just_cancelled() -> None:
    server = Shop()
    begun: list[bool] = []

    async def late(context: Context) -> str:
        await server.go.wait()
        begun.append(context.start_task())
        return "done"

    server.add_tool(late, "late", task="optional", task_after=None)
    async with bench(server) as made:
        request = made.post("tools/call", {"name": "late"}, capabilities=FOLLOWS)
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": request}}
        made.peer.receive_data(json.dumps({"jsonrpc": "2.0", **cancelled}).encode() + b"\n", now=0)
        event = made.peer.next_event()  # the engine knows, the handler does not yet
        assert event is not None
        server.go.set()
        await until(lambda: begun)
        assert begun == [False]
        assert made.runtime._tasks is not None
        assert len(made.runtime._tasks.host.table) == 0
        made.runtime.handle(event)


async def test_strangers_hear_nothing() -> None:
    async with bench(Shop()) as made:
        reply = await call_as(made, "ada", "tools/call", {"name": "work"})
        task = reply["result"]["taskId"]
        filters = {}
        for principal in ("grace", "ada"):
            made.principal = principal
            params = {"notifications": {"taskIds": [task]}}
            made.post("subscriptions/listen", params, capabilities=FOLLOWS)
            filters[principal] = made.sent.pop()["params"]["notifications"]
        assert filters == {"grace": {}, "ada": {"taskIds": [task]}}
        await call_as(made, "ada", "tasks/cancel", {"taskId": task})
        news = [each for each in made.sent if each.get("method") == "notifications/tasks"]
        assert len(news) == 1


async def test_the_clock_of_tasks_is_that_of_the_wall() -> None:
    """Calls at a later time come in their order, and tasks go when their time has come."""
    now = 1000.0
    host = TaskHost(wall=lambda: now)
    called: list[str] = []
    done = anyio.Event()
    with patience():
        async with anyio.create_task_group() as group:
            assert host.begin(group) is group
            async with anyio.create_task_group() as other:
                assert host.begin(other) is group
            host.later(0.02, done.set)
            host.later(0.01, lambda: called.append("second"))
            host.later(0.0, lambda: called.append("first"))
            record = host.create("a", ttl=60_000)
            await done.wait()
            assert called == ["first", "second"]
            seen = [host.page("a", None)[0]]
            statuses: list[str] = [record.status]
            for seconds in (60.0, 120.0):
                now += seconds
                seen.append(host.page("a", None)[0])
                statuses.append(record.status)
            assert seen == [[record], [record], []]
            assert statuses == ["working", "failed", "failed"]
            group.cancel_scope.cancel()


async def test_timers_that_nobody_needs_take_no_room() -> None:
    host = TaskHost()
    done = anyio.Event()
    with patience():
        async with anyio.create_task_group() as group:
            host.begin(group)
            for _ in range(10_000):
                host.later(3600.0, lambda: None).cancel()
            assert len(host._timers) < 200
            kept = [host.later(3600.0, lambda: None) for _ in range(500)]
            host.later(0.0, done.set)
            await done.wait()
            assert set(kept) <= set(host._timers)
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("revision", "tool", "code"),
    [(LEGACY, "unknown", -32602), (MODERN, "unknown", -32602), (LEGACY, "plain", -32601)],
)
async def test_what_is_refused_is_refused_inside_of_middleware_too(
    revision: str, tool: str, code: int
) -> None:
    passed: list[str] = []

    def watching(request: Context) -> Steps[Answer]:
        passed.append(request.method)
        yield

    server = Shop()
    server.add_tool(lambda: "x", "plain")
    async with bench(server, RuntimeSettings(middleware=(watching,))) as made:
        made.open_legacy()
        params = {"name": tool, "task": {}}
        reply = await made.call("tools/call", params, capabilities=FOLLOWS, revision=revision)
        assert reply["error"]["code"] == code
        result = await made.call("tools/call", {"name": "plain"}, capabilities=FOLLOWS)
        assert result["result"]["resultType"] == "complete"


async def test_middleware_is_around_the_work_of_a_task() -> None:
    seen: list[str] = []

    def watching(request: Context) -> Steps[Answer]:
        answer = yield
        if request.method == "tools/call":
            seen.append(bytes(answer.result).decode())
            answer.meta["com.example/seen"] = True

    server = Shop()
    server.go.set()
    async with bench(server, RuntimeSettings(middleware=(watching,))) as made:
        reply = await made.call("tools/call", {"name": "work"}, capabilities=FOLLOWS)
        assert reply["result"]["resultType"] == "task"
        about = {"taskId": reply["result"]["taskId"]}
        state: dict[str, Any] = {}
        while "result" not in state:
            state = (await made.call("tasks/get", about, capabilities=FOLLOWS))["result"]
            await anyio.lowlevel.checkpoint()
        assert state["result"]["_meta"] == {"com.example/seen": True}
        assert len(seen) == 1
