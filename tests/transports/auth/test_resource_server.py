"""A resource server over real sockets, with tokens of the development authorization server."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from msgspec import structs

from mcpcore import (
    Context,
    HttpRequest,
    HttpServerSettings,
    MemoryStore,
    Principal,
    Server,
    ServeSettings,
    asgi_app,
)
from mcpcore.auth.api_keys import ApiKey, digest_of, make_key
from mcpcore.auth.challenges import find_challenge, parse_challenges
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.resource_server import Dpop, Issuer, principal_name
from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.spec.errors import FORBIDDEN, Forbidden
from mcpcore_conformance.auth.keys import PrivateKey
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.auth.schemes import AnyOf, ApiKeyScheme
from mcpcore_transports.http.server.identity import identify
from mcpcore_transports.running.middleware import CallNext
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.server.middleware import Answer
from mcpcore_transports.server.settings import RuntimeSettings
from tests.clock import patience
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
from tests.transports.http_fixture import Client, Response, http
from tests.transports.serve.test_asgi import Call
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]


def challenge_of(response: Response, scheme: str = "bearer") -> dict[str, str]:
    found = find_challenge(parse_challenges([response.headers["www-authenticate"]]), scheme)
    assert found is not None
    return dict(found.params)


def check_audit(desk: Desk, method: str, params: Mapping[str, Any]) -> None:
    """The last event of the audit is the refusal of an operation to a request that was let in."""
    admitted, refused = desk.events[-2:]
    named = {**params, **params.get("ref", {})}
    assert refused.reason is not None
    assert refused.reason.startswith("forbidden: scopes are missing; it needs the scopes ")
    assert refused == structs.replace(
        admitted,
        admitted=False,
        status=403,
        reason=refused.reason,
        operation=method,
        subject=named.get("name", named.get("uri")),
    )
    assert admitted.admitted
    assert admitted.operation is None
    assert refused.principal == principal_name(desk.url, "ann")


async def test_a_token_of_the_issuer_lets_in_and_its_party_is_shown_to_handlers() -> None:
    async with protected(required={"read"}, trusted={"roles": "groups"}) as desk:
        refused = await desk.call(call("who"))
        assert refused.status == 401
        told = challenge_of(refused)
        assert told == {
            "scope": "read",
            "resource_metadata": f"http://localhost:8000{METADATA}",
        }
        document = await desk.call(http(method="GET", target=METADATA))
        assert (document.status, document.headers["access-control-allow-origin"]) == (200, "*")
        assert document.json == {
            "resource": RESOURCE,
            "authorization_servers": [desk.url],
            "scopes_supported": ["read"],
            "bearer_methods_supported": ["header"],
        }
        token = desk.granted("read")
        for _ in range(2):  # verified, and remembered
            shown = json.loads((await desk.call(call("who", token))).result)
            assert shown[:3] == [principal_name(desk.url, "robot"), ["read"], []]
            assert "scope" in shown[3]
        named = desk.token("ann", "read", groups=["admin"])
        assert json.loads((await desk.call(call("who", named))).result)[2] == ["admin"]
        keys = [each for each in desk.requests if each.path.endswith("jwks")]
        assert len(keys) == 1
        assert [event.admitted for event in desk.events] == [False, True, True, True]
        assert desk.events[1].principal == principal_name(desk.url, "robot")
        (key,) = desk.issuer.keys.published(time.time())
        assert [event.kid for event in desk.events] == [None, *[key["kid"]] * 3]
        assert token not in repr(desk.events)


WAYS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("tools/call", {"name": "erase", "arguments": {}}, {"write", "files"}),
    ("resources/read", {"uri": "notes://shut"}, {"write"}),
    ("resources/read", {"uri": "shut://a"}, {"write"}),
    ("prompts/get", {"name": "compose", "arguments": {"topic": "x"}}, {"write"}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "compose"},
            "argument": {"name": "topic", "value": ""},
        },
        {"write"},
    ),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "shut://{name}"},
            "argument": {"name": "name", "value": ""},
        },
        {"write"},
    ),
]
LISTEN = (
    "subscriptions/listen",
    {"notifications": {"resourceSubscriptions": ["notes://open", "notes://shut"]}},
    {"write"},
)
SUBSCRIBE = ("resources/subscribe", {"uri": "shut://a"}, {"write"})


@pytest.mark.requirement(
    "basic/authorization/index/insufficient-scope",
    "basic/authorization/index/needed-scopes-listed",
    "basic/authorization/index/one-challenge",
    "basic/authorization/index/error-statuses",
)
@pytest.mark.parametrize(("method", "params", "scopes"), [*WAYS, LISTEN])
async def test_what_needs_scopes_is_refused_by_every_modern_method(
    method: str, params: dict[str, Any], scopes: set[str]
) -> None:
    async with protected(required={"read"}) as desk:
        poor = await desk.call(modern(method, params, desk.token(scope="read files")))
        assert poor.status == 403
        told = challenge_of(poor)
        assert told["error"] == "insufficient_scope"
        assert set(told["scope"].split()) == {"read", *scopes}
        error = poor.json["error"]
        assert (error["code"], set(error["data"]["scope"])) == (FORBIDDEN, scopes)
        check_audit(desk, method, params)
        client = await desk.connect()
        await client.send(modern(method, params, desk.token(scope="read files write")))
        assert (await client.head()).status == 200


@pytest.mark.parametrize(("method", "params", "scopes"), [*WAYS, SUBSCRIBE])
async def test_what_needs_scopes_is_refused_by_every_legacy_method(
    method: str, params: dict[str, Any], scopes: set[str]
) -> None:
    async with protected() as desk:
        client = await desk.connect()
        poor, rich = desk.token(scope="files"), desk.token(scope="files write")
        session = await open_session(client, rich)
        misleading = {"name": "who", "uri": "notes://open", **params}  # for the audit
        refused = await client.call(legacy(method, misleading, poor, session=session))
        assert refused.status == 403
        assert set(challenge_of(refused)["scope"].split()) == scopes
        assert refused.json["error"]["code"] == FORBIDDEN
        check_audit(desk, method, params)
        granted = await client.call(legacy(method, params, rich, session=session))
        assert granted.status == 200
        assert "result" in message_of(granted)


async def test_roles_are_needed_and_no_scope_helps() -> None:
    async with protected(trusted={"roles": "realm.roles"}) as desk:
        refused = await desk.call(call("govern", desk.token(scope="write", realm={"roles": ["x"]})))
        assert refused.status == 403
        assert challenge_of(refused).keys() == {"error_description", "resource_metadata"}
        assert desk.events[-1].reason == "forbidden: a role is missing"
        owner = desk.token(realm={"roles": ["owner"]})
        assert (await desk.call(call("govern", owner))).result == "governed"


@pytest.mark.requirement(
    "basic/authorization/index/scope-hierarchies",
)
async def test_scopes_imply_others() -> None:
    tree = {"admin": ["write"], "write": ["files"]}
    async with protected(scope_tree=tree) as desk:
        assert (await desk.call(call("erase", desk.token(scope="admin")))).result == "erased"
        assert (await desk.call(call("erase", desk.token(scope="files")))).status == 403


async def test_a_handler_may_ask_for_more() -> None:
    server = Server("more")

    @server.tool
    def plain(context: Context) -> str:
        raise Forbidden({"more"})

    @server.tool
    async def later(context: Context) -> str:
        context.progress(1)
        await anyio.lowlevel.checkpoint()
        raise Forbidden({"more"})

    async with protected(server) as desk:
        refused = await desk.call(call("plain", desk.token()))
        assert (refused.status, challenge_of(refused)["scope"]) == (403, "more")
        check_audit(desk, "tools/call", {"name": "plain"})
        # A stream has begun: the error alone.
        begun = await desk.call(call("later", desk.token(), meta={"progressToken": 1}))
        assert begun.status == 200
        assert "www-authenticate" not in begun.headers
        assert b'"code":1004' in begun.body
        check_audit(desk, "tools/call", {"name": "later"})


@pytest.mark.parametrize(
    ("errors", "status", "scopes"),
    [
        ([Forbidden({"a"}), Forbidden({"b"})], 403, "a b"),
        ([Forbidden({"a"}), Forbidden({"a", "c"}), Forbidden({"b"})], 403, "a b c"),
        ([Forbidden({"a"}), Forbidden(role=True)], 403, None),
        ([Forbidden({"a"}), ValueError("a mistake")], 200, None),
    ],
)
async def test_tasks_of_a_handler_ask_for_all_that_they_need(
    errors: list[Exception], status: int, scopes: str | None
) -> None:
    server = Server("more")

    async def fail(*raised: Exception) -> None:
        if len(raised) == 1:
            raise raised[0]
        async with anyio.create_task_group() as group:
            group.start_soon(fail, raised[0])
            group.start_soon(fail, *raised[1:])

    @server.tool
    async def tool() -> str:
        await fail(*errors)
        return "never"

    async with protected(server) as desk:
        answer = await desk.call(call("tool", desk.token()))
        assert answer.status == status
        if status == 403:
            assert challenge_of(answer).get("scope") == scopes


def raising(*given: object) -> str:
    raise RuntimeError("a mistake of the application")


@pytest.mark.parametrize("tool", ["plain", "later"])
@pytest.mark.parametrize(
    ("scope", "mistake"),
    [
        ("folder:a b", {}),  # as out of the arguments of a call
        ("folder:\u00e9", {}),
        ("more", {"challenge": raising}),
        ("more", {"challenge": lambda scopes, role: "Bearer\r\nSet-Cookie: a=b"}),
        ("more", {"refused": raising}),
    ],
)
async def test_what_no_challenge_can_say_is_refused_and_ends_nothing(
    tool: str, scope: str, mistake: dict[str, Any]
) -> None:
    server = Server("more")

    @server.tool
    def plain() -> str:
        raise Forbidden({scope})

    @server.tool
    async def later() -> str:
        raise Forbidden({scope})

    async def hook(request: HttpRequest) -> Principal:
        ann = Principal("ann", challenge=mistake.get("challenge"))
        ann.refused = mistake.get("refused")
        return ann

    async with protected(server, guard=lambda desk: hook) as desk:
        for _ in range(2):
            refused = await desk.call(call(tool))
            assert refused.status == 403
            assert refused.json["error"]["data"] == {"scope": [scope]}
            told = challenge_of(refused)
            assert told.get("scope") == (scope if "refused" in mistake else None)
            assert ("error" in told) is ("scope" in told)


@pytest.mark.parametrize("era", ["modern", "legacy", "stored"])
async def test_changes_of_what_is_hidden_or_forbidden_are_not_told(era: str) -> None:
    server = notes()
    hide: Any = {"visible": lambda who: str(who).endswith('"bob"]'), "scopes": {"write"}}
    server.add_resource("notes://hidden", "hidden", **hide)
    server.add_resource("hidden://{name}", lambda name: name, name="hidden", **hide)
    uris = ["notes://hidden", "hidden://a", "notes://later", "notes://none", "notes://open"]
    settings = ServeSettings(store=MemoryStore() if era == "stored" else None)
    async with protected(server, settings=settings) as desk:
        token, client = desk.token(), await desk.connect()
        if era == "modern":
            params = {"notifications": {"resourceSubscriptions": uris}}
            stream = modern("subscriptions/listen", params, token)
        else:
            session = await open_session(client, token)
            for uri in uris:
                asked = legacy("resources/subscribe", {"uri": uri}, token, session=session)
                assert message_of(await client.call(asked))["result"] == {}
            lines = {"Mcp-Session-Id": session, "Accept": "text/event-stream", **bearer(token)}
            stream = http(method="GET", headers=lines)
        await client.send(stream)
        assert (await client.head()).status == 200
        seen = await client.chunk()
        server.add_resource("notes://later", "later", scopes={"write"})
        for uri in uris:
            server.resource_updated(uri)
        while b'"notes://open"' not in seen.partition(b"resources/updated")[2]:
            seen += await client.chunk()
        told = [uri for uri in uris if f'"uri":"{uri}"'.encode() in seen]
        assert told == ["notes://none", "notes://open"]


async def test_opaque_tokens_are_asked_about_once() -> None:
    robot = ClientIdentity(client_id="robot", client_secret="secret")
    async with issuer() as first:
        trusted: dict[str, Any] = {"introspection_url": f"{first.url}/introspect", "client": robot}
        guard = ResourceServer(RESOURCE, [Issuer(issuer=first.url, **trusted)])
        token = first.granted("read")
        verdicts: list[Any] = []

        async def ask(token: str) -> None:
            verdicts.append(await judged(guard, bearer(token)))

        with patience():
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(ask, token)
            assert [str(each) for each in verdicts] == [principal_name(first.url, "robot")] * 20
            asked = [each for each in first.requests if each.path == "/introspect"]
            assert len(asked) == 1
            await ask("unknown")
            assert verdicts[-1].status == 401
        guard.revoke(token)
        await ask(token)
        assert verdicts[-1].message == "the token is not active"


async def test_a_thread_that_asks_if_a_token_is_revoked_begins_no_question() -> None:
    robot = ClientIdentity(client_id="robot", client_secret="secret")
    async with issuer() as desk:
        trusted: dict[str, Any] = {"introspection_url": f"{desk.url}/introspect", "client": robot}
        trust = Issuer(issuer=desk.url, **trusted)
        guard = ResourceServer(RESOURCE, [trust], verified_for=1e-9)
        token = desk.granted("read")

        async def look() -> None:
            while True:
                assert not await anyio.to_thread.run_sync(principal.revoked)

        with patience():
            principal = await judged(guard, bearer(token))
            with pytest.raises(RuntimeError):  # once the answer is a second old
                await look()
            assert isinstance(await judged(guard, bearer(token)), Principal)


async def test_a_thread_may_ask_if_a_token_is_revoked_that_is_verified_by_keys() -> None:
    async with protected() as desk:
        token = desk.token()
        principal: Any = await judged(desk.guard, bearer(token))
        assert await anyio.to_thread.run_sync(principal.revoked) is False
        desk.guard.revoke(token)
        assert await anyio.to_thread.run_sync(principal.revoked) is True


async def test_keys_rotate_and_no_request_for_a_known_key_waits() -> None:
    async with protected() as desk:
        old = desk.token()
        assert (await desk.call(call("who", old))).status == 200
        desk.issuer.keys.rotate(PrivateKey.generate("ES256"), time.time())
        new = desk.token("bob")
        assert (await desk.call(call("who", new))).status == 200
        assert (await desk.call(call("who", old))).status == 200
        assert len([each for each in desk.requests if each.path.endswith("jwks")]) == 2


async def test_an_issuer_that_is_away_is_a_503() -> None:
    async with issuer() as desk:
        token = desk.token()
        trust = Issuer(issuer=desk.url, jwks_url="http://127.0.0.1:9/jwks")
        guard = ResourceServer(RESOURCE, [trust])
        with patience():
            verdict = await judged(guard, bearer(token))
        assert (verdict.status, dict(verdict.headers)) == (503, {"Retry-After": "5"})


@pytest.mark.parametrize("first", [True, False])
async def test_api_keys_beside_tokens(first: bool) -> None:
    id, text = make_key(bytes(range(40)))
    record = ApiKey(id=id, digest=digest_of(text), principal="machine", scopes=("write", "files"))

    def guard(desk: Desk) -> AnyOf:
        keys = ApiKeyScheme([record], audit=desk.events.append)
        return AnyOf(keys, desk.guard) if first else AnyOf(desk.guard, keys)

    async with protected(guard=guard) as desk:
        refused = await desk.call(call("who"))
        schemes = parse_challenges([refused.headers["www-authenticate"]])
        assert [each.scheme for each in schemes] == ["bearer", "bearer"]
        assert "resource_metadata" in schemes[0].params
        assert (await desk.call(call("erase", text))).result == "erased"
        assert (await desk.call(call("govern", text))).status == 403
        admitted, forbidden = desk.events[-2:]
        assert (forbidden.principal, forbidden.credential) == ("machine", id)
        assert (forbidden.scheme, forbidden.operation) == (admitted.scheme, "tools/call")
        assert (await desk.call(call("who", desk.token()))).status == 200
        assert (await desk.call(http(method="GET", target=METADATA))).status == 200
        wrong = await desk.call(call("who", text[:-1] + ("0" if text[-1] != "0" else "1")))
        assert wrong.status == 401
        assert text not in repr(desk.events)


async def test_the_audit_of_a_refused_operation_tells_of_its_own_request() -> None:
    async with protected() as desk:
        lines = bearer(desk.token())
        found = [
            await judged(desk.guard, lines, peer=peer) for peer in ("192.0.2.1:1", "192.0.2.2:2")
        ]
        assert found[0] == found[1]
        assert found[0].exchangeable
        for principal in found:
            principal.refused("tools/call", "erase", "no")
        assert [event.address for event in desk.events[2:]] == ["192.0.2.1", "192.0.2.2"]


async def test_the_metadata_and_the_guard_work_in_asgi_and_the_plain_function() -> None:
    async with issuer() as desk:
        guard = ResourceServer(RESOURCE, [Issuer(issuer=desk.url)])
        settings = ServeSettings(http_link=HttpServerSettings(authenticate=guard))
        endpoint = HttpEndpoint(notes(), settings=settings)

        async def plain(method: str, target: str) -> list[Any]:
            request = http_request(method, target, [("Host", "evil.example")])
            with endpoint.handle(request, principal=await endpoint.identify(request)) as call:
                return [action async for action in call]

        head, *rest = await plain("GET", METADATA)
        assert head.status == 200
        assert json.loads(rest[0].data)["resource"] == RESOURCE
        assert (await plain("POST", "/mcp"))[0].status == 403  # of the Host
        await endpoint.aclose()

        app = asgi_app(notes(), settings=settings)
        asked = http(method="GET", target=METADATA, headers={"Host": None})
        answer = await Call(app, asked).run()
        assert answer.status == 200
        assert json.loads(answer.body)["resource"] == RESOURCE
        await app.aclose()


TASKS: dict[str, Any] = {
    "io.modelcontextprotocol/clientCapabilities": {
        "extensions": {"io.modelcontextprotocol/tasks": {}}
    }
}


async def test_the_list_of_tasks_leaves_out_those_of_a_forbidden_tool() -> None:
    async with protected() as desk:
        client = await desk.connect()
        rich, poor = desk.token(scope="write"), desk.token()
        session = await open_session(client, rich)
        params = {"name": "toil", "arguments": {}, "task": {"ttl": 60_000}}
        made = await client.call(legacy("tools/call", params, rich, session=session))
        task = message_of(made)["result"]["task"]["taskId"]
        for token, shown in ((rich, [task]), (poor, [])):
            listed = await client.call(legacy("tasks/list", {}, token, session=session))
            assert [each["taskId"] for each in message_of(listed)["result"]["tasks"]] == shown


async def test_the_task_of_a_forbidden_tool_is_forbidden() -> None:
    async with protected() as desk:
        rich, poor = desk.token(scope="write"), desk.token()
        made = await desk.call(call("toil", rich, meta=TASKS))
        assert made.status == 200
        task = made.json["result"]["taskId"]
        about = {"taskId": task}
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            params = {**about, "inputResponses": {}} if method == "tasks/update" else about
            refused = await desk.call(
                modern(method, params, poor, meta=TASKS, headers={"Mcp-Name": task})
            )
            assert refused.status == 403, method
            assert desk.events[-1].operation == method
            assert challenge_of(refused)["scope"] == "write"
        found = await desk.call(
            modern("tasks/get", about, rich, meta=TASKS, headers={"Mcp-Name": task})
        )
        assert found.status == 200
        other = desk.token("bob", scope="write")
        hidden = await desk.call(
            modern("tasks/get", about, other, meta=TASKS, headers={"Mcp-Name": task})
        )
        assert message_of(hidden)["error"]["code"] == -32602


async def passing(request: Context, call_next: CallNext[Answer]) -> Answer:
    return await call_next()


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("middleware", [(), (passing,)])
async def test_the_task_of_a_hidden_tool_is_hidden(stored: bool, middleware: Any) -> None:
    runtime = RuntimeSettings(middleware=middleware)
    settings = ServeSettings(runtime=runtime, store=MemoryStore() if stored else None)
    server = Server("notes")

    def writers(who: str | None) -> bool:
        return isinstance(who, Principal) and "write" in who.scopes

    @server.tool(visible=writers, task="optional")
    async def toil() -> str:
        return "toiled"

    async with protected(server, settings=settings) as desk:
        client = await desk.connect()
        rich, poor = desk.token(scope="write"), desk.token()
        made = message_of(await client.call(call("toil", rich, meta=TASKS)))
        task = made["result"]["taskId"]

        async def ask(method: str, token: str, id: str) -> Any:
            params = {"taskId": id, **({"inputResponses": {}} if method == "tasks/update" else {})}
            lines = {"Mcp-Name": id}
            asked = modern(method, params, token, meta=TASKS, headers=lines)
            return message_of(await client.call(asked))

        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            assert await ask(method, poor, task) == await ask(method, poor, "unknown")
        assert (await ask("tasks/get", rich, task))["result"]["status"] == "completed"
        for token, shown in ((poor, []), (rich, [task])):
            session = await open_session(client, token)
            listed = await client.call(legacy("tasks/list", {}, token, session=session))
            assert [each["taskId"] for each in message_of(listed)["result"]["tasks"]] == shown
            wanted = {"notifications": {"taskIds": [task]}}
            news = await desk.connect()
            await news.send(modern("subscriptions/listen", wanted, token, meta=TASKS))
            assert (await news.head()).status == 200
            with patience():
                told = await news.chunk()
            if not stored:  # there it is told before the store is asked
                assert (task.encode() in told) is bool(shown)
            await news.aclose()


async def test_a_key_may_last_for_as_long_as_there_are_seconds_since_1970() -> None:
    id, key = make_key(bytes(range(40)))
    ends = 2 * time.time() - time.monotonic()
    record = ApiKey(id=id, digest=digest_of(key), principal="ann", expires_at=ends)
    asking = http_request("POST", "/mcp", [("Authorization", f"Bearer {key}")])
    assert await identify(ApiKeyScheme([record]), asking, 20.0) == "ann"


@pytest.mark.parametrize("stored", [False, True])
async def test_the_task_of_a_tool_that_is_hidden_meanwhile_is_not_told(stored: bool) -> None:
    settings = ServeSettings(store=MemoryStore() if stored else None)
    server, ready, parties = Server("notes"), anyio.Event(), {"write", "read"}

    @server.tool(visible=lambda who: bool(parties & getattr(who, "scopes", set())), task="optional")
    async def toil() -> str:
        await ready.wait()
        return "toiled"

    async with protected(server, settings=settings) as desk:
        tokens, client = [desk.token(scope=scope) for scope in ("write", "read")], desk.connect
        caller, waiter = await client(), await client()
        made = message_of(await caller.call(call("toil", tokens[0], meta=TASKS)))
        about = {"taskId": made["result"]["taskId"]}
        session = await open_session(waiter, tokens[1])
        await waiter.send(legacy("tasks/result", about, tokens[1], session=session))
        wanted = {"notifications": {"taskIds": [about["taskId"]], "toolsListChanged": True}}
        streams = [await client() for _ in tokens]
        for stream, token in zip(streams, tokens, strict=True):
            await stream.send(modern("subscriptions/listen", wanted, token, meta=TASKS))
            assert (await stream.head()).status == 200
            with patience():
                assert about["taskId"].encode() in await stream.chunk()
        lines = {"Mcp-Name": about["taskId"]}
        for token in tokens:  # both may ask for it still
            asked = modern("tasks/get", about, token, meta=TASKS, headers=lines)
            assert message_of(await caller.call(asked))["result"]["status"] == "working"
        parties.discard("read")
        ready.set()
        with patience():
            status = ""
            while status != "completed":
                asked = modern("tasks/get", about, tokens[0], meta=TASKS, headers=lines)
                status = message_of(await caller.call(asked))["result"]["status"]
            server.list_changed("tools")
            said = [b"", b""]
            for place, stream in enumerate(streams):
                while b"tools/list_changed" not in said[place]:
                    said[place] += await stream.chunk()
            refused = message_of(await waiter.response())
        assert b"toiled" not in said[1]
        assert stored or b"toiled" in said[0]  # there it may be told later
        assert refused["error"]["code"] == -32602


@pytest.mark.parametrize("stored", [False, True])
async def test_nor_is_the_session_of_such_a_task_told(stored: bool) -> None:
    settings = ServeSettings(store=MemoryStore() if stored else None)
    server, shown, ready = Server("notes"), {True}, [anyio.Event(), anyio.Event()]

    @server.tool(visible=lambda who: True in shown, task="optional")
    async def toil(context: Context) -> str:
        await ready[0].wait()
        context.progress(1.0)
        await ready[1].wait()
        return "toiled"

    async with protected(server, settings=settings) as desk:
        token, client, stream = desk.token(), await desk.connect(), await desk.connect()
        session = await open_session(client, token)
        lines = {"Mcp-Session-Id": session, "Accept": "text/event-stream", **bearer(token)}
        await stream.send(http(method="GET", headers=lines))
        assert (await stream.head()).status == 200
        params = {"name": "toil", "arguments": {}, "task": {}}
        made = await client.call(legacy("tools/call", params, token, session=session))
        assert message_of(made)["result"]["task"]["status"] == "working"
        said = b""
        ready[0].set()
        with patience():
            while b"tasks/status" not in said:
                said += await stream.chunk()
        shown.clear()
        ready[1].set()
        await anyio.wait_all_tasks_blocked()
        server.list_changed("tools")
        with patience():
            while b"tools/list_changed" not in said:
                said += await stream.chunk()
        assert b"completed" not in said


async def test_what_such_a_task_says_is_not_told_to_who_waits_for_it() -> None:
    server, ready, parties = Server("notes"), anyio.Event(), {"write", "read"}

    @server.tool(visible=lambda who: bool(parties & getattr(who, "scopes", set())), task="optional")
    async def toil(context: Context) -> str:
        await ready.wait()
        context.notify("notifications/notes/said", {"text": "toiling"})
        return "toiled"

    async with protected(server) as desk:
        rich, poor = desk.token(scope="write"), desk.token(scope="read")
        caller, waiter = await desk.connect(), await desk.connect()
        session, other = await open_session(caller, rich), await open_session(waiter, poor)
        params = {"name": "toil", "arguments": {}, "task": {}}
        made = await caller.call(legacy("tools/call", params, rich, session=session))
        about = {"taskId": message_of(made)["result"]["task"]["taskId"]}
        await waiter.send(legacy("tasks/result", about, poor, session=other))
        seen = message_of(await caller.call(legacy("tasks/get", about, rich, session=session)))
        assert seen["result"]["status"] == "working"
        parties.discard("read")
        ready.set()
        with patience():
            refused = await waiter.response()
        assert b"toiling" not in refused.body
        assert message_of(refused)["error"]["code"] == -32602


@pytest.mark.parametrize("scopes", ["", "write files"])
async def test_standard_input_has_its_party_from_the_environment(scopes: str) -> None:
    body = call("erase").partition(b"\r\n\r\n")[2] + b"\n"
    environment = {**os.environ, "MCPCORE_PRINCIPAL": "ann", "MCPCORE_SCOPES": scopes}
    command = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    words = [
        *command,
        "serve",
        "tests.transports.auth.auth_desk:SERVER",
        "--stdio",
        "--env-principal",
    ]
    with patience():
        done = await anyio.to_thread.run_sync(
            partial(
                subprocess.run,
                words,
                input=body,
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
            )
        )
    answer = json.loads(done.stdout)
    if scopes:
        assert answer["result"]["content"][0]["text"] == "erased"
    else:
        assert answer["error"]["code"] == FORBIDDEN


async def test_sessions_in_a_store_refuse_with_a_403() -> None:
    async with protected(settings=ServeSettings(store=MemoryStore())) as desk:
        client = await desk.connect()
        poor = desk.token()
        session = await open_session(client, poor)
        params = {"name": "erase", "arguments": {}}
        refused = await client.call(legacy("tools/call", params, poor, session=session))
        assert refused.status == 403
        assert challenge_of(refused)["error"] == "insufficient_scope"
        check_audit(desk, "tools/call", params)
        rich = desk.token(scope="write files")
        done = await client.call(legacy("tools/call", params, rich, session=session))
        assert message_of(done)["result"]["content"][0]["text"] == "erased"


async def open_sse(stream: Client, headers: Mapping[str, str | None]) -> tuple[str, bytes]:
    """Open an event stream; return the target of messages, and what was read."""
    await stream.send(http(method="GET", target="/sse", headers=headers))
    assert (await stream.head()).status == 200
    seen = b""
    while b"\n\n" not in seen:
        seen += await stream.chunk()
    return seen.split(b"data: ")[1].split(b"\n")[0].strip().decode(), seen


async def test_http_sse_takes_proofs_for_both_of_its_endpoints() -> None:
    origin = "http://localhost:8000"
    async with protected(binding="sse", resource=f"{origin}/sse", dpop=Dpop.REQUIRED) as desk:
        token = desk.bound(aud=f"{origin}/sse")

        def shown(jti: str, method: str, path: str) -> dict[str, str | None]:
            return proven(token, jti=jti, htm=method, htu=f"{origin}{path}")

        place, _ = await open_sse(await desk.connect(), shown("1", "GET", "/sse"))
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
        for jti, method, path, status in (
            ("2", "POST", "/messages", 202),
            ("2", "POST", "/messages", 401),  # a second time
            ("3", "GET", "/messages", 401),
            ("4", "POST", "/other", 401),
        ):
            sent = http(body, target=place, headers=shown(jti, method, path))
            assert (await desk.call(sent)).status == status, jti


async def test_http_sse_refuses_on_its_stream() -> None:
    settings = ServeSettings(http=HttpSettings(sse=SsePaths()))
    async with protected(settings=settings) as desk:
        token = desk.token()
        stream = await desk.connect()
        place, seen = await open_sse(stream, bearer(token))

        async def post(method: str, params: Any, token: str | None, id: int | None) -> int:
            message = {"jsonrpc": "2.0", "method": method, "params": params}
            if id is not None:
                message["id"] = id
            data = http(json.dumps(message).encode(), target=place, headers=bearer(token))
            return (await desk.call(data)).status

        opening = {
            "protocolVersion": "2024-11-05",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        assert await post("initialize", opening, token, 1) == 202
        assert await post("notifications/initialized", {}, token, None) == 202
        assert await post("tools/call", {"name": "erase", "arguments": {}}, None, 2) == 401
        assert (
            await post("tools/call", {"name": "erase", "arguments": {}}, desk.token("bob"), 2)
            == 404
        )
        assert await post("tools/call", {"name": "erase", "arguments": {}}, token, 2) == 202
        while b'"code":1004' not in seen:
            seen += await stream.chunk()
        check_audit(desk, "tools/call", {"name": "erase"})
