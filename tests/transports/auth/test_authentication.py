"""Who sends a request, over sockets and in ASGI: asked, refused, bound to, seen by handlers."""

import gc
import sys
import time
from types import BuiltinFunctionType, CoroutineType, FunctionType, MethodType, ModuleType
from typing import Any

import anyio
import pytest

from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, bearer_token
from mcpcore.service import Server
from mcpcore_transports.http1.format import format_response
from mcpcore_transports.http1.heads import ResponseParser
from mcpcore_transports.http1.settings import HttpClientLinkSettings, HttpServerSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.notifications import NotificationContext
from tests.clock import patience, until
from tests.transports.http_fixture import Client, Response, http, initialize, legacy, server, tool
from tests.transports.raw_site import served
from tests.transports.serve.test_asgi import Call

pytestmark = pytest.mark.anyio

CHALLENGE = 'Bearer error="invalid_token"'


def check(request: HttpRequest) -> Verdict:
    """Tokens are names; ``admin`` may do more."""
    token = bearer_token(request)
    if token is None:
        return Refusal()
    if token == "expired":
        return Refusal(message="the token has expired", challenge=CHALLENGE)
    return Principal(token, scopes=["write"] if token == "admin" else [])


async def check_slowly(request: HttpRequest) -> Verdict:
    await anyio.lowlevel.checkpoint()
    return check(request)


def bearer(token: str) -> dict[str, str | None]:
    return {"Authorization": f"Bearer {token}"}


def sign(data: bytes, token: str) -> bytes:
    """Add a token to a whole HTTP request."""
    return data.replace(b"\r\n", b"\r\nAuthorization: Bearer %b\r\n" % token.encode(), 1)


class Signing(Client):
    """Client whose requests all have a token."""

    async def call(self, data: bytes) -> Response:
        return await super().call(sign(data, "ann"))


hooks = pytest.mark.parametrize("hook", [check, check_slowly])


@pytest.mark.requirement(
    "basic/security-best-practices/every-request",
    "basic/transports/streamable-http/authenticate",
)
@hooks
async def test_every_request_is_asked_who_sends_it(hook: object) -> None:
    settings = HttpServerSettings(authenticate=hook)  # type: ignore[arg-type]
    async with server(settings) as running:
        client = await running.connect()
        refused = await client.call(tool("echo"))
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "connection" not in refused.headers
        expired = await client.call(tool("echo", headers=bearer("expired")))
        assert (expired.status, expired.headers["www-authenticate"]) == (401, CHALLENGE)
        assert expired.json["error"]["message"] == "the token has expired"
        assert (await client.call(tool("echo", headers=bearer("ann")))).status == 200
        # The same connection may bring requests of several; none of them stays known.
        assert (await client.call(tool("echo"))).status == 401
        health = await client.call(http(method="GET", target="/health"))
        assert health.status == 200
        assert not any(isinstance(event, Refusal) for event in running.app.events)


@pytest.mark.requirement("basic/security-best-practices/sessions-authenticate-nobody")
@hooks
async def test_sessions_belong_to_their_principal(hook: object) -> None:
    settings = HttpServerSettings(authenticate=hook)  # type: ignore[arg-type]
    async with server(settings) as running:
        client = await running.connect()
        session = await initialize(Signing(client.stream))
        ping = legacy("ping", session=session)
        assert (await client.call(sign(ping, "ann"))).status == 200
        assert (await client.call(sign(ping, "bob"))).status == 404
        assert (await client.call(ping)).status == 401
        delete = http(method="DELETE", headers={"Mcp-Session-Id": session})
        assert (await client.call(sign(delete, "bob"))).status == 404
        assert (await client.call(sign(delete, "ann"))).status == 204


_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, CoroutineType)
_OURS = ("mcpcore.", "mcpcore_transports.")


def held_by(*roots: object) -> str:
    """All text within objects and within the globals of our modules, but for code."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_OURS)]
    waiting: list[object] = [
        *roots,
        *(each for module in modules for each in gc.get_referents(vars(module))),
    ]
    seen: dict[int, object] = {}
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, _CODE):
            seen[id(one)] = one
            waiting += gc.get_referents(one)
    return "\n".join(str(one) for one in seen.values() if isinstance(one, (bytes, bytearray, str)))


SECRETS = ("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "Mcp-Session-Id")


@pytest.mark.parametrize("target", ["/mcp", "/mcp?token=unforgotten-query"])
async def test_no_credential_outlives_its_connection(target: str) -> None:
    settings = HttpServerSettings(authenticate=lambda _: Principal("ann"))
    async with server(settings) as running:
        for _ in range(2):
            client = await running.connect()
            session = await initialize(client)
            secret = {name: f"unforgotten-{name}" for name in SECRETS[:-1]}
            for number in range(3):
                sent = tool("echo", headers={**secret, "X-Id": str(number)}, id=10**number)
                reply = await client.call(sent.replace(b"/mcp", target.encode(), 1))
                assert reply.status == 200
            assert "unforgotten-" in held_by(running.link.carriers)
            await client.aclose()
        await until(lambda: not running.link.connections)
        found = held_by(running.link.parser, running.link.carriers, running.machine)
        assert "mcp-protocol-version" in found
        assert "unforgotten-" not in found
        assert session not in held_by(running.link.parser)


@pytest.mark.parametrize("name", [*SECRETS, "Set-Cookie", "DPoP-Nonce"])
def test_no_credential_of_a_response_is_kept(name: str) -> None:
    headers = [(name.encode(), b"marked-of-a-response"), (b"content-length", b"0")]
    sent = format_response(200, headers)
    for data in (sent, sent.replace(b"marked-of-a-response", b"open"), sent):
        head = ResponseParser(HttpClientLinkSettings().head_limits).take(bytearray(data))
        assert head is not None
        assert len(head.values(name.lower().encode())) == 1
    assert "marked-of-a-response" not in held_by()


async def test_no_mistake_of_the_application_lets_anybody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(request: HttpRequest) -> Verdict:
        raise KeyError("secret of the database")

    async def broken_later(request: HttpRequest) -> Verdict:
        return broken(request)

    async def endless(request: HttpRequest) -> Verdict:
        await anyio.sleep_forever()
        raise AssertionError

    for hook, status in (
        (broken, 500),
        (broken_later, 500),
        (lambda request: None, 500),
        (lambda request: True, 500),
        (lambda request: "", 500),
        (lambda request: "the token has expired", 500),
        (lambda request: Principal("ann", until=time.time() + 60.0), 500),  # by another clock
        (lambda request: Principal("ann", until=(time.time() + 60.0) * 1000), 500),
        (lambda request: Principal("ann", until=time.time_ns()), 500),
        (endless, 503),
    ):
        wait = 0.01 if hook is endless else 20.0
        settings = HttpServerSettings(authenticate=hook, authenticate_time=wait)  # type: ignore[arg-type]
        async with server(settings) as running:
            client = await running.connect()
            response = await client.call(tool("echo"))
            assert response.status == status
            assert b"secret" not in response.body
            assert not running.app.events
        assert "authenticating a request" in caplog.text
        caplog.clear()


class Slow:
    """A hook that takes its time."""

    def __init__(self) -> None:
        self.asked, self.go_on = anyio.Event(), anyio.Event()
        self.settings = HttpServerSettings(authenticate=self)

    async def __call__(self, request: HttpRequest) -> Verdict:
        self.asked.set()
        await self.go_on.wait()
        return Principal("ann")


async def test_a_client_that_leaves_while_it_is_being_authenticated() -> None:
    hook = Slow()
    async with server(hook.settings) as running:
        client = await running.connect()
        await client.send(tool("wait"))
        await hook.asked.wait()
        await client.aclose()
        hook.go_on.set()
        with patience():
            while running.link.connections:
                await anyio.lowlevel.checkpoint()


POST = tool("echo")
HEAD = POST.find(b"\r\n\r\n") + 4
SESSION = {"Mcp-Session-Id": "of nobody"}
CLOSING: dict[str, tuple[bytes, bytes]] = {
    # what comes before the server closes, and after it
    "GET": (http(method="GET", headers=SESSION | {"Accept": "text/event-stream"}), b""),
    "DELETE": (http(method="DELETE", headers=SESSION), b""),
    "POST": (POST, b""),
    "POST, its body later": (POST[:HEAD], POST[HEAD:]),
    "POST, the rest of its body later": (POST[:-1], POST[-1:]),
}


@pytest.mark.share(3)
@pytest.mark.parametrize("name", CLOSING)
async def test_who_is_being_authenticated_when_the_server_closes_is_answered(name: str) -> None:
    hook = Slow()
    before, behind = CLOSING[name]
    async with server(hook.settings) as running, anyio.create_task_group() as tasks:
        client, idle = await running.connect(), await running.connect()
        await client.send(before)
        await hook.asked.wait()
        tasks.start_soon(running.link.aclose)
        assert await idle.closed()
        await client.send(behind)
        hook.go_on.set()
        response = await client.response()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert response.headers["connection"] == "close"
        assert await client.closed()


# Through the whole server


def make() -> Server:
    made = Server("guarded")

    @made.tool
    def whoami(context: Context) -> str:
        """Say who asks."""
        principal = context.principal
        return "nobody" if principal is None else f"{principal} {sorted(principal.scopes)}"

    @made.tool(visible=lambda who: isinstance(who, Principal) and "write" in who.scopes)
    def erase() -> str:
        """Erase everything."""
        return "done"

    return made


SETTINGS = ServeSettings(http_link=HttpServerSettings(authenticate=check_slowly))


async def test_handlers_see_the_principal_and_tools_may_depend_on_it() -> None:
    async with served(make(), SETTINGS) as site:
        client = await site.connect()
        for token, scopes, status in (("ann", "[]", -32602), ("admin", "['write']", None)):
            response = await client.call(tool("whoami", headers=bearer(token)))
            assert response.result == f"{token} {scopes}"
            erased = (await client.call(tool("erase", headers=bearer(token)))).json
            assert erased.get("error", {}).get("code") == status


async def test_listeners_to_notifications_see_the_principal() -> None:
    made, heard = make(), list[Principal | None]()

    @made.notification("notifications/acme/word")
    def hear(context: NotificationContext) -> None:
        heard.append(context.principal)

    async with served(made, SETTINGS) as site:
        client = await site.connect()
        session = await initialize(Signing(client.stream))
        word = legacy("notifications/acme/word", id=None, session=session)
        assert (await client.call(sign(word, "ann"))).status == 202
        await until(lambda: heard)
    assert [(type(who), who) for who in heard] == [(Principal, "ann")]


async def test_the_hook_works_in_asgi_too() -> None:
    app = asgi_app(make(), settings=SETTINGS)
    for token, status in ((None, 401), ("expired", 401), ("ann", 200)):
        call = await Call(app, tool("whoami", headers=bearer(token) if token else None)).run()
        assert call.status == status
        if token == "ann":
            assert call.result == "ann []"
        else:
            assert b"www-authenticate" in call.headers
    await app.aclose()


class Table(dict[str, str]):
    """A hook that is false, as nobody is in it."""

    def __call__(self, request: HttpRequest) -> Refusal:
        return Refusal()


@pytest.mark.parametrize("hook", [check, Table()])
async def test_a_framework_has_to_ask_first(hook: Any) -> None:
    link = HttpServerSettings(authenticate=hook)
    endpoint = HttpEndpoint(make(), settings=ServeSettings(http_link=link))
    request = http_request("POST", "/mcp", [("Host", "localhost")])
    with pytest.raises(RuntimeError, match="identify"):
        endpoint.handle(request)
    with endpoint.handle(request, principal=await endpoint.identify(request)) as call:
        (head, *_rest) = [action async for action in call]
        assert head.status == 401  # type: ignore[union-attr]
    health = http_request("GET", "/health", [])
    with endpoint.handle(health) as call:
        (head, *_rest) = [action async for action in call]
        assert head.status == 200  # type: ignore[union-attr]
    await endpoint.aclose()


@pytest.mark.parametrize("who", ["", "a\nb", False, 0, b"ann", object()])
async def test_a_framework_that_names_nobody_lets_nobody_in(who: Any) -> None:
    endpoint = HttpEndpoint(make(), settings=SETTINGS)
    request = http_request("POST", "/mcp", [("Host", "localhost")])
    with endpoint.handle(request, principal=who) as call:
        (head, *_rest) = [action async for action in call]
        assert head.status == 500  # type: ignore[union-attr]
    await endpoint.aclose()
