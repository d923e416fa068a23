"""The opening of a WebSocket at the client: what answers, by which way, and who the client is."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore import ClientSettings, FaultKind, HttpServerSettings, LinkError, ServeSettings, connect
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import ClientCertificate, Principal, Verdict
from mcpcore_transports.http.client.proxies import Proxy, proxy_for
from mcpcore_transports.tls import client_tls, server_tls
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.clock import patience
from tests.transports.certificates import papers
from tests.transports.http.test_proxies import proxying
from tests.transports.served import ANY_PORT, served
from tests.transports.sites import site
from tests.transports.sockets.test_tls import server
from tests.transports.websocket.test_websocket_client import (
    accepted,
    connected,
    dialling,
    listening,
)

pytestmark = pytest.mark.anyio

Change = Callable[[bytes], bytes]


def with_line(line: bytes) -> Change:
    return lambda answer: answer[:-2] + line + b"\r\n\r\n"


WRONG: dict[str, tuple[Change, str]] = {
    "a header without a name": (with_line(b": z"), "no WebSocket server"),
    "many headers": (with_line(b"\r\n".join([b"X: y"] * 200)), "more than 100 header lines"),
    "an endless line": (lambda answer: b"HTTP/1.1 101 " + b"x" * 9000, "longer than 8192 bytes"),
    "interim responses for ever": (
        lambda answer: b"HTTP/1.1 103 Early\r\n\r\n" * 70 + answer,
        "interim responses",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_answer_that_is_wrong_opens_nothing(name: str) -> None:
    change, message = WRONG[name]
    assert message in str(await refusal(lambda request: change(accepted(request))))


async def refusal(answer: Callable[[bytes], bytes], **options: Any) -> LinkError:
    async def respond(stream: SocketStream) -> None:
        async with stream:
            await stream.send(answer(await stream.receive()))
            with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()

    with patience():
        async with listening(respond) as url:
            _, link = dialling(url, **options)
            with pytest.raises(LinkError) as caught:
                await link.run()
    return caught.value


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (
            b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
            {"kind": FaultKind.STATUS, "status": 503, "retry_after": 7.0},
        ),
        (
            b"HTTP/1.1 302 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            {"kind": FaultKind.REDIRECT, "location": "/there"},
        ),
        (b"\0\0\r\n\r\n", {"kind": FaultKind.MALFORMED}),
    ],
)
async def test_what_kind_of_failure_it_was(answer: bytes, facts: dict[str, Any]) -> None:
    fault = (await refusal(lambda request: answer)).fault
    assert {name: getattr(fault, name) for name in facts} == facts


@pytest.mark.parametrize(
    "name",
    ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "sec-websocket-protocol",
     "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding", "bad name", ""],
)  # fmt: skip
async def test_headers_that_are_not_the_users(name: str) -> None:
    async with site() as running:
        _, link = dialling(f"ws://127.0.0.1:{running.port}/mcp", headers={name: "x"})
        with pytest.raises(LinkError, match="cannot be sent") as caught:
            await link.run()
    assert caught.value.fault is not None
    assert caught.value.fault.kind is FaultKind.HEADERS


async def test_a_function_for_headers_that_fails() -> None:
    def broken(request: Any) -> dict[str, str]:
        raise ZeroDivisionError("no key")

    async with site() as running:
        _, link = dialling(f"ws://127.0.0.1:{running.port}/mcp", headers=broken)
        with pytest.raises(LinkError, match=r"could not be made: ZeroDivisionError$"):
            await link.run()


async def test_the_client_offers_mcp_and_nothing_else() -> None:
    async with site() as running, connected(running.port) as (client, _):
        await client.echo(a=1)
        names = {name for name, _ in running.handshakes[0].headers}
    assert names == {b"host", b"upgrade", b"connection", b"sec-websocket-version",
                     b"sec-websocket-key", b"user-agent"}  # fmt: skip


@pytest.mark.parametrize("secure", [False, True])
async def test_through_a_proxy(secure: bool) -> None:
    context = server_tls(papers().server) if secure else None
    trusting = client_tls(ca=papers().trusted.file)
    settings = ServeSettings(ssl_context=context, allowed_hosts=("*",))
    async with (
        served(server, ws=ANY_PORT, settings=settings) as running,
        proxying("me:s3cret") as proxy,
    ):
        url = running.url if secure else running.url.replace("127.0.0.1", "upstream.example")
        given = proxy.url.replace("://", "://me:s3cret@")
        for known in (given, given.replace("s3cret", "wrong")):
            ours = ClientSettings(proxy=known, ssl_context=trusting)
            with suppress(LinkError):
                async with connect(url, settings=ours) as client:
                    assert (await client.call_tool("hello")).text == "hello"
                    continue
            assert known != given
        place = url.split("/")[2]
        assert {(method, target) for method, target, _ in proxy.asked} == {("CONNECT", place)}


async def test_a_proxy_that_refuses_is_told() -> None:
    async with proxying("me:s3cret") as proxy:
        ours = ClientSettings(proxy=proxy.url)
        with pytest.raises(LinkError, match="407") as caught:
            async with connect("ws://upstream.example:1/mcp", settings=ours):
                pass
        assert caught.value.fault is not None
        assert caught.value.fault.kind is FaultKind.PROXY


def test_the_environment_names_the_proxy_of_http() -> None:
    environ = {"http_proxy": "http://plain:1", "https_proxy": "http://secure:2"}
    for url, host in (("ws://a.example/", "plain"), ("wss://a.example/", "secure")):
        found = proxy_for(url, "environment", environ)
        assert isinstance(found, Proxy)
        assert found.host == host
    assert proxy_for("ws://localhost/", "environment", environ) is None
    exempt = {**environ, "no_proxy": "a.example:80"}
    assert proxy_for("ws://a.example/", "environment", exempt) is None
    assert proxy_for("wss://a.example/", "environment", exempt) is not None


@pytest.mark.parametrize("shared", [False, True])
async def test_client_certificates(shared: bool) -> None:
    ca = papers().trusted.file
    shown: list[ClientCertificate | None] = []

    def authenticate(request: HttpRequest) -> Verdict:
        shown.append(request.certificate)
        return Principal("whoever has one")

    settings = ServeSettings(
        ssl_context=server_tls(papers().server, client_ca=ca),
        shared=shared,
        http_link=HttpServerSettings(authenticate=authenticate),
    )
    bindings: dict[str, Any] = {"http": ANY_PORT} if shared else {"ws": ANY_PORT}
    async with served(server, settings=settings, **bindings) as running:
        url = running.url.replace("https:", "wss:")
        assert await hello(url, client_tls(ca=ca, cert=papers().client)) == "hello"
        assert [certificate and certificate.names for certificate in shown] == [
            (("email", "client@example.com"),)
        ]
        for context in (client_tls(ca=ca), client_tls(ca=ca, cert=papers().foreign_client)):
            with pytest.raises(Exception, match=r"TLS|closed|certificate|broke"):
                await hello(url, context)


async def hello(url: str, context: ssl.SSLContext) -> str:
    async with connect(url, settings=ClientSettings(ssl_context=context)) as client:
        return (await client.call_tool("hello")).text


async def test_a_server_that_never_pongs_is_left() -> None:
    codes: list[bytes] = []

    async def respond(stream: SocketStream) -> None:
        async with stream:
            await stream.send(accepted(await stream.receive()))
            data = await stream.receive()
            assert data[0] == 0x89
            # After its mask and payload; both frames may come at once.
            codes.append(data[6 + (data[1] & 0x7F) :] or await stream.receive())

    settings = WebSocketSettings(
        ping_interval=0.02, ping_timeout=0.05, deflate=DeflateSettings(), close_timeout=5.0
    )
    async with listening(respond) as url:
        _, link = dialling(url, settings=settings)
        await link.run()
    assert link.close_code == 1008
    assert codes[0][0] == 0x88
