"""What the load generator makes of event streams: all events, in order, wherever they are cut."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.asks import WrongReply
from benchmarks.load.events import told
from benchmarks.load.resume import joined

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
    told(ours, 20)
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
        told(ours, 3)


def test_a_stream_that_breaks_off_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(HEAD + chunked(step(1), 50)[:-5])
    theirs.close()
    with pytest.raises(WrongReply, match="broke off"):
        told(ours, 1)


@given(st.integers(1, 200))
def test_chunks_may_cut_an_event_anywhere(size: int) -> None:
    data = b"".join(map(step, range(1, 6))) + RESULT
    assert joined(HEAD + chunked(data, size)) == data
