"""The lifespan of a server under ASGI, with its lifespan protocol or without, and in frameworks."""

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from mcpcore import HttpServerSettings, RuntimeSettings, Server, ServeSettings, connect
from mcpcore.errors import LifespanError
from mcpcore_transports.serve.asgi import AsgiApp, asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.bindings.asgi_servers import _hypercorn, _uvicorn
from tests.clock import PATIENCE, until
from tests.transports.http_fixture import tool
from tests.transports.serve.lives import Diary, declared
from tests.transports.serve.test_asgi import Call, Lifespan
from tests.transports.serve.test_handle import collected, taken_apart
from tests.transports.sites import call as ws_call
from tests.transports.websocket.test_websocket_asgi_messages import Wire

pytestmark = pytest.mark.anyio

SETTINGS = ServeSettings(
    shared=True,
    http_link=HttpServerSettings(drain_time=0.05),
    websocket=WebSocketSettings(connection=ConnectionSettings(drain=0.05)),
)
"""What does not end is not waited for."""
LIFE = tool("life")
WAIT = tool("wait")
WHOLE = ["start 1", "started 1", "end 1", "ended 1"]


async def refuse() -> None:
    raise ConnectionRefusedError("no database at db.internal")


async def fail_to_flush() -> None:
    raise OSError("cannot flush")


@asynccontextmanager
async def closing(app: AsgiApp) -> AsyncIterator[anyio.abc.TaskGroup]:
    """End what runs for an application, at the latest behind the block."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            yield group
            await app.aclose()


async def test_the_protocol_has_it_entered_before_and_left_behind_everything() -> None:
    diary, go = Diary(), anyio.Event()
    app = asgi_app(declared(diary, start=go.wait), settings=SETTINGS)
    span, call, wire = Lifespan(app), Call(app, WAIT), Wire(app, "mcp")
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(span.run)
            await diary.until("start 1")
            await anyio.wait_all_tasks_blocked()
            assert span.sent == []
            go.set()
            await span.said("lifespan.startup.complete")
            assert diary.entries == WHOLE[:2]
            assert (await Call(app, LIFE).run()).result == "1"
            for conversation in (call.run, wire.run):
                group.start_soon(conversation)
            assert (await wire.hear())["type"] == "websocket.accept"
            wire.text(ws_call(1, "wait"))
            await until(lambda: diary.entries.count("call begins") >= 2)
            span.say({"type": "lifespan.shutdown"})
            await span.said("lifespan.shutdown.complete")
            assert diary.entries[4:] == ["call ends in life 1"] * 2 + WHOLE[2:]


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_what_fails_is_told_to_the_asgi_server_which_logs_it(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    started, ended = step == "startup", step == "shutdown"
    server = declared(
        Diary(),
        start=refuse if started else anyio.lowlevel.checkpoint,
        end=fail_to_flush if ended else anyio.lowlevel.checkpoint,
    )
    said = {
        "startup": "the lifespan life failed at its start: "
        "ConnectionRefusedError: no database at db.internal",
        "shutdown": "the lifespan life failed at its end: OSError: cannot flush",
    }
    span = Lifespan(asgi_app(server))
    span.say({"type": "lifespan.shutdown"})
    await span.run()
    assert span.sent[-1] == {"type": f"lifespan.{step}.failed", "message": said[step]}
    assert len(span.sent) == (1 if started else 2)
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_one_that_ends_by_itself_is_entered_anew_by_the_next_request() -> None:
    diary, crash, crashes = Diary(), anyio.Event(), [True, False]

    async def crashing() -> None:
        await crash.wait()
        if crashes.pop(0):
            raise ConnectionError("the pool is gone")

    @asynccontextmanager
    async def pool() -> AsyncIterator[str]:
        diary.add("start")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(crashing)
                yield "pool"
        finally:
            diary.add("end")

    server = Server("x", lifespan=pool)
    app = asgi_app(server, settings=SETTINGS)

    @server.tool(name="life")
    def life() -> str:
        return "alive"

    span = Lifespan(app)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(span.run)
            await span.said("lifespan.startup.complete")
            assert (await Call(app, LIFE).run()).result == "alive"
            crash.set()
            await diary.until("end")
            while (call := await Call(app, LIFE).run()).status == 503:
                await anyio.lowlevel.checkpoint()  # what runs is being stopped
            assert call.result == "alive"
            span.say({"type": "lifespan.shutdown"})
    assert span.sent[-1]["type"] == "lifespan.shutdown.failed"
    assert "the pool is gone" in span.sent[-1]["message"]
    assert diary.entries == ["start", "end", "start", "end"]


async def test_the_first_request_enters_it_and_those_beside_it_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary, go = Diary(), anyio.Event()
    app = asgi_app(declared(diary, start=go.wait), settings=SETTINGS)
    calls = [Call(app, LIFE) for _ in range(4)]
    wire = Wire(app, "mcp")
    async with closing(app) as group:
        for conversation in (*(call.run for call in calls), wire.run):
            group.start_soon(conversation)
        await diary.until("start 1")
        await anyio.wait_all_tasks_blocked()
        assert [call.sent for call in calls] == [[]] * 4
        go.set()
        assert (await wire.hear())["type"] == "websocket.accept"
        for call in calls:
            await call.until(lambda call=call: call.finished)  # type: ignore[misc]
            assert call.result == "1"
        assert diary.entries == WHOLE[:2]
        assert (await Call(app, LIFE).run()).result == "1"
        await app.aclose()
        assert diary.entries == WHOLE
        assert (await Call(app, LIFE).run()).status == 503
    assert diary.entries == WHOLE
    [warned] = [each for each in caplog.records if each.levelno > logging.INFO]
    assert "it is left only if the application calls aclose()" in warned.getMessage()


async def test_a_failing_start_is_503_and_the_next_request_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary, attempts = Diary(), iter((refuse, refuse, anyio.lowlevel.checkpoint))

    async def start() -> None:
        await next(attempts)()

    app = asgi_app(declared(diary, start=start), settings=SETTINGS)
    async with closing(app) as group:
        first = await Call(app, LIFE).run()
        assert first.status == 503
        error = json.loads(first.body)["error"]
        assert error["message"] == "the server could not be started"
        assert b"database" not in first.body
        assert b"retry-after" in first.headers
        wire = Wire(app, "mcp")
        group.start_soon(wire.run)
        assert (await wire.hear())["status"] == 503
        assert (await Call(app, LIFE).run()).result == "3"
    said = "the lifespan life failed at its start: ConnectionRefusedError: no database at"
    _, *failures = [each for each in caplog.records if each.levelno > logging.INFO]
    assert [each.getMessage() for each in failures] == [f"{said} db.internal"] * 2


async def test_a_start_that_takes_too_long_is_503() -> None:
    runtime = RuntimeSettings(lifespan_start=0.05)
    settings = structs.replace(SETTINGS, runtime=runtime)
    app = asgi_app(declared(Diary(), start=anyio.sleep_forever), settings=settings)
    async with closing(app):
        assert (await Call(app, LIFE).run()).status == 503


async def test_whoever_leaves_while_it_starts_does_not_end_the_start() -> None:
    diary, go = Diary(), anyio.Event()
    app = asgi_app(declared(diary, start=go.wait), settings=SETTINGS)
    async with closing(app):
        async with anyio.create_task_group() as first:
            first.start_soon(Call(app, LIFE).run)
            await diary.until("start 1")
            first.cancel_scope.cancel()
        go.set()
        assert (await Call(app, LIFE).run()).result == "1"


async def test_closing_gives_up_a_start() -> None:
    diary = Diary()
    app = asgi_app(declared(diary, start=anyio.sleep_forever), settings=SETTINGS)
    call = Call(app, LIFE)
    async with closing(app) as group:
        group.start_soon(call.run)
        await diary.until("start 1")
        await app.aclose()
        await call.until(lambda: call.finished)
    assert call.status == 503
    assert diary.entries == ["start 1"]


async def test_preparing_enters_it_before_the_first_request_and_closing_leaves_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary = Diary()
    app = asgi_app(declared(diary), settings=SETTINGS)
    async with closing(app):
        await app.prepare()
        await app.prepare()
        assert diary.entries == WHOLE[:2]
        assert (await Call(app, LIFE).run()).result == "1"
        await app.aclose()
        assert diary.entries == WHOLE
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_preparing_and_closing_raise_what_fails() -> None:
    app = asgi_app(declared(Diary(), start=refuse))
    with pytest.raises(LifespanError, match=r"no database at db\.internal"):
        await app.prepare()
    app = asgi_app(declared(Diary(), end=fail_to_flush))
    await app.prepare()
    for _ in range(2):
        with pytest.raises(LifespanError, match="cannot flush"):
            await app.aclose()
    assert (await Call(app, LIFE).run()).status == 503


async def test_closing_waits_for_the_calls_of_websockets() -> None:
    diary = Diary()
    app = asgi_app(declared(diary), settings=SETTINGS)
    wire = Wire(app, "mcp")
    async with closing(app) as group:
        group.start_soon(wire.run)
        assert (await wire.hear())["type"] == "websocket.accept"
        wire.text(ws_call(1, "wait"))
        await diary.until("call begins")
        await app.aclose()
        assert diary.entries[2:] == ["call begins", "call ends in life 1", "end 1", "ended 1"]


def test_the_end_of_the_event_loop_leaves_it(anyio_backend: Any) -> None:
    diaries: list[Diary] = []

    async def main() -> None:
        diaries.append(Diary())
        app = asgi_app(declared(diaries[0]), settings=SETTINGS)
        assert (await Call(app, LIFE).run()).result == "1"

    anyio.run(main, backend=anyio_backend)
    assert diaries[0].entries == WHOLE


async def test_an_endpoint_has_to_be_prepared() -> None:
    diary = Diary()
    endpoint = HttpEndpoint(declared(diary), settings=SETTINGS)
    request, body = taken_apart(LIFE)
    with pytest.raises(RuntimeError, match=r"has a lifespan: await prepare\(\) first"):
        endpoint.handle(request, body)
    assert diary.entries == []
    with anyio.fail_after(PATIENCE):
        await endpoint.prepare()
        with endpoint.handle(request, body) as call:
            assert (await collected(call)).result == "1"
        await endpoint.aclose()
        assert diary.entries == WHOLE
        with endpoint.handle(request, body) as call:
            assert (await collected(call)).status == 503


async def test_asking_who_sends_a_request_prepares_it() -> None:
    diary = Diary()
    endpoint = HttpEndpoint(declared(diary), settings=SETTINGS)
    request, body = taken_apart(LIFE)
    with anyio.fail_after(PATIENCE):
        principal = await endpoint.identify(request)
        with endpoint.handle(request, body, principal=principal) as call:
            assert (await collected(call)).result == "1"
        await endpoint.aclose()


async def test_under_an_asgi_server(anyio_backend: str) -> None:
    diary, stop = Diary(), anyio.Event()
    app = asgi_app(declared(diary), settings=SETTINGS)
    serve = _uvicorn if anyio_backend == "asyncio" else _hypercorn
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    with listener, anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(serve, app, listener, stop.wait, 20.0)
            await diary.until("started 1")
            async with connect(url) as client:
                assert (await client.call_tool("life")).text == "1"
            stop.set()
    assert diary.entries == WHOLE
