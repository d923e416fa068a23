"""Which ends of a negotiation are laid to the era probe, so that the handshake may come first."""

from typing import Any

import pytest

from mcpcore.engine import Negotiation, Peer, Role
from mcpcore.engine.events import ConnectionEnded, NegotiationFailed
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.negotiation import Upset, upset_by_probe
from mcpcore.spec.errors import ErrorData
from tests.engine.bench import (
    LEGACY_NAMES,
    MODERN_NAMES,
    SERVER_ALL,
    answer,
    client_config,
    drain,
    error,
    feed,
    initialize,
    rows,
    sent,
    server_config,
)

AFTERWARDS = [
    (SessionState.NEW, None, None),
    (SessionState.PROBING, None, Upset.ENDED),
    (SessionState.OPENING, None, Upset.ENDED),
    (SessionState.OPEN, None, None),
    (SessionState.CLOSING, None, None),
    (SessionState.CLOSED, None, None),
    (SessionState.PROBING, (-32600,), None),
    *[
        (SessionState.OPENING, (code,), Upset.REFUSED)
        for code in (-32600, -32601, -32602, -32603, 1)
    ],
    (SessionState.OPENING, (-32000, "no", {"supported": "none"}), Upset.REFUSED),
    (SessionState.OPENING, (-32000, "no", ["supported"]), Upset.REFUSED),
    (SessionState.OPENING, (-32602, "no", {"supported": ["2024-11-05"]}), None),
    *[(SessionState.OPENING, (code,), None) for code in (-32020, -32021, -32022)],
]


def refusal(code: int, message: str = "no", data: Any = None) -> ErrorData:
    return ErrorData.make(code, message, data) if data is not None else ErrorData(code, message)


@pytest.mark.parametrize(("state", "error", "upset"), AFTERWARDS)
def test_every_end_of_a_negotiation(
    state: SessionState, error: tuple[Any, ...] | None, upset: Upset | None
) -> None:
    told = None if error is None else refusal(*error)
    assert upset_by_probe(client_config(), state, told) is upset


@pytest.mark.parametrize(
    ("settings", "upset"),
    [
        ({}, True),
        ({"assumed": Negotiation.MODERN}, True),  # it may have become another program
        ({"assumed": Negotiation.LEGACY}, False),  # the handshake came first already
        ({"negotiation": Negotiation.MODERN}, False),
        ({"negotiation": Negotiation.LEGACY}, False),
        ({"revisions": rows(*MODERN_NAMES)}, False),
        ({"revisions": rows(*LEGACY_NAMES)}, False),
    ],
)
def test_only_who_probes_first_and_has_a_choice_can_begin_otherwise(
    settings: Any, upset: bool
) -> None:
    for state, told in ((SessionState.PROBING, None), (SessionState.OPENING, refusal(-32600))):
        found = upset_by_probe(client_config(**settings), state, told)
        assert (found is not None) is upset


def probing(**settings: Any) -> tuple[Peer, Any]:
    peer = Peer(Role.CLIENT, client_config(**settings))
    peer.start(now=0.0)
    [request] = sent(peer)
    return peer, request


def handshaking(silent: bool) -> tuple[Peer, Any]:
    """A client that has gone on to ``initialize``, as the probe was refused or not answered."""
    peer, probe = probing()
    if silent:
        peer.handle_timeout(5.0)
        drain(peer)
    else:
        feed(peer, error(probe["id"], -32601))
    [request] = sent(peer)
    assert request["method"] == "initialize"
    return peer, request


@pytest.mark.parametrize("step", ["probe", "handshake", "handshake after silence"])
def test_the_end_of_the_connection(step: str) -> None:
    peer, _ = probing() if step == "probe" else handshaking("silence" in step)
    peer.receive_eof(now=9.0, reason="exited")
    assert any(isinstance(event, ConnectionEnded) for event in drain(peer))
    assert peer.upset is Upset.ENDED


@pytest.mark.parametrize("silent", [False, True])
def test_a_refused_handshake(silent: bool) -> None:
    peer, request = handshaking(silent)
    events = feed(peer, error(request["id"], -32600, "initialize was already received"))
    assert any(isinstance(event, NegotiationFailed) for event in events)
    assert peer.upset is Upset.REFUSED
    peer.receive_eof(now=9.0, reason="closed by this side")  # what follows changes nothing
    drain(peer)
    assert peer.upset is Upset.REFUSED


def modern_answer(peer: Peer, request: Any) -> None:
    feed(peer, answer(request["id"], {"supportedVersions": MODERN_NAMES, "capabilities": {}}))


def other_version(peer: Peer, request: Any) -> None:
    feed(peer, answer(request["id"], {"supportedVersions": ["2099-01-01"], "capabilities": {}}))


def refused_version(peer: Peer, request: Any) -> None:
    feed(peer, error(request["id"], -32022, "no", {"supported": ["2099-01-01"]}))


def missing_capability(peer: Peer, request: Any) -> None:
    feed(peer, error(request["id"], -32021, "no"))


@pytest.mark.parametrize(
    "said", [modern_answer, other_version, refused_version, missing_capability]
)
def test_who_answers_the_probe_as_a_modern_server_is_not_upset(said: Any) -> None:
    peer, request = probing()
    said(peer, request)
    peer.receive_eof(now=1.0, reason="exited")
    drain(peer)
    assert peer.upset is None


def our_end(peer: Peer, request: Any) -> None:
    peer.close(now=1.0)


def unreadable(peer: Peer, request: Any) -> None:
    feed(peer, answer(request["id"], {"capabilities": {}}))


def unknown_version(peer: Peer, request: Any) -> None:
    server = {"name": "s", "version": "1"}
    result = {"protocolVersion": "1999-01-01", "capabilities": SERVER_ALL, "serverInfo": server}
    feed(peer, answer(request["id"], result))


def silence(peer: Peer, request: Any) -> None:
    peer.handle_timeout(1000.0)
    drain(peer)


@pytest.mark.parametrize("outcome", [our_end, unreadable, unknown_version, silence])
def test_other_ends_of_a_handshake_are_what_they_are(outcome: Any) -> None:
    peer, request = handshaking(False)
    outcome(peer, request)
    peer.receive_eof(now=1000.0, reason="closed")
    drain(peer)
    assert peer.upset is None


@pytest.mark.parametrize("last", ["refused", "ended"])
def test_a_handshake_that_came_first_was_not_spoiled(last: str) -> None:
    peer, first = probing(assumed=Negotiation.LEGACY)
    assert first["method"] == "initialize"
    feed(peer, error(first["id"], -32603))
    [probe] = sent(peer)
    assert probe["method"] == "server/discover"
    if last == "refused":
        feed(peer, error(probe["id"], -32601))
        [second] = sent(peer)
        feed(peer, error(second["id"], -32600))
    peer.receive_eof(now=1.0, reason="exited")
    drain(peer)
    assert peer.upset is None


def test_a_server_has_no_probe_to_be_upset_by() -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, initialize())
    peer.receive_eof(now=1.0, reason="closed")
    drain(peer)
    assert peer.upset is None
