"""The table's own means: what its reader refuses, and what its grades say."""

import zlib

import pytest

from tests.websocket_table.codec import Frame, Packer, Reader, Seen, Wrong, close, more, ping, text
from tests.websocket_table.rows import (
    FAILED,
    NON_STRICT,
    OK,
    PROBE,
    Course,
    Row,
    Then,
    closed,
    failed,
    grade,
    taken,
)

REFUSED = {
    "masked by a server": text(b"x", mask=True),
    "a reserved bit": text(b"x", bits=0x20),
    "compressed though that was not agreed": text(b"x", bits=0x40),
    "an unknown opcode": Frame(3),
    "a continuation of nothing": more(b"x"),
    "binary": Frame(2, b"x"),
    "a long ping": ping(b"x" * 126),
    "a ping in parts": ping(b"x", fin=False),
    "a length in too many bytes": text(b"x", form=2),
    "a length of 2 to the 63": Frame(1, length=2**63),
    "a close with one byte": Frame(8, b"x"),
    "a close with 1005": close(1005),
    "a close with 5000": close(5000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reader_refuses(name: str) -> None:
    with pytest.raises(Wrong):
        Reader(client=False).feed(REFUSED[name].encode(client=False))


def test_the_reader_refuses_what_comes_after_a_close() -> None:
    data = (close(1000), ping())
    with pytest.raises(Wrong, match="after a close"):
        Reader(client=False).feed(b"".join(frame.encode(client=False) for frame in data))


@pytest.mark.parametrize("frame", [text(b"\xff"), close(1000, b"\xff")])
def test_the_reader_refuses_what_is_no_utf8(frame: Frame) -> None:
    with pytest.raises(UnicodeDecodeError):
        Reader(client=False).feed(frame.encode(client=False))


@pytest.mark.parametrize("client", [True, False])
def test_what_is_sent_is_what_is_read(client: bool) -> None:
    reader = Reader(client=client)
    frames = [text(b"a", fin=False), ping(b"p"), more(b"b"), text(b"c" * 70_000), close(1000, b"d")]
    data = b"".join(frame.encode(client=client) for frame in frames)
    seen = [each for byte in data for each in reader.feed(bytes([byte]))]
    assert [each.kind for each in seen] == ["ping", "text", "text", "close"]
    assert [len(each.data) for each in seen] == [1, 2, 70_000, 1]
    assert (seen[-1].code, reader.inside) == (1000, False)


def test_a_window_that_was_not_agreed_is_noticed() -> None:
    far = "".join(map(str, range(400))).encode() * 2
    reader = Reader(client=False)
    reader.agree(fresh=True, bits=9)
    packed = Packer(bits=15)(far)
    with pytest.raises(zlib.error):
        reader.feed(text(packed, bits=0x40).encode(client=False))


LOST = "ConnectionClosed: tools/call: connection closed:"
END, CLOSE = Seen("end"), Seen("close", b"why", 1002)


@pytest.mark.parametrize(
    ("then", "seen", "answers", "grades"),
    [
        (failed(1002), [CLOSE, END], [], (OK, OK)),
        (failed(1002), [CLOSE, END], ["a"], (FAILED, OK)),
        (failed(1007), [CLOSE, END], [], (OK, FAILED)),
        (failed(1002, "a"), [CLOSE, END], ["a"], (OK, OK)),
        (failed(1002), [Seen("close", b"", 1002), END], [], (OK, FAILED)),
        (failed(1002), [CLOSE, Seen("reset")], [], (OK, FAILED)),
        (failed(1002), [END], [], (OK, FAILED)),
        (failed(1002), [CLOSE, Seen("wrong", b"late")], [], (FAILED, FAILED)),
        (failed(1002), [Seen("pong", b"p"), CLOSE, END], [], (FAILED, OK)),
        (closed(1000), [Seen("close", b"", 1000), END], [], (OK, OK)),
        (taken("a"), [Seen("close", b"", 1000), END], ["a", PROBE], (OK, OK)),
        (taken("a"), [Seen("close", b"", 1000), END], [PROBE], (FAILED, OK)),
        (taken("a"), [CLOSE, END], ["a"], (FAILED, FAILED)),
        (Then(end="cut"), [END], [], (OK, OK)),
        (Then(end="cut"), [CLOSE, END], [], (OK, FAILED)),
    ],
)
def test_grades(then: Then, seen: list[Seen], answers: list[str], grades: tuple[str, str]) -> None:
    row = Row(id="1.1.1", title="", steps=(), then=then)
    found = grade(row, Course(seen, "server", answers))
    assert (found.behaviour, found.close) == grades


def test_what_is_allowed_as_well_is_not_strict() -> None:
    row = Row(id="1.1.1", title="", steps=(), then=failed(1002), lenient=(failed(1003, "a"),))
    found = grade(row, Course([Seen("close", b"why", 1003), END], "server", ["a"]))
    assert (found.behaviour, found.close) == (NON_STRICT, NON_STRICT)


@pytest.mark.parametrize(
    ("call", "grades"),
    [
        (f"{LOST} closed by this side with 1002: x", OK),
        (f"{LOST} closed by this side with 1003: x", FAILED),
        ("RequestTimeout: tools/call: no answer", FAILED),
        ("answered", FAILED),
    ],
)
def test_the_caller_at_a_client_counts(call: str, grades: str) -> None:
    row = Row(id="1.1.1", title="", steps=(), then=failed(1002))
    assert grade(row, Course([CLOSE, END], "client", call=call)).behaviour == grades
