"""A client that remembers the era of its server: what it saves, and that it never goes wrong."""

from typing import Any

import pytest

from mcpcore.engine import Negotiation, Peer, Role
from mcpcore.engine.events import EndReason, NegotiationFailed, Ready
from tests.engine.bench import (
    LEGACY_NAMES,
    MODERN_NAMES,
    SERVER_ALL,
    answer,
    client_config,
    drain,
    error,
    expect,
    feed,
    rows,
    sent,
    server_config,
)

HANDSHAKE = {
    "protocolVersion": LEGACY_NAMES[-1],
    "capabilities": SERVER_ALL,
    "serverInfo": {"name": "s", "version": "1"},
}


def started(assumed: Negotiation, **settings: Any) -> tuple[Peer, Any]:
    peer = Peer(Role.CLIENT, client_config(assumed=assumed, **settings))
    peer.start(now=0.0)
    [request] = sent(peer)
    return peer, request


@pytest.mark.requirement("basic/versioning/era-cached")
@pytest.mark.parametrize("code", [-32022, -32601, -32602, -32600, -32000])
def test_the_era_is_found_out_when_what_was_known_is_wrong(code: int) -> None:
    """Not by the answer's code: whatever refuses the handshake, the probe tells for certain."""
    peer, request = started(Negotiation.LEGACY)
    assert feed(peer, error(request["id"], code, "no")) == []
    [probe] = sent(peer)
    assert probe["method"] == "server/discover"
    result = {"supportedVersions": MODERN_NAMES, "capabilities": {}}
    ready = expect(Ready, feed(peer, answer(probe["id"], result)))
    assert ready.revision.modern


def test_a_transport_that_tells_the_era_counts_as_a_refusal() -> None:
    peer, request = started(Negotiation.LEGACY)
    told: dict[str, Any] = {"now": 0, "reason": EndReason.REFUSED, "message": "HTTP 400"}
    peer.receive_failure(request["id"], evidence=True, **told)
    assert drain(peer) == []
    assert sent(peer)[0]["method"] == "server/discover"


def test_a_transport_that_tells_nothing_is_not_asked_again() -> None:
    peer, request = started(Negotiation.LEGACY)
    told: dict[str, Any] = {"now": 0, "reason": EndReason.CLOSED, "message": "no connection"}
    peer.receive_failure(request["id"], evidence=False, **told)
    expect(NegotiationFailed, drain(peer))
    assert sent(peer) == []


@pytest.mark.parametrize("last", ["refused", "silent"])
def test_a_server_that_refuses_everything_is_asked_a_bounded_number_of_times(last: str) -> None:
    peer, first = started(Negotiation.LEGACY)
    feed(peer, error(first["id"], -32603, "broken"))
    [probe] = sent(peer)
    if last == "refused":
        feed(peer, error(probe["id"], -32601))
    else:
        peer.handle_timeout(5.0)
        drain(peer)
    [second] = sent(peer)
    assert second["method"] == "initialize"
    failed = expect(NegotiationFailed, feed(peer, error(second["id"], -32603, "broken")))
    assert "broken" in failed.message
    assert sent(peer) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"negotiation": Negotiation.LEGACY},
        {"revisions": rows(*LEGACY_NAMES)},
    ],
)
def test_what_is_forbidden_is_not_tried(settings: Any) -> None:
    peer, request = started(Negotiation.LEGACY, **settings)
    expect(NegotiationFailed, feed(peer, error(request["id"], -32022)))


@pytest.mark.parametrize("assumed", list(Negotiation))
def test_memory_decides_nothing_where_there_is_one_era(assumed: Negotiation) -> None:
    for settings in ({"negotiation": Negotiation.MODERN}, {"revisions": rows(*MODERN_NAMES)}):
        _, request = started(assumed, **settings)
        assert request["method"] == "server/discover"


@pytest.mark.parametrize(
    ("assumed", "deadline"),
    [(Negotiation.AUTO, 5.0), (Negotiation.MODERN, 60.0), (Negotiation.LEGACY, 60.0)],
)
def test_a_server_known_as_modern_may_be_slow(assumed: Negotiation, deadline: float) -> None:
    peer, _ = started(assumed)
    assert peer.deadline() == deadline


def test_a_server_that_was_modern_may_have_become_legacy() -> None:
    peer, probe = started(Negotiation.MODERN)
    feed(peer, error(probe["id"], -32601))
    [handshake] = sent(peer)
    assert handshake["method"] == "initialize"
    expect(Ready, feed(peer, answer(handshake["id"], HANDSHAKE)))


@pytest.mark.parametrize("assumed", list(Negotiation))
@pytest.mark.parametrize("names", [LEGACY_NAMES, MODERN_NAMES, LEGACY_NAMES + MODERN_NAMES])
def test_whatever_was_assumed_both_find_each_other(assumed: Negotiation, names: list[str]) -> None:
    client, request = started(assumed)
    server = Peer(Role.SERVER, server_config(revisions=rows(*names)))
    frames, found = [request], []
    for _ in range(6):
        feed(server, *frames)
        found += feed(client, *sent(server))
        frames = sent(client)
    ready = expect(Ready, found)
    assert ready.revision.name in names
