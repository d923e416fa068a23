"""Requests handed in by a framework: the call, its actions, and who gives up when."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from msgspec import structs

from mcpcore import Context, HttpServerSettings, HttpSettings, ServeSettings
from mcpcore.http.documents import DocumentReply
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore_transports.serve.endpoint import Action, HttpCall, HttpEndpoint, http_request
from tests.clock import HOUR, PATIENCE, Clock, patience
from tests.transports.http_fixture import http, legacy, tool
from tests.transports.serve.test_asgi import INITIALIZE, Site, held

pytestmark = pytest.mark.anyio


CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}


def taken_apart(request: bytes) -> tuple[HttpRequest, bytes]:
    """What a framework would know of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = [(name, value) for name, value in (line.split(": ", 1) for line in lines)]
    return http_request(method, target, headers, peer="192.0.2.1:5000"), body


class Reply:
    """What a call had done, put together."""

    def __init__(self, actions: list[Action]) -> None:
        head = actions[0]
        assert isinstance(head, HttpHead)
        self.status = head.status
        self.headers = dict(head.headers)
        self.body = b"".join(action.data for action in actions if isinstance(action, HttpChunk))
        self.complete = isinstance(actions[-1], HttpEnd)
        self.close = isinstance(actions[-1], HttpEnd) and actions[-1].close

    @property
    def result(self) -> Any:
        return json.loads(self.body)["result"]["content"][0]["text"]


class Framework:
    """An endpoint, and the tools behind it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.site = Site()
        self.endpoint = HttpEndpoint(self.site.server, settings=settings)

    def handle(self, request: bytes, principal: str | None = None) -> HttpCall:
        return self.endpoint.handle(*taken_apart(request), principal=principal)

    def begin(self, request: bytes) -> tuple[HttpCall, bytes]:
        """Handle a request whose body is yet to be fed."""
        head, body = taken_apart(request)
        return self.endpoint.handle(head), body

    async def ask(self, request: bytes, principal: str | None = None) -> Reply:
        with self.handle(request, principal) as call:
            return await collected(call)

    async def session(self, principal: str | None = None) -> str:
        reply = await self.ask(legacy("initialize", INITIALIZE), principal)
        session = reply.headers[b"mcp-session-id"].decode()
        initialized = legacy("notifications/initialized", id=None, session=session)
        assert (await self.ask(initialized, principal)).status == 202
        return session


async def collected(call: HttpCall) -> Reply:
    with patience():
        return Reply([action async for action in call])


@asynccontextmanager
async def framework(
    settings: ServeSettings | None = None, **bounds: Any
) -> AsyncIterator[Framework]:
    link = HttpServerSettings(drain_time=PATIENCE, **bounds)
    made = Framework(settings or ServeSettings(http_link=link))
    try:
        yield made
    finally:
        made.site.release.set()
        with patience():  # a call that was not parted with would hold this up
            await made.endpoint.aclose()


async def test_a_whole_request() -> None:
    async with framework() as site:
        reply = await site.ask(tool("add", a=2, b=3))
        assert (reply.status, reply.result) == (200, "5")
        assert int(reply.headers[b"content-length"]) == len(reply.body)
        assert reply.complete
        assert not reply.close


async def test_a_whole_body_needs_no_length() -> None:
    async with framework() as site:
        reply = await site.ask(tool("add", a=2, b=3, headers={"Content-Length": None}))
        assert reply.result == "5"


async def test_a_body_in_parts() -> None:
    async with framework() as site:
        call, body = site.begin(tool("add", a=2, b=3))
        assert call.wanted == len(body)
        for byte in body[:-1]:
            call.feed(bytes([byte]))
        call.feed(body[-1:], end=True)
        assert call.wanted == 0
        assert (await collected(call)).result == "5"


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "the first request"])
async def test_a_body_is_wanted_no_longer_than_it_is_short_enough(begun: bool) -> None:
    async with framework(ServeSettings(http=HttpSettings(max_body=1000))) as site:
        if begun:
            await site.ask(tool("add", a=1, b=1))
        call, _ = site.begin(http(b"", headers=CHUNKED))
        assert call.wanted == 1000
        call.feed(b" " * 1000)
        assert call.wanted
        call.feed(b" ")
        assert not call.wanted
        call.feed(b"more", end=True)  # is not looked at
        reply = await collected(call)
        assert (reply.status, reply.close) == (413, True)


async def test_a_refused_head_wants_no_body() -> None:
    async with framework() as site:
        call, _ = site.begin(tool("add", headers={"Host": "evil.example"}))
        assert not call.wanted
        assert (await collected(call)).status == 403


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (http(method="GET", target=f"/mcp?{'x' * 200}"), 414),
        (http(method="GET", headers={"X": "x" * 500}), 431),
        (http(headers={"Content-Length": "2", "Transfer-Encoding": "chunked"}), 400),
        (http(method="GET", headers={f"X-{n}": "" for n in range(12)}), 431),
        (http(method="GET"), 400),
    ],
    ids=["target", "size", "both lengths", "count", "none of these"],
)
async def test_bounds_of_a_head(request_: bytes, status: int) -> None:
    async with framework(request_line=100, header_bytes=400, header_count=10) as site:
        reply = await site.ask(request_)
        assert reply.status == status


async def test_head_has_no_body() -> None:
    async with framework() as site:
        reply = await site.ask(http(method="HEAD", target="/health"))
        assert (reply.status, reply.headers[b"content-length"], reply.body) == (200, b"16", b"")
        refused = await site.ask(http(method="HEAD", target=f"/{'x' * 9000}"))
        assert (refused.status, refused.body, refused.close) == (414, b"", True)


async def test_actions_come_as_they_are_made() -> None:
    async with framework() as site:
        call = site.handle(held(steps=1))
        with patience():
            head, progress = await anext(call), await anext(call)
            assert isinstance(head, HttpHead)
            assert isinstance(progress, HttpChunk)
            assert b"notifications/progress" in progress.data
            site.site.release.set()
            last = [action async for action in call]
        assert isinstance(last[0], HttpChunk)
        assert b'"text":"held"' in last[0].data
        assert last[-1] == HttpEnd(head.exchange)
        with pytest.raises(StopAsyncIteration):
            await anext(call)


async def test_what_is_not_asked_for_is_not_made() -> None:
    """The handler goes on when its messages are taken, and not before."""
    async with framework() as site:
        made: list[int] = []
        server = site.site.server

        @server.tool
        async def flood(count: int, context: Context) -> int:
            for number in range(count):
                context.progress(number + 1, message="x" * 10_000)
                await context.drained()
                made.append(number)
            return count

        call = site.handle(tool("flood", meta={"progressToken": "p"}, count=50))
        taken = 0
        with patience():
            async for action in call:
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                if isinstance(action, HttpChunk):
                    taken += action.data.count(b"notifications/progress")
                    assert len(made) <= taken + 1
        assert made == list(range(50))


async def test_parting_with_a_call_cancels_a_modern_request() -> None:
    async with framework() as site:
        with site.handle(held()) as call:
            await anext(call)
        await site.site.until("cancelled")
        call.close()
        with pytest.raises(StopAsyncIteration):
            await anext(call)


async def test_parting_with_a_call_detaches_a_legacy_request() -> None:
    async with framework() as site:
        session = await site.session()
        with site.handle(held(session)) as call:
            await anext(call)
            event = await anext(call)
            assert isinstance(event, HttpChunk)
        cursor = re.search(rb"id: (.*)\n", event.data)
        assert cursor is not None
        site.site.release.set()
        await site.site.until("released")
        headers = {
            "Accept": "text/event-stream",
            "Mcp-Session-Id": session,
            "Last-Event-ID": cursor[1].decode(),
        }
        reply = await site.ask(http(method="GET", headers=headers))
        assert b'"text":"held"' in reply.body


async def test_whoever_is_cancelled_while_waiting_has_parted_with_the_call() -> None:
    async with framework() as site:
        call = site.handle(held())
        async with anyio.create_task_group() as tasks:

            async def consume() -> None:
                async for _ in call:
                    pass

            tasks.start_soon(consume)
            await site.site.until("held")
            tasks.cancel_scope.cancel()
        await site.site.until("cancelled")
        assert [action async for action in call] == []


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_call_that_nobody_takes_from_is_given_up(taken: int, clock: Clock) -> None:
    async with framework(write_time=HOUR) as site:
        call = site.handle(held())
        for _ in range(taken):
            await anext(call)
        await clock.skip_until(lambda: "cancelled" in site.site.seen)
        rest = [action async for action in call]
        if taken:
            assert HttpEnd not in map(type, rest)
        else:
            assert Reply(rest).status == 503


@pytest.mark.parametrize("end", [HttpCall.expire, HttpCall.stop])
async def test_a_refusal_that_nobody_takes_is_given_up(end: Callable[[HttpCall], None]) -> None:
    async with framework() as site:
        call = site.handle(http(headers={f"X-{i}": "1" for i in range(200)}))
        end(call)
        assert [each.status for each in call.ready() if isinstance(each, HttpHead)] == [431]


async def test_a_page_that_fails_keeps_no_room() -> None:
    def page(request: HttpRequest) -> DocumentReply:
        raise KeyError("broken")

    settings = ServeSettings(
        http=HttpSettings(pages={"/page": page}), http_link=HttpServerSettings(connections=1)
    )
    async with framework(settings) as site:
        with pytest.raises(KeyError):
            site.handle(http(method="GET", target="/page"))
        assert (await site.ask(tool("add", a=1, b=1))).status == 200


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with framework(body_time=0.1) as site:
        call, body = site.begin(tool("add", a=1, b=1))
        call.feed(body[:10])
        reply = await collected(call)
        assert (reply.status, reply.close) == (408, True)
        call.feed(body[10:], end=True)  # too late, and nobody minds


async def test_too_many_calls() -> None:
    async with framework(connections=2) as site:
        with site.handle(held()), site.handle(held()):
            reply = await site.ask(tool("add", a=1, b=1))
            assert reply.status == 503
        assert (await site.ask(tool("add", a=1, b=1))).status == 200


async def test_too_many_calls_of_one_address() -> None:
    async with framework(connections_per_client=2) as site:

        def handle(peer: str | None) -> HttpCall:
            head, body = taken_apart(held())
            return site.endpoint.handle(structs.replace(head, peer=peer), body)

        async def status(peer: str | None) -> int:
            head, body = taken_apart(tool("add", a=1, b=1))
            with site.endpoint.handle(structs.replace(head, peer=peer), body) as call:
                return (await collected(call)).status

        with handle("192.0.2.1:5000"), handle("192.0.2.1:6000") as second:
            assert await status("192.0.2.1:7000") == 503
            assert await status("192.0.2.2:5000") == 200
            second.close()
            second.close()  # a second time gives no second place
            assert await status("192.0.2.1:7000") == 200
            with handle("192.0.2.1:8000"):
                assert await status("192.0.2.1:7000") == 503
        with handle("[2001:db8::1]:5000"), handle("[2001:db8::2]:5000"):
            assert await status("[2001:db8::3]:5000") == 503
            assert await status("[2001:db8:0:1::3]:5000") == 200
        with handle(None), handle(None):  # whoever they are, they are not one
            assert await status(None) == 200
        assert await status("[2001:db8::3]:5000") == 200


async def test_pages_that_may_call_can_read_why_a_head_is_refused() -> None:
    app = "https://app.example"
    link = HttpServerSettings(header_count=20)
    settings = ServeSettings(http_link=link, allowed_origins=(app,))
    async with framework(settings) as site:
        for origin in (app, "https://evil.example"):
            many: dict[str, str | None] = {f"X-{i}": "1" for i in range(30)}
            reply = await site.ask(http(method="GET", headers={**many, "Origin": origin}))
            assert reply.status == 431
            allowed = reply.headers.get(b"access-control-allow-origin")
            assert allowed == (app.encode() if origin == app else None)


async def test_sessions_are_bound_to_principals() -> None:
    async with framework() as site:
        session = await site.session("ada")
        ping = legacy("ping", session=session)
        assert (await site.ask(ping, "ada")).status == 200
        assert (await site.ask(ping, "bob")).status == 404
        assert (await site.ask(ping)).status == 404


async def test_after_the_end_there_is_503() -> None:
    async with framework() as site:
        call, body = site.begin(tool("add", a=1, b=1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.endpoint.aclose)
            call.feed(body, end=True)
            assert (await collected(call)).result == "2"
        reply = await site.ask(tool("add", a=1, b=1))
        assert (reply.status, reply.close) == (503, True)


async def test_after_the_end_there_is_503_though_nobody_had_come() -> None:
    async with framework() as site:
        await site.endpoint.aclose()
        assert site.endpoint.closing
        reply = await site.ask(tool("add", a=1, b=1))
        assert (reply.status, reply.close) == (503, True)
        await site.endpoint.aclose()
        site.endpoint.reopen()
        assert (await site.ask(tool("add", a=1, b=1))).status == 200


async def test_each_event_loop_has_its_own_end(anyio_backend_name: str) -> None:
    asked = tool("add", a=1, b=1)
    async with framework() as site:

        async def elsewhere() -> list[int]:
            statuses = [(await site.ask(asked)).status]
            await site.endpoint.aclose()
            return [*statuses, (await site.ask(asked)).status]

        def run() -> list[int]:
            return anyio.run(elsewhere, backend=anyio_backend_name)

        for _ in range(3):
            assert await anyio.to_thread.run_sync(run) == [200, 503]
            assert (await site.ask(asked)).status == 200
        await site.endpoint.aclose()
        await anyio.to_thread.run_sync(run)
        assert (await site.ask(asked)).status == 503
        assert len(site.endpoint._running) <= 2  # nothing is kept of loops that are over


def test_there_has_to_be_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        Framework(ServeSettings()).handle(tool("add"))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/mcp", "/mcp", ""),
        ("/mcp?a=b?c", "/mcp", "a=b?c"),
        ("http://localhost:80/mcp", "/mcp", ""),
        ("HTTP://LOCALHOST:80", "/", ""),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    request = http_request("GET", target, [("Host", "localhost:80"), ("X-ä", "ö")])
    assert (request.path, request.query) == (path, query)
    assert request.headers == [(b"host", b"localhost:80"), (b"x-\xe4", b"\xf6")]


@pytest.mark.parametrize("target", ["/mcp#part", "http://evil.example/mcp"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ValueError, match="request target"):
        http_request("GET", target, [(b"Host", b"localhost")])
