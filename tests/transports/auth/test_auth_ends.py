"""Ends of streams and connections with the authorization of their client, on every binding."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from msgspec import structs

from mcpcore import ClientSettings, connect
from mcpcore.auth.api_keys import ApiKey, digest_of, make_key
from mcpcore.auth.resource_server import Dpop, Issuer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal
from mcpcore.spec import closes
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.auth.schemes import ApiKeyScheme
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.link import clock as driver_clock
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import http_request
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.stream.settings import SocketSettings
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.auth.signing import signer
from tests.clock import HOUR, Clock, patience, until
from tests.transports.auth.auth_desk import (
    RESOURCE,
    modern,
    notes,
    open_session,
    protected,
    proven,
)
from tests.transports.auth.auth_site import Asked, Site, reply, site
from tests.transports.http_fixture import UPGRADE, Client, http
from tests.transports.serve.test_asgi import Call
from tests.transports.served import Served, served

pytestmark = pytest.mark.anyio

LIST = modern("tools/list").partition(b"\r\n\r\n")[2]
LISTEN = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
LAST_CHUNK = b"0\r\n\r\n"


class Talk:
    """A raw connection: what shows that it lives, and what its end is."""

    def __init__(
        self, client: Client, live: Callable[[], Awaitable[object]], end: bytes = b""
    ) -> None:
        self.client = client
        self.live = live
        self.end = end
        """Last bytes that the server sends."""

    async def ends(self) -> bool:
        """Read to the end of the stream or the connection; tell if it is as it has to be."""
        if self.end != LAST_CHUNK:
            return (await self.client.rest()).endswith(self.end)
        while await self.client.chunk():  # other requests may follow on the connection
            pass
        return True


async def lines(client: Client) -> Talk:
    async def live() -> None:
        await client.send(LIST + b"\n")
        while await client.exactly(1) != b"\n":
            pass

    await live()
    return Talk(client, live)


async def frames(client: Client) -> Talk:
    async def live() -> None:
        await client.send(b"\x81\xfe" + len(LIST).to_bytes(2, "big") + bytes(4) + LIST)
        first = await client.exactly(2)
        assert first[0] == 0x81
        size = int.from_bytes(await client.exactly(2), "big") if first[1] == 126 else first[1]
        await client.exactly(size)

    await client.send(http(method="GET", headers=UPGRADE))
    assert (await client.head()).status == 101
    await live()
    reason = closes.OUTLIVED.code.to_bytes(2, "big") + closes.OUTLIVED.reason.encode()
    return Talk(client, live, b"\x88" + bytes([len(reason)]) + reason)


async def stream(client: Client) -> Talk:
    """A stream of the modern era; heartbeats show that it lives."""
    await client.send(LISTEN)
    assert (await client.head()).status == 200
    await client.chunk()
    return Talk(client, client.chunk, LAST_CHUNK)


async def legacy_stream(client: Client) -> Talk:
    session = await open_session(client, None)
    lines = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    await client.send(http(method="GET", headers={**lines, "MCP-Protocol-Version": "2025-11-25"}))
    assert (await client.head()).status == 200
    await client.chunk()
    return Talk(client, client.chunk, LAST_CHUNK)


async def legacy_sse(client: Client) -> Talk:
    await client.send(http(method="GET", target="/sse", headers={"Accept": "text/event-stream"}))
    assert (await client.head()).status == 200
    await client.chunk()
    return Talk(client, client.chunk)  # its session ends with it


STREAMS = {"http": stream, "http-legacy": legacy_stream, "sse": legacy_sse, "ws": frames}
BINDINGS = pytest.mark.parametrize("binding", [*STREAMS, "tcp", "unix"])


@asynccontextmanager
async def connected(binding: str, folder: Path, **ends: Any) -> AsyncIterator[Talk]:
    """A connection of a party whose authorization ends so."""

    def party(_: object) -> Principal:
        return Principal("ann", **ends)

    settings = ServeSettings(
        http_link=HttpServerSettings(authenticate=party),
        socket=SocketSettings(authenticate=party, idle_time=None),
        websocket=WebSocketSettings(ping_interval=None),
    )
    path = folder / "socket"
    place = str(path) if binding == "unix" else "127.0.0.1:0"
    where: dict[str, Any] = {"http" if "http" in binding else binding: place}
    async with served(notes(), settings=settings, **where) as running:
        client = Client(await _connect(running, path if binding == "unix" else None))
        try:
            yield await STREAMS.get(binding, lines)(client)
        finally:
            await client.aclose()


async def lives_for(talk: Talk, clock: Clock, seconds: float) -> None:
    """Skip time, in parts, as a stream sends its first heartbeats after some silence."""
    for _ in range(4):
        await clock.skip(seconds / 4)
    await talk.live()


async def _connect(running: Served, path: Path | None) -> Any:
    if path is not None:
        return await anyio.connect_unix(path)
    return await anyio.connect_tcp("127.0.0.1", int(running.url.split(":")[2].partition("/")[0]))


@BINDINGS
async def test_a_connection_ends_when_the_authorization_of_its_client_does(
    binding: str, tmp_path: Path, clock: Clock
) -> None:
    async with connected(binding, tmp_path, until=driver_clock() + HOUR) as talk:
        await lives_for(talk, clock, HOUR - 60)
        await clock.skip(61)
        with patience():
            assert await talk.ends()


@BINDINGS
async def test_a_connection_ends_soon_after_its_credential_is_revoked(
    binding: str, tmp_path: Path, clock: Clock
) -> None:
    revoked = anyio.Event()
    async with connected(binding, tmp_path, revoked=revoked.is_set) as talk:
        await lives_for(talk, clock, 2 * HOUR)
        revoked.set()
        await clock.skip(30)
        with patience():
            assert await talk.ends()


async def test_the_principals_of_revoked_tokens_and_keys_say_so() -> None:
    id, text = make_key(bytes(range(40)))
    key = ApiKey(id=id, digest=digest_of(text), principal="machine")
    async with protected() as desk:
        tokens = [desk.token(), desk.token("bob")]
        keys = ApiKeyScheme([key])
        found: list[Principal] = []
        for guard, shown in ((desk.guard, tokens[0]), (desk.guard, tokens[1]), (keys, text)):
            lines = [("Authorization", f"Bearer {shown}")]
            verdict: Any = guard(http_request("POST", "/mcp", lines))
            found.append(verdict if isinstance(verdict, Principal) else await verdict)

        def revoked() -> list[bool]:
            return [each.revoked is not None and each.revoked() for each in found]

        assert revoked() == [False, False, False]
        keys.replace([structs.replace(key)])
        desk.guard.revoke(tokens[0])
        assert revoked() == [True, False, False]
        keys.replace([structs.replace(key, scopes=("write",))])
        assert revoked() == [True, False, True]
        keys.replace([])
        assert revoked() == [True, False, True]


async def ends_at_the_third_answer(at: Site, trust: Issuer, token: str, clock: Clock) -> None:
    """Open a WebSocket, which goes on after the second answer of the issuer."""
    guard = ResourceServer(RESOURCE, [trust], fetch_timeout=1000 * HOUR, wall=lambda: 1e9)
    settings = ServeSettings(
        http_link=HttpServerSettings(authenticate=guard),
        websocket=WebSocketSettings(ping_interval=None),
    )
    closed = anyio.Event()
    async with (
        served(notes(), settings=settings, ws="127.0.0.1:0") as running,
        anyio.create_task_group() as tasks,
    ):
        client = Client(await _connect(running, None))
        shown = {**UPGRADE, "Authorization": f"Bearer {token}"}
        await client.send(http(method="GET", headers=shown))
        with patience():
            assert (await client.head()).status == 101
            await clock.skip_until(lambda: at.connections == 2, 16)

        async def end() -> None:
            close = closes.OUTLIVED.code.to_bytes(2, "big") + closes.OUTLIVED.reason.encode()
            assert (await client.rest()).endswith(close)
            closed.set()

        tasks.start_soon(end)
        await clock.skip_until(closed.is_set, 16)
        assert at.connections == 3
        await client.aclose()


async def test_a_websocket_ends_when_its_issuer_says_that_the_token_is_revoked(
    clock: Clock,
) -> None:
    async def answer(asked: Asked, stream: ByteStream) -> None:
        claims = {"aud": RESOURCE, "sub": "ann", "client_id": "me", "exp": 2e9}
        said = {"active": at.connections < 3, **claims}
        await stream.send(reply(json.dumps(said).encode()))

    async with site(answer) as at:
        trust = Issuer(issuer="http://localhost", introspection_url=at.url)
        await ends_at_the_third_answer(at, trust, "x", clock)


async def test_a_websocket_ends_when_its_issuer_withdraws_the_key_of_the_token(
    clock: Clock,
) -> None:
    """Without any other request: who had stolen the key has given its token no end."""
    body = {"iss": "http://localhost", "aud": RESOURCE, "sub": "ann", "client_id": "me", "exp": 2e9}

    async def answer(asked: Asked, stream: ByteStream) -> None:
        key = signer() if at.connections < 3 else signer("ES256", "k2")
        await stream.send(reply(json.dumps({"keys": [key.public]}).encode()))

    async with site(answer) as at:
        trust = Issuer(issuer="http://localhost", jwks_url=at.url)
        await ends_at_the_third_answer(at, trust, signer().jwt(body), clock)


async def test_a_websocket_of_asgi_ends_with_the_authorization_of_its_client(clock: Clock) -> None:
    def party(_: object) -> Principal:
        made = Principal("ann", until=driver_clock() + HOUR)
        made.lines = ((b"dpop-nonce", b"n1"),)
        return made

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=party), shared=True)
    app = asgi_app(notes(), settings=settings)
    call = Call(app, http(), type="websocket", subprotocols=["mcp"])
    call.instead({"type": "websocket.connect"})
    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, call.scope, call.receive, call.send)
            await clock.skip(HOUR - 1)
            assert [each["type"] for each in call.sent] == ["websocket.accept"]
            assert call.headers == {b"dpop-nonce": b"n1"}
            await clock.skip(2)
            await call.until(lambda: len(call.sent) == 2)
            tasks.cancel_scope.cancel()
    close = {"type": "websocket.close", "code": 1008, "reason": closes.OUTLIVED.reason}
    assert call.sent[1] == close
    await app.aclose()


@pytest.mark.parametrize(
    ("lives", "told"),
    [
        ([HOUR, None], None),
        ([HOUR, HOUR, None], None),
        ([HOUR, 0.0], "closed by the other side with 1008"),
        ([HOUR], "refuses the token that was given"),
    ],
    ids=["renewed", "twice", "ended at once", "refused"],
)
async def test_a_websocket_client_comes_back_with_another_token(
    lives: list[float | None], told: str | None, clock: Clock
) -> None:
    """``lives``: seconds for which the server takes each token; it refuses all others."""
    seen = list[str]()

    def token() -> str:
        return f"token-{len(seen)}"

    def party(request: HttpRequest) -> Principal | Refusal:
        number = len(seen)
        if number == len(lives):
            return Refusal(challenge="Bearer")
        seen.append(dict(request.headers)[b"authorization"].decode())
        life = lives[number]
        return Principal("ann", until=None if life is None else clock() + life)

    def came(number: int) -> bool:
        return len(seen) > number

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=party))
    back = ClientSettings(reconnect=ReconnectSettings(first_delay=0))
    async with (
        served(notes(), settings=settings, ws="127.0.0.1:0") as running,
        connect(running.url, auth=token, settings=back) as client,
    ):
        for number in range(1, len(lives)):
            await client.call_tool("who")
            await clock.skip(HOUR + 1)
            await until(partial(came, number))
        if told is None:
            await client.call_tool("who")
            assert client.closed is None
        else:
            await clock.skip(HOUR + 1)
            await until(lambda: client.closed)
            assert told in str(client.closed)
    assert seen == [f"Bearer token-{number}" for number in range(len(lives))]


EXP = 2_000_000_000.0


@pytest.mark.parametrize(
    ("outlive", "leeway"), [(0.0, 0.0), (1800.0, 0.0), (0.0, 90.0), (5.0, 90.0)]
)
async def test_a_stream_outlives_its_token_by_the_setting(
    outlive: float, leeway: float, clock: Clock
) -> None:
    walls = [EXP - 60]
    rules: dict[str, Any] = {"outlive": outlive, "leeway": leeway, "wall": lambda: walls[0]}
    async with protected(**rules) as desk:
        token = desk.token(iat=1, exp=EXP)
        client = await desk.connect()
        asked = LISTEN.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        await client.send(asked)
        assert (await client.head()).status == 200
        await client.chunk()
        await clock.skip(16 + leeway + outlive)  # longer than it is silent before a heartbeat
        await clock.skip(30)
        with patience():
            assert await client.chunk()  # a heartbeat, for want of other news; an empty one ends it
            await clock.skip(30)
            assert await client.chunk() == b""
        walls[0] = EXP + leeway + 1
        refused = await desk.call(modern("tools/list", token=token))
        assert refused.status == 401


# Nonces


NOW = 1_900_000_000.0


async def test_a_websocket_handshake_brings_a_fresh_nonce() -> None:
    walls = [NOW]
    rules: dict[str, Any] = {"dpop": Dpop.ALLOWED, "nonces": True, "wall": lambda: walls[0]}
    async with protected(settings=ServeSettings(shared=True), **rules) as desk:
        token = desk.bound(iat=int(NOW), exp=int(NOW) + 3600)

        def shown(nonce: str | None, jti: str) -> dict[str, str | None]:
            return {**UPGRADE, **proven(token, htm="GET", iat=NOW, jti=jti, nonce=nonce)}

        bare = await desk.call(http(method="GET", headers=UPGRADE))
        assert (bare.status, bool(bare.headers.get("dpop-nonce"))) == (401, True)
        asked = await desk.call(http(method="GET", headers=shown(None, "p1")))
        assert asked.status == 401
        assert 'error="use_dpop_nonce"' in asked.headers["www-authenticate"]
        nonce = asked.headers["dpop-nonce"]
        for period in (0, 300):  # the token is remembered, and the nonce is a new one all the same
            walls[0] = NOW + period
            client = await desk.connect()
            await client.send(http(method="GET", headers=shown(nonce, f"p{period}")))
            head = await client.head()
            assert head.status == 101
            assert (head.headers["dpop-nonce"] == nonce) is (period == 0)
        wrong = {**shown(nonce, "p9"), "DPoP": "a.b.c"}
        refused = await desk.call(http(method="GET", headers=wrong))
        assert (refused.status, refused.headers["dpop-nonce"]) == (401, head.headers["dpop-nonce"])
