"""Middleware of a gateway: around what it relays, in both eras, with the answers of the servers."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from msgspec import Raw, json

from mcpcore import (
    Answer,
    AnsweringSteps,
    Callbacks,
    CallNext,
    Client,
    Context,
    Forbidden,
    InputUnavailable,
    McpError,
    PeerError,
    RuntimeSettings,
    Server,
    ServeSettings,
    Steps,
    ToolError,
    connect,
    log_incoming,
)
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.server.middleware import ServerMiddleware
from mcpcore_transports.targets import MemoryTarget
from tests.clock import patience
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, LEGACY, MODERN, answer, gateway, talk
from tests.transports.served import ANY_PORT

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def front(
    *middleware: ServerMiddleware, server: Server | None = None, era: str = MODERN, count: int = 1
) -> AsyncIterator[Client]:
    """Connect a client to a gateway with middleware, before ``count`` servers that are equal."""
    settings = ServeSettings(runtime=RuntimeSettings(middleware=middleware))
    behind = {f"s{number}": MemoryTarget(server or backend()) for number in range(count)}
    async with (
        gateway(behind, settings_of=settings, http=ANY_PORT) as served,
        connect(served.url, revision=era, callbacks=Callbacks(elicitation=answer)) as client,
    ):
        yield client


# Answers


def stamped(request: Context) -> Steps[Answer]:
    answer = yield
    answer.meta["example/by"] = request.method


async def stamped_later(request: Context, call_next: CallNext[Answer]) -> Answer:
    await anyio.lowlevel.checkpoint()
    answer = await call_next()
    answer.meta["example/by"] = request.method
    return answer


def noting(request: Context) -> Steps[Answer]:
    request.result_meta["example/by"] = request.method
    yield


def shouting(request: Context) -> Steps[Answer]:
    answer = yield
    answer.result = Raw(bytes(answer.result).replace(b"backend: hi", b"BACKEND: HI"))


def answering(request: Context) -> AnsweringSteps[Answer]:
    if request.method == "tools/call":
        return Answer(Raw(b'{"content":[{"type":"text","text":"mine"}]}'))
    yield
    return None


async def twice(request: Context, call_next: CallNext[Answer]) -> Answer:
    await call_next()
    return await call_next()


async def twice_at_a_time(request: Context, call_next: CallNext[Answer]) -> Answer:
    async with anyio.create_task_group() as group:
        group.start_soon(call_next)
        return await call_next()


def forgiving(request: Context) -> AnsweringSteps[Answer]:
    try:
        yield
    except McpError as error:
        text = json.encode({"content": [{"type": "text", "text": f"{error.code}"}]})
        return Answer(Raw(text))
    return None


def failing(request: Context) -> Steps[Answer]:
    answer = yield
    if answer.failed:
        raise ToolError("the server has failed")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("middleware", "tool", "text", "by"),
    [
        (stamped, "echo", "backend: hi", "tools/call"),
        (stamped_later, "echo", "backend: hi", "tools/call"),
        (noting, "echo", "backend: hi", "tools/call"),
        (shouting, "echo", "BACKEND: HI", None),
        (answering, "echo", "mine", None),
        (twice, "echo", "backend: hi", None),
        (twice_at_a_time, "slow", "slow: hi", None),
        (forgiving, "nothing", "-32602", None),
        (failing, "fail", "the server has failed", None),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
async def test_answers(
    middleware: ServerMiddleware, tool: str, text: str, by: str | None, era: str
) -> None:
    server = backend()

    @server.tool
    def fail(text: str) -> str:
        raise ToolError("no")

    @server.tool
    async def slow(text: str) -> str:
        await anyio.sleep(0.1)
        return f"slow: {text}"

    async with front(middleware, server=server, era=era) as client:
        result = await client.call_tool(tool, {"text": "hi"})
    assert result.text == text
    assert (result.meta or {}).get("example/by") == by


@pytest.mark.parametrize("era", ERAS)
async def test_all_that_a_server_has_passes(era: str) -> None:
    async with front(stamped, stamped_later, era=era) as client:
        await talk(client)


async def test_a_list_is_seen_whole() -> None:
    seen: list[dict[str, Any]] = []

    def looking(request: Context) -> Steps[Answer]:
        answer = yield
        if request.method == "tools/list":
            seen.append(json.decode(answer.result))

    async with front(looking, stamped, count=2) as client:
        names = [tool.name for tool in await client.tools()]
    assert [[tool["name"] for tool in each["tools"]] for each in seen] == [names]
    assert seen[0].keys() >= {"ttlMs", "cacheScope"}


# Refusals


def refused(request: Context) -> Steps[Answer]:
    if request.method == "tools/call":
        raise McpError(-31000, f"no {request.method} here")
    yield


def forbidden(request: Context) -> Steps[Answer]:
    if request.method == "tools/call":
        raise Forbidden(("call",))
    yield


def broken(request: Context) -> Steps[Answer]:
    if request.method == "tools/call":
        raise RuntimeError("a secret")
    yield


async def asking(request: Context, call_next: CallNext[Answer]) -> Answer:
    if request.method == "tools/call":
        with pytest.raises(InputUnavailable, match="cannot ask"):
            await request.ping()
        await request.elicit("Who?", {"type": "object", "properties": {}})
    return await call_next()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        (refused, r"no tools/call here"),
        (forbidden, r"forbidden: .* call"),
        (broken, r"(?!.*secret).*error id"),
        (asking, "middleware of a gateway cannot ask"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
async def test_refusals(middleware: ServerMiddleware, message: str, era: str) -> None:
    server, called = Server("s"), []

    @server.tool
    def act() -> str:
        called.append(1)
        return "done"

    async with front(middleware, server=server, era=era) as client:
        try:
            said = (await client.call_tool("act")).text
        except PeerError as error:
            said = str(error)
    assert re.match(message, said), said
    assert called == []


async def test_a_listen_stream_can_be_refused_and_is_granted_at_once() -> None:
    refusing, after = [True], []

    def choosy(request: Context) -> Steps[Answer]:
        if request.method == "subscriptions/listen":
            if refusing[0]:
                raise McpError(-31000, "not now")
            yield
            after.append(request.method)
            raise McpError(-31000, "too late")
        yield

    server = Server("s")
    server.add_resource("x:1", "contents")
    with patience():
        async with front(choosy, server=server) as client:
            with pytest.raises(PeerError, match="not now"):
                async with client.listen(uris=["x:1"]):
                    pass
            refusing[0] = False
            async with client.listen(uris=["x:1"]) as changes:
                server.resource_updated("x:1")
                assert (await anext(changes)).method == "notifications/resources/updated"
    assert after == ["subscriptions/listen"]


def unwritable(request: Context) -> Steps[Answer]:
    request.result_meta["example/by"] = object()
    yield


async def unwritable_failing(request: Context, call_next: CallNext[Answer]) -> Answer:
    request.result_meta["example/by"] = object()
    raise ToolError("mine")


def listening(request: Context) -> AnsweringSteps[Answer]:
    if request.method == "subscriptions/listen":
        return Answer(Raw(b"{}"))
    yield
    return None


@pytest.mark.parametrize(
    ("middleware", "message"),
    [(unwritable, "error id"), (unwritable_failing, "mine")],
    ids=lambda each: getattr(each, "__name__", None),
)
async def test_what_cannot_be_sent_is_an_error(middleware: ServerMiddleware, message: str) -> None:
    with patience():
        async with front(middleware) as client:
            for _ in range(2):  # the gateway lives on
                try:
                    said = (await client.call_tool("echo", {"text": "hi"})).text
                except PeerError as error:
                    said = str(error)
                assert message in said


async def test_middleware_grants_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    with patience():
        async with front(listening) as client:
            with pytest.raises(PeerError, match="error id"):
                async with client.listen(uris=["file:///backend"]):
                    pass
            assert (await client.call_tool("echo", {"text": "hi"})).text == "backend: hi"
    assert "middleware can refuse subscriptions/listen, but not answer it" in caplog.text


async def test_a_question_that_the_client_cannot_be_asked_is_an_error() -> None:
    server = Server("s")
    visit = {"mode": "url", "elicitationId": "1", "url": "https://x.example", "message": "Visit."}

    @server.tool
    def visiting() -> str:
        raise McpError(URL_ELICITATION_REQUIRED, "visit it", {"elicitations": [visit]})

    settings = ServeSettings(runtime=RuntimeSettings(middleware=(stamped,)))
    behind, legacy = {"s": MemoryTarget(server)}, parse_revisions((LEGACY,))
    with patience():
        async with (
            gateway(behind, settings_of=settings, revisions=legacy, http=ANY_PORT) as served,
            connect(served.url) as client,  # it opens no URLs
        ):
            for _ in range(2):  # the gateway lives on
                with pytest.raises(PeerError, match=r"elicitation\.url"):
                    await client.call_tool("visiting")


# Ends


class Slow:
    """A server whose tool waits until its request is cancelled."""

    def __init__(self) -> None:
        self.server = server = Server("slow")
        self.begun, self.ended = anyio.Event(), anyio.Event()

        @server.tool
        async def wait() -> None:
            self.begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.ended.set()


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancellation_ends_the_middleware_and_the_call_of_the_server(era: str) -> None:
    slow, ends = Slow(), []

    def watching(request: Context) -> Steps[Answer]:
        try:
            yield
        except anyio.get_cancelled_exc_class():
            ends.append(request.method)
            raise

    with patience():
        async with front(watching, server=slow.server, era=era) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "wait")
                await slow.begun.wait()
                group.cancel_scope.cancel()
            await slow.ended.wait()
            assert await client.tools()
    assert ends == ["tools/call"]


@pytest.mark.parametrize("era", ERAS)
async def test_who_waits_no_longer_cancels_the_call_of_the_server(
    caplog: pytest.LogCaptureFixture, era: str
) -> None:
    slow = Slow()

    async def impatient(request: Context, call_next: CallNext[Answer]) -> Answer:
        if request.method != "tools/call":
            return await call_next()
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await slow.begun.wait()
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            await call_next()
        raise ToolError("it takes too long")

    with patience():
        async with front(impatient, server=slow.server, era=era) as client:
            result = await client.call_tool("wait")
            assert (result.text, result.is_error) == ("it takes too long", True)
            await slow.ended.wait()
            assert await client.tools()
    assert "failed (error id" not in caplog.text


@pytest.mark.parametrize("era", ERAS)
async def test_middleware_that_is_shielded_gets_the_answer_of_a_cancelled_call(era: str) -> None:
    begun, allowed, answers = anyio.Event(), anyio.Event(), []
    server = Server("s")

    @server.tool
    async def wait() -> str:
        begun.set()
        await allowed.wait()
        return "done"

    async def shielding(request: Context, call_next: CallNext[Answer]) -> Answer:
        with anyio.CancelScope(shield=request.method == "tools/call"):
            answer = await call_next()
            answers.append(request.method)
        return answer

    with patience():
        async with front(shielding, server=server, era=era) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "wait")
                await begun.wait()
                group.cancel_scope.cancel()
            assert await client.tools()
            allowed.set()
    assert "tools/call" in answers


async def test_middleware_ends_with_the_gateway() -> None:
    slow, ends = Slow(), []

    async def watching(request: Context, call_next: CallNext[Answer]) -> Answer:
        try:
            return await call_next()
        finally:
            ends.append(request.method)

    with patience():
        async with (
            anyio.create_task_group() as group,
            front(watching, server=slow.server) as client,
        ):
            group.start_soon(client.call_tool, "wait")
            await slow.begun.wait()
            group.cancel_scope.cancel()
    assert ends[-1] == "tools/call"


# Messages, logs


@pytest.mark.parametrize("era", ERAS)
async def test_messages_go_to_the_client_of_the_request(era: str) -> None:
    async def telling(request: Context, call_next: CallNext[Answer]) -> Answer:
        await request.report_progress(0.5)
        await request.info("of the gateway")
        await request.drained()
        return await call_next()

    steps: list[float] = []
    async with front(telling, era=era) as client:
        await client.call_tool("count", progress=lambda done, *_: steps.append(done))
    assert steps == [0.5, 1, 2]


async def test_requests_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mcpcore.requests")
    async with front(log_incoming()) as client:
        await client.call_tool("echo", {"text": "hi"})
    assert "tools/call 'echo'" in caplog.text
