"""Tasks in a store: what begins at one worker is seen, answered and ended at another."""

import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from msgspec import Raw, structs

from mcpcore import Context, Elicit, ErrorData, MemoryStore, Server, ServeSettings
from mcpcore.auth.scopes import Requirement
from mcpcore.http.storing import StoredTask, StoreFailure
from mcpcore.service.task_settings import TaskSettings
from mcpcore.service.tasks import TaskRecord
from mcpcore.spec.types.base import META_RELATED_TASK
from mcpcore_transports.serve.assembling import make_task_host
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.server.tasks import stored
from mcpcore_transports.server.tasks.requests import STATUS
from mcpcore_transports.server.tasks.stored import WORKER_GONE, StoredTaskHost, pack, unpack
from mcpcore_transports.stores.base import Store, StoreSettings
from tests.clock import PATIENCE, patience, until
from tests.transports.runtime_bench import LEGACY, Bench
from tests.transports.tasks.workshop import Name, Workshop

pytestmark = pytest.mark.anyio

FOLLOWS: dict[str, Any] = {
    "extensions": {"io.modelcontextprotocol/tasks": {}},
    "elicitation": {},
}


ELICIT, CANCELLED = "elicitation/create", "notifications/cancelled"
FAR = TaskSettings(look_interval=3_600_000)
"""Rules by which nobody looks into the store again without news."""


class Shop(Workshop):
    def __init__(self) -> None:
        super().__init__()
        self.add_tool(self._work, "work", task="optional", task_poll=0.01)
        self.add_tool(self._ask, "ask", task="optional", task_poll=0.01)
        self.add_tool(self._delegate, "delegate", task="optional", task_poll=0.01)
        self.add_tool(lambda: "x" * 2000, "long", task="optional", task_poll=0.01)
        self.add_tool(lambda: "x" * 700_000, "longer", task="optional", task_poll=0.01)

    async def _ask(self, context: Context) -> str:
        answer = await context.elicit("Your name?", Name)
        return str(answer.content)

    async def _delegate(self, context: Context) -> str:
        answer = await context.ask(Elicit("Your name?", Name).as_task())
        return str(answer.content)


class Member(Bench):
    """One worker of a store, on the bench."""

    host: StoredTaskHost
    scope: anyio.CancelScope

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gone = anyio.Event()

    async def leave(self) -> None:
        """End as a worker does that shuts down."""
        self.scope.cancel()
        await self.gone.wait()

    async def modern(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.call(method, params, capabilities=FOLLOWS)

    async def begin(self, tool: str) -> str:
        reply = await self.modern("tools/call", name=tool)
        task: str = reply["result"]["taskId"]
        return task

    async def get(self, task: str) -> dict[str, Any]:
        reply = await self.modern("tasks/get", taskId=task)
        found: dict[str, Any] = reply.get("result") or reply["error"]
        return found

    async def begin_legacy(self, tool: str) -> str:
        params = {"name": tool, "task": {}}
        reply = await self.call("tools/call", params, revision=LEGACY)
        task: str = reply["result"]["task"]["taskId"]
        return task

    async def asked(self, method: str = ELICIT) -> dict[str, Any]:
        """Return the question that the client is asked, once there is one."""
        while not (found := [each for each in self.sent if each.get("method") == method]):
            await anyio.lowlevel.checkpoint()
        (question,) = found
        return question

    async def waits(self) -> None:
        """Return once a request waits here for the result of a task."""
        desk = self.runtime._tasks
        assert desk is not None
        await until(lambda: desk._waiting)

    async def until(self, task: str, *status: str) -> dict[str, Any]:
        while (found := await self.get(task)).get("status") not in status:
            await anyio.lowlevel.checkpoint()
        return found


@asynccontextmanager
async def worker(store: Store, server: Server, tasks: TaskSettings) -> AsyncIterator[Member]:
    settings = RuntimeSettings(tasks=tasks)
    made, begun = Member(server, settings), anyio.Event()
    host = make_task_host(ServeSettings(runtime=settings, store=store))
    assert isinstance(host, StoredTaskHost)

    async def live() -> None:
        """Be a worker until its scope is cancelled, which is its end and not that of the test."""
        async with anyio.create_task_group() as group:
            made.scope = group.cancel_scope
            host.begin(group)
            made.host = host
            made.runtime = ServerRuntime(server, made.peer, settings, tasks=host)
            made.runtime.link = made
            group.start_soon(made.runtime.run, anyio.sleep_forever)
            begun.set()
        made.gone.set()

    async with anyio.create_task_group() as outer:
        outer.start_soon(live)
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        yield made
        made.scope.cancel()


class Site:
    """Two workers of one store, whose leases run on a clock of the test."""

    def __init__(self, settings: StoreSettings) -> None:
        self.now = 0.0
        self.store = MemoryStore(settings, clock=lambda: self.now)
        self.shops = Shop(), Shop()
        self.first: Member
        self.second: Member


@asynccontextmanager
async def site(
    principal: str | None = "ada",
    rules: TaskSettings | None = None,
    prefix: str = "",
    **settings: Any,
) -> AsyncIterator[Site]:
    made = Site(StoreSettings(**settings))
    with patience():
        async with AsyncExitStack() as stack:
            for name, shop in zip(("first", "second"), made.shops, strict=True):
                server: Server = shop
                if prefix:
                    server = Server("street")
                    server.mount(shop, prefix)
                one = await stack.enter_async_context(
                    worker(made.store, server, rules or TaskSettings())
                )
                one.principal = principal
                setattr(made, name, one)
            yield made
    made.store.close()


async def test_a_task_of_one_worker_is_got_and_its_result_awaited_at_another() -> None:
    async with site(rules=FAR) as made:
        task = await made.first.begin("work")
        assert (await made.second.get(task))["status"] == "working"
        made.second.open_legacy()
        waiting = made.second.post("tasks/result", {"taskId": task}, revision=LEGACY)
        await made.second.waits()
        made.shops[0].go.set()
        assert (await made.second.reply(waiting))["result"]["content"][0]["text"] == "done"
        ended = await made.second.get(task)
        assert (ended["status"], ended["result"]["content"][0]["text"]) == ("completed", "done")


@pytest.mark.parametrize("at", ["first", "second"])
async def test_a_task_is_cancelled_at_any_worker_and_its_handler_stops(at: str) -> None:
    async with site() as made:
        task = await made.first.begin("work")
        elsewhere: Member = getattr(made, at)
        assert "result" in await elsewhere.modern("tasks/cancel", taskId=task)
        await made.shops[0].stopped.wait()
        for each in (made.first, made.second):
            assert (await each.get(task))["status"] == "cancelled"
        # cancelling once more is an error in the legacy form alone
        assert "result" in await elsewhere.modern("tasks/cancel", taskId=task)
        elsewhere.open_legacy()
        again = await elsewhere.call("tasks/cancel", {"taskId": task}, revision=LEGACY)
        assert again["error"]["message"] == "the task is cancelled already"


@pytest.mark.parametrize(("at", "told"), [("first", ["cancelled"]), ("second", [])])
async def test_nothing_is_kept_of_a_task_that_is_cancelled(at: str, told: list[str]) -> None:
    async with site() as made:
        for each in (made.first, made.second):
            each.open_legacy()
        about = {"taskId": await made.first.begin_legacy("work")}
        await getattr(made, at).call("tasks/cancel", about, revision=LEGACY)
        await made.shops[0].stopped.wait()
        news = [each for each in made.first.sent if each.get("method") == STATUS]
        assert [each["params"]["status"] for each in news] == told
        assert made.first.runtime._tasks is not None
        assert (made.first.runtime._tasks._sessions, made.first.host._watchers) == ({}, {})


async def test_the_first_end_that_is_written_is_final() -> None:
    async with site() as made:
        task = await made.first.begin("work")
        cancelling = made.second.post("tasks/cancel", {"taskId": task}, capabilities=FOLLOWS)
        made.shops[0].go.set()  # both ends are on their way
        await made.second.reply(cancelling)
        seen = {(await each.get(task))["status"] for each in (made.first, made.second)}
        assert len(seen) == 1
        assert seen <= {"completed", "cancelled"}


@pytest.mark.parametrize("tool", ["work", "longer"])
async def test_tasks_of_all_workers_are_listed_page_by_page(tool: str) -> None:
    async with site(rules=TaskSettings(page_size=2)) as made:
        begun = [await each.begin(tool) for each in (made.first, made.second, made.first)]
        if tool == "longer":
            for task in begun:
                await made.first.until(task, "completed")
        for each in (made.first, made.second):
            each.open_legacy()
            pages, cursor = [], None
            while True:
                params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
                result = (await each.call("tasks/list", params, revision=LEGACY))["result"]
                pages.append([task["taskId"] for task in result["tasks"]])
                if (cursor := result.get("nextCursor")) is None:
                    break
            assert pages == [begun[:2], begun[2:]]


@pytest.mark.parametrize("mounted", ["", "shop_"])
async def test_answers_that_arrive_at_another_worker_find_their_handler(mounted: str) -> None:
    async with site(prefix=mounted) as made:
        task = await made.first.begin(f"{mounted}ask")
        asked = await made.second.until(task, "input_required")
        answers = {
            key: {"action": "accept", "content": {"name": "Ada"}} for key in asked["inputRequests"]
        }
        unknown = {"nothing": {"action": "accept"}}
        for responses in (unknown, answers):
            reply = await made.second.modern("tasks/update", taskId=task, inputResponses=responses)
            assert "result" in reply
        ended = await made.second.until(task, "completed", "failed")
        assert "Ada" in ended["result"]["content"][0]["text"]


ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "an answer": ({"result": {"action": "accept", "content": {"name": "Ada"}}}, "name='Ada'"),
    "an error": ({"error": {"code": -32603, "message": "no screen"}}, "no screen"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_question_is_put_to_who_waits_for_the_result_at_another_worker(name: str) -> None:
    answer, shown = ANSWERS[name]
    async with site(rules=FAR) as made:
        for each in (made.first, made.second):
            each.open_legacy({"elicitation": {}})
        task = await made.first.begin_legacy("ask")
        waiting = made.second.post("tasks/result", {"taskId": task}, revision=LEGACY)
        question = await made.second.asked()
        assert question["params"]["_meta"][META_RELATED_TASK] == {"taskId": task}
        made.second.send({"jsonrpc": "2.0", "id": question["id"], **answer})
        result = (await made.second.reply(waiting))["result"]
        assert shown in result["content"][0]["text"]
        assert [each for each in made.second.sent if each.get("method") == ELICIT] == [question]
        assert made.second.host.remotes == {}


STATE = {"taskId": "c", "createdAt": "x", "lastUpdatedAt": "x", "ttl": None, "pollInterval": 1}
DELEGATES: dict[str, Any] = {
    "elicitation": {},
    "tasks": {"cancel": {}, "requests": {"elicitation": {"create": {}}}},
}


@pytest.mark.parametrize("over", ["answered", "cancelled"])
async def test_a_question_that_a_client_makes_a_task_of_is_followed_at_another_worker(
    over: str,
) -> None:
    async with site(rules=FAR) as made:
        for each in (made.first, made.second):
            each.open_legacy(DELEGATES)
        task = await made.first.begin_legacy("delegate")
        waiting = made.second.post("tasks/result", {"taskId": task}, revision=LEGACY)

        async def answer(method: str, **result: Any) -> dict[str, Any]:
            request = await made.second.asked(method)
            made.second.send({"jsonrpc": "2.0", "id": request["id"], "result": result})
            params: dict[str, Any] = request["params"]
            return params

        question = await answer(ELICIT, task={**STATE, "status": "working"})
        assert question["task"] == {}
        assert question["_meta"][META_RELATED_TASK] == {"taskId": task}
        assert (await made.second.asked("tasks/get"))["params"]["taskId"] == "c"
        if over == "cancelled":
            await made.first.call("tasks/cancel", {"taskId": task}, revision=LEGACY)
            assert (await made.second.asked("tasks/cancel"))["params"]["taskId"] == "c"
            assert "error" in await made.second.reply(waiting)
        else:
            await answer("tasks/get", **STATE, status="completed")
            await answer("tasks/result", action="accept", content={"name": "Ada"})
            result = (await made.second.reply(waiting))["result"]
            assert "name='Ada'" in result["content"][0]["text"]
        assert not [each for each in made.first.sent if each.get("method") == ELICIT]
        assert made.second.host.remotes == {}


@pytest.mark.parametrize("answered", ["first", "second"])
async def test_a_question_that_two_workers_put_is_taken_back_where_it_is_not_answered(
    answered: str,
) -> None:
    async with site(rules=FAR) as made:
        everywhere = (made.first, made.second)
        if answered == "second":
            everywhere = (made.second, made.first)
        for each in everywhere:
            each.open_legacy({"elicitation": {}})
        task = await made.first.begin_legacy("ask")
        waiting = [
            each.post("tasks/result", {"taskId": task}, revision=LEGACY) for each in everywhere
        ]
        asked = [await each.asked() for each in everywhere]
        answer = ANSWERS["an answer"][0]
        everywhere[0].send({"jsonrpc": "2.0", "id": asked[0]["id"], **answer})
        for each, id in zip(everywhere, waiting, strict=True):
            assert "Ada" in (await each.reply(id))["result"]["content"][0]["text"]
        back = [each for each in everywhere[1].sent if each.get("method") == CANCELLED]
        assert [each["params"]["requestId"] for each in back] == [asked[1]["id"]]


async def test_a_request_for_the_result_that_is_cancelled_takes_its_question_back() -> None:
    async with site(rules=FAR) as made:
        for each in (made.first, made.second):
            each.open_legacy({"elicitation": {}})
        task = await made.first.begin_legacy("ask")
        waiting = made.second.post("tasks/result", {"taskId": task}, revision=LEGACY)
        question = await made.second.asked()
        made.second.send({"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": waiting}})
        while not (back := [m for m in made.second.sent if m.get("method") == CANCELLED]):
            await anyio.lowlevel.checkpoint()
        assert back[0]["params"]["requestId"] == question["id"]
        await until(lambda: not made.second.host.remotes)


async def test_the_tasks_of_a_worker_that_has_died_have_failed_after_its_lease() -> None:
    async with site(rules=TaskSettings(look_interval=10), lease=10, renew=3) as made:
        tasks = [await made.first.begin("work") for _ in range(2)]
        made.store.leave = lambda worker: None  # type: ignore[method-assign]
        await made.first.leave()  # without a word
        del made.store._renewed[made.first.host.name]  # a thread that waits for notes ends as well
        assert (await made.second.get(tasks[0]))["status"] == "working"
        made.second.open_legacy()
        waiting = made.second.post("tasks/result", {"taskId": tasks[0]}, revision=LEGACY)
        made.now += 5
        await made.second.get(tasks[1])  # the second worker shows that it is there
        made.now += 6
        assert (await made.second.reply(waiting))["error"]["message"] == WORKER_GONE
        found = (await made.second.call("tasks/list", {}, revision=LEGACY))["result"]["tasks"]
        assert [each["status"] for each in found] == ["failed", "failed"]
        ended = await made.second.get(tasks[1])
        assert (ended["status"], ended["error"]["message"]) == ("failed", WORKER_GONE)


async def test_a_worker_that_leaves_takes_its_tasks_with_it_at_once() -> None:
    async with site() as made:
        task = await made.first.begin("work")
        await made.first.leave()
        assert (await made.second.until(task, "failed"))["error"]["message"] == WORKER_GONE


async def test_a_task_of_another_principal_does_not_exist() -> None:
    async with site() as made:
        task = await made.first.begin("work")
        made.second.principal = "grace"
        assert (await made.second.get(task))["code"] == -32602
        made.second.open_legacy()
        listed = await made.second.call("tasks/list", {}, revision=LEGACY)
        assert listed["result"]["tasks"] == []
        wrong = await made.second.modern("tasks/get")
        assert wrong["error"]["code"] == -32602


async def test_without_a_principal_the_id_is_good_at_every_worker() -> None:
    async with site(principal=None) as made:
        task = await made.first.begin("work")
        assert (await made.second.get(task))["status"] == "working"


@pytest.mark.parametrize("limits", [{"tasks": 1}, {"tasks_per_owner": 1}])
async def test_more_tasks_than_the_store_has_room_for_are_refused_as_busy(
    limits: dict[str, Any],
) -> None:
    async with site(**limits) as made:
        await made.first.begin("work")
        refused = await made.second.modern("tools/call", name="work")
        assert refused["error"]["message"] == "busy: no room for the task"
        desk = made.second.runtime._tasks
        assert desk is not None
        assert len(desk.host.table) == 0
        await until(lambda: not desk.host._working)  # the handler is stopped


async def test_a_result_for_which_the_store_has_no_room_becomes_an_error() -> None:
    async with site(task_bytes=1500) as made:
        ended = await made.second.until(await made.first.begin("long"), "failed", "completed")
        assert ended["error"]["message"] == "there is no room for the result of the task"


async def test_in_a_full_store_tasks_end_all_the_same() -> None:
    async with site() as made:
        tasks = [await made.first.begin("work") for _ in range(2)]
        full = structs.replace(made.store.settings, task_bytes=1)
        made.store.settings = full
        assert "result" in await made.second.modern("tasks/cancel", taskId=tasks[0])
        assert (await made.second.get(tasks[0]))["status"] == "cancelled"
        await made.first.leave()
        assert (await made.second.until(tasks[1], "failed"))["error"]["message"] == WORKER_GONE


async def test_news_of_a_task_reach_a_listen_stream_at_another_worker_once() -> None:
    async with site(rules=FAR) as made:
        task = await made.first.begin("work")
        params = {"notifications": {"taskIds": [task, "unknown"]}}
        heard = (made.first, made.second)
        for each in heard:
            each.post("subscriptions/listen", params, capabilities=FOLLOWS)
            streams = each.runtime._tasks
            assert streams is not None
            while [task] not in streams._streams.values():
                await anyio.lowlevel.checkpoint()
        made.shops[0].go.set()
        for each in heard:  # which hear of it without a look
            while not (news := [m for m in each.sent if m.get("method") == "notifications/tasks"]):
                await anyio.lowlevel.checkpoint()
            assert [each["params"]["status"] for each in news] == ["completed"]
        with patience():  # nor is there anything to be looked for
            await until(lambda: task not in made.second.host._news)


async def test_a_store_out_of_reach_is_one_clear_error_and_ends_are_written_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored, "_RETRY", 0.01)
    async with site() as made:
        task = await made.first.begin("work")
        commit = made.store.commit
        failing = [StoreFailure("no route")]
        monkeypatch.setattr(made.store, "commit", lambda worker, steps, wall: failing * len(steps))
        assert (await made.second.get(task))["message"].startswith("the store of the tasks")
        refused = await made.second.modern("tools/call", name="work")
        assert refused["error"]["message"].startswith("busy")
        made.shops[0].go.set()
        await made.shops[0].stopped.wait()
        await anyio.wait_all_tasks_blocked()
        monkeypatch.setattr(made.store, "commit", commit)
        await made.second.until(task, "completed")


async def test_a_client_that_leaves_while_its_task_is_written_ends_that_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as made:
        write, commit = threading.Event(), made.store.commit

        def commit_later(*given: Any) -> Any:
            write.wait(PATIENCE)
            return commit(*given)

        monkeypatch.setattr(made.store, "commit", commit_later)
        for each in (made.first, made.second):
            each.open_legacy()
        call = made.first.post("tools/call", {"name": "work", "task": {}}, revision=LEGACY)
        await anyio.wait_all_tasks_blocked()
        made.first.cancel(call)
        await made.shops[0].stopped.wait()
        await anyio.wait_all_tasks_blocked()
        write.set()
        await made.first.begin("work")
        found = (await made.second.call("tasks/list", {}, revision=LEGACY))["result"]["tasks"]
        assert [each["status"] for each in found] == ["cancelled", "working"]


def test_what_is_packed_is_unpacked() -> None:
    record = TaskRecord(
        "id", 0, "ann", created=1.0, updated=2.0, ttl=None, poll_interval=500, message="so far"
    )
    record.requirement = Requirement(frozenset({"read"}), frozenset({"admin"}))
    more: tuple[dict[str, Any], ...] = (
        {"questions": {"key": Raw(b'{"method":"m"}')}, "status": "input_required"},
        {"result": Raw(b'{"content":[]}'), "meta": {"a": 1}, "status": "completed"},
        {"error": ErrorData(-1, "x", Raw(b'{"part":7}')), "status": "failed"},
    )
    for each in more:
        wanted = structs.replace(record, number=7, **each)
        found = unpack(StoredTask(number=7, worker="w", gone=True, task=pack(wanted)))
        assert (found.worker, found.gone) == ("w", True)
        for name in TaskRecord.__struct_fields__:
            shown = [msgspec.json.encode(getattr(record, name)) for record in (found, wanted)]
            assert shown[0] == shown[1], name
