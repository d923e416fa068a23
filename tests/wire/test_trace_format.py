"""Records and their lines: what goes in comes out, what is no trace is said to be none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import BadTrace
from mcpcore.trace.format import (
    KINDS,
    MESSAGES,
    TO_CLIENT,
    TO_SERVER,
    Header,
    Record,
    RecordBuilder,
    classify,
    decode_line,
    encode_line,
)
from mcpcore.trace.redaction import Redactor
from mcpcore_conformance.trace.reading import parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAYBE = st.none() | TEXTS
NUMBERS = st.none() | st.integers(0, 10**6)
RECORDS = st.builds(
    Record,
    time=st.floats(0, 1e6),
    kind=st.sampled_from(KINDS),
    direction=st.sampled_from([TO_SERVER, TO_CLIENT, None]),
    connection=st.integers(1, 10**9),
    stream=st.integers(0, 10**9),
    text=MAYBE,
    data=st.none() | st.binary(max_size=20),
    method=MAYBE,
    id=st.none() | TEXTS | st.integers(-(2**200), 2**200),
    status=NUMBERS,
    event=MAYBE,
    event_id=MAYBE,
    retry=NUMBERS,
    binding=MAYBE,
    cut=st.integers(0, 10**12),
    redactions=st.lists(TEXTS, max_size=3).map(tuple),
)
HEADERS = st.builds(
    Header,
    trace=st.just(1),
    started=TEXTS,
    side=st.sampled_from(["client", "server"]),
    binding=TEXTS,
    program=TEXTS,
    target=TEXTS,
    redacted=st.booleans(),
)


@given(RECORDS | HEADERS)
def test_a_line_gives_the_same_again(item: Record | Header) -> None:
    line = encode_line(item)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line) == item


@given(HEADERS, st.lists(RECORDS, max_size=5))
def test_a_trace_gives_the_same_again(header: Header, records: list[Record]) -> None:
    trace = parse([encode_line(header), b"\n", *map(encode_line, records)])
    assert trace.header == header
    assert [entry.record for entry in trace.entries] == records
    assert [entry.line for entry in trace.entries] == list(range(3, 3 + len(records)))
    assert trace.complete


@given(st.binary(max_size=200))
def test_other_lines_are_refused_in_one_way(line: bytes) -> None:
    try:
        item = decode_line(line)
    except BadTrace:
        return
    assert decode_line(encode_line(item)) == item


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: a trace begins with its header"),
        ([b'{"time":1,"kind":"closed"}\n'], "line 1: a trace begins with its header"),
        ([b'{"trace":1,"side":"server"}\n', b"nonsense\n"], "line 2: "),
        ([b'{"trace":1,"side":"server"}\n', b'{"time":1,"kind":"other"}\n'], "line 2: .*'other'"),
        ([b'{"trace":1,"side":"server"}\n'] * 2, "line 2: a second header"),
        ([b'{"trace":2,"side":"server"}\n'], "line 1: format 2 of traces is not known"),
        ([b'{"trace":1,"side":"both"}\n'], "line 1: .*'both'"),
        ([b"[" * 100_000], "line 1: "),
    ],
)
def test_what_is_no_trace_is_said_with_its_line(lines: list[bytes], message: str) -> None:
    with pytest.raises(BadTrace, match=message):
        parse(lines)


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    lines = [b'{"trace":1,"side":"server"}\n', b'{"time":1,"kind":"closed"}\n', b'{"time":2,"k']
    trace = parse(lines)
    assert [entry.line for entry in trace.entries] == [2]
    assert not trace.complete


@pytest.mark.parametrize(
    ("data", "kind", "method", "identity"),
    [
        (b'{"id":1,"method":"m"}', "request", "m", 1),
        (b' {"id":"1","method":"m","params":{}}', "request", "m", "1"),
        (b'{"id":123456789012345678901234567890,"method":"m"}', "request", "m", 10**30 // 10),
        (b'{"method":"m"}', "notification", "m", None),
        (b'{"id":1,"result":{}}', "result", None, 1),
        (b'{"id":null,"error":{}}', "error", None, None),
        (b'{"error":{}}', "error", None, None),
        (b"[]", "batch", None, None),
        (b"[broken", "batch", None, None),
        (b'{"id":null,"method":"m"}', "invalid", "m", None),
        (b'{"id":1.5,"method":"m"}', "invalid", "m", None),
        (b'{"id":true,"method":"m"}', "invalid", "m", None),
        (b'{"id":{},"method":"m"}', "invalid", "m", None),
        (b'{"id":1,"result":{},"error":{}}', "invalid", None, 1),
        (b'{"id":1}', "invalid", None, 1),
        (b'{"method":7}', "invalid", None, None),
        (b'{"method":"\xff"}', "invalid", None, None),
        (b'{"params":"\xff","method":"m"}', "invalid", None, None),
        (b"text", "invalid", None, None),
        (b"", "invalid", None, None),
        (b'{"a":' * 100_000, "invalid", None, None),
    ],
)
def test_kinds(data: bytes, kind: str, method: str | None, identity: object) -> None:
    found = classify(data)
    if identity == 10**30 // 10:
        assert found == (kind, method, 123456789012345678901234567890)
    else:
        assert found == (kind, method, identity)
    assert kind in MESSAGES


def test_messages_are_what_can_be_read_as_such() -> None:
    kinds = {"request", "notification", "result", "error", "batch", "invalid"}
    assert kinds == MESSAGES
    others = {"http-request", "http-response", "http-body", "http-end", "sse-event", "sse-comment"}
    others |= {"ping", "pong", "close", "binary", "opened", "closed", "full", "note"}
    assert set(KINDS) == kinds | others


def builder(size: int | None = None) -> RecordBuilder:
    return RecordBuilder(Redactor(), record_size=size)


def test_a_message_is_kept_byte_for_byte() -> None:
    data = b'{ "jsonrpc" : "2.0",\t"id":1 , "method":"\\u0061", "params":{"x":1.50} }'
    record = builder().message(data, time=1.0, direction=TO_SERVER)
    assert record.payload == data
    assert (record.kind, record.method, record.id, record.cut) == ("request", "a", 1, 0)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(0, 60))
def test_what_is_cut_is_counted_and_never_within_a_character(text: str, size: int) -> None:
    data = text.encode()
    record = RecordBuilder(None, record_size=size).note("http-body", time=0.0, data=data)
    assert record.text is not None
    assert data.startswith(record.payload)
    assert len(record.payload) + record.cut == len(data)
    assert len(record.payload) > size - 4 or not record.cut
    assert len(record.payload) <= max(size, 0) or not record.cut


def test_what_is_not_utf8_is_kept_as_bytes() -> None:
    record = builder().message(b'{"a":"\xff"}', time=0.0, direction=TO_CLIENT)
    assert record.kind == "invalid"
    assert record.text is None
    assert record.data == b'{"a":"\xff"}'
    assert b'"bytes":"eyJhIjoi/yJ9"' in encode_line(record)


def test_a_note_holds_all_that_is_said() -> None:
    record = RecordBuilder(None).note(
        "sse-event",
        time=1.5,
        direction=TO_CLIENT,
        connection=2,
        stream=3,
        data=b"abc",
        status=200,
        event="message",
        event_id="7",
        retry=100,
        binding="http",
        dropped=4,
    )
    assert record == Record(
        time=1.5,
        kind="sse-event",
        direction=TO_CLIENT,
        connection=2,
        stream=3,
        text="abc",
        status=200,
        event="message",
        event_id="7",
        retry=100,
        binding="http",
        cut=4,
    )


def test_a_head_is_kept_as_lines() -> None:
    record = builder().head(
        [(b"host", b"h"), (b"accept", b"a, b")],
        time=0.0,
        direction=TO_SERVER,
        method="POST",
        target="/mcp",
        stream=3,
    )
    assert record.text == "POST /mcp\nhost: h\naccept: a, b"
    assert (record.kind, record.direction, record.stream) == ("http-request", TO_SERVER, 3)
    answer = builder().head([(b"a", b"b")], time=0.0, direction=TO_CLIENT, status=202)
    assert answer.text == "202\na: b"
    assert (answer.kind, answer.direction, answer.status) == ("http-response", TO_CLIENT, 202)


def test_what_came_in_the_place_of_a_head_is_kept() -> None:
    data = b"GET /mcp SPDY/9\r\nhost h"
    record = RecordBuilder(None).unread_head(data, time=1.5, direction=TO_SERVER, connection=2)
    assert record == Record(
        time=1.5, kind="invalid", direction=TO_SERVER, connection=2, text=data.decode()
    )


def test_a_message_holds_all_that_is_said() -> None:
    record = RecordBuilder(None).message(
        b'{"jsonrpc":"2.0","method":"m"}',
        time=1.5,
        direction=TO_CLIENT,
        connection=2,
        stream=3,
        event="message",
        event_id="7",
        retry=100,
        dropped=4,
    )
    assert record == Record(
        time=1.5,
        kind="notification",
        direction=TO_CLIENT,
        connection=2,
        stream=3,
        text='{"jsonrpc":"2.0","method":"m"}',
        method="m",
        event="message",
        event_id="7",
        retry=100,
        cut=4,
    )


@pytest.mark.parametrize(
    "item", [Header(trace=1, side="client"), Record(time=0.5, kind="closed")], ids=["head", "line"]
)
def test_what_was_recorded_cannot_be_changed(item: Record | Header) -> None:
    for field in msgspec.structs.fields(item):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(item, field.name, getattr(item, field.name))


def test_without_a_redactor_method_and_id_are_kept() -> None:
    data = b'{"id":"token=S3cr3tV4lue9","method":"m"}'
    record = RecordBuilder(None).message(data, time=0.0, direction=TO_SERVER)
    assert (record.method, record.id) == ("m", "token=S3cr3tV4lue9")


def test_what_is_absent_is_not_written() -> None:
    record = Record(time=0.5, kind="closed")
    line = encode_line(record)
    assert msgspec.json.decode(line) == {"time": 0.5, "kind": "closed"}
    optional = (record.text, record.method, record.event, record.event_id, record.binding)
    assert optional == (None,) * 5
    header = decode_line(b'{"trace":1,"side":"client"}')
    assert isinstance(header, Header)
    assert (header.started, header.binding, header.program, header.target) == ("",) * 4
