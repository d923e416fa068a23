"""The short way up the ladder: whoever takes it would have come to the same end by the rungs."""

import json
from itertools import product
from typing import Any

import pytest

from mcpcore.engine import Config, Mirror, Peer, Role
from mcpcore.engine.events import RequestReceived
from mcpcore.wire.message import decode
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    META,
    MODERN_NAMES,
    call,
    drain,
    feed,
    initialize,
    rows,
    server_config,
    tell,
)

VERSION, CAPABILITIES = META
MODERN = MODERN_NAMES[-1]
METHODS = [
    "initialize",
    "ping",
    "tools/call",
    "resources/subscribe",
    "prompts/list",
    "logging/setLevel",
    "completion/complete",
    "server/discover",
    "subscriptions/listen",
    "notifications/cancelled",
    "roots/list",
    "nonsense",
]
METAS: list[dict[str, Any]] = [
    {},
    META,
    {VERSION: MODERN},
    {VERSION: LEGACY_NAMES[-1], CAPABILITIES: {}},
    {CAPABILITIES: {}},
]
MIRRORS = [
    None,
    Mirror(),
    Mirror(version=MODERN),
    Mirror(version=MODERN, method="tools/call", name="x"),
    Mirror(version=LEGACY_NAMES[-1], method="tools/call", name="x"),
]
HOW = ["alone", "in a batch", "at the end"]

CONFIGS = [
    server_config(),
    server_config({"tools": {}}),
    server_config(revisions=rows(*LEGACY_NAMES)),
    server_config(revisions=rows(*MODERN_NAMES)),
]


def serve(config: Config, opened: str | None, *, short: bool) -> Peer:
    """Make a server that works on the request 7 and, if it was opened, has a session."""
    peer = Peer(Role.SERVER, config)
    if not short:
        peer._state.profile.usual = {}
    if opened is not None:
        feed(peer, initialize(revision=opened, **CLIENT_ALL), tell("notifications/initialized"))
    feed(peer, call(7, "tools/call", {"name": "x"}, modern=opened is None))
    peer.data_to_send()
    return peer


def outcome(peer: Peer, message: Any, mirror: Mirror | None) -> list[str]:
    """Feed a message; all that it has led to, in words."""
    frame = decode(json.dumps(message).encode())
    peer.receive(frame, now=0.0, mirror=mirror)
    told = [
        repr((event.revision, event.client_info, event.client_capabilities, event.method))
        if isinstance(event, RequestReceived)
        else repr(event)
        for event in drain(peer)
    ]
    found = [repr((record.row, record.key)) for record in peer._state.in_flight_by_id.values()]
    return [*told, *found, repr(peer.lines_to_send())]


@pytest.mark.parametrize("method", METHODS)
def test_the_short_way_leads_where_the_rungs_lead(method: str) -> None:
    for config, opened, meta, mirror, id, how in product(
        CONFIGS, (None, *LEGACY_NAMES[1::2]), METAS, MIRRORS, (7, 8), HOW
    ):
        params = {"name": "x", "uri": "a:b", "level": "info", "_meta": meta}
        message: Any = call(id, method, params)
        results = []
        for short in (True, False):
            peer = serve(config, opened, short=short)
            if how == "at the end":
                peer.close(now=0.0)
            results.append(outcome(peer, [message] if how == "in a batch" else message, mirror))
        assert results[0] == results[1], (opened, message, mirror, how)


@pytest.mark.parametrize(
    ("opened", "meta", "mirror"),
    [(LEGACY_NAMES[-1], {}, None), (None, META, None), (None, META, MIRRORS[3])],
)
def test_what_nearly_all_send_takes_the_short_way(
    opened: str | None, meta: dict[str, Any], mirror: Mirror | None
) -> None:
    """Told by what happens where the rungs would refuse everything."""
    peer = serve(server_config(), opened, short=True)
    peer._state.profile.theirs = tuple({} for _ in peer._state.profile.theirs)
    message = call(8, "tools/call", {"name": "x", "_meta": meta})
    peer.receive(decode(json.dumps(message).encode()), now=0.0, mirror=mirror)
    [event] = drain(peer)
    assert isinstance(event, RequestReceived)
    assert event.id == 8


@pytest.mark.parametrize("short", [True, False])
def test_a_modern_request_is_read_by_what_it_says_itself(*, short: bool) -> None:
    """Also where a handshake has said something else before."""
    peer = serve(server_config(), LEGACY_NAMES[-1], short=short)
    drain(peer)
    peer.receive(json.dumps(call(8, "tools/call", {"name": "x", "_meta": META})).encode(), now=0.0)
    peer.receive(json.dumps(call(9, "tools/call", {"name": "x"})).encode(), now=0.0)
    modern, legacy = drain(peer)
    assert isinstance(modern, RequestReceived)
    assert isinstance(legacy, RequestReceived)
    assert (modern.revision.name, legacy.revision.name) == (MODERN, LEGACY_NAMES[-1])
    assert modern.client_info is None
    assert legacy.client_info is not None
    assert legacy.client_info == peer._state.peer_info
    assert modern.client_capabilities != legacy.client_capabilities
    assert legacy.client_capabilities == peer._state.peer_capabilities
