"""A protected server of ours, and the development authorization server, in the test's process.

The server checks tokens by a hook of this file; its metadata stands at a site of its own.
"""

import json
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import anyio
from anyio.abc import ByteStream

from mcpcore.auth.grants import ClientAuth
from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl
from mcpcore.auth.proofs import token_hash
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.service import Server
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import Client, Request, Response, ServerSettings
from mcpcore_conformance.auth.model import reply as json_reply
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve as serve_authority
from mcpcore_conformance.everything.sign_in import WillingPerson
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.link import clock
from mcpcore_transports.serve.serve import ServeSettings
from tests.transports.auth.auth_site import Asked, reply, site
from tests.transports.served import ANY_PORT, Served, served

MACHINE = Client(
    client_id="machine",
    method=ClientAuth.BASIC,
    secret="machine-secret",
    grants=frozenset({"client_credentials"}),
)


class Authority(DevelopmentServer):
    """The authorization server, and what it was asked."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.forms: list[dict[str, str]] = []
        self.forgetful = False
        """True to know no refresh token any more."""
        self.out = False
        """True to give no tokens for now."""

    def handle(self, request: Request) -> Response:
        if request.path == "/token":
            self.forms.append(dict(parse_qsl(request.body.decode())))
            if self.out:
                return json_reply({}, 503)
            if self.forgetful and self.grants()[-1] == "refresh_token":
                return json_reply({"error": "invalid_grant"}, 400)
        return super().handle(request)

    def grants(self) -> list[str]:
        """The grants of token requests, in order."""
        return [form["grant_type"] for form in self.forms]


@dataclass
class Stage:
    """What tests look at and change."""

    authority: Authority
    served: Served
    metadata_url: str
    required: frozenset[str] = frozenset()
    """Scopes without which all is refused with 403."""
    own_scopes: bool = False
    """True to refuse calls of a tool with 403 without the scope of its name (modern)."""
    broken: bool = False
    """True to refuse every token."""
    bound: bool = False
    """True to take tokens with proofs alone."""
    nonce: str | None = None
    """Nonce that proofs must hold."""
    life: float | None = None
    """Seconds after which a connection is ended, as its token is over."""
    expired: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)
    """Tokens as they came, of all requests."""
    verdicts: list[int] = field(default_factory=list)

    url: str = ""
    """URL that the metadata and the proofs are about."""

    def __post_init__(self) -> None:
        self.url = self.served.url

    def expire(self) -> None:
        """Let all tokens expire that were used so far."""
        self.expired |= set(self.tokens)

    def check(self, request: HttpRequest) -> Verdict:
        verdict = self._judge(request)
        self.verdicts.append(verdict.status if isinstance(verdict, Refusal) else 200)
        return verdict

    def _judge(self, request: HttpRequest) -> Verdict:
        fields = {name.decode(): value.decode() for name, value in request.headers}
        scheme, _, token = fields.get("authorization", "").partition(" ")
        claims = self._claims(token)
        if token:
            self.tokens.append(token)
        if scheme != ("DPoP" if self.bound else "Bearer") or self.broken or claims is None:
            return self._refuse(401)
        if self.bound and not self._proved(request, fields.get("dpop", ""), token):
            return self._refuse(401, error="invalid_dpop_proof")
        if self.bound and self.nonce not in (None, read(fields["dpop"].split(".")[1]).get("nonce")):
            return self._refuse(401, error="use_dpop_nonce")
        granted = set(claims.get("scope", "").split())
        wanted = self.required
        if fields.get("mcp-method") == "tools/call":
            wanted |= {fields["mcp-name"]} if self.own_scopes else set()
        if not wanted <= granted:
            scope = " ".join(sorted(wanted))
            return self._refuse(403, error="insufficient_scope", scope=scope)
        until = None if self.life is None else clock() + self.life
        return Principal(claims["sub"], scopes=frozenset(granted), until=until)

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that is good."""
        parts = token.split(".")
        if len(parts) != 3 or token in self.expired:
            return None
        data, signature = ".".join(parts[:2]).encode(), decoded(parts[2])
        keys = self.authority.keys.published(time.time())
        if not any(verify(key, "ES256", data, signature) for key in keys):
            return None
        claims = read(parts[1])
        return claims if claims["exp"] > time.time() else None

    def _proved(self, request: HttpRequest, proof: str, token: str) -> bool:
        parts = proof.split(".")
        if len(parts) != 3:
            return False
        header, claims = read(parts[0]), read(parts[1])
        signed = verify(header["jwk"], "ES256", ".".join(parts[:2]).encode(), decoded(parts[2]))
        url = urljoin(self.url.removeprefix("sse+"), request.path)
        wanted = (request.method, url, token_hash(token))
        return signed and (claims["htm"], claims["htu"], claims["ath"]) == wanted

    def _refuse(self, status: int, **params: str) -> Refusal:
        scheme = "DPoP" if self.bound else "Bearer"
        params["resource_metadata"] = self.metadata_url
        challenge = f"{scheme} " + ", ".join(f'{name}="{text}"' for name, text in params.items())
        more = () if self.nonce is None else (("DPoP-Nonce", self.nonce),)
        return Refusal(status=status, challenge=challenge, headers=more)


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decoded(part))
    return found


class Person(WillingPerson):
    """Someone who consents at once, or when they are told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.scopes: list[set[str]] = []
        self.hold: anyio.Event | None = None
        self.away = False

    async def ask(self, need: OpenUrl, listener: object) -> Callback | NeedFailed:
        self.asked.append(need.url)
        params = dict(parse_qsl(urlsplit(need.url).query))
        self.scopes.append(set(params.get("scope", "").split()))
        if self.hold is not None:
            await self.hold.wait()
        return NeedFailed("nobody is there") if self.away else await super().ask(need, listener)


def notes() -> Server:
    """A server with one tool."""
    server = Server("notes")

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    return server


@asynccontextmanager
async def stage(
    server: Server,
    binding: str = "http",
    *,
    scopes: tuple[str, ...] = (),
    token_time: float = 3600.0,
    nonces: bool = False,
    **bindings: Any,
) -> AsyncIterator[Stage]:
    """Run both servers and the site of the metadata; ``bindings``: beside the first one."""
    bindings.setdefault(binding, ANY_PORT)

    def build(issuer: str) -> Authority:
        settings = ServerSettings(
            issuer=issuer,
            consent=False,
            scopes=scopes,
            clients=(MACHINE,),
            token_time=token_time,
            nonces=nonces,
        )
        key = PrivateKey.generate("ES256")
        return Authority(settings, [key], verify, random=secrets.token_bytes)

    async def metadata(asked: Asked, stream: ByteStream) -> None:
        assert asked.header("authorization") is None
        resource = made.url.replace("ws://", "http://").removeprefix("sse+")
        document = {"resource": resource, "authorization_servers": [authority.settings.issuer]}
        await stream.send(reply(json.dumps(document).encode()))

    def check(request: HttpRequest) -> Verdict:
        return made.check(request)

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=check))
    async with anyio.create_task_group() as tasks:
        found: Any = await tasks.start(serve_authority, build)
        authority: Authority = found
        async with site(metadata) as at, served(server, settings=settings, **bindings) as running:
            made = Stage(authority, running, f"{at.url}/metadata")
            yield made
        tasks.cancel_scope.cancel()
