"""The server's end of an HTTP/1.1 connection: any split is the same; states, deadlines, ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from mcpcore.http.headers import HeaderLines
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore_transports.http1.body import BadBody, BadHead
from mcpcore_transports.http1.connection import SERVER, Http1Server, Http1State
from mcpcore_transports.http1.format import CONTINUE, PROCESSING
from tests.http1.ends import SETTINGS, Application, server, told

HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
POST = HEAD + b"Content-Length: 5\r\n\r\nhello"
LONGER = HEAD + b"Content-Length: 12\r\n\r\nhello, world"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
GET = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"
OLD = b"GET /mcp HTTP/1.0\r\n\r\n"
STREAMS = {
    "one": POST,
    "two": POST * 2,
    "three of a kind": POST * 3,
    "another length": POST + LONGER + POST,
    "in chunks": CHUNKED,
    "of all kinds": POST + CHUNKED + GET + POST,
    "empty lines before": b"\r\n\r\n" + POST,
    "a last one": POST + LAST,
    "behind the last one": LAST + POST,
    "of an old client": OLD,
    "no head": b"\x16\x03\x01",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello",
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a head cut short": HEAD,
    "a body cut short": POST[:-1],
    "another version": b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "a long line": b"GET /" + b"x" * 300 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_the_same_whole_and_byte_by_byte(name: str, ended: bool) -> None:
    stream = STREAMS[name]
    expected = told([stream], ended=ended)
    assert expected or not ended
    assert told([bytes([byte]) for byte in stream], ended=ended) == expected
    assert told([stream], ended=ended, whole=False) == expected
    for at in range(1, len(stream), 7):
        assert told([stream[:at], stream[at:]], ended=ended) == expected


def test_a_head_that_comes_again_is_not_parsed_again_and_another_length_is_seen() -> None:
    """The first one is not kept, as there may be no other."""
    forwarded = HEAD + b"X-Forwarded-For: 10.0.0.1\r\nAuthorization: Bearer tangerine\r\n"
    http = server(structs.replace(SETTINGS, trusted_proxies=("127.0.0.1", "10.0.0.0/8")))
    taken = []
    for length in (5, 5, 5, 12):
        http.feed(forwarded + b"Content-Length: %d\r\n\r\n%b" % (length, bytes(length)))
        head = http.next_head(0.0)
        assert head is not None
        assert http.take_whole() == bytes(length)
        http.send_whole(HttpReply(1, 200, (), b"x"), 0.0)
        taken.append(head)
    alone, first, again, other = taken
    assert alone is not first
    assert again is first
    assert "tangerine" not in repr(taken)
    before, after = first.request.headers, other.request.headers
    assert isinstance(before, HeaderLines)
    assert isinstance(after, HeaderLines)
    assert after.alike is before.alike
    assert (other.length, after.length, after[-1]) == (12, 12, (b"content-length", b"12"))
    assert (first.length, before.length, before[-1]) == (5, 5, (b"content-length", b"5"))
    assert (other.request.peer, other.request.proxy) == ("10.0.0.1", "127.0.0.1:1")


@pytest.mark.parametrize("name", ["one", "in chunks", "of all kinds"])
def test_what_follows_a_request_is_left_to_the_next(name: str) -> None:
    stream = STREAMS[name]
    alone = told([stream])
    assert told([stream + GET]) == alone + told([GET])
    assert told([stream + GET[:10]]) == alone
    assert told([stream + b"\0"]) == [*alone, *told([b"\0"])]


EXPECTED = {
    "two": ["head", "content", "end", "head", "content", "end"],
    "in chunks": ["head", "content", "end"],
    "a last one": ["head", "content", "end", "head", "content", "end"],
    "behind the last one": ["head", "content", "end"],
    "no head": ["refused"],
    "a bad chunk": ["head", "content", "refused"],
    "trailers": ["head", "refused"],
    "a head cut short": ["refused"],
    "a body cut short": ["head", "content", "refused"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_application_is_told_of_heads_contents_and_ends(name: str) -> None:
    assert [kind for kind, _ in told([STREAMS[name]], ended=True)] == EXPECTED[name]


def replying(stream: bytes = GET) -> Http1Server:
    """An end that has received a request without a body, and awaits the reply."""
    http = server()
    http.feed(stream)
    assert http.next_head(0.0) is not None
    http.skip_body()
    return http


Part = HttpHead | HttpChunk | HttpEnd
WHOLE = HttpReply(1, 200, ((b"a", b"b"),), b"hello")
LARGE = HttpReply(1, 200, (), b"x" * 100)
HEAD_OF_REPLY = HttpHead(1, 200, [(b"a", b"b")])
ENDED: list[Part] = [HEAD_OF_REPLY, HttpChunk(1, b"hello"), HttpChunk(1, b""), HttpEnd(1)]


@pytest.mark.parametrize(
    ("request_", "items", "body", "after"),
    [
        (GET, ENDED, b"5\r\nhello\r\n0\r\n\r\n", Http1State.HEAD),
        (OLD, ENDED, b"hello", Http1State.LINGERING),
        (GET.replace(b"GET", b"HEAD"), ENDED, b"", Http1State.HEAD),
        (GET, [HttpHead(1, 204, []), HttpEnd(1)], b"", Http1State.HEAD),
        (GET, [HttpHead(1, 204, []), HttpEnd(1, close=True)], b"", Http1State.LINGERING),
        (
            GET,
            [*ENDED[:-1], HttpEnd(1, close=True)],
            b"5\r\nhello\r\n0\r\n\r\n",
            Http1State.LINGERING,
        ),
        (
            GET,
            [HttpHead(1, 200, [(b"content-length", b"2")]), HttpChunk(1, b"ok"), HttpEnd(1)],
            b"ok",
            Http1State.HEAD,
        ),
    ],
)
def test_replies_are_framed_as_the_request_allows(
    request_: bytes, items: list[Part], body: bytes, after: Http1State
) -> None:
    http = replying(request_)
    head, _, found = http.send(items, 1.0).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 20")
    assert found == body
    assert http.state is after
    assert http.deadline == 1.0 + (60.0 if after is Http1State.HEAD else 1.0)
    assert (b"connection: close" in head) is (after is Http1State.LINGERING)


def test_a_stream_whose_end_closes_is_cut_as_its_head_did_not_say_so() -> None:
    http = replying()
    begun = http.send(ENDED[:-1], 1.0)
    assert b"connection: close" not in begun
    assert http.send([HttpEnd(1, close=True)], 1.0) == b""
    assert http.state is Http1State.LINGERING


@pytest.mark.parametrize("stays", [True, False])
def test_a_large_reply_goes_out_in_pieces(stays: bool) -> None:
    http, body = server(), bytes(range(200))
    http.feed(POST)
    assert http.next_head(0.0) is not None
    assert http.take_whole() is not None
    head = http.send_whole(HttpReply(1, 200, ((b"a", b"b"),), body), 1.0)
    assert head.startswith(b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 200\r\n")
    assert head.endswith(b"\r\n\r\n")
    pieces: list[bytes] = []
    while http.rest:
        assert (http.state, http.may_be_whole, http.may_probe) == (Http1State.REPLY, False, False)
        http.keep_alive = stays
        pieces.append(bytes(http.send_rest(2.0)))
    assert (b"".join(pieces), [*map(len, pieces)]) == (body, [64, 64, 64, 8])
    assert isinstance(http.rest, bytes)  # nothing holds the body any more
    assert http.state is (Http1State.HEAD if stays else Http1State.LINGERING)
    assert http.deadline == 2.0 + (60.0 if stays else 1.0)


def due(http: Http1Server) -> tuple[float, str | None]:
    """When the current step has taken too long, and what is said then."""
    return http.deadline, http.overdue


def test_deadlines() -> None:
    http = Http1Server(server()._parser, SETTINGS, None, 100.0)
    assert due(http) == (110.0, None)
    http.established()
    http.feed(b"\r")  # may be half of an empty line
    assert http.next_head(101.0) is None
    assert due(http) == (110.0, None)
    http.feed(b"\nPO")
    assert http.next_head(102.0) is None
    assert http.next_head(105.0) is None
    assert due(http) == (112.0, "the head of the request took too long")
    http.feed(POST[2:-5])
    assert http.next_head(106.0) is not None
    assert due(http) == (math.inf, None)
    http.begin_body(107.0)
    assert http.read_body(b"he", 107.0) == (b"he", 0, False)
    assert http.deadline == 107.0 + 5.0 + 2 / 10
    assert due(http)[1] == "the body of the request took too long"
    http.pause(108.0)
    assert due(http) == (128.0, None)
    assert not http.idle
    assert http.read_body(b"l", 109.0) == (b"l", 0, False)
    assert http.deadline == 128.0
    http.resume(110.0)
    assert http.deadline == 107.0 + 5.0 + 3 / 10
    assert http.read_body(b"lo", 110.0) == (b"lo", 0, True)
    assert http.deadline == math.inf
    http.send_whole(WHOLE, 111.0)
    http.pause(111.0)
    assert http.deadline == 131.0
    http.resume(112.0)
    assert (http.deadline, http.idle) == (172.0, True)
    http.next_head(113.0, draining=True)
    assert (http.state, http.deadline) == (Http1State.LINGERING, 114.0)


def test_a_head_that_came_while_nothing_could_be_sent_has_its_whole_time() -> None:
    http = server()
    http.feed(b"PO")
    http.next_head(1.0)
    http.pause(2.0)
    http.resume(3.0)
    assert due(http) == (63.0, None)
    http.next_head(3.0)
    assert due(http) == (13.0, "the head of the request took too long")


def test_a_client_that_must_wait_is_told_to_go_on() -> None:
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    http = server()
    http.feed(head)
    http.next_head(0.0)
    assert http.begin_body(0.0) == CONTINUE
    http = server()
    http.feed(head + b"h")  # it does not wait
    http.next_head(0.0)
    assert http.begin_body(0.0) == b""


def test_a_body_that_is_not_wanted_ends_the_connection_unless_it_is_there() -> None:
    for stream, follows in ((POST, True), (POST[:-1], False), (CHUNKED, False)):
        http = server()
        http.feed(stream)
        http.next_head(0.0)
        http.skip_body()
        assert http.keep_alive is follows
        assert bytes(http.buffer) == (b"" if follows else stream.partition(b"\r\n\r\n")[2])


def test_room_is_bounded_while_a_reply_is_awaited() -> None:
    http = replying(GET)
    assert http.room == 100
    http.feed(b"x" * 60)
    assert http.room == 40
    http.feed(b"x" * 60)
    assert http.room == 0


def test_who_has_finished_sending_is_probed_as_long_as_that_tells() -> None:
    http = replying(GET)
    http.end_input(0.0)
    assert http.may_probe
    probes = []
    while (probe := http.probe()) is not None:
        probes.append(probe)
    assert probes == [(PROCESSING, delay) for delay in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert http.probed
    http.send(ENDED, 0.0)
    assert http.state is Http1State.CLOSING, "it sends no more, so there is nothing to wait for"
    for cannot in (replying(OLD), replying(GET)):
        if cannot.keep_alive:
            cannot.send([HEAD_OF_REPLY], 0.0)
        assert not cannot.may_probe
        assert cannot.probe() is None


def test_who_has_sent_ahead_is_served_though_it_has_finished_sending() -> None:
    application = Application(server())
    application.http.end_input(0.0)
    application.receive(GET + GET)
    assert application.sent.count(b"HTTP/1.1 200") == 2
    assert application.http.state is Http1State.CLOSING


def test_input_behind_the_last_reply_is_dropped_up_to_a_limit() -> None:
    application = Application(server())
    application.receive(LAST)
    states = []
    for dropped in (b"", b"x" * 99, b"x"):
        application.http.feed(dropped)
        states.append(application.http.state)
    assert states == [Http1State.LINGERING, Http1State.LINGERING, Http1State.CLOSED]


def test_another_protocol_may_take_the_connection_or_leave_it() -> None:
    http = server()
    http.feed(HEAD + b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n")
    head = http.next_head(0.0)
    assert head is not None
    assert head.upgrade
    http.switch()
    assert http.state is Http1State.SWITCHED
    http.decline(b"hello")
    http.begin_body(0.0)
    assert http.read_body(b"", 0.0) == (b"hello", 0, True)


# The product of states and inputs

ALLOWED = {(before, after) for (before, _), after in SERVER.items()}
INPUTS = (POST, CHUNKED, GET, LAST, OLD, POST[:40], b"5\r\nhello\r\n", b"\r\n", b"\0", b"x" * 70)
ACTIONS = ("head", "body", "whole", "skip", "switch", "decline", "send", "reply")
ANY_TIME = ("pause", "resume", "end", "probe", "finish", "close", "stop", "refuse")


def act(http: Http1Server, action: str, now: float) -> None:
    """Do something, if the state allows it."""
    state = http.state
    if action == "head" and state is Http1State.HEAD:
        http.next_head(now, draining=now > 50)
    elif state is Http1State.HELD and action == "body":
        http.begin_body(now)
    elif state is Http1State.HELD and action == "whole":
        http.take_whole()
    elif state is Http1State.HELD and action in ("skip", "switch"):
        http.skip_body() if action == "skip" else http.switch()
    elif action == "decline" and state is Http1State.SWITCHED:
        http.decline(b"abc")
    elif action == "body" and state is Http1State.BODY:
        http.read_body(b"", now)
        if http.state is Http1State.BODY:
            http.check_body()
    elif action == "reply" and state is Http1State.REPLY and http.rest:
        http.send_rest(now)
    elif action == "reply" and state is Http1State.REPLY and http.may_be_whole:
        http.send_whole(WHOLE if now % 2 else LARGE, now)
    elif action == "send" and not http.rest and state is Http1State.REPLY:
        http.send(ENDED, now)
    elif action in ("pause", "resume", "close"):
        if action != "close" or (state, "close") != (Http1State.CLOSED, "close"):
            getattr(http, action)(now)
    elif action == "end":
        http.end_input(now)
    elif action == "probe":
        http.probe()
    elif action == "stop":
        http.stop()
    elif state in (Http1State.HEAD, Http1State.HELD, Http1State.BODY, Http1State.REPLY):
        if action == "finish":
            http.finish(now)
        elif action == "refuse":
            http.refuse(BadHead("no"), (), now)


@given(st.lists(st.sampled_from((*INPUTS, *ACTIONS, *ACTIONS, *ANY_TIME)), max_size=40))
def test_every_state_bears_every_input(steps: list[bytes | str]) -> None:
    http, now = server(), 0.0
    for step in steps:
        before, now = http.state, now + 1.0
        try:
            if isinstance(step, str):
                act(http, step, now)
            else:
                http.feed(step)
        except (BadHead, BadBody):
            http.refuse(BadHead("no"), (), now)
        assert http.state is before or (before, http.state) in ALLOWED or _two(before, http.state)
        assert http.room >= 0
        assert not (http.idle and (http.buffer or http.blocked))
        if http.blocked:
            assert http.overdue is None
        elif http.state in (Http1State.REPLY, Http1State.HELD):
            assert http.deadline == math.inf
        else:
            assert http.deadline < math.inf or http.state in (
                Http1State.SWITCHED,
                Http1State.CLOSED,
            )


def _two(before: Http1State, after: Http1State) -> bool:
    """A fault is refused in the same step, and the end may come with it."""
    return any((before, mid) in ALLOWED and (mid, after) in ALLOWED for mid in Http1State)
