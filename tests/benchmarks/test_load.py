"""The load generator: every reply is checked, and what it reads is cut rightly."""

import os
import select
import socket
import sys
import threading
import tracemalloc
from array import array
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.load import http_calls, lines, memory, websocket
from mcpcore_bench.load.asks import FIRST, Question, Verifier, WrongReply, digits, opened
from mcpcore_bench.load.http_wire import Place, Replies, dechunked, field, last_event, secure
from mcpcore_bench.load.jobs import (
    Ask,
    Binding,
    Command,
    Era,
    HttpCalls,
    LineCalls,
    Memory,
    WebSocketCalls,
)
from mcpcore_bench.load.lines import Lines
from mcpcore_bench.load.room import Room
from mcpcore_bench.load.server import ServerFailed, cpu, listening, placed
from mcpcore_bench.load.steady import steady
from mcpcore_bench.load.websocket import frame
from mcpcore_bench.programs.offer import secured
from mcpcore_bench.subjects import SUBJECTS

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs epoll and /proc"
)

REPLY = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%b"}]}}'
COPY = 100_000
"""Bytes, less than a large reply."""
PATIENT = 30.0
"""Seconds of load, more than any of these servers lives."""


def test_a_record_of_tls_is_read_whole(tmp_path: Path) -> None:
    """... and nothing of it is left where nobody who waits for the socket would see it."""
    pytest.importorskip("trustme")
    command = Command((str(tmp_path), "--cert", "{cert}"))
    ours, theirs = socket.socketpair()
    with placed(command) as found, ours, theirs:
        tls = secured(found.words[2])
        assert tls is not None

        def serve() -> None:
            with tls.wrap_socket(theirs, server_side=True) as connection:
                connection.sendall(b"x" * 16_000)
                connection.recv(1)

        server = threading.Thread(target=serve)
        server.start()
        with secure(ours) as connection:
            room = Room.of(connection)
            room.more()
            assert (room.have, connection.pending()) == (16_000, 0)
            connection.sendall(b".")
            server.join()


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("http://127.0.0.1:1/mcp", False),
        ("ws://127.0.0.1:1/mcp", False),
        ("https://127.0.0.1:1/mcp", True),
        ("wss://127.0.0.1:1/mcp", True),
    ],
)
def test_a_url_says_whether_there_is_tls(url: str, *, tls: bool) -> None:
    assert Place.of(url) == Place("127.0.0.1", 1, "/mcp", tls)


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
@pytest.mark.parametrize("binding", ["stdio", "tcp"])
@pytest.mark.parametrize(
    ("how", "what"),
    [("id", "asked|not the id"), ("text", "not what was asked"), ("short", "ended")],
)
def test_a_wrong_reply_on_lines_ends_the_run(
    how: str, what: str, binding: Literal["stdio", "tcp"], window: int
) -> None:
    job = LineCalls(
        server=liar(how, binding),
        binding=binding,
        era="modern",
        window=window,
        warm=PATIENT,
        seconds=0.0,
    )
    with pytest.raises((WrongReply, BrokenPipeError), match=what if how != "short" else None):
        lines.measure(job)


@pytest.mark.parametrize(
    ("how", "what"),
    [("id", "not the id"), ("text", "not what was asked"), ("short", "ended")],
)
def test_a_wrong_reply_over_websocket_ends_the_run(how: str, what: str) -> None:
    job = WebSocketCalls(server=liar(how, "http"), connections=2, warm=PATIENT, seconds=0.0)
    with pytest.raises((WrongReply, ConnectionError), match=what if how != "short" else None):
        websocket.measure(job)


@pytest.mark.parametrize("how", ["id", "text"])
def test_one_wrong_digit_is_seen_wherever_it_stands(how: str) -> None:
    verifier = Verifier(Question(Ask("echo", 20), "modern"))
    for number in range(FIRST, FIRST + 3):
        reply = REPLY % (number, b"%d" % number + b"x" * 13)
        verifier.check(digits(number), memoryview(reply) if number % 2 else reply)
    assert verifier.read == 1, "the others were compared"
    right, wrong = FIRST + 4, FIRST + 5
    reply = REPLY % (
        wrong if how == "id" else right,
        b"%d" % (wrong if how == "text" else right) + b"x" * 13,
    )
    with pytest.raises(WrongReply):
        verifier.check(digits(right), reply)


def test_a_reply_of_another_shape_is_read() -> None:
    verifier = Verifier(Question(Ask("echo", 20), "modern"))
    text = b"%d" % FIRST + b"x" * 13
    verifier.check(digits(FIRST), REPLY % (FIRST, text))
    verifier.check(digits(FIRST), b" " + REPLY % (FIRST, text))
    assert verifier.read == 2
    with pytest.raises(WrongReply, match="no JSON"):
        verifier.check(digits(FIRST), b"{")


@pytest.mark.parametrize(
    ("ttl", "scope", "read"),
    [(b"3599998", b"public", 1), (b"3599998", b"secret", 2), (b"999999", b"public", 2)],
)
def test_the_time_that_is_left_is_not_compared(ttl: bytes, scope: bytes, read: int) -> None:
    verifier = Verifier(Question(Ask("list", 1), "modern"))
    page = b'{"id":%d,"result":{"ttlMs":%b,"cacheScope":"%b","tools":[{"name":"a"}]}}'
    verifier.check(digits(FIRST), page % (FIRST, b"3599999", b"public"))
    reply = page % (FIRST + 1, ttl, scope)
    verifier.check(digits(FIRST + 1), reply)
    assert verifier.read == read
    assert verifier.knows(digits(FIRST + 1), memoryview(reply))
    assert not verifier.knows(digits(FIRST + 2), memoryview(reply))


@given(st.integers(min_value=0), st.integers(1, 255), st.sampled_from(["change", "cut", "more"]))
def test_a_reply_is_known_byte_for_byte(at: int, by: int, how: str) -> None:
    verifier = Verifier(Question(Ask("echo", 300), "modern"))
    verifier.check(digits(FIRST), REPLY % (FIRST, b"%d" % FIRST + b"x" * 293))
    number = FIRST + 1
    reply = bytearray(REPLY % (number, b"%d" % number + b"x" * 293))
    assert verifier.knows(digits(number), memoryview(bytes(reply)))
    if how == "change":
        reply[at % len(reply)] ^= by
    elif how == "cut":
        del reply[at % len(reply) :]
    else:
        reply += bytes((by,))
    assert not verifier.knows(digits(number), memoryview(reply))
    assert not verifier.knows(digits(number), bytes(reply))


@pytest.mark.parametrize(
    ("ask", "words"), [(Ask("echo", 1_000_000), ()), (Ask("list", 1000), ("--tools", "1000"))]
)
def test_a_large_reply_is_looked_at_where_it_arrived(ask: Ask, words: tuple[str, ...]) -> None:
    job = HttpCalls(server=SUBJECTS["responder"].command(*words), ask=ask, connections=1)
    with (
        listening(job.server) as (_, url),
        http_calls.callers(Place.of(url), job) as (caller,),
    ):
        for _ in range(3):
            caller.call()
        tracemalloc.start()
        try:
            for _ in range(20):
                caller.call()
            assert tracemalloc.get_traced_memory()[1] < COPY
        finally:
            tracemalloc.stop()


@pytest.mark.share(4)
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    ("name", "binding", "era"),
    [
        ("raw-protocol", "http", "legacy"),
        ("raw-protocol", "http", "modern"),
        ("ours-ws", "ws", "modern"),
        ("ours-tcp", "tcp", "modern"),
    ],
)
def test_memory_is_only_looked_at_while_every_call_waits(
    name: str, binding: Binding, era: Era, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SUBJECTS[name].command()
    job = Memory(server=server, what="call", binding=binding, era=era, count=3)
    if not waits:
        monkeypatch.setattr(memory, "_LONG", 1)
    with nullcontext() if waits else pytest.raises(WrongReply, match="23 of 23 calls do not wait"):
        memory.measure(job)


@pytest.mark.parametrize(
    "reply",
    [
        b'{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2025-11-25"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"message":"protocolVersion"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"other":"protocolVersion"}}',
        b'{"jsonrpc":"2.0","id":1,"result":"protocolVersion"}',
        b'"protocolVersion"',
        b'{"protocolVersion"',
    ],
)
def test_what_does_not_open_a_conversation_is_seen(reply: bytes) -> None:
    opened(1, b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}')
    with pytest.raises(WrongReply, match="initialize was answered with"):
        opened(1, reply)


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


def response(body: bytes, how: str, kind: str) -> bytes:
    if kind == "text/event-stream":
        body = b": hello\n\nid: 1\ndata: %b\n\n" % body
    head = f"HTTP/1.1 200 OK\r\nX-Much: {'y' * len(body)}\r\nContent-Type: {kind}\r\n".encode()
    if how == "length":
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    parts = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 40, 41, 3900, 4096, 9000]),
            st.sampled_from(["length", "chunks"]),
            st.sampled_from(["application/json", "text/event-stream"]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 5000),
    st.booleans(),
)
def test_responses_are_cut_out_wherever_they_are_cut(
    wanted: list[tuple[int, str, str]], piece: int, patient: bool
) -> None:
    """Whatever was received before: nothing of it is taken for what comes after it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        replies = Replies(ours)
        for number, (size, how, kind) in enumerate(wanted):
            body = b"%d" % number * size
            data = response(body, how, kind)
            if patient:
                theirs.sendall(data)
                assert bytes(replies.wait()) == body
                continue
            for at in range(0, len(data), piece):
                theirs.sendall(data[at : at + piece])
                found = None
                while select.select([ours], [], [], 0)[0]:
                    assert found is None
                    found = replies.receive()
                assert (found is not None) == (at + piece >= len(data))
            assert found is not None
            assert bytes(found) == body


@pytest.mark.timeout(600)
def test_what_was_received_before_says_nothing_of_a_head_that_is_not_there_yet() -> None:
    """Else a shorter response than the one before would be waited for until the end of days."""
    long, short = (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for body in (b"x" * 2000, b"y" * 1000)
    )
    ours, theirs = socket.socketpair()

    def write() -> None:
        theirs.sendall(short[:10])
        while select.select([ours], [], [], 0)[0]:
            pass
        theirs.sendall(short[10:])

    with ours, theirs:
        replies = Replies(ours)
        theirs.sendall(long)
        assert len(replies.wait()) == 2000
        writer = threading.Thread(target=write)
        writer.start()
        assert bytes(replies.wait()) == b"y" * 1000
        writer.join()


def test_what_follows_a_response_unasked_is_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(response(b"{}", "length", "application/json") + b"H")
        with pytest.raises(WrongReply, match="more than one response"):
            Replies(ours).wait()


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=5), st.integers(500, 60_000))
def test_lines_are_cut_out_wherever_they_are_cut(sizes: list[int], piece: int) -> None:
    wanted = [b"%d" % number * size for number, size in enumerate(sizes)]
    data = b"".join(line + b"\n" for line in wanted)
    reading, writing = os.pipe()

    def write() -> None:
        for at in range(0, len(data), piece):
            os.write(writing, data[at : at + piece])
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    source, found = Lines(writing, reading), list[bytes]()
    while len(found) < len(wanted):
        found += [bytes(line) for line in source.read()]
    with pytest.raises(WrongReply, match="ended after b''"):
        source.read()
    writer.join()
    os.close(reading)
    assert found == wanted


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


@pytest.mark.parametrize(
    ("least", "warm_units", "units", "calls"),
    [
        *((least, 0, 1, calls) for least, calls in ((0, 1), (3, 1), (4, 2), (10, 4))),
        *((0, warm, units, calls) for warm, units, calls in ((3, 1, 1), (7, 1, 3), (7, 3, 1))),
    ],
)
def test_a_warm_up_lasts_until_enough_was_answered(
    least: int, warm_units: int, units: int, calls: int
) -> None:
    """However slow the machine is: what is sent for the first time is no steady state."""
    measured: list[bool] = []

    def loop(until: float, latencies: "array[int] | None") -> int:
        measured.append(latencies is not None)
        return 3

    job = HttpCalls(server=Command(()), warm=0.0, seconds=0.0, warm_units=warm_units)
    sample = steady(os.getpid(), loop, job, units=units, least=least)
    assert measured == [False] * calls + [True]
    assert sample.facts["count"] == 3.0 * units
