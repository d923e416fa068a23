"""What a server can do to a client, over real sockets: each fault ends one call and nothing else.

Each row is one thing that a broken or hostile server does to one call.  The call ends in a typed
error, or as the row says it should, within its deadline and half a second; a call that was under
way on the same client is answered all the same, and the next one too.
"""

import functools
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from msgspec import Struct

from mcpcore import ClientSettings, HttpClientLinkSettings, HttpClientSettings, Limits
from mcpcore.errors import (
    CallFailed,
    ConnectionClosed,
    HttpStatusError,
    InvalidResponse,
    MalformedResponse,
    PeerError,
    RedirectRefused,
    RequestTimeout,
    ResponseTooLarge,
    ResponseUndecodable,
    ServerStalled,
)
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.client import Client, connect
from tests.clock import PATIENCE, patience, until
from tests.transports.villain import CHUNKED, EVENTS, JSON, Script, Side, Villain, villain

pytestmark = pytest.mark.anyio

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
GRACE = 0.5
"""Seconds that a call may end after its deadline."""
TRIES = 3
SHORT = 0.4
"""The deadline of calls that only a deadline can end."""
MIB = 1024 * 1024
CALL = {"type": "text", "text": "well"}


class Row(Struct, frozen=True, kw_only=True):
    """One fault."""

    script: Script
    error: type[CallFailed] | type[PeerError] | None
    """What the call raises; exactly this type.  None: it is answered all the same."""
    words: str = ""
    """What the message says."""
    timeout: float = 20.0
    """The deadline of the call."""
    legacy: bool = False
    young: bool = False
    """The session has answered nothing before."""
    get: Script | None = None
    """What a GET with Last-Event-ID is answered with."""
    facts: dict[str, Any] = {}
    """Attributes of the error."""
    memory: int | None = None
    """Bytes that the call may take at most while it lasts."""
    http: dict[str, Any] = {}
    link: dict[str, Any] = {}
    adapted: Any = ...
    """The type of error where another HTTP client is brought, which has a parser of its own."""
    requests: dict[str, int] = {}
    """How often the server sees something at most."""


def says(*parts: bytes, then: str = "close") -> Script:
    """Send ``parts``, in which ANSWER, SIZE and ID are filled in; then close, hold or reset."""

    async def script(side: Side) -> bool:
        answer = side.answer()
        for part in parts:
            filled = part.replace(b"ANSWER", answer).replace(b"SIZE", b"%d" % len(answer))
            filled = filled.replace(b"ORIGIN", side.villain.url.removesuffix("/mcp").encode())
            await side.send(filled.replace(b"ID", b"%d" % (side.id or 0)))
        if then == "hold":
            await side.hold()
        elif then == "reset":
            side.reset()
        return then == "keep"

    return script


def pours(head: bytes, part: bytes, count: int | None = None, tail: bytes = b"") -> Script:
    """Send ``head``, then ``part`` over and over, or ``count`` times and then ``tail``."""

    async def script(side: Side) -> bool:
        await side.send(head)
        await side.pour(part, count)
        await side.send(tail.replace(b"ANSWER", side.answer()))
        return False

    return script


def drips(data: bytes) -> Script:
    """Send ``data`` byte by byte, and its last bytes over and over."""

    async def script(side: Side) -> bool:
        for byte in data:
            await side.send(bytes([byte]))
        await side.pour(data[-1:])
        return False

    return script


def replies(make: Callable[[Side], bytes], head: bytes = JSON) -> Script:
    """Send a body that is made for the request."""

    async def script(side: Side) -> bool:
        body = make(side)
        await side.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return True

    return script


def status(code: int, *headers: str, body: bytes = b"") -> Script:
    lines = "".join(f"{line}\r\n" for line in headers)
    head = f"HTTP/1.1 {code} Status\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return says(head.encode() + body, then="keep")


@functools.cache
def bomb(coding: str) -> bytes:
    """64 MiB of blanks, compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    piece = b" " * MIB
    return b"".join([packer.compress(piece) for _ in range(64)]) + packer.flush()


def packed(make: Callable[[Side], bytes], head: bytes, coding: str = "gzip") -> Script:
    line = f"Content-Encoding: {coding}\r\n".encode()
    return replies(make, head + line)


SMALL = {"max_body": 100_000, "max_event": 100_000}
CLOSED = "closed the connection"
CHUNK = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
ERROR_500 = b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n"
ASK = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
NOTE = (
    b'data: {"jsonrpc":"2.0","method":"notifications/message",'
    b'"params":{"level":"info","data":1}}\n\n'
)
PROGRESS = (
    b'data: {"jsonrpc":"2.0","method":"notifications/progress",'
    b'"params":{"progressToken":ID,"progress":1}}\n\n'
)


def alike(
    error: type[CallFailed] | None, scripts: dict[str, Script], **more: Any
) -> dict[str, Row]:
    """Rows of the same end."""
    return {name: Row(script=script, error=error, **more) for name, script in scripts.items()}


def closing() -> dict[str, Row]:
    """It closes at any point."""
    points = {
        "before the head": b"",
        "within the status line": b"HTTP/1.1 20",
        "within a header": JSON[:-12],
        "after the head": JSON + b"Content-Length: SIZE\r\n\r\n",
        "within the body": JSON + b'Content-Length: SIZE\r\n\r\n{"json',
        "after the head of chunks": JSON + CHUNKED,
        "within a chunk size": JSON + CHUNKED + b"1",
        "within a chunk": JSON + CHUNKED + b"10\r\n{",
        "before the last chunk": JSON + CHUNKED + b"2\r\n{}\r\n",
        "within the last chunk": JSON + CHUNKED + b"2\r\n{}\r\n0\r\n",
        "before the first event": EVENTS + b"\r\n",
        "within an event": EVENTS + b'\r\ndata: {"jsonrpc":',
        "between events": EVENTS + b"\r\n" + NOTE,
        "before an event ends": EVENTS + b"\r\ndata: ANSWER\n",
        "within a chunk of an event": EVENTS + CHUNKED + b"40\r\ndata: {",
    }
    scripts = {f"closes {name}": says(data) for name, data in points.items()}
    for name in ("before the head", "within the body", "within an event"):
        scripts[f"resets {name}"] = says(points[name], then="reset")
    return alike(ConnectionClosed, scripts)


SILENCE = {
    **alike(
        RequestTimeout,
        {
            "never answers": says(then="hold"),
            "half a head, then silence": says(JSON[:30], then="hold"),
            "a head, then silence": says(JSON + b"Content-Length: 9\r\n\r\n", then="hold"),
            "a stream, then silence": says(EVENTS + b"\r\n" + NOTE, then="hold"),
            "a head in single bytes without end": drips(JSON + b"X: y"),
            "a body in single bytes without end": drips(JSON + b"\r\n "),
            "an event in single bytes without end": drips(EVENTS + b"\r\ndata: x"),
            "progress that never gets anywhere": says(EVENTS + b"\r\n" + PROGRESS * 3, then="hold"),
            "interim responses, then silence": says(
                b"HTTP/1.1 102 Processing\r\n\r\n" * 3, then="hold"
            ),
        },
        timeout=SHORT,
    ),
    **alike(
        RequestTimeout,
        {
            "comments without end": pours(EVENTS + b"\r\n", b": still here\n\n" * 50),
            "events of another kind without end": pours(
                EVENTS + b"\r\n", b"event: other\ndata: x\n\n" * 50
            ),
        },
        timeout=SHORT,
        memory=8 * MIB,
    ),
    "a head, then silence for longer than a body may take": Row(
        script=says(JSON + b"Content-Length: 9\r\n\r\n", then="hold"),
        error=ServerStalled,
        link={"body_time": 0.2},
    ),
}

OTHER = b'data: {"jsonrpc":"2.0","id":999,"result":{}}\n\n'
"""An answer to something else."""
ANSWERS = {
    **alike(
        InvalidResponse,
        {
            "a wrong id": replies(lambda s: s.answer(id=999)),
            "the id as text": replies(lambda s: s.answer(id=str(s.id))),
            "the id as a float": replies(lambda s: s.answer(id=s.id + 0.5)),
            "no id": replies(lambda s: s.answer(id=...)),
            "a null id": replies(lambda s: s.answer(id=None)),
            "several answers in an array": replies(
                lambda s: b"[" + s.answer() + b"," + s.answer() + b"]"
            ),
            "result and error": replies(lambda s: s.answer(error={"code": 1, "message": "x"})),
            "neither result nor error": replies(lambda s: s.answer(result=...)),
            "a number as the result": replies(lambda s: s.answer(result=5)),
            "a result that is no tool's": replies(
                lambda s: s.answer(result={"resultType": "complete", "content": 5})
            ),
            "an error that is none": replies(lambda s: s.answer(result=..., error="no")),
            "a request in the place of the answer": replies(lambda s: ASK),
            "another version of JSON-RPC": replies(lambda s: s.answer(jsonrpc="1.0")),
        },
    ),
    **alike(
        None,
        {
            "two answers": says(EVENTS + b"\r\n" + b"data: ANSWER\n\n" * 2, then="hold"),
            "an answer to something else in between": says(
                EVENTS + b"\r\n" + OTHER + b"data: ANSWER\n\n", then="hold"
            ),
        },
    ),
    "answers to something else only": Row(
        script=says(EVENTS + b"\r\n" + OTHER), error=ConnectionClosed
    ),
    "answers to something else without end": Row(
        script=pours(EVENTS + b"\r\n", OTHER), error=InvalidResponse, words="over and over"
    ),
    "an unknown resultType": Row(
        script=replies(lambda s: s.answer(result={"resultType": "soon", "content": []})),
        error=InvalidResponse,
        words="resultType",
    ),
}

GARBAGE = {
    **alike(
        InvalidResponse,
        {
            "no JSON": replies(lambda s: b"hello"),
            "an empty body": replies(lambda s: b""),
            "JSON and more": replies(lambda s: s.answer() + b"}"),
            "not UTF-8": replies(lambda s: s.answer().replace(b"well", b"\xff\xfe")),
            "deep nesting": replies(
                lambda s: s.answer(result={"a": 0}).replace(b"0}", b"[" * 200_000)
            ),
            "nesting just over the limit": replies(
                lambda s: s.answer(result={"a": 0}).replace(b": 0", b": " + b"[" * 130 + b"]" * 130)
            ),
            "garbage as events without end": pours(EVENTS + b"\r\n", b"data: {[\n\n"),
            "a page": replies(
                lambda s: b"<html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
            ),
            "no content type": replies(lambda s: s.answer(), b"HTTP/1.1 200 OK\r\n"),
            "two content types": replies(
                lambda s: s.answer(), JSON + b"Content-Type: text/event-stream\r\n"
            ),
            "accepted": status(202),
            "no content": says(b"HTTP/1.1 204 No\r\n\r\n"),
        },
    ),
    **alike(
        ConnectionClosed,
        {
            "garbage as an event": says(EVENTS + b"\r\ndata: \xff{[\n\n"),
            "garbage that is no event stream": says(EVENTS + b"\r\n" + bytes(range(256)) * 10),
        },
    ),
    "a content type without end": Row(
        script=pours(b"HTTP/1.1 200 OK\r\nContent-Type: ", b"application/json" * 100),
        error=ResponseTooLarge,
        adapted=MalformedResponse,
    ),
}

LUMP = b"x" * 0x4000
SIZES = {
    **alike(
        ResponseTooLarge,
        {
            "a body without length or end": pours(JSON + b"\r\n", LUMP),
            "a line of an event without end": pours(EVENTS + b"\r\ndata: ", LUMP),
            "a comment without end": pours(EVENTS + b"\r\n: ", LUMP),
            "lines of an event without end": pours(EVENTS + b"\r\n", b"data: xy\n" * 1000),
            "an event id without end": pours(EVENTS + b"\r\nid: ", LUMP),
        },
        http=SMALL,
    ),
    "a huge declared length": Row(
        script=says(JSON + b"Content-Length: 99999999999999\r\n\r\n{", then="hold"),
        error=ResponseTooLarge,
        memory=2 * MIB,
    ),
    "a length one byte over the limit": Row(
        script=says(JSON + b"Content-Length: 67108865\r\n\r\n{", then="hold"),
        error=ResponseTooLarge,
    ),
    "chunks without end": Row(
        script=pours(JSON + CHUNKED, CHUNK), error=ResponseTooLarge, http=SMALL, memory=8 * MIB
    ),
    "a refusal without end": Row(
        script=pours(ERROR_500 + b"\r\n", LUMP), error=HttpStatusError, memory=8 * MIB
    ),
    "a redirect without end": Row(
        script=pours(b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", LUMP),
        error=RedirectRefused,
    ),
    "a page without end": Row(
        script=pours(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", LUMP),
        error=InvalidResponse,
    ),
    "a stream that goes on after the answer": Row(
        script=pours(EVENTS + b"\r\n", NOTE, 1, b"data: ANSWER\n\n" + NOTE * 1000), error=None
    ),
}

CODINGS = {
    **alike(
        None,
        {
            "gzip": packed(lambda s: gzip.compress(s.answer()), JSON),
            "deflate": packed(lambda s: zlib.compress(s.answer()), JSON, "deflate"),
            "deflate without its wrapper": packed(
                lambda s: zlib.compress(s.answer(), wbits=-15), JSON, "deflate"
            ),
            "a stream in gzip": packed(lambda s: gzip.compress(NOTE + s.event(s.answer())), EVENTS),
        },
    ),
    **alike(
        ResponseTooLarge,
        {
            "a bomb of gzip": packed(lambda s: bomb("gzip"), JSON),
            "a bomb of deflate": packed(lambda s: bomb("deflate"), JSON, "deflate"),
            "a bomb of gzip as a stream": packed(lambda s: bomb("gzip"), EVENTS),
        },
        memory=8 * MIB,
    ),
    "a bomb of gzip under an error": Row(
        script=packed(lambda s: bomb("gzip"), ERROR_500), error=HttpStatusError, memory=8 * MIB
    ),
    "much text in little gzip": Row(
        script=packed(lambda s: gzip.compress(s.answer("x" * 200_000)), JSON),
        error=ResponseTooLarge,
        http=SMALL,
    ),
    **alike(
        ResponseUndecodable,
        {
            "gzip that is cut short": packed(lambda s: gzip.compress(s.answer())[:-9], JSON),
            "gzip that is none": packed(lambda s: s.answer(), JSON),
            "gzip and more": packed(lambda s: gzip.compress(s.answer()) + b"more", JSON),
            **{
                coding: packed(lambda s: s.answer(), JSON, coding)
                for coding in ("br", "zstd", "compress", "gzip, gzip", "nonsense")
            },
        },
    ),
}

# What is wrong with heads and chunks is known to the tests of their parsers; some of it is here.
FRAMING = {
    "a chunk size that is no number": JSON + CHUNKED + b"zz\r\n",
    "a chunk size without end": JSON + CHUNKED + b"0" * 5000,
    "two lengths": JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length that is no number": JSON + b"Content-Length: two\r\n\r\n{}",
    "NUL in a header": JSON + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "line ends without CR": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x16",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
}
# What h11, by which httpx reads, takes for good or calls by another name.
LENIENT: dict[str, Any] = {
    "line ends without CR": InvalidResponse,
    "a chunk size without end": ConnectionClosed,
}

FLOODS = {
    **alike(
        ResponseTooLarge,
        {
            "headers without number": pours(JSON, b"X: y\r\n" * 100),
            "a header without end": pours(JSON + b"X: ", b"y" * 1000),
            "a status line without end": pours(b"HTTP/1.1 200 ", b"O" * 1000),
        },
        memory=4 * MIB,
        adapted=MalformedResponse,
    ),
    "201 headers": Row(
        script=replies(lambda s: s.answer(), JSON + b"X: y\r\n" * 201), error=ResponseTooLarge
    ),
    "interim responses without end": Row(
        script=pours(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 10),
        error=MalformedResponse,
        adapted=RequestTimeout,
        timeout=2.0,
    ),
}


def statuses() -> dict[str, Row]:
    """It says no, in every way that HTTP has."""
    rows = {}
    for code in (400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 413, 415, 418, 421, 422, 429,
                 451, 500, 501, 502, 503, 504, 599):  # fmt: skip
        facts: dict[str, Any] = {"status": code, "retry_after": None}
        rows[f"{code}"] = Row(script=status(code), error=HttpStatusError, facts=facts)
    for code in (429, 503):
        for value, seconds in (("7", 7.0), ("soon", None), ("9" * 30, None), ("-1", None)):
            script = status(code, f"Retry-After: {value}")
            facts = {"status": code, "retry_after": seconds}
            rows[f"{code}, Retry-After {value[:5]}"] = Row(
                script=script, error=HttpStatusError, facts=facts
            )
    rows["400 with an error of the protocol"] = Row(
        script=replies(
            lambda s: s.answer(result=..., error={"code": -32602, "message": "bad tool"}),
            b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\n",
        ),
        error=PeerError,
        words="bad tool",
    )
    rows["500 with an answer"] = Row(
        script=replies(lambda s: s.answer(), ERROR_500), error=HttpStatusError
    )
    for code in (301, 302, 303, 307, 308):
        for name, where in (("another path", "/other"), ("another origin", "http://127.0.0.2:1/")):
            facts = {"status": code, "location": where}
            rows[f"{code} to {name}"] = Row(
                script=status(code, f"Location: {where}"),
                error=RedirectRefused,
                words="redirects",
                facts=facts,
            )
    for code in (300, 304, 305):
        rows[f"{code}"] = Row(
            script=status(code, "Location: /x"),
            error=HttpStatusError,
            facts={"status": code},
        )
    return rows


# Streams that can be picked up: the legacy revisions

QUICK = {"retry_delay": 0.02, "min_retry_delay": 0.01, "jitter": 0.0}
FIRST = EVENTS + b"Connection: close\r\n\r\nid: e1\nretry: 0\ndata:\n\n"


def moves(location: str, code: int = 307) -> Script:
    """Redirect a GET."""
    return status(code, f"Location: {location}")


def counting() -> Script:
    """A stream with a new id each time, and nothing else."""
    made = iter(range(10**6))

    async def script(side: Side) -> bool:
        await side.send(FIRST.replace(b"e1", b"e%d" % next(made)))
        return False

    return script


def answering() -> Script:
    """A stream with the answer to the first call of "bad"."""

    async def script(side: Side) -> bool:
        body = side.answer(id=side.villain.called)
        await side.send(EVENTS + b"Connection: close\r\n\r\n" + side.event(body))
        return False

    return script


def in_turn(*scripts: Script) -> Script:
    """One after the other, the last one for good."""
    left = list(scripts)

    async def script(side: Side) -> object:
        return await (left.pop(0) if len(left) > 1 else left[0])(side)

    return script


def resumed(get: Script, error: type[CallFailed] | None, **more: Any) -> Row:
    """The stream of a call breaks off behind an event with an id."""
    more["http"] = {**QUICK, **more.get("http", {})}
    return Row(script=says(FIRST), get=get, error=error, legacy=True, **more)


STREAMS = {
    "a stream that breaks off once": resumed(answering(), None),
    "retry: 0 without end": resumed(
        says(EVENTS + b"Connection: close\r\n\r\nretry: 0\n\n"),
        ConnectionClosed,
        words="resuming failed 5 times",
        requests={"GET": 6},
    ),
    "retry: 0 without end, with new ids": resumed(
        counting(), RequestTimeout, timeout=1.0, http={"retry_delay": 0.2}, requests={"GET": 14}
    ),
    "a huge retry": Row(
        script=says(FIRST.replace(b"retry: 0", b"retry: 99999999999999")),
        error=RequestTimeout,
        timeout=SHORT,
        legacy=True,
        requests={"GET": 1},
    ),
    "resuming is refused": resumed(status(405), HttpStatusError),
    "resuming finds nothing": resumed(status(410), HttpStatusError),
    "resuming is too early": resumed(in_turn(status(409), answering()), None),
    "resuming is overloaded": resumed(
        in_turn(status(503, "Retry-After: 0"), status(429), answering()), None
    ),
    "resuming fails for ever": resumed(status(500), ConnectionClosed, requests={"GET": 6}),
    "resuming gives JSON": resumed(replies(lambda s: s.answer()), HttpStatusError),
    "resuming gives a refusal without end": resumed(
        pours(ERROR_500 + b"\r\n", b"x" * 0x4000), ConnectionClosed, requests={"GET": 6}
    ),
    "resuming gives garbage": resumed(says(b"HTTP/1.1 200 OK\nmalformed\n\n"), MalformedResponse),
    "resuming gives a bomb": resumed(
        packed(lambda s: bomb("gzip"), EVENTS), ResponseTooLarge, requests={"GET": 2}
    ),
    "resuming never answers": resumed(says(then="hold"), RequestTimeout, timeout=SHORT),
    "resuming is cut": resumed(in_turn(says(b""), says(b"HTTP/1."), answering()), None),
    "resuming moves within the origin": resumed(in_turn(moves("/b?c=d"), answering()), None),
    "resuming moves to an absolute place": resumed(in_turn(moves("ORIGIN/b"), answering()), None),
    "resuming moves in a loop": resumed(
        moves("/mcp"), RedirectRefused, words="more than 3 redirects", requests={"GET": 5}
    ),
    "resuming moves to another origin": resumed(
        moves("http://127.0.0.1:1/mcp"), RedirectRefused, words="other origins"
    ),
    "resuming moves to a malformed place": resumed(
        moves("http://[::1/mcp"), RedirectRefused, adapted=MalformedResponse
    ),
    "resuming moves nowhere": resumed(status(302), RedirectRefused),
    "an event id that cannot be sent back": Row(
        script=says(FIRST.replace(b"e1", b"e\x01")), error=ConnectionClosed, legacy=True
    ),
    "a huge event id": Row(
        script=says(FIRST.replace(b"e1", b"e" * 10_000)), error=ConnectionClosed, legacy=True
    ),
}

SESSIONS = {
    "404 to one call, after others": Row(
        script=status(404),
        error=HttpStatusError,
        legacy=True,
        facts={"status": 404},
        requests={"bad": 2, "initialize": 2},
    ),
    "404 to the first call": Row(
        script=status(404),
        error=HttpStatusError,
        legacy=True,
        young=True,
        facts={"status": 404},
        requests={"bad": 2, "initialize": 2, "beside": 1},
    ),
    "404 with an error to the first call": Row(
        script=replies(
            lambda s: s.answer(result=..., error={"code": -32600, "message": "lost"}),
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n",
        ),
        error=PeerError,
        words="lost",
        legacy=True,
        young=True,
        requests={"bad": 2, "initialize": 2},
    ),
    "404 once": Row(
        script=in_turn(status(404), says(JSON + b"Content-Length: SIZE\r\n\r\nANSWER")),
        error=None,
        legacy=True,
        young=True,
        requests={"bad": 2, "initialize": 2},
    ),
}


def asks(method: str) -> Script:
    """Ask the client one thing after the other, without end."""

    async def script(side: Side) -> bool:
        await side.send(EVENTS + b"\r\n")
        for number in range(10**9):
            asked = {"jsonrpc": "2.0", "id": number, "method": method, "params": {}}
            await side.send(side.event(json.dumps(asked).encode()))
            await anyio.lowlevel.checkpoint()
        return False

    return script


QUESTIONS = {
    f"{method} without end": Row(
        script=asks(method),
        error=InvalidResponse,
        words="over and over",
        legacy=True,
        requests={"POST": 102},
    )
    for method in ("sampling/createMessage", "elicitation/create", "tools/list", "no/such")
} | {
    "requests without end where there are none": Row(
        script=asks("roots/list"), error=InvalidResponse, words="over and over"
    ),
}

ROWS: dict[str, Row] = {
    **closing(),
    **SILENCE,
    **ANSWERS,
    **GARBAGE,
    **SIZES,
    **CODINGS,
    **{
        name: Row(script=says(data), error=MalformedResponse, adapted=LENIENT.get(name, ...))
        for name, data in FRAMING.items()
    },
    **FLOODS,
    **statuses(),
    **STREAMS,
    **SESSIONS,
    **QUESTIONS,
}


def settings_of(row: Row) -> ClientSettings:
    return ClientSettings(
        limits=Limits(max_timeout=row.timeout),  # what comes before the fault may take longer
        http=HttpClientSettings(**row.http),
        http_link=HttpClientLinkSettings(**row.link),
        cache=False,
    )


@asynccontextmanager
async def client_of(
    server: Villain, row: Row, carrier: str, settings: ClientSettings
) -> AsyncIterator[Client]:
    brought = httpx.AsyncClient() if carrier == "httpx" else None
    async with brought or nullcontext():
        revision = server.revision.name
        async with connect(
            server.url, revision=revision, settings=settings, http_client=brought
        ) as client:
            yield client


async def good(client: Client, name: str) -> None:
    assert (await client.call_tool(name, timeout=PATIENCE)).text == "well"


@pytest.mark.share(4)
@pytest.mark.parametrize("name", ROWS)
async def test_a_fault_ends_one_call(name: str) -> None:
    await check(ROWS[name], "own", ROWS[name].error)


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.filterwarnings(
    # On trio: httpx leaves its inner generators to the garbage collector if a body is not read.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("name", ROWS)
async def test_a_fault_ends_one_call_over_httpx(name: str) -> None:
    row = ROWS[name]
    await check(row, "httpx", row.error if row.adapted is ... else row.adapted)


async def test_what_is_done_about_it_is_logged_a_few_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = QUESTIONS["tools/list without end"]
    with caplog.at_level("WARNING", "mcpcore.client"):
        await check(row, "own", row.error)
    records = [each for each in caplog.messages if "broke a rule" in each]
    assert len(records) == 13
    assert "64 times by now" in records[-1]


async def check(row: Row, carrier: str, error: type[Exception] | None) -> None:
    """A busy machine may be late, but not each time."""
    for _ in range(TRIES):
        if await in_time(row, carrier, error):
            return
    pytest.fail(f"not within {row.timeout + GRACE} s in {TRIES} tries")


async def in_time(row: Row, carrier: str, error: type[Exception] | None) -> bool:
    revision = LEGACY if row.legacy else MODERN
    async with (
        villain(row.script, get=row.get, revision=revision) as server,
        client_of(server, row, carrier, settings_of(row)) as client,
        anyio.create_task_group() as tasks,
    ):
        beside = anyio.Event()

        async def call_beside() -> None:
            await good(client, "beside")
            beside.set()

        if not row.young:
            await good(client, "good")
        tasks.start_soon(call_beside)
        await until(lambda: server.seen["beside"])
        with measured(row.memory):
            with anyio.move_on_after(row.timeout + GRACE) as deadline:
                await bad(client, row, error)
        if deadline.cancelled_caught:
            tasks.cancel_scope.cancel()
            return False
        assert not beside.is_set()
        server.beside.set()
        await good(client, "good")
        with patience():
            await beside.wait()
    for seen, most in row.requests.items():
        assert server.seen[seen] <= most, server.seen
    return True


@contextmanager
def measured(limit: int | None) -> Iterator[None]:
    """See to it that what is allocated meanwhile stays within bounds."""
    if limit is None:
        yield
        return
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


async def bad(client: Client, row: Row, error: type[Exception] | None) -> None:
    if error is None:
        result = await client.call_tool("bad", timeout=row.timeout)
        assert isinstance(result.content[0], TextContent)
        return
    with pytest.raises(error) as caught:
        await client.call_tool("bad", timeout=row.timeout)
    assert type(caught.value) is error
    assert row.words in str(caught.value)
    for name, value in row.facts.items():
        assert getattr(caught.value, name) == value
