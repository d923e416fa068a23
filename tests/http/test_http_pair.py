"""HttpClient and HttpServer against each other: both eras, over a wire that cuts anywhere."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore import ErrorData, HttpClientSettings, HttpSettings, InputRequest, SessionClosed
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    ErrorReceived,
    Event,
    InputRequired,
    NegotiationFailed,
    NotificationReceived,
    ProgressReceived,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResourceSubscribed,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionClosed,
    SubscriptionNotification,
    SubscriptionOpened,
)
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore.spec.revisions import MODERN as MODERN_ROWS
from mcpcore.spec.revisions import REVISIONS, Revision
from tests.http.support import LEGACY, MODERN, Wire, make_client, make_server

BY_NAME = {revision.name: revision for revision in REVISIONS}
NAMES = [*BY_NAME]
QUESTION = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}


def joined(
    version: str,
    *,
    sizes: tuple[int, ...] = (1 << 20,),
    server_settings: HttpSettings | None = None,
    client_settings: HttpClientSettings | None = None,
    **server: Any,
) -> Wire:
    """A client of one revision and a server of all, negotiated."""
    client = make_client(client_settings, revisions=(BY_NAME[version],))
    wire = Wire(client, make_server(server_settings, **server), sizes=sizes)
    wire.start()
    (ready,) = wire.client_saw(Ready)
    assert ready.revision.name == version
    return wire


def answering(wire: Wire, result: Callable[[RequestReceived], Any]) -> None:
    """Let the server answer each request at once."""

    def react(event: Event) -> None:
        if isinstance(event, RequestReceived):
            wire.server.respond(event.key, result(event))

    wire.on_server = react


def call(wire: Wire, method: str = "tools/call", params: Any = None, **options: Any) -> Any:
    default = {"name": "echo", "arguments": {}}
    return wire.client.request(
        method, default if params is None else params, now=wire.now, **options
    )


# Who finds whom


@pytest.mark.parametrize(
    ("client", "server", "version"),
    [
        (REVISIONS, REVISIONS, MODERN),
        (REVISIONS, LEGACY_ROWS, LEGACY),
        (REVISIONS, LEGACY_ROWS[:2], "2025-03-26"),
        (LEGACY_ROWS, REVISIONS, LEGACY),
        (LEGACY_ROWS, LEGACY_ROWS, LEGACY),
        (MODERN_ROWS, REVISIONS, MODERN),
        (MODERN_ROWS, MODERN_ROWS, MODERN),
        (REVISIONS, MODERN_ROWS, MODERN),
        (LEGACY_ROWS[:1], REVISIONS, "2024-11-05"),
        (MODERN_ROWS, LEGACY_ROWS, None),
        (LEGACY_ROWS, MODERN_ROWS, None),
    ],
)
def test_negotiation(
    client: tuple[Revision, ...], server: tuple[Revision, ...], version: str | None
) -> None:
    wire = Wire(make_client(revisions=client), make_server(revisions=server))
    request_before = wire.client
    wire.start()
    if version is None:
        (failed,) = wire.client_saw(NegotiationFailed)
        assert failed.message
        assert wire.server.sessions == 0
    else:
        (ready,) = wire.client_saw(Ready)
        assert (ready.revision.name, ready.info.name) == (version, "server")
        assert request_before.revision is ready.revision
        assert wire.server.sessions == (0 if version == MODERN else 1)


def test_requests_made_before_negotiation_wait_for_it() -> None:
    wire = Wire(make_client(), make_server(revisions=LEGACY_ROWS))
    answering(wire, lambda event: {"tools": []})
    wire.client.start(now=wire.now)
    requests = [call(wire, "tools/list", {}) for _ in range(3)]
    wire.run()
    assert [event.request for event in wire.client_saw(ResultReceived)] == requests
    assert wire.methods()[:4] == [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "GET",
    ]


# The same work in every revision, over a wire that cuts anywhere


@pytest.mark.parametrize("version", NAMES)
@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_calls_with_progress_over_any_wire(version: str, sizes: list[int]) -> None:
    wire = joined(version, sizes=tuple(sizes))

    def react(event: Event) -> None:
        if isinstance(event, RequestReceived):
            for value in (1, 2):
                told = wire.server.progress(event.key, value, 2, "ü\n")
                assert told is (event.method == "tools/call")
            if b"bad" in bytes(event.params):
                wire.server.fail(event.key, ErrorData(-32602, "bäd"))
            else:
                wire.server.respond(event.key, {"content": [], "text": "ä€😀" * 20})

    wire.on_server = react
    good = call(wire, progress=True)
    bad = call(wire, params={"name": "bad", "arguments": {}}, progress=True)
    plain = call(wire, "tools/list", {})
    wire.run()
    results = {event.request: event for event in wire.client_saw(ResultReceived)}
    assert set(results) == {good, plain}
    assert "ä€😀".encode() in bytes(results[good].result)
    (error,) = wire.client_saw(ErrorReceived)
    assert (error.request, error.error.message) == (bad, "bäd")
    progress = [(event.request, event.progress) for event in wire.client_saw(ProgressReceived)]
    assert sorted(progress) == [(good, 1), (good, 2), (bad, 1), (bad, 2)]
    assert wire.client_events.index(results[good]) > wire.client_events.index(
        wire.client_saw(ProgressReceived)[1]
    )
    assert wire.client.exchanges == wire.server.exchanges == (version != MODERN)


@pytest.mark.parametrize("version", NAMES)
def test_many_calls_answered_in_another_order(version: str) -> None:
    wire = joined(version)
    requests = [call(wire, params={"name": str(n), "arguments": {}}) for n in range(50)]
    wire.run()
    received = wire.server_saw(RequestReceived)
    for event in sorted(received, key=lambda event: hash(str(event.key))):
        wire.server.respond(event.key, {"content": [], "echo": bytes(event.params).decode()})
    wire.run()
    results = {event.request: bytes(event.result) for event in wire.client_saw(ResultReceived)}
    assert set(results) == set(requests)
    for number, request in enumerate(requests):
        assert b'\\"name\\":\\"%d\\"' % number in results[request]


@pytest.mark.parametrize("version", NAMES[:-1])
@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_elicitation_within_a_legacy_call(version: str, sizes: list[int]) -> None:
    wire = joined(version, sizes=tuple(sizes))
    keys: list[int] = []

    def at_server(event: Event) -> None:
        if isinstance(event, RequestReceived):
            keys.append(event.key)
            wire.server.request("roots/list", now=wire.now, parent=event.key, progress=True)
        elif isinstance(event, ResultReceived):
            wire.server.respond(keys[0], {"content": [], "roots": event.result})

    def at_client(event: Event) -> None:
        if isinstance(event, RequestReceived):
            wire.client.progress(event.key, 1)
            wire.client.respond(event.key, {"roots": [{"uri": "file:///ä"}]})

    wire.on_server, wire.on_client = at_server, at_client
    request = call(wire)
    wire.run()
    (result,) = wire.client_saw(ResultReceived)
    assert result.request == request
    assert "file:///ä".encode() in bytes(result.result)
    assert len(wire.server_saw(ProgressReceived)) == 1
    assert wire.methods().count("response") == 1


def test_an_input_round_in_the_modern_era() -> None:
    wire = joined(MODERN)

    def at_server(event: Event) -> None:
        if isinstance(event, RequestReceived):
            if event.input_responses is None:
                asked = InputRequest(method="elicitation/create", params=QUESTION)
                wire.server.require_input(event.key, {"q": asked}, "sealed")
            else:
                assert event.request_state == "sealed"
                wire.server.respond(event.key, {"content": [], "got": event.input_responses["q"]})

    def at_client(event: Event) -> None:
        if isinstance(event, InputRequired):
            wire.client.retry(event.request, {"q": {"action": "decline"}}, now=wire.now)

    wire.on_server, wire.on_client = at_server, at_client
    call(wire)
    wire.run()
    (result,) = wire.client_saw(ResultReceived)
    assert b'"got":{"action":"decline"}' in bytes(result.result)


# What the server says on its own


@pytest.mark.parametrize("version", NAMES[:-1])
def test_the_standalone_stream(version: str) -> None:
    wire = joined(version)

    def at_client(event: Event) -> None:
        if isinstance(event, RequestReceived):
            wire.client.respond(event.key, {"roots": []})

    wire.on_client = at_client
    call(wire, "resources/subscribe", {"uri": "file:///a"})
    wire.run()
    (subscribed,) = wire.server_saw(ResourceSubscribed)
    wire.server.notify("notifications/resources/updated", {"uri": "file:///a"})
    wire.server.notify("notifications/resources/updated", {"uri": "file:///b"})
    wire.server.notify("notifications/tools/list_changed")
    asked = wire.server.request("roots/list", now=wire.now, session=subscribed.session)
    wire.run()
    assert [event.method for event in wire.client_saw(NotificationReceived)] == [
        "notifications/resources/updated",
        "notifications/tools/list_changed",
    ]
    assert [event.request for event in wire.server_saw(ResultReceived)] == [asked]


def test_a_listen_stream_from_beginning_to_end() -> None:
    wire = joined(MODERN)
    wanted = {"notifications": {"toolsListChanged": True}}
    first = call(wire, "subscriptions/listen", wanted)
    second = call(wire, "subscriptions/listen", wanted)
    wire.run()
    assert len(wire.client_saw(SubscriptionAcknowledged)) == 2
    opened = wire.server_saw(SubscriptionOpened)
    wire.server.notify("notifications/tools/list_changed")
    wire.server.notify("notifications/prompts/list_changed")
    wire.run()
    told = [event.request for event in wire.client_saw(SubscriptionNotification)]
    assert sorted(told) == [first, second]
    wire.pass_time(200)
    assert not wire.client_saw(RequestEnded)
    # the client leaves one, the server ends the other
    wire.client.cancel(first, now=wire.now)
    wire.run()
    assert [event.key for event in wire.server_saw(SubscriptionClosed)] == [opened[0].key]
    wire.server.close(now=wire.now)
    wire.run()
    (ended,) = wire.client_saw(ResultReceived)
    assert ended.request == second
    assert wire.client.exchanges == wire.server.exchanges == 0
    assert wire.server.finished


# Cancellation and breaks


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("streaming", [False, True])
def test_cancellation(version: str, streaming: bool) -> None:
    wire = joined(version)
    request = call(wire, progress=True)
    wire.run()
    (received,) = wire.server_saw(RequestReceived)
    if streaming:
        wire.server.progress(received.key, 1)
        wire.run()
    wire.client.cancel(request, now=wire.now, reason="enough")
    wire.run()
    (ended,) = wire.client_saw(RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.CANCELLED)
    (cancelled,) = wire.server_saw(RequestCancelled)
    assert cancelled.key == received.key
    assert cancelled.reason == ("the client disconnected" if version == MODERN else "enough")
    assert wire.server.respond(received.key, {"content": []}) is False
    wire.run()
    assert not wire.client_saw(ResultReceived)
    assert wire.methods().count("notifications/cancelled") == (version != MODERN)
    assert wire.client.exchanges == wire.server.exchanges == (version != MODERN)


@pytest.mark.parametrize("version", NAMES)
def test_timeouts_cancel_and_progress_postpones_them(version: str) -> None:
    wire = joined(version)
    slow = call(wire, progress=True, timeout=10)
    dead = call(wire, timeout=10)
    wire.run()
    keys = [event.key for event in wire.server_saw(RequestReceived)]
    wire.pass_time(8)
    wire.server.progress(keys[0], 1)
    wire.run()
    wire.pass_time(8)
    (ended,) = wire.client_saw(RequestEnded)
    assert (ended.request, ended.reason) == (dead, EndReason.TIMED_OUT)
    wire.server.respond(keys[0], {"content": []})
    wire.run()
    (result,) = wire.client_saw(ResultReceived)
    assert result.request == slow
    assert [event.key for event in wire.server_saw(RequestCancelled)] == [keys[1]]


@pytest.mark.parametrize("version", NAMES)
def test_a_connection_that_breaks(version: str) -> None:
    wire = joined(version)
    request = call(wire)
    wire.run()
    wire.cut(wire.exchange_of("tools/call"))
    wire.run()
    (ended,) = wire.client_saw(RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.CLOSED)
    assert bool(wire.server_saw(RequestCancelled)) is (version == MODERN)
    answering(wire, lambda event: {"tools": []})
    call(wire, "tools/list", {})
    wire.run()
    assert len(wire.client_saw(ResultReceived)) == 1


# Sessions


def test_a_restarted_server_is_met_again() -> None:
    wire = joined(LEGACY)
    before = wire.client.session
    assert wire.server.sessions == 1
    # the server forgets everything: another one takes its place
    wire.server = make_server()
    wire.server._router.sessions.new_id()
    answering(wire, lambda event: {"tools": []})
    requests = [call(wire, "tools/list", {}) for _ in range(3)]
    wire.run()
    results = [event.request for event in wire.client_saw(ResultReceived)]
    assert sorted(results) == requests
    assert wire.methods().count("initialize") == 2
    assert len(wire.client_saw(Ready)) == 2
    assert wire.client.session not in (None, before)
    assert wire.server.sessions == 1
    assert not wire.client_saw(RequestEnded)


@pytest.mark.parametrize("version", NAMES)
def test_closing_the_client(version: str) -> None:
    wire = joined(version)
    request = call(wire)
    wire.run()
    wire.client.close(now=wire.now)
    wire.run()
    (ended,) = wire.client_saw(RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.CLOSED)
    assert len(wire.client_saw(ConnectionEnded)) == 1
    assert len(wire.server_saw(RequestCancelled)) == 1
    assert len(wire.server_saw(SessionClosed)) == (version != MODERN)
    assert wire.methods().count("DELETE") == (version != MODERN)
    assert wire.server.sessions == wire.server.exchanges == wire.client.exchanges == 0


def test_closing_the_server_while_a_client_works() -> None:
    wire = joined(LEGACY)
    request = call(wire)
    wire.run()
    (received,) = wire.server_saw(RequestReceived)
    wire.server.close(now=wire.now)
    wire.run()
    wire.server.respond(received.key, {"content": []})
    wire.run()
    assert [event.request for event in wire.client_saw(ResultReceived)] == [request]
    assert wire.server.finished
    late = call(wire)
    wire.run()
    (refused,) = wire.client_saw(ErrorReceived)
    assert (refused.request, refused.error.code) == (late, -32000)


def test_clients_do_not_meet() -> None:
    server = make_server()
    wires = [
        Wire(make_client(revisions=(BY_NAME[version],)), server) for version in (LEGACY, LEGACY)
    ]
    # one server cannot be shared by two wires without distinct exchanges
    wires[1].client._state._routes = 10_000
    for wire in wires:
        wire.start()
    requests = [call(wire) for wire in wires]
    for wire in wires:
        wire.run()
    received = [*wires[0].server_saw(RequestReceived), *wires[1].server_saw(RequestReceived)]
    assert requests[0] == requests[1]
    assert len({event.session for event in received}) == 2
    by_session = {event.session: event.key for event in received}
    for number, wire in enumerate(wires):
        session = wire.client.session
        assert session is not None
        server.respond(by_session[session], {"content": [], "n": number})
        wire.run()
        (result,) = wire.client_saw(ResultReceived)
        assert b'"n":%d' % number in bytes(result.result)


# Mirrored headers


@given(
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    value=st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.booleans(),
        st.none(),
    ),
)
def test_any_name_and_argument_survives_mirroring(name: str, value: Any) -> None:
    table = {name: {"Value": ("deep", "value")}}
    client = make_client(revisions=MODERN_ROWS, header_params=table)
    wire = Wire(client, make_server(header_params=table))
    wire.start()
    call(wire, params={"name": name, "arguments": {"deep": {"value": value}}})
    wire.run()
    assert len(wire.server_saw(RequestReceived)) == 1
    head = wire.sent[-1].headers
    assert all(b"\r" not in text and b"\n" not in text for _, text in head)
