"""Requests of a server that its client runs as tasks, seen from either side."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from msgspec import Raw

from mcpcore import Context, HttpServerSettings, RuntimeSettings, Server, ServeSettings, connect
from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import ErrorReceived, Event, NotificationReceived, ResultReceived
from mcpcore.engine.peer import Peer
from mcpcore.errors import InputUnavailable
from mcpcore.http.principals import Principal
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec.errors import McpError
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tasks import Task
from mcpcore.wire.jsontext import to_json
from mcpcore_transports.client.answers import related_meta
from mcpcore_transports.client.callbacks import Callbacks, meta_of
from mcpcore_transports.client.core import ClientCore, ClientSettings
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.memory import MemoryPair
from mcpcore_transports.server.elicitation import Elicit, Sample
from mcpcore_transports.server.notifications import NotificationContext
from mcpcore_transports.server.tasks.tasks import _pause, task_terms
from tests.clock import patience
from tests.more_time import with_more_time
from tests.transports.runtime_bench import LEGACY, Bench, bench
from tests.transports.served import served

pytestmark = pytest.mark.anyio

INFO = Implementation(name="x", version="1")
RELATED = "io.modelcontextprotocol/related-task"
SAMPLING = "sampling/createMessage"
PROMPT: dict[str, Any] = {
    "messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}],
    "maxTokens": 10,
}
FORM: dict[str, Any] = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}


class Asking:
    """A server that asks its client by hand."""

    pair: MemoryPair

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.stopped = anyio.Event()
        self.outcomes: dict[Any, Event] = {}
        self.statuses: list[str] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, ResultReceived | ErrorReceived):
            self.outcomes[event.request] = event
        elif isinstance(event, NotificationReceived) and event.method.startswith("notifications/t"):
            self.statuses.append(json.loads(bytes(event.params))["status"])

    async def model(self, params: CreateMessageParams) -> CreateMessageResult:
        try:
            await self.go.wait()
        finally:
            self.stopped.set()
        return CreateMessageResult(
            role="assistant", content=TextContent(text="yes"), model="m", meta={"k": 1}
        )

    def user(self, params: ElicitParams) -> ElicitResult:
        if params.message == "!":
            raise McpError(-5, "no user")
        if params.message == "bug":
            raise RuntimeError("secret")
        return ElicitResult(action="decline")

    async def request(self, method: str, params: dict[str, Any], *, force: bool = False) -> Any:
        """Ask and wait for the answer: a result, or an error."""
        request = self.pair.server.request(method, params, now=0.0, force=force)
        while request not in self.outcomes:
            self.pair.pump(now=0.0)
            await anyio.lowlevel.checkpoint()
        outcome = self.outcomes[request]
        if isinstance(outcome, ErrorReceived):
            return outcome.error
        assert isinstance(outcome, ResultReceived)
        return msgspec.json.decode(outcome.result)

    async def start(self, method: str = SAMPLING, **more: Any) -> dict[str, Any]:
        params = {**(PROMPT if method == SAMPLING else FORM), "task": {"ttl": 60_000}, **more}
        result = await self.request(method, params)
        task: dict[str, Any] = result["task"]
        assert result["_meta"] == {RELATED: {"taskId": task["taskId"]}}
        return task

    async def until(self, task: dict[str, Any], status: str) -> dict[str, Any]:
        while True:
            state: dict[str, Any] = await self.request("tasks/get", {"taskId": task["taskId"]})
            if state["status"] == status:
                return state


@asynccontextmanager
async def asking(*, declared: bool = True, **settings: Any) -> AsyncIterator[Asking]:
    options = TaskOptions(own=TaskSettings(**settings))
    with patience():
        async with anyio.create_task_group() as group:
            made = Asking()
            callbacks = Callbacks(sampling=made.model, elicitation=made.user)
            capabilities = callbacks.capabilities()
            if declared:
                capabilities = options.declare(capabilities)
            config = Config(info=INFO, capabilities=capabilities, negotiation=Negotiation.LEGACY)
            client = Peer(Role.CLIENT, config)
            core = ClientCore(client, callbacks, group)
            if declared:
                core.run_tasks(capabilities, options.own)
            server = Peer(Role.SERVER, Config(info=INFO, capabilities=ServerCapabilities()))
            made.pair = MemoryPair(client, core, server, made)
            client.start(now=0.0)
            made.pair.pump(now=0.0)
            yield made
            group.cancel_scope.cancel()


async def test_a_request_is_run_as_a_task_and_its_result_is_fetched() -> None:
    async with asking() as it:
        task = await it.start()
        assert (task["status"], task["ttl"]) == ("working", 60_000)
        assert (await it.until(task, "working"))["taskId"] == task["taskId"]
        waiting = it.pair.server.request("tasks/result", {"taskId": task["taskId"]}, now=0.0)
        it.pair.pump(now=0.0)
        assert waiting not in it.outcomes
        it.go.set()
        await it.until(task, "completed")
        outcome = it.outcomes[waiting]
        assert isinstance(outcome, ResultReceived)
        again = await it.request("tasks/result", {"taskId": task["taskId"]})
        assert msgspec.json.decode(outcome.result) == again
        assert again["content"] == {"type": "text", "text": "yes"}
        assert again["_meta"] == {"k": 1, RELATED: {"taskId": task["taskId"]}}
        assert it.statuses == ["completed"]


@pytest.mark.parametrize(
    ("message", "code", "says"), [("!", -5, "no user"), ("bug", -32603, "failed to answer")]
)
async def test_a_callback_that_fails(message: str, code: int, says: str) -> None:
    async with asking() as it:
        task = await it.start("elicitation/create", message=message)
        state = await it.until(task, "failed")
        assert says in state["statusMessage"]
        error = await it.request("tasks/result", {"taskId": task["taskId"]})
        assert error.code == code
        assert says in error.message
        assert "secret" not in error.message


async def test_a_task_is_listed_and_cancelled() -> None:
    async with asking() as it:
        task, other = await it.start(), await it.start("elicitation/create")
        await it.until(other, "completed")
        listed = await it.request("tasks/list", {})
        assert [each["taskId"] for each in listed["tasks"]] == [task["taskId"], other["taskId"]]
        cancelled = await it.request("tasks/cancel", {"taskId": task["taskId"]})
        assert cancelled["status"] == "cancelled"
        await it.stopped.wait()
        for about in (task, other):
            error = await it.request("tasks/cancel", {"taskId": about["taskId"]})
            assert error.code == -32602
        error = await it.request("tasks/result", {"taskId": task["taskId"]})
        assert error.code == -32600


@pytest.mark.parametrize(
    ("task", "code"), [({"ttl": -1}, -32602), ({"ttl": "long"}, -32602), ("yes", -32602)]
)
async def test_terms_that_make_no_sense(task: Any, code: int) -> None:
    async with asking() as it:
        assert (await it.request(SAMPLING, {**PROMPT, "task": task})).code == code


async def test_so_many_and_no_more() -> None:
    async with asking(tasks=1) as it:
        await it.start()
        error = await it.request(SAMPLING, {**PROMPT, "task": {}})
        assert error.code == -32000
        assert "busy" in error.message


async def test_without_tasks_the_wish_is_ignored() -> None:
    async with asking(declared=False) as it:
        result = await it.request("elicitation/create", {**FORM, "task": {"ttl": 5}})
        assert result == {"action": "decline"}
        error = await it.request("tasks/get", {"taskId": "t"}, force=True)
        assert error.code == -32601


async def test_an_answer_names_the_task_of_the_server_that_it_belongs_to() -> None:
    async with asking() as it:
        about = {RELATED: {"taskId": "s1"}}
        result = await it.request("elicitation/create", {**FORM, "_meta": about})
        assert result == {"action": "decline", "_meta": about}


class Curious(Server):
    """A tool that asks, and has the answer worked on as a task."""

    def __init__(self) -> None:
        super().__init__("curious")
        self.add_tool(self._ask, "ask")

    async def _ask(self, context: Context) -> str:
        answers = await context.gather_inputs(
            {"model": Sample("Hi", 10).as_task(30), "user": Elicit("?", FORM["requestedSchema"])}
        )
        return f"{answers['model'].content.text} {answers['user'].action}"


CAN_DO: dict[str, Any] = {
    "sampling": {},
    "elicitation": {},
    "tasks": {"cancel": {}, "requests": {"sampling": {"createMessage": {}}}},
}
STATE = {
    "taskId": "c1",
    "createdAt": "x",
    "lastUpdatedAt": "x",
    "ttl": None,
    "pollInterval": 1,
}
MODEL_SAYS = {"role": "assistant", "content": {"type": "text", "text": "yes"}, "model": "m"}


class Doubly(Server):
    """A tool that is a task and has the answer to its question worked on as another."""

    def __init__(self) -> None:
        super().__init__("doubly")
        self.add_tool(self._ask, "ask", task="required")

    async def _ask(self, context: Context) -> str:
        answer = await context.ask(Sample("Hi", 10).as_task(30))
        assert isinstance(answer.content, TextContent)
        return answer.content.text


class Client:
    """A legacy client that answers a server's runtime by hand."""

    def __init__(self, made: Bench) -> None:
        self.bench = made
        self._seen = 0

    async def asked(self, method: str) -> dict[str, Any]:
        """Wait for the server's next request."""
        while True:
            requests = [each for each in self.bench.sent if "method" in each and "id" in each]
            if len(requests) > self._seen:
                self._seen += 1
                assert requests[self._seen - 1]["method"] == method
                return requests[self._seen - 1]
            await anyio.lowlevel.checkpoint()

    def answer(self, request: dict[str, Any], **answer: Any) -> None:
        self.bench.send({"jsonrpc": "2.0", "id": request["id"], **answer})

    async def finish(self) -> None:
        """Work on the answer, be done when asked again, and give it."""
        for status in ("working", "completed"):
            look = await self.asked("tasks/get")
            assert look["params"] == {"taskId": "c1"}
            self.answer(look, result={**STATE, "status": status})
        self.answer(await self.asked("tasks/result"), result=MODEL_SAYS)


@asynccontextmanager
async def curious(
    capabilities: dict[str, Any] = CAN_DO, **settings: Any
) -> AsyncIterator[tuple[Client, int]]:
    async with bench(Curious(), RuntimeSettings(**settings)) as made:
        made.open_legacy(capabilities)
        yield Client(made), made.post("tools/call", {"name": "ask"}, revision=LEGACY)


async def created(client: Client) -> None:
    """Answer both questions, the first with a task."""
    sampling = await client.asked(SAMPLING)
    assert sampling["params"]["task"] == {"ttl": 30_000}
    elicitation = await client.asked("elicitation/create")
    assert "task" not in elicitation["params"]
    client.answer(elicitation, result={"action": "decline"})
    client.answer(sampling, result={"task": {**STATE, "status": "working"}})


async def test_a_question_is_asked_after_until_its_task_has_ended() -> None:
    async with curious() as (client, call):
        await created(client)
        await client.finish()
        reply = await client.bench.reply(call)
        assert reply["result"]["content"][0]["text"] == "yes decline"


@pytest.mark.parametrize(
    ("named", "seconds"), [(None, 1), (1, 0.05), (2000, 2), (10**400, 30), (-(10**400), 0.05)]
)
def test_a_client_does_not_name_any_pause(named: Any, seconds: float) -> None:
    state = {**STATE, "status": "working"}
    task = msgspec.structs.replace(msgspec.convert(state, Task), poll_interval=named)
    assert _pause(task) == seconds


TIED = b'{"_meta":{"x":1e999,"io.modelcontextprotocol/related%btask":{"taskId":"t"}}}'


@pytest.mark.parametrize(
    ("params", "tied"),
    [
        (TIED % b"-", b'{"io.modelcontextprotocol/related-task":{"taskId":"t"}}'),
        (TIED % b"\\u002d", b'{"io.modelcontextprotocol/related-task":{"taskId":"t"}}'),
        (b'{"_meta":{"x":1e999},"message":"related-task"}', b"{}"),
        (b'{"message":"related-task"}', b"{}"),
        (b"{}", b"{}"),
    ],
)
def test_answers_are_tied_to_the_task_of_their_question(params: bytes, tied: bytes) -> None:
    assert to_json(related_meta(Raw(params)) or {}) == tied


def test_no_spelling_of_a_name_hides_a_member() -> None:
    terms = task_terms(Raw(b'{"\\u0074ask":{"ttl":5}}'))
    assert terms is not None
    assert terms.ttl == 5
    assert meta_of(Raw(b'{"\\u005fmeta":{"traceparent":"a"}}')).traceparent == "a"


@pytest.mark.parametrize("attempts", [1, 4])
async def test_answers_that_do_not_fit_are_borne_so_often(attempts: int) -> None:
    async with curious(input_attempts=attempts) as (client, call):
        question = await client.asked(SAMPLING)
        client.answer(await client.asked("elicitation/create"), result={"action": "decline"})
        for attempt in range(attempts):
            if attempt:
                question = await client.asked(SAMPLING)
            client.answer(question, result={"role": 5})
        reply = await client.bench.reply(call)
        assert "does not fit" in reply["result"]["content"][0]["text"]


async def test_each_question_has_attempts_of_its_own() -> None:
    wrong = {SAMPLING: {"role": 5}, "elicitation/create": {"action": 5}}
    content = {"type": "text", "text": "yes"}
    right = {
        SAMPLING: {"role": "assistant", "content": content, "model": "m"},
        "elicitation/create": {"action": "decline"},
    }
    async with curious(input_attempts=2) as (client, call):
        questions = {method: await client.asked(method) for method in wrong}
        for method, question in questions.items():
            client.answer(question, result=wrong[method])
            client.answer(await client.asked(method), result=right[method])
        reply = await client.bench.reply(call)
        assert reply["result"]["content"][0]["text"] == "yes decline"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"error": {"code": -32602, "message": "no such task"}}, "no such task"),
        ({"result": {"status": "dreaming"}}, "its task is malformed"),
    ],
)
async def test_a_task_that_cannot_be_asked_after(answer: dict[str, Any], says: str) -> None:
    async with curious() as (client, call):
        await created(client)
        client.answer(await client.asked("tasks/get"), **answer)
        reply = await client.bench.reply(call)
        assert reply["result"]["isError"] is True
        assert says in reply["result"]["content"][0]["text"]
        assert (await client.asked("tasks/cancel"))["params"] == {"taskId": "c1"}


async def test_an_error_of_the_task_is_that_of_the_question() -> None:
    async with curious() as (client, call):
        await created(client)
        client.answer(await client.asked("tasks/get"), result={**STATE, "status": "failed"})
        error = {"code": -1, "message": "the model is tired"}
        client.answer(await client.asked("tasks/result"), error=error)
        reply = await client.bench.reply(call)
        assert "the model is tired" in reply["result"]["content"][0]["text"]


async def test_a_task_that_takes_too_long_is_given_up() -> None:
    async def attempt(seconds: float) -> None:
        async with curious(input_timeout=seconds) as (client, call):
            await created(client)
            reply = await client.bench.reply(call)
            assert "did not end in time" in reply["result"]["content"][0]["text"]

    await with_more_time(attempt, 0.05, 1.0, 8.0)  # both questions are to be answered in it


async def test_a_handler_that_is_cancelled_cancels_the_task_of_its_question() -> None:
    async with curious() as (client, call):
        await created(client)
        await client.asked("tasks/get")
        client.bench.cancel(call)
        assert (await client.asked("tasks/cancel"))["params"] == {"taskId": "c1"}


class Listener(Server):
    """Hears a notification, and has what it asks about it worked on as a task."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.heard: list[str] = []
        self.done = anyio.Event()
        self.notification("notifications/acme/word")(self._hear)

    async def _hear(self, context: NotificationContext) -> None:
        try:
            answer = await context.ask(Sample("Hi", 10).as_task(30))
        except InputUnavailable as error:
            self.heard.append(str(error))
        else:
            assert isinstance(answer.content, TextContent)
            self.heard.append(answer.content.text)
        self.done.set()

    async def said(self) -> str:
        with patience():
            await self.done.wait()
        [word] = self.heard
        return word


@asynccontextmanager
async def listening(
    capabilities: dict[str, Any] = CAN_DO,
) -> AsyncIterator[tuple[Listener, Client]]:
    listener = Listener()
    async with bench(listener) as made:
        made.open_legacy(capabilities)
        made.send({"jsonrpc": "2.0", "method": "notifications/acme/word"})
        yield listener, Client(made)


async def test_what_is_asked_about_a_notification_may_be_a_task() -> None:
    async with listening() as (listener, client):
        question = await client.asked(SAMPLING)
        assert question["params"]["task"] == {"ttl": 30_000}
        client.answer(question, result={"task": {**STATE, "status": "working"}})
        await client.finish()
        assert await listener.said() == "yes"


@pytest.mark.parametrize(
    "capabilities", [{"sampling": {}}, {"sampling": {}, "tasks": {"requests": {}}}]
)
async def test_what_is_asked_about_a_notification_is_asked_plainly(
    capabilities: dict[str, Any],
) -> None:
    async with listening(capabilities) as (listener, client):
        question = await client.asked(SAMPLING)
        assert "task" not in question["params"]
        client.answer(question, result=MODEL_SAYS)
        assert await listener.said() == "yes"


@asynccontextmanager
async def in_a_task(
    capabilities: dict[str, Any] = CAN_DO,
) -> AsyncIterator[tuple[Client, dict[str, Any], dict[str, Any], int]]:
    """The client, its question, the server's task, and who waits for the result of that."""
    async with bench(Doubly(), RuntimeSettings()) as made:
        made.open_legacy(capabilities)
        client = Client(made)
        params = {"name": "ask", "task": {}}
        call = made.post("tools/call", params, revision=LEGACY)
        task = (await made.reply(call))["result"]["task"]
        about = {"taskId": task["taskId"]}
        waiting = made.post("tasks/result", about, revision=LEGACY)
        yield client, await client.asked(SAMPLING), about, waiting


async def test_a_question_of_a_task_is_run_as_a_task_by_the_client() -> None:
    async with in_a_task() as (client, question, about, waiting):
        assert question["params"]["task"] == {"ttl": 30_000}
        assert question["params"]["_meta"][RELATED] == about
        client.answer(question, result={"task": {**STATE, "status": "working"}})
        await client.finish()
        reply = await client.bench.reply(waiting)
        assert reply["result"]["content"][0]["text"] == "yes"


async def test_a_question_of_a_task_may_be_answered_at_once() -> None:
    async with in_a_task() as (client, question, _, waiting):
        client.answer(question, result=MODEL_SAYS)
        reply = await client.bench.reply(waiting)
        assert reply["result"]["content"][0]["text"] == "yes"


async def test_the_task_of_a_question_is_looked_for_in_the_session_that_was_asked() -> None:
    quick = TaskOptions(min_poll=0.001, max_poll=0.01, own=TaskSettings(poll_interval=1))
    callbacks = Callbacks(sampling=lambda _: MODEL_SAYS)
    one_user = HttpServerSettings(authenticate=lambda _: Principal("ada"))
    async with AsyncExitStack() as open:
        site = await open.enter_async_context(
            served(Doubly(), settings=ServeSettings(http_link=one_user))
        )
        first, second = [
            await open.enter_async_context(
                connect(
                    site.url,
                    revision=LEGACY,
                    callbacks=callbacks,
                    settings=ClientSettings(tasks=quick),
                )
            )
            for _ in range(2)
        ]
        task = await first.tasks.start("ask")
        assert isinstance(task, Task)
        assert (await second.tasks.wait(task.task_id)).text == "yes"


async def test_a_task_that_is_cancelled_cancels_that_of_its_question() -> None:
    async with in_a_task() as (client, question, about, _):
        client.answer(question, result={"task": {**STATE, "status": "working"}})
        await client.asked("tasks/get")
        client.bench.post("tasks/cancel", about, revision=LEGACY)
        assert (await client.asked("tasks/cancel"))["params"] == {"taskId": "c1"}
