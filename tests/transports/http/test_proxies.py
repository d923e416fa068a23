"""Through a proxy: which one, and what it and the server get to see; over real sockets."""

import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from mcpcore import ClientSettings, HttpClientLinkSettings, ServeSettings, connect
from mcpcore.errors import (
    BadProxy,
    ConnectFailed,
    ConnectTimeout,
    NegotiationError,
    ProxyFailed,
    TlsFailed,
)
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy, parse_proxy, proxy_for
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.faults.cutting import LOST, listening
from tests.more_time import with_more_time
from tests.transports.certificates import papers
from tests.transports.served import served
from tests.transports.sockets.test_tls import ERAS, at, call, server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "shown", "secure", "authorization"),
    [
        ("http://proxy:3128", "proxy:3128", False, None),
        ("proxy:3128", "proxy:3128", False, None),
        ("http://proxy/", "proxy:80", False, None),
        ("https://proxy", "proxy:443", True, None),
        ("http://[::1]:8", "[::1]:8", False, None),
        ("http://me:p%40ss%3A@proxy:1", "proxy:1", False, b"me:p@ss:"),
        ("http://me@proxy:1", "proxy:1", False, b"me:"),
    ],
)
def test_what_a_url_says(url: str, shown: str, secure: bool, authorization: bytes | None) -> None:
    proxy = parse_proxy(url)
    assert (str(proxy), proxy.secure) == (shown, secure)
    if authorization is None:
        assert proxy.authorization is None
    else:
        assert proxy.authorization is not None
        assert b64decode(proxy.authorization.removeprefix(b"Basic ")) == authorization


@pytest.mark.parametrize(
    "url",
    ["socks5://me:secret@proxy:1", "http://", "http://:80", "http://proxy:port",
     "http://proxy:99999", "http://a b:1", "http://m%3Ae:secret@proxy", "", "http://[::1"],
)  # fmt: skip
def test_what_is_no_proxy(url: str) -> None:
    with pytest.raises(BadProxy) as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
def test_a_socks_proxy_of_the_environment_is_refused(scheme: str, variable: str) -> None:
    environ = {variable: f"{scheme}://me:secret@proxy:1080"}
    with pytest.raises(BadProxy, match=r"SOCKS.*http://.*http_client") as caught:
        proxy_for("http://a.example/", ENVIRONMENT, environ)
    assert "secret" not in str(caught.value)
    # Where none is needed none is read.
    assert proxy_for("http://localhost/", ENVIRONMENT, environ) is None
    assert proxy_for("http://a.example/", ENVIRONMENT, {**environ, "NO_PROXY": "*"}) is None
    assert proxy_for("http://a.example/", None, environ) is None


@pytest.mark.parametrize("given", ["settings", "environment"])
async def test_nothing_goes_directly_that_was_to_go_by_socks(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def connect_tcp(*args: object, **options: object) -> None:
        asked.append(args)
        raise OSError

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    monkeypatch.setenv("ALL_PROXY", "socks5h://proxy.example:1080")
    settings = ClientSettings()
    if given == "settings":
        settings = ClientSettings(proxy="socks5://proxy.example")
    with pytest.raises(BadProxy, match="SOCKS"):
        async with connect("http://mcp.example/mcp", settings=settings):
            pass
    assert not asked


BOTH = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        ("http://a.example/", {}, None),
        ("http://a.example/", BOTH, "plain:1"),
        ("https://a.example/", BOTH, "secure:2"),
        ("http://a.example/", {"ALL_PROXY": "all:3"}, "all:3"),
        ("http://a.example/", {"all_proxy": "all:3", **BOTH}, "plain:1"),
        ("http://a.example/", {"http_proxy": "lower:4", **BOTH}, "lower:4"),
        ("http://a.example/", {"http_proxy": "", **BOTH}, None),
        ("http://a.example/", {"REQUEST_METHOD": "GET", **BOTH}, None),
        ("http://a.example/", {"REQUEST_METHOD": "GET", "http_proxy": "lower:4"}, "lower:4"),
        ("https://a.example/", {"REQUEST_METHOD": "GET", **BOTH}, "secure:2"),
        ("http://localhost:8000/", BOTH, None),
        ("http://127.8.9.10/", BOTH, None),
        ("http://[::1]:8000/", BOTH, None),
        ("http://app.localhost/", BOTH, None),
        ("http://localhost.example/", BOTH, "plain:1"),
        ("http://a.example/", {**BOTH, "NO_PROXY": "*"}, None),
        ("http://a.example/", {**BOTH, "NO_PROXY": "b.example, a.example"}, None),
        ("http://A.Example./", {**BOTH, "no_proxy": "a.EXAMPLE"}, None),
        ("http://b.a.example/", {**BOTH, "NO_PROXY": "a.example"}, None),
        ("http://b.a.example/", {**BOTH, "NO_PROXY": ".a.example"}, None),
        ("http://b.a.example/", {**BOTH, "NO_PROXY": "*.a.example"}, None),
        ("http://ba.example/", {**BOTH, "NO_PROXY": "a.example"}, "plain:1"),
        ("http://a.example.org/", {**BOTH, "NO_PROXY": "a.example"}, "plain:1"),
        ("http://a.example:81/", {**BOTH, "NO_PROXY": "a.example:80"}, "plain:1"),
        ("http://a.example/", {**BOTH, "NO_PROXY": "a.example:80"}, None),
        ("http://10.1.2.3/", {**BOTH, "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://10.1.2.3/", {**BOTH, "NO_PROXY": "10.1.2.4,11.0.0.0/8"}, "plain:1"),
        ("http://10.1.2.3/", {**BOTH, "NO_PROXY": "10.1.2.3"}, None),
        ("http://[fd00::1]/", {**BOTH, "NO_PROXY": "fd00::/8"}, None),
        ("http://[fd00::1]:5/", {**BOTH, "NO_PROXY": "[fd00::1]:5"}, None),
        ("http://[fd00::1]:6/", {**BOTH, "NO_PROXY": "[fd00::1]:5"}, "plain:1"),
        ("http://10.1.2.3/", {**BOTH, "NO_PROXY": "2.3,example,,"}, "plain:1"),
    ],
)
def test_what_the_environment_says(url: str, environ: dict[str, str], found: str | None) -> None:
    proxy = proxy_for(url, ENVIRONMENT, environ)
    assert (None if proxy is None else str(proxy)) == found


def test_what_the_settings_say() -> None:
    assert proxy_for("http://127.0.0.1/", None, BOTH) is None
    assert str(proxy_for("http://127.0.0.1/", "http://mine:1", BOTH)) == "mine:1"
    mine = Proxy(host="mine", port=1)
    assert proxy_for("http://127.0.0.1/", mine, BOTH) is mine


class ProxyServer:
    """Forwards and tunnels, if told the password; keeps what it was asked."""

    def __init__(self, password: str | None) -> None:
        self.password = password
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""
        self.names = {"upstream.example": "127.0.0.1"}
        self.answer: Callable[[ByteStream], Awaitable[Any]] | None = None

    async def serve(self, stream: ByteStream) -> None:
        try:
            async with stream, anyio.create_task_group() as tasks:
                await self._serve(stream)
                tasks.cancel_scope.cancel()
        except* LOST:
            pass

    async def _serve(self, stream: ByteStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        self.asked.append((method, target, headers))
        if self.answer is not None:
            await self.answer(stream)
            return
        if self.password is not None:
            given = headers.get("proxy-authorization", "").removeprefix("Basic ")
            if b64decode(given).decode() != self.password:
                await stream.send(
                    b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
                )
                return
        place = urlsplit(target if method != "CONNECT" else f"//{target}")
        host = self.names.get(place.hostname or "", place.hostname or "")
        async with await anyio.connect_tcp(host, place.port or 80) as upstream:
            if method == "CONNECT":
                await stream.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
                await _join(stream, upstream)
            else:
                path = target.split(place.netloc, 1)[1]
                body = headers.get("content-length", "0")
                while len(rest) < int(body):
                    rest += await stream.receive()
                kept = {k: v for k, v in headers.items() if not k.startswith("proxy-")}
                kept["host"] = f"127.0.0.1:{place.port}"
                kept["connection"] = "close"
                text = "".join(f"{name}: {value}\r\n" for name, value in kept.items())
                await upstream.send(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode() + rest)
                while True:
                    await stream.send(await upstream.receive())


async def _join(one: ByteStream, other: ByteStream) -> None:
    async def pass_on(source: ByteStream, sink: ByteStream) -> None:
        try:
            while True:
                await sink.send(await source.receive())
        except LOST:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_on, one, other)
        tasks.start_soon(pass_on, other, one)


@asynccontextmanager
async def proxying(
    password: str | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[ProxyServer]:
    proxy = ProxyServer(password)

    async def serve(stream: ByteStream) -> None:
        if context is not None:
            try:
                stream = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=context, standard_compatible=False
                )
            except LOST:
                await stream.aclose()
                return
        await proxy.serve(stream)

    with patience():
        async with listening(serve) as port:
            proxy.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
            yield proxy


async def through(url: str, proxy: Any, context: ssl.SSLContext | None, **options: Any) -> str:
    settings = ClientSettings(proxy=proxy, ssl_context=context, http_link=options.pop("link", None))
    async with connect(url, settings=settings, **options) as client:
        return (await client.call_tool("hello")).text


async def refusal(*args: Any, **options: Any) -> Exception:
    with pytest.raises(NegotiationError) as caught:
        await through(*args, **options)
    cause = caught.value.__cause__
    assert isinstance(cause, Exception)
    return cause


@asynccontextmanager
async def upstream(*, secure: bool) -> AsyncIterator[str]:
    context = server_tls(papers().server) if secure else None
    settings = ServeSettings(ssl_context=context)
    async with served(server, http="127.0.0.1:0", settings=settings) as running:
        yield running.urls[0]


def trusting() -> ssl.SSLContext:
    return client_tls(ca=papers().trusted.file)


@pytest.mark.parametrize("revision", ERAS)
async def test_plain_http_is_sent_with_the_whole_url(revision: str) -> None:
    async with upstream(secure=False) as url, proxying("me:secret") as proxy:
        given = proxy.url.replace("://", "://me:secret@")
        place = at(url, "upstream.example")
        assert await through(place, given, None, revision=revision) == "hello"
        for method, target, headers in proxy.asked:
            assert method in ("POST", "GET", "DELETE")
            assert target == place
            assert headers["host"] == urlsplit(place).netloc


@pytest.mark.parametrize("revision", ERAS)
async def test_https_goes_through_a_tunnel(revision: str) -> None:
    async with upstream(secure=True) as url, proxying("me:secret") as proxy:
        given = proxy.url.replace("://", "://me:secret@")
        place = at(url, "localhost")
        headers = {"Authorization": "Bearer x"}
        text = await through(place, given, trusting(), revision=revision, headers=headers)
        assert text == "hello"
        netloc = urlsplit(place).netloc
        for method, target, seen in proxy.asked:
            assert (method, target, seen["host"]) == ("CONNECT", netloc, netloc)
            own = {"host", "proxy-authorization", "user-agent"}
            assert set(seen) == own, "nothing that is the server's"


@pytest.mark.parametrize("secure", [False, True])
async def test_the_proxy_itself_may_speak_tls(secure: bool) -> None:
    context = server_tls(papers().server)
    async with upstream(secure=secure) as url, proxying(context=context) as proxy:
        given = parse_proxy(proxy.url, ssl_context=trusting())
        assert await through(url, given, trusting()) == "hello"
        foreign = parse_proxy(proxy.url, ssl_context=client_tls(ca=papers().foreign.file))
        error = await refusal(url, foreign, trusting())
        assert type(error) is ProxyFailed
        assert "certificate is not accepted" in str(error)


async def test_a_tunnel_does_not_weaken_tls() -> None:
    async with upstream(secure=True) as url, proxying() as proxy:
        error = await refusal(at(url, "upstream.example"), proxy.url, trusting())
        assert type(error) is TlsFailed
        assert "is not valid for" in str(error)


async def test_the_environment_leads_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(secure=False) as url, proxying() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert await call(url, None) == "hello"
        assert proxy.asked == [], "never for this machine"
        assert await call(at(url, "upstream.example"), None) == "hello"
        assert proxy.asked
        monkeypatch.setenv("NO_PROXY", "example")
        proxy.asked.clear()
        with pytest.raises(NegotiationError, match=r"unknown host: upstream\.example"):
            await call(at(url, "upstream.example"), None)
        assert proxy.asked == []


# A proxy that does not do it

ANSWERS: dict[str, tuple[bytes, type[Exception], str, int | None]] = {
    "407": (b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n", ProxyFailed, "407", 407),
    "403": (b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!", ProxyFailed, "403", 403),
    "502": (b"HTTP/1.0 502 Bad\r\n\r\n", ProxyFailed, "502", 502),
    "a redirect": (b"HTTP/1.1 302 F\r\nLocation: http://x/\r\n\r\n", ProxyFailed, "302", 302),
    "nothing, and closes": (b"", ProxyFailed, "closed the connection", None),
    "half a head": (b"HTTP/1.1 200 O", ProxyFailed, "closed the connection", None),
    "garbage": (b"\x00\x01\x02\r\n\r\n", ProxyFailed, "malformed", None),
    "mail": (b"220 mail ESMTP\r\n\r\n", ProxyFailed, "malformed", None),
    "headers without end": (
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, ProxyFailed, "malformed", None
    ),
    "interim responses": (b"HTTP/1.1 100 C\r\n\r\n" * 70, ProxyFailed, "malformed", None),
    "a word too many": (b"HTTP/1.1 200 OK\r\n\r\nhello", ProxyFailed, "before we did", None),
    "a tunnel to nowhere": (b"HTTP/1.1 200 OK\r\n\r\n", TlsFailed, "closed", None),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_proxy_that_refuses_a_tunnel(name: str) -> None:
    data, kind, words, status = ANSWERS[name]
    async with proxying() as proxy:
        proxy.answer = lambda stream: stream.send(data)
        error = await refusal("https://upstream.example/mcp", proxy.url, trusting())
        assert type(error) is kind, error
        assert words in str(error)
        if isinstance(error, ProxyFailed):
            assert error.status == status
            assert "the proxy 127.0.0.1" in str(error)


async def test_a_proxy_that_wants_a_password_for_plain_http() -> None:
    async with upstream(secure=False) as url, proxying("me:secret") as proxy:
        given = proxy.url.replace("://", "://me:wrong@")
        error = await refusal(at(url, "upstream.example"), given, None)
        assert type(error) is ProxyFailed
        assert error.status == 407
        assert "wrong" not in str(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there(scheme: str) -> None:
    async with proxying() as proxy:
        gone = proxy.url
    error = await refusal(f"{scheme}://upstream.example/mcp", gone, trusting())
    assert isinstance(error, ConnectFailed)
    assert type(error) is ProxyFailed
    assert "connection refused: the proxy 127.0.0.1" in str(error)


async def test_a_proxy_that_never_answers() -> None:
    async def silent(stream: ByteStream) -> None:
        while await stream.receive():
            pass

    async def attempt(seconds: float) -> None:
        link = HttpClientLinkSettings(connect_time=seconds)
        async with proxying() as proxy:
            proxy.answer = silent
            url = "https://upstream.example/mcp"
            with anyio.fail_after(3.5 * seconds):
                error = await refusal(url, proxy.url, trusting(), link=link)
            assert type(error) is ConnectTimeout
            assert "by the proxy" in str(error)

    await with_more_time(attempt, 0.2, 4.0)
