"""A request that is all there, and a reply that is: the same in one call as in several."""

import gc
from collections.abc import Callable

import msgspec
import pytest
from msgspec import structs

from mcpcore import ExchangeEnded, HttpRequest, HttpServer, Refusal
from mcpcore.engine.events import RequestReceived
from mcpcore.http.server.exchange import Exchange
from tests.http.server.test_head_again import BODY, GOOD, SETTINGS, VARIANTS
from tests.http.support import META, initialize, make_server, request

Parts = list[object]
Talk = tuple[list[str], Parts]
"""The events that were told, and what was sent."""

BODIES = {
    "a call": BODY,
    "a call without an answer": BODY,
    "a method that is none": msgspec.json.encode(request("tools/none", {"_meta": META})),
    "a ping": msgspec.json.encode(request("ping", {"_meta": META})),
    "a notification": b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
    "no message": b'{"jsonrpc":"2.0"}',
    "no JSON": b"{",
    "too long": BODY + b" " * 300,
}


def told(server: HttpServer, *, answered: bool) -> list[str]:
    """Take all events; answer the requests, if so."""
    names = []
    while (event := server.next_event()) is not None:
        names.append(type(event).__name__)
        if isinstance(event, ExchangeEnded):
            names.append(f"{event.status} {event.sent} {event.complete}")
        if answered and isinstance(event, RequestReceived):
            server.respond(event.key, {"content": []})
    return names


def sent(server: HttpServer, number: int) -> Parts:
    """Take what is sent, in the terms of data_to_send()."""
    parts = [msgspec.to_builtins(part) for part in server.data_to_send(number, 1 << 20)]
    return [{**part, "exchange": 0} for part in parts]


def in_steps(
    server: HttpServer,
    number: int,
    head: HttpRequest,
    body: bytes,
    who: Refusal | None,
    *,
    ok: bool,
) -> Talk:
    """Head, body and reply one after the other."""
    if server.open(number, head, principal=who, now=0.0):
        server.body(number, body, end=True, now=0.0)
    events, parts = told(server, answered=ok), sent(server, number)
    return events + told(server, answered=ok), parts


def at_once(
    server: HttpServer,
    number: int,
    head: HttpRequest,
    body: bytes,
    who: Refusal | None,
    *,
    ok: bool,
) -> Talk:
    """In one call each, where that can be."""
    server.ask(number, head, body, principal=who, now=0.0)
    events = told(server, answered=ok)
    whole = server.whole_reply(number)
    if whole is None:
        parts = sent(server, number)
        return events + told(server, answered=ok), parts
    assert server.whole_reply(number) is None
    assert server.data_to_send(number, 1 << 20) == []
    assert not server.exchanges
    length = (b"content-length", b"%d" % len(whole.body))
    head_part, chunk = [*whole.headers, length], msgspec.to_builtins(whole.body)
    return events + told(server, answered=ok), [
        {"exchange": 0, "status": whole.status, "headers": msgspec.to_builtins(head_part)},
        {"exchange": 0, "data": chunk},
        {"exchange": 0, "close": False},
    ]


def prepared(change: Callable[[HttpServer], object] | None) -> HttpServer:
    server = make_server(structs.replace(SETTINGS, max_body=len(BODY) + 200))
    in_steps(server, 1, GOOD, BODY, None, ok=True)
    if change is not None:
        change(server)
    return server


def close(server: HttpServer) -> None:
    server.close(now=0.0)


def report(server: HttpServer) -> None:
    server.reports = True


CHANGES: dict[str, Callable[[HttpServer], object] | None] = {
    "open": None,
    "closing": close,
    "reporting": report,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", VARIANTS)
def test_heads(name: str, change: str) -> None:
    for who in (None, Refusal()):
        talks = [
            way(prepared(CHANGES[change]), 2, VARIANTS[name], BODY, who, ok=True)
            for way in (in_steps, at_once)
        ]
        assert talks[0] == talks[1]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str, change: str) -> None:
    answered = name != "a call without an answer"
    talks = [
        way(prepared(CHANGES[change]), 2, GOOD, BODIES[name], None, ok=answered)
        for way in (in_steps, at_once)
    ]
    assert talks[0] == talks[1]


def test_a_usual_call_is_answered_whole_and_leaves_nothing() -> None:
    server = prepared(None)
    server.ask(2, GOOD, BODY, now=0.0)
    assert server.exchanges == 1
    told(server, answered=True)
    whole = server.whole_reply(2)
    assert whole is not None
    assert b'"content":[]' in whole.body
    assert (server.exchanges, server.calls, server.pending, server.timed) == (0, 0, False, False)
    assert server.deadline() is None


def test_there_may_be_new_deadlines_where_there_are_sessions() -> None:
    server = make_server()
    server.ask(1, VARIANTS["no version"], msgspec.json.encode(initialize()), now=0.0)
    told(server, answered=True)
    assert server.whole_reply(1) is not None
    assert server.timed
    assert server.deadline() is not None


def test_what_was_answered_late_is_forgotten_while_another_request_waits() -> None:
    """Both were to be looked at after the same time."""
    server = prepared(None)
    head = structs.replace(GOOD, peer="late")
    server.ask(2, head, BODY, now=0.0)
    assert told(server, answered=False) == ["RequestReceived"]
    for number in range(3, 1003):
        server.ask(number, head, BODY, now=0.0)
        event = server.next_event()
        assert isinstance(event, RequestReceived)
        assert server.next_event() is None
        server.respond(event.key, {"content": []})
        assert server.whole_reply(number) is not None
    kept = [each for each in gc.get_objects() if type(each) is Exchange and each.peer == "late"]
    assert len(kept) < 100
    assert server.deadline() == SETTINGS.json_delay
    server.disconnect(2, now=0.0)
    del kept
    assert not [each for each in gc.get_objects() if type(each) is Exchange and each.peer == "late"]
