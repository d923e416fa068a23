"""The reader of event streams: however a stream is cut, and whatever ends its lines."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_conformance.kit.bindings.event_stream import Event, Reader
from mcpcore_conformance.strategies import EventStream, chunks, event_streams
from mcpcore_conformance.strategies.streams import StreamEvent


def read(pieces: Iterable[bytes]) -> list[Event]:
    reader = Reader()
    return [event for piece in pieces for event in reader.feed(piece)]


def dispatched(found: list[Event]) -> tuple[list[StreamEvent], int | None]:
    """What a client makes of it: the events with data, and the last time to wait."""
    events: list[StreamEvent] = []
    last_id, retry = "", None
    for event in found:
        last_id = last_id if event.id is None else event.id
        retry = retry if event.retry is None else event.retry
        if event.data is not None and not event.comment:
            events.append(StreamEvent(event.data.decode(), event.name, last_id))
    return events, retry


@given(stream=event_streams(), data=st.data())
def test_a_stream_holds_its_events_however_it_is_cut(
    stream: EventStream, data: st.DataObject
) -> None:
    wanted = ([*stream.events], stream.retry)
    for pieces in (
        [stream.data],
        [stream.data[at : at + 1] for at in range(len(stream.data))],
        data.draw(chunks(stream.data)),
    ):
        assert dispatched(read(pieces)) == wanted


@pytest.mark.parametrize(
    "pieces",
    [
        [b"retry:0\rdata:0\r\r"],
        [b"retry:0\r", b"data:0\r", b"\r"],
        [b"retry:0\r", b"\ndata:0\r", b"\n\r"],
        [b"retry:0\r", b"\n", b"data:0\r", b"\n", b"\r"],
        [b"retry:0\r", b"", b"\ndata:0\r\n\n"],
    ],
)
def test_a_carriage_return_ends_its_line_at_once(pieces: list[bytes]) -> None:
    assert dispatched(read(pieces)) == ([StreamEvent("0")], 0)


def test_the_line_feed_behind_a_carriage_return_ends_no_line_of_its_own() -> None:
    # were it one, it would end the event between its two lines of data
    assert dispatched(read([b"data:a\r", b"\ndata:b\n\n"])) == ([StreamEvent("a\nb")], None)


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b": ping\n\nretry: 5\n\ndata: 1\n\nid:\n\n", b""),
        (b"data: 1\n\ndata: 2", b"data: 2"),
        (b"data: 1\n\n: ping\ndata: 2\n", b"data: 2\n"),
        (b"{}\n\ndata: 1\n\n", b"{}\n"),
        (b"{}\n" * 1000, b"{}\n" * 66 + b"{}"),
    ],
)
def test_what_is_no_event_is_kept_to_be_shown(data: bytes, left: bytes) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = Reader()
        for piece in pieces:
            reader.feed(piece)
        assert reader.left == left
