"""The client's end of sockets: targets, TLS, and what it says when there is no connection."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from mcpcore import ClientSettings, EraCache, ServeSettings, client_tls, connect, server_tls
from mcpcore.errors import BadTarget, LinkError, NegotiationError
from mcpcore.http.principals import Principal, Refusal
from mcpcore_transports.commands.options import ServeOptions
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.commands.serve import serve as run_serve
from mcpcore_transports.stream.settings import Caller, SocketSettings
from mcpcore_transports.targets import TcpTarget, UnixTarget, describe, parse_target
from tests.faults.cutting import listening
from tests.transports.certificates import papers
from tests.transports.offers import echo
from tests.transports.served import ANY_PORT, served
from tests.transports.serving import APP, serving
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

Make = Callable[[], ssl.SSLContext]
ERAS = ("2025-11-25", "2026-07-28")


async def call(url: Any, context: ssl.SSLContext | None = None, **options: Any) -> str:
    settings = ClientSettings(ssl_context=context, eras=EraCache())
    async with connect(url, settings=settings, **options) as client:
        return (await client.call_tool("echo", {"text": "x"})).text


@pytest.mark.parametrize(
    ("url", "target", "again"),
    [
        ("tcp://127.0.0.1:80", TcpTarget("127.0.0.1", 80), "tcp://127.0.0.1:80"),
        ("tcp://[::1]:80/", TcpTarget("::1", 80), "tcp://[::1]:80"),
        ("tls://Example.COM:443", TcpTarget("example.com", 443, True), "tls://example.com:443"),
        ("unix:///a/b%20c", UnixTarget("/a/b c"), "unix:///a/b%20c"),
        ("unix:/a", UnixTarget("/a"), "unix:///a"),
        ("unix:///%FF%C3%A9", UnixTarget("/\udcffé"), "unix:///%FF%C3%A9"),
    ],
)
def test_urls(url: str, target: Any, again: str) -> None:
    assert parse_target(url) == target
    assert parse_target(target) is target
    assert describe(target) == again


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("tcp://127.0.0.1", "tcp://HOST:PORT"),
        ("tcp://:80", "tcp://HOST:PORT"),
        ("tls://x:0", "tls://HOST:PORT"),
        ("tcp://x:99999", "Port out of range"),
        ("tcp://x:80/mcp", "more than a host and a port"),
        ("tcp://x:80?a=1", "more than a host and a port"),
        ("tcp://me:secret@x:80", "more than a host and a port"),
        ("udp://x:80", "tcp://, tls:// or unix://"),
    ],
)
def test_urls_that_are_none(url: str, reason: str) -> None:
    with pytest.raises(BadTarget, match=reason):
        parse_target(url)


@pytest.mark.parametrize("url", ["tcp://x:80", "tls://x:80", "unix:///x"])
def test_there_are_no_headers(url: str) -> None:
    with pytest.raises(BadTarget, match="headers"):
        parse_target(url, headers={"Authorization": "Bearer x"})


@asynccontextmanager
async def secure(**options: Any) -> AsyncIterator[str]:
    settings = ServeSettings(ssl_context=server_tls(**options))
    async with served(echo(), tcp=ANY_PORT, settings=settings) as state:
        yield state.url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("revision", ERAS)
async def test_a_server_that_is_trusted(host: str, revision: str) -> None:
    async with secure(cert=papers().server) as url:
        context = client_tls(ca=papers().trusted.file)
        assert await call(url.replace("127.0.0.1", host), context, revision=revision) == "x"


async def test_a_client_that_shows_its_certificate() -> None:
    async with secure(cert=papers().server, client_ca=papers().trusted.file) as url:
        context = client_tls(ca=papers().trusted.file, cert=papers().client)
        assert await call(url, context) == "x"


SERVER, ELSEWHERE = papers().server, papers().elsewhere
OURS = papers().trusted.file
ENDED = "|closed|broke|reset"


def trusting() -> ssl.SSLContext:
    return client_tls(ca=OURS)


def foreign() -> ssl.SSLContext:
    return client_tls(ca=OURS, cert=papers().foreign_client)


NOT_TRUSTED: dict[str, tuple[dict[str, Any], Make, str]] = {
    "unknown authority": ({"cert": papers().untrusted}, trusting, "is not accepted"),
    "system's authorities": ({"cert": SERVER}, client_tls, "is not accepted"),
    "expired": ({"cert": papers().expired}, trusting, "expired"),
    "another host": ({"cert": ELSEWHERE}, trusting, "not valid for"),
    "no certificate": ({"cert": SERVER, "client_ca": OURS}, trusting, f"required{ENDED}"),
    "a wrong one": ({"cert": SERVER, "client_ca": OURS}, foreign, f"unknown ca{ENDED}"),
}


@pytest.mark.parametrize(
    ("options", "make", "reason"),
    NOT_TRUSTED.values(),
    ids=NOT_TRUSTED,
)
async def test_who_is_not_trusted(options: dict[str, Any], make: Make, reason: str) -> None:
    async with secure(**options) as url:
        with pytest.raises((LinkError, NegotiationError), match=reason):
            await call(url, make())


async def test_tls_at_one_end_only() -> None:
    async with secure(cert=papers().server) as url:
        with pytest.raises((LinkError, NegotiationError), match=r"closed|broke|reset"):
            await call(url.replace("tls", "tcp"))
    async with served(echo(), tcp=ANY_PORT) as state:
        with pytest.raises(LinkError, match=r"TLS failed|cannot connect"):
            await call(state.url.replace("tcp", "tls"), client_tls(ca=papers().trusted.file))


# Connections that do not come about, or end


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LinkError, match=f"{url}: cannot connect: connection refused"):
            await call(url)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
async def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(LinkError, match="unknown host"):
        await call(f"tcp://{host}:1")


async def test_a_handshake_that_takes_too_long() -> None:
    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with listening(silent) as port:
        settings = ClientSettings(socket=SocketSettings(handshake_time=0.05))
        with pytest.raises(LinkError, match=r"no connection within 0\.05 s"):
            await connect(f"tls://127.0.0.1:{port}", settings=settings).__aenter__()


def refuse(caller: Caller) -> Principal | Refusal:
    return Refusal(message="not on Sundays")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"connections": 0}, "too many connections"),
        ({"connections_per_client": 0}, "too many connections from the same place"),
        ({"authenticate": refuse}, "not on Sundays"),
    ],
)
@pytest.mark.parametrize("binding", ["tcp", "unix"])
async def test_a_client_that_is_turned_away_says_why(
    binding: str, settings: dict[str, Any], reason: str, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("s")
    options: dict[str, Any] = {binding: str(folder / "s") if binding == "unix" else ANY_PORT}
    made = ServeSettings(socket=SocketSettings(**settings))
    async with served(echo(), settings=made, **options) as state:
        with pytest.raises((LinkError, NegotiationError)) as failure:
            await call(state.url)
        text = str(failure.value)
        assert reason in text
        assert "server/discover" not in text


async def test_the_command_listens_and_calls(tmp_path: Any) -> None:
    path = tmp_path / "s"
    words = ("--tcp", "127.0.0.1:0", "--unix", str(path))
    async with serving(*words, python=PYTHON) as running:
        await running.until(f"listening on unix://{path}\n")
        assert running.urls[0].startswith("tcp://127.0.0.1:")
        for url in running.urls:
            async with connect(url) as client:
                assert (await client.list_tools()).tools
        running.process.terminate()
        assert await running.ended() == 0
        assert not path.exists()


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"tcp": ("0.0.0.0:0",)}, Exit.USAGE, "--insecure-tcp"),
        ({"tcp": ("127.0.0.1:0",), "workers": 2}, Exit.USAGE, "--http alone"),
        ({"unix": ("@x",)}, Exit.USAGE, "abstract"),
        ({"unix": ("/nowhere/at/all",)}, Exit.FAILED, "no such file or directory"),
    ],
)
def test_the_command_says_what_is_wrong(options: dict[str, Any], status: Exit, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as failure:
        run_serve(APP, ServeOptions(**options))
    assert failure.value.status == status


async def test_a_client_may_be_given_up_in_the_moment_in_which_something_comes() -> None:
    with TemporaryDirectory(prefix="mcp-") as room, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{room}/socket")
        listener.listen()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, f"unix://{room}/socket")
            await anyio.wait_readable(listener)
            server, _ = listener.accept()
            with server:
                await anyio.wait_readable(server)
                server.send(b"x")
                await anyio.lowlevel.checkpoint()  # the loop sees both at once
                tasks.cancel_scope.cancel()
