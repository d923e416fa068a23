"""Broken issuers, and credentials that change during a session, over real sockets.

Numbers as in the page of the design.
"""

import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.abc import ByteStream

from mcpcore import ApiKeyScheme, ClientIdentity, Issuer, ResourceServer
from mcpcore.auth.api_keys import ApiKey, digest_of, make_key
from mcpcore.trace.redaction import Redactor
from tests.transports.auth.auth_desk import (
    RESOURCE,
    Desk,
    bearer,
    call,
    legacy,
    message_of,
    open_session,
    protected,
)
from tests.transports.auth.auth_site import Asked, Site, answering, reply, site
from tests.transports.http_fixture import http

pytestmark = pytest.mark.anyio

ACTIVE = {"active": True, "sub": "ann", "aud": RESOURCE, "client_id": "x"}


@dataclass
class Spoilt:
    """A protected server, one endpoint of its issuer at a site of its own, and an attacker's."""

    desk: Desk
    answer: bytes
    at: Site
    trap: Site

    async def status(self, token: str) -> int:
        return (await self.desk.call(call("who", token))).status


@asynccontextmanager
async def spoilt(*, introspection: bool) -> AsyncIterator[Spoilt]:
    async def answer(asked: Asked, stream: ByteStream) -> None:
        await stream.send(made.answer)

    async with site(answer) as at, site(answering(reply())) as trap:

        def guard(desk: Desk) -> ResourceServer:
            trust = Issuer(issuer=desk.url, jwks_url=at.url)
            if introspection:
                client = ClientIdentity(client_id="robot", client_secret="secret")
                trust = Issuer(issuer=desk.url, introspection_url=at.url, client=client)
            return ResourceServer(RESOURCE, [trust], max_failures=None)

        async with protected(guard=guard) as desk:
            made = Spoilt(desk, b"", at, trap)
            yield made


def keys_of(desk: Desk) -> bytes:
    return json.dumps({"keys": desk.issuer.keys.published(time.time())}).encode()


def broken(body: bytes, trap: str) -> dict[str, bytes]:
    """Responses that are none, made of one that would do."""
    return {
        "status 500": reply(body, 500),
        "status 404": reply(body, 404),
        "a redirect": reply(body, 302, f"location: {trap}/"),
        "a redirect that keeps the method": reply(body, 307, f"location: {trap}/"),
        "HTML": reply(b"<html>" + body),
        "nothing": reply(b""),
        "half of it": reply(body[: len(body) // 2]),
        "2 MB": reply(body[:-1] + b" " * (1 << 21) + body[-1:]),
        "compressed": reply(gzip.compress(body), 200, "content-encoding: gzip"),
        "nested": reply(b"[" * 100_000),
        "cut off": reply(body)[:-3].replace(b"content-length: ", b"content-length: 9"),
        "no HTTP": b"hello\r\n\r\n",
    }


EMPTY = {
    "an empty set": reply(b'{"keys": []}'),
    "secret keys": reply(b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}'),
}


async def test_40_keys_that_are_none() -> None:
    for name in [*broken(b"", ""), *EMPTY]:
        async with spoilt(introspection=False) as at:
            good = keys_of(at.desk)
            at.answer = (broken(good, at.trap.url) | EMPTY)[name]
            assert await at.status(at.desk.token()) == 503, name
            assert (at.at.connections, at.trap.connections) == (1, 0), name
    async with spoilt(introspection=False) as at:
        at.answer = reply(keys_of(at.desk))
        assert await at.status(at.desk.token()) == 200


async def test_43_introspection_that_says_nothing() -> None:
    async with spoilt(introspection=True) as at:
        whole = {**ACTIVE, "iss": at.desk.url, "exp": time.time() + 600}
        rows = broken(json.dumps(whole).encode(), at.trap.url)
        for member, values in {
            "active": ("true", 1, None, False, [True]),
            "aud": ("https://else.example", None, []),
            "exp": (1, "soon", None),
            "sub": ("", None, 7),
            "iss": (f"{at.desk.url}/", 7),
        }.items():
            for value in values:
                changed: dict[str, Any] = {**whole, member: value}
                rows[f"{member} is {value!r}"] = reply(json.dumps(changed).encode())
        for number, (name, answer) in enumerate(rows.items()):
            at.answer = answer
            status = await at.status(f"opaque-{number}")
            assert status in (401, 503), name
            assert (status == 401) is (" is " in name), name
            assert at.at.connections == number + 1, "asked once, whatever the answer"
        assert at.trap.connections == 0
        at.answer = reply(json.dumps(whole).encode())
        assert await at.status("opaque") == 200


async def test_35_a_session_with_a_token_that_has_expired_or_allows_less() -> None:
    made = int(time.time())
    walls = [float(made)]  # the clock of the server, and of the tokens
    times: dict[str, Any] = {"iat": made, "exp": made + 600}
    async with protected(leeway=0.0, wall=lambda: walls[0]) as desk:
        client = await desk.connect()
        rich = desk.token(scope="write files", **times)
        params = {"name": "erase", "arguments": {}}
        session = await open_session(client, rich)

        async def erase(token: str | None) -> Any:
            return await client.call(legacy("tools/call", params, token, session=session))

        assert message_of(await erase(rich))["result"]["content"][0]["text"] == "erased"
        assert (await erase(desk.token(**times))).status == 403
        assert (await erase(None)).status == 401
        walls[0] += 601
        for method in ("ping", "tools/list"):
            late = await client.call(legacy(method, None, rich, session=session))
            assert late.status == 401
        lines = {"Mcp-Session-Id": session, "Accept": "text/event-stream", **bearer(rich)}
        assert (await desk.call(http(method="GET", headers=lines))).status == 401
        assert (await desk.call(http(method="DELETE", headers=lines))).status == 401
        newer = desk.token(scope="write files", exp=int(walls[0]) + 600)
        assert message_of(await erase(newer))["result"]["content"][0]["text"] == "erased"


async def test_45_api_keys_in_other_places_and_revoked_during_a_session() -> None:
    id, key = make_key(bytes(range(40)))
    record = ApiKey(id=id, digest=digest_of(key), principal="robot", scopes=("write", "files"))
    scheme = ApiKeyScheme([record], max_failures=None)
    async with protected(guard=lambda desk: scheme) as desk:
        client = await desk.connect()
        query = call("who").replace(b"POST /mcp ", f"POST /mcp?api_key={key} ".encode())
        assert (await client.call(query)).status == 401
        for name in ("X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization"):
            assert (await client.call(call("who", headers={name: key}))).status == 401
        for text in (key.upper(), key[:-1], f"{key}x", key.replace(id, id[::-1]), f"mck_{id}_"):
            assert (await client.call(call("who", text))).status == 401, text
        session = await open_session(client, key)
        ping = legacy("ping", None, key, session=session)
        assert (await client.call(ping)).status == 200
        scheme.replace([])
        assert (await client.call(ping)).status == 401
        assert (await client.call(call("who", key))).status == 401
    shown, places = Redactor().text(f"the key is {key}.")
    assert key not in shown
    assert places
    assert key.rpartition("_")[2] not in f"{record!r} {scheme!r}"
