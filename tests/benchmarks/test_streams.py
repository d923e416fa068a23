"""What the load generator makes of event streams: all events, in order, wherever they are cut."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.load.asks import WrongReply
from mcpcore_bench.load.events import Telling
from mcpcore_bench.load.resume import joined, left_at, verify

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
RESULT = b'data: {"jsonrpc":"2.0","id":1000001,"result":{}}\n\n'


def step(number: int) -> bytes:
    return b'data: {"method":"notifications/progress","params":{"progress":%d}}\n\n' % number


def chunked(data: bytes, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_a_whole_stream_is_taken(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    ours, theirs = pair
    theirs.sendall(HEAD + chunked(b"".join(map(step, range(1, 21))) + RESULT, size))
    theirs.close()
    Telling(ours, 20).wait()
    assert ours.recv(1) == b""


@pytest.mark.parametrize(
    ("steps", "end", "what"),
    [
        ([1, 3], RESULT, "2 of 3 events"),
        ([1, 3, 2], RESULT, "3 of 3 events"),
        ([1, 2, 2, 3], RESULT, "4 of 3 events"),
        ([1, 2, 3], b"", "without the result"),
    ],
)
def test_an_event_that_is_missing_doubled_or_late_is_seen(
    pair: tuple[socket.socket, socket.socket], steps: list[int], end: bytes, what: str
) -> None:
    ours, theirs = pair
    theirs.sendall(HEAD + chunked(b"".join(map(step, steps)) + end, 50))
    with pytest.raises(WrongReply, match=what):
        Telling(ours, 3).wait()


def test_a_stream_that_is_not_the_one_before_is_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    telling = Telling(ours, 3)
    whole = HEAD + chunked(b"".join(map(step, (1, 2, 3))) + RESULT, 50)
    for data, read in ((whole, 1), (whole, 1), (whole.replace(b"200 OK", b"200 Ok"), 1)):
        theirs.sendall(data)
        telling.wait()
        assert telling.read == read
    theirs.sendall(HEAD + chunked(b"".join(map(step, (1, 2, 2))) + RESULT, 50))
    with pytest.raises(WrongReply, match="3 of 3 events"):
        telling.wait()
    theirs.sendall(whole[: -len(RESULT)])
    theirs.close()
    with pytest.raises(WrongReply, match="ended after"):
        telling.wait()


def test_a_stream_that_breaks_off_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(HEAD + chunked(step(1), 50)[:-5])
    theirs.close()
    with pytest.raises(WrongReply, match="ended after"):
        Telling(ours, 1).wait()


@given(st.integers(1, 200))
def test_chunks_may_cut_an_event_anywhere(size: int) -> None:
    data = b"".join(map(step, range(1, 6))) + RESULT
    assert joined(HEAD + chunked(data, size)) == data


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([b"id: a1\ndata: ", step(1).strip()], (b"a1", 1)),
        ([b"id: a1\n" + step(1).strip(), b"id: a2\n" + step(2).strip()], (b"a1", 2)),
        ([step(1).strip(), b"event: x\nid:a2\n" + step(2).strip(), step(3).strip()], (b"a2", 3)),
        ([step(1).strip()], None),
        ([], None),
    ],
)
def test_a_stream_is_left_behind_its_first_event_with_an_id(
    events: list[bytes], left: tuple[bytes, int] | None, end: bytes
) -> None:
    data = b"".join(event + b"\n\n" for event in events).replace(b"\n", end)
    assert left_at(data) == left
    whole = HEAD + chunked(data, 30)
    seen = [left_at(joined(whole[:size])) for size in range(len(whole) + 1)]
    assert seen[-1] == left
    assert set(seen) <= {None, left}, "what is not whole yet says nothing"


@pytest.mark.parametrize(
    "steps", [[], [2, 3, 4, 5], [4, 5], [3, 4], [3, 3, 4, 5], [3, 5, 4], [1, 2, 3, 4, 5]]
)
def test_a_replay_goes_on_where_the_stream_was_left(steps: list[int]) -> None:
    verify([3, 4, 5], 3, 5)
    with pytest.raises(WrongReply, match="not 3 to 5"):
        verify(steps, 3, 5)
