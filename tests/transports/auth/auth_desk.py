"""A protected server over real sockets, and the development authorization server that it trusts."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import anyio
from msgspec import structs

from mcpcore.auth.proofs import thumbprint
from mcpcore.auth.resource_server import AuthEvent, Issuer
from mcpcore.http.principals import Principal, Refusal
from mcpcore.service import Server
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import Request, ServerSettings
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve as serve_issuer
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.serve.endpoint import http_request
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from tests.auth.desk import proof
from tests.auth.signing import signer
from tests.transports.http_fixture import Client, Response, hello, http
from tests.transports.malformed import META
from tests.transports.raw_site import Site, served

RESOURCE = "http://localhost:8000/mcp"
METADATA = "/.well-known/oauth-protected-resource/mcp"
MODERN = "2026-07-28"
_NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Desk:
    """What a test has: tokens of the issuer, events of the audit, the guard."""

    def __init__(self, issuer: DevelopmentServer) -> None:
        self.issuer = issuer
        self.requests: list[Request] = []
        self.events: list[AuthEvent] = []
        self.guard: ResourceServer
        self.site: Site

    @property
    def url(self) -> str:
        return self.issuer.settings.issuer

    def token(
        self, subject: str = "ann", scope: str = "", *, typ: str = "at+jwt", **claims: Any
    ) -> str:
        """An access token, signed with the key of the issuer; claims that are None are left out."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "sub": subject,
            "aud": RESOURCE,
            "client_id": "robot",
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_hex(8),
            "scope": scope,
            **claims,
        }
        return self.issuer.keys.sign(
            typ, {name: each for name, each in made.items() if each is not None}
        )

    def bound(self, **claims: Any) -> str:
        """An access token that is bound to the key of ``proven``."""
        return self.token(cnf={"jkt": thumbprint(signer().jwk)}, **claims)

    def granted(self, scope: str) -> str:
        """A token by client credentials, as the token endpoint gives it."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": RESOURCE}
        request = Request(
            method="POST",
            path="/token",
            headers=(
                ("content-type", "application/x-www-form-urlencoded"),
                ("authorization", "Basic cm9ib3Q6c2VjcmV0"),
            ),
            body=urlencode(form).encode(),
            wall=time.time(),
        )
        response = self.issuer.handle(request)
        assert response.status == 200, response.body
        token = json.loads(response.body)["access_token"]
        assert isinstance(token, str)
        return token

    async def connect(self) -> Client:
        return await self.site.connect()

    async def call(self, data: bytes) -> Response:
        """The response to a request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.call(data)
        finally:
            await client.aclose()


@asynccontextmanager
async def issuer(clients: tuple[Any, ...] = (), **settings: Any) -> AsyncIterator[Desk]:
    """Run the development authorization server; ``clients`` are registered beside ``robot``."""
    from mcpcore.auth.grants import ClientAuth
    from mcpcore_conformance.auth.model import CLIENT_CREDENTIALS
    from mcpcore_conformance.auth.model import Client as Registered

    robot = Registered(
        client_id="robot",
        method=ClientAuth.BASIC,
        secret="secret",
        grants=frozenset({CLIENT_CREDENTIALS}),
    )
    made: list[Desk] = []

    def build(url: str) -> DevelopmentServer:
        rules = ServerSettings(issuer=url, clients=(robot, *clients), consent=False, **settings)
        keys = [PrivateKey.generate("ES256")]
        server = DevelopmentServer(rules, keys, verify, random=secrets.token_bytes)
        desk = Desk(server)
        made.append(desk)
        handle = server.handle

        def kept(request: Request) -> Any:
            desk.requests.append(request)
            return handle(request)

        server.handle = kept  # type: ignore[method-assign]
        return server

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve_issuer, build)
        yield made[0]
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def protected(
    server: Server | None = None,
    *,
    guard: Callable[[Desk], Any] | None = None,
    settings: ServeSettings | None = None,
    trusted: Mapping[str, Any] | None = None,
    binding: str = "http",
    resource: str = RESOURCE,
    **rules: Any,
) -> AsyncIterator[Desk]:
    """Serve a protected server, on one binding.

    ``guard``: makes the hook, a ResourceServer with ``rules`` by default; ``trusted``: of its
    issuer.
    """
    async with issuer() as desk:
        trust = Issuer(issuer=desk.url, **(trusted or {}))
        desk.guard = ResourceServer(resource, [trust], audit=desk.events.append, **rules)
        hook = desk.guard if guard is None else guard(desk)
        chosen = settings or ServeSettings()
        link = structs.replace(chosen.http_link, authenticate=hook)
        chosen = structs.replace(chosen, http_link=link)
        async with served(server or notes(), chosen, binding) as site:
            desk.site = site
            yield desk


def notes() -> Server:
    """A server whose features need the scope ``write``, a role, or nothing."""
    made = Server("notes", list_cache_scope="public")

    @made.tool
    async def who(context: Context) -> str:
        found = context.principal
        if found is None:
            return "nobody"
        return json.dumps([found, sorted(found.scopes), sorted(found.roles), sorted(found.claims)])

    @made.tool(scopes={"write", "files"})
    def erase() -> str:
        return "erased"

    @made.tool(roles={"admin", "owner"})
    def govern() -> str:
        return "governed"

    @made.tool(scopes={"write"}, task="optional")
    async def toil() -> str:
        return "toiled"

    @made.tool(visible=lambda who: str(who).endswith('"bob"]'))
    def secret() -> str:
        return "hidden"

    made.add_resource("notes://open", "open")
    made.add_resource("notes://shut", "shut", scopes={"write"})

    @made.resource("shut://{name}", scopes={"write"})
    def shut(name: str) -> str:
        return name

    @made.prompt(scopes={"write"})
    def compose(topic: str) -> str:
        return topic

    @made.completion(prompt="compose")
    def topics(typed: str) -> list[str]:
        return ["a topic"]

    @made.completion(template="shut://{name}")
    def of_shut(typed: str) -> list[str]:
        return ["a name"]

    return made


def bearer(token: str | None) -> dict[str, str | None]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def proven(token: str, **claims: Any) -> dict[str, str | None]:
    """Headers with a bound token and a proof, by default for a POST to the server now."""
    changed: dict[str, Any] = {"iat": time.time(), "htu": RESOURCE, **claims}
    return {"Authorization": f"DPoP {token}", "DPoP": proof(token, **changed)}


async def judged(guard: Any, headers: Mapping[str, str | None], **request: Any) -> Any:
    """The verdict of a scheme on a request with these headers."""
    lines: Any = list(headers.items())
    found = guard(http_request("POST", "/mcp", lines, **request))
    return found if isinstance(found, (Principal, Refusal)) else await found


def modern(
    method: str,
    params: Mapping[str, Any] | None = None,
    token: str | None = None,
    *,
    id: int = 1,
    headers: Mapping[str, str | None] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> bytes:
    """A modern request as a whole HTTP request."""
    given = dict(params or {})
    body = {
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": {**given, "_meta": {**META, **(meta or {})}},
    }
    lines: dict[str, str | None] = {
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        **bearer(token),
    }
    if method in _NAMES:
        lines["Mcp-Name"] = given[_NAMES[method]]
    return http(json.dumps(body).encode(), headers={**lines, **(headers or {})})


def call(name: str, token: str | None = None, **options: Any) -> bytes:
    return modern("tools/call", {"name": name, "arguments": {}}, token, **options)


def legacy(
    method: str | None,
    params: Any = None,
    token: str | None = None,
    *,
    session: str | None = None,
    revision: str = "2025-11-25",
    id: int | None = 1,
    body: Any = None,
) -> bytes:
    """A legacy message as a whole HTTP request; ``body``: in place of one."""
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    if id is not None:
        message["id"] = id
    lines: dict[str, str | None] = {"Mcp-Session-Id": session, **bearer(token)}
    if method != "initialize" and revision > "2025-03-26":
        lines["MCP-Protocol-Version"] = revision
    return http(json.dumps(body or message).encode(), headers=lines)


async def open_session(client: Client, token: str | None, revision: str = "2025-11-25") -> str:
    """Open a legacy session; return its id."""
    opened = await client.call(legacy("initialize", hello(revision), token, revision=revision))
    assert opened.status == 200, opened.body
    session = opened.headers["mcp-session-id"]
    note = legacy("notifications/initialized", None, token, session=session, id=None)
    assert (await client.call(note)).status == 202
    return session


def message_of(response: Response) -> Any:
    """The JSON-RPC message of a response, which may be an event."""
    if response.headers.get("content-type") == "text/event-stream":
        line = next(x for x in response.body.split(b"\n") if x.startswith(b"data: {"))
        return json.loads(line.removeprefix(b"data: "))
    return response.json


SERVER = notes()
"""For `mcpcore serve`."""
