"""Every rule of the linter is broken once, and found with its clause, line and side."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

from mcpcore.spec.capabilities import APP_TYPE
from mcpcore.spec.revisions import REVISIONS
from mcpcore.trace.format import TO_CLIENT, TO_SERVER, Record
from mcpcore_conformance.requirements import REQUIREMENTS
from mcpcore_conformance.run.transcript import INCOMPLETE
from mcpcore_conformance.trace import book
from mcpcore_conformance.trace.book import Asked, Conversation
from mcpcore_conformance.trace.check import Checker, check
from mcpcore_conformance.trace.dialogue import Said
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_conformance.trace.rules import RULES
from tests.trace.said import (
    BOTH,
    BUILD,
    INFO,
    MODERN,
    READY,
    SERVER,
    SUBSCRIPTION,
    VERSION,
    c,
    done,
    error,
    event,
    get,
    handshake,
    head,
    initialize,
    initialized,
    meta,
    modern,
    notice,
    post,
    prime,
    reply,
    request,
    result,
    s,
    session,
    stream,
    trace,
)

CALL = {"name": "t", "arguments": {}}
CONTENT: dict[str, Any] = {"content": []}
PROGRESS = "notifications/progress"
CANCELLED = "notifications/cancelled"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
CHANGED = "notifications/tools/list_changed"
TOLD: dict[str, Any] = {"mcp_session_id": "abc", "mcp_protocol_version": "2025-11-25"}
ANEW: dict[str, Any] = {**TOLD, "mcp_session_id": "def"}
MIRRORED: dict[str, Any] = {
    "mcp_protocol_version": MODERN,
    "mcp_method": "tools/call",
    "mcp_name": "t",
}
TOOL = {
    "name": "t",
    "inputSchema": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    },
}
HINTS = {"ttlMs": 0, "cacheScope": "public"}
LISTING: dict[str, Any] = {"mcp_protocol_version": MODERN, "mcp_method": "tools/list"}
SECOND = [BUILD.note("note", time=0.0, data=b"nothing") for _ in range(12)]
"""As many records as :func:`trace` has in more than a second."""


def binary(direction: Any, data: bytes) -> Record:
    return BUILD.note("binary", time=0.0, direction=direction, data=data)


def raw(direction: Any, data: bytes) -> Record:
    return BUILD.note("invalid", time=0.0, direction=direction, data=data)


def called(**more: Any) -> list[Record]:
    return [*post(modern("tools/call", CALL), **{**MIRRORED, **more})]


def begun_anew() -> list[Record]:
    """A second handshake over HTTP, on exchanges 4 and 5; seven lines."""
    return [
        *post(initialize(id=2), 4),
        *reply(initialized(id=2), 4, mcp_session_id="def"),
        *post(READY, 5, **ANEW),
        *reply(None, 5, 202),
    ]


def without_streams(side: Any) -> TraceFile:
    """A server that answers each GET with 404."""
    return trace(
        session(),
        get(3, **TOLD),
        reply(None, 3, 404),
        begun_anew(),
        get(6, **ANEW),
        reply(None, 6, 404),
        post(request("ping"), 7, **ANEW),
        reply(result(), 7),
        side=side,
        binding="http",
    )


def progress(value: Any, token: Any = "p") -> Record:
    return s(notice(PROGRESS, {"progressToken": token, "progress": value}))


def ask(token: Any = "p", id: Any = 1) -> Record:
    return c(request("tools/call", {**CALL, "_meta": {"progressToken": token}}, id))


def listing(id: Any = 1, **wanted: Any) -> Record:
    return c(modern("subscriptions/listen", {"notifications": wanted}, id))


def about(id: Any, method: str, **params: Any) -> Record:
    return s(notice(method, {**params, "_meta": {SUBSCRIPTION: id}}))


def needs(id: Any = 1, **value: Any) -> dict[str, Any]:
    return done({"resultType": "input_required", **value}, id)


def shown(meta: Any = None) -> list[Record]:
    """A list with one tool, which has an app; lines 5 and 6."""
    tool = {**TOOL, "_meta": {"ui": {"resourceUri": "ui://x"}} if meta is None else meta}
    return [c(request("tools/list")), s(result({"tools": [tool]}))]


def app_read() -> Record:
    return c(request("resources/read", {"uri": "ui://x"}, 2))


def document(mime_type: str = APP_TYPE, text: str = "<!doctype html>") -> dict[str, Any]:
    return result({"contents": [{"uri": "ui://x", "mimeType": mime_type, "text": text}]}, 2)


ELICIT = {"e": {"method": "elicitation/create", "params": {"message": "m", "requestedSchema": {}}}}

FORM = {"type": "object", "properties": {}}

BROKEN: list[tuple[str, int, str, TraceFile]] = [
    # Messages
    ("jsonrpc", 5, "client", trace(handshake(), c({"id": 1, "method": "ping"}))),
    ("jsonrpc", 5, "server", trace(handshake(), s(b"hello"), binding="tcp")),
    ("jsonrpc", 5, "server", trace(handshake(), s({"jsonrpc": "2.0", "id": 9}), binding="tcp")),
    ("utf8", 5, "server", trace(handshake(), raw(TO_CLIENT, b'{"a":"\xff"}'))),
    ("stdout-clean", 5, "server", trace(handshake(), s(b"hello"))),
    ("stdin-clean", 5, "client", trace(handshake(), c(b"hello"))),
    ("request-id-type", 5, "client", trace(handshake(), c(request("ping", id=1.5)))),
    ("request-id-not-null", 5, "client", trace(handshake(), c(request("ping", id=None)))),
    (
        "request-id-used",
        7,
        "client",
        trace(handshake(), c(request("ping")), s(result()), c(request("ping"))),
    ),
    (
        "request-id-used",
        3,
        "client",
        trace(c(modern("tools/call", CALL)), c(modern("tools/call", CALL))),
    ),
    ("result-id", 5, "server", trace(handshake(), s(result(id="1")))),
    ("error-id", 5, "server", trace(handshake(), s(error(id=7)))),
    (
        "one-answer",
        7,
        "server",
        trace(handshake(), c(request("ping")), s(result()), s(result())),
    ),
    (
        "notification-unanswered",
        6,
        "server",
        trace(handshake(), c(notice("notifications/cancelled", {})), s(error(id=None))),
    ),
    (
        "result-xor-error",
        6,
        "server",
        trace(handshake(), c(request("ping")), s({**result(), **error()}), binding="tcp"),
    ),
    (
        "error-shape",
        6,
        "server",
        trace(handshake(), c(request("ping")), s({"jsonrpc": "2.0", "id": 1, "error": {}})),
    ),
    (
        "error-shape",
        6,
        "server",
        trace(handshake(), c(request("ping")), s(error("x"))),  # type: ignore[arg-type]
    ),
    ("error-reserved", 3, "server", trace(c(modern("tools/call", CALL)), s(error(-32050)))),
    ("error-retired", 3, "server", trace(c(modern("tools/call", CALL)), s(error(-32002)))),
    ("error-legacy", 3, "server", trace(c(modern("tools/call", CALL)), s(error(-32000)))),
    ("error-new", 3, "server", trace(c(modern("tools/call", CALL)), s(error(-32500)))),
    (
        "method-unknown",
        6,
        "server",
        trace(handshake(), c(request("tools/explode")), s(error(-32602))),
    ),
    (
        "batch-revision",
        5,
        "client",
        trace(handshake(), c([request("ping"), READY]), s(result())),
    ),
    (
        "batch-kinds",
        10,
        "client",
        trace(
            session("2025-03-26"),
            post([request("ping"), error(-32601, 5)], 3, mcp_session_id="abc"),
            binding="http",
        ),
    ),
    (
        "body-single",
        10,
        "client",
        trace(
            session("2025-06-18"),
            post(
                [request("ping"), request("ping", id=2)],
                3,
                mcp_session_id="abc",
                mcp_protocol_version="2025-06-18",
            ),
            binding="http",
        ),
    ),
    # Lifecycle
    ("initialize-first", 2, "client", trace(c(notice("notifications/roots/list_changed")))),
    (
        "initialize-before-all",
        3,
        "server",
        trace(c(request("prompts/list")), s(result({"prompts": []}))),
    ),
    (
        "initialize-answered",
        3,
        "server",
        trace(c(initialize()), s(result({"protocolVersion": "2025-11-25", "capabilities": {}}, 0))),
    ),
    (
        "initialized",
        4,
        "client",
        trace(c(initialize()), s(initialized()), c(request("tools/list"))),
    ),
    ("client-waits", 3, "client", trace(c(initialize()), c(request("tools/list")))),
    (
        "server-waits",
        4,
        "server",
        trace(c(initialize(roots={})), s(initialized()), s(request("roots/list"))),
    ),
    ("initialize-batched", 2, "client", trace(c([initialize("2025-03-26")]))),
    (
        "initialize-cancelled",
        3,
        "client",
        trace(c(initialize()), c(notice(CANCELLED, {"requestId": 0}))),
    ),
    ("method-revision", 5, "server", trace(handshake(), s(request("tools/list")))),
    (
        "method-revision",
        5,
        "client",
        trace(handshake("2024-11-05"), c(request("elicitation/create", {}))),
    ),
    ("capability", 5, "client", trace(handshake(server={}), c(request("tools/list")))),
    ("capability", 5, "server", trace(handshake(), s(request("roots/list")))),
    ("capability", 5, "server", trace(handshake(server={"tools": {}}), s(notice(CHANGED)))),
    (
        "logging-declared",
        5,
        "server",
        trace(
            handshake(server={}), s(notice("notifications/message", {"level": "info", "data": 1}))
        ),
    ),
    (
        "ping-answered",
        6,
        "server",
        trace(handshake(), c(request("ping")), s(result({"pong": True}))),
    ),
    # Shapes
    ("params-shape", 5, "client", trace(handshake(), c(request("tools/call", {"name": 5})))),
    (
        "result-shape",
        6,
        "server",
        trace(handshake(), c(request("tools/list")), s(result({"tools": {}}))),
    ),
    # Progress and cancellation
    ("token-type", 5, "client", trace(handshake(), ask(1.5))),
    ("token-unique", 6, "client", trace(handshake(), ask(), ask(id=2))),
    (
        "progress-increases",
        8,
        "server",
        trace(handshake(), ask(), progress(1), progress(2), progress(2)),
    ),
    ("progress-token", 6, "server", trace(handshake(), ask(), progress(1, "q"))),
    ("progress-token", 6, "server", trace(handshake(), ask("1"), progress(1, 1))),
    ("progress-stops", 7, "server", trace(handshake(), ask(), s(result(CONTENT)), progress(1))),
    ("cancel-own", 5, "client", trace(handshake(), c(notice(CANCELLED, {"requestId": 5})))),
    (
        "cancel-own",
        7,
        "client",
        trace(handshake(), c(request("ping")), s(result()), c(notice(CANCELLED, {"requestId": 1}))),
    ),
    (
        "cancelled-silent",
        4,
        "server",
        trace(
            c(modern("tools/call", CALL, progressToken="p")),
            c(notice(CANCELLED, {"requestId": 1})),
            progress(1),
            side="server",
        ),
    ),
    (
        "cancelled-answered",
        7,
        "server",
        trace(
            handshake(),
            c(request("ping")),
            c(notice(CANCELLED, {"requestId": 1})),
            s(result()),
            side="server",
        ),
    ),
    (
        "cancel-listen",
        3,
        "server",
        trace(c(modern("tools/call", CALL)), s(notice(CANCELLED, {"requestId": 1}))),
    ),
    # Modern
    ("no-server-requests", 3, "server", trace(c(modern("tools/call", CALL)), s(request("ping")))),
    (
        "no-client-responses",
        4,
        "client",
        trace(c(modern("tools/call", CALL)), s(done(CONTENT)), c(error(-32601, id=9))),
    ),
    (
        "meta-required",
        2,
        "client",
        trace(
            c(request("prompts/get", {"name": "p", "_meta": {VERSION: MODERN, INFO: meta()[INFO]}}))
        ),
    ),
    ("meta-key", 2, "client", trace(c(modern("tools/call", CALL, **{"a b": 1})))),
    (
        "client-info",
        2,
        "client",
        trace(
            c(
                request(
                    "prompts/get",
                    {"name": "p", "_meta": {k: v for k, v in meta().items() if k != INFO}},
                )
            )
        ),
    ),
    (
        "server-info",
        3,
        "server",
        trace(c(modern("tools/call", CALL)), s(result({**CONTENT, "resultType": "complete"}))),
    ),
    ("trace-context", 2, "client", trace(c(modern("tools/call", CALL, traceparent="00-x")))),
    (
        "result-type",
        3,
        "server",
        trace(
            c(modern("tools/call", CALL)),
            s(result({**CONTENT, "_meta": {SERVER: {"name": "s", "version": "1"}}})),
        ),
    ),
    ("cache-hints", 3, "server", trace(c(modern("tools/list")), s(done({"tools": []})))),
    (
        "ttl",
        3,
        "server",
        trace(c(modern("tools/list")), s(done({"tools": [], "ttlMs": -1, "cacheScope": "public"}))),
    ),
    (
        "subscription-id",
        4,
        "server",
        trace(
            listing(toolsListChanged=True),
            about(1, ACKNOWLEDGED, notifications={"toolsListChanged": True}),
            s(notice(CHANGED)),
        ),
    ),
    (
        "subscription-id",
        4,
        "server",
        trace(
            listing(toolsListChanged=True),
            about(1, ACKNOWLEDGED, notifications={"toolsListChanged": True}),
            about("1", CHANGED),
        ),
    ),
    ("acknowledged-first", 3, "server", trace(listing(toolsListChanged=True), about(1, CHANGED))),
    (
        "acknowledged-first",
        3,
        "server",
        trace(listing(toolsListChanged=True), s(done())),
    ),
    (
        "requested-only",
        4,
        "server",
        trace(
            listing(promptsListChanged=True),
            about(1, ACKNOWLEDGED, notifications={"promptsListChanged": True}),
            about(1, CHANGED),
        ),
    ),
    (
        "input-methods",
        3,
        "server",
        trace(c(modern("tools/list")), s(needs(requestState="s"))),
    ),
    ("input-or-state", 3, "server", trace(c(modern("tools/call", CALL)), s(needs()))),
    (
        "input-kinds",
        3,
        "server",
        trace(
            c(modern("tools/call", CALL)),
            s(needs(inputRequests={"a": {"method": "tools/list", "params": {}}})),
        ),
    ),
    (
        "input-declared",
        3,
        "server",
        trace(c(modern("tools/call", CALL)), s(needs(inputRequests=ELICIT))),
    ),
    (
        "state-echoed",
        4,
        "client",
        trace(
            c(modern("tools/call", CALL)),
            s(needs(requestState="given")),
            c(modern("tools/call", {**CALL, "requestState": "other"}, 2)),
        ),
    ),
    (
        "log-level",
        3,
        "server",
        trace(
            c(modern("tools/call", CALL)),
            s(notice("notifications/message", {"level": "info", "data": 1})),
        ),
    ),
    # HTTP
    (
        "accept",
        9,
        "client",
        trace(
            session(),
            post(request("ping"), 3, **{**TOLD, "accept": "application/json"}),
            binding="http",
        ),
    ),
    (
        "accepted-202",
        11,
        "server",
        trace(
            session(),
            post(notice(CANCELLED, {}), 3, **TOLD),
            reply(None, 3, 200),
            binding="http",
        ),
    ),
    (
        "json-or-sse",
        11,
        "server",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            reply(result(), 3, content_type="text/plain"),
            binding="http",
        ),
    ),
    (
        "response-ends",
        13,
        "server",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            stream(event(result()), event(notice(CHANGED)), stream=3),
            binding="http",
        ),
    ),
    (
        "response-comes",
        12,
        "server",
        trace(
            session("2025-06-18"),
            post(request("ping"), 3, mcp_session_id="abc", mcp_protocol_version="2025-06-18"),
            stream(stream=3),
            binding="http",
        ),
    ),
    (
        "response-place",
        14,
        "server",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            post(request("ping", id=2), 4, **TOLD),
            reply(result(id=1), 4),
            binding="http",
        ),
    ),
    (
        "no-buffering",
        4,
        "server",
        trace(
            called(),
            stream(event(done(CONTENT)), x_accel_buffering=None),
            binding="http",
        ),
    ),
    ("metadata-headers", 2, "client", trace(called(mcp_method=None), binding="http")),
    ("metadata-headers", 2, "client", trace(called(mcp_name="u"), binding="http")),
    (
        "headers-match",
        5,
        "server",
        trace(called(mcp_name="u"), reply(done(CONTENT)), binding="http"),
    ),
    (
        "metadata-headers",
        2,
        "client",
        trace(called(mcp_protocol_version="2025-11-25"), binding="http"),
    ),
    (
        "value-encoded",
        2,
        "client",
        trace(
            post(modern("tools/call", {"name": "a\tb"}), **{**MIRRORED, "mcp_name": "a\tb"}),
            binding="http",
        ),
    ),
    (
        "mismatch-status",
        5,
        "server",
        trace(called(), reply(error(-32020)), binding="http"),
    ),
    ("version-status", 5, "server", trace(called(), reply(error(-32022)), binding="http")),
    ("method-status", 5, "server", trace(called(), reply(error(-32601)), binding="http")),
    ("capability-status", 5, "server", trace(called(), reply(error(-32021)), binding="http")),
    (
        "param-mirrored",
        6,
        "client",
        trace(
            post(modern("tools/list"), **LISTING),
            reply(done({"tools": [TOOL], **HINTS})),
            post(
                modern("tools/call", {"name": "t", "arguments": {"region": "eu"}}, 2), 2, **MIRRORED
            ),
            binding="http",
        ),
    ),
    (
        "param-null",
        6,
        "client",
        trace(
            post(modern("tools/list"), **LISTING),
            reply(done({"tools": [TOOL], **HINTS})),
            post(modern("tools/call", CALL, 2), 2, **MIRRORED, mcp_param_region="eu"),
            binding="http",
        ),
    ),
    (
        "version-header",
        9,
        "client",
        trace(session(), post(request("ping"), 3, mcp_session_id="abc"), binding="http"),
    ),
    (
        "version-agreed",
        9,
        "client",
        trace(
            session(),
            post(request("ping"), 3, mcp_session_id="abc", mcp_protocol_version="2025-06-18"),
            binding="http",
        ),
    ),
    (
        "session-sent",
        9,
        "client",
        trace(
            session(), post(request("ping"), 3, mcp_protocol_version="2025-11-25"), binding="http"
        ),
    ),
    (
        "session-characters",
        4,
        "server",
        trace(post(initialize()), reply(initialized(), mcp_session_id="a b"), binding="http"),
    ),
    (
        "session-lost",
        12,
        "client",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            reply(None, 3, 404),
            post(request("ping", id=2), 4, **TOLD),
            binding="http",
        ),
    ),
    (
        "session-lost",
        11,
        "client",
        trace(
            session(),
            get(3, **TOLD),
            reply(None, 3, 404),
            post(request("ping"), 4, **TOLD),
            binding="http",
        ),
    ),
    (
        "session-lost",
        24,
        "client",
        trace(
            session(),
            get(3, **TOLD),
            reply(None, 3, 404),
            begun_anew(),
            get(6, **ANEW),
            stream(prime("1"), stream=6),
            get(7, last_event_id="1", **ANEW),
            reply(None, 7, 404),
            post(request("ping"), 8, **ANEW),
            binding="http",
        ),
    ),
    (
        "session-lost",
        32,
        "client",
        trace(
            session(),
            begun_anew(),
            get(3, **TOLD),
            reply(None, 3, 404),
            get(6, **ANEW),
            reply(None, 6, 404),
            SECOND,
            post(request("ping"), 7, **ANEW),
            side="server",
            binding="http",
        ),
    ),
    (
        "no-session",
        4,
        "server",
        trace(called(), reply(done(CONTENT), mcp_session_id="x"), binding="http"),
    ),
    (
        "get-accept",
        9,
        "client",
        trace(session(), get(3, accept="application/json", **TOLD), binding="http"),
    ),
    (
        "get-answered",
        10,
        "server",
        trace(session(), get(3, **TOLD), reply(None, 3, content_type="text/html"), binding="http"),
    ),
    (
        "get-no-response",
        13,
        "server",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            get(4, **TOLD),
            stream(event(result()), stream=4),
            binding="http",
        ),
    ),
    (
        "event-ids",
        12,
        "server",
        trace(
            session(),
            get(3, **TOLD),
            stream(prime("1"), event(notice(CHANGED), "1"), stream=3),
            binding="http",
        ),
    ),
    (
        "primed",
        12,
        "server",
        trace(
            session(),
            post(request("ping"), 3, **TOLD),
            stream(event(result(), "1"), stream=3),
            binding="http",
        ),
    ),
    (
        "sse-endpoint",
        5,
        "server",
        trace(
            get(),
            stream(event(b"hello", type="greeting"), event(b"/m?s=1", type="endpoint")),
            binding="sse",
        ),
    ),
    # Apps
    (
        "params-shape",
        7,
        "client",
        trace(handshake(), shown(), c(request("resources/read", {"uri": []}, 2)), s(error(id=2))),
    ),
    ("app-tool", 6, "server", trace(handshake(), shown({"ui": {"visibility": "app"}}))),
    ("app-exists", 8, "server", trace(handshake(), shown(), app_read(), s(error(-32002, 2)))),
    (
        "app-document",
        8,
        "server",
        trace(handshake(), shown(), app_read(), s(document("text/html"))),
    ),
    (
        "app-document",
        8,
        "server",
        trace(handshake(), shown(), app_read(), s(document(text="<p>"))),
    ),
    (
        "websocket-text",
        5,
        "client",
        trace(handshake(), binary(TO_SERVER, b"x"), binding="websocket"),
    ),
]


ALONG: dict[str, set[str]] = {
    "batch-kinds": {"error-id"},
    "headers-match": {"metadata-headers"},
    "initialize-answered": {"result-shape"},
    "initialize-before-all": {"initialize-first"},
    "no-client-responses": {"error-id"},
    "token-type": {"params-shape"},
}
"""What cannot but be found beside."""


def ids(case: object) -> str:
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize(("rule", "line", "side", "broken"), BROKEN, ids=ids)
def test_a_rule_that_is_broken_is_found(rule: str, line: int, side: str, broken: TraceFile) -> None:
    found = check(broken)
    assert rule in [each.rule for each in found], found
    named = next(each for each in found if each.rule == rule)
    assert (named.line, named.side) == (line, side)
    assert named.clause
    assert named.detail


@pytest.mark.parametrize(("rule", "line", "side", "broken"), BROKEN, ids=ids)
def test_and_nothing_else_is_found(rule: str, line: int, side: str, broken: TraceFile) -> None:
    assert {each.rule for each in check(broken)} - {rule} <= ALONG.get(rule, set())


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _, _, _ in BROKEN} == set(RULES)


def test_every_rule_is_a_clause() -> None:
    rows = {row.id: row for row in REQUIREMENTS}
    for rule in RULES.values():
        assert rule.clause or rule.requirements
        for name in rule.requirements:
            assert name in rows, name
        assert any(rule.verdict(revision) for revision in REVISIONS)


def test_a_finding_names_the_clause_of_the_revision() -> None:
    broken = trace(handshake("2025-06-18", {}), c(request("tools/list")))
    (found,) = check(broken)
    assert found.clause == "basic/lifecycle#operation"
    assert (found.strength, found.revision) == ("MUST", "2025-06-18")
    assert found.requirement == "basic/lifecycle/respect-capabilities"
    (early,) = check(trace(handshake("2024-11-05", {}), c(request("tools/list"))))
    assert (early.strength, early.revision) == ("SHOULD", "2024-11-05")


GOOD = {
    "an app": trace(handshake(), shown(), app_read(), s(document())),
    "handshake": trace(handshake(), c(request("ping")), s(result())),
    "probe and fall back": trace(
        c(modern("server/discover")),
        s(error(-32601)),
        c(initialize(id=2)),
        s(initialized(id=2)),
        c(READY),
    ),
    "batches where there are some": trace(
        handshake("2025-03-26"),
        c([request("ping"), request("ping", id=2)]),
        s([result(), result(id=2)]),
    ),
    "cancelled and silent": trace(
        handshake(), c(request("tools/call", CALL)), c(notice(CANCELLED, {"requestId": 1}))
    ),
    "an answer that has crossed a cancellation": trace(
        handshake(),
        c(request("tools/call", CALL)),
        c(notice(CANCELLED, {"requestId": 1})),
        s(result(CONTENT)),
        side="client",
    ),
    "a cancellation that has crossed an answer": trace(
        handshake(),
        c(request("ping")),
        s(result()),
        c(notice(CANCELLED, {"requestId": 1})),
        side="server",
    ),
    "ids by type": trace(
        handshake(),
        c(request("ping", id=1)),
        c(request("ping", id="1")),
        s(result(id="1")),
        s(result()),
    ),
    "ids of both sides": trace(
        handshake(), c(request("ping")), s(request("ping")), s(result()), c(result())
    ),
    "an id that may come again": trace(
        c(modern("tools/call", CALL)),
        s(done(CONTENT)),
        c(modern("tools/call", CALL)),
        s(done(CONTENT)),
    ),
    "a listen stream": trace(
        listing(toolsListChanged=True),
        about(1, ACKNOWLEDGED, notifications={"toolsListChanged": True}),
        about(1, CHANGED),
        c(notice(CANCELLED, {"requestId": 1})),
    ),
    "an input round": trace(
        c(modern("tools/call", CALL, capabilities={"elicitation": {}})),
        s(needs(inputRequests=ELICIT, requestState="s")),
        c(modern("tools/call", {**CALL, "requestState": "s", "inputResponses": {}}, 2)),
        s(done(CONTENT, 2)),
    ),
    "a session": trace(
        session(),
        get(3, **TOLD),
        stream(prime("1"), event(notice(CHANGED), "2"), stream=3, ends=False),
        post(request("ping"), 4, **TOLD),
        stream(prime("3"), event(result(), "4"), stream=4),
        get(5, "DELETE", **TOLD),
        binding="http",
    ),
    "a session that is lost and begun anew": trace(
        session(),
        post(request("ping"), 3, **TOLD),
        reply(None, 3, 404),
        post(initialize(id=2), 4),
        reply(initialized(id=2), 4, mcp_session_id="def"),
        binding="http",
    ),
    "a call that was under way when its session was lost, as the server saw it": trace(
        session(),
        post(request("ping"), 3, **TOLD),
        reply(None, 3, 404),
        post(request("ping", id=2), 4, **TOLD),
        reply(None, 4, 404),
        side="server",
        binding="http",
    ),
    "a server without streams, as its client saw it": without_streams("client"),
    "a server without streams, as it saw itself": without_streams("server"),
    "sessions whose hidden ids share one mark": trace(
        *(session(id="<...>"), session(id="<...>")),
        *(
            each
            for stream in (3, 4)
            for each in (
                post(request("ping", id=5), stream, **{**TOLD, "mcp_session_id": "<...>"}),
                reply(result(id=5), stream),
            )
        ),
        side="server",
        binding="http",
    ),
    "an answer from the session before": trace(
        session(),
        post(request("ping"), 3, **TOLD),
        get(8, **TOLD),
        reply(None, 8, 404),
        begun_anew(),
        reply(None, 3, 404),
        post(request("ping", id=3), 7, **ANEW),
        reply(result(id=3), 7),
        binding="http",
    ),
    "a stream that is resumed": trace(
        session(),
        post(request("ping"), 3, **TOLD),
        stream(prime("1"), stream=3),
        get(4, last_event_id="1", **TOLD),
        stream(event(result(), "2"), stream=4),
        binding="http",
    ),
    "many clients without sessions": trace(
        called(),
        post(modern("tools/call", CALL), 2, **MIRRORED),
        reply(done(CONTENT), 2),
        reply(done(CONTENT)),
        side="server",
        binding="http",
    ),
    "mirrored arguments": trace(
        post(modern("tools/list"), **LISTING),
        reply(done({"tools": [TOOL], **HINTS})),
        post(
            modern("tools/call", {"name": "t", "arguments": {"region": "eu"}}, 2),
            2,
            **MIRRORED,
            mcp_param_region="eu",
        ),
        reply(done(CONTENT, 2), 2),
        binding="http",
    ),
    "an unknown method": trace(
        post(modern("x/y"), mcp_protocol_version=MODERN, mcp_method="x/y"),
        reply(error(-32601), status=404),
        binding="http",
    ),
    "metadata of authorization": trace(
        session(),
        head(
            TO_SERVER,
            {"host": "h", "accept": "application/json", "mcp-protocol-version": "2025-03-26"},
            3,
            method="GET",
            target="/.well-known/oauth-authorization-server",
        ),
        reply(None, 3, content_type="application/json"),
        binding="http",
    ),
    "refused for want of authorization, and sent again": trace(
        session(),
        post(request("ping", {"_meta": {"progressToken": "p"}}), 3, **TOLD),
        reply(None, 3, 401, www_authenticate="Bearer"),
        post(request("ping", {"_meta": {"progressToken": "p"}}), 4, **TOLD),
        reply(error(-32600), 4, 403, www_authenticate='Bearer error="insufficient_scope"'),
        post(request("ping", {"_meta": {"progressToken": "p"}}), 5, **TOLD),
        reply(result(), 5),
        binding="http",
    ),
    "nothing": trace(),
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_nothing_is_found_where_nothing_is_wrong(good: TraceFile) -> None:
    assert check(good) == []


OLD, ODD = "2025-03-26", b'{"jsonrpc":"2.0","id":7,"x":"\xff"}'
REPORTING = {**CALL, "_meta": {"progressToken": "p"}}
MISSING = [BUILD.note("note", time=0.0, data=each.encode()) for each in INCOMPLETE]


def reported(value: int, id: str) -> Record:
    return event(notice(PROGRESS, {"progressToken": "p", "progress": value}), id)


def body(data: bytes, stream: int, dropped: int = 0) -> list[Record]:
    """A POST whose body is no message."""
    head, _ = post({}, stream, **TOLD)
    return [
        head,
        BUILD.note(
            "http-body", time=0.0, direction=TO_SERVER, stream=stream, data=data, dropped=dropped
        ),
    ]


ANSWERED = {
    "what cannot be read": (raw(TO_SERVER, b"\xff"), s(error(-32700, id=None))),
    "what cannot be read, but for its id": (raw(TO_SERVER, ODD), s(error(-32700, id=7))),
    "a batch where there is none": (c([request("ping")]), s(error(-32600, id=None))),
    "two requests with one id": (
        *(c(request("ping")), c(request("ping"))),
        *(s(result()), s(error(-32600))),
    ),
}


@pytest.mark.parametrize("said", ANSWERED.values(), ids=ANSWERED)
def test_an_answer_to_what_is_wrong_is_not(said: tuple[Record, ...]) -> None:
    assert {each.side for each in check(trace(handshake(), *said))} == {"client"}
    # but there is one for each, and no more
    again = check(trace(handshake(), *said, said[-1]))
    assert [(each.side, each.line) for each in again if each.side == "server"] == [
        ("server", 5 + len(said))
    ]


POSTED = {
    "what is no message": (*body(b"x", 3), *reply(error(-32700, id=7), 3)),
    "what was cut": (*body(b"{", 3, dropped=100), *reply(result(id=7), 3)),
    "a batch where there is none": (
        *post([request("ping")], 3, **TOLD),
        *reply(error(-32600, id=None), 3, 400),
        BUILD.note("http-end", time=0.0, stream=3),
    ),
    "a GET that accepts no events": (
        get(3, accept="application/json", **TOLD),
        *reply(error(-32600, id=None), 3, 406),
    ),
    "a call that is given up": (
        *post(request("tools/call", CALL), 3, **TOLD),
        *post(notice(CANCELLED, {"requestId": 1}), 4, **TOLD),
        *reply(None, 4, 202),
        *stream(stream=3),
    ),
    "what is asked for again": (
        *post(request("tools/call", REPORTING), 3, **TOLD),
        *stream(prime("0"), reported(1, "1"), stream=3),
        get(4, last_event_id="1", **TOLD),
        *stream(reported(2, "2"), event(result(CONTENT), "3"), stream=4),
        get(5, last_event_id="1", **TOLD),
        *stream(reported(2, "2"), event(result(CONTENT), "3"), stream=5),
    ),
    "a place that is told twice": (
        *post(request("ping"), 3, **TOLD),
        *stream(prime("1"), prime("1"), stream=3),
        get(4, last_event_id="1", **TOLD),
        *stream(event(result(), "2"), stream=4),
    ),
    "what is no HTTP body": (
        BUILD.note("http-body", time=0.0, direction=TO_SERVER, stream=3, data=b"0 0"),
        *reply(result(id=7), 3),
    ),
    "what was sent without waiting": (
        *post(request("ping"), 3, **TOLD),
        *reply(result(), 3),
        *reply(result(), 3),
    ),
}


@pytest.mark.parametrize("said", POSTED.values(), ids=POSTED)
def test_over_http_nor_is_what_follows_from_it(said: tuple[Record, ...]) -> None:
    found = check(trace(session(), *said, binding="http"))
    assert [each for each in found if each.side == "server" and each.rule != "one-answer"] == []


def test_over_http_and_sse_a_refusal_may_say_the_same_twice() -> None:
    pipe = (get(1), *stream(event(b"/m?s=1", type="endpoint"), ends=False))
    told = structs.replace(event(error(-32600, id=7)), stream=1)
    wrong = post({"id": 7, "method": "ping"}, 3)
    twice = (*pipe, *wrong, told, *reply(error(-32600, id=7), 3, 400))
    found, more = (
        [each.rule for each in check(trace(*said, binding="sse"))]
        for said in (twice, (*twice, told))
    )
    assert "one-answer" not in found
    assert more == [*found, "one-answer"]


@pytest.mark.parametrize("note", MISSING, ids=lambda note: note.text)
def test_what_is_missing_may_have_been_said(note: Record) -> None:
    talk = (s(notice(CANCELLED, {"requestId": 7})), s(result(id=7)), progress(1, "q"))
    assert check(trace(handshake(), note, *talk)) == []
    assert len(check(trace(handshake(), *talk))) == 3


def test_what_is_cut_within_a_frame_is_not_taken_for_something_else() -> None:
    cut = BUILD.note("invalid", time=0.0, direction=TO_CLIENT, data=b"\x81~\xff{", dropped=9)
    assert check(trace(handshake(), cut, binding="websocket")) == []


def test_what_was_cut_may_have_been_said() -> None:
    cut = BUILD.message(b'{"jsonrpc":"2.0"', time=0.0, direction=TO_SERVER, dropped=100)
    assert check(trace(handshake(), cut, s(result(id=7)), progress(1, "q"))) == []


def test_what_is_hidden_is_not_held_against_its_shape() -> None:
    hidden = {**CALL, "arguments": {"pin": "<hidden-1>"}, "_meta": {"progressToken": "p"}}
    assert check(trace(handshake(), c(request("tools/call", hidden)))) == []


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_accept_header_may_be_said_in_many_ways(side: Any) -> None:
    good = trace(called(accept="*/*"), side=side, binding="http")
    assert check(good) == []
    assert check(trace(called(accept=BOTH.upper()), side=side, binding="http")) == []


def _many_calls() -> Iterator[Record]:
    """A conversation on one pipe whose ids are told apart by one who remembers 20 requests."""
    for id in range(1, 200):
        yield ask(f"p{id}", id)
        yield progress(1, f"p{id}")
        if id % 3:
            yield s(result(CONTENT, id))
        else:
            yield c(notice(CANCELLED, {"requestId": id}))


def _many_exchanges() -> Iterator[Record]:
    """Requests without sessions, as their server has recorded them."""
    for number in range(1, 200):
        yield from post(modern("tools/call", CALL), number, **MIRRORED)
        yield from stream(event(done(CONTENT)), stream=number)


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("said", "side", "binding"),
    [
        ((*handshake(), *_many_calls()), "client", "stdio"),
        (tuple(_many_exchanges()), "server", "http"),
    ],
    ids=["pipe", "http"],
)
def test_a_check_that_never_ends_keeps_what_was_settled_last(
    said: tuple[Record, ...], side: Any, binding: str
) -> None:
    made = trace(*said, side=side, binding=binding)
    checker = Checker(made.header, kept=20)
    before = _kept()
    for entry in made.entries:
        checker.look_at(entry)
    assert checker.findings == []
    assert 20 <= sum(_kept()) - sum(before) <= 42, _kept()


def _kept() -> tuple[int, int]:
    """How many requests, and how many conversations or exchanges, are in memory."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return kinds.count(Asked), kinds.count(Conversation)


def _of_listening() -> Iterator[Record]:
    yield from post(modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
    about = {"_meta": {SUBSCRIPTION: 1}}
    told = [notice(ACKNOWLEDGED, {**about, "notifications": {"toolsListChanged": True}})]
    told += [notice(CHANGED, about)] * 200
    yield from stream(*map(event, told), ends=False)


def _of_get() -> Iterator[Record]:
    yield from session("2025-06-18")
    yield get(3, mcp_session_id="abc", mcp_protocol_version="2025-06-18")
    told = [event(notice(CHANGED))] * 200
    yield from stream(*told, stream=3, ends=False)


def _of_a_pipe() -> Iterator[Record]:
    yield get()
    told = [event(b"/messages?s=1", type="endpoint"), *map(event, [result(id=7)] * 200)]
    yield from stream(*told, ends=False)


def _of_answers() -> Iterator[Record]:
    yield from session()
    for number in range(3, 200):
        yield from post(request("ping", id=number), number, **TOLD)
        yield from reply(result(id=number), number)


def _of_notifications() -> Iterator[Record]:
    yield from session()
    for number in range(3, 200):
        yield from post(notice("notifications/roots/list_changed"), number, **TOLD)
        yield from reply(None, number, 202)


@pytest.mark.parametrize(
    "records", [_of_listening, _of_get, _of_a_pipe, _of_answers, _of_notifications]
)
@pytest.mark.parametrize("side", ["client", "server"])
def test_what_was_said_over_http_is_forgotten(
    records: Callable[[], Iterator[Record]], side: Any
) -> None:
    made = trace(*records(), side=side, binding="http")
    checker = Checker(made.header, kept=5)
    for entry in made.entries:
        checker.look_at(entry)
    gc.collect()
    assert sum(isinstance(each, Said) for each in gc.get_objects()) < 20


TASK = result({"task": {"taskId": "1", "status": "working", "createdAt": "x", "ttl": None}}, 1)


@pytest.mark.parametrize(
    ("later", "rules"),
    [
        ((progress(2), progress(3)), []),
        ((progress(2), progress(2)), ["progress-increases"]),
        ((progress(1),), ["progress-increases"]),
        ((progress(2, "u"),), ["progress-token"]),
        ((s(result({}, 9)),), ["result-id"]),
    ],
    ids=["more", "no more", "no more than before", "of nobody", "an answer of nobody"],
)
def test_tasks_report_beyond_their_requests(later: tuple[Record, ...], rules: list[str]) -> None:
    said = (
        *(*handshake(), ask(), progress(1), s(TASK)),
        *(each for id in (2, 3) for each in (ask(id, id), s(result(CONTENT, id)))),
        *later,
    )
    checker = Checker(trace().header, kept=1)
    for entry in trace(*said).entries:
        checker.look_at(entry)
    assert [each.rule for each in checker.findings if each.rule != "result-shape"] == rules


@pytest.mark.parametrize(
    ("again", "rules"),
    [
        (modern("tools/call", {**CALL, "requestState": "given"}, 5), []),
        (modern("tools/call", {**CALL, "requestState": "other"}, 5), ["state-echoed"]),
        (modern("prompts/get", {"name": "p", "requestState": "given"}, 5), ["state-echoed"]),
    ],
    ids=["given", "never given", "given for another"],
)
def test_states_outlast_the_requests_that_were_told_them(again: Any, rules: list[str]) -> None:
    said = (
        *(c(modern("tools/call", CALL)), s(needs(requestState="given"))),
        *(
            each
            for id in (2, 3, 4)
            for each in (c(modern("tools/call", CALL, id)), s(done(CONTENT, id)))
        ),
        c(again),
    )
    checker = Checker(trace().header, kept=1)
    for entry in trace(*said).entries:
        checker.look_at(entry)
    assert [each.rule for each in checker.findings] == rules


def test_a_state_may_have_been_given_once_states_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(book, "_NAMES", 1)
    said = (
        *(c(modern("tools/call", CALL)), s(needs(requestState="early"))),
        *(c(modern("tools/call", CALL, 2)), s(needs(2, requestState="late"))),
        c(modern("tools/call", {**CALL, "requestState": "early"}, 3)),
    )
    assert [each.rule for each in check(trace(*said))] == []
