"""Attacks on a protected server, by their numbers on the design page, over real sockets."""

import base64
import hashlib
import hmac
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from types import MappingProxyType
from typing import Annotated, Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from mcpcore import (
    Context,
    HttpServerSettings,
    Server,
    ServeSettings,
    WebSocketSettings,
    clock,
    mirrored,
)
from mcpcore.auth.api_keys import ApiKey, digest_of, make_key
from mcpcore.auth.grants import ClientIdentity, base64url
from mcpcore.auth.introspection import TokenCache
from mcpcore.auth.proofs import ReplayWindow
from mcpcore.auth.resource_server import AuthEvent, Dpop, Issuer
from mcpcore.http.principals import (
    ATTRIBUTES,
    ClientCertificate,
    Principal,
    Refusal,
    write_name,
)
from mcpcore.spec.errors import FORBIDDEN
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.auth.schemes import (
    AnyOf,
    ApiKeyScheme,
    BehindProxy,
    CertificateRecord,
    CertificateScheme,
    Scheme,
)
from mcpcore_transports.auth.signing import subject_of
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import http_request
from tests.auth.signing import signer
from tests.clock import HOUR, Clock, patience
from tests.transports.auth.auth_desk import (
    METADATA,
    RESOURCE,
    Desk,
    bearer,
    call,
    issuer,
    judged,
    legacy,
    message_of,
    modern,
    notes,
    open_session,
    protected,
    proven,
)
from tests.transports.auth.auth_site import Asked, Site, answering, reply, site
from tests.transports.http_fixture import http
from tests.transports.serve.test_asgi import Call

pytestmark = pytest.mark.anyio


def with_line(data: bytes, line: str) -> bytes:
    return data.replace(b"\r\n", f"\r\n{line}\r\n".encode(), 1)


async def test_24_no_token_comes_by_a_side_door() -> None:
    async with protected() as desk:
        token, plain = desk.token(), call("who")
        for line in (
            f"Authorization_: Bearer {token}",
            f"X-Authorization: Bearer {token}",
            f"Proxy-Authorization: Bearer {token}",
            f"Cookie: access_token={token}; authorization=Bearer {token}",
            f"X-Forwarded-Authorization: Bearer {token}",
        ):
            assert (await desk.call(with_line(plain, line))).status == 401, line
        head, _, body = plain.partition(b"\r\n\r\n")
        query = plain.replace(b"POST /mcp ", f"POST /mcp?access_token={token} ".encode())
        assert (await desk.call(query)).status == 401
        lines = [x for x in head.split(b"\r\n") if not x.lower().startswith(b"content-length")]
        chunked = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""])
        trailer = f"0\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        assert (
            await desk.call(chunked + b"%x\r\n%b\r\n" % (len(body), body) + trailer)
        ).status == 401
        # Framed twice: what one reader takes for the body another takes for a request of its own.
        both = with_line(call("who", token), "Transfer-Encoding: chunked")
        client = await desk.connect()
        await client.send(both)
        assert (await client.response()).status in (400, 401)
        folded = with_line(plain, f"X: a\r\n Authorization: Bearer {token}")
        assert (await desk.call(folded)).status in (400, 401)
        assert not any(event.admitted for event in desk.events)


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "Forwarded", "X-Original-URL"])
async def test_25_nothing_of_a_request_stands_in_challenge_or_metadata(name: str) -> None:
    value = "host=evil.example" if name == "Forwarded" else "evil.example"
    async with protected() as desk:
        document = await desk.call(http(method="GET", target=METADATA, headers={name: value}))
        assert document.json["resource"] == RESOURCE
        refused = await desk.call(call("who", headers={name: value}))
        assert refused.status == (403 if name == "Host" else 401)
        assert "evil" not in str(refused.headers)


@pytest.mark.parametrize("binding", ["http", "sse", "ws"])
async def test_26_the_metadata_is_at_its_path_alone(binding: str) -> None:
    async with protected(binding=binding) as desk:
        found = await desk.call(http(method="GET", target=METADATA))
        assert (found.status, found.headers["cache-control"]) == (200, "public, max-age=3600")
        assert "vary" not in found.headers
        client = await desk.connect()
        await client.send(http(method="HEAD", target=METADATA))
        head = await client.response(bodiless=True)
        assert (head.status, head.headers["content-length"]) == (200, str(len(found.body)))
        posted = await desk.call(http(b"{}", target=METADATA))
        assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        asked = {"Origin": "https://anywhere.example", "Access-Control-Request-Method": "GET"}
        flight = await desk.call(http(method="OPTIONS", target=METADATA, headers=asked))
        assert (flight.status, flight.headers["access-control-allow-origin"]) == (204, "*")
        for target in (
            f"{METADATA}/",
            f"/{METADATA}",
            METADATA.replace("/mcp", ""),
            METADATA.replace("/mcp", "//mcp"),
            METADATA.upper(),
            f"{METADATA}/../mcp",
        ):
            assert (await desk.call(http(method="GET", target=target))).status == 404, target
        # An encoded dot is the same path, and the same document, or there is none.
        encoded = await desk.call(http(method="GET", target=METADATA.replace("/.", "/%2e")))
        assert encoded.status == 404 or encoded.body == found.body


async def test_29_the_head_names_another_tool_than_the_body() -> None:
    async with protected() as desk:
        lying = call("erase", desk.token(), headers={"Mcp-Name": "who"})
        refused = await desk.call(lying)
        assert (refused.status, refused.json["error"]["code"]) == (400, -32020)
        rich = call("erase", desk.token(scope="write files"), headers={"Mcp-Name": "who"})
        assert (await desk.call(rich)).status == 400


async def test_30_a_batch_with_a_forbidden_call() -> None:
    async with protected() as desk:
        client, token = await desk.connect(), desk.token()
        session = await open_session(client, token, "2025-03-26")

        def each(id: int, name: str) -> dict[str, Any]:
            params = {"name": name, "arguments": {}}
            return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}

        batch = [each(1, "who"), each(2, "erase"), each(3, "govern")]
        answer = await client.call(
            legacy(None, None, token, session=session, revision="2025-03-26", body=batch)
        )
        assert answer.status == 200
        assert "www-authenticate" not in answer.headers
        found = {message["id"]: message for message in _all_of(answer.body)}
        assert "result" in found[1]
        assert found[2]["error"]["code"] == found[3]["error"]["code"] == FORBIDDEN
        assert set(found[2]["error"]["data"]["scope"]) == {"write", "files"}
        alone = [each(4, "erase")]
        answer = await client.call(
            legacy(None, None, token, session=session, revision="2025-03-26", body=alone)
        )
        assert answer.status == 200
        assert b"1004" in answer.body


def _all_of(body: bytes) -> list[Any]:
    texts = [body]
    if not body.startswith(b"["):
        texts = [x.removeprefix(b"data: ") for x in body.split(b"\n") if x.startswith(b"data: ")]
    found: list[Any] = []
    for text in texts:
        if text.strip():
            read = json.loads(text)
            found += read if isinstance(read, list) else [read]
    return found


async def test_31_nobody_gives_himself_scopes() -> None:
    async with protected(trusted={"roles": "roles"}) as desk:
        claimed = {
            "scope": "write files",
            "scopes": ["write", "files"],
            "principal": "admin",
            "roles": ["admin"],
            "io.modelcontextprotocol/clientInfo": {"name": "admin", "version": "1"},
        }
        lines: dict[str, str | None] = {
            "X-Scope": "write files",
            "Scope": "write files",
            "Principal": "admin",
            "X-User": "admin",
        }
        token = desk.token()
        for name in ("erase", "govern"):
            refused = await desk.call(call(name, token, meta=claimed, headers=lines))
            assert refused.status == 403
        shown = json.loads(
            (await desk.call(call("who", token, meta=claimed, headers=lines))).result
        )
        assert shown[1:3] == [[], []]


async def test_33_lists_and_calls_agree_and_nothing_has_two_names() -> None:
    server = notes()

    @server.tool(title="erase", scopes={"write"})
    def wipe() -> str:
        return "wiped"

    async with protected(server) as desk:
        ann, bob = desk.token(), desk.token("bob")
        for token, sees in ((ann, False), (bob, True)):
            listed = (await desk.call(modern("tools/list", {}, token))).json["result"]
            names = {tool["name"] for tool in listed["tools"]}
            shown = {"who", "erase", "govern", "toil", "wipe"}  # also what needs scopes
            assert names == shown | ({"secret"} if sees else set())
            assert listed["cacheScope"] == "private"
            answer = await desk.call(call("secret", token))
            assert ("result" in answer.json) is sees
            if not sees:  # as one that does not exist
                assert answer.json["error"]["message"] == "Unknown tool: secret"
        for name in ("Erase", "ERASE", "erase ", "/erase"):
            got = await desk.call(call(name, ann))
            assert got.status != 403
            assert "error" in got.json


async def test_33_headers_of_a_hidden_tool_are_compared_for_those_alone_who_see_it() -> None:
    server = Server("shop")

    def for_bob(principal: str | None) -> bool:
        return principal is not None and json.loads(principal)[-1] == "bob"

    @server.tool(visible=for_bob)
    def order(region: Annotated[str, mirrored("Region")]) -> str:
        return region

    async with protected(server) as desk:

        async def answer(name: str, subject: str) -> tuple[int, str]:
            given = {"name": name, "arguments": {"region": "EU"}}
            got = await desk.call(modern("tools/call", given, desk.token(subject)))
            return got.status, got.json["error"]["message"].replace(name, "it")

        assert await answer("order", "ann") == await answer("absent", "ann")
        assert "Mcp-Param-Region header is missing" in (await answer("order", "bob"))[1]


@pytest.mark.requirement(
    "basic/security-best-practices/session-ids-bound",
)
async def test_34_the_session_of_another_principal() -> None:
    async with protected() as desk:
        client = await desk.connect()
        ann, bob = desk.token(), desk.token("bob")
        session = await open_session(client, ann)
        stream = await desk.connect()
        get = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        for token in (bob, desk.token('ann"'), desk.token("Ann")):
            ping = legacy("ping", None, token, session=session)
            assert (await desk.call(ping)).status == 404
            listen = http(method="GET", headers={**get, **bearer(token)})
            assert (await desk.call(listen)).status == 404
            resume = http(method="GET", headers={**get, **bearer(token), "Last-Event-ID": "1"})
            assert (await desk.call(resume)).status == 404
            answer = {"jsonrpc": "2.0", "id": 1, "result": {}}
            post = legacy(None, None, token, session=session, body=answer)
            assert (await desk.call(post)).status == 404
            end = http(method="DELETE", headers={"Mcp-Session-Id": session, **bearer(token)})
            assert (await desk.call(end)).status == 404
        await stream.send(http(method="GET", headers={**get, **bearer(ann)}))
        assert (await stream.head()).status == 200
        # A newer token of the same party serves as well.
        again = legacy("ping", None, desk.token(), session=session)
        assert (await client.call(again)).status == 200


async def test_34_the_same_subject_of_another_issuer() -> None:
    async with issuer() as two:

        def guard(desk: Desk) -> ResourceServer:
            trusted = [Issuer(issuer=desk.url), Issuer(issuer=two.url)]
            return ResourceServer(RESOURCE, trusted)

        async with protected(guard=guard) as desk:
            client = await desk.connect()
            session = await open_session(client, desk.token())
            other = legacy("ping", None, two.token(), session=session)
            assert (await client.call(other)).status == 404
            mixed = two.token(iss=desk.url)
            assert (await client.call(legacy("ping", None, mixed, session=session))).status == 401


class _Name(Struct):
    name: str


@pytest.mark.requirement(
    "basic/security-best-practices/handles-authenticate-nobody",
    "basic/security-best-practices/handles-bound",
)
async def test_37_the_state_of_another_principal() -> None:
    server = Server("asking")

    @server.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("Who?", _Name)
        return str(answer)

    async with protected(server) as desk:
        meta: dict[str, Any] = {
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        }
        ann, bob = desk.token(), desk.token("bob")
        asked = (await desk.call(call("ask", ann, meta=meta))).json["result"]
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        params = {
            "name": "ask",
            "arguments": {},
            "requestState": asked["requestState"],
            "inputResponses": {key: {"action": "accept", "content": {"name": "x"}}},
        }
        stolen = await desk.call(modern("tools/call", params, bob, meta=meta))
        assert "error" in stolen.json
        mine = await desk.call(modern("tools/call", params, desk.token(), meta=meta))
        assert "result" in mine.json


async def test_44_52_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with site(answering(reply(b"no", 500))) as broken, issuer() as desk:
        client = ClientIdentity(client_id="robot", client_secret="marked-secret")
        trust = Issuer(issuer=desk.url, introspection_url=f"{broken.url}/introspect", client=client)
        guard = ResourceServer(RESOURCE, [trust], audit=desk.events.append)
        with patience():
            verdict = await judged(guard, bearer("marked-token"))
        assert verdict.status == 503
        assert broken.asked[0].header("authorization") is not None
        hidden = base64.b64encode(b"robot:marked-secret").decode()
        told = (caplog.text, repr(desk.events), repr(verdict), repr(trust), repr(guard))
        for text in told:
            assert "marked" not in text
            assert hidden not in text


class _Everybody:
    """A scheme that lets anybody in."""

    documents: Mapping[str, bytes] = MappingProxyType({})

    def presented(self, request: Any) -> bool:
        return True

    def challenges(self) -> tuple[str, ...]:
        return ("Weak",)

    def __call__(self, request: Any) -> Principal:
        return Principal("anybody")


async def test_50_a_refused_credential_falls_to_no_weaker_scheme() -> None:
    async with protected(guard=lambda desk: AnyOf(desk.guard, _Everybody())) as desk:
        assert (await desk.call(call("who"))).status == 200  # the weak scheme, on purpose
        for value in ("Bearer nonsense", "Bearer", "DPoP x", "bearer a.b.c", "BEARER  x"):
            refused = await desk.call(call("who", headers={"Authorization": value}))
            assert refused.status == 401, value
        expired = desk.token(exp=1_000_000_000)
        assert (await desk.call(call("who", expired))).status == 401


async def test_51_an_issuer_that_hangs_lets_nobody_in() -> None:
    async def hang(asked: Any, stream: Any) -> None:
        await anyio.sleep_forever()

    async with site(hang) as stuck:

        def guard(desk: Desk) -> ResourceServer:
            trust = Issuer(issuer=desk.url, jwks_url=f"{stuck.url}/jwks")
            return ResourceServer(RESOURCE, [trust], fetch_timeout=0.2)

        async with protected(guard=guard) as desk:
            assert (await desk.call(call("who", desk.token()))).status == 503
        short = ServeSettings(http_link=HttpServerSettings(authenticate_time=0.05))

        def patient(desk: Desk) -> ResourceServer:
            trust = Issuer(issuer=desk.url, jwks_url=f"{stuck.url}/jwks")
            return ResourceServer(RESOURCE, [trust], fetch_timeout=60, audit=desk.events.append)

        async with protected(guard=patient, settings=short) as desk:
            assert (await desk.call(call("who", desk.token()))).status == 503
            assert [(each.admitted, each.status) for each in desk.events] == [(False, 503)]


async def test_51_an_audit_that_raises_changes_no_verdict() -> None:
    def broken(event: Any) -> None:
        raise RuntimeError("the disk is full")

    def guard(desk: Desk) -> ResourceServer:
        return ResourceServer(RESOURCE, [Issuer(issuer=desk.url)], audit=broken)

    async with protected(guard=guard) as desk:
        assert (await desk.call(call("who", desk.token()))).status == 200
        assert (await desk.call(call("who"))).status == 401


@pytest.mark.parametrize(
    "make",
    [
        lambda audit: ResourceServer(RESOURCE, [Issuer(issuer="https://id.example")], audit=audit),
        lambda audit: ApiKeyScheme([], audit=audit),
        lambda audit: CertificateScheme({}, audit=audit),
        lambda audit: AnyOf(ApiKeyScheme([]), audit=audit),
        lambda audit: BehindProxy(ApiKeyScheme([]), ["10.0.0.2"], audit=audit),
    ],
)
def test_51_no_event_goes_to_an_audit_that_nobody_awaits(make: Callable[[Any], object]) -> None:
    class Audit:
        async def __call__(self, event: Any) -> None:
            raise AssertionError("nobody awaits it")

        later = __call__

    for audit in (Audit(), Audit().later, partial(Audit().later)):
        with pytest.raises(TypeError, match="audit is a coroutine function"):
            make(audit)


async def test_52_a_flood_of_refused_tokens_gets_429() -> None:
    async with protected(max_failures=5) as desk:
        good = desk.token()
        assert (await desk.call(call("who", good))).status == 200
        client = await desk.connect()
        statuses = [
            (await client.call(call("who", desk.token(aud="https://else.example")))).status
            for _ in range(8)
        ]
        assert statuses == [401] * 5 + [429] * 3
        late = await client.call(call("who", desk.token("bob")))
        assert late.status == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        # One that was good before is still let in, and requests without a token learn how.
        assert [each.status for each in desk.events[-4:]] == [429] * 4
        assert (await client.call(call("who", good))).status == 200
        assert [each.status for each in desk.events[-2:]] == [429, 200]  # one event a request
        assert (await client.call(call("who"))).status == 401


async def test_52_threads_change_the_cache_of_tokens_under_a_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with issuer() as desk:
        guard = ResourceServer(RESOURCE, [Issuer(issuer=desk.url)], max_failures=1)
        changes: list[tuple[str, bool]] = []

        def noted(change: Callable[..., Any]) -> Callable[..., Any]:
            def changed(*given: Any, **named: Any) -> Any:
                changes.append((change.__name__, guard._lock.locked()))
                return change(*given, **named)

            return changed

        for change in (TokenCache.look, TokenCache.end, TokenCache.forget):
            monkeypatch.setattr(TokenCache, change.__name__, noted(change))
        good = desk.token()
        for token, status in ((good, 200), ("a.b.c", 401), (good, 200), (desk.token("b"), 429)):
            verdict = await judged(guard, bearer(token), peer="192.0.2.1:1")
            assert getattr(verdict, "status", 200) == status
        guard.revoke(good)
    assert set(changes) == {("look", True), ("end", True), ("forget", True)}


async def test_52_a_wrong_signature_counts_also_where_no_keys_can_be_fetched() -> None:
    async def answer(asked: Asked, stream: ByteStream) -> None:
        await stream.send(answers.pop(0))

    async with issuer() as desk, site(answer) as at:
        keys = desk.issuer.keys.published(time.time())
        answers = [reply(json.dumps({"keys": keys}).encode()), reply(b"", 500)]
        trust = Issuer(issuer=desk.url, jwks_url=at.url)
        guard = ResourceServer(RESOURCE, [trust], max_failures=3)

        async def ask(token: str, host: str = "192.0.2.1") -> int:
            verdict = await judged(guard, bearer(token), peer=f"{host}:5000")
            return getattr(verdict, "status", 200)

        def wrong(kid: str) -> str:
            return signer().jwt({"iss": desk.url}, kid=kid)

        with patience():
            assert await ask(desk.token()) == 200
            # A new key may have signed it, which cannot be said now.
            assert [await ask(wrong("new")) for _ in range(5)] == [503] * 5
            assert [await ask(wrong(keys[0]["kid"])) for _ in range(5)] == [503] * 3 + [429] * 2
            assert await ask(desk.token("bob"), "192.0.2.2") == 200


async def test_39_many_first_requests_make_one_fetch() -> None:
    async with issuer() as desk:
        guard = ResourceServer(RESOURCE, [Issuer(issuer=desk.url)])
        verdicts: list[Any] = []

        async def ask(token: str) -> None:
            verdicts.append(await judged(guard, bearer(token)))

        tokens = [desk.token(f"u{number}") for number in range(1000)]
        with patience():
            async with anyio.create_task_group() as tasks:
                for token in tokens:
                    tasks.start_soon(ask, token)
            assert all(isinstance(each, Principal) for each in verdicts)
            assert sum(each.path.endswith("/jwks") for each in desk.requests) == 1
            stranger = signer()
            for number in range(60):
                await ask(stranger.jwt({"iss": desk.url}, kid=f"unknown {number}"))
        assert sum(each.path.endswith("/jwks") for each in desk.requests) <= 5


async def test_39_keys_that_come_before_they_are_asked_for_are_used() -> None:
    async with issuer() as desk:
        guard = ResourceServer(RESOURCE, [Issuer(issuer=desk.url)])
        lines = [("Authorization", f"Bearer {desk.token()}")]
        waiting = [guard(http_request("POST", "/mcp", lines)) for _ in range(2)]
        with patience():
            for each in waiting:
                assert not isinstance(each, (Principal, Refusal))
                assert isinstance(await each, Principal)


@asynccontextmanager
async def held() -> AsyncIterator[tuple[Site, anyio.Semaphore, anyio.Event]]:
    """A site that counts questions about tokens, and answers none before it is told to."""
    questions, answered = anyio.Semaphore(0), anyio.Event()

    async def hold(asked: Asked, stream: ByteStream) -> None:
        questions.release()
        await answered.wait()
        await stream.send(reply(b'{"active": false}'))

    async with site(hold) as at:
        yield at, questions, answered


async def test_43_a_flood_of_unknown_tokens_makes_few_questions_at_a_time() -> None:
    async with held() as (at, questions, answered):
        trust = Issuer(issuer="http://localhost", introspection_url=at.url)
        guard = ResourceServer(
            RESOURCE, [trust], max_introspections_of_one=5, max_failures=8, fetch_timeout=HOUR
        )
        verdicts: list[Any] = []

        async def ask(number: int, peer: str = "192.0.2.1:1") -> None:
            verdicts.append(await judged(guard, bearer(f"opaque-{number}"), peer=peer))

        with patience():
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(ask, number)
                for _ in range(5):
                    await questions.acquire()
                for number in range(5, 105):
                    await ask(number)
                assert [each.status for each in verdicts] == [503] * 100
                assert {each.headers for each in verdicts} == {(("Retry-After", "5"),)}
                tasks.start_soon(ask, 1000, "192.0.2.2:1")  # another address has its own share
                await questions.acquire()
                answered.set()
            for number in range(105, 115):
                await ask(number)
        # The address has used up its failures: nothing is asked about it any more.
        assert [each.status for each in verdicts[100:]] == [401] * 9 + [429] * 7
        assert at.connections == 9


@pytest.mark.parametrize(
    ("peer", "rules"), [("192.0.2.1:1", {"max_failures": None}), (None, {})], ids=["one", "none"]
)
async def test_43_behind_a_proxy_all_clients_share_the_questions(
    peer: str | None, rules: dict[str, Any]
) -> None:
    """There they have one address, or none, so that it has no share of its own."""
    async with held() as (at, questions, answered):
        trust = Issuer(issuer="http://localhost", introspection_url=at.url)
        guard = ResourceServer(RESOURCE, [trust], fetch_timeout=HOUR, **rules)
        statuses: list[int] = []

        async def ask(number: int) -> None:
            verdict = await judged(guard, bearer(f"opaque-{number}"), peer=peer)
            statuses.append(verdict.status)

        with patience():
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(ask, number)
                for _ in range(100):
                    await questions.acquire()
                await ask(100)
                assert statuses == [503]
                answered.set()
        assert statuses[1:] == [401] * 100


def test_refusals_that_no_single_scheme_makes_are_audited() -> None:
    events: list[AuthEvent] = []
    scheme = AnyOf(ApiKeyScheme([]), CertificateScheme({}), audit=events.append)
    for lines in ([], [("Authorization", "Basic eDp5")]):
        assert isinstance(scheme(http_request("POST", "/mcp", lines)), Refusal)
    proxied = BehindProxy(CertificateScheme({}), PROXIES, audit=events.append)
    peer = "10.0.0.1:1"
    request = http_request("POST", "/mcp", [("Client-Cert", "junk")], peer=peer)
    assert isinstance(proxied(request), Refusal)
    assert [(each.scheme, each.status, each.admitted) for each in events] == [
        ("any", 401, False),
        ("any", 401, False),
        ("certificate", 400, False),
    ]


def test_two_schemes_for_one_resource_are_refused() -> None:
    one, other = (
        ResourceServer(RESOURCE, [Issuer(issuer=f"https://{name}.example")]) for name in ("a", "b")
    )
    with pytest.raises(ValueError, match="name all its issuers in one"):
        AnyOf(one, other)


@pytest.mark.parametrize("line", ["Bearer mck_key", "Bearer a.b.c", "Basic eDp5"])
def test_50_no_certificate_stands_in_for_a_credential_that_is_of_no_scheme(line: str) -> None:
    parties = CertificateScheme({"CN=a": CertificateRecord(principal="a")})
    guard = ResourceServer(RESOURCE, [Issuer(issuer="https://id.example")])
    other: Scheme = guard if "mck_" in line else ApiKeyScheme([])
    certificate = ClientCertificate(subject="CN=a", der=b"x")
    for scheme in (AnyOf(other, parties), AnyOf(parties, other)):
        for lines, admitted in (([], True), ([("Authorization", line)], False)):
            verdict = scheme(http_request("POST", "/mcp", lines, certificate=certificate))
            assert isinstance(verdict, Principal) is admitted
    alone = AnyOf(parties)(http_request("POST", "/mcp", []))
    assert isinstance(alone, Refusal)
    assert (alone.status, alone.challenge) == (403, None)


DIGEST = hashlib.sha256(b"ours").hexdigest()
PAIRS = ":".join(DIGEST[at : at + 2] for at in range(0, 64, 2))


OPENSSL = f"sha256 Fingerprint={PAIRS.upper()}"


@pytest.mark.parametrize(
    "name", [DIGEST, DIGEST.upper(), PAIRS, PAIRS.upper(), OPENSSL, OPENSSL.upper()]
)
def test_a_fingerprint_is_that_of_its_certificate_however_it_is_written(name: str) -> None:
    scheme = CertificateScheme({name: CertificateRecord(principal="a")})
    certificate = ClientCertificate(subject="", der=b"ours")
    assert scheme(http_request("POST", "/mcp", [], certificate=certificate)) == "a"


@pytest.mark.parametrize(
    "names",
    [
        ("-",),
        ("",),
        (DIGEST[:40],),
        ("ann",),
        ("subject=CN = ann, O = Example",),
        ("subject=CN=ann,O=Example",),
        ("CN = ann",),
        ("/CN=ann",),
        ("CN=ann, O=Example",),
        ("CN=ann ,O=Example",),
        ("CN=#ann",),
        ('CN="ann"',),
        (r"CN=\c3\a4",),
        ("CN=ann,emailAddress=ann@example.com",),  # written otherwise behind a proxy
        ("CN=ann,2.5.4.5=12",),
        (DIGEST, PAIRS),
        (DIGEST, OPENSSL),
    ],
)
def test_a_party_is_named_once_and_as_a_certificate_can_be(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="certificate"):
        CertificateScheme(dict.fromkeys(names, CertificateRecord(principal="a")))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(ATTRIBUTES)), st.text()), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_a_party_can_be_named_by_every_subject(name: list[list[tuple[str, str]]]) -> None:
    subject = write_name(name)
    scheme = CertificateScheme({subject: CertificateRecord(principal="a")})
    certificate = ClientCertificate(subject=subject, der=b"x")
    assert scheme(http_request("POST", "/mcp", [], certificate=certificate)) == "a"


async def test_46_47_a_proof_is_used_once_also_by_workers_that_share_a_window() -> None:
    async with issuer() as desk:
        window = ReplayWindow()
        trust = Issuer(issuer=desk.url)
        workers = [
            ResourceServer(RESOURCE, [trust], dpop=Dpop.ALLOWED, replays=window) for _ in range(2)
        ]
        token = desk.bound()
        bound = proven(token)
        with patience():
            assert isinstance(await judged(workers[0], bound), Principal)
            for worker in (*workers, *workers):
                assert (await judged(worker, bound)).status == 401
            assert isinstance(await judged(workers[1], bearer(token)), Refusal)


async def test_48_the_nonce_of_a_server_is_offered_and_taken() -> None:
    async with issuer() as desk:
        trust = [Issuer(issuer=desk.url)]
        guard = ResourceServer(RESOURCE, trust, dpop=Dpop.REQUIRED, nonces=True, max_failures=1)

        async def ask(**claims: Any) -> Any:
            return await judged(guard, proven(desk.bound(), **claims))

        with patience():
            asked = await ask()
            assert isinstance(asked, Refusal)
            nonce = dict(asked.headers)["DPoP-Nonce"]
            assert 'error="use_dpop_nonce"' in str(asked.challenge)
            # Whoever comes without a nonce, or with an old one, has not failed.
            assert (await ask(nonce="forged", jti="p2")).challenge == asked.challenge
            known = await ask(nonce=nonce, jti="p3")
            assert isinstance(known, Principal)
            assert known.lines == ((b"dpop-nonce", nonce.encode()),)


async def test_48_a_refusal_for_want_of_scopes_offers_a_nonce() -> None:
    async with issuer() as desk:
        trust = [Issuer(issuer=desk.url)]
        guard = ResourceServer(RESOURCE, trust, dpop=Dpop.ALLOWED, nonces=True, required=["x"])
        with patience():
            refused = await judged(guard, bearer(desk.token()))
        assert (refused.status, [name for name, _ in refused.headers]) == (403, ["DPoP-Nonce"])


async def test_48_every_answer_to_a_bound_token_offers_a_nonce() -> None:
    async with protected(dpop=Dpop.ALLOWED, nonces=True) as desk:
        token = desk.bound()

        async def ask(jti: str, nonce: str | None) -> Any:
            return await desk.call(call("who", headers=proven(token, jti=jti, nonce=nonce)))

        refused = await ask("p1", None)
        assert refused.status == 401
        for number in range(3):
            answer = await ask(f"q{number}", refused.headers["dpop-nonce"])
            assert answer.status == 200
            assert answer.headers["dpop-nonce"]
        assert "dpop-nonce" not in (await desk.call(call("who", desk.token()))).headers


async def test_51_a_store_that_breaks_lets_nobody_in_and_is_told() -> None:
    class Broken:
        def use_once(self, digest: bytes, **about: Any) -> bool:
            raise RuntimeError("a mistake")

    async with protected(dpop=Dpop.ALLOWED, replays=Broken()) as desk:
        answer = await desk.call(call("who", headers=proven(desk.bound())))
        assert answer.status == 500
        assert [(each.admitted, each.status) for each in desk.events] == [(False, 500)]


async def test_49_a_certificate_is_none_that_a_header_names() -> None:
    async with issuer() as desk:
        guard = ResourceServer(RESOURCE, [Issuer(issuer=desk.url)])
        ours, other = (ClientCertificate(subject="CN=a", der=der) for der in (b"ours", b"other"))
        digest = base64url(hashlib.sha256(b"ours").digest()).decode()
        token = desk.token(cnf={"x5t#S256": digest})

        with patience():
            admitted = await judged(guard, bearer(token), certificate=ours)
            assert isinstance(admitted, Principal)
            assert not admitted.exchangeable  # the token is bound
            assert isinstance(await judged(guard, bearer(token), certificate=other), Refusal)
            for name in ("Client-Cert", "X-Client-Cert", "X-SSL-Client-Cert", "x5t#S256"):
                named = {**bearer(token), name: cert_line(b"ours")}
                assert isinstance(await judged(guard, named), Refusal)
        scheme = CertificateScheme({"CN=a": CertificateRecord(principal="a", scopes=("write",))})
        known = scheme(http_request("POST", "/mcp", [], certificate=ours))
        assert isinstance(known, Principal)
        assert (str(known), known.scopes) == ("a", frozenset({"write"}))
        lines = [("Authorization", f"Bearer {token}")]
        known = scheme(http_request("POST", "/mcp", lines, certificate=ours))
        assert isinstance(known, Principal)
        assert not known.exchangeable  # nobody has judged the token
        unknown = ClientCertificate(subject="", der=b"x")
        for certificate in (unknown, None):
            verdict = scheme(http_request("POST", "/mcp", [], certificate=certificate))
            assert isinstance(verdict, Refusal)
            assert (verdict.status, verdict.challenge) == (403, None)  # no token would help


def test_53_secrets_are_compared_in_constant_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time itself is not measured: a key of nobody takes the same steps as one of somebody."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    id, text = make_key(bytes(range(40)))
    scheme = ApiKeyScheme([ApiKey(id=id, digest=digest_of(text), principal="machine")])
    _, stranger = make_key(bytes(reversed(range(40))))
    for key, admitted in ((text, True), (stranger, False), (text[:-1] + "g", False)):
        compared.clear()
        verdict = scheme(http_request("POST", "/mcp", [("Authorization", f"Bearer {key}")]))
        assert isinstance(verdict, Principal) is admitted
        assert compared == [(32, 32)]


def test_a_flood_of_wrong_keys_does_not_lock_good_ones_of_its_address_out() -> None:
    id, text = make_key(bytes(range(40)))
    record = ApiKey(id=id, digest=digest_of(text), principal="machine")
    scheme = ApiKeyScheme([record], max_failures=3)

    def judged(key: str) -> object:
        lines = [("Authorization", f"Bearer {key}")]
        verdict = scheme(http_request("POST", "/mcp", lines, peer="192.0.2.1:5000"))
        return verdict.status if isinstance(verdict, Refusal) else verdict

    assert [judged(f"mck_wrong_{n}") for n in range(5)] == [401, 401, 401, 429, 429]
    assert judged(text) == "machine"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (("Bearer t\u00f6ken",), 401),
        (("Bearer",), 401),
        (("Bearer a b",), 401),
        (("Basic dTpw",), 401),
        (("DPoP token",), 401),
        (("Bearer mck_a", "Bearer mck_b"), 400),
        (("Bearer " + "a" * 20_000,), 401),
    ],
)
def test_52_malformed_credentials_count_as_those_that_are_refused(
    values: tuple[str, ...], status: int
) -> None:
    issuers = [Issuer(issuer="https://issuer.example")]
    schemes: list[ResourceServer | ApiKeyScheme] = [
        ResourceServer(RESOURCE, issuers, max_failures=3)
    ]
    if len(values) > 1:
        schemes.append(ApiKeyScheme([], max_failures=3))

    def statuses(scheme: ResourceServer | ApiKeyScheme, peer: str | None) -> list[int]:
        found = []
        for sent in [*[values] * 5, ()]:
            lines = [("Authorization", value) for value in sent]
            verdict = scheme(http_request("POST", "/mcp", lines, peer=peer))
            assert isinstance(verdict, Refusal)
            found.append(verdict.status)
        return found

    for scheme in schemes:
        # Without an address, as behind a proxy on a Unix socket, all would share one limit.
        assert statuses(scheme, None) == [status] * 5 + [401]
        assert statuses(scheme, "192.0.2.1:5000") == [status] * 3 + [429] * 2 + [401]


@pytest.mark.parametrize(
    ("scopes", "held"),
    [((), None), (("write",), None), (("read",), {"read"}), (("all",), {"all", "read"})],
)
@pytest.mark.parametrize("kind", ["API key", "certificate"])
def test_keys_and_certificates_need_the_scopes_of_every_request(
    kind: str, scopes: tuple[str, ...], held: set[str] | None
) -> None:
    rules: dict[str, Any] = {"required": {"read"}, "scope_tree": {"all": ["read"]}}
    events: list[AuthEvent] = []
    id, text = make_key(bytes(range(40)))
    key = ApiKey(id=id, digest=digest_of(text), principal="machine", scopes=scopes)
    party = CertificateRecord(principal="machine", scopes=scopes)
    scheme: ApiKeyScheme | CertificateScheme = ApiKeyScheme([key], audit=events.append, **rules)
    certificate = None
    if kind == "certificate":
        scheme = CertificateScheme({"CN=a": party}, audit=events.append, **rules)
        certificate = ClientCertificate(subject="CN=a", der=b"x")
    request = http_request(
        "POST", "/mcp", [("Authorization", f"Bearer {text}")], certificate=certificate
    )
    verdict = scheme(request)
    (event,) = events
    assert (event.admitted, event.status) == ((True, 200) if held else (False, 403))
    assert event.credential is not None
    if held is None:
        assert isinstance(verdict, Refusal)
        assert verdict.status == 403
        assert 'error="insufficient_scope"' in str(verdict.challenge)
        assert 'scope="read"' in str(verdict.challenge)
    else:
        assert isinstance(verdict, Principal)
        assert verdict.scopes == held


@pytest.mark.parametrize("proxied", [False, True])
def test_what_a_certificate_has_opened_ends_with_it(proxied: bool) -> None:
    der = der_of("ann")
    ends = ClientCertificate(subject="", der=der).expires_at
    assert ends is not None
    parties = {hashlib.sha256(der).hexdigest(): CertificateRecord(principal="ann")}
    left = 100.0
    scheme: Any = CertificateScheme(parties, wall=lambda: ends - left)
    lines = [("Client-Cert", cert_line(der))] if proxied else []
    if proxied:
        scheme = BehindProxy(scheme, PROXIES)
    own = None if proxied else ClientCertificate(subject="", der=der)
    request = http_request("POST", "/mcp", lines, peer="10.0.0.1:1", certificate=own)
    before, verdict, after = clock(), scheme(request), clock()
    assert isinstance(verdict, Principal)
    assert verdict.until is not None
    assert before + 99.9 <= verdict.until <= after + 100.1
    left = 0.0  # its connection goes on
    over = scheme(request)
    assert isinstance(over, Refusal)
    assert (over.status, over.message) == (403, "the client certificate has expired")
    unknown = ClientCertificate(subject="CN=ann", der=b"x")
    named = CertificateScheme({"CN=ann": CertificateRecord(principal="ann")})
    verdict = named(http_request("POST", "/mcp", [], certificate=unknown))
    assert isinstance(verdict, Principal)
    assert verdict.until is None


@pytest.mark.parametrize("principal", ["", "a\nb"])
def test_a_certificate_is_of_a_principal_with_a_name(principal: str) -> None:
    with pytest.raises(ValueError, match="a principal has a printable name"):
        CertificateRecord(principal=principal)


@pytest.mark.parametrize(
    "make", [lambda **x: ApiKeyScheme([], **x), partial(CertificateScheme, {})]
)
@pytest.mark.parametrize("rules", [{"required": {"a b"}}, {"scope_tree": {"a": ["b c"]}}])
def test_scopes_of_keys_and_certificates_can_be_sent(make: Any, rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        make(**rules)


async def test_54_no_text_of_a_token_reaches_a_header(caplog: pytest.LogCaptureFixture) -> None:
    async with protected() as desk:
        bad = '" error_uri="https://evil.example'
        for token in (
            desk.token(sub=bad, iss=bad),
            desk.token(aud=f"\r\nX-Evil: 1{bad}"),
            signer().jwt({"iss": desk.url}, kid=bad),
        ):
            refused = await desk.call(call("who", token))
            assert refused.status == 401
            assert "evil" not in str(refused.headers).lower()
            assert b"evil" not in refused.body
        assert "evil" not in caplog.text


async def test_55_cors_shows_the_challenge_and_wants_no_token_of_a_preflight() -> None:
    page = "https://page.example"
    allowed = ServeSettings(allowed_origins=(page,))
    async with protected(settings=allowed) as desk:
        asked = {
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        flight = await desk.call(http(method="OPTIONS", headers=asked))
        assert flight.status == 204
        assert "authorization" in flight.headers["access-control-allow-headers"]
        refused = await desk.call(call("who", headers={"Origin": page}))
        assert refused.status == 401
        assert "www-authenticate" in refused.headers["access-control-expose-headers"].lower()
        assert refused.headers["access-control-allow-origin"] == page
        for response in (flight, refused):
            assert "access-control-allow-credentials" not in response.headers
        other = await desk.call(call("who", desk.token(), headers={"Origin": "https://x.example"}))
        assert other.status == 403


async def test_56_answers_to_authorized_requests_are_not_cached() -> None:
    async with protected() as desk:
        client = await desk.connect()
        token = desk.token()
        for _ in range(3):  # the head is recognised when it comes again
            answer = await client.call(call("who", token))
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["vary"] == "Authorization"
        listed = await client.call(modern("tools/list", {}, token))
        assert listed.headers["cache-control"] == "no-store"
        resources = await client.call(modern("resources/list", {}, token))
        assert resources.json["result"]["cacheScope"] == "private"
        forbidden = await client.call(call("erase", token))
        assert (forbidden.status, forbidden.headers["cache-control"]) == (403, "no-store")
        stream = await desk.connect()
        wanted = {"notifications": {"toolsListChanged": True}}
        await stream.send(modern("subscriptions/listen", wanted, token))
        head = await stream.head()
        assert (head.headers["cache-control"], head.headers["vary"]) == (
            "no-store",
            "Authorization",
        )


def upgrade(token: str) -> bytes:
    lines = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"mcp, mcp.auth.{token}",
    }
    return http(method="GET", headers=lines)


async def test_57_the_token_of_a_websocket_is_not_echoed_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.DEBUG)
    exp = 2_000_000_000.0
    settings = ServeSettings(shared=True, websocket=WebSocketSettings(ping_interval=None))
    async with protected(
        settings=settings, outlive=0.0, leeway=0.0, wall=lambda: exp - HOUR
    ) as desk:
        refused = await desk.call(upgrade(desk.token(aud="https://else.example", iat=1, exp=exp)))
        assert refused.status == 401
        token = desk.token(iat=1, exp=exp)
        client = await desk.connect()
        await client.send(upgrade(token))
        head = await client.head()
        assert (head.status, head.headers["sec-websocket-protocol"]) == (101, "mcp")
        assert token not in str(head.headers)
        await clock.skip(HOUR + 1)
        with patience():
            frame = await client.exactly(4)  # close, as the authorization has ended
        assert (frame[0], int.from_bytes(frame[2:], "big")) == (0x88, 1008)
        assert token not in caplog.text


async def test_57_what_needs_scopes_is_refused_on_a_websocket() -> None:
    async with protected(settings=ServeSettings(shared=True)) as desk:
        client = await desk.connect()
        await client.send(upgrade(desk.token()))
        assert (await client.head()).status == 101
        body = call("erase").partition(b"\r\n\r\n")[2]
        mask = b"\0\0\0\0"
        size = len(body)
        assert size < 65536
        await client.send(b"\x81\xfe" + size.to_bytes(2, "big") + mask + body)
        first = await client.exactly(2)
        length = first[1] & 127
        if length == 126:
            length = int.from_bytes(await client.exactly(2), "big")
        answer = json.loads(await client.exactly(length))
        assert answer["error"]["code"] == FORBIDDEN
        assert set(answer["error"]["data"]["scope"]) == {"write", "files"}
        assert [event.operation for event in desk.events] == [None, "tools/call"]
        assert (desk.events[1].method, desk.events[1].subject) == ("GET", "erase")


async def test_58_the_principal_of_an_asgi_scope_is_no_header() -> None:
    app = asgi_app(notes(), principal=lambda scope: scope.get("user"))
    lines = {"User": "admin", "Principal": "admin", "X-User": "admin"}
    answer = await Call(app, call("who", headers=lines)).run()
    assert (answer.status, answer.result) == (200, "nobody")
    await app.aclose()


@pytest.mark.requirement(
    "basic/authorization/index/no-transit",
    "basic/authorization/security-considerations/no-passthrough",
)
async def test_60_no_handler_reaches_the_token() -> None:
    server = Server("curious")
    found: list[str] = []

    @server.tool
    def look(context: Context) -> str:
        principal = context.principal
        assert principal is not None
        with pytest.raises(TypeError):
            principal.claims["scope"] = "all"  # type: ignore[index]
        shown = [repr(getattr(context, name)) for name in dir(context) if name[0] != "_"]
        found.append(f"{shown} {dict(principal.claims)} {principal.scopes} {context!r}")
        return "seen"

    async with protected(server) as desk:
        token = desk.token()
        answer = await desk.call(call("look", token))
        assert message_of(answer)["result"].get("isError") is None, answer.body
        assert token not in found[0]
        assert token.rpartition(".")[2] not in found[0]


def _odd_tokens(desk: Desk) -> list[str]:
    good = desk.bound()
    header, body, signature = good.split(".")
    texts = [
        *("", ".", "..", "...", "a.b.c", "a" * 8192, "." * 8192, "=" * 100, "~" * 5, "-", "_._._"),
        *(good[:-1], good + "A", f"{header}.{body}.", f".{body}.{signature}", f"{header}..x"),
    ]
    parts: list[Any] = [
        *({}, {"alg": []}, {"alg": "RS256", "kid": {}}, {"alg": "ES256", "kid": "\x00"}),
        *({"alg": "ES512", "typ": 7}, {"alg": "EdDSA", "jwk": {}}, {"alg": "PS512", "crit": 1}),
    ]
    texts += [signer().jws(each, {"iss": desk.url}) for each in parts]
    odd: list[Any] = [None, True, -1, 2**70, 1e300, "x", "\ud7ff\x00", [], [[]], {}, {"": None}]
    for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "scope", "cnf", "client_id", "realm"):
        texts += [desk.token(**{name: value}) for value in odd]
    return texts


async def test_no_credential_makes_a_5xx_or_a_hang() -> None:
    rules: dict[str, Any] = {"dpop": Dpop.ALLOWED, "nonces": True, "max_failures": None}
    async with protected(trusted={"roles": "realm.roles"}, **rules) as desk:
        client = await desk.connect()
        good = desk.bound()
        tokens = _odd_tokens(desk)
        shown = [{"Authorization": f"Bearer {each}"} for each in tokens]
        shown += [{"Authorization": f"DPoP {good}", "DPoP": each} for each in tokens]
        shown += [
            {"Authorization": value} for value in ("", "Bearer", "DPoP", ",", "Basic \t=", "=")
        ]
        with patience():
            for lines in shown:
                answer = await client.call(call("who", headers=lines))
                assert answer.status < 500, lines
                if answer.status != 200:
                    assert answer.status in (400, 401), lines


# A proxy in front that ends TLS


@cache
def der_of(name: str) -> bytes:
    made = trustme.CA().issue_cert("client@example.com", common_name=name)
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


def cert_line(der: bytes) -> str:
    return f":{base64.b64encode(der).decode()}:"


PROXIES = ("10.0.0.0/8", "2001:db8::1")


def through(peer: str | None, *lines: str, own: bool = False) -> Any:
    """The verdict on a request with these headers Client-Cert; ``own``: with a certificate too."""
    parties = {
        hashlib.sha256(der_of("ann")).hexdigest(): CertificateRecord(principal="ann"),
        hashlib.sha256(der_of("eve")).hexdigest(): CertificateRecord(principal="eve"),
    }
    scheme = BehindProxy(CertificateScheme(parties), PROXIES)
    certificate = ClientCertificate(subject="", der=der_of("eve")) if own else None
    request = http_request(
        "POST", "/mcp", [("Client-Cert", each) for each in lines], certificate=certificate
    )
    return scheme(structs.replace(request, peer=peer))


@pytest.mark.parametrize(
    ("peer", "own", "verdict"),
    [
        ("10.1.2.3:5000", False, "ann"),
        ("10.1.2.3", False, "ann"),
        ("[2001:db8::1]:5000", False, "ann"),
        ("[::ffff:10.1.2.3]:5000", False, "ann"),
        ("10.1.2.3:5000", True, "ann"),  # that of the connection is the proxy's
        ("11.1.2.3:5000", False, 403),
        ("[2001:db8::2]:5000", False, 403),
        ("11.1.2.3:5000", True, "eve"),
        ("127.0.0.1:5000", False, 403),
        (None, False, 403),
        ("10.1.2.3.evil.example:5000", False, 403),
    ],
)
def test_49_a_header_names_a_certificate_if_a_trusted_proxy_sends_it(
    peer: str | None, own: bool, verdict: object
) -> None:
    found = through(peer, cert_line(der_of("ann")), own=own)
    assert (found if isinstance(found, Principal) else found.status) == verdict


@pytest.mark.parametrize(
    "lines",
    [
        (cert_line(b"no certificate"),),
        (cert_line(b""),),
        ("",),
        (base64.b64encode(b"x").decode(),),
        (":AA=A:",),
        (":é:",),
        (cert_line(b"x") * 2,),
        ("2", "2"),
        ("version",),
    ],
)
def test_49_a_header_of_a_proxy_that_cannot_be_read_is_refused(lines: tuple[str, ...]) -> None:
    if lines == ("2", "2"):
        lines = (cert_line(der_of("ann")),) * 2
    elif lines == ("version",):  # number 7, which there is not
        lines = (cert_line(der_of("ann").replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\7")),)
    found = through("10.1.2.3:1", *lines)
    assert (found.status, found.challenge) == (400, None)


def test_49_without_the_header_of_the_proxy_there_is_no_certificate() -> None:
    assert through("10.1.2.3:1", own=True).status == 403
    with pytest.raises(ValueError, match="at least one"):
        BehindProxy(CertificateScheme({}), [])
    with pytest.raises(ValueError, match="proxy"):
        BehindProxy(CertificateScheme({}), ["proxy.example"])


def test_49_a_scheme_behind_a_proxy_shows_what_it_was_given() -> None:
    guard = ResourceServer(RESOURCE, [Issuer(issuer="https://id.example")])
    scheme = AnyOf(BehindProxy(guard, PROXIES))
    assert scheme.documents == guard.documents
    assert scheme.challenges() == guard.challenges()
    bad = http_request("POST", "/mcp", [("Client-Cert", "?")])
    verdict = scheme(structs.replace(bad, peer="10.0.0.1:1"))
    assert isinstance(verdict, Refusal)
    assert verdict.status == 400
    assert subject_of(der_of("a,b+c")).split(",OU=")[0] == "CN=a\\,b\\+c"
