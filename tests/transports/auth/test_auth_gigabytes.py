"""What 1 GB of a document, or of a challenge, costs: it is hung up on, and little of it is kept."""

import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from mcpcore import ClientSettings, MemoryTokens, connect
from mcpcore.auth.authorization import Refused
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.resource_server import Issuer
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.errors import AuthorizationError, NegotiationError
from mcpcore.http.principals import Principal, Refusal
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.serve.endpoint import http_request
from tests.auth.desk import RESOURCE, claims
from tests.auth.signing import signer
from tests.clock import patience
from tests.transports.auth.auth_site import Asked, authority, site
from tests.transports.auth.test_auth_authorizer import authorizer

pytestmark = pytest.mark.anyio

MIB = 1 << 20
GIGABYTE = 1 << 30
CHUNK = b" " * (1 << 16)
PRM = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"

SHAPES = {
    "with its length": (b"HTTP/1.1 200 x\r\ncontent-length: %d\r\n\r\n" % GIGABYTE, CHUNK),
    "to the end": (b"HTTP/1.1 200 x\r\n\r\n", CHUNK),
    "in chunks": (
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK),
    ),
    "compressed": (b"HTTP/1.1 200 x\r\ncontent-encoding: gzip\r\n\r\n", CHUNK),
    "of headers": (b"HTTP/1.1 200 x\r\n", b"x: y\r\n" * 1000),
    "of a challenge": (b'HTTP/1.1 401 x\r\nwww-authenticate: Bearer scope="', b"x" * (1 << 16)),
    "of challenges": (b"HTTP/1.1 401 x\r\n", b"www-authenticate: Bearer a=b\r\n" * 1000),
}


class Flood:
    """A server's answer of 1 GB, sent until the other side hangs up."""

    def __init__(self, shape: str) -> None:
        self.head, self.part = SHAPES[shape]
        self.sent = 0

    async def __call__(self, asked: Asked, stream: ByteStream) -> None:
        self.sent = 0
        await stream.send(self.head)
        while self.sent < GIGABYTE:
            await stream.send(self.part)
            self.sent += len(self.part)


async def measured(work: Callable[[], Awaitable[object]], flood: Flood) -> None:
    """Do it twice, as much is made once; the second time it costs at most 2 MiB."""
    with patience():
        await work()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await work()
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
    assert peak <= 2 * MIB
    assert 0 < flood.sent < 64 * MIB  # what lies in the buffers of the system


DOCUMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "keys": lambda url: {"jwks_url": f"{url}/jwks"},
    "metadata of the issuer": lambda url: {},
    "introspection": lambda url: {
        "introspection_url": f"{url}/introspect",
        "client": ClientIdentity(client_id="robot", client_secret="secret"),
    },
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_a_server_that_asks_its_issuer(document: str, shape: str) -> None:
    flood = Flood(shape)
    async with site(flood) as issuer:
        trust = Issuer(issuer=issuer.url, **DOCUMENTS[document](issuer.url))
        local = RESOURCE.replace("https://mcp.example", "http://localhost:8000")
        token = signer().jwt(claims(iss=issuer.url))

        async def ask() -> None:
            guard = ResourceServer(local, [trust], proxy=None)
            request = http_request("POST", "/mcp", [("Authorization", f"Bearer {token}")])
            found = guard(request)
            assert not isinstance(found, (Principal, Refusal))
            verdict = await found
            assert isinstance(verdict, Refusal)
            assert verdict.status == 503

        await measured(ask, flood)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", [PRM, METADATA, "/register", "/token"])
async def test_a_client_that_authorizes(path: str, shape: str) -> None:
    flood = Flood(shape)

    async def before(asked: Asked, stream: ByteStream) -> None:
        if asked.target.partition("?")[0] == path:
            await flood(asked, stream)
            raise anyio.EndOfStream

    async with authority(before) as stage:

        async def sign_in() -> None:
            with pytest.raises(AuthorizationError):
                await authorizer(stage, proxy=None).refused(Refused(status=401, lines=("Bearer",)))

        await measured(sign_in, flood)


@pytest.mark.parametrize("shape", ["of headers", "of a challenge", "of challenges"])
async def test_a_client_that_is_challenged(shape: str) -> None:
    flood = Flood(shape)
    async with site(flood) as server:

        async def call() -> None:
            settings = ClientSettings(tokens=MemoryTokens())
            with pytest.raises(NegotiationError, match="header section is larger"):
                async with connect(
                    f"{server.url}/mcp", auth=AuthorizationSettings(), settings=settings
                ):
                    raise AssertionError("it has connected")

        await measured(call, flood)
