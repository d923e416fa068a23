"""What outlives a conversation, and how the next one takes it over: without I/O, without a clock.

The last part breaks a pair of Peers at random, at every byte, and holds the ends against the books.
"""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcpcore.engine import Config, EndReason, Negotiation, Peer, Role
from mcpcore.engine.events import (
    ConnectionEnded,
    ErrorReceived,
    Event,
    InputRequired,
    NegotiationFailed,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionNotification,
    SubscriptionOpened,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    MODERN_NAMES,
    SERVER_ALL,
    answer,
    call,
    client_config,
    drain,
    error,
    expect,
    feed,
    legacy_client,
    limits,
    modern_client,
    rows,
    sent,
    server_config,
    tell,
)

LISTEN = {"notifications": {"toolsListChanged": True}}
REMEMBERED = client_config(assumed=Negotiation.LEGACY)
"""Of a client that could speak both eras and knows that its server is legacy."""
ERAS = pytest.mark.parametrize("make", [legacy_client, modern_client], ids=["legacy", "modern"])


def coming_back(peer: Peer, **settings: Any) -> Peer:
    peer.reconnects = ReconnectSettings(**settings)
    return peer


def broken(peer: Peer, reason: str = "gone") -> tuple[Peer, list[Event]]:
    """The connection breaks: the next Peer, and what the last one had to tell."""
    peer.receive_eof(now=1.0, reason=reason)
    events = drain(peer)
    assert isinstance(events[-1], ConnectionEnded)
    return peer.succeed(), events


def opened(peer: Peer, *, revision: str = LEGACY_NAMES[-1], now: float = 2.0) -> list[Any]:
    """Start a Peer and answer its first request; what it sends then."""
    peer.start(now=now)
    [first] = sent(peer)
    result: dict[str, Any]
    if first["method"] == "initialize":
        result = {
            "protocolVersion": revision,
            "capabilities": SERVER_ALL,
            "serverInfo": {"name": "server", "version": "2"},
        }
    else:
        result = {
            "resultType": "complete",
            "supportedVersions": MODERN_NAMES,
            "capabilities": SERVER_ALL,
            "ttlMs": 0,
            "cacheScope": "public",
        }
    events = feed(peer, answer(first["id"], result), now=now)
    assert any(isinstance(event, Ready) for event in events)
    return [frame for frame in sent(peer) if frame["method"] != "notifications/initialized"]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# What outlives


@ERAS
def test_a_request_on_its_way_ends_once_and_names_the_reason(make: Any) -> None:
    peer = coming_back(make())
    request = peer.request("tools/call", {"name": "t"}, now=0.0)
    sent(peer)
    successor, events = broken(peer, "exit code 3")
    [ended, _] = events
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.CLOSED)
    assert ended.message == "connection closed: exit code 3"
    assert opened(successor) == []
    assert successor.pending == 0


@ERAS
def test_what_may_be_repeated_is_sent_again_under_its_id(make: Any) -> None:
    peer = coming_back(make())
    request = peer.request("tools/list", {"cursor": "c"}, now=0.0, progress=True)
    [first] = sent(peer)
    successor, events = broken(peer)
    assert kinds(events) == ["ConnectionEnded"]
    [again] = opened(successor)
    assert again == first
    [event] = feed(successor, answer(request, {"resultType": "complete", "tools": []}))
    assert isinstance(event, ResultReceived)
    assert event.request == request


@ERAS
def test_what_was_never_sent_outlives_whatever_it_is(make: Any) -> None:
    peer = coming_back(make())
    request = peer.request("tools/call", {"name": "t"}, now=0.0)
    successor, events = broken(peer)
    assert kinds(events) == ["ConnectionEnded"]
    [frame] = opened(successor)
    assert (frame["id"], frame["params"]["name"]) == (request, "t")


@ERAS
@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_request_is_repeated_a_bounded_number_of_times(make: Any, most: int) -> None:
    peer = coming_back(make(), max_repeats=most)
    request = peer.request("tools/list", now=0.0)
    sent(peer)
    for _ in range(most):
        peer, events = broken(peer)
        assert kinds(events) == ["ConnectionEnded"]
        [frame] = opened(peer)
        assert frame["id"] == request
    _, events = broken(peer)
    assert kinds(events) == ["RequestEnded", "ConnectionEnded"]


@ERAS
def test_waiting_through_failed_attempts_is_no_repeat(make: Any) -> None:
    peer = coming_back(make(), max_repeats=1)
    request = peer.request("tools/list", now=0.0)
    sent(peer)
    for _ in range(5):
        peer, events = broken(peer)
        assert kinds(events) == ["ConnectionEnded"]
    [frame] = opened(peer)
    assert frame["id"] == request


@ERAS
@pytest.mark.parametrize("mark", [True, False])
def test_the_mark_of_the_caller_decides(make: Any, mark: bool) -> None:
    peer = coming_back(make())
    method = "tools/call" if mark else "tools/list"
    peer.request(method, {"name": "t"}, now=0.0, repeat=mark)
    sent(peer)
    _, events = broken(peer)
    assert kinds(events) == (["ConnectionEnded"] if mark else ["RequestEnded", "ConnectionEnded"])


def test_a_tool_that_says_so_is_called_again() -> None:
    known = {"look"}
    peer = coming_back(modern_client(client_config(repeatable_tools=known)))
    again = peer.request("tools/call", {"name": "look"}, now=0.0)
    once = peer.request("tools/call", {"name": "make"}, now=0.0)
    sent(peer)
    successor, events = broken(peer)
    assert [event.request for event in events if isinstance(event, RequestEnded)] == [once]
    assert [frame["id"] for frame in opened(successor)] == [again]


def test_a_listen_stream_is_asked_for_again_and_acknowledged_again() -> None:
    peer = coming_back(modern_client(), max_repeats=0)
    stream = peer.request("subscriptions/listen", LISTEN, now=0.0, timeout=None)
    sent(peer)
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": stream}}
    acknowledged = tell("notifications/subscriptions/acknowledged", {**LISTEN, **meta})
    changed = tell("notifications/tools/list_changed", meta)
    assert kinds(feed(peer, acknowledged, changed)) == [
        "SubscriptionAcknowledged",
        "SubscriptionNotification",
    ]
    for _ in range(3):
        peer, events = broken(peer)
        assert kinds(events) == ["ConnectionEnded"]
        [frame] = opened(peer)
        assert (frame["method"], frame["id"]) == ("subscriptions/listen", stream)
        # Before the acknowledgement the new stream is not open, whatever the old one was.
        assert kinds(feed(peer, changed)) == ["Violation"]
        [first, second] = feed(peer, acknowledged, changed)
        assert isinstance(first, SubscriptionAcknowledged)
        assert first.filter == SubscriptionFilter(tools_list_changed=True)
        assert isinstance(second, SubscriptionNotification)


def test_a_stream_that_is_asked_for_again_has_its_time_again() -> None:
    peer = coming_back(modern_client())
    stream = peer.request("subscriptions/listen", LISTEN, now=0.0, timeout=5.0)
    sent(peer)
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": stream}}
    acknowledged = tell("notifications/subscriptions/acknowledged", {**LISTEN, **meta})
    feed(peer, acknowledged)
    for _ in range(2):
        peer, _ = broken(peer)
        assert peer.deadline() is None, "it waits for the next connection, however long"
        opened(peer, now=90.0)
        assert peer.deadline() == 95.0
        feed(peer, acknowledged, now=94.0)
        assert peer.deadline() is None
    peer, _ = broken(peer)
    opened(peer, now=90.0)
    peer.handle_timeout(95.0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (stream, EndReason.TIMED_OUT)


def test_a_stream_that_the_server_has_ended_is_not_asked_for_again() -> None:
    peer = coming_back(modern_client())
    stream = peer.request("subscriptions/listen", LISTEN, now=0.0, timeout=None)
    sent(peer)
    assert feed(peer, tell("notifications/cancelled", {"requestId": stream})) == []
    _, events = broken(peer)
    assert kinds(events) == ["RequestEnded", "ConnectionEnded"]


def asking_peer() -> tuple[Peer, Any]:
    """A client that was asked something by the server of its call."""
    peer = coming_back(modern_client())
    request = peer.request("tools/call", {"name": "t"}, now=0.0)
    sent(peer)
    question = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}
    asks = {"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "s"}
    expect(InputRequired, feed(peer, answer(request, asks)))
    return peer, request


def test_answers_to_questions_go_to_the_next_connection() -> None:
    peer, request = asking_peer()
    successor, events = broken(peer)
    assert kinds(events) == ["ConnectionEnded"]
    again = successor.retry(request, {"q": {"action": "decline"}}, now=1.0)
    [frame] = opened(successor)
    assert frame["id"] == again != request
    assert frame["params"]["requestState"] == "s"
    assert frame["params"]["inputResponses"] == {"q": {"action": "decline"}}


def test_answers_to_questions_that_wait_for_the_next_connection_have_their_deadline() -> None:
    peer, request = asking_peer()
    successor, _ = broken(peer)
    again = successor.retry(request, {}, now=1.0, timeout=2.0)
    successor.handle_timeout(3.0)
    ended = expect(RequestEnded, drain(successor))
    assert (ended.request, ended.reason) == (again, EndReason.TIMED_OUT)
    assert successor.pending == 0


def test_questions_are_forgotten_when_nothing_follows() -> None:
    peer, request = asking_peer()
    peer.receive_eof(now=1.0, reason="gone")
    drain(peer)
    peer.renounce("gone")
    assert not peer._state.waiting_input
    with pytest.raises(LocalProtocolError):
        peer.retry(request, {}, now=1.0)


def test_progress_begins_anew_with_the_repeated_request() -> None:
    peer = coming_back(modern_client())
    request = peer.request("tools/list", now=0.0, progress=True)
    sent(peer)
    half = tell("notifications/progress", {"progressToken": request, "progress": 0.5})
    assert kinds(feed(peer, half)) == ["ProgressReceived"]
    successor, _ = broken(peer)
    opened(successor)
    assert kinds(feed(successor, half)) == ["ProgressReceived"]


# Ids, keys and what belongs to the conversation before


@ERAS
def test_ids_and_keys_go_on(make: Any) -> None:
    peer = coming_back(make())
    ids = [peer.request("tools/list", now=0.0) for _ in range(3)]
    sent(peer)
    for _ in range(4):
        peer, _ = broken(peer)
        peer.start(now=2.0)
        [frame] = sent(peer)
        ids.append(frame["id"])
        coming_back(peer)
        ids.append(peer.request("tools/list", now=2.0))
    assert len(set(ids)) == len(ids)


def test_what_the_server_asked_is_cancelled_and_cannot_be_answered_any_more() -> None:
    peer = coming_back(legacy_client())
    asked = expect(RequestReceived, feed(peer, call("s", "roots/list")))
    successor, events = broken(peer)
    assert kinds(events) == ["RequestCancelled", "ConnectionEnded"]
    opened(successor)
    other = expect(RequestReceived, feed(successor, call("s", "roots/list")))
    assert other.key != asked.key
    assert successor.respond(asked.key, {"roots": []}) is False
    successor.release(asked.key)
    assert successor.progress(asked.key, 1.0) is False
    assert sent(successor) == []
    assert successor.respond(other.key, {"roots": []}) is True
    assert [frame["id"] for frame in sent(successor)] == ["s"]
    assert successor.in_flight == 0
    assert not successor._endpoint.inbound


def test_what_was_not_sent_of_the_last_conversation_is_not_sent_in_the_next() -> None:
    peer = coming_back(legacy_client())
    asked = expect(RequestReceived, feed(peer, call("s", "roots/list")))
    assert peer.respond(asked.key, {"roots": []})
    assert peer.notify("notifications/roots/list_changed")
    successor, _ = broken(peer)
    assert successor._endpoint.outbox.size == 0
    assert opened(successor) == []


def test_half_a_message_of_the_last_connection_is_no_part_of_the_next() -> None:
    peer = coming_back(legacy_client())
    peer.receive_data(b'{"jsonrpc":"2.0","method":"notifications/tools/', now=0.0)
    peer.receive_eof(now=0.0, reason="gone")
    assert kinds(drain(peer)) == ["Violation", "ConnectionEnded"]
    successor = peer.succeed()
    opened(successor)
    assert kinds(feed(successor, tell("notifications/tools/list_changed"))) == [
        "NotificationReceived"
    ]


def test_who_mirrors_goes_on_to_mirror() -> None:
    peer = coming_back(Peer(Role.CLIENT, client_config(), mirrors=True))
    opened(peer)
    successor, _ = broken(peer)
    opened(successor)
    successor.request("resources/read", {"uri": "a:b"}, now=3.0)
    [frame] = successor.data_to_send()
    assert frame.mirror is not None
    assert frame.mirror.name == "a:b"


# Time and room


@ERAS
def test_requests_that_wait_for_the_next_connection_keep_their_deadlines(make: Any) -> None:
    peer = coming_back(make())
    kept = peer.request("tools/list", now=0.0, timeout=5.0)
    sent(peer)
    successor, _ = broken(peer)
    made = successor.request("tools/call", {"name": "t"}, now=1.0, timeout=2.0)
    assert successor.deadline() == 3.0
    successor.handle_timeout(3.0)
    ended = expect(RequestEnded, drain(successor))
    assert (ended.request, ended.reason) == (made, EndReason.TIMED_OUT)
    assert successor.deadline() == 5.0
    successor.handle_timeout(5.0)
    ended = expect(RequestEnded, drain(successor))
    assert (ended.request, ended.reason) == (kept, EndReason.TIMED_OUT)
    assert opened(successor, now=6.0) == []


@ERAS
def test_requests_that_wait_can_be_cancelled_and_the_server_never_hears_of_them(make: Any) -> None:
    peer = coming_back(make())
    kept = peer.request("tools/list", now=0.0)
    sent(peer)
    successor, _ = broken(peer)
    made = successor.request("tools/call", {"name": "t"}, now=1.0)
    for request in (kept, made):
        successor.cancel(request, now=1.0)
        ended = expect(RequestEnded, drain(successor))
        assert (ended.request, ended.reason) == (request, EndReason.CANCELLED)
    assert opened(successor) == []


@ERAS
def test_so_many_may_wait_and_no_more(make: Any) -> None:
    peer = coming_back(make(), max_waiting=2)
    successor, _ = broken(peer)
    for _ in range(2):
        successor.request("tools/list", now=1.0)
    with pytest.raises(LocalProtocolError, match="2 requests wait"):
        successor.request("tools/list", now=1.0)
    assert len(opened(successor)) == 2
    successor.request("tools/list", now=2.0)
    assert len(sent(successor)) == 1


# The next negotiation


def test_what_the_new_revision_lacks_is_refused() -> None:
    peer = coming_back(legacy_client(config=REMEMBERED))
    successor, _ = broken(peer)
    request = successor.request("tasks/get", {"taskId": "t"}, now=1.0, repeat=True)
    successor.start(now=2.0)
    [first] = sent(successor)
    result = {
        "protocolVersion": LEGACY_NAMES[0],
        "capabilities": SERVER_ALL,
        "serverInfo": {"name": "server", "version": "2"},
    }
    events = feed(successor, answer(first["id"], result))
    ended = events[-1]
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.REFUSED)
    assert LEGACY_NAMES[0] in ended.message


@pytest.mark.parametrize("modern", [True, False])
def test_the_era_is_that_of_the_conversation_before(modern: bool) -> None:
    config = client_config()
    peer = coming_back(modern_client(config) if modern else legacy_client(config=REMEMBERED))
    successor, _ = broken(peer)
    successor.start(now=1.0)
    [first] = sent(successor)
    assert first["method"] == ("server/discover" if modern else "initialize")
    expect(NegotiationFailed, feed(successor, error(first["id"], -32601)))
    assert sent(successor) == []


# The end of it


@ERAS
def test_what_waited_ends_when_nothing_follows(make: Any) -> None:
    peer = coming_back(make())
    requests = [peer.request("tools/list", now=0.0) for _ in range(2)]
    sent(peer)
    peer.receive_eof(now=1.0, reason="gone")
    assert kinds(drain(peer)) == ["ConnectionEnded"]
    peer.renounce("gone for good")
    events = drain(peer)
    assert [event.request for event in events if isinstance(event, RequestEnded)] == requests
    assert {event.message for event in events if isinstance(event, RequestEnded)} == {
        "connection closed: gone for good"
    }
    assert peer.pending == 0
    assert peer.deadline() is None
    with pytest.raises(LocalProtocolError):
        peer.succeed()
    with pytest.raises(LocalProtocolError):
        peer.request("tools/list", now=2.0)


@ERAS
def test_closing_by_ourselves_ends_everything(make: Any) -> None:
    peer = coming_back(make())
    request = peer.request("tools/list", now=0.0)
    sent(peer)
    peer.close(now=1.0)
    [ended] = [event for event in drain(peer) if isinstance(event, RequestEnded)]
    assert (ended.request, ended.method) == (request, "tools/list")
    assert (ended.reason, ended.message) == (EndReason.CLOSED, "closed by this side")
    [told] = sent(peer)
    assert told["method"] == "notifications/cancelled"
    assert (told["params"]["requestId"], told["params"]["reason"]) == (request, "closed")


def test_only_a_client_that_ended_and_means_to_come_back_has_a_successor() -> None:
    server = Peer(Role.SERVER, server_config())
    server.reconnects = ReconnectSettings()
    server.receive_eof(now=0.0)
    drain(server)
    running = coming_back(modern_client())
    content = modern_client()
    content.receive_eof(now=0.0)
    drain(content)
    for peer in (server, running, content):
        with pytest.raises(LocalProtocolError, match=r"^only a client .* successor$"):
            peer.succeed()
    running.receive_eof(now=0.0)
    drain(running)
    running.succeed()
    with pytest.raises(LocalProtocolError, match="successor"):
        running.succeed()


# A pair that breaks at random

UNSAFE, SAFE, MARKED, STREAM = "tools/call", "tools/list", "marked", "subscriptions/listen"
SETTINGS = ReconnectSettings(max_repeats=2, max_waiting=4)
TERMINAL = (ResultReceived, ErrorReceived, RequestEnded)


class BreakingPair(RuleBasedStateMachine):
    """One client, one server process after the other, and bytes that arrive in pieces or not."""

    modern = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        names = MODERN_NAMES if self.modern else LEGACY_NAMES
        self.config: Config = client_config(
            CLIENT_ALL, revisions=rows(*names), limits=limits(request_timeout=40.0)
        )
        self.client = Peer(Role.CLIENT, self.config)
        self.server: Peer | None = Peer(Role.SERVER, server_config())
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.asked: dict[Any, str] = {}
        self.ends: Counter[Any] = Counter()
        self.seen: Counter[Any] = Counter()
        self.streams_seen: Counter[Any] = Counter()
        self.work: list[int] = []
        self.questions: dict[int, bool] = {}
        self.inputs: list[Any] = []
        self.replaced: set[Any] = set()
        self.breaks = 0
        self.client.start(now=self.now)
        self.settle()
        self.client.reconnects = SETTINGS

    # Moving things

    def flush(self) -> None:
        self.to_server += self.client.lines_to_send()
        if self.server is not None:
            self.to_client += self.server.lines_to_send()
        else:
            self.to_server.clear()

    def listen(self) -> None:
        """Take the client's events to the books."""
        for event in drain(self.client):
            if isinstance(event, TERMINAL):
                assert event.request in self.asked, event
                self.ends[event.request] += 1
            elif isinstance(event, InputRequired):
                self.inputs.append(event.request)
            elif isinstance(event, RequestReceived):
                assert event.key not in self.questions
                self.questions[event.key] = True
            elif isinstance(event, RequestCancelled):
                self.questions[event.key] = False

    def serve(self) -> None:
        if self.server is None:
            return
        for event in drain(self.server):
            if isinstance(event, RequestReceived):
                self.seen[json.loads(bytes(event.params))["n"]] += 1
                self.work.append(event.key)
            elif isinstance(event, SubscriptionOpened):
                self.streams_seen[event.key] += 1

    def settle(self) -> None:
        self.flush()
        while self.server is not None and (self.to_server or self.to_client):
            self.carry(len(self.to_server), len(self.to_client))

    def carry(self, up: int, down: int) -> None:
        assert self.server is not None
        data, self.to_server = bytes(self.to_server[:up]), self.to_server[up:]
        if data:
            self.server.receive_data(data, now=self.now)
        self.serve()
        data, self.to_client = bytes(self.to_client[:down]), self.to_client[down:]
        if data:
            self.client.receive_data(data, now=self.now)
        self.listen()
        self.flush()

    # What happens

    @rule(kind=st.sampled_from([UNSAFE, SAFE, MARKED, STREAM]), patience=st.floats(1, 60))
    def ask(self, kind: str, patience: float) -> None:
        if kind == STREAM and not self.modern:
            kind = SAFE
        method = UNSAFE if kind == MARKED else kind
        number = len(self.asked)
        params: dict[str, Any] = {"n": number, "name": "t"}
        if kind == STREAM:
            params = LISTEN
        waiting = len(self.client._state.held)
        try:
            request = self.client.request(
                method,
                params,
                now=self.now,
                timeout=None if kind == STREAM else patience,
                repeat=True if kind == MARKED else None,
            )
        except LocalProtocolError:
            assert waiting >= SETTINGS.max_waiting
            return
        assert request not in self.asked
        self.asked[request] = kind
        self.flush()

    @rule(up=st.integers(0, 400), down=st.integers(0, 400))
    @precondition(lambda self: self.server is not None)
    def some_bytes(self, up: int, down: int) -> None:
        self.carry(up, down)

    @rule()
    @precondition(lambda self: self.server is not None)
    def all_bytes(self) -> None:
        self.settle()

    @rule(how=st.sampled_from(["result", "error", "input"]), which=st.integers(0, 20))
    @precondition(lambda self: self.server is not None and self.work)
    def reply(self, how: str, which: int) -> None:
        assert self.server is not None
        key = self.work.pop(which % len(self.work))
        record = self.server._endpoint.inbound.get(key)
        if record is None:
            return
        if how == "error":
            self.server.fail(key, ErrorData(7, "no"))
        elif how == "input" and self.modern and record.method == UNSAFE:
            self.server.require_input(key, {}, "state")
        else:
            self.server.respond(key, {"tools": []} if record.method == SAFE else {"content": []})
        self.flush()

    @rule()
    @precondition(lambda self: self.inputs)
    def go_on(self) -> None:
        """Answer an input round: a request of its own, which takes the place of the first."""
        request, waiting = self.inputs[-1], len(self.client._state.held)
        try:
            again = self.client.retry(request, {}, now=self.now)
        except LocalProtocolError:
            assert waiting >= SETTINGS.max_waiting
            return
        self.inputs.pop()
        assert again not in self.asked
        self.asked[again] = self.asked[request]
        self.replaced.add(request)
        self.flush()

    @rule()
    @precondition(lambda self: self.server is not None and not self.modern)
    def question(self) -> None:
        assert self.server is not None
        if self.server.state is SessionState.OPEN:
            self.server.request("roots/list", now=self.now)
            self.flush()

    @rule()
    @precondition(lambda self: self.questions)
    def answer_a_question(self) -> None:
        key, wanted = self.questions.popitem()
        self.questions[key] = False
        if key in self.client._endpoint.inbound:
            assert self.client.respond(key, {"roots": []}) is wanted
            self.client.release(key)
            self.flush()

    @rule(which=st.integers(0, 20))
    @precondition(lambda self: self.asked)
    def cancel(self, which: int) -> None:
        request = list(self.asked)[which % len(self.asked)]
        if request in self.inputs:
            self.inputs.remove(request)
            self.replaced.add(request)
        self.client.cancel(request, now=self.now)
        self.listen()
        self.flush()

    @rule(seconds=st.floats(0.1, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.client.handle_timeout(self.now)
        self.listen()
        if self.client.state.value == "closed":
            self.break_off()  # negotiation failed: the link leaves
        self.flush()

    @rule()
    @precondition(lambda self: self.server is not None)
    def break_off(self) -> None:
        """Everything on its way is lost, and the server with it."""
        self.breaks += 1
        self.server, self.work = None, []
        self.to_server, self.to_client = bytearray(), bytearray()
        self.client.receive_eof(now=self.now, reason="gone")
        self.listen()
        self.client = self.client.succeed()

    @rule(at_once=st.booleans())
    @precondition(lambda self: self.server is None)
    def connect(self, at_once: bool) -> None:
        self.server = Peer(Role.SERVER, server_config())
        self.client.start(now=self.now)
        self.flush()
        if at_once:
            self.settle()

    # The books

    @invariant()
    def every_request_has_ended_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ends.values())
        assert not self.replaced & set(self.ends)

    @invariant()
    def servers_see_what_is_unsafe_once_and_the_rest_a_bounded_number_of_times(self) -> None:
        by_number = dict(enumerate(self.asked.values()))
        for number, count in self.seen.items():
            rounds = 1 + len(self.replaced)  # a retry carries the number of its request
            most = 1 if by_number[number] == UNSAFE else 1 + SETTINGS.max_repeats
            assert count <= most * rounds

    @invariant()
    def what_is_open_is_in_the_tables(self) -> None:
        open_ones = set(self.asked) - set(self.ends) - self.replaced - set(self.inputs)
        assert set(self.client._state.pending) & set(self.asked) == open_ones
        assert set(self.client._state.waiting_input) == set(self.inputs)

    def teardown(self) -> None:
        """Once nothing follows, nothing is left."""
        if self.server is not None:
            self.client.receive_eof(now=self.now, reason="gone")
        else:
            self.client.reconnects = None
            self.client.receive_eof(now=self.now, reason="gone")
        self.listen()
        self.client.renounce("gone")
        self.listen()
        left = set(self.asked) - set(self.ends) - self.replaced - set(self.inputs)
        assert left == set()
        assert self.client.deadline() is None
        assert not self.client._endpoint.outbound
        for key in list(self.client._endpoint.inbound):
            self.client.release(key)
        assert not self.client._endpoint.inbound


class BreakingLegacyPair(BreakingPair):
    """The same with handshakes, and a server that asks."""

    modern = False


TestBreakingPair = BreakingPair.TestCase
TestBreakingPair.settings = hypothesis_settings(max_examples=50, stateful_step_count=40)
TestBreakingLegacyPair = BreakingLegacyPair.TestCase
TestBreakingLegacyPair.settings = hypothesis_settings(max_examples=50, stateful_step_count=40)
