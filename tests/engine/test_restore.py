"""A server's Peer that takes up a session which another process has begun."""

from typing import Any

import msgspec
import pytest

from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import NotificationReceived, Ready, RequestReceived
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

NAMES = [row.name for row in LEGACY_ROWS]
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}
HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": NAMES[-1],
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    },
}


def server() -> Peer:
    offers: Any = {"tools": {}, "logging": {}, "resources": {"subscribe": True}}
    capabilities = msgspec.convert(offers, ServerCapabilities)
    info = Implementation(name="s", version="1")
    return Peer(Role.SERVER, Config(info=info, capabilities=capabilities))


def restored(name: str, **capabilities: Any) -> Peer:
    peer = server()
    peer._negotiation.restore(
        BY_NAME[name],
        info=Implementation(name="c", version="1"),
        capabilities=msgspec.convert(capabilities, ClientCapabilities),
    )
    return peer


def feed(peer: Peer, *messages: Any) -> list[Any]:
    for message in messages:
        peer.receive(msgspec.json.encode(message), now=1.0)
    events = []
    while (event := peer.next_event()) is not None:
        events.append(event)
    return events


def sent(peer: Peer) -> list[Any]:
    return [msgspec.json.decode(line) for line in peer.lines_to_send().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_session_goes_on_where_it_stood(name: str) -> None:
    peer = restored(name, roots={})
    peer._negotiation.opened()
    assert peer.state is SessionState.OPEN
    assert peer.next_event() is None
    assert sent(peer) == []
    (event,) = feed(peer, CALL)
    assert isinstance(event, RequestReceived)
    assert event.revision.name == name
    assert event.client_info == Implementation(name="c", version="1")
    peer.request("roots/list", now=1.0)
    assert [message["method"] for message in sent(peer)] == ["roots/list"]
    assert feed(peer, HELLO)[0].message == "initialize was already received"


def test_a_handshake_that_is_not_complete_yet() -> None:
    peer = restored(NAMES[-1], roots={})
    assert peer.state is not SessionState.OPEN
    asked = peer.request("roots/list", now=1.0)
    assert sent(peer) == []
    peer._negotiation.opened()
    peer._negotiation.opened()
    assert [message["id"] for message in sent(peer)] == [asked]
    (event,) = feed(restored(NAMES[-1]), {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert isinstance(event, Ready)


def test_only_a_new_server_takes_up_a_session() -> None:
    begun = server()
    feed(begun, HELLO)
    client = Peer(
        Role.CLIENT,
        Config(info=Implementation(name="c", version="1"), capabilities=ClientCapabilities()),
    )
    for peer in (begun, restored(NAMES[0]), client):
        with pytest.raises(LocalProtocolError, match="only a new server"):
            peer._negotiation.restore(BY_NAME[NAMES[0]], None, ClientCapabilities())


def test_changes_that_hold_for_the_whole_session_are_counted() -> None:
    peer = server()
    counts = [peer._state.changes]
    for message in (
        HELLO,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "info"}},
        {"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": "a:b"}},
        {"jsonrpc": "2.0", "id": 3, "method": "resources/unsubscribe", "params": {"uri": "a:b"}},
    ):
        feed(peer, message)
        counts.append(peer._state.changes)
    assert counts == [0, 1, 2, 3, 4, 5]
    for message in (
        {"jsonrpc": "2.0", "id": 4, "method": "ping"},
        {"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "loud"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        CALL,
    ):
        feed(peer, message)
    assert peer._state.changes == 5
    assert restored(NAMES[-1])._state.changes == 0


def test_a_conversation_that_nobody_has_opened_stays_closed() -> None:
    peer = server()
    peer._negotiation.opened()
    events = feed(peer, {"jsonrpc": "2.0", "method": "notifications/x"})
    assert peer.state is not SessionState.OPEN
    assert [type(event) for event in events] == [NotificationReceived]
