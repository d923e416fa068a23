"""Chapters 20 and 21: opening, at our server and at our client (RFC 6455 section 4)."""

from msgspec import structs

from tests.websocket_table.openings import OPENINGS, Head, Openings, line, same

_ = Openings("server")
CHOICE = "sec-websocket-protocol"
MCP = ((CHOICE, "mcp"),)


def first(new: str) -> Head:
    """Another first line."""
    return line("GET ", new)


def raw(old: bytes, new: bytes) -> Head:
    """Other bytes."""
    return lambda head: head.replace(old, new, 1)


# 20.1: as it should be, one way or the other

_.add("20.1", "a request as it should be", same, fields=MCP)
_.add("20.1", "byte by byte", same, fields=MCP, chop=1)
_.add("20.1", "names of fields in capitals", raw(b"Upgrade: w", b"UPGRADE: w"), fields=MCP)
_.add("20.1", "names of fields in small letters", raw(b"Sec-WebSocket-Key", b"sec-websocket-key"))
_.add("20.1", "Upgrade: WebSocket", line("Upgrade", "Upgrade: WebSocket"))
_.add("20.1", "several Upgrade tokens", line("Upgrade", "Upgrade: h2c, websocket"))
_.add("20.1", "two lines of Upgrade", line("Upgrade", "Upgrade: h2c", "Upgrade: websocket"))
_.add("20.1", "Connection: upgrade", line("Connection", "Connection: upgrade"))
_.add("20.1", "several Connection tokens", line("Connection", "Connection: keep-alive, Upgrade"))
_.add(
    "20.1",
    "two lines of Connection",
    line("Connection", "Connection: keep-alive", "Connection: Upgrade"),
)
_.add("20.1", "blanks around values", line("Upgrade", "Upgrade: \t websocket \t "))
_.add("20.1", "a query", first("GET /mcp?a=b HTTP/1.1"))
_.add("20.1", "an absolute target", first("GET http://127.0.0.1/mcp HTTP/1.1"))
_.add("20.1", "a length of nothing", line("", "Content-Length: 0"))
_.add("20.1", "fields that nobody knows", line("", "X-Unknown: 1", "Cookie: a=b"))
_.add("20.1", "a page of the server's own", line("", "Origin: http://127.0.0.1"))
for count in (1, 10):
    _.add("20.1", f"{count} messages in one piece with the head", same, behind=count)
_.add("20.1", "messages behind the head, byte by byte", same, behind=2, chop=1)

# 20.2: subprotocols

_.add("20.2", "none", line("Sec-WebSocket-Protocol"), fields=((CHOICE, None),))
for offered, chosen in (
    ("mcp", "mcp"),
    ("chat, mcp", "mcp"),
    ("mcp,chat", "mcp"),
    ("mcp.version.2025-06-18", "mcp.version.2025-06-18"),
    ("mcp.version.1999-01-01, mcp.version.2025-06-18", "mcp.version.2025-06-18"),
    ("mcp.version.2025-06-18, mcp", "mcp"),
    ("mcp, mcp.auth.c2VjcmV0", "mcp"),
    (" ,mcp,, ", "mcp"),
):
    _.add(
        "20.2",
        offered,
        line("Sec-WebSocket-Protocol", f"Sec-WebSocket-Protocol: {offered}"),
        fields=((CHOICE, chosen),),
    )
_.add(
    "20.2",
    "two lines of offers",
    line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: mcp"),
    fields=MCP,
)
for offered in (
    "chat",
    "MCP",
    "mcp-v1",
    "mcp.version.1999-01-01",
    "mcp, mcp",
    "mcp, a b",
    "mcp.auth.c2VjcmV0",
    "mcp, mcp.auth.",
    "mcp, mcp.auth.a, mcp.auth.b",
    "mcp.version.2025-06-18, chat",
    "graphql-ws, mcp.auth.a",
):
    _.add(
        "20.3",
        f"refused: {offered}",
        line("Sec-WebSocket-Protocol", f"Sec-WebSocket-Protocol: {offered}"),
        status=400,
        fields=((CHOICE, None),),
    )

# 20.4: version

VERSION = (("sec-websocket-version", "13"), ("upgrade", "websocket"))
for version in ("0", "8", "12", "14", "013", "13.0", "-13", "thirteen", ""):
    _.add(
        "20.4",
        f"version {version!r}",
        line("Sec-WebSocket-Version", f"Sec-WebSocket-Version: {version}"),
        status=426,
        fields=VERSION,
    )
_.add(
    "20.4",
    "no version",
    line("Sec-WebSocket-Version"),
    status=426,
    fields=VERSION,
)
_.add(
    "20.4",
    "two versions in one line",
    line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"),
    status=426,
    fields=VERSION,
)
_.add(
    "20.4",
    "two lines of versions",
    line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"),
    status=400,
)

# 20.5: key

KEYS = {
    "of 15 bytes": "dGhlIHNhbXBsZSBub25j",
    "of 17 bytes": "dGhlIHNhbXBsZSBub25jZXM=",
    "that is empty": "",
    "that is no base64": "?GhlIHNhbXBsZSBub25jZQ==",
    "without padding": "dGhlIHNhbXBsZSBub25jZQ",
    "with blanks in it": "dGhlIHNhbXBs ZSBub25jZQ==",
    "in the alphabet of URLs": "--hlIHNhbXBsZSBub25jZQ==",
    "with something behind it": "dGhlIHNhbXBsZSBub25jZQ==x",
}
for what, key in KEYS.items():
    _.add(
        "20.5", f"a key {what}", line("Sec-WebSocket-Key", f"Sec-WebSocket-Key: {key}"), status=400
    )
_.add("20.5", "no key", line("Sec-WebSocket-Key"), status=400)
SAME = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_.add("20.5", "two keys", line("Sec-WebSocket-Key", SAME, SAME), status=400)

# 20.6: Upgrade, Connection, Host, Origin, body

_.add("20.6", "no Upgrade", line("Upgrade"), status=426, fields=(("upgrade", "websocket"),))
_.add("20.6", "Upgrade: h2c", line("Upgrade", "Upgrade: h2c"), status=426)
_.add("20.6", "Upgrade: websockets", line("Upgrade", "Upgrade: websockets"), status=426)
_.add("20.6", "an empty Upgrade", line("Upgrade", "Upgrade:"), status=426)
_.add("20.6", "no Connection", line("Connection"), status=426)
_.add("20.6", "Connection: close", line("Connection", "Connection: close"), status=426)
_.add("20.6", "Connection: keep-alive", line("Connection", "Connection: keep-alive"), status=426)
_.add("20.6", "Connection: upgraded", line("Connection", "Connection: upgraded"), status=426)
_.add("20.6", "no Host", line("Host"), status=400)
_.add("20.6", "two Hosts", line("Host", "Host: 127.0.0.1", "Host: 127.0.0.1"), status=400)
_.add("20.6", "another Host", line("Host", "Host: evil.example"), status=403)
_.add("20.6", "an empty Host", line("Host", "Host:"), status=403)
_.add(
    "20.6", "a Host against the target", first("GET http://evil.example/mcp HTTP/1.1"), status=400
)
_.add("20.6", "another Origin", line("", "Origin: http://evil.example"), status=403)
_.add("20.6", "Origin: null", line("", "Origin: null"), status=403)
_.add(
    "20.6",
    "two Origins",
    line("", "Origin: http://127.0.0.1", "Origin: http://127.0.0.1"),
    status=403,
)
_.add("20.6", "a body", line("", "Content-Length: 5"), status=400)
_.add("20.6", "a chunked body", line("", "Transfer-Encoding: chunked"), status=400)
_.add("20.6", "a length that is none", line("", "Content-Length: x"), status=400)

# 20.7: the first line and the head

_.add("20.7", "POST", first("POST /mcp HTTP/1.1"), status=405, fields=(("allow", "GET"),))
for method in ("HEAD", "PUT", "OPTIONS", "get", "CONNECT"):
    _.add(
        "20.7", method, first(f"{method} /mcp HTTP/1.1"), status=501 if method == "CONNECT" else 405
    )
_.add("20.7", "another path", first("GET /other HTTP/1.1"), status=404)
_.add("20.7", "a path below", first("GET /mcp/x HTTP/1.1"), status=404)
_.add("20.7", "a path in other letters", first("GET /MCP HTTP/1.1"), status=404)
_.add("20.7", "HTTP/1.0", first("GET /mcp HTTP/1.0"), status=505)
_.add("20.7", "HTTP/2.0", first("GET /mcp HTTP/2.0"), status=505)
_.add("20.7", "HTTP/0.9", first("GET /mcp"), status=400)
_.add("20.7", "no HTTP", first("hello"), status=400)
_.add("20.7", "TLS on a plain port", lambda head: b"\x16\x03\x01\x02\x00\x01\x00", status=400)
_.add("20.7", "a first line of 9 KiB", first(f"GET /mcp?{'x' * 9000} HTTP/1.1"), status=414)
_.add("20.7", "a first line of 8 KiB", first(f"GET /mcp?{'x' * 8000} HTTP/1.1"))
_.add("20.7", "a head of 33 KiB", line("", f"X: {'y' * 33_000}"), status=431)
_.add("20.7", "a head of 31 KiB", line("", f"X: {'y' * 31_000}"))
_.add("20.7", "101 lines", line("", *(f"X-{n}: 1" for n in range(95))), status=431)
_.add("20.7", "100 lines", line("", *(f"X-{n}: 1" for n in range(94))))
_.add("20.7", "a line without a colon", line("", "nonsense"), status=400)
_.add("20.7", "a line that is folded", line("", "X: a", " b"), status=400)
_.add("20.7", "a blank before the colon", line("Upgrade", "Upgrade : websocket"), status=400)
_.add("20.7", "LF without CR", raw(b"\r\nUpgrade", b"\nUpgrade"), status=400)
_.add("20.7", "CR without LF", raw(b"\r\nUpgrade", b"\rUpgrade"), status=400)
_.add("20.7", "a NUL", raw(b"Upgrade: websocket", b"Upgrade: web\0socket"), status=400)
_.add("20.7", "an empty line before it", lambda head: b"\r\n" + head)

# 22: the same on the port of Streamable HTTP; what asks for no WebSocket is HTTP's affair there

for row in list(OPENINGS):
    chapter, group, number = row.id.split(".")
    if chapter == "20" and (int(group) < 6 or row.status == 403):
        OPENINGS.append(
            structs.replace(row, id=f"22.{group}.{number}", shared=True, long=int(number) % 4 > 0)
        )

# 21: responses

_ = Openings("client")
NO = "no WebSocket server"
_.add("21.1", "a response as it should be", same)
_.add("21.1", "byte by byte", same, chop=1)
_.add("21.1", "another reason", line("HTTP/1.1", "HTTP/1.1 101 Come in"))
_.add("21.1", "no reason", line("HTTP/1.1", "HTTP/1.1 101 "))
_.add("21.1", "Upgrade: WebSocket", line("Upgrade", "Upgrade: WebSocket"))
_.add("21.1", "several Connection tokens", line("Connection", "Connection: x, upgrade"))
_.add("21.1", "no subprotocol", line("Sec-WebSocket-Protocol"))
_.add("21.1", "fields that nobody knows", line("", "Server: x", "Set-Cookie: a=b"))
_.add("21.1", "names of fields in small letters", raw(b"Sec-WebSocket-A", b"sec-websocket-a"))
_.add(
    "21.1",
    "an interim response before it",
    lambda head: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head,
)
_.add("21.1", "messages in one piece with the head", same, behind=3)
_.add("21.2", "no Upgrade", line("Upgrade"), says=NO)
_.add("21.2", "Upgrade: h2c", line("Upgrade", "Upgrade: h2c"), says=NO)
_.add("21.2", "two Upgrade tokens", line("Upgrade", "Upgrade: websocket, h2c"), says=NO)
_.add("21.2", "no Connection", line("Connection"), says=NO)
_.add("21.2", "Connection: close", line("Connection", "Connection: close"), says=NO)
_.add("21.2", "no token", line("Sec-WebSocket-Accept"), says="bad accept token")
_.add(
    "21.2",
    "the token of another key",
    line("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    says="bad accept token",
)
_.add(
    "21.2",
    "an empty token",
    line("Sec-WebSocket-Accept", "Sec-WebSocket-Accept:"),
    says="bad accept token",
)


def twice(head: bytes) -> bytes:
    """The token in two lines."""
    at = head.index(b"Sec-WebSocket-Accept")
    token = head[at : head.index(b"\r\n", at) + 2]
    return head.replace(token, token * 2)


_.add("21.2", "the token twice", twice, says="bad accept token")
for choice in ("chat", "MCP", "mcp.version.2025-06-18", "mcp, chat", ""):
    _.add(
        "21.3",
        f"the subprotocol {choice!r}",
        line("Sec-WebSocket-Protocol", f"Sec-WebSocket-Protocol: {choice}"),
        says="a subprotocol that was not offered",
    )
_.add(
    "21.3",
    "the subprotocol twice",
    line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mcp", "Sec-WebSocket-Protocol: mcp"),
    says="a subprotocol that was not offered",
)
_.add("21.4", "HTTP/1.0", line("HTTP/1.1", "HTTP/1.0 101 Switching Protocols"), says=NO)
_.add("21.4", "HTTP/2.0", line("HTTP/1.1", "HTTP/2.0 101 Switching Protocols"), says=NO)
_.add("21.4", "a length", line("", "Content-Length: 5"), says="claims to have a body")
_.add(
    "21.4", "a chunked body", line("", "Transfer-Encoding: chunked"), says="claims to have a body"
)
_.add("21.4", "LF without CR", raw(b"\r\nUpgrade", b"\nUpgrade"), says=NO)
_.add("21.4", "a line that is folded", line("", "X: a", " b"), says=NO)
_.add("21.4", "a head of 33 KiB", line("", f"X: {'y' * 33_000}"), says=NO)
_.add("21.4", "a line without a colon", line("", "nonsense"), says=NO)
_.add("21.4", "what is no HTTP", lambda head: b"SSH-2.0-OpenSSH_9\r\n\r\n", says=NO)
_.add("21.4", "nothing, and the end", lambda head: b"", says="closed while connecting")
_.add("21.4", "half a head, and the end", lambda head: head[:50], says="closed while connecting")


def instead(head: bytes) -> Head:
    """Something else in its place."""
    return lambda right: head


for status in (200, 204, 400, 401, 403, 404, 426, 500, 503):
    _.add(
        "21.5",
        f"status {status}",
        instead(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status),
        says=f"with status {status}",
    )
_.add(
    "21.5",
    "a redirect",
    lambda head: b"HTTP/1.1 302 No\r\nLocation: ws://x/\r\nContent-Length: 0\r\n\r\n",
    says="pointing to ws://x/",
)
