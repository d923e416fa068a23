"""Credentials that let nobody in, on every binding: numbers as in the page of the design.

A row is what an attacker shows; each binding refuses it before anything else, and asks for a token.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any
from wsgiref.util import setup_testing_defaults

import anyio
import pytest
from msgspec import structs

from mcpcore import HttpSettings, MemoryStore, Server, ServeSettings, SsePaths, make_key
from mcpcore.auth.tokens import TokenFault
from mcpcore_transports.serve.asgi import AsgiApp, asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.serve.wsgi import WsgiApp
from tests.auth.signing import Signer, part, signer
from tests.clock import patience
from tests.transports.auth.auth_desk import RESOURCE, Desk, bearer, call, protected
from tests.transports.http_fixture import http

pytestmark = pytest.mark.anyio

Lines = list[tuple[str, str]]
SHARED = ServeSettings(shared=True, http=HttpSettings(sse=SsePaths()))
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def unsigned(desk: Desk) -> str:
    _, claims, signature = desk.token().split(".")
    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{claims}.{signature}"


def symmetric(desk: Desk) -> str:
    """A token signed by HMAC with what the issuer publishes."""
    (key,) = desk.issuer.keys.published(time.time())
    claims = desk.token().split(".")[1]
    signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key['kid']})}.{claims}"
    return f"{signed}.{part(hmac.digest(key['x'].encode(), signed.encode(), 'sha256'))}"


def forged(desk: Desk) -> str:
    """A token signed by a key of an attacker under the name of the issuer's."""
    (key,) = desk.issuer.keys.published(time.time())
    claims = {"iss": desk.url, "sub": "ann", "aud": RESOURCE, "exp": time.time() + 600}
    return Signer("ES256", key["kid"]).jwt({**claims, "iat": time.time(), "client_id": "x"})


def altered(desk: Desk) -> str:
    header, _, signature = desk.token().split(".")
    return f"{header}.{desk.token('bob').split('.')[1]}.{signature}"


def typed(desk: Desk, kind: str, **claims: Any) -> str:
    now = int(time.time())
    made = {"iss": desk.url, "sub": "ann", "aud": RESOURCE, "exp": now + 600, "iat": now}
    return desk.issuer.keys.sign(kind, {**made, **claims})


ROWS: dict[str, tuple[Callable[[Desk], str], TokenFault]] = {
    "1 no signature": (unsigned, TokenFault.ALGORITHM),
    "2 HS256 with the public key": (symmetric, TokenFault.ALGORITHM),
    "4 a signature of another key": (forged, TokenFault.SIGNATURE),
    "4 the claims of another token": (altered, TokenFault.SIGNATURE),
    "12 no token at all": (lambda desk: "x", TokenFault.MALFORMED),
    "16 an expired token": (lambda desk: desk.token(exp=1_000_000_000), TokenFault.EXPIRED),
    "17 from the future": (lambda desk: desk.token(nbf=4_000_000_000), TokenFault.EARLY),
    "18 another issuer": (lambda desk: desk.token(iss=f"{desk.url}/"), TokenFault.ISSUER),
    "20 another resource": (
        lambda desk: desk.token(aud="http://localhost:8000/"),
        TokenFault.AUDIENCE,
    ),
    "21 an ID token": (lambda desk: typed(desk, "JWT", nonce="x"), TokenFault.TYPE),
    "21 an ID-JAG": (lambda desk: typed(desk, "oauth-id-jag+jwt"), TokenFault.TYPE),
    "21 a proof": (lambda desk: typed(desk, "dpop+jwt", htm="POST"), TokenFault.TYPE),
    "38 no subject": (lambda desk: desk.token(sub=""), TokenFault.SUBJECT),
    "39 an unknown key": (
        lambda desk: signer().jwt({"iss": desk.url}, kid="unknown"),
        TokenFault.KEY,
    ),
    "45 an API key": (lambda desk: make_key(bytes(40))[1], TokenFault.TYPE),
    "46 a bound token without a proof": (
        lambda desk: desk.bound(),
        TokenFault.BINDING,
    ),
    "49 a token of another certificate": (
        lambda desk: desk.token(cnf={"x5t#S256": "A" * 43}),
        TokenFault.BINDING,
    ),
}
"""Tokens, each sent as a bearer, and why they are refused."""


def elsewhere(desk: Desk) -> dict[str, tuple[Lines, str]]:
    """A good token in places where none is looked for: lines of the head, and the query."""
    token = desk.token()
    return {
        "22 the query": ([], f"?access_token={token}"),
        "22 a cookie": ([("cookie", f"access_token={token}")], ""),
        "22 another header": ([("x-authorization", f"Bearer {token}")], ""),
        "22 of the proxy": ([("proxy-authorization", f"Bearer {token}")], ""),
        "23 two headers": ([("authorization", f"Bearer {token}")] * 2, ""),
        "23 two tokens": ([("authorization", f"Bearer {token}, Bearer {token}")], ""),
        "23 another scheme": ([("authorization", f"Token {token}")], ""),
        "46 a proof is promised": ([("authorization", f"DPoP {token}")], ""),
    }


Way = Callable[[Desk, AsgiApp, HttpEndpoint, Lines, str], Awaitable[tuple[int, dict[str, str]]]]
"""Send a request with such lines and query; return the status and the head of the response."""
HEAD = dict[str, str]


def _post() -> tuple[Lines, bytes]:
    head, _, body = call("note").partition(b"\r\n\r\n")
    lines = [line.decode().partition(": ") for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value) for name, _, value in lines], body


async def _raw(desk: Desk, data: bytes, lines: Lines, query: str) -> tuple[int, HEAD]:
    first, _, rest = data.partition(b"\r\n")
    method, target, version = first.decode().split(" ")
    told = "".join(f"{name}: {value}\r\n" for name, value in lines)
    client = await desk.connect()
    await client.send(f"{method} {target}{query} {version}\r\n{told}".encode() + rest)
    with patience():
        response = await client.head()
    await client.aclose()
    return response.status, response.headers


async def over_http(desk: Desk, app: Any, at: Any, lines: Lines, query: str) -> tuple[int, HEAD]:
    return await _raw(desk, call("note"), lines, query)


async def over_sse(desk: Desk, app: Any, at: Any, lines: Lines, query: str) -> tuple[int, HEAD]:
    return await _raw(desk, http(method="GET", target="/sse"), lines, query)


async def over_ws(desk: Desk, app: Any, at: Any, lines: Lines, query: str) -> tuple[int, HEAD]:
    return await _raw(desk, http(method="GET", headers=dict(UPGRADE)), lines, query)


async def over_asgi(desk: Desk, app: Any, at: Any, lines: Lines, query: str) -> tuple[int, HEAD]:
    own, body = _post()
    return await _asgi(app, {"type": "http", "method": "POST"}, [*own, *lines], query, body)


async def over_asgi_ws(desk: Desk, app: Any, at: Any, lines: Lines, query: str) -> tuple[int, HEAD]:
    scope = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    offers = dict(lines).get("sec-websocket-protocol", "mcp").split(", ")
    own = [("host", "localhost"), *((name.lower(), value) for name, value in UPGRADE.items())]
    return await _asgi(app, {**scope, "subprotocols": offers}, [*own, *lines], query, None)


async def _asgi(
    app: AsgiApp, kind: dict[str, Any], lines: Lines, query: str, body: bytes | None
) -> tuple[int, HEAD]:
    scope = {
        "http_version": "1.1",
        "path": "/mcp",
        "query_string": query.removeprefix("?").encode(),
        "headers": [(name.encode(), value.encode()) for name, value in lines],
        "client": ("127.0.0.1", 1),
        **kind,
    }
    first: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    if body is not None:
        first = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []
    answered = anyio.Event()

    async def receive() -> dict[str, Any]:
        if not first:
            await answered.wait()
            first.append({"type": "websocket.disconnect", "code": 1000})
        return first.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)
        answered.set()

    with patience():
        await app(scope, receive, send)
    if sent[0]["type"] == "websocket.accept":
        return 101, {}
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head


async def by_function(
    desk: Desk, app: Any, at: HttpEndpoint, lines: Lines, query: str
) -> tuple[int, HEAD]:
    own, body = _post()
    request = http_request("POST", f"/mcp{query}", [*own, *lines])
    with patience():
        principal = await at.identify(request)
        with at.handle(request, body, principal=principal) as answer:
            actions: list[Any] = [action async for action in answer]
    head = {name.decode().lower(): value.decode() for name, value in actions[0].headers}
    return actions[0].status, head


async def over_wsgi(
    desk: Desk, app: Any, at: HttpEndpoint, lines: Lines, query: str
) -> tuple[int, HEAD]:
    own, body = _post()
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": "POST", "PATH_INFO": "/mcp", "wsgi.multithread": True}
    environ |= {"QUERY_STRING": query.removeprefix("?"), "wsgi.input": BytesIO(body)}
    for name, value in [*own, *lines]:
        variable = name.upper().replace("-", "_")
        key = variable if variable.startswith("CONTENT_") else f"HTTP_{variable}"
        environ[key] = (
            f"{environ[key]},{value}" if name in dict(lines) and key in environ else value
        )
    found: list[tuple[int, HEAD]] = []

    def start(status: str, headers: Lines, *_: Any) -> Any:
        found.append((int(status[:3]), {name.lower(): value for name, value in headers}))

    def ask() -> None:
        application = WsgiApp(at)
        try:
            b"".join(application(environ, start))
        finally:
            application.close()

    await anyio.to_thread.run_sync(ask)
    return found[0]


WAYS: dict[str, tuple[Way, ServeSettings, int]] = {
    "http": (over_http, SHARED, 200),
    "sessions in a store": (over_http, ServeSettings(store=MemoryStore()), 200),
    "sse": (over_sse, SHARED, 200),
    "websocket": (over_ws, SHARED, 101),
    "asgi": (over_asgi, SHARED, 200),
    "websocket in asgi": (over_asgi_ws, SHARED, 101),
    "function": (by_function, SHARED, 200),
    "wsgi": (over_wsgi, SHARED, 200),
}
"""Each binding: how it is asked, its settings, and the status of whoever is let in."""


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_is_let_in(way: str, anyio_backend_name: str) -> None:
    if way == "wsgi" and anyio_backend_name == "trio":
        pytest.skip("the event loop of a WSGI application is of asyncio")
    ask, settings, welcome = WAYS[way]
    server = Server("notes")
    ran: list[str] = []

    @server.tool
    def note() -> str:
        ran.append("note")
        return "noted"

    async with protected(server, settings=settings, max_failures=None) as desk:
        link = structs.replace(settings.http_link, authenticate=desk.guard)
        same = structs.replace(settings, http_link=link)
        app, at = asgi_app(server, settings=same), HttpEndpoint(server, settings=same)

        async def refused(name: str, lines: Lines, query: str = "", why: str = "") -> None:
            desk.events.clear()
            status, head = await ask(desk, app, at, lines, query)
            assert status in (400, 401), name
            assert "resource_metadata=" in head["www-authenticate"], name
            (event,) = desk.events
            assert not event.admitted
            assert why in event.reason, name

        await refused("nothing", [])
        for name, (make, fault) in ROWS.items():
            await refused(name, [("authorization", f"Bearer {make(desk)}")], why=fault.value)
            if "websocket" in way:
                offer = f"mcp, mcp.auth.{make(desk)}"
                await refused(name, [("sec-websocket-protocol", offer)], why=fault.value)
        for name, (lines, query) in elsewhere(desk).items():
            await refused(name, lines, query)
        assert ran == []
        good: Any = list(bearer(desk.token()).items())
        status, _ = await ask(desk, app, at, [(good[0][0].lower(), good[0][1])], "")
        assert status == welcome
        assert len(ran) == (0 if welcome == 101 or way == "sse" else 1)
        await app.aclose()
        await at.aclose()
