"""Credentials reach no log, no error and no ``repr``."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import ClientSettings, HttpServerSettings, Server, ServeSettings, asgi_app, connect
from mcpcore.auth.upstream import Subject
from mcpcore.http.messages import HttpRequest, HttpSend
from mcpcore.http.principals import Principal, Verdict, bearer_token
from mcpcore_transports.client.config import ConfiguredServer
from mcpcore_transports.http.client.proxies import parse_proxy
from mcpcore_transports.link import Handshake
from mcpcore_transports.stream.settings import Caller, SocketSettings
from mcpcore_transports.targets import (
    HttpTarget,
    SseTarget,
    StdioTarget,
    WebSocketTarget,
    describe,
    parse_target,
)
from tests.transports.http_fixture import Client, tool
from tests.transports.served import ANY_PORT, served
from tests.transports.sites import raw, upgrade
from tests.transports.websocket.test_websocket_asgi_messages import Wire

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t"
KNOWN: dict[str, Principal] = {}


def look_up(request: HttpRequest) -> Verdict:
    """The most natural hook: its KeyError holds the token."""
    return KNOWN[bearer_token(request) or ""]


def complain(request: HttpRequest) -> Verdict:
    token = bearer_token(request)
    try:
        return look_up(request)
    except KeyError as error:
        error.add_note(f"of {request!r}")
        raise RuntimeError(f"no such token: {token} in {request.headers}") from error


async def complain_slowly(request: HttpRequest) -> Verdict:
    await anyio.lowlevel.checkpoint()
    return complain(request)


hooks = pytest.mark.parametrize("hook", [look_up, complain, complain_slowly])


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What every handler would write."""
    lines = logging.Formatter("%(message)s")
    return "\n".join(lines.format(record) for record in caplog.records)


def check(caplog: pytest.LogCaptureFixture) -> None:
    text = logged(caplog)
    assert SECRET not in text
    assert "authenticating a request failed" in text
    assert "KeyError" in text
    assert "look_up" in text, "where it happened"


def guarded(hook: object, *, shared: bool = False) -> ServeSettings:
    link = HttpServerSettings(authenticate=hook)  # type: ignore[arg-type]
    return ServeSettings(http_link=link, shared=shared)


@hooks
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}"},
        {"Sec_WebSocket_Protocol": f"mcp, mcp.auth.{SECRET}"},
    ],
)
async def test_a_hook_that_raises_with_the_token_logs_it_nowhere_on_websocket(
    hook: object, shared: bool, headers: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    place = {"http" if shared else "ws": ANY_PORT}
    settings = guarded(hook, shared=shared)
    with caplog.at_level(logging.DEBUG):
        async with (
            served(Server("s"), settings=settings, **place) as site,  # type: ignore[arg-type]
            raw(site.port) as client,
        ):
            await client.stream.send(upgrade(site.port, "/mcp", method="GET", **headers))
            status, _ = await client.head()
            assert status == 500
            assert SECRET not in await client.body()
    check(caplog)


@hooks
async def test_nor_on_http(hook: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with served(Server("s"), settings=guarded(hook), http=ANY_PORT) as site:
            client = Client(await anyio.connect_tcp("127.0.0.1", site.port))
            answer = await client.call(tool("echo", headers={"Authorization": f"Bearer {SECRET}"}))
            assert answer.status == 500
            await client.aclose()
    check(caplog)


@hooks
async def test_nor_under_asgi(hook: object, caplog: pytest.LogCaptureFixture) -> None:
    app = asgi_app(Server("s"), settings=guarded(hook, shared=True))
    wire = Wire(app, "mcp", f"mcp.auth.{SECRET}")
    with caplog.at_level(logging.DEBUG):
        await wire.run()
        assert (await wire.hear())["status"] == 500
        await app.aclose()
    check(caplog)


async def test_nor_on_sockets(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def look_up(caller: Caller) -> Verdict:
        return KNOWN[f"{SECRET} of {caller.uid}"]

    settings = ServeSettings(socket=SocketSettings(authenticate=look_up))
    path = str(tmp_path / "s")
    with caplog.at_level(logging.DEBUG):
        async with (
            served(Server("s"), settings=settings, unix=path),
            await anyio.connect_unix(path) as stream,
        ):
            assert SECRET not in (await stream.receive()).decode()
    check(caplog)


HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Custom": SECRET}


@pytest.mark.parametrize(
    "value",
    [
        HttpTarget(f"https://h/mcp?t={SECRET}", HEADERS),
        SseTarget(f"https://u:{SECRET}@h/sse", HEADERS),
        WebSocketTarget(f"wss://h/mcp?t={SECRET}", HEADERS),
        StdioTarget(["server"], {"API_KEY": SECRET}),
        ClientSettings(proxy=f"http://u:{SECRET}@proxy:3128"),
        ClientSettings(proxy=parse_proxy(f"http://u:{SECRET}@proxy:3128")),
        parse_proxy(f"http://u:{SECRET}@proxy:3128"),
        Subject(token=SECRET),
        Handshake(headers=((b"authorization", SECRET.encode()),)),
        ConfiguredServer(name="a", file=Path("f"), url=f"http://h/?{SECRET}", headers=HEADERS),
        ConfiguredServer(name="a", file=Path("f"), command="c", env={"API_KEY": SECRET}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_repr_shows_them(value: Any) -> None:
    assert SECRET not in f"{value!r} {value}"
    assert SECRET not in repr(list(value.__rich_repr__()))
    assert type(value).__name__ in repr(value)


def test_a_target_is_named_without_them() -> None:
    assert describe(HttpTarget(f"https://h/mcp?t={SECRET}")) == "https://h/mcp"
    assert describe(SseTarget(f"https://h/sse?t={SECRET}")) == "sse+https://h/sse"


BAD = [
    " ws://127.0.0.1/?t={}",
    "ws://127.0.0.1/a b?t={}",
    "ws://127.0.0.1/ä?t={}",
    "ws://h:99999/?t={}",
    "ws://u:{}@h:99999/",
    "ws://u:pass/{}@h/",
    "ws://u:{}/word@h/",
    "ws://u:{}@h/",
    "ws:///?t={}",
    "http:///?t={}",
    "http://u:{}@h/",
    "http://[::1/?t={}",
    "http://u:{}@[::1/",
    "http://h:port/?t={}",
    "http://127.0.0.1/ä?t={}#x y",
    "sse+http://u:{}@h/",
    "sse+http:///?t={}",
    "tcp://h:1?t={}",
    "tcp://u:{}@h:1",
    "tcp://u:{}@h",
    "tls://h?t={}",
    "unix:///run/s?t={}",
    "unix:x?t={}",
    "ftp://u:{}@h/?t={}",
    "h/mcp?t={}",
    "u:{}@h",
]


@pytest.mark.parametrize("url", BAD)
async def test_no_error_shows_what_is_secret_in_a_url(url: str) -> None:
    with pytest.raises(Exception) as caught:
        async with connect(url.format(SECRET, SECRET)):
            pass
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("url", BAD)
def test_nor_does_the_one_of_reading_it(url: str) -> None:
    said = ""
    try:
        said = describe(parse_target(url.format(SECRET, SECRET)))
    except ValueError as error:
        said = str(error)
    assert said
    assert SECRET not in said


def sign(request: HttpSend) -> dict[str, str]:
    raise KeyError(f"{SECRET} for {request.method}")


async def sign_later(request: HttpSend) -> dict[str, str]:
    await anyio.lowlevel.checkpoint()
    return sign(request)


@pytest.mark.parametrize("function", [sign, sign_later])
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_function_for_headers_that_raises_with_the_token_logs_it_nowhere(
    function: Callable[[HttpSend], dict[str, str]], scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with served(Server("s"), http=ANY_PORT, settings=ServeSettings(shared=True)) as site:
            with pytest.raises(Exception, match="its headers could not be made: KeyError") as error:
                async with connect(f"{scheme}://127.0.0.1:{site.port}/mcp", headers=function):
                    pass
    assert SECRET not in str(error.value)
    assert SECRET not in logged(caplog)
