"""Bodies: every framing, whole, split anywhere, and followed by something else."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_transports.http1.body import BadBody, ChunkedBody, IncomingBody, LengthBody, StreamBody

NEXT = b"POST / HTTP/1.1\r\n"


def feed(body: IncomingBody, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """The content, and what is left in the buffer."""
    buffer = bytearray()
    content = b""
    for piece in pieces:
        buffer += piece
        if not body.done:
            content += body.take(buffer)
    return content, bytes(buffer)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def chunked(contents: list[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = [b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data in contents if data]
    return b"".join((*chunks, b"0\r\n", trailers, b"\r\n"))


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 10**6), max_size=8))
def test_chunks_split_anywhere(contents: list[bytes], cuts: list[int]) -> None:
    body = ChunkedBody()
    got, left = feed(body, split(chunked(contents) + NEXT, cuts))
    assert (got, left, body.done) == (b"".join(contents), NEXT, True)


@given(st.binary(max_size=100), st.lists(st.integers(0, 10**6), max_size=8))
def test_length_split_anywhere(content: bytes, cuts: list[int]) -> None:
    body = LengthBody(len(content))
    got, left = feed(body, split(content + NEXT, cuts))
    assert (got, left, body.done) == (content, NEXT, True)


@given(
    st.binary(max_size=100),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_what_is_fed_is_taken_as_if_it_had_been_in_the_buffer(
    content: bytes, cuts: list[int], in_chunks: bool, viewed: bool
) -> None:
    """Whatever is there when the body begins, and whichever kind of bytes comes."""
    wire = chunked([content[:30], content[30:]]) if in_chunks else content
    body = ChunkedBody() if in_chunks else LengthBody(len(content))
    first, *others = split(wire + NEXT, cuts)
    buffer = bytearray(first)
    parts = [body.take(buffer)]
    for piece in others:
        if body.done:
            buffer += piece
        else:
            reused = bytearray(piece)
            parts.append(bytes(body.feed(buffer, memoryview(reused) if viewed else piece)))
            reused[:] = bytes(len(reused))  # where it was read to is read to again
    assert (b"".join(parts), bytes(buffer), body.done) == (content, NEXT, True)


def test_chunks_byte_by_byte() -> None:
    data = chunked([b"abc", b"d" * 300], extension=b' ; a="b"', trailers=b"X-Sum: 1\r\nY:\r\n")
    body = ChunkedBody()
    assert feed(body, [bytes([byte]) for byte in data]) == (b"abc" + b"d" * 300, b"")
    assert body.done


def test_upper_case_sizes_and_leading_zeros() -> None:
    assert feed(ChunkedBody(), [b"00A\r\n" + b"x" * 10 + b"\r\n000\r\n\r\n"]) == (b"x" * 10, b"")


def test_body_of_length_zero_is_done_at_once() -> None:
    assert LengthBody(0).done


def test_stream_ends_with_the_stream() -> None:
    body = StreamBody()
    assert feed(body, [b"ab", b"c"]) == (b"abc", b"")
    assert not body.done
    assert body.end()


@pytest.mark.parametrize("body", [LengthBody(5), ChunkedBody()])
def test_other_bodies_must_not_end_with_the_stream(body: IncomingBody) -> None:
    feed(body, [b"5\r\na"])
    assert not body.end()


def test_the_end_of_a_complete_body_is_a_proper_end() -> None:
    for body, data in ((LengthBody(2), b"ab"), (ChunkedBody(), b"0\r\n\r\n")):
        feed(body, [data])
        assert body.end()


BAD_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\nabc",
    "not a number": b"xyz\r\n",
    "a sign": b"+1\r\na\r\n",
    "a negative size": b"-1\r\na\r\n",
    "a prefix": b"0x1\r\na\r\n",
    "an underscore": b"1_0\r\n",
    "white space in front": b" 1\r\na\r\n",
    "white space behind": b"1 \r\na\r\n",
    "a huge size": b"ffffffffffffffff\r\n",
    "LF after the size": b"1\na\r\n",
    "LF in an extension": b"1;a\nb\r\na\r\n",
    "CR in an extension": b"1;a\rb\r\na\r\n",
    "a long extension": b"1;" + b"a" * 300,
    "a long complete extension": b"1;" + b"a" * 300 + b"\r\n",
    "a chunk that is too long": b"1\r\nab\r\n",
    "a chunk that is far too long": b"1\r\n" + b"a" * 300,
    "LF after a chunk": b"1\r\na\n",
    "a trailer without a colon": b"0\r\nabc\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "LF after the last chunk": b"0\n\n",
    "LF in the trailers": b"0\r\nA: b\n\r\n",
    "a CR in a trailer": b"0\r\nA: b\rc\r\n\r\n",
    "endless trailers": b"0\r\n" + b"A: b\r\n" * 2000,
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
@pytest.mark.parametrize("bytewise", [False, True])
def test_bad_chunks_are_refused(name: str, bytewise: bool) -> None:
    data = BAD_CHUNKS[name]
    pieces = [bytes([byte]) for byte in data] if bytewise else [data]
    with pytest.raises(BadBody):
        feed(ChunkedBody(), pieces)


def test_trailers_are_refused_where_they_are_not_wanted() -> None:
    assert feed(ChunkedBody(trailers=False), [chunked([b"a"]) + NEXT]) == (b"a", NEXT)
    with pytest.raises(BadBody) as raised:
        feed(ChunkedBody(trailers=False), [chunked([b"a"], trailers=b"X: 1\r\n")])
    assert raised.value.row.status == 431


def test_size_lines_must_be_worth_it() -> None:
    """Neither small chunks nor short extensions are an offence; many of both together are."""
    small = chunked([b"a"] * 10_000)
    assert feed(ChunkedBody(), [small]) == (b"a" * 10_000, b"")
    padded = b"00000001;" + b"x" * 200 + b"\r\na\r\n"
    assert feed(ChunkedBody(), [padded * 50 + b"0\r\n\r\n"]) == (b"a" * 50, b"")
    with pytest.raises(BadBody):
        feed(ChunkedBody(), [padded * 100 + b"0\r\n\r\n"])


def test_a_chunk_announces_what_is_to_come() -> None:
    body = ChunkedBody()
    feed(body, [b"5\r\nab"])
    assert body.announced == 3
    feed(body, [b"cde\r\n"])
    assert body.announced == 0


def test_what_came_before_a_refusal_counts() -> None:
    with pytest.raises(BadBody) as raised:
        feed(ChunkedBody(), [b"1\r\na\r\n", b"2\r\nbc\r\n3\r\ndef\r\nno\r\n"])
    assert raised.value.content == b"bcdef"


@given(
    line=st.sampled_from([b"1;", b"0\r\nA: "]),
    length=st.integers(250, 260),
    end=st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\r\n", b"\rx\n"]),
    cuts=st.lists(st.integers(0, 300), max_size=3),
)
def test_what_is_wrong_is_the_same_in_any_split(
    line: bytes, length: int, end: bytes, cuts: list[int]
) -> None:
    data = line + b"x" * (length - len(line.rpartition(b"\n")[2])) + end + b"a\r\n0\r\n\r\n"

    def outcome(pieces: list[bytes]) -> tuple[bytes, bytes] | str:
        try:
            return feed(ChunkedBody(), pieces)
        except BadBody as error:
            return str(error)

    assert outcome(split(data, cuts)) == outcome([data])
    assert outcome([bytes([byte]) for byte in data]) == outcome([data])


@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    body = ChunkedBody()
    try:
        content, left = feed(body, [data])
    except BadBody:
        return
    assert len(content) + len(left) <= len(data)
