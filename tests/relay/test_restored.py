"""Sessions of legacy clients that another process of the gateway has begun, in virtual time."""

from typing import Any

import pytest

from mcpcore.engine.events import LogLevelChanged
from mcpcore.http.settings import HttpSettings
from mcpcore.relay.listens import Item, filter_of
from tests.http.support import Reply, note, request
from tests.relay.bench import LEGACY, MODERN
from tests.relay.test_forwarding import Gateway, gateways, messages, settle, wait
from tests.relay.test_subscriptions import asked as asked_for

CALL = request("tools/call", {"name": "echo", "arguments": {}}, id=3)
LIST_CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
URIS = ("x:1", "x:2")
eras = pytest.mark.parametrize("server", [LEGACY, MODERN])


def subscription(uri: str, method: str = "subscribe") -> dict[str, Any]:
    return request(f"resources/{method}", {"uri": uri}, id=f"{method} {uri}")


def ok(reply: Reply, *benches: Gateway) -> None:
    settle(*benches)
    assert "result" in messages(reply)[-1], messages(reply)


def pair(server: str, **settings: Any) -> tuple[Gateway, Gateway, str, Reply]:
    """Two workers, a session that one has begun, and its stream, which the other carries."""
    one, other = gateways(revision=server, **settings)
    session = one.session()
    listening = other.replies[other.listen(session)]
    settle(one, other)
    return one, other, session, listening


def tell(bench: Gateway, method: str, params: Any = None) -> None:
    """Let the server of one worker announce a change, in every conversation."""
    for _, _, far in bench.backend.wires:
        far.notify(method, params)


def heard(reply: Reply, method: str) -> int:
    return sum(each.get("method") == method for each in messages(reply))


def subscribed(bench: Gateway) -> list[str]:
    """Resources that the server of a worker is asked to announce."""
    relay = bench.relay
    [watcher] = relay.subscriptions.sessions.values()
    uris: list[str] = []
    for stream in watcher.streams.values():
        items = frozenset[Item]().union(*stream.feeds.values())  # at a modern server
        uris += filter_of(items or stream.items).resource_subscriptions
    return sorted(uris)


@eras
def test_changed_lists_of_the_server_of_another_worker(server: str) -> None:
    one, other, session, listening = pair(server)
    ok(other.post(CALL, mcp_session_id=session), one, other)
    tell(other, LIST_CHANGED)
    settle(one, other)
    assert heard(listening, LIST_CHANGED) == 1


@eras
def test_subscriptions_at_another_worker(server: str) -> None:
    """All workers know them, so that the end of one loses none."""
    one, other, session, listening = pair(server)
    for uri in URIS:
        ok(other.post(subscription(uri), mcp_session_id=session), one, other)
    assert subscribed(one) == subscribed(other) == [*URIS]
    if server == LEGACY:  # each was asked for once
        assert asked_for(one.backend) == asked_for(other.backend) == [*URIS]
    assert heard(listening, UPDATED) == 0
    for bench in (one, other):
        tell(bench, UPDATED, {"uri": URIS[0]})
    settle(one, other)
    assert heard(listening, UPDATED) == 2
    for uri, left in zip(URIS, (["x:2"], []), strict=True):
        ok(one.post(subscription(uri, "unsubscribe"), mcp_session_id=session), one, other)
        assert subscribed(one) == subscribed(other) == left
    tell(other, UPDATED, {"uri": URIS[1]})
    settle(one, other)
    assert heard(listening, UPDATED) == 2


@eras
def test_a_session_after_a_restart_has_its_subscriptions(server: str) -> None:
    """What it has subscribed to may have changed meanwhile."""
    one, other = gateways(revision=server)
    session = one.session()
    ok(one.post(subscription("x:1"), mcp_session_id=session), one)  # which ends now
    ok(other.post(CALL, mcp_session_id=session), other)
    assert subscribed(other) == ["x:1"]
    listening = other.replies[other.listen(session)]
    settle(other)
    assert heard(listening, UPDATED) == heard(listening, LIST_CHANGED) == 1
    other.backend.down = True
    other.post(subscription("x:1"), mcp_session_id=session)  # once more, and is not awaited
    left = note("notifications/cancelled", {"requestId": "subscribe x:1"})
    other.post(left, mcp_session_id=session)
    other.backend.down = False
    settle(other)
    tell(other, UPDATED, {"uri": "x:1"})
    settle(other)
    assert heard(listening, UPDATED) == 2


@eras
def test_a_subscription_that_is_being_restored_is_refused_once(server: str) -> None:
    one, other = gateways(revision=server)
    other.session()
    session = one.session()
    ok(one.post(subscription("x:1"), mcp_session_id=session), one)
    settle(one, other)
    other.backend.down = True
    reply = other.post(subscription("x:1"), mcp_session_id=session)
    settle(other)
    for _, near, _ in other.backend.wires:
        near.receive_eof(now=other.now)
    other.backend.down = False
    settle(other)
    assert "error" in messages(reply)[-1]


def test_the_log_level_of_a_session_at_another_worker() -> None:
    one, other, session, _ = pair(LEGACY)
    ok(other.post(CALL, mcp_session_id=session), one, other)
    for level in ("error", "debug"):
        change = request("logging/setLevel", {"level": level}, id=level)
        ok(one.post(change, mcp_session_id=session), one, other)
    levels = [each.level for each in other.backend.events if isinstance(each, LogLevelChanged)]
    assert levels == ["error", "debug"]


def test_a_question_outside_of_a_call_at_another_worker() -> None:
    one, other, session, listening = pair(LEGACY)
    ok(other.post(CALL, mcp_session_id=session), one, other)
    asked: dict[Any, Any] = other.backend.waiting
    asked[other.backend.wires[-1][2].request("roots/list", now=other.now)] = asked.update
    settle(one, other)
    [question] = [each for each in messages(listening) if each.get("method") == "roots/list"]
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}
    assert one.post(answer, mcp_session_id=session).status == 202
    asked.clear()
    settle(one, other)
    assert other.relay.idle


@eras
def test_a_worker_that_forgets_a_session_keeps_nothing_of_it(server: str) -> None:
    one, other = gateways(revision=server, http=HttpSettings(session_replica_idle=60))
    session = one.session()
    ok(other.post(subscription("x:1"), mcp_session_id=session), one, other)
    wait(70, one, other)
    for bench in (one, other):
        assert bench.server.sessions == 0
        assert not bench.relay.subscriptions.sessions
        links = [link for link, _, _ in bench.backend.wires if not link.ended]
        assert not any(link.feed or link.listens for link in links)
    ok(one.post(CALL, mcp_session_id=session), one, other)
    assert subscribed(one) == ["x:1"]


def test_a_subscription_under_way_outlasts_one_at_another_worker() -> None:
    one, other, session, _ = pair(MODERN)
    ok(other.post(subscription("x:1"), mcp_session_id=session), one, other)
    other.backend.down = True
    added = other.post(subscription("x:2"), mcp_session_id=session)
    ok(one.post(subscription("x:3"), mcp_session_id=session), one, other)
    assert not messages(added)
    removed = other.post(subscription("x:1", "unsubscribe"), mcp_session_id=session)
    ok(one.post(subscription("x:4"), mcp_session_id=session), one, other)
    other.backend.down = False
    for reply in (added, removed):
        ok(reply, one, other)
    assert subscribed(one) == subscribed(other) == ["x:2", "x:3", "x:4"]
