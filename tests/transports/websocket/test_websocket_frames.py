"""Frames that are read and written at sight, against wsproto."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage
from wsproto.frame_protocol import FrameProtocol, Opcode

from mcpcore_transports.websocket.connection import Boundaries, text_head, whole_text

SIZES = [0, 1, 3, 4, 5, 125, 126, 127, 511, 512, 513, 1030, 65535]
LIMIT = 1 << 20


def text_frame(text: str, *, masked: bool, fin: bool = True) -> bytes:
    return bytes(FrameProtocol(masked, []).send_data(text, fin))


def by_wsproto(frame: bytes, *, masked: bool) -> list[str] | None:
    """The whole messages that wsproto finds; None if it refuses."""
    role = ConnectionType.SERVER if masked else ConnectionType.CLIENT
    connection = Connection(role, trailing_data=frame)
    events = list(connection.events())
    if not all(isinstance(event, TextMessage) for event in events):
        return None
    return [event.data for event in events if isinstance(event, TextMessage)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("letter", ["x", "\u00e9"])
def test_a_whole_text_is_what_wsproto_finds(size: int, masked: bool, letter: str) -> None:
    text = letter * (size // len(letter.encode()))
    frame = text_frame(text, masked=masked)
    found = whole_text(b"before" + frame + b"behind", 6, masked=masked, limit=LIMIT)
    assert found == (text.encode(), 6 + len(frame))
    assert by_wsproto(frame, masked=masked) == [text]


@pytest.mark.parametrize("size", [*SIZES, 65536, 200_000])
def test_a_whole_text_is_written_as_wsproto_writes_it(size: int) -> None:
    assert text_head(size) + b"x" * size == text_frame("x" * size, masked=False)


ODD = [
    (b"", "nothing there"),
    (b"\x81", "half a head"),
    (b"\x81\x7e\x01", "half a length"),
    (b"\x01\x01a", "the first of several frames"),
    (b"\x80\x01a", "the last of several"),
    (b"\x82\x01a", "binary"),
    (b"\x89\x01a", "a ping"),
    (b"\x88\x02\x03\xe8", "a close"),
    (b"\xc1\x01a", "compressed"),
    (b"\x91\x01a", "a reserved bit"),
    (b"\x81\x81\x00\x00\x00\x00a", "masked, by a server"),
    (b"\x81\x7e\x00\x01a", "a length that could be shorter"),
    (b"\x81\x0b" + b"x" * 11, "over the limit"),
]
"""Heads that are not taken at sight, whatever follows."""


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        *ODD,
        (b"\x81\x03ab", "half a text"),
        (b"\x81\x02\xff\xfe", "no UTF-8"),
        (b"\x81\x03\xed\xa0\x80", "half a surrogate"),
    ],
)
def test_what_is_not_simple_is_left_to_wsproto(frame: bytes, why: str) -> None:
    limit = 10 if why == "over the limit" else LIMIT
    assert whole_text(frame, 0, masked=False, limit=limit) is None


def test_a_text_without_mask_is_not_a_clients() -> None:
    assert whole_text(b"\x81\x01a", 0, masked=True, limit=LIMIT) is None


@pytest.mark.parametrize("size", range(6))
def test_a_text_without_bytes_has_a_mask_all_the_same(size: int) -> None:
    frame = b"\x81\x80\x01\x02\x03\x04"
    assert whole_text(frame[:size], 0, masked=True, limit=LIMIT) is None
    assert whole_text(frame, 0, masked=True, limit=LIMIT) == (b"", 6)


@given(frame=st.binary(max_size=200), masked=st.booleans(), first=st.booleans())
def test_whatever_is_taken_at_sight_wsproto_takes_as_well(
    frame: bytes, masked: bool, first: bool
) -> None:
    data = b"\x81" + frame if first else frame
    found = whole_text(data, 0, masked=masked, limit=LIMIT)
    if found is not None:
        text, end = found
        assert by_wsproto(data[:end], masked=masked) == [text.decode()]


@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION, Opcode.PING]),
            st.booleans(),
            st.sampled_from([0, 1, 125, 126, 300, 65535, 65536]),
        ),
        max_size=8,
    ),
    cuts=st.lists(st.integers(min_value=1, max_value=70_000), max_size=12),
    bytewise=st.booleans(),
)
def test_boundaries_are_found_however_the_stream_is_cut(
    frames: list[tuple[Opcode, bool, int]], cuts: list[int], bytewise: bool
) -> None:
    stream, ends = b"", []
    for opcode, masked, size in frames:
        size = min(size, 125) if opcode is Opcode.PING else size
        stream += bytes(FrameProtocol(masked, [])._serialize_frame(opcode, b"x" * size))
        ends.append(len(stream))
    pieces, rest = [], stream
    for cut in [1] * 20 + cuts if bytewise else cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces.append(rest)
    boundaries, found, before = Boundaries(), [], 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            at = boundaries.advance(piece, at)
            if boundaries.between:
                found.append(before + at)
        before += len(piece)
    assert found == ends
