"""Raw bytes against the HTTP server: what one parser may take for something else than another does.

A row is what a client sends, and which statuses come back.  Behind each row follows a good request:
where the connection goes on it must be answered, and nothing else; where the framing is in doubt,
or a body was not read to its end, the connection must end before it.
"""

from collections.abc import Iterable
from contextlib import suppress

import anyio
import pytest
from msgspec import Struct

from mcpcore_transports.http1.settings import HttpServerSettings
from tests.clock import HOUR, Clock, patience
from tests.transports.http.test_http_heads import BAD_REQUESTS
from tests.transports.http_fixture import Client, Running, http, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

HOST = b"Host: localhost"
BEHIND = tool("echo", id=98)
_, _, BODY = tool("echo", id=7).partition(b"\r\n\r\n")
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
USUAL = (
    HOST,
    b"Content-Type: application/json",
    b"Accept: application/json, text/event-stream",
    b"MCP-Protocol-Version: 2026-07-28",
    b"Mcp-Method: tools/call",
    b"Mcp-Name: echo",
)
END = b"0\r\n\r\n"


def raw(line: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, *lines, b"", body))


def post(*extra: bytes, line: bytes = b"POST /mcp HTTP/1.1", body: bytes = BODY) -> bytes:
    """A call with ``extra`` header lines; how long it is they have to say."""
    return raw(line, *USUAL, *extra, body=body)


def sized(*extra: bytes, line: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    return post(LENGTH, *extra, line=line)


def at(target: bytes) -> bytes:
    return sized(line=b"POST " + target + b" HTTP/1.1")


def chunk(data: bytes, *, size: bytes = b"%x", extension: bytes = b"") -> bytes:
    return size % len(data) + extension + b"\r\n" + data + b"\r\n"


def chunked(body: bytes, *extra: bytes) -> bytes:
    return post(CHUNKED, *extra, body=body)


def coded(value: bytes) -> bytes:
    return post(b"Transfer-Encoding:" + value, body=chunk(BODY) + END)


def get(*lines: bytes, target: bytes = b"/health", body: bytes = b"") -> bytes:
    return raw(b"GET " + target + b" HTTP/1.1", HOST, *lines, body=body)


class Row(Struct, frozen=True):
    data: bytes
    statuses: tuple[int, ...]
    closes: bool
    bodiless: bool = False


def ends(status: int, rows: dict[str, bytes]) -> dict[str, Row]:
    return {name: Row(data, (status,), closes=True) for name, data in rows.items()}


def goes_on(status: int, rows: dict[str, bytes], *, bodiless: bool = False) -> dict[str, Row]:
    return {
        name: Row(data, (status,), closes=False, bodiless=bodiless) for name, data in rows.items()
    }


ROWS: dict[str, Row] = {
    **{name: Row(data, (status,), closes=True) for name, (data, status) in BAD_REQUESTS.items()},
    # How long a body is
    **ends(
        501,
        {
            "chunked in chunks": coded(b" chunked, chunked"),
            "nearly chunked": coded(b" xchunked"),
            "chunked with a parameter": coded(b" chunked;q=1"),
            "chunked in quotes": coded(b' "chunked"'),
            "no coding": coded(b""),
            "identity": coded(b" identity"),
            "a next line behind chunked": coded(b" chunked\x85"),
        },
    ),
    **ends(
        400,
        {
            "both lengths, none": post(b"Content-Length: 0", CHUNKED, body=END),
            "blank before the colon of the coding": post(
                b"Transfer-Encoding : chunked", body=chunk(BODY) + END
            ),
            "a vertical tab before chunked": coded(b" \x0bchunked"),
            "a length in digits of another script": post("Content-Length: ١".encode()),
            "a length in two parts": post(b"Content-Length: 1 0"),
            "a length of nineteen digits": post(b"Content-Length: 9999999999999999999"),
            "a length that wraps around": post(b"Content-Length: 18446744073709551616"),
            "a folded coding": sized(b"X: a\r\n Transfer-Encoding: chunked"),
        },
    ),
    **ends(413, {"a length of eighteen digits": post(b"Content-Length: 999999999999999999")}),
    **goes_on(
        200,
        {
            "chunked behind a tab": coded(b"\tchunked"),
            "chunked in capitals": coded(b" CHUNKED "),
            "a length with zeros": post(b"Content-Length: 000%d" % len(BODY)),
            "names that gateways of CGI confuse": sized(
                b"Content_Length: 3", b"Transfer_Encoding: chunked"
            ),
            "Connection names what frames the body": sized(b"Connection: content-length"),
            "Connection names the coding": chunked(
                chunk(BODY) + END, b"Connection: transfer-encoding"
            ),
        },
    ),
    # Chunks
    **ends(
        400,
        {
            "a signed chunk size": chunked(chunk(BODY, size=b"+%x") + END),
            "a chunk size with 0x": chunked(chunk(BODY, size=b"0x%x") + END),
            "blank before a chunk size": chunked(chunk(BODY, size=b" %x") + END),
            "blank behind a chunk size": chunked(chunk(BODY, size=b"%x ") + END),
            "a chunk size with a separator": chunked(b"1_0\r\n" + BODY + b"\r\n" + END),
            "a negative chunk size": chunked(b"-1\r\n" + END),
            "no chunk size": chunked(b"\r\n" + END),
            "a chunk size of sixteen digits": chunked(chunk(BODY, size=b"%016x") + END),
            "a chunk size that wraps around": chunked(chunk(BODY, size=b"1%016x") + END),
            "LF behind a chunk size": chunked(b"%x\n%b\r\n" % (len(BODY), BODY) + END),
            "CR behind a chunk size": chunked(b"%x\r%b\r\n" % (len(BODY), BODY) + END),
            "LF behind a chunk": chunked(b"%x\r\n%b\n" % (len(BODY), BODY) + END),
            "a chunk that is longer": chunked(b"%x\r\n%b\r\n" % (len(BODY) - 1, BODY) + END),
            "an extension of 300 bytes": chunked(chunk(BODY, extension=b";a=" + b"x" * 300)),
            "an open quote in an extension": chunked(chunk(BODY, extension=b';a="')),
            "LF in an extension": chunked(chunk(BODY, extension=b";a=\nb")),
            "LF in quotes in an extension": chunked(chunk(BODY, extension=b';a="\nb"')),
            "CR in an extension": chunked(chunk(BODY, extension=b";a=\rb")),
            "NUL in an extension": chunked(chunk(BODY, extension=b";a=\0b")),
            "an extension without a name": chunked(chunk(BODY, extension=b";=b")),
            "an extension without a semicolon": chunked(chunk(BODY, extension=b" a")),
        },
    ),
    **ends(
        431,
        {
            "a trailer": chunked(chunk(BODY) + b"0\r\nX: 1\r\n\r\n"),
            "a length as trailer": chunked(chunk(BODY) + b"0\r\nContent-Length: 5\r\n\r\n"),
            "a folded trailer": chunked(chunk(BODY) + b"0\r\n X\r\n\r\n"),
        },
    ),
    **goes_on(
        200,
        {
            "extensions": chunked(chunk(BODY, extension=b' ; a; b=c\t;d = "e;\\"f\xe9"') + END),
            "an extension of the end": chunked(chunk(BODY) + b"0;a\r\n\r\n"),
            "an end of several zeros": chunked(chunk(BODY) + b"000\r\n\r\n"),
        },
    ),
    # The request line
    **ends(
        400,
        {
            "a URL with a user": at(b"http://localhost@evil.example/mcp"),
            "a URL with our name as user": at(b"http://x@localhost/mcp"),
            "a URL without a host": at(b"http:///mcp"),
            "a URL of another scheme": at(b"ftp://localhost/mcp"),
            "a URL with backslashes": at(b"http:\\\\localhost/mcp"),
            "an asterisk": at(b"*"),
            "an authority": get(target=b"localhost:80"),
            "a relative path": at(b"mcp"),
            "NUL in the path": at(b"/mcp\0"),
            "DEL in the path": at(b"/mcp\x7f"),
            "a tab in the request line": at(b"/mcp\t"),
            "no target": raw(b"POST HTTP/1.1", HOST),
            "HTTP/0.9": b"GET /health\r\n\r\n",
            "HTTP/1.10": sized(line=b"POST /mcp HTTP/1.10"),
            "a blank behind the version": sized(line=b"POST /mcp HTTP/1.1 "),
            "a method that is no token": sized(line=b"PO(ST /mcp HTTP/1.1"),
            "LF in front": b"\n" + sized(),
            "CR in front": b"\r" + sized(),
            "a blank in front": b" " + sized(),
            "a hello of TLS": bytes.fromhex("1603010200010001fc0303"),
        },
    ),
    **ends(421, {"a URL that needs TLS": at(b"https://localhost/mcp")}),
    **ends(
        501,
        {
            "CONNECT to an authority": raw(b"CONNECT localhost:80 HTTP/1.1", HOST),
            "CONNECT to a path": sized(line=b"CONNECT /mcp HTTP/1.1"),
        },
    ),
    **ends(
        505,
        {
            "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        },
    ),
    **goes_on(
        200,
        {
            "a URL of ours": at(b"http://LOCALHOST/mcp"),
            "a query": at(b"/mcp?a=/../b"),
            "empty lines in front": b"\r\n" * 100 + sized(),
        },
    ),
    **goes_on(
        404,
        {
            name: at(target)
            for name, target in {
                "dots in the path": b"/mcp/../mcp",
                "a dot in the path": b"/./mcp",
                "a double slash": b"//mcp",
                "a host behind a double slash": b"//localhost/mcp",
                "a slash at the end": b"/mcp/",
                "an encoded slash": b"/mcp%2f",
                "an encoded letter": b"/%6dcp",
                "an encoded NUL": b"/mcp%00",
                "parameters of a path": b"/mcp;a=b",
                "a backslash": b"/\\mcp",
                "another case": b"/MCP",
                "out of the health page": b"/health/../mcp",
            }.items()
        },
    ),
    # Methods
    **goes_on(
        405,
        {
            "PUT": sized(line=b"PUT /mcp HTTP/1.1"),
            "PATCH": sized(line=b"PATCH /mcp HTTP/1.1"),
            "POST in lower case": sized(line=b"post /mcp HTTP/1.1"),
            "a long method": sized(line=b"A" * 300 + b" /mcp HTTP/1.1"),
            "TRACE": raw(b"TRACE /mcp HTTP/1.1", HOST, b"Authorization: secret"),
        },
    ),
    **goes_on(405, {"HEAD": raw(b"HEAD /mcp HTTP/1.1", HOST)}, bodiless=True),
    **goes_on(200, {"HEAD of the health page": raw(b"HEAD /health HTTP/1.1", HOST)}, bodiless=True),
    **goes_on(204, {"OPTIONS of everything": raw(b"OPTIONS * HTTP/1.1", HOST)}),
    **goes_on(
        200,
        {
            "a request as the body of GET": get(b"Content-Length: %d" % len(BEHIND), body=BEHIND),
            "a method in a header": sized(b"X-HTTP-Method-Override: DELETE"),
            "a host and a path in headers": sized(
                b"X-Forwarded-Host: evil.example", b"X-Original-URL: /health"
            ),
        },
    ),
    **goes_on(
        204,
        {
            "a request as the body of OPTIONS": raw(
                b"OPTIONS /mcp HTTP/1.1", HOST, b"Content-Length: %d" % len(BEHIND), body=BEHIND
            )
        },
    ),
    **goes_on(
        400,
        {
            "a request as the body of DELETE": raw(
                b"DELETE /mcp HTTP/1.1", HOST, b"Content-Length: %d" % len(BEHIND), body=BEHIND
            )
        },
    ),
    **ends(200, {"chunks as the body of GET": get(CHUNKED, body=chunk(BEHIND) + END)}),
    # Header lines
    **ends(
        400,
        {
            f"{name} in {where}": sized(line % octet)
            for where, line in (("a name", b"X%by: 1"), ("a value", b"X: a%bb"))
            for name, octet in {
                "NUL": b"\0",
                "DEL": b"\x7f",
                "an escape": b"\x1b",
                "a vertical tab": b"\x0b",
                "a form feed": b"\x0c",
                "a bare CR": b"\r",
                "a bare LF": b"\n",
            }.items()
        },
    ),
    **ends(
        400,
        {
            "brackets in a name": sized(b"X(y): 1"),
            "a blank in a name": sized(b"X y: 1"),
            "a second Host that differs": sized(b"Host: evil.example"),
        },
    ),
    **goes_on(
        400,
        {
            "Mcp-Method twice": sized(b"Mcp-Method: tools/call"),
            "Mcp-Name twice": sized(b"Mcp-Name: other"),
            "the version twice": sized(b"MCP-Protocol-Version: 2025-11-25"),
            "a version in Latin-1": sized(b"mcp-protocol-version: 2026-07-28\xe9"),
        },
    ),
    **goes_on(
        200,
        {
            # What no tool declares means nothing, and is no error (2026-07-28, Streamable HTTP).
            "Mcp-Param-A twice": sized(b"Mcp-Param-A: 1", b"Mcp-Param-A: 2"),
        },
    ),
    **goes_on(403, {"the origin twice": sized(*[b"Origin: http://localhost"] * 2)}),
    **goes_on(
        415,
        {
            "two types": sized(b"Content-Type: text/plain"),
            "the type twice": sized(b"Content-Type: application/json"),
            "a compressed body": sized(b"Content-Encoding: gzip"),
            "a body compressed twice": sized(
                b"Content-Encoding: identity", b"Content-Encoding: gzip"
            ),
        },
    ),
    **goes_on(
        200,
        {
            "Latin-1 in a value": sized(b"X: \xe9\xff"),
            "tabs in a value": sized(b"X: \ta\tb\t"),
            "a body that is said not to be compressed": sized(b"Content-Encoding: Identity"),
            "a range": sized(b"Range: bytes=0-1"),
            "HTTP/2 in clear text": sized(
                b"Connection: Upgrade, HTTP2-Settings",
                b"Upgrade: h2c",
                b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            ),
            "TLS in the middle": sized(b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
            "keep-alive": sized(b"Connection: keep-alive"),
            "close in the name of a token": sized(b"Connection: not-close"),
        },
    ),
    # Connections that are to end
    **ends(
        200,
        {
            "close and keep-alive": sized(b"Connection: close, keep-alive"),
            "keep-alive and close": sized(b"Connection: keep-alive", b"Connection: ,CLOSE"),
            "HTTP/1.0": sized(line=b"POST /mcp HTTP/1.0"),
            "HTTP/1.0 with keep-alive": sized(
                b"Connection: keep-alive", line=b"POST /mcp HTTP/1.0"
            ),
            "HTTP/1.0 without a host": raw(b"GET /health HTTP/1.0"),
        },
    ),
    # Expectations
    **ends(
        417,
        {
            "a list of expectations": sized(b"Expect: 100-continue, 100-continue"),
        },
    ),
    **goes_on(200, {"an expectation that is met already": sized(b"Expect: 100-Continue")}),
}


async def check(running: Running, name: str, row: Row) -> None:
    client = await running.connect()
    await client.send(row.data + BEHIND)
    for status in row.statuses:
        response = await client.response(bodiless=row.bodiless)
        assert (name, response.status) == (name, status)
        closing = response.headers.get("connection") == "close"
        assert (name, closing) == (name, row.closes)
        if status >= 400 and not row.bodiless:
            assert response.json["error"]["message"], name
            for leak in ("b'", "bytearray", "\\x", "Traceback", "h11"):
                assert leak not in response.json["error"]["message"], name
    if row.closes:
        assert await client.closed(), name
    else:
        behind = await client.response()
        assert (name, behind.status) == (name, 200)
        assert (name, behind.json["id"]) == (name, 98)
    await client.aclose()


def batches(rows: Iterable[str], size: int = 40) -> list[list[str]]:
    names = list(rows)
    return [names[start : start + size] for start in range(0, len(names), size)]


@pytest.mark.parametrize("names", batches(ROWS), ids=lambda names: names[0])
async def test_what_comes_back(names: list[str]) -> None:
    async with server() as running:
        for name in names:
            await check(running, name, ROWS[name])
        assert running.machine.exchanges == 0


# Answers before the end of a body


REFUSED: dict[str, tuple[int, dict[str, str | None], str, str]] = {
    "a wrong path": (404, {}, "POST", "/nowhere"),
    "a foreign host": (403, {"Host": "evil.example"}, "POST", "/mcp"),
    "a foreign origin": (403, {"Origin": "http://evil.example"}, "POST", "/mcp"),
    "a wrong method": (405, {}, "PUT", "/mcp"),
    "a wrong type": (415, {"Content-Type": "text/plain"}, "POST", "/mcp"),
    "nothing acceptable": (406, {"Accept": "text/html"}, "POST", "/mcp"),
    "a bad version header": (400, {"MCP-Protocol-Version": "\xe9"}, "POST", "/mcp"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_before_the_end_of_the_body_is_the_last_word(name: str) -> None:
    """Whatever the status; and one of a request that was read to its end is not."""
    status, headers, method, target = REFUSED[name]

    def refused(**more: str | None) -> bytes:
        given = {**headers, **{key.replace("_", "-"): value for key, value in more.items()}}
        return http(BEHIND, method=method, target=target, headers=given)

    async with server() as running:
        whole = await running.connect()
        await whole.send(refused() + tool("echo", id=2))
        assert (await whole.response()).status == status
        assert (await whole.response()).json["id"] == 2
        head = refused().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        in_chunks = refused(Content_Length=None, Transfer_Encoding="chunked")
        for data in (head, head + BEHIND[:-1], in_chunks):
            client = await running.connect()
            response = await client.call(data)
            assert (response.status, response.headers["connection"]) == (status, "close")
            await client.send(BEHIND[-1:] + tool("echo", id=3))
            assert await client.closed()
            await client.aclose()
        assert len(running.app.events) == 1


@pytest.mark.parametrize("length", ["5000000", "100"])
async def test_a_body_that_is_refused_is_not_asked_for(length: str) -> None:
    """No ``100 Continue``, neither for what is too large nor for what is refused anyway."""
    headers: dict[str, str | None] = {"Expect": "100-continue", "Content-Length": length}
    target = "/mcp" if length == "5000000" else "/nowhere"
    async with server() as running:
        client = await running.connect()
        response = await client.call(http(b"", target=target, headers=headers))
        assert response.status == (413 if target == "/mcp" else 404)
        assert response.headers["connection"] == "close"
        assert await client.closed()
        await client.aclose()
        chunks: dict[str, str | None] = {
            "Expect": "100-continue",
            "Content-Length": None,
            "Transfer-Encoding": "chunked",
        }
        client = await running.connect()
        assert (await client.call(http(b"", headers=chunks))).status == 100
        response = await client.call(b"ffffff\r\n")
        assert response.status == 413
        assert await client.closed()
        await client.aclose()


async def test_an_expectation_of_http_1_0_is_passed_over() -> None:
    async with server() as running:
        client = await running.connect()
        data = sized(b"Expect: 100-continue", line=b"POST /mcp HTTP/1.0")
        head, _, body = data.partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        await client.send(body)
        assert (await client.response()).status == 200


# Byte by byte, and slower


async def test_very_many_small_writes() -> None:
    async with server() as running:
        client = await running.connect()
        pipelined = sized() + chunked(chunk(BODY) + END) + get() + BEHIND
        for octet in pipelined:
            await client.send(bytes([octet]))
        ids = [(await client.response()).json["id"] for _ in range(2)]
        assert (ids, (await client.response()).body) == ([7, 7], b'{"status":"ok"}\n')
        assert (await client.response()).json["id"] == 98


async def test_a_body_of_very_small_chunks() -> None:
    async with server() as running:
        client = await running.connect()
        single = b"".join(chunk(bytes([octet])) for octet in BODY)
        assert (await client.call(chunked(single + END))).json["id"] == 7
        assert (await client.call(BEHIND)).json["id"] == 98


STAGES: dict[str, tuple[bytes, bytes, int | None]] = {
    "empty lines": (b"", b"\r\n", None),
    "the request line": (b"POST /", b"a", 408),
    "header lines": (b"POST /mcp HTTP/1.1\r\n", b"X: y\r\n", 408),
    "a header": (b"POST /mcp HTTP/1.1\r\nX: ", b"y", 408),
    "before the body": (post(LENGTH, body=b""), b"", 408),
    "the body": (post(LENGTH, body=b""), b" ", 408),
    "a chunk size": (chunked(b""), b"0", 408),
    "an extension": (chunked(b"5;a="), b"b", 408),
    "a chunk": (chunked(b"fff\r\n"), b" ", 408),
    "chunks": (chunked(b""), b"1\r\n \r\n", 408),
    "before the end of the chunks": (chunked(chunk(BODY) + b"0\r\n"), b"", 408),
}


@pytest.mark.parametrize("reused", [False, True])
async def test_whoever_drips_is_cut_off(reused: bool, clock: Clock) -> None:
    """A little at a time for as long as it likes: the time of each stage is one for all of it."""
    statuses: dict[str, int | None] = {}

    async def listen(client: Client, stage: str, status: int | None) -> None:
        if status is None:
            assert await client.rest() == b""
        statuses[stage] = None if status is None else (await client.response()).status

    slow = HttpServerSettings(head_time=HOUR, body_time=HOUR, body_grace=HOUR / 1.5, idle_time=HOUR)
    async with server(slow) as running:
        with patience():
            async with anyio.create_task_group() as listening:
                clients: dict[str, Client] = {}
                for stage, (begin, _, status) in STAGES.items():
                    clients[stage] = client = await running.connect()
                    if reused:
                        assert (await client.call(BEHIND)).json["id"] == 98
                    await client.send(begin)
                    listening.start_soon(listen, client, stage, status)
                while len(statuses) < len(STAGES):
                    for stage, client in clients.items():
                        if stage not in statuses:
                            await drip(client, STAGES[stage][1])
                    await clock.skip(HOUR / 30)  # so few drops that none of them is too much
        assert statuses == {stage: status for stage, (_, _, status) in STAGES.items()}
        assert running.machine.exchanges == 0
        other = await running.connect()
        assert (await other.call(BEHIND)).json["id"] == 98


async def drip(client: Client, drop: bytes) -> None:
    with suppress(anyio.BrokenResourceError, OSError):  # it is over, as the listener will see
        await client.send(drop)
