"""Middleware of both sides, and the request log that is built on it."""

import inspect
import logging
import os
import subprocess
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from msgspec import Raw, Struct

from mcpcore import ClientSettings, Context, ListRoots, MemoryTarget, Peer, Role, Server, connect
from mcpcore.engine.events import RequestReceived
from mcpcore.errors import LifespanError, PeerError, ToolError
from mcpcore.policy.rates import Activity, Rate, RateLimits
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, LocalProtocolError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.base import Result
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.client.request_log import log_incoming, log_outgoing
from mcpcore_transports.running.audit import session_label
from mcpcore_transports.running.functions import is_awaitable
from mcpcore_transports.running.middleware import AnsweringSteps, CallNext, Chain, Steps
from mcpcore_transports.serve.serve import server_config
from mcpcore_transports.server.middleware import Answer, ServerMiddleware
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import PATIENCE, patience
from tests.transports.offers import TRANSPORTS, offered
from tests.transports.runtime_bench import LEGACY, MODERN, Bench, bench
from tests.transports.served import reachable
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

ROOT = Path(__file__).parents[3]
current: ContextVar[str] = ContextVar("current", default="nobody")


class Nothing(Struct):
    pass


def library() -> Server:
    server = Server("library")

    @server.tool
    def echo(text: str = "") -> str:
        return text

    @server.tool
    async def slow(text: str = "") -> str:
        await anyio.lowlevel.checkpoint()
        return text

    @server.tool
    def late() -> Any:
        async def later() -> str:
            await anyio.lowlevel.checkpoint()
            return current.get()

        return later()

    @server.tool
    def who() -> str:
        return current.get()

    @server.tool
    async def who_later() -> str:
        await anyio.lowlevel.checkpoint()
        return current.get()

    @server.tool
    def refuse() -> str:
        raise ToolError("not today")

    @server.tool
    async def crash() -> str:
        raise ZeroDivisionError("a secret")

    @server.tool
    async def ask(context: Context) -> str:
        return (await context.elicit("Well?", Nothing)).action

    @server.tool
    async def ask_in_tasks(context: Context) -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: context.elicit("One?", Nothing))
            group.start_soon(lambda: context.elicit("Two?", Nothing))
        return "both"

    @server.tool
    async def wait() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.resource("test://a")
    def a() -> str:
        return "A"

    return server


MASKED = "Internal error (error id 1a2b3c4d)"


def settings(*middleware: ServerMiddleware) -> RuntimeSettings:
    return RuntimeSettings(middleware=middleware, error_ids=lambda: "1a2b3c4d")


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def said(reply: dict[str, Any]) -> str:
    return str(reply["result"]["content"][0]["text"])


class Seen:
    """A middleware that writes down what passes; ``name`` tells several apart."""

    def __init__(self, log: list[str], name: str = "seen") -> None:
        self.log = log
        self.name = name

    def __call__(self, request: Context) -> Steps[Answer]:
        self.log.append(f"{self.name} {request.method}")
        try:
            answer = yield
        except BaseException as error:
            self.log.append(f"{self.name} {type(error).__name__}")
            raise
        self.log.append(f"{self.name} answer {type(answer.error).__name__}")


class Awaiting(Seen):
    """The same as a coroutine function."""

    async def __call__(  # type: ignore[override]
        self, request: Context, call_next: CallNext[Answer]
    ) -> Answer:
        self.log.append(f"{self.name} {request.method}")
        try:
            answer = await call_next()
        except BaseException as error:
            self.log.append(f"{self.name} {type(error).__name__}")
            raise
        self.log.append(f"{self.name} answer {type(answer.error).__name__}")
        return answer


KINDS: list[type[Seen]] = [Seen, Awaiting]
ANSWERED = ["seen answer NoneType"]


# The server's side


def test_without_middleware_nothing_is_between() -> None:
    server = library()
    peer = Peer(Role.SERVER, server_config(server, RuntimeSettings()))
    runtime = ServerRuntime(server, peer)
    assert runtime._guard is None
    assert runtime._table[RequestReceived] == runtime._on_request
    assert runtime.throttle is None


@pytest.mark.parametrize("link", [lambda request: None, 3, print])
def test_what_is_no_middleware_is_refused(link: Any) -> None:
    with pytest.raises(TypeError, match="generator function or a coroutine function"):
        Chain([link])


@pytest.mark.parametrize("tool", ["echo", "slow", "late"])
@pytest.mark.parametrize(("outer", "inner"), [(a, b) for a in KINDS for b in KINDS])
async def test_the_first_is_the_outermost(
    tool: str, outer: Callable[..., Any], inner: Callable[..., Any]
) -> None:
    log: list[str] = []
    async with bench(library(), settings(outer(log, "outer"), inner(log, "inner"))) as made:
        reply = await made.call("tools/call", call(tool))
    assert "error" not in reply
    assert log == [
        "outer tools/call",
        "inner tools/call",
        "inner answer NoneType",
        "outer answer NoneType",
    ]


async def test_plain_handlers_stay_inline_within_generators() -> None:
    log: list[str] = []
    async with bench(library(), settings(Seen(log))) as made:
        made.post("tools/call", call("echo", text="at once"))
        # Nothing was awaited since: there was no task to wait for.
        [reply] = made.sent
        assert said(reply) == "at once"
        made.post("tools/list", {})
        assert len(made.sent) == 2
    assert log == ["seen tools/call", *ANSWERED, "seen tools/list", *ANSWERED]


@pytest.mark.parametrize(
    ("method", "params", "ends"),
    [
        ("tools/list", {}, "answer NoneType"),
        ("resources/read", {"uri": "test://a"}, "answer NoneType"),
        ("resources/read", {"uri": "test://z"}, "McpError"),
        ("tools/list", {"cursor": "bad"}, "McpError"),
        ("tools/call", call("unknown"), "McpError"),
        ("tools/call", call("echo", text=7), "answer InvalidValue"),
        ("tools/call", {**call("echo"), "requestState": "forged"}, "McpError"),
        ("tools/call", call("refuse"), "answer ToolError"),
        ("tools/call", call("crash"), "answer ZeroDivisionError"),
        ("tools/call", call("ask"), "InputNeeded"),
        ("tools/call", call("ask_in_tasks"), "InputNeeded"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_middleware_sees(
    kind: Callable[..., Any], method: str, params: dict[str, Any], ends: str
) -> None:
    log: list[str] = []
    capabilities: dict[str, Any] = {"elicitation": {}}
    plain: list[dict[str, Any]] = []
    for chosen in ((), (kind(log),)):
        async with bench(library(), settings(*chosen)) as made:
            plain.append(await made.call(method, params, capabilities=capabilities))
    assert log == [f"seen {method}", f"seen {ends}"]
    # Who only looks changes nothing; the sealed state is another every time.
    for reply in plain:
        reply.get("result", {}).pop("requestState", None)
    assert plain[0] == plain[1]


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("name", "arguments", "failed", "error"),
    [
        ("echo", {}, False, "NoneType"),
        ("echo", {"text": 7}, True, "InvalidValue"),
        ("refuse", {}, True, "ToolError"),
        ("crash", {}, True, "ZeroDivisionError"),
        ("own_failure", {}, True, "NoneType"),
        ("own_result", {}, False, "NoneType"),
    ],
)
async def test_which_answers_say_that_a_tool_failed(
    name: str, arguments: dict[str, Any], failed: bool, error: str, revision: str
) -> None:
    seen: list[tuple[bool, str]] = []

    def looks(request: Context) -> Steps[Answer]:
        answer = yield
        seen.append((answer.failed, type(answer.error).__name__))

    server = library()
    server.add_tool(lambda: CallToolResult(content=[], is_error=True), "own_failure")
    server.add_tool(lambda: CallToolResult(content=[], is_error=False), "own_result")
    async with bench(server, settings(looks)) as made:
        made.open_legacy()
        reply = await made.call("tools/call", call(name, **arguments), revision=revision)
    assert (reply["result"].get("isError") is True) is failed
    assert seen == [(failed, error)]


TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


async def a_task(made: Bench, revision: str, tool: str) -> dict[str, str]:
    """Begin a task; how requests name it."""
    made.open_legacy()
    params = call(tool) if revision == MODERN else {**call(tool), "task": {}}
    reply = await made.call("tools/call", params, capabilities=TASKS, revision=revision)
    result = reply["result"]
    return {"taskId": (result if revision == MODERN else result["task"])["taskId"]}


class Workshop(Server):
    """A tool that waits until a test lets it ``go``."""

    def __init__(self) -> None:
        super().__init__("workshop")
        self.go = anyio.Event()
        self.add_tool(self._wait, "wait_for_it", task="optional")

    async def _wait(self) -> str:
        await self.go.wait()
        return "done"


def workshop() -> Server:
    server = library()

    @server.tool(task="optional")
    async def work() -> str:
        return "done"

    @server.tool(task="optional")
    async def work_for_ever() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.tool(task="required")
    async def only_as_a_task() -> str:
        return "done"

    return server


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("revision", "method", "about", "ends"),
    [
        (MODERN, "tasks/get", {}, "answer NoneType"),
        (MODERN, "tasks/get", {"taskId": "unknown"}, "McpError"),
        (MODERN, "tasks/get", {"taskId": 5}, "McpError"),
        (MODERN, "tasks/update", {"inputResponses": {}}, "answer NoneType"),
        (MODERN, "tasks/cancel", {}, "answer NoneType"),
        (LEGACY, "tasks/get", {}, "answer NoneType"),
        (LEGACY, "tasks/list", {}, "answer NoneType"),
        (LEGACY, "tasks/list", {"cursor": "bad"}, "McpError"),
        (LEGACY, "tasks/result", {}, "answer NoneType"),
        (LEGACY, "tasks/result", {"taskId": "unknown"}, "McpError"),
        (LEGACY, "tasks/cancel", {}, "McpError"),
    ],
)
async def test_requests_about_tasks_pass_middleware(
    kind: Callable[..., Any], revision: str, method: str, about: dict[str, Any], ends: str
) -> None:
    log: list[str] = []
    async with bench(workshop(), settings(kind(log))) as made:
        task = await a_task(made, revision, "work")
        await anyio.wait_all_tasks_blocked()
        log.clear()
        params = {**task, **about}
        reply = await made.call(method, params, capabilities=TASKS, revision=revision)
        assert log == [f"seen {method}", f"seen {ends}"]
        assert ("error" in reply) is (ends == "McpError")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["ends", "cancelled", "withdrawn"])
async def test_who_waits_for_a_task_waits_inside_of_middleware(
    kind: Callable[..., Any], way: str
) -> None:
    log: list[str] = []

    def stamps_results(request: Context) -> Steps[Answer]:
        answer = yield
        if request.method == "tasks/result":
            answer.meta["com.example/passed"] = True

    server = Workshop()
    async with bench(server, settings(kind(log), stamps_results)) as made:
        task = await a_task(made, LEGACY, "wait_for_it")
        await anyio.wait_all_tasks_blocked()
        log.clear()
        waiting = made.post("tasks/result", task, revision=LEGACY)
        await anyio.wait_all_tasks_blocked()
        assert log == ["seen tasks/result"]
        if way == "withdrawn":
            made.cancel(waiting)
            await anyio.wait_all_tasks_blocked()
            name = anyio.get_cancelled_exc_class().__name__
            assert log == ["seen tasks/result", f"seen {name}"]
            assert made.peer.in_flight == 0
            return
        if way == "cancelled":
            await made.call("tasks/cancel", task, revision=LEGACY)
        else:
            server.go.set()
        reply = await made.reply(waiting)
    if way == "ends":
        assert said(reply) == "done"
        assert reply["result"]["_meta"] == {
            "com.example/passed": True,
            "io.modelcontextprotocol/related-task": task,
        }
    else:
        assert "error" in reply
    assert ("seen answer NoneType" if way == "ends" else "seen McpError") in log


async def test_middleware_may_refuse_requests_about_tasks() -> None:
    def guards(request: Context) -> Steps[Answer]:
        if request.method.startswith("tasks/"):
            raise McpError(-31999, "no entry")
        yield

    async with bench(workshop(), settings(guards)) as made:
        task = await a_task(made, MODERN, "work_for_ever")
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            params = {**task, "inputResponses": {}}
            reply = await made.call(method, params, capabilities=TASKS)
            assert reply["error"] == {"code": -31999, "message": "no entry"}


def publishing() -> Server:
    server = Server("publishing")
    server.add_resource("test://a", lambda: "A")

    @server.tool
    def publish() -> str:
        server.resource_updated("test://a")
        return "done"

    return server


@pytest.mark.parametrize("transport", ["memory", "http", "ws"])
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize("kind", KINDS)
async def test_subscriptions_pass_middleware(
    kind: Callable[..., Any], revision: Revision, transport: str
) -> None:
    log: list[str] = []
    with patience():
        async with (
            reachable(transport, publishing(), settings(kind(log))) as target,
            connect(target, revision=revision.name) as client,
            client.listen(uris=["test://a"]) as changes,
        ):
            await client.call_tool("publish")
            change = await anext(changes)
            assert (change.kind, change.uri) == ("resource", "test://a")
    opened = "subscriptions/listen" if revision.modern else "resources/subscribe"
    assert log[:2] == [f"seen {opened}", "seen answer NoneType"]
    assert (f"seen {'resources/unsubscribe'}" in log) is not revision.modern


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize("waits", [False, True])
async def test_middleware_may_refuse_subscriptions(waits: bool, revision: Revision) -> None:
    async def guards_later(request: Context, call_next: CallNext[Answer]) -> Answer:
        await anyio.lowlevel.checkpoint()
        if "subscri" in request.method:
            raise McpError(-31999, "no entry")
        return await call_next()

    chosen = settings(guards_later if waits else refuses_to_watch)
    async with connect(MemoryTarget(publishing(), chosen), revision=revision.name) as client:
        with pytest.raises(PeerError, match="no entry"):
            async with client.listen(uris=["test://a"]):
                raise AssertionError("it was let through")
        assert (await client.call_tool("publish")).text == "done"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_runtime_refuses_passes_middleware(kind: Callable[..., Any]) -> None:
    log: list[str] = []
    limits = RateLimits({Activity.TOOLS: Rate(1e-9, burst=1)})
    chosen = RuntimeSettings(middleware=(kind(log),), limiter=limits)
    async with bench(workshop(), chosen) as made:
        reply = await made.call("tools/call", call("only_as_a_task"))
        assert "runs only as a task" in reply["error"]["message"]
        reply = await made.call("tools/call", call("echo"))
        assert reply["error"]["message"].startswith("busy: too many tool calls")
    assert log == ["seen tools/call", "seen McpError"] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_of_handlers_are_logged_once(
    kind: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(library(), settings(kind([]))) as made:
        reply = await made.call("tools/call", call("crash"))
        assert said(reply) == MASKED
        await made.call("tools/call", call("refuse"))
        await made.call("tools/call", call("unknown"))
    [record] = caplog.records
    assert record.getMessage() == "the handler of tools/call 'crash' failed (error id 1a2b3c4d)"
    assert "a secret" in caplog.text


def stamps(request: Context) -> Steps[Answer]:
    answer = yield
    answer.meta["com.example/node"] = 7


def replaces(request: Context) -> AnsweringSteps[Answer]:
    yield
    return Answer(Raw(b'{"content":[{"type":"text","text":"another"}]}'))


def answers_early(request: Context) -> AnsweringSteps[Answer]:
    if request.method == "tools/call":
        return Answer(Raw(b'{"content":[{"type":"text","text":"early"}]}'))
    yield
    return None


def forgives(request: Context) -> AnsweringSteps[Answer]:
    try:
        yield
    except McpError as error:
        text = msgspec.json.encode(error.error.message).decode()
        return Answer(Raw(b'{"content":[{"type":"text","text":%b}]}' % text.encode()))
    return None


async def answers_early_too(request: Context, call_next: CallNext[Answer]) -> Answer:
    return Answer(Raw(b'{"content":[{"type":"text","text":"early"}]}'))


def answers_all(request: Context) -> AnsweringSteps[Answer]:
    if "subscri" in request.method:
        return Answer(Raw(b"{}"), failed=True)
    yield
    return None


async def answers_all_later(request: Context, call_next: CallNext[Answer]) -> Answer:
    return Answer(Raw(b"{}")) if "subscri" in request.method else await call_next()


def refuses_to_watch(request: Context) -> Steps[Answer]:
    if "subscri" in request.method:
        raise McpError(-31999, "no entry")
    yield


async def twice(request: Context, call_next: CallNext[Answer]) -> Answer:
    await call_next()
    return await call_next()


@pytest.mark.parametrize(
    ("link", "tool", "text"),
    [
        (stamps, "echo", "hello"),
        (replaces, "echo", "another"),
        (replaces, "slow", "another"),
        (answers_early, "echo", "early"),
        (answers_early, "slow", "early"),
        (answers_early_too, "echo", "early"),
        (forgives, "unknown", "Unknown tool: unknown"),
        (twice, "echo", "hello"),
    ],
)
async def test_what_a_middleware_may_do(link: ServerMiddleware, tool: str, text: str) -> None:
    async with bench(library(), settings(link)) as made:
        reply = await made.call("tools/call", call(tool, text="hello"))
    assert said(reply) == text
    assert (reply["result"]["_meta"].get("com.example/node") == 7) is (link is stamps)


def rewrites(request: Context) -> AnsweringSteps[Answer]:
    yield
    return Answer(Raw(b'{"content":[],\n"_meta":{"a":1},"resultType":"complete"}'))


def rewrites_in_place(request: Context) -> Steps[Answer]:
    answer = yield
    answer.result = Raw(b'{"content":[],\n"_meta":{"a":1},"resultType":"complete"}')


@pytest.mark.parametrize("link", [rewrites, rewrites_in_place])
@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
async def test_a_result_of_a_middleware_is_read(link: ServerMiddleware, method: str) -> None:
    async with bench(library(), settings(link)) as made:
        reply = await made.call(method, call("echo") if method == "tools/call" else {})
    assert reply["result"].pop("_meta").get("a") == 1
    assert reply["result"] == {"content": [], "resultType": "complete"}


class OfInstance:
    def __init__(self) -> None:
        self.__await__ = None


class OfClass:
    def __await__(self) -> Any:
        yield


@types.coroutine
def old_coroutine() -> Any:
    yield


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    "make", [str, dict, OfInstance, OfClass, old_coroutine, nothing, lambda: (_ for _ in ())]
)
def test_what_is_awaited(make: Callable[[], Any]) -> None:
    value = make()
    for _ in range(2):
        assert is_awaitable(value) == inspect.isawaitable(value)
    getattr(value, "close", str)()


def refuses(request: Context) -> Steps[Answer]:
    if request.method:
        raise McpError(-31999, "no entry", {"why": "closed"})
    yield


def refuses_kindly(request: Context) -> Steps[Answer]:
    if request.method:
        raise ToolError("closed for lunch")
    yield


def does_nothing(request: Context) -> Steps[Answer]:
    if request.method == "never":
        yield


def swallows(request: Context) -> Steps[Answer]:
    try:
        yield
    except McpError:
        return


def yields_again(request: Context) -> Steps[Answer]:
    yield
    yield


def yields_again_on_error(request: Context) -> Steps[Answer]:
    try:
        yield
    except McpError:
        yield


async def answers_wrong(request: Context, call_next: CallNext[Answer]) -> Any:
    return {"content": []}


def breaks(request: Context) -> Steps[Answer]:
    yield
    raise LookupError("a secret")


@pytest.mark.parametrize(
    ("link", "tool", "code", "message", "logged"),
    [
        (refuses, "echo", -31999, "no entry", None),
        (refuses_kindly, "echo", None, "closed for lunch", None),
        (refuses_kindly, "unknown", INTERNAL_ERROR, "closed for lunch", None),
        (does_nothing, "echo", None, MASKED, "neither went on (yield) nor answered"),
        (swallows, "unknown", INTERNAL_ERROR, MASKED, "swallowed an exception"),
        (yields_again, "echo", None, MASKED, "yielded twice"),
        (yields_again_on_error, "unknown", INTERNAL_ERROR, MASKED, "yielded twice"),
        (answers_wrong, "echo", None, MASKED, "answered with dict, not an Answer"),
        (breaks, "slow", None, MASKED, "a secret"),
    ],
)
async def test_middleware_that_refuses_or_is_wrong(
    link: ServerMiddleware,
    tool: str,
    code: int | None,
    message: str,
    logged: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(library(), settings(link)) as made:
        reply = await made.call("tools/call", call(tool))
        if code is None:
            assert reply["result"]["isError"] is True
            assert said(reply) == message
        else:
            assert (reply["error"]["code"], reply["error"]["message"]) == (code, message)
        assert len(caplog.records) == (logged is not None)
        assert logged is None or logged in caplog.text
        assert "result" in await made.call("server/discover", {})  # the connection goes on


@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_may_be_asked_from_within(kind: Callable[..., Any]) -> None:
    log: list[str] = []
    target = MemoryTarget(library(), settings(kind(log)))
    callbacks = Callbacks(elicitation=lambda params: {})
    async with connect(target, revision=MODERN, callbacks=callbacks) as client:
        assert (await client.call_tool("ask_in_tasks")).text == "both"
    assert log == [
        "seen tools/call",
        "seen InputNeeded",
        "seen tools/call",
        "seen answer NoneType",
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_cancellation_passes(kind: Callable[..., Any]) -> None:
    log: list[str] = []
    async with bench(library(), settings(kind(log))) as made:
        id = made.post("tools/call", call("wait"))
        await anyio.wait_all_tasks_blocked()
        made.cancel(id)
        await made.runtime.idle()
        assert made.peer.in_flight == 0
        cancellation = anyio.get_cancelled_exc_class().__name__
    assert log == ["seen tools/call", f"seen {cancellation}"]


def names_user(request: Context) -> Steps[Answer]:
    token = current.set("Ada")
    try:
        yield
    finally:
        current.reset(token)


@pytest.mark.parametrize("tool", ["who", "who_later"])
async def test_context_variables_reach_the_handler(tool: str) -> None:
    async with bench(library(), settings(names_user)) as made:
        assert said(await made.call("tools/call", call(tool))) == "Ada"
        assert current.get() == "nobody"


async def test_what_the_engine_answers_does_not_pass() -> None:
    log: list[str] = []
    async with bench(library(), settings(Seen(log))) as made:
        await made.call("server/discover", {})
        assert "error" in await made.call("no/such/method", {})
        made.open_legacy()
        await made.call("ping", {}, revision=LEGACY)
    assert log == []


# The client's side


class Noted:
    """A middleware that writes down what is sent and what comes back."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.came: list[Any] = []

    def __call__(self, request: OutgoingRequest) -> Steps[Outcome]:
        self.sent.append((request.method, dict(request.meta)))
        try:
            outcome = yield
        except Exception as error:
            self.came.append(error)
            raise
        self.came.append(outcome)


def traced(request: OutgoingRequest) -> Steps[Outcome]:
    request.meta["traceparent"] = "00-1-2-01"
    yield


async def patient(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
    """Try again what failed."""
    try:
        return await call_next()
    except PeerError:
        return await call_next()


def moody() -> Server:
    server = Server("moody")
    calls: list[int] = []

    @server.tool
    def moody() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise McpError(INVALID_PARAMS, "not in the mood")
        return "well then"

    @server.tool
    def other() -> str:
        return "another"

    return server


TRACE = {"traceparent": "00-1-2-01", "tracestate": "vendor=1", "baggage": "user=ada"}
OTHER = {"traceparent": "00-1-9-01", "com.example/k": 1}


def asked(log: list[Any]) -> Callbacks:
    """Callbacks that write down the trace context of what they are asked."""

    def roots(context: CallbackContext) -> list[str]:
        log.append(("roots", context.meta.trace))
        return ["file:///r"]

    def sampling(params: Any, context: CallbackContext) -> dict[str, Any]:
        log.append(("sampling", context.meta.trace))
        return {"role": "assistant", "content": {"type": "text", "text": "w"}, "model": "m"}

    def elicitation(params: Any, context: CallbackContext) -> dict[str, Any]:
        log.append(("elicitation", context.meta.trace))
        return {"name": "Ada", "age": 36}

    return Callbacks(roots=roots, sampling=sampling, elicitation=elicitation)


@pytest.mark.turns("revision")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
async def test_all_of_the_trace_context_goes_everywhere(revision: Revision, transport: str) -> None:
    """Into the handler, on to what it asks, and back beside whatever it returns."""
    log: list[Any] = []
    async with (
        offered(transport, "tracing") as target,
        connect(target, revision=revision.name, callbacks=asked(log)) as client,
    ):
        assert (await client.call_tool("ask_all", meta=TRACE)).text == ",".join(TRACE.values())
        kinds = {"roots", "sampling"}
        if lookup("elicitation/create", "server", revision) or revision.modern:
            kinds.add("elicitation")
        assert {kind for kind, _ in log} == kinds
        assert all(trace == TRACE for _, trace in log)

        log.clear()
        await client.call_tool("ask_all", {"other": OTHER}, meta=TRACE)
        assert {kind for kind, _ in log} == kinds
        expected = {**TRACE, "traceparent": OTHER["traceparent"]}
        assert all(trace == expected for _, trace in log)

        log.clear()
        await client.call_tool("ask_all")
        assert {kind for kind, _ in log} == kinds
        assert all(trace == {} for _, trace in log)

        for arguments in ({}, {"fail": True}):
            result = await client.call_tool("plain", arguments, meta=TRACE)
            assert (result.is_error is True) is bool(arguments)
            assert own_meta(result) == TRACE
        assert own_meta(await client.read_resource("trace://now", meta=TRACE)) == TRACE


def own_meta(result: Result) -> dict[str, Any]:
    """What a result says beside what the engine puts in."""
    meta = result.meta or {}
    return {key: value for key, value in meta.items() if not key.startswith("io.model")}


def telling() -> Server:
    server = Server("telling")

    @server.tool(task="optional")
    def tell(context: Context) -> str:
        context.progress(1, meta={"traceparent": "00-1-2-01"})
        context.warning("careful", meta={"baggage": "b"})
        context.progress(2)
        context.error("too late")
        return "told"

    return server


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
@pytest.mark.parametrize("task", [False, True])
async def test_metadata_of_what_a_handler_tells(task: bool, revision: str) -> None:
    async with bench(telling()) as made:
        made.open_legacy()
        meta = {"progressToken": "p", "io.modelcontextprotocol/logLevel": "info"}
        params: dict[str, Any] = {"name": "tell", "_meta": meta}
        if task and revision == LEGACY:
            params["task"] = {}
        await made.call("tools/call", params, revision=revision)
        await anyio.wait_all_tasks_blocked()
        told = [
            (message["params"].get("progress"), message["params"].get("_meta", {}))
            for message in made.sent
            if message.get("method") in ("notifications/progress", "notifications/message")
        ]
    found = [
        (progress, {key: value for key, value in meta.items() if "related-task" not in key})
        for progress, meta in told
    ]
    assert found == [
        (1, {"traceparent": "00-1-2-01"}),
        (None, {"baggage": "b"}),
        (2, {}),
        (None, {}),
    ]
    assert all(("related-task" in str(meta)) is (task and revision == LEGACY) for _, meta in told)


@pytest.mark.parametrize("kind", [None, *KINDS])
@pytest.mark.parametrize("tool", ["own", "plain", "failing", "late", "unfit", "unfit_failing"])
async def test_what_a_handler_puts_beside_its_result(
    kind: Callable[..., Any] | None, tool: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server("beside")

    @server.tool
    def own(context: Context) -> CallToolResult:
        context.result_meta.update(a=1, b=1)
        return CallToolResult(content=[], meta={"b": 2})

    @server.tool
    def plain(context: Context) -> str:
        context.result_meta["a"] = 1
        context.result_meta["io.modelcontextprotocol/serverInfo"] = {"name": "fake"}
        return "x"

    @server.tool
    async def late(context: Context) -> str:
        await anyio.lowlevel.checkpoint()
        context.result_meta["a"] = 1
        return "x"

    @server.tool
    async def failing(context: Context) -> str:
        context.result_meta["a"] = 1
        raise ToolError("no luck")

    @server.tool
    def unfit(context: Context) -> str:
        context.result_meta["a"] = object()
        return "x"

    @server.tool
    def unfit_failing(context: Context) -> str:
        context.result_meta["a"] = object()
        raise ToolError("no luck")

    chosen = () if kind is None else (kind([]),)
    async with bench(server, settings(*chosen)) as made:
        made.open_legacy()
        result = (await made.call("tools/call", call(tool), revision=LEGACY))["result"]
        expected = {"own": {"a": 1, "b": 2}, "unfit": None, "unfit_failing": None}
        assert result.get("_meta") == expected.get(tool, {"a": 1})
        assert (result.get("isError") is True) is ("fail" in tool or "unfit" in tool)
        assert "result" in await made.call("tools/list", {}, revision=LEGACY)


@pytest.mark.parametrize("key", ["progressToken", "io.modelcontextprotocol/clientInfo"])
def test_metadata_of_questions_has_no_keys_of_the_engine(key: str) -> None:
    with pytest.raises(LocalProtocolError, match=key):
        ListRoots().with_meta({key: 1})


async def test_outgoing_requests_can_be_sent_again() -> None:
    noted = Noted()
    async with connect(moody(), middleware=[patient, noted]) as client:
        assert (await client.call_tool("moody")).text == "well then"
    assert [type(each) for each in noted.came] == [PeerError, Outcome]


async def test_an_outgoing_request_can_be_changed_and_answered() -> None:
    def redirected(request: OutgoingRequest) -> AnsweringSteps[Outcome]:
        if request.method == "tools/list":
            return Outcome(Raw(b'{"tools":[]}'))
        request.params = call("other")
        yield
        return None

    async with connect(moody(), middleware=[redirected]) as client:
        assert await client.tools() == []
        assert (await client.call_tool("nowhere")).text == "another"


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
async def test_every_request_passes(revision: str) -> None:
    noted = Noted()
    server = library()
    callbacks = Callbacks(elicitation=lambda params: {})
    kept = ClientSettings(cache=True, meta={"baggage": "b"})
    async with connect(
        server, revision=revision, callbacks=callbacks, settings=kept, middleware=[noted]
    ) as client:
        await client.tools()
        await client.tools()  # the second time from the cache, where there is one
        await client.call_tool("ask")
        await client.ping()
        async with client.listen(tools=True) as changes:
            server.remove_tool("who")
            assert (await anext(changes)).kind == "tools"
        with pytest.raises(PeerError):
            await client.read_resource("test://z")
    methods = [method for method, _ in noted.sent]
    modern = revision == MODERN
    lists = ["tools/list"] if modern else ["tools/list", "tools/list"]
    rest = ["server/discover", "subscriptions/listen"] if modern else ["ping"]
    assert methods == [*lists, "tools/call", *rest, "resources/read"]
    assert all(meta == {"baggage": "b"} for _, meta in noted.sent)
    assert isinstance(noted.came[-1], PeerError)
    if modern:
        assert b"toolsListChanged" in bytes(noted.came[-2].result)


async def test_a_client_without_middleware_has_nothing_between() -> None:
    async with connect(library()) as client:
        assert client._core._chain is None


# The request log


RECORDED = [
    ("tools/call", call("echo"), "tools/call 'echo': answered", {"outcome": "answered"}),
    ("tools/call", call("refuse"), "tools/call 'refuse': failed", {"outcome": "failed"}),
    (
        "tools/call",
        call("unknown"),
        f"tools/call 'unknown': refused ({INVALID_PARAMS})",
        {"outcome": "refused", "code": INVALID_PARAMS},
    ),
    ("tools/list", {}, "tools/list: answered", {"outcome": "answered", "subject": None}),
    (
        "resources/read",
        {"uri": "test://a"},
        "resources/read 'test://a': answered",
        {"subject": "test://a"},
    ),
    ("tools/call", call("ask"), "tools/call 'ask': asked", {"outcome": "asked"}),
]


@pytest.mark.parametrize(("method", "params", "message", "facts"), RECORDED)
async def test_incoming_requests_are_logged(
    method: str,
    params: dict[str, Any],
    message: str,
    facts: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mcpcore.requests")
    params = {**params, "_meta": {"traceparent": "00-1-2-01"}}
    async with bench(library(), settings(log_incoming())) as made:
        await made.call(method, params, capabilities={"elicitation": {}})
    [record] = caplog.records
    assert record.getMessage().startswith(f"{message} in ")
    told = {key: value for key, value in vars(record).items() if key.startswith("mcp_")}
    expected = {"side": "server", "method": method, "revision": MODERN, "traceparent": "00-1-2-01"}
    assert {f"mcp_{key}": value for key, value in {**expected, **facts}.items()}.items() <= (
        told.items()
    )
    assert told["mcp_duration"] >= 0


async def test_ends_without_an_answer_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mcpcore.requests")
    async with bench(library(), settings(log_incoming(), breaks_before)) as made:
        await made.call("tools/call", call("echo"))
        id = made.post("tools/call", call("wait"))
        await anyio.wait_all_tasks_blocked()
        made.cancel(id)
        await made.runtime.idle()
    told = [vars(record).get("mcp_outcome") for record in caplog.records]
    assert told == ["ended", None, "cancelled"]  # between them, the error itself


def breaks_before(request: Context) -> Steps[Answer]:
    if b"echo" in bytes(request.params):
        raise LookupError
    yield


async def test_outgoing_requests_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mcpcore.requests")
    server = library()
    server.method("acme/odd")(lambda: {"isError": Raw(b"1e999")})
    async with connect(server, middleware=[traced, log_outgoing()]) as client:
        await client.request("acme/odd")
        await client.call_tool("echo", {"text": "a secret"})
        await client.call_tool("refuse")
        with pytest.raises(PeerError):
            await client.read_resource("test://z")
    told = [
        [getattr(record, f"mcp_{name}") for name in ("side", "subject", "outcome", "traceparent")]
        for record in caplog.records
    ]
    assert {vars(record)["mcp_revision"] for record in caplog.records} == {client.revision.name}
    assert told == [
        ["client", None, "answered", "00-1-2-01"],
        ["client", "echo", "answered", "00-1-2-01"],
        ["client", "refuse", "failed", "00-1-2-01"],
        ["client", "test://z", "refused", "00-1-2-01"],
    ]
    assert "a secret" not in caplog.text


def test_the_session_that_a_request_was_sent_in_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mcpcore.requests")
    request = OutgoingRequest(method="ping", revision="2025-11-25", meta={})
    middleware: Any = log_outgoing()
    steps = middleware(request)
    next(steps)
    request.session = "a secret"
    with pytest.raises(StopIteration):
        steps.send(Outcome(Raw(b"{}")))
    (record,) = map(vars, caplog.records)
    assert record["mcp_session"] == session_label("a secret") != "a secret"


async def test_the_log_is_silent_below_its_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mcpcore.requests")
    target = MemoryTarget(library(), settings(log_incoming()))
    async with connect(target, middleware=[log_outgoing()]) as client:
        assert (await client.call_tool("echo", {"text": "x"})).text == "x"
    assert caplog.records == []


def test_verbose_commands_log_requests(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import logging\nfrom tests.transports.offers import echo\n"
        "server = echo()\nlogging.getLogger('mine').info('heard')\n"
    )
    mcpcore = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    serving = ["env", f"PYTHONPATH={ROOT}", *mcpcore, "serve", "mine:server", "--stdio"]

    def stderr(*options: str, serve: str | None = None) -> str:
        command = [*mcpcore, "list", "tools", *options, "--", *serving]
        done = subprocess.run(
            command if serve is None else [*command, serve],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE,
            check=True,
        )
        return done.stderr

    assert "mcpcore.requests" not in stderr()
    said = stderr("--verbose", serve="--verbose")
    told = [line for line in said.splitlines() if "mcpcore.requests: tools/list: answered" in line]
    # The client's own line, and the server's, which came by its standard error.
    assert sorted(line.startswith("INFO mcpcore.requests") for line in told) == [False, True]
    # A level alone shows messages, and adds none.
    told = stderr("--verbose", serve="--log-level=info").splitlines()
    assert [line for line in told if line.endswith("INFO mine: heard")]
    assert len([line for line in told if "mcpcore.requests: tools/list" in line]) == 1
    assert not [
        line for line in stderr("--verbose", serve="--stdio").splitlines() if "heard" in line
    ]


class Watch:
    """Middleware that counts the connections that are open."""

    def __init__(self, *, fails: bool = False) -> None:
        self.cores = 0
        self._fails = fails

    async def __call__(self, request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        return await call_next()

    async def attach(self, core: object, instructions: str | None) -> None:
        if self._fails:
            raise LookupError("no pins")
        self.cores += 1

    def detach(self, core: object) -> None:
        self.cores -= 1


async def test_middleware_of_a_client_hears_of_an_end_that_fails() -> None:
    @asynccontextmanager
    async def leaky(_: object) -> AsyncIterator[None]:
        yield
        raise OSError("the pool is stuck")

    watch = Watch()
    with pytest.raises(LifespanError):
        async with connect(Server("leaky", lifespan=leaky), middleware=[watch]):
            assert watch.cores == 1
    assert watch.cores == 0


async def test_middleware_of_a_client_hears_of_the_end_if_the_next_one_refuses_it() -> None:
    chain = [Watch(), Watch(fails=True), Watch()]
    with pytest.raises(LookupError, match="no pins"):
        async with connect(Server("watched"), middleware=chain):
            raise AssertionError("it was opened")
    assert [each.cores for each in chain] == [0, 0, 0]


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize("waits", [False, True])
async def test_an_answer_of_middleware_grants_no_refused_subscription(
    waits: bool, revision: Revision
) -> None:
    async def forgives_later(request: Context, call_next: CallNext[Answer]) -> Answer:
        try:
            return await call_next()
        except McpError:
            return Answer(Raw(b"{}"))

    server = publishing()
    server.add_resource("test://scoped", "x", scopes={"read"})
    chosen = settings(forgives_later if waits else forgives)
    async with connect(MemoryTarget(server, chosen), revision=revision.name) as client:
        with pytest.raises(PeerError, match="it needs the scopes read"):
            async with client.listen(uris=["test://scoped"]):
                raise AssertionError("it was let through")


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize(
    "chain", [(answers_all,), (answers_all_later,), (forgives, refuses_to_watch)]
)
async def test_no_subscription_is_granted_that_middleware_has_not_gone_on_with(
    chain: tuple[ServerMiddleware, ...], revision: Revision, caplog: pytest.LogCaptureFixture
) -> None:
    server, chosen = publishing(), settings(*chain)
    async with connect(MemoryTarget(server, chosen), revision=revision.name) as client:
        with pytest.raises(PeerError, match="error id"):
            async with client.listen(uris=["test://a"]):
                raise AssertionError("it was let through")
    assert "but not answer it" in caplog.text
