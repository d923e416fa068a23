"""Health checks of the application: how they fail, and what /health then says."""

import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from mcpcore import (
    HttpChunk,
    HttpEndpoint,
    HttpHead,
    RuntimeSettings,
    Server,
    ServeSettings,
    ToolError,
    http_request,
)
from tests.clock import PATIENCE
from tests.command import mcpcore_here
from tests.transports.served import served

pytestmark = pytest.mark.anyio

QUICK = RuntimeSettings(health_interval=0.001, health_timeout=0.01)
USUAL = RuntimeSettings(health_interval=0.001)


@asynccontextmanager
async def asking(
    server: Server, settings: RuntimeSettings = USUAL
) -> AsyncIterator[Callable[[Mapping[str, str]], Any]]:
    """Serve; gives a function that waits until exactly these checks fail."""
    endpoint = HttpEndpoint(server, settings=ServeSettings(runtime=settings))

    async def asked(path: str = "/health") -> tuple[int, Any]:
        request = http_request("GET", path, [("host", "localhost")])
        with endpoint.handle(request, b"") as call:
            head, *rest = [action async for action in call]
        assert isinstance(head, HttpHead)
        body = b"".join(each.data for each in rest if isinstance(each, HttpChunk))
        return head.status, json.loads(body)

    async def until(failing: Mapping[str, str]) -> None:
        wanted = {"status": "unavailable", "reason": "a check fails", "checks": failing}
        with anyio.fail_after(PATIENCE):
            while (found := await asked()) != (
                (503, wanted) if failing else (200, {"status": "ok"})
            ):
                assert found[0] in (200, 503)
                await anyio.lowlevel.checkpoint()
        assert await asked("/health/live") == (200, {"status": "ok"})

    await endpoint.prepare()
    try:
        yield until
    finally:
        await endpoint.aclose()


async def test_what_fails_is_told_until_it_is_well() -> None:
    server, broken = Server("shop", version="1"), set[str]()

    @server.health_check
    async def database() -> None:
        if "database" in broken:
            raise ToolError("no connection")

    @server.health_check
    def disk() -> bool:
        return "disk" not in broken

    @server.health_check
    async def queue() -> None:
        if "queue" in broken:
            raise RuntimeError("amqp://user:password@host")

    async with asking(server) as until:
        await until({})
        broken |= {"database", "disk", "queue"}
        await until({"database": "no connection", "disk": "failed", "queue": "failed"})
        broken -= {"disk", "queue"}
        await until({"database": "no connection"})
        broken.clear()
        await until({})


async def test_changes_are_logged_and_a_check_that_fails_from_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, broken = Server("shop", version="1"), {"disk"}

    @server.health_check
    async def disk() -> bool:
        return "disk" not in broken

    @server.health_check
    async def queue() -> None:
        pass

    with caplog.at_level(logging.INFO, "mcpcore.health"):
        async with asking(server) as until:
            await until({"disk": "failed"})
            broken.clear()
            await until({})
    assert caplog.messages == [
        "the health check disk fails: failed",
        "the health check disk is well",
    ]


async def test_a_check_that_hangs_has_failed_and_disturbs_no_other() -> None:
    server, released, calls = Server("shop", version="1"), threading.Event(), list[int]()

    @server.health_check
    async def endless() -> None:
        await anyio.sleep_forever()

    @server.health_check
    def blocking() -> None:
        calls.append(1)
        released.wait()

    try:
        async with asking(server, QUICK) as until:
            slow = "took longer than 0.01 s"
            for _ in range(3):
                await until({"endless": slow, "blocking": "has not ended yet"})
            assert calls == [1], "a thread that does not end is not joined by others"
            released.set()
            await until({"endless": slow})
    finally:
        released.set()


async def test_a_check_that_returns_what_nobody_awaits_has_failed() -> None:
    server = Server("shop", version="1")

    class Later:
        def __await__(self) -> Iterator[None]:
            yield

    @server.health_check
    def check() -> Any:
        return Later()

    async with asking(server) as until:
        await until({"check": "returns an awaitable, and is no coroutine function"})


@pytest.mark.parametrize("error", [SystemExit(3), TimeoutError("the database"), KeyError("x")])
async def test_no_exception_of_a_check_ends_the_server(error: BaseException) -> None:
    server = Server("shop", version="1")

    @server.health_check
    async def check() -> None:
        raise error

    async with asking(server) as until:
        await until({"check": "failed"})


async def test_checks_have_the_lifespan_of_their_server() -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        yield "open"

    stock = Server("stock", version="1", lifespan=opened)
    shop = Server("shop", version="1")
    seen = set[object]()

    @stock.health_check
    def shelf(lifespan: str) -> None:
        seen.add(("shelf", lifespan))

    @shop.health_check
    async def till(lifespan: None) -> None:
        seen.add(("till", lifespan))
        raise ToolError("empty")

    shop.mount(stock, "stock_")
    assert [*shop.health_checks] == ["stock: shelf", "till"]
    async with asking(shop) as until:
        await until({"till": "empty"})
    assert seen == {("shelf", "open"), ("till", None)}


def test_what_is_no_check_is_refused() -> None:
    server = Server("shop", version="1")

    @server.health_check
    def check() -> None:
        """Well."""

    with pytest.raises(ValueError, match="'check' is declared already"):
        server.health_check(check)

    def other(one: int, two: int) -> None:
        """Take too much."""

    with pytest.raises(TypeError, match="one, two; expected the lifespan's value or nothing"):
        server.health_check(other)


@pytest.mark.parametrize("failing", [{}, {"database": "no connection"}], ids=["well", "not"])
async def test_the_command_tells_by_its_status(failing: dict[str, str]) -> None:
    server = Server("shop", version="1")

    @server.health_check
    async def database() -> None:
        if failing:
            raise ToolError(failing["database"])

    async with served(server) as site:
        ask = partial(mcpcore_here, "probe", "--health", site.url)
        while "not checked yet" in (done := await anyio.to_thread.run_sync(ask)).stdout:
            pass
    assert done.returncode == (1 if failing else 0)
    assert json.loads(done.stdout).get("checks", {}) == failing


@pytest.mark.parametrize(
    "body", ["<p>Welcome</p>", "[]", '"ok"', '{"status": "failing"}', "[" * 9000, "\x1b[2J"]
)
def test_a_page_of_another_server_is_no_health(body: str) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        done = mcpcore_here("probe", "--health", f"http://127.0.0.1:{site.server_port}/mcp")
        site.shutdown()
    told = '/health answers no JSON with "status": "ok"\n'
    shown = body.replace("\x1b", r"\x1b")
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{shown}\n", told)


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("http://127.0.0.1:1/mcp", 3, "127.0.0.1:1/health: connection refused"),
        ("ws://127.0.0.1:1/mcp", 2, "--health is for servers over http and https"),
    ],
)
def test_the_command_says_that_nobody_answers(target: str, status: int, said: str) -> None:
    done = mcpcore_here("probe", "--health", target)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
