"""The states of a WebSocket connection and its keep-alive, without I/O."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from mcpcore import Role, WebSocketSettings
from mcpcore.spec import closes
from mcpcore_transports.websocket.connection import (
    WEBSOCKET,
    WebSocketConnection,
    WebSocketSignal,
    WebSocketState,
)
from mcpcore_transports.websocket.deflate import Bounds
from tests.transports.apps import make_client
from tests.websocket_table import codec

SETTINGS = WebSocketSettings(ping_interval=10.0, ping_timeout=5.0)
STATES, SIGNALS = WebSocketState, WebSocketSignal


def made(role: Role = Role.CLIENT, **given: Any) -> WebSocketConnection:
    settings = structs.replace(SETTINGS, **given)
    return WebSocketConnection(role, settings, Bounds(), limit=1000, now=0.0)


def sent(frame: codec.Frame) -> bytes:
    """A frame of a server."""
    return frame.encode(client=False)


def heard(connection: WebSocketConnection, data: bytes, now: float = 0.0) -> list[bytes]:
    return list(connection.messages(data, now))


def said(data: bytes) -> list[codec.Seen]:
    """What a client has said."""
    return codec.Reader(client=True).feed(data)


CLOSE, BAD, TEXT = sent(codec.close(1001, b"later")), b"\xff\xff", sent(codec.text(b"{}"))
Act = Callable[[WebSocketConnection], object]
ACTS: dict[WebSocketSignal, tuple[Act, Act]] = {
    SIGNALS.FAULT: (lambda it: heard(it, BAD), lambda it: it.await_close(BAD)),
    SIGNALS.CLOSE: (lambda it: heard(it, CLOSE), lambda it: it.await_close(CLOSE)),
    SIGNALS.GOODBYE: (lambda it: it.goodbye(it.close),) * 2,
}
"""What gives each signal while the connection is open, and afterwards."""


ENDS = [
    ((SIGNALS.FAULT,), STATES.REFUSED),
    ((SIGNALS.FAULT, SIGNALS.GOODBYE), STATES.FAILED),
    ((SIGNALS.CLOSE,), STATES.ANSWERING),
    ((SIGNALS.CLOSE, SIGNALS.GOODBYE), STATES.LINGERING),
    ((SIGNALS.GOODBYE,), STATES.CLOSING),
    ((SIGNALS.GOODBYE, SIGNALS.FAULT), STATES.LINGERING),
    ((SIGNALS.GOODBYE, SIGNALS.CLOSE), STATES.CLOSED),
]


@pytest.mark.parametrize(("path", "end"), ENDS)
def test_either_side_ends_it(path: tuple[WebSocketSignal, ...], end: WebSocketState) -> None:
    connection = made()
    for place, signal in enumerate(path):
        ACTS[signal][place > 0](connection)
    assert connection.state is end
    assert heard(connection, TEXT) == []


def test_the_table_has_no_other_way() -> None:
    assert len(WEBSOCKET) == len(ENDS)


def test_a_close_of_the_peer_is_answered_with_its_code() -> None:
    connection = made()
    assert heard(connection, TEXT + CLOSE + TEXT) == [b"{}"]
    assert (connection.close_code, connection.close_reason) == (1001, "later")
    [answer] = said(connection.goodbye(closes.FAILED))
    assert (answer.kind, answer.code) == ("close", 1001)


def test_a_refusal_closes_with_its_row_and_waits_for_nothing() -> None:
    connection = made()
    assert heard(connection, sent(codec.Frame(codec.BINARY, b"x")) + TEXT) == []
    assert connection.close == closes.NOT_TEXT
    [last] = said(connection.goodbye(connection.close))
    assert (last.code, connection.close_code) == (closes.NOT_TEXT.code,) * 2
    connection.await_close(CLOSE)
    assert connection.state is STATES.FAILED


def test_the_answer_may_be_there_before_our_close() -> None:
    connection = made()
    many = sent(codec.ping(b"")) * 200
    assert heard(connection, many + CLOSE) == []
    assert connection.unread
    assert [each.kind for each in said(connection.goodbye(closes.DONE))] == ["pong"] * 128 + [
        "close"
    ]
    assert connection.state is STATES.CLOSED


def test_pings_are_sent_and_their_answers_measured() -> None:
    took: list[float] = []
    connection = made()
    connection._on_latency = took.append
    assert connection.deadline == 10.0
    connection.handle_timeout(9.9, reading=True)
    assert connection.encode([], 9.9) == b""
    connection.handle_timeout(10.0, reading=True)
    [ping] = said(connection.encode([], 10.5))
    assert connection.deadline == 15.5  # from when it was written
    assert heard(connection, sent(codec.pong(b"another")), 11.0) == []
    assert took == []
    assert heard(connection, sent(codec.pong(ping.data)), 11.0) == []
    assert (took, connection.deadline) == ([0.5], 21.0)


def test_without_an_answer_the_peer_is_left_unless_we_did_not_read() -> None:
    connection = made()
    connection.handle_timeout(10.0, reading=True)
    connection.encode([], 10.0)
    connection.handle_timeout(15.0, reading=False)
    assert (connection.state, connection.deadline) == (STATES.OPEN, 20.0)
    connection.handle_timeout(20.0, reading=True)
    assert connection.state is STATES.REFUSED
    assert connection.close == closes.NO_PONG.filled(seconds="5")
    assert connection.deadline is None


def test_messages_are_frames_of_their_side() -> None:
    peer = make_client()
    peer.start(now=0.0)
    [frame] = said(made().encode(peer.data_to_send(), 0.0))
    assert frame.kind == "text"
    assert b"server/discover" in frame.data or b"initialize" in frame.data


def test_frames_count_towards_the_limit_of_their_own_message_alone() -> None:
    connection = made(fragments=3)
    for _ in range(5):  # whole, but cut within the head
        assert heard(connection, TEXT[:1]) + heard(connection, TEXT[1:]) == [b"{}"]
    assert heard(connection, b"\x01\x01{\x80\x01}") == [b"{}"]
    assert connection.state is STATES.OPEN
