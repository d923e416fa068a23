"""State tables, deadlines, the outbox."""

from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.engine import Peer
from mcpcore.engine.config import Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.lifecycle import (
    REQUEST,
    SESSION,
    STREAM,
    RequestSignal,
    RequestState,
    SessionSignal,
    SessionState,
    StreamSignal,
    StreamState,
    Table,
    step,
)
from mcpcore.engine.transmit import FrameKind, Outbox, Transmit
from mcpcore_transports.stream.connection import LIFE, READING, WRITING
from tests.engine.bench import server_config

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"


@pytest.mark.parametrize(
    ("table", "states", "signals", "final"),
    [
        (SESSION, SessionState, SessionSignal, SessionState.CLOSED),
        (REQUEST, RequestState, RequestSignal, RequestState.DONE),
        (STREAM, StreamState, StreamSignal, StreamState.ENDED),
    ],
)
def test_tables_are_whole(table, states, signals, final) -> None:  # type: ignore[no-untyped-def]
    """Every state but the last can be left and (but the first) reached, every signal matters."""
    assert {state for state, _ in table} == set(states) - {final}
    first = next(iter(table))[0]
    assert set(table.values()) | {first} == set(states)
    assert {signal for _, signal in table} == set(signals)
    assert all(step(table, final, signal) is None for signal in signals)


@pytest.mark.parametrize("table", [LIFE, READING, WRITING])
def test_tables_of_a_connection_are_whole(table: Table[Any, Any]) -> None:
    first, signal = next(iter(table))
    states: type[Enum] = type(first)
    signals: type[Enum] = type(signal)
    assert set(table.values()) | {first} == set(states)
    assert {signal for _, signal in table} == set(signals)


class Item:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.deadline: float | None = None


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.one_of(st.none(), st.integers(0, 30).map(float))),
        max_size=300,
    ),
    st.lists(st.integers(0, 31).map(float), max_size=5),
)
def test_deadlines_agree_with_a_plain_table(
    changes: list[tuple[int, float | None]], times: list[float]
) -> None:
    items = [Item() for _ in range(8)]
    plain: dict[int, float] = {}
    deadlines: Deadlines[Item] = Deadlines()
    for index, when in changes:
        deadlines.set(items[index], when)
        plain.pop(index, None)
        if when is not None:
            plain[index] = when
        assert deadlines.next() == min(plain.values(), default=None)
    for now in sorted(times):
        due = deadlines.due(now)
        assert {items.index(item) for item in due} == {i for i, t in plain.items() if t <= now}
        plain = {i: t for i, t in plain.items() if t > now}
        assert deadlines.next() == min(plain.values(), default=None)


def test_dead_deadlines_do_not_pile_up() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    item = Item()
    for turn in range(10_000):
        deadlines.set(item, float(10_000 - turn))
        deadlines.set(item, None)
    assert len(deadlines._heap) < 200
    assert deadlines.next() is None


def frame(size: int) -> Transmit:
    """A frame of so many bytes."""
    return Transmit(
        peer=Peer(Role.SERVER, server_config())._state,
        route=0,
        data=(b"x" * size,),
        size=size,
        kind=FrameKind.NOTIFICATION,
        method="m",
    )


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(1, 40))
def test_outbox_keeps_order_and_counts(sizes: list[int], limit: int) -> None:
    outbox = Outbox()
    frames = [frame(size) for size in sizes]
    for each in frames:
        outbox.push(each)
    assert (len(outbox.frames), outbox.size) == (len(sizes), sum(sizes))
    taken: list[Transmit] = []
    while some := outbox.take(limit):
        assert len(some) == 1 or sum(each.size for each in some) <= limit
        taken += some
        assert outbox.size == sum(sizes) - sum(each.size for each in taken)
    assert [id(each) for each in taken] == [id(each) for each in frames]


def test_the_outbox_gives_as_much_as_may_be() -> None:
    outbox = Outbox()
    for size in (2, 3, 4):
        outbox.push(frame(size))
    assert [each.size for each in outbox.take(5)] == [2, 3]
    assert [each.size for each in outbox.take(4)] == [4]


def test_a_frame_that_waits_gets_other_bytes() -> None:
    outbox = Outbox()
    first, joined = frame(5), frame(3)
    joined.key = 1
    for each in (first, joined):
        outbox.push(each)
    assert outbox.join(b"yy", 2, 1, None)
    assert outbox.replace(first, (b"ab", b"c")) == -2
    assert outbox.replace(joined, (b"d", b"ef", b"g")) == 2
    assert (first.line(), joined.data, joined.more) == (b"abc\n", (b"xxx",), [b"defg"])
    assert (first.size, joined.size, outbox.size) == (3, 7, 10)


def test_a_frame_may_reach_nobody_twice_unless_it_says_so() -> None:
    assert frame(1).repeatable is False


def test_frames_as_lines() -> None:
    assert frame(2).line() == b"xx\n"
    empty = frame(0)
    empty.data = ()
    assert empty.line() == b""


def test_a_deadline_that_does_not_move_takes_no_more_room() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    item, other = Item(), Item()
    deadlines.set(other, 5.0)
    for _ in range(1000):
        deadlines.set(item, 9.0)
    assert len(deadlines._heap) == 2
    for _ in range(1000):
        deadlines.set(item, None)
        deadlines.set(item, 3.0)
        deadlines.set(item, 9.0)
    assert len(deadlines._heap) < 300
    for _ in range(1000):
        deadlines.set(item, None)
        deadlines.set(item, 9.0)
    assert len(deadlines._heap) < 300
    assert [deadlines.due(when) for when in (3.0, 5.0, 9.0)] == [[], [other], [item]]
    assert deadlines.next() is None
