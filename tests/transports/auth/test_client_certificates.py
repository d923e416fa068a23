"""The certificate of a client reaches whoever authenticates, by every way in; and only if valid."""

import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from anyio.streams.tls import TLSAttribute, TLSStream

from mcpcore.errors import NegotiationError
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import ClientCertificate, Principal, Refusal, Verdict
from mcpcore.service import Server
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.transports.certificates import papers
from tests.transports.http_fixture import Client, http, server, tool
from tests.transports.serve.test_asgi import Call
from tests.transports.served import served
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def ann() -> Path:
    return papers().trusted.issue("ann@example.com", "ann.example", "192.0.2.7", common_name="ann")


def der(path: Path) -> bytes:
    """The first certificate of a file."""
    text = path.read_text()
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end) + len(end)])


class Hook:
    """Lets in whoever has shown a certificate; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[HttpRequest] = []

    @property
    def certificates(self) -> list[ClientCertificate | None]:
        return [request.certificate for request in self.seen]

    def __call__(self, request: HttpRequest) -> Verdict:
        self.seen.append(request)
        if request.certificate is None:
            return Refusal(status=403, message="show a certificate")
        return Principal(request.certificate.subject)


def context(*, required: bool = True) -> ssl.SSLContext:
    ca = papers().trusted.file
    return server_tls(papers().server, client_ca=ca, client_cert_required=required)


def mine(cert: Path | None) -> ssl.SSLContext:
    return client_tls(ca=papers().trusted.file, cert=cert)


async def test_the_hook_sees_it_with_every_request_of_a_connection() -> None:
    hook, cert = Hook(), ann()
    settings = HttpServerSettings(authenticate=hook)
    async with server(settings, ssl_context=context()) as running:
        client = await running.connect(mine(cert))
        for _ in range(3):  # heads that come again are not parsed again
            assert (await client.call(tool("echo"))).status == 200
    assert len(hook.seen) == 3
    for request in hook.seen:
        seen = request.certificate
        assert seen is not None
        assert request.scheme == "https"
        assert seen.subject.startswith("CN=ann,OU=Testing cert #")
        assert ",O=trustme v" in seen.subject
        assert set(seen.names) == {
            ("email", "ann@example.com"),
            ("DNS", "ann.example"),
            ("IP Address", "192.0.2.7"),
        }
        assert seen.der == der(cert)
        facts: Any = ssl._ssl._test_decode_cert(str(cert))  # type: ignore[attr-defined]
        assert seen.expires_at == ssl.cert_time_to_seconds(facts["notAfter"])
        assert seen.fingerprint == sha256(der(cert)).hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_resumed_session_has_it_still(version: ssl.TLSVersion) -> None:
    hook, cert = Hook(), ann()
    mine_now = mine(cert)
    mine_now.maximum_version = version
    async with server(HttpServerSettings(authenticate=hook), ssl_context=context()) as running:
        resumed: list[bool] = []
        session: ssl.SSLSession | None = None
        for _ in range(2):
            client = await running.connect()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            wrapped = mine_now.wrap_bio(
                incoming, outgoing, server_hostname="localhost", session=session
            )
            stream = TLSStream(client.stream, True, wrapped, incoming, outgoing)
            await stream._call_sslobject_method(wrapped.do_handshake)
            secure = Client(stream)
            # With TLS 1.3 the session comes behind the handshake, before the response.
            assert (await secure.call(tool("echo"))).status == 200
            session = wrapped.session
            resumed.append(bool(stream.extra(TLSAttribute.ssl_object).session_reused))
            await client.aclose()
    assert resumed == [False, True]
    first, second = hook.certificates
    assert first is not None
    assert second == first


async def test_without_one_the_hook_sees_none() -> None:
    hook = Hook()
    settings = HttpServerSettings(authenticate=hook)
    async with server(settings, ssl_context=context(required=False)) as running:
        response = await (await running.connect(mine(None))).call(tool("echo"))
        assert response.status == 403
        assert (await (await running.connect(mine(ann()))).call(tool("echo"))).status == 200
    async with server(settings) as running:
        assert (await (await running.connect()).call(tool("echo"))).status == 403
    assert [each is None for each in hook.certificates] == [True, False, True]
    assert [request.scheme for request in hook.seen] == ["https", "https", "http"]


async def test_connections_do_not_share_it() -> None:
    """The same head, byte for byte, from clients that are different ones."""
    hook = Hook()
    settings = HttpServerSettings(authenticate=hook)
    async with server(settings, ssl_context=context(required=False)) as running:
        clients = [
            await running.connect(mine(cert)) for cert in (ann(), papers().client, None, ann())
        ]
        for client in [*clients, *reversed(clients)]:
            await client.call(tool("echo"))
    shown = [None if each is None else each.fingerprint for each in hook.certificates]
    assert shown == [*shown[:4], *reversed(shown[:4])]
    assert len(set(shown)) == 4
    assert shown[2] is None


async def test_what_is_to_be_upgraded_carries_it() -> None:
    offered: list[HttpRequest] = []

    async def upgrade(stream: Any, request: HttpRequest, data: bytes) -> bool:
        offered.append(request)
        return False

    leave: dict[str, str | None] = {"Connection": "upgrade", "Upgrade": "websocket"}
    async with server(ssl_context=context(required=False), upgrade=upgrade) as running:
        for cert in (None, ann()):
            client = await running.connect(mine(cert))
            await client.call(http(method="GET", headers=leave))
    assert [request.certificate is not None for request in offered] == [False, True]


# In ASGI, and through a framework


def pem(cert: Path) -> str:
    return ssl.DER_cert_to_PEM_cert(der(cert))


def make() -> Server:
    made = Server("guarded")

    @made.tool
    def whoami(context: Context) -> str:
        return str(context.principal)

    return made


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (None, 403),
        ({}, 403),
        ({"client_cert_chain": []}, 403),
        ({"client_cert_chain": None, "client_cert_name": "CN=ann"}, 403),
        ({"client_cert_chain": "ann", "client_cert_error": "expired"}, 403),
        ({"client_cert_chain": "ann", "client_cert_error": None}, 200),
    ],
)
async def test_asgi_servers_may_tell_of_it(facts: dict[str, Any] | None, status: int) -> None:
    hook, cert = Hook(), ann()
    app = asgi_app(make(), settings=ServeSettings(http_link=HttpServerSettings(authenticate=hook)))
    if facts is not None and facts.get("client_cert_chain"):
        chain = (each for each in (pem(cert), papers().trusted.file.read_text()))
        facts = {"client_cert_name": "CN=ann,O=Example", **facts, "client_cert_chain": chain}
    extensions = {} if facts is None else {"tls": facts}
    call = Call(app, tool("whoami"), scheme="https", extensions=extensions)
    assert (await call.run()).status == status
    if status == 200:
        assert call.result == "CN=ann,O=Example"
        seen = hook.certificates[0]
        assert seen is not None
        assert (seen.der, seen.names) == (der(cert), ())
    assert hook.seen[0].scheme == "https"
    await app.aclose()


async def test_a_framework_may_tell_of_it() -> None:
    hook = Hook()
    settings = ServeSettings(http_link=HttpServerSettings(authenticate=hook))
    endpoint = HttpEndpoint(make(), settings=settings)
    known = ClientCertificate(subject="CN=ann", der=b"...")
    request = http_request("POST", "/mcp", [], scheme="https", certificate=known)
    assert await endpoint.identify(request) == "CN=ann"
    assert hook.seen[0] == request
    await endpoint.aclose()


# Through the whole server


async def test_a_handler_sees_whose_certificate_it_was() -> None:
    hook = Hook()
    settings = ServeSettings(ssl_context=context(), http_link=HttpServerSettings(authenticate=hook))
    async with served(make(), settings=settings) as running:
        url = running.url.replace("127.0.0.1", "localhost")
        for name in ("ann", "bob"):
            cert = papers().trusted.issue(f"{name}@example.com", common_name=name)
            for revision in ("2025-11-25", "2026-07-28"):
                own = ClientSettings(ssl_context=mine(cert))
                async with connect(url, settings=own, revision=revision) as client:
                    content = (await client.call_tool("whoami")).content[0]
                    assert getattr(content, "text", "").startswith(f"CN={name},OU=")
        foreign = ClientSettings(ssl_context=mine(papers().foreign_client))
        with patience(), pytest.raises(NegotiationError):
            async with connect(url, settings=foreign):
                pass
    assert None not in hook.certificates
