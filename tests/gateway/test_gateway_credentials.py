"""Credentials at the servers behind a gateway: its own, or those of its clients, exchanged."""

import json
import logging
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio
import pytest

from mcpcore import Context, PeerError, Server, connect
from mcpcore.auth.grants import EXCHANGE, ClientAuth, ClientIdentity
from mcpcore.auth.upstream import Upstream
from mcpcore.errors import BadTarget
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, bearer_token
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    Client,
    Refused,
    Request,
    Response,
    ServerSettings,
)
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve as serve_authority
from mcpcore_transports.auth import exchange
from mcpcore_transports.auth.exchange import UpstreamTokens
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.targets import HttpTarget, WebSocketTarget
from tests.clock import HOUR, patience
from tests.gateway.backend import backend
from tests.gateway.commanded import commanded
from tests.gateway.test_gateway import ERAS, MODERN, gateway, text
from tests.transports.auth.auth_stage import decoded, read, stage
from tests.transports.http.test_proxies import proxying
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

FRONT = "http://127.0.0.1:9/mcp"
"""Resource of the gateway."""


def registered(name: str, *grants: str) -> Client:
    """A client of the authorization server."""
    return Client(
        client_id=name,
        method=ClientAuth.BASIC,
        secret=f"{name}-secret",
        grants=frozenset({CLIENT_CREDENTIALS, *grants}),
    )


def identity(name: str) -> ClientIdentity:
    return ClientIdentity(client_id=name, client_secret=f"{name}-secret")


class Authority(DevelopmentServer):
    """The authorization server, which may refuse to exchange the tokens of a subject."""

    refused = ""
    exchanges = 0

    def handle(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        if request.path == "/token" and form["grant_type"] == EXCHANGE:
            self.exchanges += 1
            token = form["subject_token"]
            if read(token.split(".")[1])["sub"] == self.refused:
                refusal = Refused("invalid_grant", f"not with {token}")
                body = json.dumps({"error": refusal.error, "error_description": str(refusal)})
                headers = (("content-type", "application/json"),)
                return Response(status=400, headers=headers, body=body.encode())
        return super().handle(request)


class Scene:
    """A server behind a gateway, and the authorization server that both trust."""

    authority: Authority
    url = ""
    """Resource of the server."""
    target_url = ""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        """Subject and token of each request to the server."""
        self.revoked: set[str] = set()
        """Tokens that the server takes no more."""

    def inbound(self, request: HttpRequest) -> Verdict:
        claims = self._claims(request, FRONT)
        if claims is None:
            return Refusal()
        scopes = claims.get("scope", "").split()
        name, _, client = claims["sub"].partition(".")  # ann, by a second client: ann.two
        return Principal(name, scopes=scopes, claims={"client_id": client}, exchangeable=True)

    def outbound(self, request: HttpRequest) -> Verdict:
        claims = self._claims(request, self.url)
        if claims is None or bearer_token(request) in self.revoked:
            return Refusal()
        self.seen.append((claims["sub"], bearer_token(request) or ""))
        return Principal(claims["sub"])

    def _claims(self, request: HttpRequest, resource: str) -> dict[str, Any] | None:
        token = bearer_token(request) or ""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        data, signature = ".".join(parts[:2]).encode(), decoded(parts[2])
        keys = self.authority.keys.published(time.time())
        good = any(verify(key, "ES256", data, signature) for key in keys)
        claims: dict[str, Any] = read(parts[1])
        return claims if good and claims["aud"] == resource else None

    async def token(self, name: str, *scopes: str) -> str:
        """A token for the gateway."""
        upstream = Upstream(
            resource=FRONT,
            issuer=self.authority.settings.issuer,
            client=identity(name),
            scopes=frozenset(scopes),
        )
        return (await UpstreamTokens(upstream, proxy=None).token()).reveal()

    def exchanged(self, **more: Any) -> UpstreamTokens:
        upstream = Upstream(
            resource=self.url.replace("ws://", "http://"),
            issuer=self.authority.settings.issuer,
            client=identity("gateway"),
        )
        return UpstreamTokens(upstream, **{"proxy": None, **more})

    def subjects(self) -> dict[str, set[str]]:
        """Tokens that the server has seen, by their subject."""
        found: dict[str, set[str]] = {}
        for subject, token in self.seen:
            found.setdefault(subject, set()).add(token)
        return found


def whoami() -> Server:
    """A server that tells who calls."""
    server = Server("behind")

    @server.tool
    def who(context: Context) -> str:
        return str(context.principal)

    return server


@asynccontextmanager
async def scene(server: Server, **bindings: Any) -> AsyncIterator[Scene]:
    """Run the authorization server and the server behind."""
    made = Scene()

    def build(issuer: str) -> Authority:
        clients = (
            *map(registered, ("ann", "ann.two", "ben")),
            registered("gateway", EXCHANGE),
        )
        settings = ServerSettings(issuer=issuer, consent=False, clients=clients)
        key = PrivateKey.generate("ES256")
        return Authority(settings, [key], verify, random=secrets.token_bytes)

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=made.outbound))
    async with anyio.create_task_group() as tasks:
        found: Any = await tasks.start(serve_authority, build)
        made.authority = found
        async with served(server, settings=settings, **bindings) as behind:
            made.url = behind.url.replace("ws://", "http://")
            made.target_url = behind.url
            yield made
        tasks.cancel_scope.cancel()


def inbound(made: Scene) -> ServeSettings:
    return ServeSettings(http_link=HttpServerSettings(authenticate=made.inbound))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("up", "down"), [("http", "ws"), ("ws", "http")])
@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
async def test_each_principal_has_a_token_of_its_own_at_the_server(
    client: str, server: str, up: str, down: str
) -> None:
    behind: dict[str, Any] = {up: ANY_PORT}
    before: dict[str, Any] = {down: ANY_PORT}
    async with scene(whoami(), revisions=[server], **behind) as made:
        kind = WebSocketTarget if up == "ws" else HttpTarget
        target = kind(made.target_url, auth=made.exchanged())
        async with (
            gateway({"only": target}, settings_of=inbound(made), **before) as front,
            AsyncExitStack() as stack,
        ):
            tokens = {name: await made.token(name) for name in ("ann", "ben")}
            clients = {
                name: await stack.enter_async_context(
                    connect(front.url, revision=client, headers=bearer(token))
                )
                for name, token in tokens.items()
            }
            for _ in range(2):
                for name, connected in clients.items():
                    assert text(await connected.call_tool("who")) == name
        found = made.subjects()
        assert found.keys() - {"gateway"} == {"ann", "ben"}
        assert [len(found[name]) for name in tokens] == [1, 1]
        assert made.authority.exchanges == 2
        assert not {token for _, token in made.seen} & set(tokens.values())


@pytest.mark.parametrize("given", [False, True])
async def test_tokens_are_got_by_the_proxy_and_the_tls_settings_of_the_gateway(given: bool) -> None:
    """Unless a program has given others: a file of servers gives none."""
    context, own = ssl.create_default_context(), ssl.create_default_context()
    async with scene(whoami(), revisions=[MODERN]) as made, proxying() as proxy:
        more = {"proxy": None, "ssl_context": own} if given else {"proxy": ENVIRONMENT}
        tokens = made.exchanged(**more)
        client = ClientSettings(proxy=proxy.url, ssl_context=context)
        only = {"only": HttpTarget(made.url, auth=tokens)}
        async with (
            gateway(
                only, GatewaySettings(client=client), http=ANY_PORT, settings_of=inbound(made)
            ) as front,
            connect(front.url, headers=bearer(await made.token("ann"))) as ann,
        ):
            assert text(await ann.call_tool("who")) == "ann"
        asked = [target for _, target, _ in proxy.asked]
        assert made.url in asked
        assert (f"{made.authority.settings.issuer}/token" in asked) is not given
        assert tokens._ssl_context is (own if given else context)


@pytest.mark.parametrize("new", [False, True])
async def test_a_token_that_the_server_refuses_is_exchanged_anew(
    new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is new: then the next would be refused as well."""
    monkeypatch.setattr(exchange, "_NEW", HOUR if new else 0.0)
    async with scene(whoami(), revisions=[MODERN]) as made:
        target = HttpTarget(made.url, auth=made.exchanged())
        async with (
            gateway({"only": target}, http=ANY_PORT, settings_of=inbound(made)) as front,
            connect(front.url, headers=bearer(await made.token("ann"))) as ann,
        ):
            assert text(await ann.call_tool("who")) == "ann"
            made.revoked |= made.subjects()["ann"]
            if new:
                with pytest.raises(PeerError, match="refuses the token"):
                    await ann.call_tool("who")
            else:
                assert text(await ann.call_tool("who")) == "ann"
        assert made.authority.exchanges == (1 if new else 2)


@pytest.mark.parametrize("up", ["http", "ws"])
@pytest.mark.parametrize("server", ERAS)
async def test_a_refused_exchange_is_an_error_for_that_client_alone(
    server: str, up: str, caplog: pytest.LogCaptureFixture
) -> None:
    behind: dict[str, Any] = {up: ANY_PORT}
    caplog.set_level(logging.DEBUG)
    async with scene(whoami(), revisions=[server], **behind) as made:
        kind = WebSocketTarget if up == "ws" else HttpTarget
        target = kind(made.target_url, auth=made.exchanged())
        made.authority.refused = "ben"
        async with (
            gateway({"only": target}, http=ANY_PORT, settings_of=inbound(made)) as front,
            AsyncExitStack() as stack,
        ):
            tokens = {name: await made.token(name) for name in ("ann", "ben")}
            ann, ben = [
                await stack.enter_async_context(connect(front.url, headers=bearer(token)))
                for token in tokens.values()
            ]
            for _ in range(6):  # more than it takes to open a circuit breaker
                with pytest.raises(PeerError) as refused:
                    await ben.call_tool("who")
                assert str(refused.value).startswith("only: ")
                assert "the token of the client was not given" in str(refused.value)
                assert tokens["ben"] not in repr(refused.value.error)
            assert text(await ann.call_tool("who")) == "ann"
            made.authority.refused = ""
            assert text(await ben.call_tool("who")) == "ben"
        assert "invalid_grant" in caplog.text
        assert not [token for token in tokens.values() if token in caplog.text]


async def test_a_token_with_fewer_scopes_is_not_exchanged_for_that_of_one_with_more() -> None:
    async with scene(whoami(), revisions=[MODERN]) as made:
        target = HttpTarget(made.url, auth=made.exchanged())
        async with (
            gateway({"only": target}, http=ANY_PORT, settings_of=inbound(made)) as front,
            connect(front.url, headers=bearer(await made.token("ann", "read"))) as one,
            connect(front.url, headers=bearer(await made.token("ann", "read", "write"))) as other,
        ):
            for client in (one, other, one):
                assert text(await client.call_tool("who")) == "ann"
        assert len(made.subjects()["ann"]) == made.authority.exchanges == 2


async def test_a_token_of_another_client_of_the_same_person_is_not_exchanged() -> None:
    async with scene(whoami(), revisions=[MODERN]) as made:
        target = HttpTarget(made.url, auth=made.exchanged())
        async with (
            gateway({"only": target}, http=ANY_PORT, settings_of=inbound(made)) as front,
            connect(front.url, headers=bearer(await made.token("ann"))) as one,
            connect(front.url, headers=bearer(await made.token("ann.two"))) as other,
        ):
            for client, name in ((one, "ann"), (other, "ann.two"), (one, "ann")):
                assert text(await client.call_tool("who")) == name


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_client_whose_token_is_not_known_is_refused(kept: int) -> None:
    """It was not judged by the token, or another client has shown one since."""
    async with scene(whoami(), revisions=[MODERN]) as made:

        def judge(request: HttpRequest) -> Verdict:
            return made.inbound(request) if kept else Principal("ann")

        settings = ServeSettings(http_link=HttpServerSettings(authenticate=judge))
        only = {"only": HttpTarget(made.url, auth=made.exchanged())}
        async with (
            gateway(only, GatewaySettings(subjects=1), ws=ANY_PORT, settings_of=settings) as front,
            connect(front.url, headers=bearer(await made.token("ann"))) as ann,
            connect(front.url, headers=bearer(await made.token("ben"))) as ben,
        ):
            with pytest.raises(PeerError, match="has shown no token that can be exchanged"):
                await ann.call_tool("who")
            if kept:
                assert text(await ben.call_tool("who")) == "ben"
        assert made.subjects().keys() <= {"gateway", "ben"}


async def test_tokens_are_exchanged_before_authenticated_clients_alone() -> None:
    async with scene(whoami()) as made:
        target = HttpTarget(made.url, auth=made.exchanged())
        with pytest.raises(BadTarget, match=r"only: .* does not authenticate its clients"):
            await serve(Gateway({"only": target}), http=ANY_PORT)
        with pytest.raises(BadTarget, match="by a gateway alone"):
            connect(target)


def config(folder: Path, url: str, **oauth: str) -> str:
    """Write a configuration file with one server."""
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"only": {"url": url, "oauth": oauth}}}))
    return str(file)


async def test_the_token_of_the_gateway_itself(tmp_path: Path) -> None:
    async with stage(backend(), http=ANY_PORT) as made:
        file = config(
            tmp_path,
            made.served.url,
            grant="client_credentials",
            clientId="machine",
            clientSecret="machine-secret",
            issuer=made.authority.settings.issuer,
        )
        with patience():
            async with commanded("--config", file, "--http", ANY_PORT) as url:
                for revision in ERAS:
                    async with connect(
                        url, revision=revision, headers=bearer("of-the-client")
                    ) as client:
                        result = await client.call_tool("echo", {"text": "hi"})
                        assert text(result) == "backend: hi"
        subjects = {read(token.split(".")[1])["sub"] for token in made.tokens}
        assert subjects == {"machine"}
        assert made.authority.grants() == ["client_credentials"]


async def test_tokens_are_exchanged_as_the_file_has_it(tmp_path: Path) -> None:
    async with scene(whoami(), http=ANY_PORT) as made:
        issuer = made.authority.settings.issuer
        file = config(
            tmp_path,
            made.url,
            grant="token_exchange",
            clientId="gateway",
            clientSecret="gateway-secret",
            issuer=issuer,
        )
        words = ("--config", file, "--http", ANY_PORT)
        guarded = ("--auth-resource", FRONT, "--auth-issuer", issuer)
        with patience():
            async with commanded(*words, *guarded) as url:
                for name in ("ann", "ben"):
                    async with connect(url, headers=bearer(await made.token(name))) as client:
                        assert text(await client.call_tool("who")) == name
        assert made.authority.exchanges == 2
