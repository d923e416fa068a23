"""Messages that are handed over in memory make the same conversation as those that are bytes."""

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct, structs

from mcpcore import FrameKind, LocalProtocolError, MemoryPair, Negotiation, Peer, Transmit
from mcpcore.engine.events import MAIN, RequestReceived
from tests.transports.apps import Caller, ToolServer, make_client, make_server
from tests.transports.malformed import META, TABLE, Malformed, request

ERAS = [Negotiation.MODERN, Negotiation.LEGACY, Negotiation.AUTO]


def plain(value: Any) -> Any:
    """What an event says, comparable and readable."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Struct):
        return type(value).__name__, {k: plain(v) for k, v in structs.asdict(value).items()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return repr(value)


def frame_of(peer: Peer, text: bytes) -> Transmit:
    return Transmit(
        peer=peer._state, route=MAIN, data=(text,), size=len(text), kind=FrameKind.REQUEST
    )


Step = tuple[str, Any]
TEXTS = st.text(max_size=30)
VALUES = st.one_of(
    TEXTS, st.integers(), st.floats(), st.none(), st.lists(st.integers(), max_size=3)
)
STEPS = st.one_of(
    st.tuples(st.just("echo"), st.dictionaries(TEXTS, VALUES, max_size=3)),
    st.tuples(st.just("size"), st.integers(0, 3000)),
    st.tuples(st.just("large"), st.integers(1500, 2500)),
    st.tuples(st.just("deep"), st.integers(1, 200)),
    st.tuples(st.sampled_from(["hold", "cancel", "release", "wait", "pump"]), st.none()),
    st.tuples(st.just("frame"), st.sampled_from([row.data for row in TABLE])),
    st.tuples(st.just("frame"), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("answer"), st.binary(min_size=1, max_size=40)),
)


def converse(steps: list[Step], negotiation: Negotiation, *, wire: bool) -> list[Any]:
    """What both sides see, and what is refused to them, when they do these steps."""
    client = Caller(make_client(negotiation, message_size=2000, depth=64))
    server = ToolServer(make_server(message_size=2000, depth=64))
    pair = MemoryPair(client.peer, client, server.peer, server, wire=wire)
    client.peer.start(now=0.0)
    now, refused, last = 0.0, [], None
    for what, value in steps:
        arguments: Any = {}
        if what == "echo":
            arguments = value
        elif what == "size":
            arguments = {"size": value}
        elif what == "large":
            arguments = {"text": "x" * value}
        elif what == "deep":
            for _ in range(value):
                arguments = {"a": arguments}
        if what in ("echo", "size", "large", "deep", "hold"):
            body = {"name": "hold" if what == "hold" else "echo", "arguments": arguments}
            try:
                last = client.peer.request("tools/call", body, now=now, timeout=5.0)
            except (ValueError, TypeError, LocalProtocolError) as error:
                refused.append(str(error))
        elif what == "cancel" and last is not None:
            client.peer.cancel(last, now=now)
        elif what == "release":
            for key in server.held:
                server.answer(key, "late")
            server.held.clear()
        elif what == "wait":
            now += 3.0
            pair.handle_timeout(now)
        elif what in ("frame", "answer"):
            side = client.peer if what == "frame" else server.peer
            if not value.isspace() and b"\n" not in value and b"\r" not in value:
                side._endpoint.outbox.push(frame_of(side, value))
        elif what == "pump":
            pair.pump(now)
    pair.pump(now)
    pair.close(now)
    return [refused, *map(plain, client.events), "server", *map(plain, server.events)]


@pytest.mark.parametrize("negotiation", ERAS)
@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=60)
def test_both_modes_are_the_same_conversation(steps: list[Step], negotiation: Negotiation) -> None:
    seen = [converse(steps, negotiation, wire=wire) for wire in (False, True)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_is_malformed_is_answered_alike(row: Malformed) -> None:
    steps: list[Step] = [("frame", row.data), ("echo", {})]
    seen = [converse(steps, Negotiation.LEGACY, wire=wire) for wire in (False, True)]
    assert seen[0] == seen[1]


def test_a_message_is_handed_over_and_not_copied() -> None:
    text = request("tools/call", {"name": "hold", "_meta": META, "more": "x" * 1000}, id=1)
    for wire in (False, True):
        client, server = Caller(make_client()), ToolServer(make_server())
        pair = MemoryPair(client.peer, client, server.peer, server, wire=wire)
        before = sys.getrefcount(text)
        client.peer._endpoint.outbox.push(frame_of(client.peer, text))
        pair.pump(0.0)
        [event] = server.of(RequestReceived)
        assert len(event.params) > 1000
        assert (sys.getrefcount(text) > before) is not wire  # the event's params are a view of it
