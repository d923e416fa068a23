"""Streams are cut alike however they come, and nothing that is too long is held."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.trace.framing import EventFrame, Events, Gatherer, Held, Lines
from mcpcore.wire.sse import SseDecoder, encode_comment, encode_event


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 10**6), max_size=8)
STREAMS = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b'{"x":1}', b" ", b"\xff"])).map(b"".join)


@given(STREAMS, CUTS)
def test_lines_are_the_same_whatever_the_pieces(data: bytes, cuts: list[int]) -> None:
    lines = Lines(1000)
    found = [line for piece in pieces(data, cuts) for line in lines.receive(piece)]
    rest = lines.eof()
    found += [rest] if rest else []
    split = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    last = data.split(b"\n")[-1]
    wanted = [line for line in split[:-1] if line.strip()] + ([last] if last.strip() else [])
    assert found == [Held(line) for line in wanted]


@given(st.binary(max_size=50), st.integers(1, 20), CUTS)
def test_what_is_too_long_is_counted(data: bytes, limit: int, cuts: list[int]) -> None:
    gatherer = Gatherer(limit)
    for piece in pieces(data, cuts):
        gatherer.add(piece)
    held = gatherer.take()
    assert len(held.data) + held.dropped == len(data)
    assert len(held.data) <= limit
    assert data.startswith(held.data)
    assert not gatherer


@pytest.mark.parametrize(
    ("held", "word"),
    [
        (b'{"a":"b ', b"https:/"),
        (b"", b"secret"),
        (b"a\x0b", b"secret"),
        (b"ends with one ", b""),
        (b'"', b"x" * 4096),
        (b'"x', b"x" * 4096),
        (b"x" * 1_000_000, b"x" * 4096),
        (b"y " * 3000, b""),
    ],
)
def test_of_what_is_not_whole_the_last_word_goes(held: bytes, word: bytes) -> None:
    gatherer = Gatherer(len(held + word))
    gatherer.add(held + word + b"more")
    assert gatherer.take() == Held(held, len(word) + 4)


EVENTS = st.lists(
    st.builds(
        encode_event,
        st.sampled_from([b"", b"x", b"two\nlines", b'{"a":1}']),
        event=st.sampled_from([None, "message", "endpoint"]),
        id=st.sampled_from([None, "1", "two"]),
        retry=st.sampled_from([None, 5]),
    )
    | st.sampled_from([encode_comment("hello"), b"id: 9\n\n", b"retry: 7\n\n", b"\n", b"odd\n\n"])
).map(b"".join)


@given(EVENTS, CUTS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_those_that_a_client_sees(data: bytes, cuts: list[int], end: bytes) -> None:
    stream = data.replace(b"\n", end)
    events, decoder = Events(1000), SseDecoder()
    frames = [f for piece in pieces(stream, cuts) for f in events.receive(piece)]
    seen = decoder.receive(stream)
    told = [frame for frame in frames if frame.data is not None and not frame.comment]
    assert [(f.data, f.event or "message", f.id, f.retry) for f in told] == [
        (each.payload, each.event, each.id, each.retry) for each in seen
    ]
    assert events.eof() == []


def test_events_without_data_and_comments_are_told() -> None:
    events = Events(1000)
    assert events.receive(b"id: 1\nretry: 5\n\n: hi\n\nevent: ping\n\n") == [
        EventFrame(None, id="1", retry=5),
        EventFrame(b"hi", comment=True),
        EventFrame(None, event="ping"),
    ]


def test_an_event_that_is_not_complete_is_told_at_the_end() -> None:
    events = Events(1000)
    assert events.receive(b"data: half") == []
    assert events.eof() == [EventFrame(b"half")]


def test_a_long_event_is_cut_and_counted() -> None:
    events = Events(10)
    (frame,) = events.receive(b"data: " + b"x y " * 10 + b"\ndata: more\n\n")
    assert frame.data is not None
    assert len(frame.data) <= 10
    assert frame.dropped


def test_a_long_comment_is_cut_and_counted() -> None:
    assert Events(20).receive(b": one two " + b"x" * 40 + b"\n") == [
        EventFrame(b"one two ", 40, comment=True)
    ]


@pytest.mark.parametrize(
    ("said", "data", "dropped"),
    [
        (b"data: one two", b"one ", 10),
        (b"data: one\n", b"", 10),
        (b"event: mess", b"", 11),
        (b"", b"", 7),
    ],
)
def test_what_was_dropped_before_it_came_is_counted(said: bytes, data: bytes, dropped: int) -> None:
    events = Events(1000)
    assert events.receive(said) == []
    events.skip(7)
    assert events.eof() == [EventFrame(data, dropped)]


def test_names_and_ids_that_are_no_utf8_are_told() -> None:
    assert Events(1000).receive(b"event: \xff\nid: 1\xff\n\n") == [
        EventFrame(None, event="\ufffd", id="1\ufffd")
    ]


def test_a_line_end_in_two_pieces_is_one() -> None:
    data = b"id: 1\r\n\r\ndata: a\r\n\n\nid: 2\r\rdata: b\r\n\r\n"
    whole, single = Events(1000), Events(1000)
    by_byte = [frame for byte in data for frame in single.receive(bytes([byte]))]
    assert by_byte == whole.receive(data)
    assert [frame.id for frame in by_byte] == ["1", None, "2", None]
    pieces = Events(1000)
    assert pieces.receive(b"data: a\r") == []
    assert pieces.receive(b"\ndata: b\n\n") == [EventFrame(b"a\nb")]
