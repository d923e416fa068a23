"""The listener for the callback: whom it hears, what it answers, and when it is gone."""

import errno
import socket

import anyio
import pytest

from mcpcore.errors import AuthorizationError, UrlRefused
from mcpcore_transports.auth.callback import CallbackListener, has_state, listen
from tests.clock import Clock, patience, turns, until
from tests.ports import free_port

pytestmark = pytest.mark.anyio

STATE = "the-state"


def port_of(listener: CallbackListener) -> int:
    return int(listener.url.rpartition(":")[2].partition("/")[0])


async def say(port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
    """Send bytes; return all that comes back."""
    answer = b""
    with patience():
        async with await anyio.connect_tcp(host, port) as stream:
            try:
                await stream.send(data)
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


def get(query: str, port: int, *, path: str = "/callback", method: str = "GET") -> bytes:
    return f"{method} {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


class Waiting:
    """A listener that is waited at, in a task of its own."""

    def __init__(self, listener: CallbackListener) -> None:
        self.listener = listener
        self.port = port_of(listener)
        self.query: str | None = None
        self.error: AuthorizationError | None = None

    async def run(self) -> None:
        try:
            self.query = await self.listener.wait(STATE)
        except AuthorizationError as error:
            self.error = error


async def closed(port: int, host: str = "127.0.0.1") -> bool:
    try:
        stream = await anyio.connect_tcp(host, port)
    except OSError:
        return True
    await stream.aclose()
    return False


async def test_a_callback_is_received_and_the_port_is_closed() -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        answer = await say(waiting.port, get(f"code=c&state={STATE}&iss=x", waiting.port))
    assert waiting.query == f"code=c&state={STATE}&iss=x"
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"content-security-policy: default-src 'none'" in answer
    assert b"cache-control: no-store" in answer
    assert b"code" not in answer
    assert await closed(waiting.port)
    await waiting.listener.aclose()  # once more is nothing


async def test_a_browser_has_the_cookies_of_other_programs_here() -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        asked = get(f"code=c&state={STATE}", waiting.port)
        cookies = b"Cookie: " + b"; ".join([b"program=" + b"x" * 1000] * 30)
        assert b" 200 " in await say(
            waiting.port, asked.removesuffix(b"\r\n") + cookies + b"\r\n\r\n"
        )


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ECONNABORTED])
async def test_a_connection_that_is_not_accepted_is_not_the_last(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptors are left for a time, or who has connected is gone already."""
    accept, failures = socket.socket.accept, [code] * 2

    def fail(bound: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise OSError(failures.pop(), "no")
        return accept(bound)

    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        monkeypatch.setattr(socket.socket, "accept", fail)
        assert b" 200 " in await say(waiting.port, get(f"code=c&state={STATE}", waiting.port))
    assert waiting.query == f"code=c&state={STATE}"
    assert failures == []


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /other?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 404),
        ("GET /callback/?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 404),
        ("GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:{port}", 404),
        (
            "GET http://127.0.0.1:{port}/callback?code=c&state=the-state HTTP/1.1\r\n"
            "Host: 127.0.0.1:{port}",
            404,
        ),
        ("POST /callback?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 405),
        ("HEAD /callback?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 405),
        ("OPTIONS /callback?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 405),
        ("GET /callback?code=c&state=the-state HTTP/1.1\r\nHost: evil.example:{port}", 421),
        ("GET /callback?code=c&state=the-state HTTP/1.1\r\nHost: 127.0.0.1", 421),
        ("GET /callback?code=c&state=the-state HTTP/1.1\r\nHost: localhost:{port}", 421),
        ("GET /callback?code=c&state=the-state HTTP/1.0", 421),
        ("GET /callback?code=c&state=the-state HTTP/1.1", 400),
        ("GET /callback?code=c&state=The-State HTTP/1.1\r\nHost: 127.0.0.1:{port}", 400),
        ("GET /callback?code=c HTTP/1.1\r\nHost: 127.0.0.1:{port}", 400),
        ("GET /callback HTTP/1.1\r\nHost: 127.0.0.1:{port}", 400),
        ("GET /callback?state=x&state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 400),
        (
            "GET /callback?error=<script>alert(1)</script>&state=x HTTP/1.1\r\n"
            "Host: 127.0.0.1:{port}",
            400,
        ),
        ("GET /callback?" + "a&" * 40 + "state=the-state HTTP/1.1\r\nHost: 127.0.0.1:{port}", 400),
        ("GET /callback?state=the-state&x=" + "x" * 9000 + " HTTP/1.1\r\nHost: h", 431),
        ("GET /callback?state=the-state&x=" + "x" * 1_000_000 + " HTTP/1.1\r\nHost: h", 431),
        ("GET /callback?state=the-state HTTP/1.1\r\nHost: h\r\nX: " + "x" * 70_000, 431),
        ("\x16\x03\x01 TLS", 431),
        ("nonsense", 400),
    ],
)
async def test_nothing_else_is_heard(request_text: str, status: int) -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        data = request_text.replace("{port}", str(waiting.port)).encode("latin-1")
        answer = await say(waiting.port, data + b"\r\n\r\n")
        if len(data) < 8192:  # else the rest of it may be the reason of a reset
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"<script>" not in answer
        assert waiting.query is None
        answer = await say(waiting.port, get(f"code=c&state={STATE}", waiting.port))
        assert answer.startswith(b"HTTP/1.1 200 ")
    assert waiting.query == f"code=c&state={STATE}"


async def test_ten_wrong_states_are_enough() -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        for number in range(10):
            assert waiting.error is None
            answer = await say(waiting.port, get(f"code=c&state={number}", waiting.port))
            assert answer.startswith(b"HTTP/1.1 400 ")
    assert "10 callbacks with a wrong state" in str(waiting.error)
    await waiting.listener.aclose()
    assert await closed(waiting.port)


async def test_what_a_web_page_asks_for_here_ends_nothing() -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        asked = get("state=x", waiting.port).removesuffix(b"\r\n")
        for _ in range(11):
            answer = await say(waiting.port, asked + b"Sec-Fetch-Dest: image\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ")
        await say(waiting.port, get(f"code=c&state={STATE}", waiting.port))
    assert waiting.query == f"code=c&state={STATE}"


async def test_slow_senders_keep_nobody_waiting(clock: Clock) -> None:
    waiting = Waiting(await listen("http://127.0.0.1/callback"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        slow = [await anyio.connect_tcp("127.0.0.1", waiting.port) for _ in range(16)]
        await slow[0].send(b"GET /callback")
        await turns()
        assert await say(waiting.port, b"") == b""  # the seventeenth is closed
        await clock.skip(5.1)
        for stream in slow:
            with patience(), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            await stream.aclose()
        held = await anyio.connect_tcp("127.0.0.1", waiting.port)
        answer = await say(waiting.port, get(f"code=c&state={STATE}", waiting.port))
        assert answer.startswith(b"HTTP/1.1 200 ")
        await until(lambda: waiting.query)
        await held.aclose()


async def test_a_port_that_is_taken_is_an_error() -> None:
    port = free_port()
    taken = socket.create_server(("127.0.0.1", port))
    with taken, pytest.raises(AuthorizationError, match="no callback can be received"):
        await listen(f"http://127.0.0.1:{port}/callback")
    listener = await listen(f"http://127.0.0.1:{port}/callback")
    assert listener.url == f"http://127.0.0.1:{port}/callback"
    shared = socket.socket()
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with shared, pytest.raises(OSError, match="in use"):
        shared.bind(("127.0.0.1", port))
    await listener.aclose()


async def test_localhost_is_both_addresses() -> None:
    listener = await listen("http://localhost/")
    port = port_of(listener)
    assert listener.url == f"http://localhost:{port}/"
    waiting = Waiting(listener)
    request = f"GET /?state={STATE} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        wrong = request.replace(STATE.encode(), b"x")
        for host in ("127.0.0.1", "::1"):
            assert (await say(port, wrong, host)).startswith(b"HTTP/1.1 400 ")
        assert (await say(port, request, "::1")).startswith(b"HTTP/1.1 200 ")
    assert await closed(port)
    assert await closed(port, "::1")


async def test_ports_are_taken_at_random() -> None:
    listeners = [await listen("http://127.0.0.1/callback") for _ in range(5)]
    assert len({each.url for each in listeners}) == 5
    for each in listeners:
        await each.aclose()


@pytest.mark.parametrize("uri", ["http://0.0.0.0/", "https://app.example/cb", "https://localhost/"])
async def test_only_loopback_is_listened_on(uri: str) -> None:
    with pytest.raises(UrlRefused):
        await listen(uri)


async def test_who_is_cancelled_hears_nothing_any_more() -> None:
    listener = await listen("http://127.0.0.1/callback")
    with anyio.move_on_after(0):
        await listener.wait(STATE)
    await listener.aclose()
    assert await closed(port_of(listener))


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("state=the-state", True),
        ("code=a&state=the%2Dstate", True),
        ("state=the-state&state=the-state", False),
        ("State=the-state", False),
        ("state=the-stat%C3%A9", False),
        ("", False),
    ],
)
def test_the_state_stands_once(query: str, right: bool) -> None:
    assert has_state(query, STATE) is right
