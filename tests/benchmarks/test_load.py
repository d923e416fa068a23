"""The load generator: every reply is checked, and what it reads is cut rightly."""

import os
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import http_calls, lines
from benchmarks.load.asks import FIRST, Question, Verifier, WrongReply
from benchmarks.load.http_wire import dechunked, field, last_event
from benchmarks.load.jobs import Ask, Command, HttpCalls, LineCalls
from benchmarks.load.server import ServerFailed, cpu, listening
from benchmarks.load.steady import steady
from benchmarks.load.websocket import frame

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs epoll and /proc"
)

REPLY = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%b"}]}}'
PATIENT = 30.0
"""Seconds of load, more than any of these servers lives."""


def liar(how: str, binding: str) -> Command:
    return Command((sys.executable, "-m", "tests.benchmarks.liar", how, binding))


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("id", "not the id"),
        ("text", "not what was asked"),
        ("error", "no result"),
        ("short", "end"),
    ],
)
def test_a_wrong_reply_over_http_ends_the_run(how: str, what: str, connections: int) -> None:
    job = HttpCalls(server=liar(how, "http"), connections=connections, warm=PATIENT, seconds=0.0)
    with pytest.raises((WrongReply, ConnectionError), match=what if how != "short" else None):
        http_calls.measure(job)


@pytest.mark.parametrize("window", [1, 16])
@pytest.mark.parametrize(
    ("how", "what"),
    [("id", "asked|not the id"), ("text", "not what was asked"), ("short", "ended")],
)
def test_a_wrong_reply_over_stdio_ends_the_run(how: str, what: str, window: int) -> None:
    server = liar(how, "stdio")
    job = LineCalls(server=server, era="modern", window=window, warm=PATIENT, seconds=0.0)
    with pytest.raises((WrongReply, BrokenPipeError), match=what if how != "short" else None):
        lines.measure(job)


@pytest.mark.parametrize("how", ["id", "text"])
def test_one_wrong_digit_is_seen_wherever_it_stands(how: str) -> None:
    verifier = Verifier(Question(Ask("echo", 20), "modern"))
    for number in range(FIRST, FIRST + 3):
        verifier.check(number, REPLY % (number, b"%d" % number + b"x" * 13))
    assert verifier.read == 1, "the others were compared"
    right, wrong = FIRST + 4, FIRST + 5
    reply = REPLY % (
        wrong if how == "id" else right,
        b"%d" % (wrong if how == "text" else right) + b"x" * 13,
    )
    with pytest.raises(WrongReply):
        verifier.check(right, reply)


def test_a_reply_of_another_shape_is_read() -> None:
    verifier = Verifier(Question(Ask("echo", 20), "modern"))
    text = b"%d" % FIRST + b"x" * 13
    verifier.check(FIRST, REPLY % (FIRST, text))
    verifier.check(FIRST, b" " + REPLY % (FIRST, text))
    assert verifier.read == 2
    with pytest.raises(WrongReply, match="no JSON"):
        verifier.check(FIRST, b"{")


@pytest.mark.parametrize("kind", ["total", "list", "wait"])
def test_every_kind_of_question_refuses_another_answer(kind: str) -> None:
    question = Question(Ask(kind, 2), "legacy")  # type: ignore[arg-type]
    result = {
        "total": b'{"content":[],"structuredContent":{"count":2,"total":15.0}}',
        "list": b'{"tools":[{"name":"a"},{"name":"b"}]}',
        "wait": b'{"content":[{"type":"text","text":"waited"}]}',
    }[kind]
    whole = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (FIRST, result)
    question.check(FIRST, whole)
    for old, new in ((b"15.0", b"14.0"), (b'"b"', b'"a"'), (b"waited", b"wait")):
        if old in whole:
            with pytest.raises(WrongReply):
                question.check(FIRST, whole.replace(old, new))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_chunks_are_joined_at_their_end_and_not_before(parts: list[bytes]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert dechunked(bytearray(b"head" + data), 4) == b"".join(parts)
    for cut in (0, len(data) // 2):
        assert dechunked(bytearray(data[:cut]), 0) is None or cut == len(data)


def test_the_last_event_with_data_is_the_reply() -> None:
    assert last_event(b'id: 1\ndata: \n\nid: 2\ndata: {"a":1}\n\n') == b'{"a":1}'
    assert last_event(b'event: message\r\ndata: {"a":1}\r\n\r\n') == b'{"a":1}'
    with pytest.raises(WrongReply):
        last_event(b": nothing\n\n")


def test_header_values_keep_their_case() -> None:
    head = b"HTTP/1.1 200 OK\r\nMcp-Session-Id:  aBc \r\nX: y\r\n\r\n"
    assert field(head, b"mcp-session-id") == b"aBc"
    assert field(head, b"x") == b"y"
    assert field(head, b"missing") == b""


@given(st.binary(max_size=70_000))
def test_frames_are_masked_as_wsproto_reads_them(data: bytes) -> None:
    from wsproto.frame_protocol import FrameProtocol

    text = data.hex().encode()
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(frame(text))
    frames = list(protocol.received_frames())
    assert "".join(str(each.payload) for each in frames) == text.decode()


def test_a_server_that_does_not_start_says_why() -> None:
    command = Command((sys.executable, "-c", "raise SystemExit('no port left')"))
    with pytest.raises(ServerFailed, match="no port left"), listening(command):
        pytest.fail("it did not start")


def test_cpu_is_that_of_the_process_and_rises() -> None:
    import os
    import time

    before = cpu(os.getpid())
    assert before == pytest.approx(time.process_time(), abs=0.5)
    while cpu(os.getpid()) == before:
        pass
    assert cpu(os.getpid()) > before


@pytest.mark.parametrize(("least", "calls"), [(0, 1), (3, 1), (4, 2), (10, 4)])
def test_a_warm_up_lasts_until_enough_was_answered(least: int, calls: int) -> None:
    """However slow the machine is: what is sent for the first time is no steady state."""
    measured: list[bool] = []

    def loop(until: float, latencies: "array[int] | None") -> int:
        measured.append(latencies is not None)
        return 3

    sample = steady(os.getpid(), loop, warm=0.0, seconds=0.0, least=least)
    assert measured == [False] * calls + [True]
    assert sample.facts["count"] == 3.0
