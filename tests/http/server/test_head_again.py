"""What is remembered of a head changes nothing: the same as by a server that has seen none."""

from collections.abc import Iterator

import msgspec
import pytest
from msgspec import structs

from mcpcore import HttpRequest, HttpServer, HttpSettings, Refusal
from mcpcore.http.headers import (
    CONTENT_LENGTH,
    DECIDING,
    LAST_EVENT_ID,
    MCP_METHOD,
    MCP_NAME,
    SESSION_ID,
    Alike,
    HeaderLines,
    Headers,
    decides,
)
from tests.http.support import LEGACY, META, MODERN, initialize, make_server, request

BODY = msgspec.json.encode(request("tools/call", {"name": "echo", "arguments": {}, "_meta": META}))
SETTINGS = HttpSettings(allowed_hosts=("localhost",), allowed_origins=("http://page.example",))
USUAL = {
    "host": "localhost",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "content-length": str(len(BODY)),
    "mcp-protocol-version": MODERN,
    "mcp-method": "tools/call",
    "mcp-name": "echo",
}
GOOD = HttpRequest(
    method="POST",
    path="/mcp",
    headers=[(name.encode(), value.encode()) for name, value in USUAL.items()],
)


def having(*lines: str, without: str = "") -> HttpRequest:
    """The usual head with lines in the place of those of the same name, or without one."""
    new = [tuple(line.encode().split(b": ", 1)) for line in lines]
    replaced = {name for name, _ in new} | {without.encode()}
    kept = [line for line in GOOD.headers if line[0] not in replaced]
    headers: Headers = [*kept, *new]  # type: ignore[list-item]
    return structs.replace(GOOD, headers=headers)


VARIANTS = {
    "the same": GOOD,
    "another path": structs.replace(GOOD, path="/other"),
    "another method": structs.replace(GOOD, method="GET"),
    "another scheme": structs.replace(GOOD, scheme="https"),
    "another method, and no body": having("accept: text/event-stream", without="content-length"),
    "a strange host": having("host: evil.example"),
    "no host": having(without="host"),
    "a page that may": having("origin: http://page.example"),
    "a page that may not": having("origin: http://evil.example"),
    "blanks around a value": having("host:   localhost "),
    "a field twice": having("host: localhost", "host: localhost"),
    "another field twice": having("x-a: 1", "x-a: 2"),
    "upper-case names": having("Host: localhost", without="host"),
    "JSON only": having("accept: application/json"),
    "streams only": having("accept: text/event-stream"),
    "neither": having("accept: text/html"),
    "no JSON": having("content-type: text/plain"),
    "no type": having(without="content-type"),
    "packed": having("content-encoding: gzip"),
    "chunked": having("transfer-encoding: chunked", without="content-length"),
    "chunked, with a length": having("transfer-encoding: chunked"),
    "longer": having(f"content-length: {len(BODY) + 1}"),
    "too long": having(f"content-length: {2**40}"),
    "empty": having("content-length: 0"),
    "no length": having(without="content-length"),
    "no number": having("content-length: 1x"),
    "another version": having(f"mcp-protocol-version: {LEGACY}"),
    "an unknown version": having("mcp-protocol-version: 1999-01-01"),
    "no version": having(without="mcp-protocol-version"),
    "a version that is no text": having("mcp-protocol-version: \x01"),
    "a strange session": having("mcp-session-id: x"),
    "a session that is no text": having("mcp-session-id: \x01"),
    "another name": having("mcp-name: other"),
    "a name that is none": having("mcp-name: =?base64?!?="),
    "no name": having(without="mcp-name"),
    "long": having("accept: " + "application/json, " * 100),
}


def outcome(
    server: HttpServer, number: int, head: HttpRequest, refusal: Refusal | None = None
) -> tuple[object, ...]:
    """What becomes of a request: how much body is wanted, what is told, what is answered."""
    wanted = server.open(number, head, principal=refusal, now=0.0)
    if wanted:
        server.body(number, BODY, end=True, now=0.0)
    events = []
    while (event := server.next_event()) is not None:
        events.append(type(event))
    parts = [msgspec.to_builtins(part) for part in server.data_to_send(number, 65536)]
    for part in parts:
        del part["exchange"]
    server.disconnect(number, now=0.0)
    while server.next_event() is not None:
        pass
    return wanted, events, parts


def copies(head: HttpRequest) -> Iterator[HttpRequest]:
    """The same object again, the same fields in another, and a head that is new but equal."""
    yield head
    yield structs.replace(head, peer="192.0.2.1:5000")
    yield structs.replace(head, headers=list(head.headers))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_head_is_answered_as_if_it_came_for_the_first_time(name: str) -> None:
    fresh = outcome(make_server(SETTINGS), 1, VARIANTS[name])
    server, number = make_server(SETTINGS), 0
    for _ in range(2):
        for head in copies(GOOD):
            number += 1
            assert outcome(server, number, head)[0] == len(BODY)
        for head in copies(VARIANTS[name]):
            number += 1
            assert outcome(server, number, head) == fresh


def like(values: dict[str, str], alike: Alike) -> HttpRequest:
    """The usual head with other values, as of a driver that knows what may differ."""
    head = having(*(f"{name}: {value}" for name, value in values.items()))
    lines = head.headers
    assert isinstance(lines, HeaderLines)
    lines.alike = alike
    lines.length = int(values.get("content-length", len(BODY)))
    lines.session = values.get("mcp-session-id")
    return head


@pytest.mark.parametrize(
    "changed", [{}, {"path": "/other"}, {"method": "GET"}, {"scheme": "https"}]
)
@pytest.mark.parametrize(
    "values",
    [
        {"content-length": str(len(BODY))},
        {"mcp-session-id": "y"},
        {"content-length": "0"},
        {"content-length": str(len(BODY) + 1), "mcp-session-id": "y"},
        {"content-length": str(2**40)},
        {"x-request-id": "2"},
    ],
    ids=str,
)
def test_a_head_that_is_like_a_known_one_is_answered_as_if_it_came_for_the_first_time(
    values: dict[str, str], changed: dict[str, str]
) -> None:
    plain = having(*(f"{name}: {value}" for name, value in values.items()))
    fresh = outcome(make_server(SETTINGS), 1, structs.replace(plain, **changed))
    server, alike = make_server(SETTINGS), Alike()
    for number in (1, 11):
        known = like({"x-request-id": str(number)}, alike)
        assert outcome(server, number, known)[0] == len(BODY)
        head = structs.replace(like(values, alike), **changed)
        for again in range(1, 4):
            assert outcome(server, number + again, head) == fresh


def test_each_of_many_that_are_alike_has_a_session_and_a_length_of_its_own() -> None:
    server, alike = make_server(SETTINGS), Alike()
    seen = []
    for number in range(1, 5):
        values = {"mcp-session-id": f"session-{number}", "content-length": str(number)}
        wanted = server.open(number, like(values, alike), now=0.0)
        seen.append((server._exchanges[number].session_id, wanted))
    server.open(5, like({}, alike), now=0.0)
    assert server._exchanges[5].session_id is None
    assert seen == [(f"session-{number}", number) for number in range(1, 5)]
    server.ask(6, like({"mcp-session-id": "another"}, alike), BODY, now=0.0)
    assert server._exchanges[6].session_id == "another"


def test_what_is_known_is_known_for_one_scheme() -> None:
    server = make_server(HttpSettings())
    head = like({"origin": "http://localhost"}, Alike())
    assert outcome(server, 1, head)[0] == len(BODY)
    assert outcome(server, 2, structs.replace(head, scheme="https"))[0] == 0


def test_nothing_that_may_differ_is_kept_for_others() -> None:
    server, alike = make_server(SETTINGS), Alike()
    secret = {"authorization": "Bearer secret", "mcp-session-id": "x"}
    for number in (1, 2):
        assert outcome(server, number, like(secret, alike))[0] == len(BODY)
        known = server._gate.recall(like({}, alike))
        assert known is not None
        assert not any(name in known.fields for name in (b"authorization", b"mcp-session-id"))


def test_all_that_lets_a_request_in_decides() -> None:
    looked_at = {*DECIDING, MCP_METHOD, MCP_NAME, LAST_EVENT_ID, b"mcp-param-region"}
    assert {name for name in looked_at if not decides(name)} == set()
    assert not any(map(decides, (CONTENT_LENGTH, SESSION_ID, b"x-request-id", b"traceparent")))


def test_two_servers_with_other_settings_decide_for_themselves() -> None:
    open_to_all = make_server(HttpSettings(allowed_hosts=("*",)))
    strict = make_server(SETTINGS)
    head = VARIANTS["a strange host"]
    for number in (1, 2):
        assert outcome(open_to_all, number, head)[0] == len(BODY)
        assert outcome(strict, number, head)[0] == 0


def test_the_limit_of_one_server_is_not_that_of_another() -> None:
    head = having("transfer-encoding: chunked", without="content-length")
    for limit in (1000, 2000, 1000):
        server = make_server(structs.replace(SETTINGS, max_body=limit))
        assert [outcome(server, number, head)[0] for number in (1, 2)] == [limit, limit]


@pytest.mark.parametrize(("refusal", "status"), [(Refusal(), 401), (None, 503)])
def test_who_is_refused_or_comes_too_late_is_told_though_the_head_is_known(
    refusal: Refusal | None, status: int
) -> None:
    server = make_server(SETTINGS)
    assert outcome(server, 1, GOOD)[0] == len(BODY)
    if refusal is None:
        server.close(now=0.0)
    wanted, _, parts = outcome(server, 2, GOOD, refusal)
    assert wanted == 0
    assert isinstance(parts, list)
    assert parts[0]["status"] == status


def test_what_is_remembered_is_bounded() -> None:
    server = make_server(HttpSettings(allowed_hosts=("*",)))
    for number in range(1, 2001):
        assert outcome(server, number, having(f"host: host{number}.example"))[0] == len(BODY)
    assert len(server._gate._terms) <= 256


def test_sessions_that_share_all_but_their_id_are_told_apart() -> None:
    server = make_server(SETTINGS)
    body = msgspec.json.encode(initialize())
    ids = []
    for number in (1, 2):
        length = having(f"content-length: {len(body)}", f"mcp-protocol-version: {LEGACY}")
        server.open(number, length, now=0.0)
        server.body(number, body, end=True, now=0.0)
        while server.next_event() is not None:
            pass
        parts = server.data_to_send(number, 65536)
        ids.append(dict(parts[0].headers)[b"mcp-session-id"].decode())  # type: ignore[union-attr]
    note = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    statuses = []
    for number, id in ((3, ids[0]), (4, ids[1]), (5, "nobody"), (6, ids[0])):
        head = having(
            f"content-length: {len(note)}",
            f"mcp-protocol-version: {LEGACY}",
            f"mcp-session-id: {id}",
        )
        server.open(number, head, now=0.0)
        server.body(number, note, end=True, now=0.0)
        while server.next_event() is not None:
            pass
        statuses.append(server.data_to_send(number, 65536)[0].status)  # type: ignore[union-attr]
    assert statuses == [202, 202, 404, 202]


def test_an_answer_is_due_from_the_body_on_whether_events_are_looked_at_or_not() -> None:
    settings = HttpSettings(json_delay=1.0, heartbeat=None, stall_timeout=30.0)
    server = make_server(settings)
    server.open(1, GOOD, now=0.0)
    server.body(1, BODY, end=True, now=0.0)
    assert server.deadline() == 1.0
    server.open(2, GOOD, now=0.5)
    server.body(2, BODY, end=True, now=0.5)
    server.handle_timeout(1.0)
    assert server.deadline() == 1.5
    assert [type(part).__name__ for part in server.data_to_send(1, 100)] == ["HttpHead"]
    assert server.data_to_send(2, 100) == []
