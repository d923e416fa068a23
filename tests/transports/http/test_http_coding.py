"""Content codings: undone in pieces of any size, within bounds."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_transports.http1.body import BadCoding, Bomb, Inflater, decoder_for

MIB = 1024 * 1024
PACK = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": lambda data: zlib.compress(data, wbits=-15),
}


def inflater(coding: str, ratio: int = 100) -> Inflater:
    found = decoder_for([coding.removeprefix("raw ").encode()], ratio)
    assert found is not None
    return found


def undo(stream: Inflater, data: bytes, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    out = b"".join(piece for part in parts for piece in stream.feed(part))
    stream.end()
    return out


@given(data=st.binary(max_size=5000), size=st.integers(1, 6000), coding=st.sampled_from(list(PACK)))
def test_what_was_packed_comes_back(data: bytes, size: int, coding: str) -> None:
    assert undo(inflater(coding), PACK[coding](data), size) == data


@pytest.mark.parametrize("size", [1000, 10**9])
def test_large_bodies_come_in_pieces(size: int) -> None:
    data = bytes(range(256)) * 20_000
    stream = inflater("gzip", ratio=10_000)
    packed = gzip.compress(data)
    pieces = [
        piece for at in range(0, len(packed), size) for piece in stream.feed(packed[at : at + size])
    ]
    stream.end()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 256 * 1024


@pytest.mark.parametrize("coding", PACK)
def test_output_that_waits_behind_the_last_input_comes_too(coding: str) -> None:
    data = bytes(256 * 1024 + 100)  # a repetition goes on beyond the end of a piece
    assert undo(inflater(coding, ratio=10_000), PACK[coding](data), 10**9) == data


@given(data=st.binary(min_size=1, max_size=300), coding=st.sampled_from(list(PACK)))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes, coding: str) -> None:
    stream = inflater(coding)
    try:
        undo(stream, data, 100)
    except BadCoding:
        return
    packed = {gzip.decompress, zlib.decompress}
    assert any(_opens(undo_it, data) for undo_it in packed) or _raw(data)


def _opens(undo_it: object, data: bytes) -> bool:
    try:
        undo_it(data)  # type: ignore[operator]
    except Exception:
        return False
    return True


def _raw(data: bytes) -> bool:
    return _opens(lambda packed: zlib.decompress(packed, wbits=-15), data)


@pytest.mark.parametrize("coding", list(PACK))
def test_what_is_cut_short_is_said(coding: str) -> None:
    packed = PACK[coding](b"hello" * 100)
    for size in range(1, len(packed)):
        with pytest.raises(BadCoding, match="cut short"):
            undo(inflater(coding), packed[:size], 7)


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize("size", [5, 1000])
def test_nothing_may_follow(coding: str, size: int) -> None:
    found = bytearray()
    data = PACK[coding](b"hello") + b"more"
    stream = inflater(coding)

    def unfold() -> None:
        for start in range(0, len(data), size):
            for piece in stream.feed(data[start : start + size]):
                found.extend(piece)

    with pytest.raises(BadCoding, match="goes on behind"):
        unfold()
    assert found == b"hello"


def test_an_empty_body_is_complete() -> None:
    assert undo(inflater("gzip"), b"", 1) == b""


@pytest.mark.parametrize("coding", list(PACK))
def test_a_bomb_is_found_while_it_is_small(coding: str) -> None:
    packed = PACK[coding](b" " * 64 * MIB)
    given: list[int] = []
    with pytest.raises(Bomb, match="100 times"):
        given.extend(map(len, inflater(coding).feed(packed)))
    assert sum(given) <= max(MIB, 100 * len(packed))


def test_the_first_mebibyte_is_free() -> None:
    packed = gzip.compress(b" " * (MIB - 1))
    assert len(packed) * 100 < MIB
    assert len(undo(inflater("gzip"), packed, 100)) == MIB - 1


@pytest.mark.parametrize(
    "codings", [[], [b""], [b"identity"], [b" Identity "], [b"identity, identity"], [b",", b""]]
)
def test_nothing_to_undo(codings: list[bytes]) -> None:
    assert decoder_for(codings, 100) is None


@pytest.mark.parametrize(
    ("codings", "words"),
    [
        ([b"br"], "'br', which is not taken"),
        ([b"zstd"], "'zstd'"),
        ([b"compress"], "'compress'"),
        ([b"gzip, gzip"], "more than once"),
        ([b"gzip", b"deflate"], "more than once"),
        ([b"br, gzip"], "more than once"),
        ([b"\xff" * 100], "content coding"),
    ],
)
def test_codings_that_are_not_taken(codings: list[bytes], words: str) -> None:
    with pytest.raises(BadCoding, match=words):
        decoder_for(codings, 100)


@pytest.mark.parametrize("coding", [b"GZIP", b" gzip\t", b"identity, gzip"])
def test_names_are_read_as_names(coding: bytes) -> None:
    stream = decoder_for([coding], 100)
    assert stream is not None
    assert undo(stream, gzip.compress(b"hello"), 3) == b"hello"
