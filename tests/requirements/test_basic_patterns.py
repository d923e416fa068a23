"""basic/patterns: progress tokens, and what a server counts on after asking."""

from typing import Any

import pytest

from mcpcore.engine import Peer
from mcpcore.engine.events import RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.spec.errors import LocalProtocolError
from tests.engine.bench import (
    CLIENT_ALL,
    META,
    call,
    feed,
    legacy_client,
    modern_client,
    modern_server,
    sent,
)


@pytest.mark.requirement("basic/patterns/progress/token-unique")
@pytest.mark.parametrize("make", [legacy_client, modern_client])
def test_no_two_active_requests_share_a_progress_token(make: Any) -> None:
    peer: Peer = make()
    for _ in range(50):
        peer.request("tools/call", {"name": "t"}, now=0, progress=True)
        peer.request("tools/list", now=0, progress=True)
    tokens = [frame["params"]["_meta"]["progressToken"] for frame in sent(peer)]
    assert len(tokens) == 100
    assert len({(type(token), token) for token in tokens}) == 100


@pytest.mark.requirement("basic/patterns/mrtr/no-promise")
def test_a_server_keeps_nothing_of_a_request_that_needs_input() -> None:
    peer = modern_server()
    own = {**META, "io.modelcontextprotocol/clientCapabilities": CLIENT_ALL}
    for number in range(3):
        [event] = feed(peer, call(number, "tools/call", {"name": "t", "_meta": own}))
        assert isinstance(event, RequestReceived)
        peer.require_input(event.key, {"r": InputRequest("roots/list")}, "state")
    assert peer.in_flight == 0
    assert peer.pending == 0
    assert peer.deadline() is None


@pytest.mark.requirement("basic/patterns/cancellation/server-only-listen")
@pytest.mark.parametrize(
    "method",
    [
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/message",
        "notifications/subscriptions/acknowledged",
    ],
)
def test_what_has_rules_of_its_own_is_not_sent_by_hand(method: str) -> None:
    peer = modern_server()
    [event] = feed(peer, call(1, "tools/call", {"name": "t"}, modern=True))
    assert isinstance(event, RequestReceived)
    for parent in (None, event.key):
        with pytest.raises(LocalProtocolError, match=method):
            peer.notify(method, {"requestId": 1}, parent=parent)
    assert sent(peer) == []
    peer.notify("notifications/acme", parent=event.key)
    assert [frame["method"] for frame in sent(peer)] == ["notifications/acme"]


@pytest.mark.requirement("basic/patterns/cancellation/stdio-notification")
def test_on_a_shared_channel_a_modern_request_is_cancelled_by_its_id() -> None:
    peer = modern_client()
    first = peer.request("tools/list", now=0)
    second = peer.request("tools/list", now=0, timeout=5.0)
    sent(peer)
    peer.cancel(first, now=0)
    peer.handle_timeout(5.0)
    frames = sent(peer)
    assert [frame["method"] for frame in frames] == ["notifications/cancelled"] * 2
    assert [frame["params"]["requestId"] for frame in frames] == [first, second]
