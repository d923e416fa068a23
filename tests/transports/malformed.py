"""Malformed inputs, and what the specification says a server owes for each.

Every binding is sent the whole table; after each row the next good request must work.  A row is
one JSON text (or what stands in its place): one line, one WebSocket message or one HTTP body.
Sources: JSON-RPC 2.0 sections 4 to 6, the base protocol pages of the revisions.
"""

import json
from typing import Any

from msgspec import Struct

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
UNSUPPORTED_VERSION = -32022

ID = 7
"""The id of every row that has one that can be read."""


class Malformed(Struct, frozen=True):
    """One input to a server that has not been initialized."""

    name: str
    data: bytes
    code: int | None
    """The code of the error that is owed; None if nothing is."""
    id: int | None = None
    """The id of the answer, None for null or none (which revisions since 2025-11-25 prefer).

    After a parse error null will do, whatever could be read.
    """

    @property
    def is_text(self) -> bool:
        """Whether it can travel in a WebSocket text frame at all."""
        try:
            self.data.decode()
        except UnicodeDecodeError:
            return False
        return True

    def answered_by(self, answer: dict[str, Any]) -> bool:
        """Whether ``answer``, a decoded message, is the one that is owed."""
        if self.code is None or answer.get("jsonrpc") != "2.0" or "result" in answer:
            return False
        error = answer.get("error", {})
        ids = (None, ID) if self.code == PARSE_ERROR else (self.id,)
        return (
            error.get("code") == self.code
            and isinstance(error.get("message"), str)
            and error["message"] != ""
            and type(answer.get("id")) in (int, type(None))
            and answer.get("id") in ids
        )


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "malformed", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(method: str, params: Any = None, /, *, id: Any = ID, **members: Any) -> bytes:
    """A request as JSON; ``members`` replace those of the envelope."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params, **members}
    return json.dumps({k: v for k, v in message.items() if v is not ...}).encode()


def good(id: int | str) -> bytes:
    """A request that every server answers with a result, in any state and binding."""
    return request("server/discover", {"_meta": META}, id=id)


def modern(method: str, *, without: str | None = None, meta: Any = None, **params: Any) -> bytes:
    """A modern request, its ``_meta`` replaced or lacking one member."""
    if meta is None:
        meta = {k: v for k, v in META.items() if without is None or not k.endswith(without)}
    return request(method, {**params, "_meta": meta})


def _raw(text: str | bytes, params: str | bytes = b"") -> bytes:
    """A request whose params are given as bytes."""
    value = text.encode() if isinstance(text, str) else text
    return b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + value + b"}"


_PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'

_NOT_JSON: list[tuple[str, bytes]] = [
    ("cut off after the brace", b"{"),
    ("cut off before the end", _PING[:-1]),
    ("cut off inside a string", _PING[:-3]),
    ("a word", b"hello"),
    ("a log line", b"2026-07-28 12:00:00 INFO server started"),
    ("an HTTP request line", b"GET /mcp HTTP/1.1"),
    ("a header of another framing", b"Content-Length: 52"),
    ("trailing garbage", _PING + b" x"),
    ("two messages in one text", _PING + _PING),
    ("a closing brace too many", _PING + b"}"),
    ("only a bracket", b"["),
    ("only a closing bracket", b"]"),
    ("mismatched brackets", b'{"jsonrpc":"2.0","id":7,"method":"ping"]'),
    ("single quotes", b"{'jsonrpc':'2.0','id':7,'method':'ping'}"),
    ("unquoted key", b'{jsonrpc:"2.0","id":7,"method":"ping"}'),
    ("trailing comma", b'{"jsonrpc":"2.0","id":7,"method":"ping",}'),
    ("missing colon", b'{"jsonrpc" "2.0","id":7,"method":"ping"}'),
    ("missing comma", b'{"jsonrpc":"2.0" "id":7,"method":"ping"}'),
    ("a comment", b'{"jsonrpc":"2.0",/* hi */"id":7,"method":"ping"}'),
    ("literals of another language", _raw('{"a":True}')),
    ("NaN", _raw('{"a":NaN}')),
    ("Infinity", _raw('{"a":Infinity}')),
    ("minus Infinity", _raw('{"a":-Infinity}')),
    ("a leading zero", _raw('{"a":01}')),
    ("a plus sign", _raw('{"a":+1}')),
    ("a number without fraction digits", _raw('{"a":1.}')),
    ("a number without integer digits", _raw('{"a":.5}')),
    ("a hexadecimal number", _raw('{"a":0x10}')),
    ("an exponent without digits", _raw('{"a":1e}')),
    ("a bad escape", _raw(r'{"a":"\x41"}')),
    ("a short unicode escape", _raw(r'{"a":"\u12"}')),
    ("a lone high surrogate", _raw(r'{"a":"\ud800"}')),
    ("a lone low surrogate", _raw(r'{"a":"\udc00 x"}')),
    ("a raw tab in a string", _raw(b'{"a":"x\ty"}')),
    ("a raw NUL in a string", _raw(b'{"a":"x\x00y"}')),
    ("a NUL between tokens", b'{"jsonrpc":"2.0",\x00"id":7,"method":"ping"}'),
    ("a NUL at the end", _PING + b"\x00"),
    ("a form feed as white space", b'{"jsonrpc":"2.0",\x0c"id":7,"method":"ping"}'),
    ("a byte order mark", b"\xef\xbb\xbf" + _PING),
    ("UTF-16", _PING.decode().encode("utf-16-le")),
    ("Latin-1 in the params", _raw('{"a":"é"}'.encode("latin-1"))),
    ("a stray continuation byte in the params", _raw(b'{"a":"\x80"}')),
    ("an overlong encoding in the params", _raw(b'{"a":"\xc0\xaf"}')),
    ("an encoded surrogate in the params", _raw(b'{"a":"\xed\xa0\x80"}')),
    ("a code point beyond Unicode", _raw(b'{"a":"\xf5\x80\x80\x80"}')),
    ("bad UTF-8 in the method", b'{"jsonrpc":"2.0","id":7,"method":"p\xffng"}'),
    ("bad UTF-8 in a key", _raw(b'{"\xff":1}')),
    ("bad UTF-8 in an unknown member", _PING[:-1] + b',"x":"\xff"}'),
    ("nesting beyond the limit", _raw("[" * 200 + "]" * 200)),
    ("nesting far beyond the limit", _raw('{"a":' + "[" * 50_000 + "]" * 50_000 + "}")),
    ("nesting that is never closed", b"[" * 100_000),
]

_NO_MESSAGE: list[tuple[str, bytes, int | None]] = [
    ("a number", b"1", None),
    ("a string", b'"ping"', None),
    ("null", b"null", None),
    ("true", b"true", None),
    ("an empty object", b"{}", None),
    ("an unrelated object", b'{"hello":"world"}', None),
    ("an empty batch", b"[]", None),
    ("a batch where the revision has none", b"[" + _PING + b"]", None),
    ("jsonrpc is missing", request("ping", {}, jsonrpc=...), ID),
    ("jsonrpc is 1.0", request("ping", {}, jsonrpc="1.0"), ID),
    ("jsonrpc is a number", request("ping", {}, jsonrpc=2.0), ID),
    ("jsonrpc is null", request("ping", {}, jsonrpc=None), ID),
    ("method is a number", request("ping", {}, method=1), ID),
    ("method is null", request("ping", {}, method=None), ID),
    ("method is an object", request("ping", {}, method={}), ID),
    ("nothing but an id", b'{"jsonrpc":"2.0","id":7}', ID),
    ("id is null", request("ping", {}, id=None), None),
    ("id is a fraction", request("ping", {}, id=1.5), None),
    ("id is a float", request("ping", {}, id=1.0), None),
    ("id is a boolean", request("ping", {}, id=True), None),
    ("id is an object", request("ping", {}, id={}), None),
    ("id is an array", request("ping", {}, id=[1]), None),
    ("params is an array", request("ping", [1]), ID),
    ("params is a string", request("ping", "x"), ID),
    ("params is a number", request("ping", 1), ID),
    ("params is null", request("ping", None), ID),
    ("params is a boolean", request("ping", True), ID),
    ("a request with a result", request("ping", {}, result={}), ID),
    ("a request with an error", request("ping", {}, error={"code": 1, "message": "x"}), ID),
    ("a notification with an id", request("notifications/initialized", {}), ID),
    ("a request before initialize", request("tools/list", {}), ID),
]

_VERSION = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

_NOT_POSSIBLE: list[tuple[str, bytes, int]] = [
    ("an unknown method", modern("no/such/method"), METHOD_NOT_FOUND),
    ("an empty method", modern(""), METHOD_NOT_FOUND),
    ("a method in another case", modern("Tools/List"), METHOD_NOT_FOUND),
    ("a method of the other era", modern("ping"), METHOD_NOT_FOUND),
    ("a method that servers send", modern("sampling/createMessage"), METHOD_NOT_FOUND),
    ("an undeclared capability", modern("prompts/list"), METHOD_NOT_FOUND),
    (
        "an unknown revision",
        modern("tools/list", meta={**META, _VERSION: "1999-01-01"}),
        UNSUPPORTED_VERSION,
    ),
    ("an empty revision", modern("tools/list", meta={**META, _VERSION: ""}), UNSUPPORTED_VERSION),
    (
        "a legacy revision without a handshake",
        modern("tools/list", meta={**META, _VERSION: "2025-06-18"}),
        UNSUPPORTED_VERSION,
    ),
    ("the revision is a number", modern("tools/list", meta={**META, _VERSION: 1}), INVALID_PARAMS),
    ("no capabilities", modern("tools/list", without="clientCapabilities"), INVALID_PARAMS),
    (
        "the capabilities are an array",
        modern("tools/list", meta={**META, _CAPABILITIES: []}),
        INVALID_PARAMS,
    ),
    ("_meta is a string", modern("tools/list", meta="x"), INVALID_PARAMS),
    ("_meta is an array", modern("tools/list", meta=[META]), INVALID_PARAMS),
    (
        "the progress token is an object",
        modern("tools/list", meta={**META, "progressToken": {}}),
        INVALID_PARAMS,
    ),
    ("initialize without params", request("initialize", ...), INVALID_PARAMS),
    ("initialize with empty params", request("initialize", {}), INVALID_PARAMS),
    (
        "initialize with a numeric version",
        request(
            "initialize",
            {
                "protocolVersion": 1,
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        ),
        INVALID_PARAMS,
    ),
]

_OWED_NOTHING: list[tuple[str, bytes]] = [
    ("a result nobody asked for", b'{"jsonrpc":"2.0","id":7,"result":{}}'),
    ("an error nobody asked for", b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}'),
    ("an error with id null", b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}'),
    ("an error without id", b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}'),
    ("a result that is no object", b'{"jsonrpc":"2.0","id":7,"result":5}'),
    ("a result without id", b'{"jsonrpc":"2.0","result":{}}'),
    ("a result beside an error", b'{"jsonrpc":"2.0","id":7,"result":{},"error":{}}'),
    ("an error without code", b'{"jsonrpc":"2.0","id":7,"error":{"message":"x"}}'),
    ("an error without message", b'{"jsonrpc":"2.0","id":7,"error":{"code":1}}'),
    ("an error that is a string", b'{"jsonrpc":"2.0","id":7,"error":"x"}'),
    ("an error code that is a string", b'{"jsonrpc":"2.0","id":7,"error":{"code":"1"}}'),
    ("an unknown notification", request("notifications/no-such", {}, id=...)),
    ("a request without id", request("tools/list", {"_meta": META}, id=...)),
    ("a notification with params of the wrong type", request("notifications/x", 5, id=...)),
    ("a notification of JSON-RPC 1.0", request("notifications/x", {}, id=..., jsonrpc="1.0")),
    ("cancelled without params", request("notifications/cancelled", ..., id=...)),
    ("cancelled for an unknown id", request("notifications/cancelled", {"requestId": 1}, id=...)),
    ("cancelled for no id", request("notifications/cancelled", {"requestId": {}}, id=...)),
    ("progress without params", request("notifications/progress", {}, id=...)),
    (
        "progress for an unknown token",
        request("notifications/progress", {"progressToken": "?", "progress": 1}, id=...),
    ),
    (
        "progress that is a string",
        request("notifications/progress", {"progressToken": 1, "progress": "1"}, id=...),
    ),
    ("initialized before initialize", request("notifications/initialized", {}, id=...)),
]

TABLE: tuple[Malformed, ...] = (
    *(Malformed(name, data, PARSE_ERROR, ID) for name, data in _NOT_JSON),
    *(Malformed(name, data, INVALID_REQUEST, id) for name, data, id in _NO_MESSAGE),
    *(Malformed(name, data, code, ID) for name, data, code in _NOT_POSSIBLE),
    *(Malformed(name, data, None) for name, data in _OWED_NOTHING),
)
"""All rows; no two of them alike."""
