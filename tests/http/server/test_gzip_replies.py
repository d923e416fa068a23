"""Large JSON replies, compressed for clients that ask for it: which, for whom, in which pieces."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import ExchangeEnded, HttpEnd, HttpHead, HttpRequest, HttpSettings, SsePaths
from mcpcore.engine.events import RequestReceived
from mcpcore.http.headers import PIECE, Packing, takes_gzip, unpacker
from tests.http.support import (
    META,
    MODERN,
    Bench,
    Reply,
    in_session,
    initialize,
    make_server,
    request,
)

FROM = HttpSettings().gzip_from or 0
LARGE = "".join(map(str, range(20_000)))
"""A text that compresses, but not beyond what is honest."""

ASKED = [
    ("gzip", True),
    ("GZIP", True),
    ("x-gzip", True),
    ("gzip, deflate", True),
    ("gzip, deflate, br, zstd", True),
    ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
    ("\tgzip ; q=0.001 ", True),
    ("gzip;Q=1", True),
    ("deflate,,gzip", True),
    ("*", True),
    ("*;q=0.5", True),
    ("br, *;q=0.5, identity;q=0.5", True),
    ("gzip, identity", True),
    ("gzip;q=1.0, identity; q=0.5, *;q=0", True),
    ("identity;q=0, gzip;q=0.1", True),
    (None, False),
    ("", False),
    ("identity", False),
    ("deflate, br", False),
    ("gzip;q=0", False),
    ("gzip;q=0.000", False),
    ("*;q=0", False),
    ("*, gzip;q=0", False),
    ("gzip;q=0, x-gzip", False),  # they are one coding, and its first weight counts
    ("gzip;q=0.5, identity", False),
    ("gzip;q=0.5, identity;q=0.6", False),
    ("*;q=0.5, identity;q=0.6", False),
    ("gzip;q=2", False),
    ("gzip;q=0.1234", False),
    ("gzip;q=", False),
    ("gzip;level=9", False),
    ("gzip deflate", False),
    ("gz ip", False),
    ("\xff, gzip", True),
    ('"gzip"', False),
]


@pytest.mark.parametrize(("said", "asked"), ASKED)
def test_what_asks_for_gzip(said: str | None, asked: bool) -> None:
    assert takes_gzip(said) is asked


@given(said=st.text(alphabet="gzipx*identy;q=01.5, \t", max_size=60))
def test_whatever_is_said_is_an_answer(said: str) -> None:
    assert takes_gzip(said) in (True, False)


@given(size=st.integers(1, 3 * PIECE + 1), seed=st.binary(min_size=1, max_size=40))
def test_pieces_are_one_body(size: int, seed: bytes) -> None:
    body = (seed * (size // len(seed) + 1))[:size]
    packing, pieces = Packing(body), []
    while not packing.done:
        pieces.append(packing.next())
    assert all(pieces)
    assert len(pieces) == -(-size // PIECE)
    assert gzip.decompress(b"".join(pieces)) == body
    unpack = unpacker()
    assert b"".join(map(unpack, pieces)) == body


# At the server


def answered(bench: Bench, text: str = LARGE, **options: Any) -> Reply:
    """The reply to a call whose result holds ``text``."""
    reply = bench.modern("tools/call", {"name": "t"}, pump=False, **options)
    drain(bench, text)
    return reply


def drain(bench: Bench, text: str = LARGE) -> None:
    bench.pump()
    for event in bench.events:
        if isinstance(event, RequestReceived):
            bench.server.respond(event.key, {"content": [{"type": "text", "text": text}]})
    bench.events.clear()
    bench.pump()


def text_of(body: bytes) -> str:
    return str(json.loads(body)["result"]["content"][0]["text"])


def test_a_large_reply_is_compressed_for_who_asks() -> None:
    bench = Bench()
    reply = answered(bench, accept_encoding="gzip, deflate")
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["vary"] == "accept-encoding"
    assert reply.headers["content-type"] == "application/json"
    assert int(reply.headers["content-length"]) == len(reply.body) < len(LARGE) // 2
    assert text_of(gzip.decompress(reply.body)) == LARGE


@pytest.mark.parametrize("said", [None, "identity", "gzip;q=0", "br"])
def test_nobody_else_gets_it(said: str | None) -> None:
    reply = answered(Bench(), **({} if said is None else {"accept_encoding": said}))
    assert "content-encoding" not in reply.headers
    assert reply.headers["vary"] == "accept-encoding"  # for others it may be another one
    assert text_of(reply.body) == LARGE


def test_small_replies_stay_as_they_are() -> None:
    plain = len(answered(Bench(), "").body)
    for size, packed in ((FROM - plain - 1, False), (FROM - plain, True)):
        reply = answered(Bench(), "x" * size, accept_encoding="gzip")
        assert ("content-encoding" in reply.headers) is packed
        assert ("vary" in reply.headers) is packed


def test_the_size_is_a_setting() -> None:
    small = Bench(make_server(HttpSettings(gzip_from=1)))
    assert answered(small, "x", accept_encoding="gzip").headers["content-encoding"] == "gzip"
    off = Bench(make_server(HttpSettings(gzip_from=None)))
    reply = answered(off, accept_encoding="gzip")
    assert not reply.headers.keys() & {"content-encoding", "vary"}
    with pytest.raises(ValueError, match="gzip_from must be at least 1, not 0"):
        HttpSettings(gzip_from=0)


def test_legacy_replies_and_errors_too() -> None:
    bench = Bench(make_server(HttpSettings(gzip_from=1)))
    reply = bench.post(initialize(), accept_encoding="gzip")
    assert reply.headers["content-encoding"] == "gzip"
    assert "mcp-session-id" in reply.headers
    assert json.loads(gzip.decompress(reply.body))["result"]["serverInfo"]
    wrong = bench.modern("tools/none", accept_encoding="gzip")
    assert wrong.status == 404
    assert json.loads(gzip.decompress(wrong.body))["error"]["code"] == -32601


def test_pages_learn_that_it_varies_by_both() -> None:
    bench = Bench(make_server(HttpSettings(gzip_from=1)))
    route = bench.send_modern(
        "tools/none", accept_encoding="gzip", origin="http://localhost:8000", pump=False
    )
    bench.pump()
    head = bench.replies[route].head
    assert head is not None
    assert [value for name, value in head.headers if name == b"vary"] == [
        b"Origin",
        b"accept-encoding",
    ]


# Never


def test_what_has_no_body_has_no_coding() -> None:
    bench, session = in_session(
        accept_encoding="gzip", server=make_server(HttpSettings(gzip_from=1))
    )
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    accepted = bench.post(note, mcp_session_id=session, accept_encoding="gzip")
    gone = bench.replies[
        bench.send(method="DELETE", mcp_session_id=session, accept_encoding="gzip")
    ]
    options = bench.replies[bench.send(method="OPTIONS", accept_encoding="gzip")]
    assert [reply.status for reply in (accepted, gone, options)] == [202, 204, 204]
    for reply in (accepted, gone, options):
        assert not reply.headers.keys() & {"content-encoding", "vary"}
        assert reply.body == b""


def test_event_streams_never() -> None:
    settings = HttpSettings(gzip_from=1, json_delay=1.0, sse=SsePaths())
    bench = Bench(make_server(settings))
    told = bench.modern("tools/call", {"name": "t"}, accept_encoding="gzip", pump=False)
    bench.pump()
    [event] = [each for each in bench.events if isinstance(each, RequestReceived)]
    bench.pass_time(2.0)  # slow, and so a stream
    bench.server.respond(event.key, {"content": [{"type": "text", "text": LARGE}]})
    bench.events.clear()
    bench.pump()
    only = bench.modern(
        "tools/call", {"name": "t"}, accept="text/event-stream", accept_encoding="gzip", pump=False
    )
    drain(bench)
    session = bench.session()
    listening = bench.replies[
        bench.send(method="GET", mcp_session_id=session, accept_encoding="gzip")
    ]
    piped = bench.replies[bench.send(method="GET", path="/sse", accept_encoding="gzip")]
    for reply in (told, only, listening, piped):
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/event-stream"
        assert not reply.headers.keys() & {"content-encoding", "vary"}
    for reply in (told, only):
        assert reply.events[-1]["result"]["content"][0]["text"] == LARGE


def test_health_is_left_as_it_is() -> None:
    bench = Bench(make_server(HttpSettings(gzip_from=1)))
    reply = bench.replies[bench.send(method="GET", path="/health", accept_encoding="gzip")]
    assert "content-encoding" not in reply.headers
    assert reply.body == b'{"status":"ok"}\n'


# Heads that were seen before


def test_who_asks_is_told_apart_from_who_is_alike_otherwise() -> None:
    bench = Bench()
    for said in ("gzip", "identity", "gzip", "br", "identity"):
        reply = answered(bench, accept_encoding=said)
        assert ("content-encoding" in reply.headers) is (said == "gzip")


def test_in_one_call_as_in_several() -> None:
    bench = Bench()
    for number, said in enumerate(("gzip", "identity") * 2, start=1000):
        body = json.dumps(request("tools/call", {"name": "t", "_meta": META})).encode()
        headers = [
            *((b"host", b"localhost:8000"), (b"content-type", b"application/json")),
            (b"content-length", b"%d" % len(body)),
            (b"mcp-protocol-version", MODERN.encode()),
            *((b"mcp-method", b"tools/call"), (b"mcp-name", b"t")),
            (b"accept-encoding", said.encode()),
        ]
        head = HttpRequest(method="POST", path="/mcp", headers=headers)
        bench.server.ask(number, head, body, now=0.0)
        event = bench.server.next_event()
        assert isinstance(event, RequestReceived)
        bench.server.respond(event.key, {"content": [{"type": "text", "text": LARGE}]})
        whole = bench.server.whole_reply(number)
        assert whole is not None
        packed = (b"content-encoding", b"gzip") in whole.headers
        assert packed is (said == "gzip")
        assert text_of(gzip.decompress(whole.body) if packed else whole.body) == LARGE


# Long ones, in pieces


def long_reply(bench: Bench, size: int = 3 * PIECE, **options: Any) -> tuple[int, str]:
    """A call that was answered with a long text, and of whose reply nothing was taken yet."""
    text = (LARGE * (size // len(LARGE) + 1))[:size]
    route = bench.send_modern("tools/call", {"name": "t"}, pump=False, **options)
    while (event := bench.server.next_event()) is not None:
        if isinstance(event, RequestReceived):
            bench.server.respond(event.key, {"content": [{"type": "text", "text": text}]})
    return route, text


def test_a_long_reply_comes_in_pieces_between_which_others_have_their_turn() -> None:
    bench = Bench()
    server, (route, text) = bench.server, long_reply(bench, accept_encoding="gzip")
    assert server.whole_reply(route) is None
    taken: list[Any] = []
    turns = 0
    while True:
        while server.writable() == [route]:
            taken += server.data_to_send(route, 1 << 20)
        if isinstance(taken[-1], HttpEnd):
            break
        assert not server.pending
        assert server.timed
        due = server.deadline()
        assert due is not None
        assert due <= bench.now
        server.handle_timeout(bench.now)
        turns += 1
    assert turns == 3
    head, *chunks, _ = taken
    assert isinstance(head, HttpHead)
    names = dict(head.headers)
    assert names[b"content-encoding"] == b"gzip"
    assert b"content-length" not in names
    body = b"".join(chunk.data for chunk in chunks)
    assert text_of(gzip.decompress(body)) == text
    assert server.exchanges == 0
    assert server.deadline() is None


@pytest.mark.parametrize("limit", [1, 1000, 1 << 20])
def test_no_more_is_given_than_is_wanted(limit: int) -> None:
    bench = Bench()
    route, text = long_reply(bench, PIECE + 1, accept_encoding="gzip")
    count = 0
    while bench.server.exchanges:
        items = bench.write(route, limit)
        assert items
        count += 1
    assert count > 1
    assert text_of(gzip.decompress(bench.replies[route].body)) == text


def test_who_leaves_takes_the_rest_along() -> None:
    bench = Bench()
    route, _ = long_reply(bench, accept_encoding="gzip")
    assert bench.server.data_to_send(route, 1 << 20)
    bench.server.disconnect(route, now=bench.now)
    bench.pass_time(100.0)
    assert bench.server.exchanges == 0
    assert not bench.server.pending


def test_what_was_sent_is_counted_as_it_was_sent() -> None:
    bench = Bench()
    bench.server.reports = True
    route, _ = long_reply(bench, accept_encoding="gzip")
    bench.pump()
    ended = bench.take(ExchangeEnded)
    assert (ended.exchange, ended.status, ended.complete) == (route, 200, True)
    assert ended.sent == len(bench.replies[route].body) < 3 * PIECE
