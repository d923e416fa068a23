"""HttpClient, what of a lost session must not come into the next: answers, handshakes, its id."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore import HttpClientSettings, HttpSend, Negotiation
from mcpcore.engine.events import (
    EndReason,
    NotificationReceived,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    StreamDrained,
)
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.wire.sse import encode_event
from tests.http.client.test_httpclient_sessions import begin_anew, streaming
from tests.http.support import (
    DISCOVERED,
    ECHO,
    LEGACY,
    MODERN,
    Hand,
    error,
    initialize_result,
    make_client,
    note,
    request,
    result,
)

# Answers to what a lost session has asked

ASKED = {"_meta": {"progressToken": "t"}}


def asking(version: str = LEGACY) -> tuple[Hand, HttpSend, HttpSend]:
    """A client with its standalone stream, and a call that is about to find the session lost."""
    hand = Hand(make_client(negotiation=Negotiation.LEGACY))
    hand.open_legacy(version, stream=True)
    get = hand.next()
    hand.client.request("tools/list", now=hand.now)
    return hand, get, hand.next()


def brings(hand: Hand, get: HttpSend, *messages: Any) -> None:
    """Let messages arrive together, without looking at them."""
    for message in messages:
        hand.data(get, encode_event(json.dumps(message).encode()))


def loses(hand: Hand, call: HttpSend) -> None:
    """Let ``call`` meet 404, without looking at what follows."""
    hand.client.response_head(call.exchange, 404, [], now=hand.now)
    hand.client.response_end(call.exchange, now=hand.now)


def expect_nothing_old(hand: Hand, call: HttpSend) -> None:
    """Open the next session: all that is said there is the call, and answers to what it asks."""
    get = begin_anew(hand)
    hand.stream(get)
    assert [send.body for send in hand.sent] == [call.body]
    hand.sent.clear()
    hand.event(get, request("roots/list", id=1))
    hand.client.respond(hand.take(RequestReceived).key, {"roots": ["new"]})
    assert hand.body_of(hand.next())["result"] == {"roots": ["new"]}
    assert hand.sent == []
    state = hand.client._state
    assert (state.turns, state.waiting, state._saved) == ({}, [], {})


@pytest.mark.parametrize("releases_late", [False, True])
def test_a_handler_that_works_on_takes_no_id_from_the_next_session(releases_late: bool) -> None:
    hand, get, call = asking()
    hand.stream(get)
    hand.event(get, request("roots/list", id=1))
    old = hand.take(RequestReceived).key
    loses(hand, call)
    get = begin_anew(hand)
    hand.take(RequestCancelled)
    hand.stream(get)
    hand.sent.clear()
    hand.event(get, request("roots/list", id=1))
    new = hand.take(RequestReceived).key
    if releases_late:
        hand.client.release(old)
    hand.event(get, request("roots/list", id=1))
    assert hand.body_of(hand.next())["error"]["message"] == (
        "a request with this id is already in flight"
    )
    hand.client.respond(new, {"roots": ["new"]})
    assert hand.body_of(hand.next())["result"] == {"roots": ["new"]}
    hand.client.release(old)
    hand.event(get, request("roots/list", id=1))
    assert hand.take(RequestReceived)


def says(hand: Hand, key: int, how: str) -> None:
    if how == "result":
        assert hand.client.respond(key, {"roots": ["old"]})
    elif how == "error":
        assert hand.client.fail(key, ErrorData(INTERNAL_ERROR, "no"))
    else:
        assert hand.client.progress(key, 1)


@pytest.mark.requirement("basic/transports/session-lost")
@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("how", ["result", "error", "progress"])
def test_what_was_not_posted_when_the_session_was_lost_is_not_said_in_the_next(
    how: str, taken: bool
) -> None:
    hand, get, call = asking()
    hand.event(get, request("roots/list", ASKED, id=1))
    key = hand.take(RequestReceived).key
    says(hand, key, how)
    loses(hand, call)
    if taken:  # before the next session is begun
        assert hand.client.requests_to_send() == []
    if how == "progress":
        assert hand.take(RequestCancelled).key == key
        hand.client.release(key)
    expect_nothing_old(hand, call)


@pytest.mark.parametrize("how", ["result", "error"])
def test_what_is_answered_between_the_loss_and_the_next_session_is_not_said(how: str) -> None:
    hand, get, call = asking()
    brings(hand, get, request("roots/list", ASKED, id=1))
    loses(hand, call)
    asked = hand.client.next_event()
    assert isinstance(asked, RequestReceived)
    says(hand, asked.key, how)
    expect_nothing_old(hand, call)


@pytest.mark.parametrize("how", ["result", "error"])
def test_an_answer_in_its_turn_is_not_said_when_what_precedes_it_finds_the_loss(how: str) -> None:
    hand, get, call = asking()
    hand.event(get, request("roots/list", ASKED, id=1))
    key = hand.take(RequestReceived).key
    says(hand, key, "progress")
    report = hand.next()
    says(hand, key, how)
    hand.pump()
    loses(hand, report)
    hand.reply(call, 404)
    expect_nothing_old(hand, call)


def test_an_answer_on_the_last_exchange_of_the_lost_session_is_not_said() -> None:
    hand, _, call = asking()
    streamed, last = hand.call()
    hand.stream(last, request("roots/list", id=1))
    assert hand.client.respond(hand.take(RequestReceived).key, {"roots": ["old"]})
    loses(hand, call)
    expect_nothing_old(hand, call)
    hand.event(last, result(streamed))
    assert hand.take(ResultReceived).request == streamed


def test_a_report_waits_on_nobody_when_its_session_is_lost() -> None:
    hand, get, call = asking()
    hand.event(get, request("roots/list", ASKED, id=1))
    key = hand.take(RequestReceived).key
    says(hand, key, "progress")
    assert hand.client._state.peer.queued(key) > 0
    loses(hand, call)
    hand.pump()
    assert hand.client._state.peer.queued(key) == 0
    hand.take(StreamDrained)
    hand.take(RequestCancelled)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (LEGACY, request("ping", id=1)),
        (LEGACY, request("no/such", id=1)),
        (LEGACY, {"jsonrpc": "1.0", "id": 1, "method": "ping"}),
        ("2025-03-26", [request("ping", id=1), request("ping", id=2)]),
    ],
    ids=["ping", "unknown", "malformed", "batch"],
)
def test_what_the_engine_answers_is_not_said_either(version: str, message: Any) -> None:
    hand, get, call = asking(version)
    brings(hand, get, message)
    loses(hand, call)
    hand.shake_hands(version, "s-2")
    hand.reply(hand.next(), 405)
    assert [send.body for send in hand.sent] == [call.body]


def test_what_a_lost_session_asks_is_asked_of_nobody() -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy()
    streamed, old = hand.call()
    hand.stream(old)
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 404)
    hand.event(old, request("roots/list", id=1))
    get = begin_anew(hand)
    hand.stream(get)
    hand.event(old, request("roots/list", id=1))
    assert [event for event in hand.events if isinstance(event, RequestReceived)] == []
    hand.event(get, request("roots/list", id=1))
    asked = hand.take(RequestReceived)
    hand.event(old, note("notifications/cancelled", {"requestId": 1}))
    hand.event(old, {"jsonrpc": "1.0", "id": 1, "method": "ping"})
    assert "RequestCancelled" not in hand.kinds()
    hand.sent.clear()
    hand.client.respond(asked.key, {"roots": []})
    assert hand.body_of(hand.next()) == result(1, {"roots": []})
    # What asks for nothing is still heard, as is the answer.
    hand.event(old, note("notifications/message", {"level": "info", "data": 1}))
    hand.take(NotificationReceived)
    hand.event(old, result(streamed))
    assert hand.take(ResultReceived).request == streamed
    assert hand.sent == []


class Forgetful(Hand):
    """A server that loses its sessions, and counts its questions anew in each.

    What it asks for is named after the session and the question, and so is what it is told.
    """

    def __init__(self) -> None:
        patient = HttpClientSettings(max_lost_sessions=1000)
        super().__init__(make_client(patient, negotiation=Negotiation.LEGACY))
        self.sessions = 0
        self.ids = count(1)
        self.open: list[tuple[int, str]] = []
        self.said: list[tuple[Any, Any]] = []
        """What the client has said of questions: in which session, by which id; and whose it is."""
        self.open_legacy(session="s-0", stream=True)
        self.streams = [(0, self.sent.pop())]

    def ask(self, which: int) -> None:
        """Ask something on a stream, which may be one of a session that is lost."""
        if not self.streams:
            return
        session, stream = self.streams[which % len(self.streams)]
        id = next(self.ids) if session == self.sessions else which % 4 + 1
        name = f"{session}/{id}"
        params = {"_meta": {"progressToken": name}, "name": name}
        brings(self, stream, request("roots/list", params, id=id))

    def call_tool(self, which: int) -> None:
        self.client.request("tools/call", {**ECHO, "which": which}, now=self.now, repeat=True)

    def lose(self, which: int) -> None:
        self.sessions += 1
        self.ids = count(1)

    def look(self, which: int) -> None:
        """Take one event."""
        event = self.client.next_event()
        if isinstance(event, RequestReceived):
            self.open.append((event.key, json.loads(bytes(event.params))["name"]))
        elif isinstance(event, RequestCancelled):
            self.open = [each for each in self.open if each[0] != event.key]
            self.client.release(event.key)

    def answer(self, which: int) -> None:
        if self.open:
            key, name = self.open.pop(which % len(self.open))
            self.client.respond(key, {"roots": [], "name": name})

    def report(self, which: int) -> None:
        if self.open:
            self.client.progress(self.open[which % len(self.open)][0], which)

    def take(self, which: Any) -> None:
        """Take what is to be sent."""
        self.sent += [each for each in self.client.requests_to_send() if isinstance(each, HttpSend)]

    def serve(self, which: int) -> None:
        """Answer a request that is on its way: POSTs may overtake each other."""
        if not self.sent:
            return
        send = self.sent.pop(which % len(self.sent))
        body = json.loads(send.body) if send.body else {}
        method = body.get("method", "")
        named = self.fields_of(send).get("mcp-session-id")
        if method == "initialize":
            assert named is None
            answer = json.dumps(result(body["id"], initialize_result())).encode()
            self.head(send, 200, "application/json", mcp_session_id=f"s-{self.sessions}")
            self.data(send, answer)
            self.client.response_end(send.exchange, now=self.now)
            return
        assert named is not None
        said = body.get("result", {}).get("name") or body.get("params", {}).get("progressToken")
        if said is not None:
            session, _, id = said.partition("/")
            self.said.append(((named, body.get("id", int(id))), (f"s-{session}", int(id))))
        if named != f"s-{self.sessions}":
            self.head(send, 404, None)
        elif send.method == "GET" or method == "tools/call":
            self.head(send, 200, "text/event-stream")
            self.streams.append((self.sessions, send))
            return
        else:
            self.head(send, 202, None)
        self.client.response_end(send.exchange, now=self.now)


STEPS = ("ask", "call_tool", "lose", "look", "look", "answer", "report", "take", "serve", "serve")


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=20, max_size=120))
def test_an_answer_is_said_in_the_session_that_has_asked(steps: list[tuple[str, int]]) -> None:
    hand = Forgetful()
    for step, which in steps:
        getattr(hand, step)(which)
    assert [where for where, _ in hand.said] == [asked for _, asked in hand.said]


# A handshake that a lost session refused


@pytest.mark.parametrize("negotiation", [Negotiation.LEGACY, Negotiation.AUTO])
def test_a_handshake_is_not_made_again_in_the_session_that_follows(
    negotiation: Negotiation,
) -> None:
    hand = Hand(make_client(negotiation=negotiation))
    hand.client.start(now=hand.now)
    if negotiation is Negotiation.AUTO:
        hand.reply(hand.next(), 400)
    first = hand.next()
    primed(hand, first, "s-1")
    hand.end(first, "connection reset")
    hand.reply(hand.next(), 404)
    if negotiation is Negotiation.AUTO:
        hand.reply(hand.next(), 400)  # at once: it waits for no session
    get = begin_anew(hand)
    hand.stream(get)
    assert hand.sent == []
    assert hand.client.session == "s-2"
    call = hand.client.request("tools/list", now=hand.now)
    send = hand.next()
    assert hand.fields_of(send)["mcp-session-id"] == "s-2"
    hand.reply(send, body=result(call))
    assert hand.kinds() == ["Ready", "ResultReceived"]


def primed(hand: Hand, send: HttpSend, session: str | None = None) -> None:
    """Begin a stream that can be picked up."""
    fields = {} if session is None else {"mcp_session_id": session}
    hand.head(send, 200, "text/event-stream", **fields)
    hand.data(send, b"id: e-1\nretry: 1000\ndata:\n\n")


@pytest.mark.parametrize("sent", [True, False])
def test_what_was_given_up_without_a_word_is_not_asked_in_the_next_session(sent: bool) -> None:
    hand, _ = streaming()
    task = {**ECHO, "task": {}}
    unwanted = [
        hand.client.request("tools/call", task, now=hand.now, force=True, repeat=True)
        for _ in range(1 + sent)
    ][-1]
    # Nobody is told that a request for a task is cancelled.
    calls = [hand.next() for _ in range(1 + sent)]
    hand.reply(calls[0], 404)
    if sent:
        hand.reply(calls[1], 404)
    else:
        opening = hand.next()
        hand.result(opening, initialize_result(), mcp_session_id="s-2")
        unwanted = hand.client.request("tools/call", task, now=hand.now, force=True)
    hand.pump()
    hand.client.cancel(unwanted, now=hand.now)
    if sent:
        hand.result(hand.next(), initialize_result(), mcp_session_id="s-2")
    hand.reply(hand.next(), 202)
    hand.reply(hand.next(), 405)
    assert hand.take(RequestEnded).reason is EndReason.CANCELLED
    assert [send.body for send in hand.sent] == [calls[0].body]


# The session of a handshake that was abandoned

SUPPORTED = {"supported": [MODERN], "requested": "x"}


def beside(hand: Hand) -> tuple[HttpSend, HttpSend]:
    """A probe that is late, and beside it a handshake, to which an answer has begun."""
    hand.client.start(now=hand.now)
    probe = hand.next()
    hand.pass_time(6)
    handshake = hand.next()
    primed(hand, handshake, "s-late")
    return probe, handshake


def test_a_probe_names_no_session() -> None:
    hand = Hand(make_client())
    probe, handshake = beside(hand)
    hand.reply(probe, 400, error(1, -32022, data=SUPPORTED))
    again = hand.next()
    assert hand.body_of(again)["method"] == "server/discover"
    assert "mcp-session-id" not in hand.fields_of(again)
    assert hand.client.session is None
    assert hand.aborted == [handshake.exchange]
    # It is a modern server that knows no discovery, and nothing of a session.
    hand.reply(again, 404, error(hand.body_of(again)["id"], -32601))
    assert hand.take(Ready).revision.modern
    works(hand)


def works(hand: Hand) -> None:
    call = hand.client.request("tools/list", now=hand.now)
    send = hand.next()
    assert "mcp-session-id" not in hand.fields_of(send)
    hand.reply(send, body=result(call))
    assert hand.take(ResultReceived).request == call
    assert (hand.sent, hand.kinds()) == ([], [])


@pytest.mark.parametrize("late", ["result", "error"])
def test_an_abandoned_handshake_that_finds_no_session_holds_nothing_up(late: str) -> None:
    hand = Hand(make_client())
    probe, handshake = beside(hand)
    hand.end(handshake, "connection reset")
    resumed = hand.next()
    assert resumed.method == "GET"
    # Both arrive before either is looked at.
    status, answer = 200, result(1, DISCOVERED)
    if late == "error":
        status, answer = 400, error(1, -32022, data=SUPPORTED)
    hand.head(probe, status, "application/json")
    hand.data(probe, json.dumps(answer).encode())
    hand.client.response_end(probe.exchange, now=hand.now)
    loses(hand, resumed)
    if late == "error":
        hand.result(hand.next(), DISCOVERED)
    assert hand.take(Ready).revision.modern
    works(hand)
