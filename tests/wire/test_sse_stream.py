import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.wire.sse import (
    ServerSentEvent,
    SseDecoder,
    encode_comment,
    encode_event,
    encode_events,
)
from tests.wire.sse_plainly import Outcome, oracle


def event(payload: bytes, name: str = "message", **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(payload, name, **fields)


def decode(pieces: list[bytes], limit: int = 1000) -> Outcome:
    decoder = SseDecoder(limit)
    events = [event for piece in pieces for event in decoder.receive(piece)]
    return events, decoder.last_event_id, decoder.retry


CASES: list[tuple[str, bytes, Outcome]] = [
    ("nothing", b"", ([], "", None)),
    ("one event", b"data: hi\n\n", ([event(b"hi")], "", None)),
    ("no blank line, no event", b"data: hi\n", ([], "", None)),
    ("no line ending", b"data: hi", ([], "", None)),
    ("CR", b"data: hi\r\r", ([event(b"hi")], "", None)),
    ("CRLF", b"data: hi\r\n\r\n", ([event(b"hi")], "", None)),
    ("mixed", b"data: a\r\ndata: b\rdata: c\n\r\n", ([event(b"a\nb\nc")], "", None)),
    ("CR then LF is one ending", b"data: a\r\ndata: b\n\n", ([event(b"a\nb")], "", None)),
    ("CRLF then LF are two", b"data: a\r\n\ndata: b\n\n", ([event(b"a"), event(b"b")], "", None)),
    ("LF then CR are two", b"data: a\n\rdata: b\n\n", ([event(b"a"), event(b"b")], "", None)),
    ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", ([event(b"a")], "", None)),
    ("mark on the second line", b"data: a\n\xef\xbb\xbfdata: b\n\n", ([event(b"a")], "", None)),
    ("two marks", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", ([], "", None)),
    ("no space", b"data:a\n\n", ([event(b"a")], "", None)),
    ("two spaces", b"data:  a\n\n", ([event(b" a")], "", None)),
    ("tab is no space", b"data:\ta\n\n", ([event(b"\ta")], "", None)),
    ("colon in the value", b"data: a: b\n\n", ([event(b"a: b")], "", None)),
    ("empty data", b"data:\n\n", ([event(b"")], "", None)),
    ("field without colon", b"data\n\n", ([event(b"")], "", None)),
    ("two empty lines of data", b"data\ndata\n\n", ([event(b"\n")], "", None)),
    ("case matters", b"Data: a\nDATA: b\n\n", ([], "", None)),
    ("space before the colon", b"data : a\n\n", ([], "", None)),
    ("unknown field", b"foo: bar\ndata: a\nx\n\n", ([event(b"a")], "", None)),
    ("comments", b": hello\n:\ndata: a\n: inside\n\n:bye\n\n", ([event(b"a")], "", None)),
    ("named", b"event: endpoint\ndata: /m\n\n", ([event(b"/m", "endpoint")], "", None)),
    ("name without data", b"event: x\n\ndata: a\n\n", ([event(b"a")], "", None)),
    ("empty name", b"event:\ndata: a\n\n", ([event(b"a")], "", None)),
    ("last name counts", b"event: x\nevent: y\ndata: a\n\n", ([event(b"a", "y")], "", None)),
    ("id", b"id: 7\ndata: a\n\n", ([event(b"a", id="7")], "7", None)),
    ("id lasts", b"id: 7\ndata: a\n\ndata: b\n\n", ([event(b"a", id="7"), event(b"b")], "7", None)),
    ("id without data", b"id: 7\n\n", ([], "7", None)),
    ("id before the blank line", b"id: 7\n", ([], "", None)),
    ("priming", b"id: 7\ndata:\n\n", ([event(b"", id="7")], "7", None)),
    ("id taken back", b"id: 7\n\nid\n\n", ([], "", None)),
    ("id with NUL", b"id: 7\n\nid: 8\0\ndata: a\n\n", ([event(b"a")], "7", None)),
    ("id beyond ASCII", "id: é\n\n".encode(), ([], "é", None)),
    ("retry", b"retry: 1500\n\n", ([], "", 1500)),
    ("retry at once", b"retry: 1500\n", ([], "", 1500)),
    ("retry with data", b"retry: 5\ndata: a\n\n", ([event(b"a", retry=5)], "", 5)),
    ("retry zero", b"retry: 0\n\n", ([], "", 0)),
    ("retry with sign", b"retry: +5\nretry: -5\n\n", ([], "", None)),
    ("retry with fraction", b"retry: 1.5\n\n", ([], "", None)),
    ("retry empty", b"retry:\n\n", ([], "", None)),
    ("retry with a space", b"retry: 5 \n\n", ([], "", None)),
    ("retry in other digits", "retry: ٣\n\n".encode(), ([], "", None)),
    ("retry as long as may be", b"retry: %b\n\n" % (b"9" * 15), ([], "", 10**15 - 1)),
    ("retry longer than that", b"retry: %b\n\n" % (b"9" * 16), ([], "", None)),
    ("retry of a lifetime", b"retry: %b\n\n" % (b"9" * 5000), ([], "", None)),
    ("JSON", b'data: {"a":\ndata: 1}\n\n', ([event(b'{"a":\n1}')], "", None)),
    ("bad UTF-8 stays", b"data: \xff\n\n", ([event(b"\xff")], "", None)),
    ("bad UTF-8 in an id", b"id: \xff\n\n", ([], "\ufffd", None)),
    ("bad UTF-8 in a name", b"event: \xff\ndata: a\n\n", ([event(b"a", "\ufffd")], "", None)),
    ("blank lines", b"\n\n\r\n\rdata: a\n\n\n", ([event(b"a")], "", None)),
]


@pytest.mark.parametrize(("stream", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_streams(stream: bytes, expected: Outcome) -> None:
    assert oracle(stream) == expected
    assert decode([stream], 6000) == expected
    assert decode([bytes([byte]) for byte in stream], 6000) == expected
    for cut in range(min(len(stream), 100)):
        assert decode([stream[:cut], b"", stream[cut:]], 6000) == expected


streams = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"data", b"event", b"id", b"retry", b":", b": ", b" ",
         b"a", b"12", b"\0", b"\xef\xbb\xbf", "é".encode(), b"\xff", b"data: x\n\n", b"id: 3\n"]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


@given(streams, st.data())
def test_any_split_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = oracle(stream)
    assert decode([stream]) == expected
    assert decode(pieces) == expected
    assert decode([bytes([byte]) for byte in stream]) == expected


def test_data_as_text() -> None:
    assert event("é".encode()).data == "é"
    assert event(b"a\xff").data == "a\ufffd"


def test_buffers_that_may_change_are_copied() -> None:
    decoder = SseDecoder()
    buffer = bytearray(b"data: a")
    assert decoder.receive(buffer) == []
    buffer[:] = b"xxxxxxx"
    assert decoder.receive(memoryview(b"\n\n")) == [event(b"a")]


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 2048, 5000])
def test_any_number_of_lines(count: int) -> None:
    lines = [b"%d" % number for number in range(count)]
    stream = b"".join(b"data: %b\n" % line for line in lines) + b"\ndata: next\n\n"
    first, second = SseDecoder().receive(stream)
    assert first.payload == b"\n".join(lines)
    assert second.payload == b"next"


def test_many_short_lines_do_not_take_many_times_their_size() -> None:
    decoder = SseDecoder(8 * 1024 * 1024)
    piece = b"data: xyz\n" * 1000
    tracemalloc.start()
    try:
        for _ in range(200):
            decoder.receive(piece)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 200 * len(piece)
    (event,) = decoder.receive(b"\n")
    assert len(event.payload) == 200_000 * 4 - 1


def test_a_large_event_in_small_pieces() -> None:
    payload = bytes(range(32, 127)) * 40_000
    stream = encode_event(payload)
    decoder = SseDecoder()
    events = []
    for start in range(0, len(stream), 100):
        events += decoder.receive(stream[start : start + 100])
    assert events == [event(payload)]


# The limit


@pytest.mark.parametrize(
    "stream",
    [
        b"data: %b" % (b"x" * 100),
        b"data: %b\n\n" % (b"x" * 100),
        b"data: 34567890\n" * 8,
        b"data\n" * 20,
        b"event: %b\n" % (b"x" * 100),
        b"id: %b" % (b"x" * 100),
        b": %b" % (b"x" * 100),
        b"x" * 100,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_too_large(stream: bytes, size: int) -> None:
    decoder = SseDecoder(64)
    assert decoder.receive(b"data: a\n\n") == [event(b"a")]
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [event for piece in pieces for event in decoder.receive(piece)] == []
    assert decoder.broken == "a server-sent event is larger than 64 bytes"
    assert decoder.receive(b"\n\ndata: a\n\n") == []


def test_too_large_loses_nothing_before_it() -> None:
    decoder = SseDecoder(64)
    events = decoder.receive(b"id: 1\ndata: a\n\nid: 2\ndata: %b\n\n" % (b"x" * 100))
    assert events == [event(b"a", id="1")]
    assert decoder.broken is not None
    assert decoder.last_event_id == "1"


def test_the_limit_is_of_one_event() -> None:
    decoder = SseDecoder(20)
    stream = b": 345678901234567890\n" * 5 + b"id: 34567890123456\ndata: 345678901234\n\n" * 3
    assert len(decoder.receive(stream)) == 3
    assert decoder.receive(b"data: 12345678901234") == []
    assert decoder.receive(b"\n\n") == [event(b"12345678901234")]


# The encoder


@pytest.mark.parametrize(
    ("data", "fields", "expected"),
    [
        (b"{}", {}, b"event: message\ndata: {}\n\n"),
        (b"{\r}", {}, b"event: message\ndata: {\ndata: }\n\n"),
        (b"{\n}", {}, b"event: message\ndata: {\ndata: }\n\n"),
        (b"{\n}", {"id": "9"}, b"event: message\nid: 9\ndata: {\ndata: }\n\n"),
        (b"{}", {"event": None}, b"data: {}\n\n"),
        (b"/m", {"event": "endpoint"}, b"event: endpoint\ndata: /m\n\n"),
        (b"", {"event": None, "id": "9", "retry": 500}, b"id: 9\nretry: 500\ndata: \n\n"),
        (b"a\nb\r\nc\rd", {"event": None}, b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (b"a\n", {"event": None, "retry": 0}, b"retry: 0\ndata: a\ndata: \n\n"),
    ],
)
def test_encode_event(data: bytes, fields: dict[str, Any], expected: bytes) -> None:
    assert encode_event(data, **fields) == expected


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\0", "a\n\ndata: forged"])
@pytest.mark.parametrize("field", ["id", "event"])
def test_fields_cannot_break_out(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must not contain"):
        encode_event(b"", **{field: text})  # type: ignore[arg-type]


@pytest.mark.parametrize("retry", [-1, 10**15])
def test_retry_has_bounds(retry: int) -> None:
    with pytest.raises(ValueError, match="retry"):
        encode_event(b"", retry=retry)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b":\n\n"),
        ("ping", b": ping\n\n"),
        ("a\nb\r\n\rc", b": a\n: b\n:\n: c\n\n"),
    ],
)
def test_encode_comment(text: str, expected: bytes) -> None:
    assert encode_comment(text) == expected
    assert decode([expected]) == ([], "", None)


field_text = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    st.binary(max_size=60),
    field_text,
    st.none() | field_text,
    st.none() | st.integers(0, 10**15 - 1),
    st.text(max_size=10),
)
def test_events_round_trip(
    data: bytes, name: str, id: str | None, retry: int | None, comment: str
) -> None:
    stream = encode_comment(comment) + encode_event(data, event=name, id=id, retry=retry)
    received = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert decode([stream]) == (
        [event(received, name or "message", id=id, retry=retry)],
        id or "",
        retry,
    )


lines = st.lists(st.sampled_from([b"", b"a", b"{}", b"\n", b"\r", b"data: "]), max_size=4)


@given(st.lists(lines.map(b"".join), min_size=1, max_size=5))
def test_events_in_one_go(texts: list[bytes]) -> None:
    assert encode_events(texts) == b"".join(map(encode_event, texts))
