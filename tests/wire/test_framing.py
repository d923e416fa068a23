import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.wire.framing import LineReader, TooLong

Item = bytes | TooLong


def read(pieces: list[bytes], limit: int = 8, *, eager: bool = True) -> list[Item]:
    """All lines of a stream, taken after each piece or (not eager) at the end."""
    reader = LineReader(limit)
    items: list[Item] = []
    for piece in pieces:
        reader.receive(piece)
        if eager:
            items += reader.lines()
    items += reader.lines()
    last = reader.eof()
    return items if last is None else [*items, last]


def taken_in(pieces: list[bytes], limit: int = 8) -> list[Item]:
    """The same by `take_in`, which has a shorter way for pieces of whole lines."""
    reader = LineReader(limit)
    items = [item for piece in pieces for item in reader.take_in(piece)]
    last = reader.eof()
    return items if last is None else [*items, last]


def oracle(stream: bytes, limit: int) -> list[Item]:
    """What the reader shall find, said in the plainest way."""
    items: list[Item] = []
    parts = stream.split(b"\n")
    for part in parts:
        line = part.removesuffix(b"\r")
        if len(line) > limit:
            items.append(TooLong(limit, b""))
        elif line and not line.isspace():
            items.append(line)
    return items


def heads_hidden(items: list[Item]) -> list[Item]:
    """How much of a line has been seen when it passes the limit depends on the pieces."""
    return [TooLong(i.limit, b"") if isinstance(i, TooLong) else i for i in items]


def too_long(head: bytes, limit: int = 8) -> TooLong:
    return TooLong(limit, head)


@pytest.mark.parametrize(
    ("before", "lines"),
    [
        (b"a\n", [b"a", b"b"]),
        (b"a", [b"ab"]),
        (b"\n", [b"b"]),
        (b"123456789", [too_long(b"123456789"), b"c"]),
    ],
)
def test_whole_lines_come_behind_what_was_there(before: bytes, lines: list[Item]) -> None:
    """... and was not taken yet, or is the beginning of a line that is passed over."""
    reader = LineReader(8)
    reader.receive(before)
    found = [] if before.endswith(b"\n") else list(reader.lines())
    found += reader.take_in(b"b\n")
    found += reader.take_in(b"c\n")
    assert found == (lines if lines[-1] == b"c" else [*lines, b"c"])


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"", []),
        (b"a\n", [b"a"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\n\n\r\n \t\r\na\n\n", [b"a"]),
        (b" a \n", [b" a "]),
        (b"a", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r", [b"a"]),
        (b"\r", []),
        (b"12345678\n", [b"12345678"]),
        (b"12345678\r\n", [b"12345678"]),
        (b"12345678", [b"12345678"]),
        (b"12345678\r", [b"12345678"]),
        (b"123456789\na\n", [too_long(b"123456789"), b"a"]),
        (b"12345678\rx\na\n", [too_long(b"12345678\rx"), b"a"]),
        (b"123456789", [too_long(b"123456789")]),
        (b"a\n123456789\n\n", [b"a", too_long(b"123456789")]),
        (b"123456789\n123456789\n", [too_long(b"123456789")] * 2),
        (b"\0\xff\n", [b"\0\xff"]),
    ],
)
def test_lines(stream: bytes, lines: list[Item]) -> None:
    assert read([stream]) == taken_in([stream]) == lines
    for eager in (True, False):
        single = [bytes([byte]) for byte in stream]
        assert heads_hidden(read(single, eager=eager)) == heads_hidden(lines)
    for cut in range(len(stream) + 1):
        pieces = [stream[:cut], stream[cut:]]
        assert heads_hidden(read(pieces)) == heads_hidden(lines)
        assert heads_hidden(taken_in(pieces)) == heads_hidden(lines)


streams = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"a", b"bcd", b"1234567", b"\xff", b"x" * 30])
).map(b"".join)


@given(streams, st.integers(0, 12), st.data())
def test_any_split_gives_the_same_lines(stream: bytes, limit: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = oracle(stream, limit)
    assert heads_hidden(read([stream], limit)) == expected
    assert heads_hidden(read(pieces, limit)) == expected
    assert heads_hidden(read(pieces, limit, eager=False)) == expected
    assert heads_hidden(taken_in(pieces, limit)) == expected


def test_too_long_is_said_as_soon_as_it_is_known() -> None:
    reader = LineReader(4)
    reader.receive(b"1234\r")
    assert reader.next_line() is None  # the CR may belong to the line ending
    reader.receive(b"5")
    assert reader.next_line() == TooLong(4, b"1234\r5")
    reader.receive(b"6" * 100)
    assert reader.next_line() is None
    reader.receive(b"7\nok\n")
    assert list(reader.lines()) == [b"ok"]


def test_the_head_of_a_long_line_is_kept() -> None:
    reader = LineReader(3000)
    stream = bytes(range(32, 127)) * 50
    for start in range(0, len(stream), 700):
        reader.receive(stream[start : start + 700])
    assert list(reader.lines()) == [TooLong(3000, stream[:1024])]


def test_nothing_of_a_long_line_is_kept_after_its_marker() -> None:
    reader = LineReader(1000)
    piece = b"x" * 700
    held = sys.getrefcount(piece)
    for _ in range(100):
        reader.receive(piece)
        markers = list(reader.lines())
    assert markers == []
    assert sys.getrefcount(piece) == held


def test_the_default_limit_is_four_mebibytes() -> None:
    line = b"x" * (4 * 1024 * 1024)
    assert read([line, b"\n"], 4 * 1024 * 1024) == [line]
    reader = LineReader()
    reader.receive(line + b"\n" + line + b"x\n")
    assert list(reader.lines()) == [line, TooLong(len(line), line[:1024])]


@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_a_long_message_in_small_pieces(size: int) -> None:
    # A reader that looks at the whole line again for each piece would need hours for size 1.
    line = bytes(range(32, 127)) * (32 * 1024 * 1024 // 95 if size > 1 else 5000)
    reader = LineReader(64 * 1024 * 1024)
    for start in range(0, len(line), size):
        reader.receive(line[start : start + size])
        assert reader.next_line() is None
    reader.receive(b"\r\n")
    assert reader.next_line() == line


def test_buffers_that_may_change_are_copied() -> None:
    reader = LineReader()
    buffer = bytearray(b"abc\n")
    reader.receive(buffer)
    reader.receive(memoryview(b"def\n"))
    buffer[:] = b"xxxx"
    assert list(reader.lines()) == [b"abc", b"def"]


@pytest.mark.parametrize("given", ["a\n", [97, 10]])
def test_what_is_no_buffer_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=f"required, not '{type(given).__name__}'"):
        LineReader().take_in(given)


def test_the_end_does_not_overtake_lines() -> None:
    reader = LineReader()
    reader.receive(b"a\nb\nc")
    assert reader.eof() == b"a"
    assert list(reader.lines()) == [b"b", b"c"]


def test_the_end_inside_a_line_that_was_too_long() -> None:
    reader = LineReader(2)
    reader.receive(b"abc")
    assert list(reader.lines()) == [TooLong(2, b"abc")]
    reader.receive(b"def")
    assert reader.eof() is None
    assert reader.next_line() is None
