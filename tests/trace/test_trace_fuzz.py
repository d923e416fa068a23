"""Whatever stands in a trace, it is shown, checked and played without a crash."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.trace.format import TO_CLIENT, TO_SERVER, Record
from mcpcore_conformance.trace.check import check
from mcpcore_conformance.trace.conversations import conversations
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_conformance.trace.replay import replay
from mcpcore_conformance.trace.rules import RULES
from mcpcore_conformance.trace.show import timeline
from tests.trace.said import (
    BUILD,
    CAPABILITIES,
    MODERN,
    SUBSCRIPTION,
    VERSION,
    c,
    done,
    event,
    get,
    handshake,
    initialize,
    initialized,
    modern,
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

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "t", "1", "x" * 9])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [
        *("name", "uri", "arguments", "_meta", "progressToken", "progress", "requestId"),
        *("capabilities", "protocolVersion", "notifications", "requestState", "inputRequests"),
        *("resultType", "tools", "content", "cursor", "level", "data", "serverInfo", "ttlMs"),
    ]
)
METAS = st.dictionaries(
    st.sampled_from([VERSION, CAPABILITIES, SUBSCRIPTION, "progressToken", "traceparent", "a b"]),
    VALUES | st.just(MODERN),
    max_size=3,
)
MEMBERS = st.dictionaries(NAMES, VALUES | METAS, max_size=4) | VALUES
IDS = SCALARS | st.floats(allow_nan=False, allow_infinity=False) | st.lists(SCALARS, max_size=1)
METHODS = st.sampled_from([*sorted(KNOWN_METHODS), "x/y", ""]) | SCALARS
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | SCALARS,
        "id": IDS,
        "method": METHODS,
        "params": MEMBERS,
        "result": MEMBERS,
        "error": st.fixed_dictionaries(
            {}, optional={"code": SCALARS | st.just(-32601), "message": SCALARS}
        )
        | SCALARS,
    },
)
BODIES: st.SearchStrategy[Any] = (
    MESSAGES
    | st.lists(MESSAGES | SCALARS, max_size=3)
    | st.just(initialize())
    | st.just(initialized())
    | st.sampled_from([b"", b"nonsense", b"\xff\xfe", b"[", b'{"jsonrpc":"2.0","method":'])
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "accept"),
            *("content-type", "last-event-id", "content-length", "origin", "mcp-param-a"),
        ]
    ),
    st.sampled_from(["abc", "2025-11-25", MODERN, "*/*", "text/event-stream", "=?base64?!?=", ""]),
    max_size=3,
)
STREAMS = st.integers(1, 4)
PARTS: st.SearchStrategy[list[Record]] = (
    st.builds(lambda body: [c(body)], BODIES)
    | st.builds(lambda body: [s(body)], BODIES)
    | st.sampled_from([handshake(), handshake("2025-03-26"), session()])
)
WEB: st.SearchStrategy[list[Record]] = (
    st.builds(lambda body, on, fields: post(body, on, **fields), BODIES, STREAMS, FIELDS)
    | st.builds(
        lambda body, on, status, fields: reply(body, on, status, **fields),
        st.none() | BODIES,
        STREAMS,
        st.sampled_from([200, 202, 400, 404, 500, 0]),
        FIELDS,
    )
    | st.builds(
        lambda on, method, fields: [get(on, method, **fields)],
        STREAMS,
        st.sampled_from(["GET", "DELETE", "PUT"]),
        FIELDS,
    )
    | st.builds(
        lambda bodies, on, ends: stream(
            prime("1"), *(event(body, "2") for body in bodies), stream=on, ends=ends
        ),
        st.lists(BODIES, max_size=3),
        STREAMS,
        st.booleans(),
    )
    | st.builds(
        lambda on: stream(event(b"/m?x=1", type="endpoint"), stream=on, ends=False), STREAMS
    )
    | st.sampled_from([session(), session("2025-06-18", None)])
    | st.builds(lambda on: [BUILD.note("http-end", time=0.0, stream=on, data=b"given up")], STREAMS)
)
ODD = st.sampled_from(
    [
        BUILD.note("closed", time=0.0, data=b"gone"),
        BUILD.note("opened", time=0.0, binding="stdio"),
        BUILD.note("binary", time=0.0, direction=TO_SERVER, data=b"\xff"),
        BUILD.note("close", time=0.0, direction=TO_CLIENT, status=1000),
        BUILD.note("note", time=0.0, data=b"a remark"),
        BUILD.message(b'{"jsonrpc":"2.0","id":1', time=0.0, direction=TO_SERVER, dropped=9),
        BUILD.message(b'{"id":1,"result":{}}', time=0.0, direction=TO_CLIENT, dropped=9),
    ]
).map(lambda record: [record])


PLACES = ["", "*", "http://[", "//[::1", "http://h:x/"]
"""Targets of requests, and of endpoints, that are no URLs."""


def check_all_views(talk: TraceFile) -> None:
    """Check that what looks at a trace tells of its own lines, and gets to its end."""
    for found in check(talk):
        assert found.rule in RULES
        assert found.clause
        assert found.side in ("client", "server")
        assert 2 <= found.line <= len(talk.entries) + 1
    assert len(list(timeline(talk))) == len(talk.entries) + 1
    assert list(timeline(talk, whole=True))
    for number in range(1, len(conversations(talk)) + 1):
        list(replay(talk, conversation=number))
    for side in ("client", "server"):
        list(replay(talk, side=side))


FUZZ = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("place", PLACES)
def test_targets_that_are_none(place: str, side: Any) -> None:
    head, *body = post(request("ping"))
    odd = structs.replace(head, text=(head.text or "").replace("/mcp", place, 1))
    piped = stream(event(place.encode(), type="endpoint"), ends=False)
    for parts in ([odd, *body, *reply(result())], [get(), *piped], [odd, *piped]):
        check_all_views(trace(parts, side=side, binding="http"))


@pytest.mark.parametrize("tools", [3, True, "tools", {"a": 1}, [1], [{"name": []}]])
def test_lists_of_tools_that_are_none(tools: Any) -> None:
    asked = c(modern("tools/list")), s(done({"tools": tools}))
    for talk in (trace(*asked), trace(post(modern("tools/list")), reply(done({"tools": tools})))):
        check_all_views(talk)


@FUZZ
@given(st.lists(PARTS | ODD, max_size=6), st.sampled_from(["client", "server"]))
def test_messages(parts: list[list[Record]], side: Any) -> None:
    check_all_views(trace(*parts, side=side))


@FUZZ
@given(st.lists(WEB | ODD, max_size=6), st.sampled_from(["client", "server"]))
def test_exchanges(parts: list[list[Record]], side: Any) -> None:
    check_all_views(trace(*parts, side=side, binding="http"))


@FUZZ
@given(st.lists(WEB | PARTS | ODD, max_size=6), st.sampled_from(["client", "server"]))
def test_both(parts: list[list[Record]], side: Any) -> None:
    check_all_views(trace(*parts, side=side))
