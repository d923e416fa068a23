"""The ASGI application called as an ASGI server would call it, on both event loops."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import StoreUnavailableError
from mcpcore.http.settings import HttpSettings
from mcpcore.service import Server
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import AsgiApp, AsgiMessage, asgi_app
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.clock import PATIENCE, patience
from tests.transports.http_fixture import hello, http, legacy, tool

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("USER", default="nobody")
TOKEN = {"progressToken": "p"}
INITIALIZE = hello()


class Site:
    """A server whose tools a test can steer."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server("site", version="1")
        self.seen: list[str] = []
        self.release = anyio.Event()
        self._changed = anyio.Event()
        for handler in (self.add, self.user, self.hold):
            self.server.tool(handler)

    def note(self, what: str) -> None:
        self.seen.append(what)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, what: str) -> None:
        with patience():
            while what not in self.seen:
                await self._changed.wait()

    def add(self, a: int, b: int) -> int:
        return a + b

    def user(self) -> str:
        return USER.get()

    async def hold(self, context: Context, steps: int = 1) -> str:
        """Reports progress, and waits for ``release``."""
        for step in range(steps):
            context.progress(step + 1, message="m" * 100)
        self.note("held")
        try:
            await self.release.wait()
        except BaseException:
            self.note("cancelled")
            raise
        self.note("released")
        return "held"


class Call:
    """One HTTP scope, from the side of the ASGI server."""

    def __init__(self, app: AsgiApp, request: bytes, **scope: Any) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        path, _, query = target.partition("?")
        self.app = app
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": version.removeprefix("HTTP/"),
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                [name.lower().encode(), value.encode()]
                for name, value in (line.split(": ", 1) for line in lines)
            ],
            "client": ["192.0.2.1", 5000],
            **scope,
        }
        self.sent: list[AsgiMessage] = []
        self.finished = False
        self._to_app: list[AsgiMessage] = [{"type": "http.request", "body": body}]
        self._news = anyio.Event()
        self._progress = anyio.Event()

    def say(self, *messages: AsgiMessage) -> None:
        """Have the application receive ``messages`` next."""
        self._to_app += messages
        self._news.set()

    def leave(self) -> None:
        self.say({"type": "http.disconnect"})

    def instead(self, *messages: AsgiMessage) -> "Call":
        """Have it receive ``messages`` in the place of the whole body."""
        self._to_app = list(messages)
        return self

    async def receive(self) -> AsgiMessage:
        while not self._to_app:
            self._news = anyio.Event()
            await self._news.wait()
        return self._to_app.pop(0)

    async def send(self, message: AsgiMessage) -> None:
        assert not self.finished
        self.sent.append(message)
        self.finished = message["type"].endswith("body") and not message.get("more_body", False)
        progress, self._progress = self._progress, anyio.Event()
        progress.set()

    async def run(self) -> "Call":
        with patience():
            await self.app(self.scope, self.receive, self.send)
        return self

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something sent makes ``condition`` true."""
        with patience():
            while not condition():
                await self._progress.wait()

    async def begun(self) -> None:
        """Wait for the first part of the body."""
        await self.until(lambda: self.body)

    @property
    def status(self) -> int:
        (start,) = [message for message in self.sent if message["type"].endswith("start")]
        status = start["status"]
        assert isinstance(status, int)
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def result(self) -> Any:
        return json.loads(self.body)["result"]["content"][0]["text"]


async def added(app: AsgiApp, **scope: Any) -> Call:
    """A call of "add", which is answered with 5."""
    return await Call(app, tool("add", a=2, b=3), **scope).run()


def options(**options: Any) -> ServeSettings:
    return ServeSettings(http_link=HttpServerSettings(drain_time=PATIENCE, **options))


@asynccontextmanager
async def mounted(
    settings: ServeSettings | None = None, **options: Any
) -> AsyncIterator[tuple[Site, AsgiApp]]:
    site = Site()
    app = asgi_app(site.server, settings=settings, **options)
    try:
        yield site, app
    finally:
        site.release.set()
        with patience():
            await app.aclose()


async def open_session(app: AsgiApp) -> str:
    call = await Call(app, legacy("initialize", INITIALIZE)).run()
    session = call.headers[b"mcp-session-id"].decode()
    done = await Call(app, legacy("notifications/initialized", id=None, session=session)).run()
    assert done.status == 202
    return session


def held(session: str | None = None, **arguments: Any) -> bytes:
    if session is None:
        return tool("hold", meta=TOKEN, **arguments)
    params = {"name": "hold", "arguments": arguments, "_meta": TOKEN}
    return legacy("tools/call", params, session=session)


async def test_the_first_request_needs_no_preparation() -> None:
    async with mounted() as (_, app):
        call = await added(app)
        assert (call.status, call.result) == (200, "5")
        assert call.finished
        assert len(call.sent) == 2


@pytest.mark.parametrize(
    ("root", "path", "endpoint", "status"),
    [
        ("", "/mcp", "/mcp", 200),
        ("/api", "/api/mcp", "/mcp", 200),
        ("/api/", "/api/mcp", "/mcp", 200),
        ("/api", "/mcp", "/mcp", 200),  # servers of before ASGI 2.4 leave the root out
        ("/mcp", "/mcp", "/", 200),
        ("/mcp", "/mcp/", "/", 200),
        ("/a/b", "/a/b/c", "/c", 200),
        ("/api", "/apimcp", "/mcp", 404),
        ("/api", "/api/mcp/mcp", "/mcp", 404),
        ("", "/mcp/", "/mcp", 404),
        ("/api", "/api", "/mcp", 404),
    ],
)
async def test_paths(root: str, path: str, endpoint: str, status: int) -> None:
    settings = ServeSettings(http=HttpSettings(path=endpoint))
    async with mounted(settings) as (_, app):
        assert (await added(app, root_path=root, path=path)).status == status


async def test_handlers_see_the_context_in_which_the_application_was_made() -> None:
    token = USER.set("maker")
    app = asgi_app(Site().server)
    USER.reset(token)
    USER.set("the first request")
    assert (await Call(app, tool("user")).run()).result == "maker"
    USER.set("the second request")
    assert (await Call(app, tool("user")).run()).result == "maker"
    await app.aclose()


async def test_the_parts_of_a_stream_are_sent_as_they_are_made() -> None:
    async with mounted() as (site, app), anyio.create_task_group() as tasks:
        call = Call(app, held(steps=2))
        tasks.start_soon(call.run)
        await call.until(lambda: call.body.count(b"data:") == 2)
        assert call.headers[b"content-type"] == b"text/event-stream"
        assert not call.finished
        site.release.set()
        await call.until(lambda: call.finished)
        assert call.body.count(b"data:") == 3


@pytest.mark.parametrize("raises", [False, True])
async def test_leaving_cancels_a_modern_request(raises: bool) -> None:
    class Told(Call):
        async def receive(self) -> AsgiMessage:
            message = await super().receive()
            if raises and message["type"] == "http.disconnect":
                raise OSError("gone")
            return message

    async with mounted() as (site, app), anyio.create_task_group() as tasks:
        call = Told(app, held())
        tasks.start_soon(call.run)
        await site.until("held")
        call.leave()
        await site.until("cancelled")
    assert not call.finished


async def test_the_end_of_the_request_task_is_leaving() -> None:
    async with mounted() as (site, app):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Call(app, held()).run)
            await site.until("held")
            tasks.cancel_scope.cancel()
        await site.until("cancelled")
        assert (await added(app)).result == "5"


async def test_to_a_client_that_leaves_before_the_reply_nothing_is_said() -> None:
    """But middleware has its response."""
    async with mounted() as (site, app), anyio.create_task_group() as tasks:
        part = {"type": "http.request", "body": b"{", "more_body": True}
        call = Call(app, tool("add")).instead(part, {"type": "http.disconnect"})
        await call.run()
        assert (call.status, call.body, call.finished) == (499, b"", True)
        call = Call(app, tool("hold", steps=0))
        tasks.start_soon(call.run)
        await site.until("held")
        call.leave()
        await call.until(lambda: call.finished)
        assert (call.status, call.body) == (499, b"")
        assert "cancelled" in site.seen


async def test_a_body_in_parts() -> None:
    async with mounted() as (_, app):
        request = tool("add", a=2, b=3)
        body = request.partition(b"\r\n\r\n")[2]
        parts: list[AsgiMessage] = [
            {"type": "http.request", "body": body[i : i + 7], "more_body": True}
            for i in range(0, len(body), 7)
        ]
        call = Call(app, request).instead(*parts, {"type": "http.request"})
        assert (await call.run()).result == "5"


async def test_a_reply_that_is_not_taken_is_given_up() -> None:
    async with mounted(options(write_time=0.1)) as (site, app):

        class Stuck(Call):
            async def send(self, message: AsgiMessage) -> None:
                await super().send(message)
                await anyio.sleep_forever()

        call = await Stuck(app, held()).run()
        await site.until("cancelled")
        assert (call.body, call.finished) == (b"", True)


async def test_a_client_that_is_gone_when_something_is_sent() -> None:
    async with mounted() as (site, app):

        class Gone(Call):
            async def send(self, message: AsgiMessage) -> None:
                raise OSError("gone")

        assert (await Gone(app, held()).run()).sent == []
        await site.until("cancelled")


@pytest.mark.parametrize("raises", [False, True])
async def test_middleware_that_has_read_the_body_cannot_tell_when_a_client_leaves(
    raises: bool,
) -> None:
    class Read(Call):
        asked = 0

        async def receive(self) -> AsgiMessage:
            self.asked += 1
            if self.asked > (1 if raises else 9):
                raise RuntimeError("nothing more is expected")
            return self._to_app[0]

    async with mounted() as (site, app), anyio.create_task_group() as tasks:
        call = Read(app, held())
        tasks.start_soon(call.run)
        await site.until("held")
        site.release.set()
        await call.until(lambda: call.finished)
        assert b'"held"' in call.body
        assert call.asked < 9  # it goes on for as long as it is asked


async def test_what_a_server_raises_comes_out_as_it_is() -> None:
    async with mounted() as (_, app):

        class Broken(Call):
            async def send(self, message: AsgiMessage) -> None:
                raise KeyError("broken")

        with pytest.raises(KeyError):
            await Broken(app, held()).run()


async def test_the_scheme_of_an_origin_is_that_of_the_scope() -> None:
    async with mounted() as (_, app):
        for scheme, status in (("https", 200), ("http", 403)):
            request = tool("add", a=1, b=1, headers={"Origin": "https://localhost"})
            assert (await Call(app, request, scheme=scheme).run()).status == status


@pytest.mark.parametrize(("version", "closes"), [("1.0", True), ("1.1", True), ("2", False)])
async def test_only_http_1_knows_connections(version: str, closes: bool) -> None:
    async with mounted() as (_, app):
        request = http(b"x", headers={"Content-Length": "99999999"})
        call = await Call(app, request, http_version=version).run()
        assert call.status == 413
        assert (b"connection" in call.headers) is closes


async def test_a_body_of_http_2_needs_no_length() -> None:
    async with mounted() as (_, app):
        request = tool("add", a=2, b=3, headers={"Content-Length": None})
        assert (await Call(app, request, http_version="2").run()).result == "5"
        assert (await Call(app, request).run()).status == 400


async def test_a_short_body_is_read_though_the_head_is_refused() -> None:
    async with mounted() as (_, app):
        call = Call(app, tool("add", headers={"Host": "evil.example"}))
        assert (await call.run()).status == 403
        call.leave()
        assert (await call.receive())["type"] == "http.disconnect"  # the body was taken


async def test_a_principal_that_cannot_be_told_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mounted(principal=lambda scope: str(scope["nothing"])) as (_, app):
        assert (await added(app)).status == 500
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("hosts", [None, ("tools.example",)])
async def test_hosts(hosts: tuple[str, ...] | None) -> None:
    settings = ServeSettings(allowed_hosts=hosts)
    async with mounted(settings) as (_, app):
        call = Call(app, tool("add", a=1, b=1, headers={"Host": "tools.example"}))
        assert (await call.run()).status == (200 if hosts else 403)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"revisions": ["1999-01-01"]}, "1999-01-01"),
        ({"settings": ServeSettings(allowed_origins=("example.com",))}, "example.com"),
        ({"settings": ServeSettings(allowed_hosts=("a b",))}, "a b"),
    ],
)
def test_settings_are_read_when_the_application_is_made(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        asgi_app(Site().server, **options)


async def test_revisions() -> None:
    async with mounted(revisions=["2026-07-28"]) as (_, app):
        assert (await Call(app, http(method="GET")).run()).status == 405
        assert (await added(app)).result == "5"


# The end


class Lifespan(Call):
    """The lifespan of an application."""

    def __init__(self, app: AsgiApp) -> None:
        super().__init__(app, http(), type="lifespan")
        self.instead({"type": "lifespan.startup"})

    async def said(self, what: str) -> None:
        await self.until(lambda: any(message["type"] == what for message in self.sent))


async def test_a_lifespan_ends_when_requests_have_been_answered() -> None:
    async with mounted() as (site, app), anyio.create_task_group() as tasks:
        span, call = Lifespan(app), Call(app, held())
        tasks.start_soon(span.run)
        await span.said("lifespan.startup.complete")
        tasks.start_soon(call.run)
        await site.until("held")
        span.say({"type": "lifespan.shutdown"})
        while (await added(app)).status != 503:
            await anyio.lowlevel.checkpoint()
        assert not call.finished
        site.release.set()
        await span.said("lifespan.shutdown.complete")
        assert b'"text":"held"' in call.body


async def test_what_does_not_end_in_time_is_stopped() -> None:
    settings = ServeSettings(http_link=HttpServerSettings(drain_time=0.1))
    async with mounted(settings) as (site, app), anyio.create_task_group() as tasks:
        session = await open_session(app)
        calls = [Call(app, held()), Call(app, held(session))]
        for call in calls:
            tasks.start_soon(call.run)
            await call.begun()
        await app.aclose()
        await site.until("cancelled")
        assert site.seen.count("cancelled") == 2
    assert all(call.finished for call in calls)


async def test_a_reply_that_has_not_begun_when_time_is_up_says_why() -> None:
    settings = ServeSettings(http_link=HttpServerSettings(drain_time=0.1))
    async with mounted(settings) as (site, app), anyio.create_task_group() as tasks:

        class Slow(Call):
            async def send(self, message: AsgiMessage) -> None:
                await anyio.lowlevel.checkpoint()
                await super().send(message)

        call = Slow(app, tool("hold", steps=0))
        tasks.start_soon(call.run)
        await site.until("held")
        await app.aclose()
        await call.until(lambda: call.finished)
        assert call.status == 503


async def test_a_lifespan_may_come_again() -> None:
    async with mounted() as (_, app):
        for _ in range(2):
            span = Lifespan(app)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(span.run)
                await span.said("lifespan.startup.complete")
                assert (await added(app)).status == 200
                span.say({"type": "lifespan.shutdown"})


def test_each_event_loop_has_sessions_of_its_own(anyio_backend: Any) -> None:
    app = asgi_app(Site().server)

    async def first() -> str:
        return await open_session(app)

    async def second(session: str) -> tuple[int, int]:
        lost = await Call(app, legacy("ping", session=session)).run()
        fresh = await Call(app, legacy("ping", session=await open_session(app))).run()
        return lost.status, fresh.status

    session = anyio.run(first, backend=anyio_backend)
    assert anyio.run(second, session, backend=anyio_backend) == (404, 200)


async def test_a_failure_of_ours_ends_nothing_for_good(caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(Server):
        sound = False

        def watch(self, changed: Any) -> None:
            if not self.sound:
                self.sound = True
                raise RuntimeError("fragile")
            super().watch(changed)

    app = asgi_app(Site(Fragile("site", version="1")).server)
    assert (await added(app)).status == 503
    assert "fragile" in caplog.text
    assert (await added(app)).result == "5"
    await app.aclose()


# Stores


async def test_applications_share_sessions_through_a_store() -> None:
    settings = ServeSettings(store=MemoryStore())
    async with mounted(settings) as (_, one), mounted(settings) as (_, other):
        session = await open_session(one)
        params = {"name": "add", "arguments": {"a": 2, "b": 3}}
        for app in (other, one, other):
            call = await Call(app, legacy("tools/call", params, session=session)).run()
            assert b'"text":"5"' in call.body


async def test_a_store_that_comes_late() -> None:
    class Late(MemoryStore):
        there = False

        def secret(self) -> bytes:
            if not self.there:
                raise StoreUnavailableError("not yet")
            return super().secret()

    store = Late()
    origin = "https://app.example"
    settings = ServeSettings(store=store, allowed_origins=(origin,))
    async with mounted(settings) as (_, app):
        refused = await Call(app, tool("add", a=2, b=3, headers={"Origin": origin})).run()
        assert (refused.status, b"retry-after" in refused.headers) == (503, True)
        assert refused.headers[b"access-control-allow-origin"] == origin.encode()
        foreign = await Call(app, tool("add", headers={"Origin": "https://evil.example"})).run()
        assert b"access-control-allow-origin" not in foreign.headers
        assert b"not yet" not in refused.body
        store.there = True
        assert (await added(app)).result == "5"


# Other protocols


async def test_websocket_is_refused_with_a_status_where_that_can_be() -> None:
    async with mounted() as (_, app):
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        call = Call(app, http(), type="websocket", extensions=extensions)
        await call.instead({"type": "websocket.connect"}).run()
        assert (call.status, call.body) == (404, b"WebSocket is not served here\n")
        call = Call(app, http(), type="websocket")
        await call.instead({"type": "websocket.connect"}).run()
        assert [message["type"] for message in call.sent] == ["websocket.close"]


async def test_an_unknown_protocol() -> None:
    async with mounted() as (_, app):
        with pytest.raises(ValueError, match="smtp"):
            await Call(app, http(), type="smtp").run()
