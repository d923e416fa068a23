"""HttpServer, what it answers to which request: methods, headers, statuses, eras."""

from typing import Any, cast

import pytest

from mcpcore import ANY_EXTENSION, HttpRequest, HttpServer, HttpSettings, Limits
from mcpcore.engine.events import (
    NotificationReceived,
    RequestCancelled,
    RequestReceived,
    Violation,
)
from mcpcore.http.documents import DocumentReply
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore.spec.revisions import MODERN as MODERN_ROWS
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from tests.http.support import (
    LEGACY,
    META,
    MODERN,
    SECURITY,
    Bench,
    in_session,
    initialize,
    make_server,
    note,
    request,
)

LIST = request("tools/list")


def head_of(*lines: tuple[str, str], **parts: Any) -> HttpRequest:
    """A POST of JSON with more lines than it must have."""
    usual = (("host", "localhost:8000"), ("content-type", "application/json"))
    headers = [(name.encode(), value.encode()) for name, value in (*usual, *lines)]
    return HttpRequest(method="POST", path="/mcp", headers=headers, **parts)


MODERN_LIST = request("tools/list", {"_meta": META})
MODERN_HEADERS = {"mcp_protocol_version": MODERN, "mcp_method": "tools/list"}


def modern_only() -> Bench:
    return Bench(make_server(revisions=MODERN_ROWS))


def legacy_only() -> Bench:
    return Bench(make_server(revisions=LEGACY_ROWS))


# The head alone


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE", "CONNECT", "post"])
def test_other_methods_are_not_allowed(method: str) -> None:
    reply = Bench().post(None, method=method)
    assert reply.status == 405
    assert reply.headers["allow"] == "POST, GET, DELETE, OPTIONS"
    assert reply.code == -32600


@pytest.mark.requirement(
    "basic/transports/streamable-http/old-methods-405", "basic/transports/get-stream-or-405"
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "options",
    [{"revisions": MODERN_ROWS}, {"settings": HttpSettings(sessions=False)}],
    ids=["modern", "switched off"],
)
def test_without_sessions_there_is_only_post(method: str, options: dict[str, Any]) -> None:
    bench = Bench(make_server(**options))
    reply = bench.post(None, method=method, mcp_session_id="x", last_event_id="1.1.x")
    assert reply.status == 405
    assert reply.headers["allow"] == "POST, OPTIONS"


@pytest.mark.requirement("basic/transports/streamable-http/old-methods-405")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_in_the_modern_era_there_is_only_post(method: str) -> None:
    bench, session = in_session()
    reply = bench.post(None, method=method, mcp_session_id=session, mcp_protocol_version=MODERN)
    assert reply.status == 405
    assert reply.headers["allow"] == "POST, OPTIONS"
    assert reply.json["error"]["message"] == f"{method} is not part of protocol version {MODERN}"
    assert bench.server.sessions == 1


@pytest.mark.requirement("basic/transports/streamable-http/single-endpoint")
@pytest.mark.parametrize("path", ["/", "/mcp/", "/MCP", "/mcp2", "/sse"])
def test_other_paths(path: str) -> None:
    assert Bench().post(LIST, path=path).status == 404


@pytest.mark.requirement("basic/transports/streamable-http/single-endpoint")
def test_the_path_is_a_setting() -> None:
    bench = Bench(make_server(HttpSettings(path="/api")))
    assert bench.post(initialize(), path="/api").status == 200


@pytest.mark.requirement(
    "basic/transports/streamable-http/origin-validated",
    "basic/transports/streamable-http/origin-403",
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8000.evil.example"},
        {"origin": "http://localhost:8001"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_host_and_origin_are_checked_on_every_method(method: str, headers: dict[str, str]) -> None:
    bench, session = in_session()
    reply = bench.post(LIST, method=method, mcp_session_id=session, **headers)
    assert reply.status == 403
    assert reply.json.keys() == {"jsonrpc", "error"}
    assert bench.server.sessions == 1
    assert "access-control-allow-origin" not in reply.headers


def test_a_missing_or_repeated_host_is_refused() -> None:
    assert Bench().post(LIST, remove=("host",)).status == 403
    assert Bench().post(LIST, repeat=("host",)).status == 403


@pytest.mark.parametrize("origin", ["http://localhost:8000", "HTTP://LOCALHOST:8000"])
def test_the_servers_own_pages_may_call(origin: str) -> None:
    reply = Bench().post(initialize(), origin=origin)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == origin
    exposed = set(reply.headers["access-control-expose-headers"].split(", "))
    assert exposed == {
        *("mcp-session-id", "mcp-protocol-version", "retry-after"),
        *("www-authenticate", "dpop-nonce"),
    }
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("scheme", "origin", "status"),
    [
        ({}, "http", 200),
        ({}, "https", 403),
        ({"scheme": "https"}, "https", 200),
        ({"scheme": "https"}, "http", 403),
    ],
)
def test_a_page_comes_by_the_scheme_by_which_the_server_is_reached(
    scheme: dict[str, Any], origin: str, status: int
) -> None:
    reply = Bench().post(initialize(), origin=f"{origin}://localhost:8000", **scheme)
    assert reply.status == status


@pytest.mark.parametrize(("origin", "may"), [("https://app.example", 1), ("https://evil", 0)])
def test_a_page_that_may_call_can_read_what_a_driver_replies(origin: str, may: int) -> None:
    server = make_server(HttpSettings(allowed_origins=("https://app.example",)))
    lines = [(b"host", b"localhost"), (b"origin", origin.encode())]
    readable = server.readable(HttpRequest(method="POST", path="/mcp", headers=lines))
    shown = [value for name, value in readable if name == b"access-control-allow-origin"]
    assert shown == [origin.encode()] * may


def test_preflight_for_an_allowed_origin() -> None:
    bench = Bench(make_server(HttpSettings(allowed_origins=("https://app.example",))))
    reply = bench.post(
        None,
        method="OPTIONS",
        origin="https://app.example",
        access_control_request_method="POST",
        access_control_request_headers="Content-Type, Mcp-Session-Id,x-evil,mcp-param-region,"
        "mcp-param-a b, authorization",
    )
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert reply.headers["access-control-allow-methods"] == "POST, GET, DELETE"
    assert reply.headers["access-control-allow-headers"] == (
        "authorization, content-type, mcp-param-region, mcp-session-id"
    )
    assert reply.headers["access-control-max-age"] == "600"
    assert "content-length" not in reply.headers
    assert bench.post(None, method="OPTIONS", origin="https://evil.example").status == 403


def test_options_without_an_origin_tells_the_methods() -> None:
    reply = Bench().post(None, method="OPTIONS", access_control_request_method="POST")
    assert reply.status == 204
    assert reply.headers["allow"] == "POST, GET, DELETE, OPTIONS"
    assert not any(name.startswith("access-control") for name in reply.headers)


HSTS = ("Strict-Transport-Security", "max-age=31536000")


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ((), SECURITY),
        ((HSTS,), {**SECURITY, HSTS[0].lower(): HSTS[1]}),
        ((("Referrer-Policy", "same-origin"),), {**SECURITY, "referrer-policy": "same-origin"}),
        (tuple((name.title(), "") for name in SECURITY), {}),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [
        {"path": "/health", "method": "GET"},
        {"path": "/key", "method": "GET"},
        {"path": "/nothing", "method": "GET"},
        {"method": "OPTIONS"},
        {"method": "PUT"},
        {"method": "GET", "host": "evil.example"},
        {"accept": "image/png"},
        {"mcp_protocol_version": "tomorrow"},
        {},
    ],
    ids=str,
)
def test_every_reply_has_the_security_headers(
    asked: dict[str, Any], given: tuple[tuple[str, str], ...], lines: dict[str, str]
) -> None:
    bench = Bench(make_server(HttpSettings(headers=given, documents={"/key": b"{}"})))
    reply = bench.post(None if "method" in asked else initialize(), **asked)
    ours = {*SECURITY, HSTS[0].lower()}
    assert {name: value for name, value in reply.headers.items() if name in ours} == lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "a") for name in ("Content-Type", "date", "Vary", "MCP-Session-Id", "a b", "")),
        ("Access-Control-Allow-Origin", "*"),
        *(("X-A", value) for value in ("a\r\nb: c", "\0", "\N{BULLET}", " a")),
    ],
)
def test_response_headers_that_cannot_be_set(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="the response header"):
        HttpSettings(headers=((name, value),))


def test_documents_are_there_for_any_host() -> None:
    bench = Bench(make_server(HttpSettings(documents={"/about": b'{"a":1}'}, documents_age=7)))
    reply = bench.post(None, method="GET", path="/about", host="evil.example")
    assert (reply.status, reply.json) == (200, {"a": 1})
    assert reply.headers["cache-control"] == "public, max-age=7"
    assert bench.post(LIST, path="/about").headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
    ],
)
def test_pages_are_for_the_hosts_and_origins_of_the_endpoint(
    headers: dict[str, str], status: int
) -> None:
    settings = HttpSettings(pages={"/metrics": lambda head: DocumentReply(200, (), b"[1]")})
    reply = Bench(make_server(settings)).post(None, method="GET", path="/metrics", **headers)
    assert (reply.status, reply.json == [1]) == (status, status == 200)


@pytest.mark.parametrize(
    ("coding", "status"), [("identity", 200), ("Identity", 200), ("gzip", 415), ("gzip, br", 415)]
)
def test_content_encoding(coding: str, status: int) -> None:
    reply = Bench().post(initialize(), content_encoding=coding)
    assert reply.status == status
    if status == 415:
        assert reply.json["error"]["message"] == "the body must not be compressed"
        assert reply.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("application/json, text/event-stream", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("text/event-stream", 200, "text/event-stream"),
        ("text/event-stream, application/json;q=0", 200, "text/event-stream"),
        ("text/html", 406, "application/json"),
        ("application/json;q=0, text/event-stream;q=0.0", 406, "application/json"),
    ],
)
def test_accept(accept: str, status: int, kind: str) -> None:
    reply = Bench().post(initialize(), accept=accept)
    assert reply.status == status
    assert reply.headers["content-type"] == kind
    assert ("mcp-session-id" in reply.headers) is (status == 200)
    if status == 406:
        text = "the Accept header allows neither application/json nor text/event-stream"
        assert reply.json["error"]["message"] == text


def test_an_error_status_is_json_whatever_is_accepted() -> None:
    reply = Bench().post(MODERN_LIST, accept="text/event-stream", mcp_protocol_version=MODERN)
    assert (reply.status, reply.code) == (400, -32020)


@pytest.mark.parametrize(
    ("length", "status", "code", "text"),
    [
        ("101", 413, -32003, "the body is larger than 100 bytes"),
        ("x", 400, -32600, None),
        ("0", 400, -32700, "Parse error: the body is empty"),
        ("1, 1", 400, -32600, None),
    ],
)
def test_announced_length(length: str, status: int, code: int, text: str | None) -> None:
    bench = Bench(make_server(HttpSettings(max_body=100)))
    reply = bench.post(None, content_length=length)
    assert (reply.status, reply.code) == (status, code)
    assert text is None or reply.json["error"]["message"] == text
    assert reply.end is not None
    assert reply.end.close is (length != "0")


def test_a_chunked_body_is_bounded_too() -> None:
    server = make_server(HttpSettings(max_body=100))
    assert server.open(1, head_of(("transfer-encoding", "chunked")), now=0) == 100
    server.body(1, b" " * 60, end=False, now=0)
    assert server.writable() == []
    server.body(1, b" " * 60, end=False, now=0)
    reply = server.data_to_send(1, 1000)
    assert reply[0].status == 413  # type: ignore[union-attr]
    assert reply[-1].close  # type: ignore[union-attr]
    server.body(1, b" " * 60, end=True, now=0)
    assert server.writable() == []
    assert server.exchanges == 0


@pytest.mark.parametrize("viewed", [False, True])
def test_a_body_in_pieces(viewed: bool) -> None:
    bench = Bench()
    data = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    session = bench.session()
    head = head_of(("content-length", str(len(data))), ("mcp-session-id", session))
    assert bench.server.open(77, head, now=0) == len(data)
    for byte in data:
        reused = bytearray([byte])
        part = memoryview(reused) if viewed else bytes(reused)
        bench.server.body(77, part, end=False, now=0)
        reused[0] = 0  # where it was read to is read to again
    bench.server.body(77, b"", end=True, now=0)
    assert bench.server.next_event() is None
    assert b'"result":{}' in bench.server.data_to_send(77, 1000)[1].data  # type: ignore[union-attr]


def test_exchange_numbers_are_not_used_twice() -> None:
    server = make_server()
    head = HttpRequest(method="GET", path="/health", headers=[])
    assert server.open(1, head, now=0) == 0
    for taken in (0, 1):
        with pytest.raises(LocalProtocolError, match=f"number {taken} is taken"):
            server.open(taken, head, now=0)


def test_a_repeated_version_header_is_refused() -> None:
    reply = Bench().post(LIST, mcp_protocol_version=LEGACY, repeat=("mcp-protocol-version",))
    assert (reply.status, reply.code) == (400, -32020)


def test_the_secret_must_be_long() -> None:
    config = make_server()._router.session_config
    with pytest.raises(ValueError, match="at least 32"):
        HttpServer(config, secret=b"x" * 31)
    with pytest.raises(TypeError, match="the secret must be bytes, not a str"):
        HttpServer(config, secret=cast(Any, "x" * 32))


# Bodies that are no message


@pytest.mark.requirement(
    "basic/index/jsonrpc",
    "basic/index/request-id-not-null",
    "basic/index/error-id",
    "basic/transports/index/utf8",
)
@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"{", -32700, None),
        (b"{}x", -32700, None),
        (b"\xff", -32700, None),
        (b"[]", -32600, None),
        (b"1", -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":"7","method":1}', -32600, "7"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', -32600, 7),
    ],
)
@pytest.mark.parametrize("era", ["modern", "session", "none"])
def test_malformed_bodies(body: bytes, code: int, id: Any, era: str) -> None:
    bench = Bench()
    headers = {}
    if era == "modern":
        headers = {"mcp_protocol_version": MODERN}
    elif era == "session":
        headers = {"mcp_session_id": bench.session()}
    reply = bench.post(body, **headers)
    assert (reply.status, reply.code, reply.json.get("id")) == (400, code, id)
    assert bench.server.exchanges == 0


@pytest.mark.requirement("basic/transports/streamable-http/refused-status")
def test_a_broken_response_or_notification_is_not_accepted() -> None:
    bench, session = in_session()
    for body in (
        b'{"jsonrpc":"2.0","id":5,"result":1}',
        b'{"jsonrpc":"2.0","method":"x","params":1}',
    ):
        reply = bench.post(body, mcp_session_id=session)
        assert (reply.status, reply.body) == (400, b"")
        bench.take(Violation)


def test_nesting_is_bounded() -> None:
    bench = Bench(make_server(limits=Limits(depth=10)))
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 20 + b"]" * 20 + b"}}"
    reply = bench.post(body, mcp_protocol_version=MODERN)
    assert (reply.status, reply.code) == (400, -32700)


# The era of a request


@pytest.mark.requirement(
    "basic/index/meta-missing",
    "basic/transports/streamable-http/version-missing",
    "basic/transports/streamable-http/version-unsupported",
    "basic/transports/version-header-invalid",
)
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        # _meta names a version, the header says nothing: modern, with a header missing
        (MODERN_LIST, {}, 400, -32020),
        # the key of _meta is written with escapes
        (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.model'
            b'contextprotocol/protocol\\u0056ersion":"2026-07-28"}}}',
            {},
            400,
            -32602,
        ),
        # _meta names what the client can do, and no version
        (request("tools/list", {"_meta": {META_CLIENT_CAPABILITIES: {}}}), {}, 400, -32602),
        # the header names a modern revision, _meta is missing
        (LIST, MODERN_HEADERS, 400, -32602),
        # the method exists only there
        (request("server/discover"), {}, 400, -32602),
        (request("subscriptions/listen"), {}, 400, -32602),
        # _meta names a version that nobody knows
        (
            request("tools/list", {"_meta": {**META, META_PROTOCOL_VERSION: "x"}}),
            {"mcp_protocol_version": "x", "mcp_method": "tools/list"},
            400,
            -32022,
        ),
        # legacy: no session
        (LIST, {}, 400, -32600),
        # no params, of whose names the escape could be a part
        (b'{"jsonrpc":"2.0","id":"\\u0031","method":"tools/list"}', {}, 400, -32600),
        (LIST, {"mcp_protocol_version": LEGACY}, 400, -32600),
        (request("tools/list", {"_meta": {"progressToken": 1}}), {}, 400, -32600),
        # _meta of the wrong type decides nothing
        (
            request("tools/list", {"_meta": {"protocolVersion": 1, "x": []}}),
            {},
            400,
            -32600,
        ),
        (request("tools/list", {"_meta": {META_PROTOCOL_VERSION: []}}), {}, 400, -32600),
        # legacy: a version that nobody knows
        (LIST, {"mcp_protocol_version": "1999-01-01"}, 400, -32600),
        (initialize(), {"mcp_protocol_version": "1999-01-01"}, 400, -32600),
        # initialize is legacy, unless the header says modern
        (initialize(), {"mcp_protocol_version": LEGACY}, 200, None),
        (initialize(), {"mcp_protocol_version": "2024-11-05"}, 200, None),
    ],
)
def test_era_and_refusal(body: Any, headers: dict[str, str], status: int, code: int | None) -> None:
    reply = Bench().post(body, **headers)
    assert reply.status == status
    if code is not None:
        assert reply.code == code


def test_the_message_of_an_unsupported_version_names_what_is_served() -> None:
    reply = Bench().post(LIST, mcp_protocol_version="1999-01-01")
    assert "2025-11-25, 2025-06-18, 2025-03-26, 2024-11-05" in reply.json["error"]["message"]
    bench = Bench(make_server(revisions=LEGACY_ROWS[2:]))
    assert bench.post(initialize(), mcp_protocol_version="2024-11-05").status == 400


@pytest.mark.requirement(
    "basic/transports/streamable-http/version-unsupported",
    "basic/versioning/initialize-error-names-versions",
)
def test_a_server_of_one_era_says_so() -> None:
    reply = modern_only().post(initialize())
    assert (reply.status, reply.code) == (400, -32022)
    assert reply.json["error"]["data"]["supported"] == [MODERN]
    reply = legacy_only().modern("tools/list")
    assert (reply.status, reply.code) == (400, -32022)
    assert MODERN not in reply.json["error"]["data"]["supported"]


@pytest.mark.requirement(
    "basic/transports/streamable-http/old-session-ignored",
    "basic/transports/streamable-http/old-event-id-ignored",
)
def test_a_modern_only_server_ignores_session_and_event_ids() -> None:
    bench = modern_only()
    reply = bench.modern("server/discover", mcp_session_id="x", last_event_id="5")
    assert reply.status == 200
    assert "mcp-session-id" not in reply.headers


@pytest.mark.requirement("basic/index/stateless")
def test_both_eras_at_once_and_a_failed_request_locks_nothing() -> None:
    bench = Bench()
    assert bench.post(LIST).status == 400
    session = bench.session()
    assert bench.modern("server/discover", mcp_session_id=session).status == 200
    assert bench.modern("tools/list", mcp_session_id=session).head is None
    first = bench.take(RequestReceived)
    assert (first.session, first.revision.name) == (None, MODERN)
    assert bench.post(LIST, mcp_session_id=session).head is None
    second = bench.take(RequestReceived)
    assert (second.session, second.revision.name) == (session, LEGACY)


# Modern requests


@pytest.mark.requirement(
    "basic/transports/streamable-http/version-matches-body",
    "basic/transports/streamable-http/headers-match-body",
    "basic/transports/streamable-http/mismatch-error",
    "basic/transports/streamable-http/param-invalid-characters",
)
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"mcp_method": "prompts/list"}, "Mcp-Method"),
        ({"mcp_method": "TOOLS/LIST"}, "Mcp-Method"),
        ({"remove": ("mcp-method",)}, "Mcp-Method"),
        ({"mcp_protocol_version": LEGACY}, "MCP-Protocol-Version"),
        ({"mcp_method": "a\x01b"}, "Mcp-Method"),
        ({"mcp_name": "=?base64?x?="}, "Mcp-Name"),
    ],
)
def test_headers_that_contradict_or_cannot_be_read(headers: dict[str, Any], text: str) -> None:
    bench = Bench()
    reply = bench.modern("tools/list", id="a", **headers)
    assert (reply.status, reply.code, reply.json["id"]) == (400, -32020, "a")
    assert text in reply.json["error"]["message"]
    violation = bench.take(Violation)
    assert violation.code == -32020


@pytest.mark.requirement(
    "basic/transports/streamable-http/value-decoded",
    "basic/transports/streamable-http/values-case-sensitive",
    "basic/transports/streamable-http/headers-match-body",
)
@pytest.mark.parametrize(
    ("method", "params", "name", "good"),
    [
        ("tools/call", {"name": "echo"}, "echo", True),
        ("tools/call", {"name": "echo"}, "  echo\t", True),
        ("tools/call", {"name": "echo"}, "=?base64?ZWNobw==?=", True),
        ("tools/call", {"name": "echo"}, "=?BASE64?ZWNobw==?=", False),
        ("tools/call", {"name": "echo"}, "Echo", False),
        ("tools/call", {"name": "echo"}, "", False),
        ("prompts/get", {"name": "grüße"}, "=?base64?Z3LDvMOfZQ==?=", True),
        ("prompts/get", {"name": "grüße"}, "gr??e", False),
        ("resources/read", {"uri": "file:///a"}, "file:///a", True),
        ("resources/read", {"uri": "file:///a"}, "file:///b", False),
    ],
)
def test_names_are_compared_decoded(
    method: str, params: dict[str, str], name: str, good: bool
) -> None:
    bench = Bench()
    reply = bench.modern(method, params, mcp_name=name)
    if good:
        assert bench.take(RequestReceived).method == method
        assert reply.head is None
    else:
        assert (reply.status, reply.code) == (400, -32020)


@pytest.mark.requirement(
    "basic/transports/streamable-http/param-compared",
    "basic/transports/streamable-http/param-missing",
    "basic/transports/streamable-http/param-null-not-expected",
    "basic/transports/streamable-http/integers-numeric",
    "basic/transports/streamable-http/names-case-insensitive",
    "basic/transports/streamable-http/value-decoded",
)
@pytest.mark.parametrize(
    ("value", "header", "good"),
    [
        ("us-west1", "us-west1", True),
        ("Hello", "=?base64?SGVsbG8=?=", True),
        ("Hello", "=?base64?SGVsbG8?=", False),
        ("SGVsbG8=", "SGVsbG8=", True),
        (42, "42", True),
        (42, "42.0", True),
        (42, "42.5", False),
        (2**53, str(2**53), False),
        (True, "true", True),
        (True, "1", False),
        (None, "x", False),
        ("x", None, False),
        (None, None, True),
    ],
)
def test_mirrored_arguments(value: Any, header: str | None, good: bool) -> None:
    bench = Bench(make_server(header_params={"t": {"Region": ("where", "region")}}))
    arguments = {"where": {} if value is None else {"region": value}}
    headers = {} if header is None else {"mcp_param_REGION": header}
    reply = bench.modern("tools/call", {"name": "t", "arguments": arguments}, **headers)
    if good:
        assert bench.kinds() == ["RequestReceived"]
    else:
        assert (reply.status, reply.code) == (400, -32020)


@pytest.mark.requirement("basic/transports/streamable-http/param-invalid-characters")
@pytest.mark.parametrize("value", ["=?base64?/w==?=", "=?base64?x?=", "a\x01b"])
@pytest.mark.parametrize("known", [True, False])
def test_a_parameter_that_cannot_be_read_matters_where_it_is_known(value: str, known: bool) -> None:
    bench = Bench(make_server(header_params={"t": {"Region": ("region",)}}))
    headers = {"mcp_param_region" if known else "mcp_param_other": value}
    arguments = {"region": "x"} if known else {}
    reply = bench.modern("tools/call", {"name": "t", "arguments": arguments}, **headers)
    if known:
        assert (reply.status, reply.code) == (400, -32020)
        assert "the Mcp-Param-Region header" in reply.json["error"]["message"]
    else:
        assert bench.kinds() == ["RequestReceived"]


@pytest.mark.requirement("basic/transports/streamable-http/method-unknown")
@pytest.mark.parametrize(
    "method",
    ["unknown/method", "ping", "logging/setLevel", "resources/subscribe", "initialize"],
)
def test_unknown_methods_are_404(method: str) -> None:
    reply = Bench().modern(method)
    assert (reply.status, reply.code, reply.json["id"]) == (404, -32601, 1)


@pytest.mark.requirement("basic/index/undeclared-capability")
@pytest.mark.parametrize(
    ("method", "code", "status"),
    [
        *(("tools/list", code, 200) for code in (-32602, -32603, -32601, 5)),
        *(("tools/list", code, 400) for code in (-32021, -32020)),
        ("acme/dig", -32601, 404),  # unknown to whom a relay passes it on
    ],
)
def test_the_status_of_a_handlers_error(method: str, code: int, status: int) -> None:
    bench = Bench(make_server(extension_methods=ANY_EXTENSION))
    reply = bench.modern(method)
    bench.server.fail(bench.take(RequestReceived).key, ErrorData(code, "no"))
    bench.pump()
    assert (reply.status, reply.code) == (status, code)
    assert "retry-after" not in reply.headers


def test_a_status_is_decided_while_the_head_is_not_out() -> None:
    bench = Bench()
    reply = bench.modern("tools/list", {"_meta": {**META, "progressToken": 1}})
    key = bench.take(RequestReceived).key
    bench.server.progress(key, 1)
    bench.pump()
    bench.server.fail(key, ErrorData(-32021, "no"))
    bench.pump()
    assert reply.status == 200
    assert [event.get("method", "error") for event in reply.events] == [
        "notifications/progress",
        "error",
    ]


def test_all_clients_together_are_bounded_and_can_cancel() -> None:
    bench, session = in_session(server=make_server(HttpSettings(max_calls=3)))
    legacy: Any = {"mcp_session_id": session}
    streams = {"notifications": {"toolsListChanged": True}}
    call, slow = bench.send(request("tools/list", id=1), **legacy), bench.send_modern("tools/list")
    listening = bench.send_modern("subscriptions/listen", streams)
    for _ in range(2):
        assert bench.modern("tools/list", id=2).code == 1001
        assert bench.modern("subscriptions/listen", streams, id=2).code == 1001
        busy = bench.post(request("tools/list", id=2), **legacy)
        assert (busy.status, busy.code) == (200, -32000)
    # What makes room, and what costs none, gets through.
    assert bench.post(request("ping", id=3), **legacy).json["result"] == {}
    assert bench.post(initialize()).status == 200
    cancel = note("notifications/cancelled", {"requestId": 1})
    assert bench.post(cancel, **legacy).status == 202
    keys = [event.key for event in bench.events if isinstance(event, RequestCancelled)]
    refused = bench.modern("tools/list", id=2)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    bench.server.release(keys[0])
    assert bench.modern("tools/list", id=2).head is None
    for route in (slow, listening):
        bench.server.disconnect(route, now=bench.now)
    bench.pump()
    assert bench.post(request("tools/list", id=4), **legacy).head is None
    assert bench.replies[call].end is not None


@pytest.mark.requirement("basic/transports/index/directions")
@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
        [MODERN_LIST],
    ],
)
def test_modern_clients_send_neither_responses_nor_batches(body: Any) -> None:
    bench = Bench()
    reply = bench.post(body, mcp_protocol_version=MODERN)
    assert (reply.status, reply.code) == (400, -32600)
    assert "RequestReceived" not in bench.kinds()


@pytest.mark.requirement("basic/transports/streamable-http/accepted-202")
def test_a_modern_notification_is_accepted() -> None:
    bench = Bench()
    reply = bench.post(note("notifications/custom"), mcp_protocol_version=MODERN)
    assert (reply.status, reply.body) == (202, b"")
    assert reply.headers["content-length"] == "0"
    assert "content-type" not in reply.headers, "no content has no type"
    assert bench.take(NotificationReceived).method == "notifications/custom"


@pytest.mark.requirement("basic/index/many-conversations")
def test_equal_ids_on_two_exchanges_do_not_meet() -> None:
    bench = Bench()
    replies = [bench.modern("tools/list", id=1) for _ in range(2)]
    keys = [bench.take(RequestReceived).key for _ in range(2)]
    for number in (1, 0):
        bench.server.respond(keys[number], {"tools": [], "n": number})
    bench.pump()
    assert [reply.json["result"]["n"] for reply in replies] == [0, 1]


# Legacy requests


def test_legacy_errors_to_requests_have_status_200() -> None:
    bench, session = in_session()
    reply = bench.post(request("no/such"), mcp_session_id=session)
    assert (reply.status, reply.code) == (200, -32601)
    reply = bench.post(initialize(), mcp_session_id=session)
    assert (reply.status, reply.code) == (200, -32600)
    reply = bench.post(request("tools/list"), mcp_session_id=session)
    bench.server.fail(bench.take(RequestReceived).key, ErrorData(-32021, "x"))
    bench.pump()
    assert reply.status == 200


@pytest.mark.requirement("basic/transports/version-header-invalid")
def test_any_supported_legacy_version_header_is_taken_in_a_session() -> None:
    bench, session = in_session()
    for version in ("2025-03-26", "2025-06-18", LEGACY):
        reply = bench.post(request("ping"), mcp_session_id=session, mcp_protocol_version=version)
        assert reply.status == 200
    bad = bench.post(request("ping"), mcp_session_id=session, mcp_protocol_version="bad")
    assert (bad.status, bad.code, bad.json["id"]) == (400, -32600, 1)


@pytest.mark.requirement(
    "basic/index/batch-received", "basic/transports/streamable-http/accepted-202"
)
def test_batches_in_the_revision_that_has_them() -> None:
    bench, session = in_session("2025-03-26")
    reply = bench.post(
        [request("ping", id=1), note("notifications/x"), request("tools/list", id="1")],
        mcp_session_id=session,
    )
    assert reply.head is None
    bench.answer(bench.take(RequestReceived).key, {"tools": []})
    assert reply.status == 200
    assert {answer["id"] for answer in reply.json} == {1, "1"}
    silent = bench.post([note("notifications/x")], mcp_session_id=session)
    assert (silent.status, silent.body) == (202, b"")
    assert bench.post([request("ping")]).status == 400


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", LEGACY])
def test_batches_in_other_revisions_are_refused(version: str) -> None:
    bench, session = in_session(version)
    reply = bench.post([request("tools/list")], mcp_session_id=session)
    assert (reply.status, reply.code) == (400, -32600)
    assert "RequestReceived" not in bench.kinds()


def test_too_long_a_batch_is_refused() -> None:
    bench, session = in_session("2025-03-26", server=make_server(limits=Limits(batch=2)))
    reply = bench.post([request("ping", id=i) for i in range(3)], mcp_session_id=session)
    assert (reply.status, reply.code) == (400, -32600)


# What there is to do


def test_pending_tells_of_input_and_of_output() -> None:
    bench = Bench()
    server = bench.server
    found = [server.pending]
    bench.send_modern("tools/list", pump=False)
    found.append(server.pending)  # what came has not been looked at
    bench.pump()
    found.append(server.pending)
    assert server.respond(bench.take(RequestReceived).key, {"tools": []})
    found.append(server.pending)  # what goes out has not been placed
    bench.pump()
    assert [*found, server.pending] == [False, True, False, True, False]
