"""The client's end of an HTTP/1.1 connection: any split is the same; states, deadlines, ends."""

import math
import zlib

import pytest

from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.connection import CLIENT, Http1Signal, Http1State
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from tests.http1.ends import client, read

STOP = Http1Signal.STOP
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = OK + b"Content-Length: 5\r\n\r\nhello"
PACKED = zlib.compress(b"hello" * 100)
RESPONSES = {
    "by length": GOOD,
    "in chunks": OK
    + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
    "until the end": OK + b"\r\nhello",
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "after interim ones": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + GOOD,
    "the last": OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    "of an old server": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "packed": OK
    + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(PACKED)
    + PACKED,
    "badly packed": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "a bad chunk behind a good one": CHUNKED + b"2\r\nhe\r\nx\r\nllo\r\n",
    "a protocol that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no response": b"SSH-2.0-x\r\n\r\n",
    "cut short": GOOD[:-1],
}
EXPECTED = {
    "by length": [200, b"hello", True],
    "in chunks": [200, b"hello", True],
    "until the end": [200, b"hello", False],
    "no body": [204, b"", True],
    "after interim ones": [200, b"hello", True],
    "the last": [200, b"hello", False],
    "of an old server": [200, b"hello", False],
    "packed": [200, b"hello" * 100, True],
    "a bad chunk behind a good one": [200, b"he", "malformed chunk size"],
    "cut short": [200, b"hell"],
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_the_same_whole_and_byte_by_byte(name: str) -> None:
    response = RESPONSES[name]
    expected = read([response], ended=True)
    assert read([bytes([byte]) for byte in response], ended=True) == expected
    for at in range(1, len(response), 7):
        assert read([response[:at], response[at:]], ended=True) == expected
    if name in EXPECTED:
        found = [said[0] if isinstance(said, tuple) else said for _, said in expected]
        assert found == EXPECTED[name]


def test_what_follows_a_response_ends_the_connection() -> None:
    assert read([GOOD])[-1] == ("end", True)
    assert read([GOOD + b"x"])[-1] == ("end", False)


def test_interim_responses_are_bounded() -> None:
    http = client()
    for _ in range(63):
        http.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        assert http.next_head(0.0) is None
    http.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    with pytest.raises(BadHead, match="64 interim responses"):
        http.next_head(0.0)


def test_deadlines() -> None:
    http = client(HttpClientLinkSettings(write_time=3.0, body_time=7.0, idle_time=9.0))
    http.sending(10.0)
    assert (http.deadline, http.step) == (13.0, "does not take the request")
    http.sent()
    assert http.deadline == math.inf
    http.feed(OK + b"Content-Length: 5\r\n\r\n")
    http.next_head(20.0)
    assert (http.deadline, http.step) == (27.0, "took too long to send its response")
    http.sending(21.0)  # the rest of the request
    http.sent()
    assert http.deadline == 27.0
    http.feed(b"hello")
    assert http.read_body() == b"hello"
    assert http.finish()
    http.rest(30.0)
    assert http.deadline == 39.0


def test_deadlines_of_a_whole_exchange() -> None:
    http = client(HttpClientLinkSettings(write_time=3.0, body_time=7.0))
    http.begin(2.0, None, 0.0)
    http.sending(1.0)
    assert (http.deadline, http.step) == (2.0, "did not take the message in time")
    http.feed(OK + b"Content-Type: text/event-stream\r\n\r\n")
    http.next_head(1.0)
    assert http.deadline == 2.0
    http = client()
    http.begin(2.0, 5.0, 0.0)
    assert (http.deadline, http.step) == (5.0, "did not begin its response in time")
    http.feed(OK + b"Content-Type: text/event-stream\r\n\r\n")
    http.next_head(1.0)
    assert http.deadline == math.inf


@pytest.mark.parametrize(
    "state", [each for each in Http1State if (each, Http1Signal.STOP) in CLIENT]
)
def test_the_end_may_come_at_any_time(state: Http1State) -> None:
    http = client()
    http.feed(b"x")
    http.state = state
    http.stop()
    assert (http.state, bytes(http.buffer)) == (Http1State.CLOSED, b"")
