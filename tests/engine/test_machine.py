"""The product of states and inputs: two Peers, any order of events, the rules always hold."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from mcpcore.engine import Peer, Role
from mcpcore.engine.events import (
    ConnectionEnded,
    ErrorReceived,
    Event,
    InputRequired,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.wire.message import decode
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    MODERN_NAMES,
    client_config,
    drain,
    legacy_server,
    limits,
    modern_server,
    rows,
    server_config,
)

TERMINAL = (ResultReceived, ErrorReceived, RequestEnded, InputRequired)


class Conversation(RuleBasedStateMachine):
    """A client and a server over two byte pipes whose delivery the test decides."""

    requests = Bundle("requests")
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.up = bytearray()
        self.down = bytearray()
        self.issued: set[Any] = set()
        self.ended: dict[Any, int] = {}
        self.answered: set[int] = set()
        self.cancelled: set[int] = set()
        self.ids: dict[int, Any] = {}
        self.progress: dict[Any, float] = {}
        self.closed = False

    @initialize(names=st.sets(st.sampled_from([*LEGACY_NAMES, *MODERN_NAMES]), min_size=1))
    def begin(self, names: set[str]) -> None:
        bounds = limits(in_flight=3, request_timeout=20.0, max_timeout=40.0, input_rounds=2)
        self.client = Peer(
            Role.CLIENT,
            client_config(
                revisions=rows(*sorted(names)),
                limits=bounds,
            ),
        )
        self.server = Peer(Role.SERVER, server_config(limits=bounds))
        self.client.start(now=self.now)

    @rule(
        target=requests,
        method=st.sampled_from(["tools/list", "tools/call", "prompts/get"]),
        progress=st.booleans(),
        timeout=st.sampled_from([1.0, 5.0, None]),
    )
    def request(self, method: str, progress: bool, timeout: float | None) -> Any:
        try:
            id = self.client.request(
                method, {"name": "x"}, now=self.now, progress=progress, timeout=timeout
            )
        except LocalProtocolError:
            return None
        assert id not in self.issued
        self.issued.add(id)
        return id

    @rule(request=requests)
    def cancel(self, request: Any) -> None:
        if request is not None:
            self.client.cancel(request, now=self.now)

    @rule(count=st.integers(1, 200))
    def deliver_up(self, count: int) -> None:
        self.up += self.client.lines_to_send()
        self.server.receive_data(bytes(self.up[:count]), now=self.now)
        del self.up[:count]

    @rule(count=st.integers(1, 200))
    def deliver_down(self, count: int) -> None:
        self.down += self.server.lines_to_send()
        self.client.receive_data(bytes(self.down[:count]), now=self.now)
        del self.down[:count]

    @rule()
    def deliver_all(self) -> None:
        for _ in range(3):
            self.deliver_up(10**6)
            self.deliver_down(10**6)

    @rule(target=keys)
    def serve(self) -> Any:
        found = []
        for event in drain(self.server):
            if isinstance(event, RequestReceived):
                assert event.key not in self.ids
                self.ids[event.key] = event.id
                found.append(event.key)
            elif isinstance(event, RequestCancelled):
                assert event.key in self.ids
                assert event.key not in self.cancelled
                self.cancelled.add(event.key)
        return tuple(found)

    @rule(keys=consumes(keys), how=st.sampled_from(["respond", "fail", "input", "progress"]))
    def act(self, keys: tuple[int, ...], how: str) -> None:
        for key in keys:
            if how == "progress":
                self.server.progress(key, 1)
                self.server.progress(key, 2)
            try:
                if how == "fail":
                    sent = self.server.fail(key, ErrorData(-32603, "no"))
                elif how == "input":
                    sent = self.server.require_input(key, {}, "state")
                else:
                    sent = self.server.respond(key, {"content": []})
            except LocalProtocolError:
                sent = self.server.respond(key, {})
            assert key not in self.answered
            self.answered.add(key)
            if key in self.cancelled:
                assert not sent, "a cancelled request is never answered"

    @rule()
    def hear(self) -> None:
        self.take(drain(self.client))

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, TERMINAL):
                assert event.request in self.issued
                self.ended[event.request] = self.ended.get(event.request, 0) + 1
                assert self.ended[event.request] == 1, "exactly one terminal event"
                if isinstance(event, InputRequired):
                    self.issued.add(self.client.retry(event.request, {}, now=self.now))

    @rule(seconds=st.sampled_from([0.5, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for peer in (self.client, self.server):
            deadline = peer.deadline()
            peer.handle_timeout(self.now)
            after = peer.deadline()
            assert after is None or after > self.now or deadline is None

    @rule()
    def end(self) -> None:
        self.client.receive_eof(now=self.now)
        self.server.receive_eof(now=self.now)
        self.closed = True

    @invariant()
    def accounts_agree(self) -> None:
        assert self.server.in_flight <= 3
        assert self.client.pending <= len(self.issued) + 2
        if self.client._endpoint.inbox or self.client._endpoint.events:
            return
        waiting = len(self.issued) - len(self.ended)
        ours = self.client._endpoint.outbound.keys() - self.issued
        internal = {SessionState.PROBING: {1}, SessionState.OPENING: {1, 2}}
        assert len(ours) in internal.get(self.client.state, {0})
        assert self.client.pending == waiting + len(ours)

    def teardown(self) -> None:
        self.client.receive_eof(now=self.now)
        events = drain(self.client)
        self.take([event for event in events if not isinstance(event, InputRequired)])
        late = {event.request for event in events if isinstance(event, InputRequired)}
        if self.client.state is SessionState.CLOSED:
            assert self.issued - set(self.ended) <= late
        assert self.client.pending == 0


# On a busy machine a stateful test takes longer than others may.
Conversation.TestCase.pytestmark = [pytest.mark.timeout(1800)]  # type: ignore[attr-defined]
Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=8,
    )


METHODS = st.sampled_from(
    [
        "initialize",
        "ping",
        "tools/call",
        "tools/list",
        "server/discover",
        "subscriptions/listen",
        "logging/setLevel",
        "resources/subscribe",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "roots/list",
        "nonsense",
    ]
)


def messages() -> st.SearchStrategy[Any]:
    """Messages that are nearly right."""
    members = {
        "jsonrpc": st.one_of(st.just("2.0"), json_values()),
        "id": st.one_of(st.integers(0, 5), st.text(max_size=2), json_values()),
        "method": st.one_of(METHODS, json_values()),
        "params": st.one_of(
            st.fixed_dictionaries(
                {},
                optional={
                    "_meta": st.one_of(
                        st.fixed_dictionaries(
                            {
                                "io.modelcontextprotocol/protocolVersion": st.sampled_from(
                                    [*MODERN_NAMES, "x"]
                                ),
                                "io.modelcontextprotocol/clientCapabilities": st.just(CLIENT_ALL),
                            }
                        ),
                        json_values(),
                    ),
                    "requestId": st.integers(0, 5),
                    "name": json_values(),
                    "notifications": st.one_of(st.just({"toolsListChanged": True}), json_values()),
                    "uri": st.text(max_size=3),
                    "level": st.sampled_from(["info", "loud"]),
                    "inputResponses": json_values(),
                },
            ),
            json_values(),
        ),
        "result": json_values(),
        "error": json_values(),
    }
    one = st.fixed_dictionaries({}, optional=members)
    return st.one_of(one, one, st.lists(one, max_size=3), json_values())


@given(st.lists(messages(), max_size=12), st.sampled_from([*LEGACY_NAMES, None]))
@settings(max_examples=150)
def test_no_message_raises_and_every_request_is_answered_or_kept(
    inputs: list[Any], revision: str | None
) -> None:
    peer = modern_server() if revision is None else legacy_server(revision)
    for message in inputs:
        peer.receive_data(json.dumps(message).encode() + b"\n", now=0.0)
    keys = [event.key for event in drain(peer) if isinstance(event, RequestReceived)]
    for key in keys:
        peer.respond(key, {})
    lines = peer.lines_to_send().splitlines()
    assert all(json.loads(line) is not None for line in lines)
    peer.receive_eof(now=0.0)
    events = drain(peer)
    assert isinstance(events[-1], ConnectionEnded)
    assert peer.in_flight == 0


@given(st.lists(messages(), max_size=8), st.data())
@settings(max_examples=100)
def test_splitting_the_bytes_changes_nothing(inputs: list[Any], data: st.DataObject) -> None:
    stream = b"".join(json.dumps(message).encode() + b"\n" for message in inputs)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
    whole, pieces = legacy_server(LEGACY_NAMES[1]), legacy_server(LEGACY_NAMES[1])
    whole.receive_data(stream, now=0.0)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces.receive_data(stream[start:end], now=0.0)
    assert [repr(event)[:40] for event in drain(whole)] == [
        repr(event)[:40] for event in drain(pieces)
    ]
    assert whole.lines_to_send() == pieces.lines_to_send()


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, decode])
def test_a_frame_is_bytes_or_decoded(kind: Any) -> None:
    peer, buffer = legacy_server(), bytearray(PING)
    peer.receive(kind(buffer), now=0.0)
    buffer[:] = bytes(len(buffer))
    drain(peer)
    assert json.loads(peer.lines_to_send()) == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("given", [PING.decode(), json.loads(PING), None])
def test_what_is_no_frame_is_refused_when_it_is_given(given: Any) -> None:
    peer = legacy_server()
    with pytest.raises(TypeError, match=type(given).__name__):
        peer.receive(given, now=0.0)
    assert not peer.has_input


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_bytes_raise_on_either_side(data: bytes) -> None:
    for peer in (legacy_server(), modern_server()):
        peer.receive_data(data + b"\n", now=0.0)
        drain(peer)
        peer.lines_to_send()
        peer.receive_data(b'{"jsonrpc":"2.0","id":"ok","method":"nope"}\n', now=0.0)
        drain(peer)
        assert b'"ok"' in peer.lines_to_send()
