"""What wires have logged becomes the records of a trace: cut, told apart, without secrets."""

import json

import pytest

from mcpcore.trace.format import Header, Record, decode_line, encode_line
from mcpcore.trace.redaction import Redactor
from mcpcore_conformance.kit.log import LEFT_OUT
from mcpcore_conformance.kit.model import Binding, Case, Line, Page, Result, Side, Verdict
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.run.transcript import BEGINS, records_of
from mcpcore_conformance.run.ways_websocket import LOST
from mcpcore_conformance.trace.check import check
from mcpcore_conformance.trace.reading import parse

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/x"}'


def case_of(side: Side = Side.SERVER) -> Case:
    page = Page("p")

    async def play(talk: ServerTalk) -> None:
        """Does it."""

    cases = page.server() if side is Side.SERVER else page.client()
    cases.must("a/b", "-")(play)
    return page.cases[0]


def line(
    sent: bool, kind: str, data: bytes, *, exchange: int = 0, wire: int = 1, cut: int = 0
) -> Line:
    return Line(at=0.5, sent=sent, wire=wire, exchange=exchange, kind=kind, data=data, cut=cut)


def cut(
    binding: Binding, *lines: Line, side: Side = Side.SERVER, redactor: Redactor | None = None
) -> list[Record]:
    result = Result(
        case=case_of(side),
        revision="2025-11-25",
        binding=binding,
        verdict=Verdict.FAILED,
        transcript=[*lines],
    )
    records = records_of(result, redactor)
    # whatever it is, it can be written and read
    assert [decode_line(encode_line(record)) for record in records] == records
    return records


def told(records: list[Record]) -> list[tuple[str, str | None, object]]:
    return [
        (record.kind, record.direction, record.text if record.data is None else record.data)
        for record in records
    ]


def test_lines() -> None:
    records = cut(
        Binding.STDIO,
        line(True, "message", PING + b"\n"),
        line(False, "message", PONG + b"\r\n"),
        line(False, "message", b"hello\n"),
        line(True, "message", b"\xff\n"),
        line(True, "note", b"SIGTERM"),
        line(False, "close", b"exit status 0"),
    )
    assert told(records) == [
        ("request", "to-server", PING.decode()),
        ("result", "to-client", PONG.decode()),
        ("invalid", "to-client", "hello"),
        ("invalid", "to-server", b"\xff"),
        ("note", None, "SIGTERM"),
        ("closed", None, "exit status 0"),
    ]
    assert (records[0].method, records[0].id, records[0].time) == ("ping", 1, 0.5)


def test_what_is_written_at_once_or_in_pieces_is_cut_at_newlines() -> None:
    records = cut(
        Binding.TCP,
        line(True, "message", PING + b"\r\n" + NOTE + b"\n\n" + PING[:9]),
        line(True, "message", PING[9:] + b"\n"),
        line(True, "message", NOTE[:20], cut=100),
        line(True, "message", PING + b"\n" + NOTE),
    )
    assert [(record.kind, record.direction) for record in records] == [
        ("request", "to-server"),
        ("notification", "to-server"),
        ("note", None),
        ("request", "to-server"),
        ("invalid", "to-server"),
        ("request", "to-server"),
        ("notification", "to-server"),
    ]
    assert records[0].text == records[3].text == PING.decode()
    assert records[2].text == "an empty line to-server"
    assert len(records[4].payload) + records[4].cut == 120


def test_what_opened_a_connection_in_an_earlier_case_comes_first_and_is_marked() -> None:
    opening = [line(True, "message", PING + b"\n"), line(False, "message", PONG + b"\n")]
    for number, each in enumerate(opening):
        each.at = -3.0 + number
    records = cut(Binding.STDIO, *opening, line(True, "message", NOTE + b"\n"))
    assert [(record.kind, record.time) for record in records] == [
        ("request", -3.0),
        ("result", -2.0),
        ("note", -2.0),
        ("notification", 0.5),
    ]
    assert records[2].text == BEGINS


def test_what_a_client_under_test_says_goes_to_the_server() -> None:
    records = cut(
        Binding.TCP, line(False, "message", PING), line(True, "message", PONG), side=Side.CLIENT
    )
    assert [record.direction for record in records] == ["to-server", "to-client"]


REQUEST = b"POST /mcp?a=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 40\r\n\r\n"


def test_an_exchange_over_http() -> None:
    response = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 36\r\n\r\n"
    records = cut(
        Binding.HTTP,
        line(True, "head", REQUEST + PING, exchange=1),
        line(False, "bytes", response[:20], exchange=1),
        line(False, "bytes", response[20:] + PONG[:9], exchange=1),
        line(False, "bytes", PONG[9:], exchange=1),
        line(False, "end", b"", exchange=1),
    )
    assert [record.kind for record in records] == [
        "http-request",
        "request",
        "http-response",
        "result",
        "http-end",
    ]
    assert records[0].text == "POST /mcp?a=<hidden-1>\nhost: h\ncontent-length: 40"
    assert records[2].status == 200
    assert records[3].text == PONG.decode()
    assert {record.stream for record in records} == {1}


def test_an_event_stream_over_http() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    body = b": hi\n\nid: 7\nretry: 500\ndata:\n\nevent: endpoint\ndata: /m\n\nid: 8\ndata: " + NOTE
    body += b"\n\n"
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:30], body[30:], b"data: " + PONG)
    )
    records = cut(
        Binding.HTTP,
        line(True, "head", REQUEST + PING, exchange=2),
        line(False, "bytes", head + chunks[:50], exchange=2),
        line(False, "bytes", chunks[50:], exchange=2),
        line(False, "end", b"", exchange=2),
    )
    found = [(each.kind, each.event, each.event_id, each.retry, each.text) for each in records[3:]]
    assert found == [
        ("sse-comment", None, None, None, "hi"),
        ("sse-event", "message", "7", 500, ""),
        ("sse-event", "endpoint", None, None, "/m"),
        ("notification", "message", "8", None, NOTE.decode()),
        # cut off before its end
        ("result", "message", None, None, PONG.decode()),
        ("http-end", None, None, None, None),
    ]


def test_a_head_and_a_body_that_are_sent_one_after_the_other() -> None:
    records = cut(
        Binding.HTTP,
        line(True, "bytes", REQUEST, exchange=1),
        line(True, "bytes", PING, exchange=1),
        line(False, "head", b"HTTP 200\ncontent-type: application/json\n\n" + PONG, exchange=1),
        line(False, "head", b"HTTP 400\n\nno", exchange=1),
    )
    assert [(record.kind, record.status) for record in records] == [
        ("http-request", None),
        ("request", None),
        ("http-response", 200),
        ("result", None),
        ("http-response", 400),
        ("http-body", None),
    ]


def test_a_body_that_is_no_message() -> None:
    records = cut(
        Binding.HTTP,
        line(True, "head", REQUEST + b"hello", exchange=1),
        line(False, "bytes", b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", exchange=1),
        line(False, "end", b"", exchange=1),
    )
    assert told(records)[1] == ("http-body", "to-server", "hello")
    assert told(records)[3] == ("http-body", "to-client", "no")


@pytest.mark.parametrize(
    "data",
    [b"\x00\x01", b"HTTP/1.1 wrong\r\n\r\n", b"HTTP/1.1 200 OK\r\nno header\r\n\r\nx", b""],
)
def test_what_is_not_http_is_given_as_it_is(data: bytes) -> None:
    records = cut(
        Binding.HTTP,
        line(True, "bytes", b"GARBAGE \x00", exchange=1),
        line(False, "bytes", data, exchange=1),
        line(False, "end", b"", exchange=1),
    )
    assert records[0].payload == b"GARBAGE \x00"
    assert b"".join(record.payload for record in records[1:-1]) == data
    assert records[-1].kind == "http-end"


def test_a_long_body_says_how_much_is_missing() -> None:
    records = cut(
        Binding.HTTP,
        line(True, "head", REQUEST + b'{"a":"' + b"x" * 50, exchange=1, cut=1000),
        line(False, "end", b"", exchange=1),
    )
    assert [record.kind for record in records] == ["http-request", "http-body", "http-end"]
    assert len(records[1].payload) + records[1].cut == 1056


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"event: message\ndata: " + PONG + b"\n\n"


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        (EVENT[:43], "invalid"),
        (b"", "invalid"),
        (b"eve", "invalid"),
        (b"event: mess", "invalid"),
        (b"event: message\n", "invalid"),
        (b": a comm", "sse-comment"),
    ],
)
def test_a_read_of_an_event_stream_that_is_cut_says_how_much_is_missing(
    rest: bytes, kind: str
) -> None:
    kept, missing = b"f0\r\n" + EVENT + rest, 100
    records = cut(
        Binding.SSE,
        line(True, "head", b"GET /sse HTTP/1.1\r\nhost: h\r\n\r\n", exchange=1),
        line(False, "bytes", STREAM, exchange=1),
        line(False, "bytes", kept, exchange=1, cut=missing),
        line(False, "bytes", b"10\r\ndata: " + PONG, exchange=1),
    )
    assert [record.kind for record in records[2:]] == ["result", kind, "http-body"]
    assert records[2].cut == 0
    assert records[3].cut >= missing
    header = encode_line(Header(trace=1, side="client", binding="sse"))
    trace = parse([header, *map(encode_line, records)])
    assert [each for each in check(trace) if each.rule == "jsonrpc"] == []


def test_a_scripted_server_over_http() -> None:
    shown = b"POST /mcp\nhost: h\ncontent-type: application/json\n\n" + PING
    records = cut(
        Binding.HTTP,
        line(False, "head", shown, exchange=1),
        line(True, "head", b"HTTP 200\ncontent-type: text/event-stream\n\n", exchange=1),
        line(True, "bytes", b"data: " + NOTE + b"\n\n", exchange=1),
        line(True, "bytes", b"data: " + PONG + b"\n\n", exchange=1),
        line(True, "end", b"", exchange=1),
        line(False, "head", b"DELETE /mcp\nmcp-session-id: 0123456789abcdef\n\n", exchange=2),
        line(True, "head", b"HTTP 200\ncontent-type: application/json\n\n" + PONG, exchange=2),
        side=Side.CLIENT,
    )
    assert [(record.kind, record.direction) for record in records] == [
        ("http-request", "to-server"),
        ("request", "to-server"),
        ("http-response", "to-client"),
        ("notification", "to-client"),
        ("result", "to-client"),
        ("http-end", "to-client"),
        ("http-request", "to-server"),
        ("http-response", "to-client"),
        ("result", "to-client"),
    ]
    assert records[6].text == "DELETE /mcp\nmcp-session-id: <hidden-1>"


def test_a_websocket() -> None:
    opening = b"GET /mcp HTTP/1.1\r\nupgrade: websocket\r\nauthorization: Bearer abcdefgh1\r\n\r\n"
    accepted = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"
    first = b"\x01\x05" + PONG[:5]
    rest = b"\x80" + bytes([len(PONG) - 5]) + PONG[5:]
    long = b'{"jsonrpc":"2.0","id":1,"result":{"a":"' + b"x" * 200 + b'"}}'
    frames = first + b"\x89\x02hi" + rest + b"\x81\x7e" + len(long).to_bytes(2, "big") + long
    masked = b"\x82\x83" + b"\x01\x02\x03\x04" + bytes([0x61 ^ 1, 0x62 ^ 2, 0x63 ^ 3])
    records = cut(
        Binding.WS,
        line(True, "head", opening),
        line(False, "bytes", accepted + frames[:3]),
        line(False, "bytes", frames[3:100]),
        line(True, "message", PING),
        line(True, "bytes", masked),
        line(False, "bytes", frames[100:] + b"\x88\x05\x03\xe9bye"),
        line(False, "bytes", b"\x83\x01x\x81\x05half"),
    )
    assert [record.kind for record in records] == [
        "http-request",
        "http-response",
        "ping",
        "result",
        "request",
        "binary",
        "result",
        "close",
        "invalid",
        "invalid",
    ]
    assert "<hidden-1>" in (records[0].text or "")
    assert "abcdefgh1" not in (records[0].text or "")
    assert records[3].text == PONG.decode()
    assert records[5].payload == b"abc"
    assert records[6].text == long.decode()
    assert (records[7].status, records[7].text) == (1001, "bye")
    assert records[9].payload == b"\x81\x05half"


def test_a_websocket_that_is_not_opened() -> None:
    records = cut(
        Binding.WS,
        line(True, "head", b"GET /mcp HTTP/1.1\r\nupgrade: websocket\r\n\r\n"),
        line(False, "bytes", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\n"),
        line(False, "bytes", b"\x81\x02 no!"),
    )
    assert [record.kind for record in records] == ["http-request", "http-response", "http-body"]


LONG = b"\x81\x7e\x0f\xa0" + PONG[:-1] + b" " * (4000 - len(PONG)) + b"}"
SHORT = b"\x81" + bytes([len(PONG)]) + PONG


@pytest.mark.parametrize("kept", [50, 4, 3, 0])
@pytest.mark.parametrize("later", [0, 1, 900])
def test_a_frame_that_is_cut_says_how_much_is_missing_and_what_follows_it_is_told_apart(
    kept: int, later: int
) -> None:
    missing = len(LONG) - kept - later
    records = cut(
        Binding.WS,
        line(False, "bytes", SHORT + LONG[:kept], cut=missing),
        line(False, "bytes", LONG[len(LONG) - later :] + SHORT),
    )
    assert records[0].text == PONG.decode()
    assert (records[1].kind, len(records[1].payload) + records[1].cut) == (
        "invalid",
        kept + missing,
    )
    if kept < 4:  # no head, no size
        assert [record.kind for record in records[2:]] == ["note"]
    else:
        assert told(records[2:]) == [("result", "to-client", PONG.decode())]


@pytest.mark.parametrize(
    ("kept", "missing", "next_read"),
    [
        # not the beginning of a frame, but it looks like one
        (SHORT[:9], 70000, b"\x81\x04tail"),
        (b"\x01\x09" + PONG[:5], 4, b"\x80" + bytes([len(PONG) - 9]) + PONG[9:]),
    ],
    ids=["in another frame", "in a message of several frames"],
)
def test_after_frames_that_are_cut_none_is_made_up(
    kept: bytes, missing: int, next_read: bytes
) -> None:
    records = cut(
        Binding.WS,
        line(False, "bytes", SHORT + kept, cut=missing),
        line(False, "bytes", next_read),
        line(True, "message", PING),
    )
    assert [record.kind for record in records] == ["result", "invalid", "note", "request"]
    assert len(records[1].payload) + records[1].cut == len(kept) + missing
    assert (records[2].text or "").startswith(f"{len(next_read)} bytes to-client: ")


def test_where_lines_are_left_out_no_frame_and_no_line_is_made_up() -> None:
    begun, rest = SHORT[:6], SHORT[6:]
    gap = line(True, "note", f"7 {LEFT_OUT}".encode(), wire=0)
    opening = line(False, "head", b"HTTP/1.1 101 x\r\n\r\n")
    records = cut(
        Binding.WS, opening, line(False, "bytes", SHORT + begun), gap, line(False, "bytes", rest)
    )
    kinds = ["http-response", "result", "invalid", "note", "note"]
    assert [record.kind for record in records] == kinds
    assert (records[-1].text or "").endswith(LOST)
    again = cut(Binding.WS, gap, opening, line(False, "bytes", SHORT))
    assert [record.kind for record in again] == ["note", "http-response", "result"]
    lines = line(False, "bytes", PONG[:9]), gap, line(False, "bytes", PONG[20:] + b"\n")
    _, message = cut(Binding.STDIO, *lines)
    assert message.cut


def test_secrets_stay_where_that_is_wanted() -> None:
    value = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"apiKey": "abcdef0123456789"}})
    said = [line(False, "message", value.encode() + b"\n")]
    result = Result(
        case=case_of(),
        revision="2025-11-25",
        binding=Binding.STDIO,
        verdict=Verdict.PASSED,
        transcript=said,
    )
    (record,) = records_of(result, secrets=True)
    assert (record.text, record.redactions) == (value, ())
    assert "abcdef" not in (records_of(result)[0].text or "")


def test_secrets_that_are_known_are_hidden_everywhere() -> None:
    redactor = Redactor()
    redactor.hide("correct-horse-battery-9")
    value = json.dumps({"jsonrpc": "2.0", "method": "x", "params": ["correct-horse-battery-9"]})
    (record,) = cut(Binding.STDIO, line(False, "message", value.encode()), redactor=redactor)
    assert "correct-horse" not in (record.text or "")
    assert record.redactions
