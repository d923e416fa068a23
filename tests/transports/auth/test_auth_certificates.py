"""Tokens that are bound to TLS certificates, from the token endpoint to the server (RFC 8705)."""

import json
import secrets
import ssl
from functools import partial
from typing import Any

import anyio
import pytest

from mcpcore import (
    AuthorizationSettings,
    ClientCredentialsGrant,
    ClientIdentity,
    ClientSettings,
    Context,
    HttpServerSettings,
    Issuer,
    ResourceServer,
    Server,
    ServeSettings,
    connect,
)
from mcpcore.auth.grants import ClientAuth
from mcpcore.errors import CallUnauthorized
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    Client,
    Request,
    Response,
    ServerSettings,
)
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve
from mcpcore_transports.auth.signing import subject_of
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.transports.auth.test_client_certificates import der
from tests.transports.certificates import papers
from tests.transports.served import served

pytestmark = pytest.mark.anyio
HOST = "127.0.0.1"
ROBOT = AuthorizationSettings(
    grant=ClientCredentialsGrant(),
    client=ClientIdentity(client_id="robot", certificate=True),
)


class Authority(DevelopmentServer):
    """The authorization server, and the tokens that it gave."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.given: list[str] = []

    def handle(self, request: Request) -> Response:
        response = super().handle(request)
        if request.path == "/token" and response.status == 200:
            self.given.append(json.loads(response.body)["access_token"])
        return response


def client_of(name: str) -> tuple[ssl.SSLContext, str]:
    """Return the context of a client, and the subject of its certificate."""
    cert = papers().trusted.issue(f"{name}@example.org", common_name=name)
    return client_tls(ca=papers().trusted.file, cert=cert), subject_of(der(cert))


async def test_a_token_is_good_with_the_certificate_that_got_it_alone(free_tcp_port: int) -> None:
    tls = server_tls(papers().server, client_ca=papers().trusted.file, client_cert_required=False)
    mine, subject = client_of("robot")
    theirs, _ = client_of("thief")
    resource = f"https://{HOST}:{free_tcp_port}/mcp"
    server = Server("notes")

    @server.tool
    def whoami(context: Context) -> str:
        return str(context.principal)

    def build(issuer: str) -> Authority:
        robot = Client(
            client_id="robot",
            method=ClientAuth.TLS,
            subject=subject,
            grants=frozenset({CLIENT_CREDENTIALS}),
        )
        settings = ServerSettings(issuer=issuer, clients=(robot,))
        keys = [PrivateKey.generate("ES256")]
        return Authority(settings, keys, verify, random=secrets.token_bytes)

    async with anyio.create_task_group() as tasks:
        issuer = await tasks.start(partial(serve, build, ssl_context=tls))
        guard = ResourceServer(
            resource, [Issuer(issuer=issuer.settings.issuer)], ssl_context=mine, proxy=None
        )

        link = HttpServerSettings(authenticate=guard)
        settings = ServeSettings(http_link=link, ssl_context=tls)
        binding = f"{HOST}:{free_tcp_port}"
        with patience():
            async with served(server, http=binding, settings=settings):
                good = ClientSettings(ssl_context=mine, proxy=None)
                async with connect(resource, auth=ROBOT, settings=good) as client:
                    assert "robot" in (await client.call_tool("whoami")).text
                (token,) = issuer.given
                stolen = ClientSettings(ssl_context=theirs, proxy=None)
                with pytest.raises(CallUnauthorized):
                    async with connect(resource, auth=lambda: token, settings=stolen):
                        pass
                with pytest.raises(CallUnauthorized, match="invalid_client"):
                    async with connect(resource, auth=ROBOT, settings=stolen):
                        pass
        tasks.cancel_scope.cancel()
