"""TLS on both ends, with certificates made here: who is let in, and who is told why not."""

import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from mcpcore import ClientSettings, Server, ServeSettings, client_tls, connect, server_tls
from mcpcore.errors import (
    BadTarget,
    BadTls,
    ConnectTimeout,
    NegotiationError,
    TlsFailed,
)
from mcpcore_transports.http1.settings import HttpClientLinkSettings, HttpServerSettings
from tests.clock import patience
from tests.command import mcpcore_here
from tests.faults import cutting
from tests.more_time import with_more_time
from tests.transports.certificates import papers
from tests.transports.served import served
from tests.transports.ways import anyio_backend as anyio_backend
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

Make = Callable[[], ssl.SSLContext]
ERAS = ("2025-11-25", "2026-07-28")

server = Server("secure", version="1")


@server.tool
def hello() -> str:
    return "hello"


@asynccontextmanager
async def secure(context: ssl.SSLContext, **more: Any) -> AsyncIterator[str]:
    settings = ServeSettings(ssl_context=context, **more)
    async with served(server, http="127.0.0.1:0", settings=settings) as running:
        yield running.urls[0]


def at(url: str, host: str) -> str:
    return url.replace("127.0.0.1", host)


async def call(url: str, context: ssl.SSLContext | None, **options: Any) -> str:
    settings = ClientSettings(ssl_context=context)
    async with connect(url, settings=settings, **options) as client:
        return (await client.call_tool("hello")).text


async def refusal(url: str, context: ssl.SSLContext | None, **options: Any) -> Exception:
    """Why there is no connection."""
    with pytest.raises(NegotiationError) as caught:
        await call(url, context, **options)
    assert isinstance(caught.value.__cause__, Exception), caught.value
    return caught.value.__cause__


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("revision", ERAS)
async def test_a_server_that_is_trusted(host: str, revision: str) -> None:
    async with secure(server_tls(papers().server)) as url:
        assert url.startswith("https://")
        trusting = client_tls(ca=papers().trusted.file)
        assert await call(at(url, host), trusting, revision=revision) == "hello"


async def test_the_systems_authorities_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    async with secure(server_tls(papers().server)) as url:
        assert isinstance(await refusal(url, None), TlsFailed)
        monkeypatch.setenv("SSL_CERT_FILE", str(papers().trusted.file))
        assert await call(url, None) == "hello"


REFUSED: dict[str, tuple[Callable[[], Path], str]] = {
    "another host": (lambda: papers().elsewhere, "is not valid for"),
    "an authority that is not trusted": (lambda: papers().untrusted, "unable to get local issuer"),
    "expired": (lambda: papers().expired, "has expired"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_that_is_not_trusted(name: str, host: str) -> None:
    certificate, words = REFUSED[name]
    async with secure(server_tls(certificate())) as url:
        error = await refusal(at(url, host), client_tls(ca=papers().trusted.file))
        assert type(error) is TlsFailed
        assert words in str(error)
        assert f"TLS with {host}:" in str(error)


async def test_authorities_of_ours_and_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(papers().foreign.file))
    async with secure(server_tls(papers().untrusted)) as url:
        ours = papers().trusted.file
        assert isinstance(await refusal(url, client_tls(ca=ours)), TlsFailed)
        assert await call(url, client_tls(ca=ours, system_ca=True)) == "hello"
        assert await call(url, client_tls(ca=[ours, papers().foreign.file])) == "hello"
        nobody = client_tls(system_ca=False)
        assert isinstance(await refusal(url, nobody), TlsFailed)


# Whom the server lets in


@pytest.mark.parametrize("revision", ERAS)
async def test_a_client_certificate_is_accepted(revision: str) -> None:
    context = server_tls(papers().server, client_ca=papers().trusted.file)
    async with secure(context) as url:
        mine = client_tls(ca=papers().trusted.file, cert=papers().client)
        assert await call(url, mine, revision=revision) == "hello"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "foreign"])
async def test_without_a_client_certificate_nobody_gets_in(
    version: ssl.TLSVersion, shown: str
) -> None:
    context = server_tls(papers().server, client_ca=papers().trusted.file)
    cert = papers().foreign_client if shown == "foreign" else None
    async with secure(context) as url:
        mine = client_tls(ca=papers().trusted.file, cert=cert)
        mine.maximum_version = version
        error = await refusal(url, mine)
        assert type(error) is TlsFailed, error
        assert "it refused" in str(error)


async def test_a_client_certificate_may_be_optional() -> None:
    ca = papers().trusted.file
    context = server_tls(papers().server, client_ca=ca, client_cert_required=False)
    async with secure(context) as url:
        assert await call(url, client_tls(ca=ca)) == "hello"
        assert await call(url, client_tls(ca=ca, cert=papers().client)) == "hello"
        foreign = client_tls(ca=ca, cert=papers().foreign_client)
        assert isinstance(await refusal(url, foreign), TlsFailed)


def old(context: ssl.SSLContext, *, newest: bool) -> ssl.SSLContext:
    """Allow (or insist on) TLS 1.1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        if newest:
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("end", ["client", "server", "both"])
async def test_tls_1_1_is_refused(end: str) -> None:
    serving, calling = server_tls(papers().server), client_tls(ca=papers().trusted.file)
    if end != "client":
        old(serving, newest=True)
    if end != "server":
        old(calling, newest=True)
    async with secure(serving) as url:
        if end == "both":  # so that it is the version indeed that is refused
            assert await call(url, calling) == "hello"
        else:
            assert isinstance(await refusal(url, calling), TlsFailed)


def test_contexts_are_strict() -> None:
    client, serving = client_tls(), server_tls(papers().server)
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname
    assert serving.verify_mode is ssl.CERT_NONE
    for context in (client, serving):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION


# Over a client that is brought


async def test_another_http_client_brings_its_own_tls() -> None:
    async with secure(server_tls(papers().server)) as url:
        trusting = client_tls(ca=papers().trusted.file)
        async with httpx.AsyncClient(verify=trusting) as brought:
            assert await call(url, None, http_client=brought) == "hello"
        async with httpx.AsyncClient(verify=client_tls(ca=papers().foreign.file)) as brought:
            error = await refusal(url, None, http_client=brought)
            assert type(error) is TlsFailed
            assert "certificate" in str(error)


# Ends that speak something else, or nothing


GARBAGE = {
    "nothing, and closes": b"",
    "plain HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "garbage": bytes(range(200)) * 20,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "half a record": b"\x16\x03\x03\x40\x00" + b"\x02" * 50,
    "a huge record": b"\x16\x03\x03\xff\xff" + b"\x02" * 70_000,
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_a_server_that_speaks_no_tls(name: str) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(GARBAGE[name])

    async with listening(answer) as url:
        with patience():
            error = await refusal(url, client_tls())
        assert type(error) is TlsFailed


async def test_a_server_that_is_silent_in_the_handshake() -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            while await stream.receive():
                pass

    async def attempt(seconds: float) -> None:
        settings = ClientSettings(http_link=HttpClientLinkSettings(connect_time=seconds))
        async with listening(answer) as url:
            with anyio.fail_after(3.5 * seconds), pytest.raises(NegotiationError) as caught:
                async with connect(url, settings=settings):
                    raise AssertionError
        assert isinstance(caught.value.__cause__, ConnectTimeout)

    await with_more_time(attempt, 0.2, 4.0)


@asynccontextmanager
async def listening(handler: Any) -> AsyncIterator[str]:
    async def guarded(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await handler(stream)

    async with cutting.listening(guarded) as port:
        yield f"https://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x03\xff\xff"])
async def test_a_client_that_speaks_no_tls_is_dropped(sent: bytes) -> None:
    link = HttpServerSettings(head_time=0.2)
    async with secure(server_tls(papers().server), http_link=link) as url:
        port = int(url.split(":")[2].split("/")[0])
        stream = await anyio.connect_tcp("127.0.0.1", port)
        async with stream:
            if sent:
                await stream.send(sent)
            with patience(), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()
        assert await call(url, client_tls(ca=papers().trusted.file)) == "hello"


# Files that cannot be used


def encrypted(password: bytes) -> Path:
    from cryptography.hazmat.primitives import serialization as s

    pem = papers().server.read_bytes()
    key = s.load_pem_private_key(pem, None)
    locked = key.private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(password)
    )
    path = papers().folder / "encrypted.pem"
    path.write_bytes(locked + pem[pem.index(b"-----BEGIN CERT") :])
    return path


def test_an_encrypted_key_needs_its_password() -> None:
    path = encrypted(b"open")
    server_tls(path, password="open")
    with pytest.raises(BadTls, match="encrypted"):
        server_tls(path)
    with pytest.raises(BadTls):
        server_tls(path, password="wrong")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: server_tls("/nowhere.pem"), "/nowhere.pem.*no such file"),
        (lambda: server_tls(papers().trusted.file), "certificate and key"),
        (lambda: server_tls(papers().server, papers().client), "mismatch"),
        (lambda: server_tls(papers().server, client_ca="/nowhere.pem"), "no such file"),
        (lambda: server_tls(papers().server, client_ca=__file__), "authorities"),
        (lambda: client_tls(ca="/nowhere.pem"), "no such file"),
        (lambda: client_tls(ca=[__file__]), "authorities"),
        (lambda: client_tls(cert=__file__), "certificate and key"),
        (lambda: client_tls(key=papers().client), "without its certificate"),
    ],
)
def test_files_that_cannot_be_used(make: Make, words: str) -> None:
    with pytest.raises(BadTls, match=words):
        make()


def test_a_folder_of_authorities(tmp_path: Path) -> None:
    assert client_tls(ca=tmp_path).get_ca_certs() == []


def test_the_command_line() -> None:
    mine = ("--cacert", str(papers().trusted.file), "--cert", str(papers().client))
    with subprocess.Popen(
        [*PYTHON, "-m", "mcpcore_transports.commands.main",
         "serve", "tests.transports.sockets.test_tls:server", "--http", "127.0.0.1:0",
         "--tls-cert", str(papers().server), "--tls-client-ca", str(papers().trusted.file)],
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:  # fmt: skip
        try:
            assert serving.stderr is not None
            url = serving.stderr.readline().removeprefix("listening on ").strip()
            assert url.startswith("https://"), url
            done = [
                mcpcore_here("call", "hello", url, *words, "--proxy", "none")
                for words in (mine, mine[:2], ())
            ]
        finally:
            serving.terminate()
    assert (done[0].returncode, done[0].stdout.strip()) == (0, "hello"), done[0]
    assert done[1].returncode == 3
    assert "TLS" in done[1].stderr
    assert done[2].returncode == 3
    assert "certificate is not accepted" in done[2].stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serve", "--tls-cert", "/nowhere.pem"], "no such file"),
        (["serve", "--tls-key", "/nowhere.pem"], "need --tls-cert"),
        (["list", "--cacert", "/nowhere.pem", "https://127.0.0.1:1/mcp"], "no such file"),
        (["list", "--proxy", "socks5://127.0.0.1", "https://127.0.0.1:1/mcp"], "is a SOCKS proxy"),
    ],
)
def test_wrong_usage(words: list[str], message: str) -> None:
    done = mcpcore_here(*words)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_http_client_is_for_http_alone() -> None:
    with pytest.raises(BadTarget, match="no http or https URL"):
        connect("ws://127.0.0.1/mcp", http_client=httpx.AsyncClient())
