"""Limits: what happens when nobody reads, when tables are full, and what a Peer costs at rest."""

import gc
import json
import tracemalloc
from collections.abc import Sized
from typing import Any

import pytest

from mcpcore.engine import MAIN, Endpoint, Peer, Role
from mcpcore.engine.events import (
    RequestReceived,
    ResourceSubscribed,
    StreamDrained,
    SubscriptionOpened,
)
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.engine.bench import (
    CLIENT_ALL,
    META,
    MODERN_NAMES,
    answer,
    call,
    drain,
    expect,
    feed,
    initialize,
    legacy_server,
    limits,
    modern_server,
    sent,
    server_config,
    tell,
)

CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
SMALL = server_config(limits=limits(queued=300))


def received(peer: Peer, message: Any) -> RequestReceived:
    """Feed a request and return its event."""
    return expect(RequestReceived, feed(peer, message))


def opened(peer: Peer, id: Any = 1, route: int = MAIN, **notifications: Any) -> SubscriptionOpened:
    """Open a listen stream on a server."""
    params = {"notifications": notifications or {"toolsListChanged": True}}
    message = json.dumps(call(id, "subscriptions/listen", params, modern=True)).encode()
    peer.receive(message, now=0, route=route)
    return expect(SubscriptionOpened, drain(peer))


def taken_over(frame: Transmit) -> None:
    """A transport tells that a frame has left its own buffer."""
    if frame.key is not None:
        frame.peer.taken(frame)


# Changes


def test_changes_that_nobody_reads_do_not_pile_up() -> None:
    peer = legacy_server(config=SMALL)
    opened(peer, 1, toolsListChanged=True, resourceSubscriptions=["a:1", "a:2"])
    feed(peer, call(2, "resources/subscribe", {"uri": "a:1"}))
    for turn in range(1000):
        assert peer.notify(CHANGED)
        assert peer.notify(UPDATED, {"uri": "a:1", "turn": turn})
        assert peer.notify(UPDATED, {"uri": "a:2", "turn": turn})
    assert peer._endpoint.outbox.size < 3000
    frames = sent(peer)
    last = {
        (frame["params"]["uri"], "_meta" in frame["params"]): frame["params"]["turn"]
        for frame in frames
        if frame.get("method") == UPDATED
    }
    assert last == {("a:1", False): 999, ("a:1", True): 999, ("a:2", True): 999}
    peer.notify(CHANGED)
    assert [frame["method"] for frame in sent(peer)] == [CHANGED] * 2


def test_changes_that_are_read_are_told_one_by_one() -> None:
    peer = legacy_server(config=SMALL)
    for _ in range(10):
        peer.notify(CHANGED)
        assert len(sent(peer)) == 1


def test_changes_below_the_limit_are_told_one_by_one() -> None:
    peer = legacy_server()
    for _ in range(10):
        peer.notify(CHANGED)
    assert len(sent(peer)) == 10


def test_changes_wait_with_a_transport_that_buffers() -> None:
    peer = modern_server(server_config(route_scoped_ids=True, limits=limits(queued=300)))
    event = opened(peer, route=4)
    buffered: list[Transmit] = []
    for _ in range(100):
        peer.notify(CHANGED)
        buffered += peer._endpoint.outbox.take()
    assert sum(frame.size for frame in buffered) < 700
    assert peer.queued(event.key) == sum(frame.size for frame in buffered)
    for frame in buffered:
        taken_over(frame)
    assert drain(peer) == [StreamDrained(key=event.key)]
    assert peer.queued(event.key) == 0
    peer.notify(CHANGED)
    assert len(peer._endpoint.outbox.take()) == 1


def test_progress_waits_with_a_transport_that_buffers() -> None:
    peer = modern_server(server_config(route_scoped_ids=True, limits=limits(queued=300)))
    meta = {"_meta": {**META, "progressToken": "p"}}
    message = json.dumps(call(1, "tools/list", meta)).encode()
    peer.receive(message, now=0, route=4)
    event = expect(RequestReceived, drain(peer))
    buffered: list[Transmit] = []
    for value in range(1, 100):
        assert peer.progress(event.key, value, message="x" * value)
        buffered += peer._endpoint.outbox.take()
    assert peer._endpoint.outbox.size == 0
    assert len(buffered) < 6
    values = [json.loads(b"".join(frame.data))["params"]["progress"] for frame in buffered]
    assert values == sorted(values)
    assert values[-1] == 99
    assert peer.queued(event.key) == sum(frame.size for frame in buffered)


@pytest.mark.parametrize(
    ("method", "facts"),
    [("tools/list", ("notifications/progress", None)), ("acme/none", ("acme/none", -32601))],
)
def test_a_frame_tells_what_it_is_about(method: str, facts: Any) -> None:
    """... to the transport that it waits for, which need not read it."""
    peer = modern_server()
    meta = {"_meta": {**META, "progressToken": "p"}}
    peer.receive(json.dumps(call(1, method, meta)).encode(), now=0, route=4)
    for event in drain(peer):
        assert not isinstance(event, RequestReceived) or peer.progress(event.key, 1)
    [frame] = peer._endpoint.outbox.take()
    assert (frame.method, frame.code) == facts
    assert frame.revision is not None
    assert frame.revision.name == MODERN_NAMES[-1]


def texts(frame: Transmit) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (b"".join(frame.data), *(frame.more or ()))]


def test_progress_that_is_ready_together_shares_a_frame() -> None:
    config = server_config(route_scoped_ids=True, limits=limits(queued=60_000))
    peer = Peer(Role.SERVER, config, joins=True)
    meta = {"_meta": {**META, "progressToken": "p", "io.modelcontextprotocol/logLevel": "info"}}
    keys = []
    for route in (1, 2):
        peer.receive(json.dumps(call(1, "tools/list", meta)).encode(), now=0, route=route)
        event = expect(RequestReceived, drain(peer))
        keys.append(event.key)
    told: list[tuple[int, Any]] = []
    for value in range(1, 300):
        for key in keys if value % 40 == 0 else keys[:1]:
            assert peer.progress(key, value)
            told.append((key, value))
        if value % 100 == 0:
            assert peer.log(keys[0], "info", value)
            told.append((keys[0], value))
    size = peer._endpoint.outbox.size
    assert peer.queued(keys[0]) + peer.queued(keys[1]) == size
    frames = peer._endpoint.outbox.take()
    assert size == sum(len(text) for frame in frames for text in (*frame.data, *(frame.more or ())))
    assert size == sum(frame.size for frame in frames)
    assert max(frame.size for frame in frames) < 10_000
    assert len(frames) < 30
    heard = [
        (frame.key, message["params"].get("progress", message["params"].get("data")))
        for frame in frames
        for message in texts(frame)
    ]
    assert heard == told
    for frame in frames:
        taken_over(frame)
    assert {event.key for event in drain(peer) if isinstance(event, StreamDrained)} == set(keys)


def test_progress_that_shares_a_frame_is_on_lines_of_its_own() -> None:
    peer = Peer(Role.SERVER, server_config(), joins=True)
    keys = []
    for id in (1, 2):
        meta = {"_meta": {**META, "progressToken": id}}
        keys.append(received(peer, call(id, "tools/list", meta)).key)
    for key in keys:
        assert all(peer.progress(key, value) for value in range(3))
    [first, second] = peer.data_to_send()
    for value in range(3, 6):
        peer.progress(keys[0], value)
    lines = (first.line() + peer.lines_to_send()).splitlines()
    assert [json.loads(line)["params"]["progress"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert second.line().endswith(b"\n")


def test_newer_progress_takes_the_place_of_the_last_in_its_frame() -> None:
    config = server_config(route_scoped_ids=True, limits=limits(queued=1000))
    peer = Peer(Role.SERVER, config, joins=True)
    meta = {"_meta": {**META, "progressToken": "p"}}
    peer.receive(json.dumps(call(1, "tools/list", meta)).encode(), now=0, route=4)
    event = expect(RequestReceived, drain(peer))
    for value in range(1, 100):
        assert peer.progress(event.key, value, message="x" * value)
    size = peer._endpoint.outbox.size
    assert peer.queued(event.key) == size < 1300
    [frame] = peer._endpoint.outbox.take()
    values = [message["params"]["progress"] for message in texts(frame)]
    assert values == [*range(1, len(values)), 99]
    assert frame.size == size == sum(map(len, (*frame.data, *(frame.more or ()))))


def test_the_outbox_of_one_exchange_does_not_crowd_another() -> None:
    peer = modern_server(server_config(route_scoped_ids=True, limits=limits(queued=300)))
    meta = {"_meta": {**META, "progressToken": "p", "io.modelcontextprotocol/logLevel": "info"}}
    keys = []
    for route in (1, 2):
        peer.receive(json.dumps(call(1, "tools/list", meta)).encode(), now=0, route=route)
        event = expect(RequestReceived, drain(peer))
        keys.append(event.key)
    while peer.log(keys[0], "info", "x" * 50):
        pass
    assert peer._endpoint.outbox.size > 300
    assert peer.log(keys[1], "info", "x")


def test_everybody_on_the_main_route_shares_its_limit() -> None:
    peer = legacy_server(config=SMALL)
    first, second = (received(peer, call(id, "tools/list")) for id in (1, 2))
    while peer.log(first.key, "info", "x" * 50):
        pass
    assert not peer.log(second.key, "info", "x")
    assert not peer.log(None, "info", "x")
    peer.data_to_send()
    assert peer.log(second.key, "info", "x")


# Log messages


@pytest.mark.parametrize("outside", [False, True])
def test_lost_log_messages_are_counted(outside: bool) -> None:
    peer = legacy_server(config=SMALL)
    key = None if outside else received(peer, call(1, "tools/list")).key
    sent_at_once = 0
    while peer.log(key, "info", "x" * 50):
        sent_at_once += 1
    assert not peer.log(key, "info", "y")
    assert not peer.log(key, "debug", "not wanted, so not lost")
    assert len(sent(peer)) == sent_at_once
    assert peer.log(key, "info", "z")
    note, message = sent(peer)
    assert note["params"]["level"] == "warning"
    assert note["params"]["logger"] == "mcpcore"
    assert note["params"]["data"].startswith("2 log messages were dropped")
    assert message["params"]["data"] == "z"
    assert peer.log(key, "info", "told once")
    assert len(sent(peer)) == 1


def test_who_wants_errors_only_is_not_told_of_lost_ones() -> None:
    peer = legacy_server(config=SMALL)
    feed(peer, call(0, "logging/setLevel", {"level": "error"}))
    while peer.log(None, "error", "x" * 50):
        pass
    peer.data_to_send()
    assert peer.log(None, "error", "z")
    assert [frame["params"]["data"] for frame in sent(peer)] == ["z"]


def test_a_flood_of_log_messages_is_bounded() -> None:
    peer = legacy_server(config=server_config(limits=limits(queued=10_000)))
    event = received(peer, call(1, "tools/list"))
    kept = sum(peer.log(event.key, "info", {"n": n}) for n in range(100_000))
    assert 50 < kept < 200
    assert peer.respond(event.key, {})
    assert sent(peer)[-1] == answer(1)


# Tables


@pytest.mark.parametrize("modern", [False, True])
def test_a_full_table_still_answers_what_takes_no_place(modern: bool) -> None:
    config = server_config(limits=limits(in_flight=1))
    peer = modern_server(config) if modern else legacy_server(config=config)
    received(peer, call(1, "tools/list", modern=modern))
    method = "server/discover" if modern else "ping"
    assert feed(peer, call(2, method, modern=modern)) == []
    [reply] = sent(peer)
    assert "result" in reply
    feed(peer, call(1, method, modern=modern))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32600, "its id is in flight"


def test_a_closing_peer_still_answers_pings() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    peer.close(now=0)
    assert feed(peer, call(2, "ping")) == []
    assert sent(peer) == [answer(2)]
    feed(peer, initialize(3))
    assert sent(peer)[0]["error"]["code"] == -32600
    params = {"notifications": {"toolsListChanged": True}}
    feed(peer, call(4, "subscriptions/listen", params, modern=True))
    assert sent(peer)[0]["error"]["code"] == 1001
    assert peer.respond(event.key, {})


def test_listen_streams_leave_room_for_calls() -> None:
    peer = modern_server(server_config(limits=limits(in_flight=2, listen_streams=5)))
    for id in range(5):
        opened(peer, id)
    for id in (10, 11):
        received(peer, call(id, "tools/list", modern=True))
    peer.data_to_send()
    feed(peer, call(12, "tools/list", modern=True))
    feed(
        peer, call(13, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    )  # without metadata
    feed(peer, call(14, "subscriptions/listen", {"notifications": {}}, modern=True))
    assert [reply["error"]["code"] for reply in sent(peer)] == [1001, -32602, 1001]
    assert peer.in_flight == 7


def test_a_full_table_of_calls_leaves_room_for_streams() -> None:
    peer = modern_server(server_config(limits=limits(in_flight=1)))
    received(peer, call(1, "tools/list", modern=True))
    opened(peer, 2)
    assert peer.in_flight == 2


@pytest.mark.parametrize("field", ["resourceSubscriptions", "taskIds"])
def test_what_a_stream_lists_is_bounded(field: str) -> None:
    tasks: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    config = server_config(
        {"resources": {"subscribe": True}, **tasks}, limits=limits(subscriptions=2)
    )
    peer = modern_server(config)
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": tasks}
    for id, listed in enumerate((["1", "2"], ["1", "2", "3"])):
        params = {"notifications": {field: listed}, "_meta": meta}
        feed(peer, call(id, "subscriptions/listen", params))
    _, refused = sent(peer)
    assert refused["error"]["code"] == -32602


def test_a_resource_that_is_subscribed_to_takes_no_second_place() -> None:
    peer = legacy_server(config=server_config(limits=limits(subscriptions=1)))
    for id in (1, 2):
        events = feed(peer, call(id, "resources/subscribe", {"uri": "a:1"}))
        assert events == [ResourceSubscribed(uri="a:1", active=True)]
    feed(peer, call(3, "resources/unsubscribe", {"uri": "a:1"}))
    feed(peer, call(4, "resources/subscribe", {"uri": "a:2"}), call(5, "resources/unsubscribe"))
    assert ["error" in reply for reply in sent(peer)] == [False] * 4 + [True]


def test_an_acknowledgement_that_waits_is_narrowed_too() -> None:
    peer = modern_server()
    event = opened(peer, 1, toolsListChanged=True, promptsListChanged=True)
    assert peer.narrow(event.key, SubscriptionFilter(tools_list_changed=True))
    size = peer.queued(event.key)
    [frame] = peer.data_to_send()
    assert (frame.size, frame.kind) == (size, FrameKind.NOTIFICATION)
    told = json.loads(b"".join(frame.data))
    assert told["method"] == "notifications/subscriptions/acknowledged"
    assert told["params"]["notifications"] == {"toolsListChanged": True}
    assert drain(peer) == [StreamDrained(key=event.key)]
    assert peer.narrow(event.key, SubscriptionFilter())
    assert sent(peer) == [], "what has left is not taken back"


# Memory


def test_a_peer_at_rest_is_small() -> None:
    endpoint, config = Endpoint(), server_config()

    def make() -> Peer:
        peer = Peer(Role.SERVER, config, endpoint=endpoint)
        for message in (initialize(1, **CLIENT_ALL), tell("notifications/initialized")):
            peer.receive(json.dumps(message).encode(), now=0)
        drain(peer)
        endpoint.data_to_send()
        return peer

    make()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    peers = [make() for _ in range(200)]
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / len(peers)
    tracemalloc.stop()
    assert each < 2500, "bytes"
    assert len({id(peer._state.profile) for peer in peers}) == 1


def test_configs_of_former_peers_are_not_kept_for_ever() -> None:
    endpoint = Endpoint()
    for _ in range(100):
        Peer(Role.SERVER, server_config(), endpoint=endpoint)
    assert len(endpoint._profiles) < 20
    config = server_config()
    first, second = (Peer(Role.SERVER, config, endpoint=endpoint) for _ in range(2))
    assert first._state.profile is second._state.profile


def test_nothing_is_left_of_what_has_ended() -> None:
    peer = legacy_server()
    for turn in range(500):
        params = {"name": "x", "_meta": {"progressToken": turn}}
        event = received(peer, call(turn, "tools/call", params))
        peer.progress(event.key, 1)
        asked = peer.request("roots/list", now=0, parent=event.key)
        feed(peer, answer(asked, {"roots": []}))
        peer.respond(event.key, {})
        opened(peer, -turn)
        feed(peer, tell("notifications/cancelled", {"requestId": -turn}))
        peer.data_to_send()
    endpoint = peer._endpoint
    left: list[Sized] = [
        peer._state.in_flight_by_id,
        peer._state.pending,
        peer._state.held,
        peer._state.streams,
        peer._state.replaceable,
    ]
    left += [endpoint.inbound, endpoint.outbound, endpoint.events, endpoint.inbox]
    assert [len(table) for table in left] == [0] * 9
    assert (len(endpoint.outbox.frames), endpoint.outbox.size, endpoint.deadlines.next()) == (
        0,
        0,
        None,
    )
