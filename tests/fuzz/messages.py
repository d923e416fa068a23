"""Messages out of choices: right ones, nearly right ones, and others."""

import json
import re
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw

from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import REVISIONS
from mcpcore.wire.message import Message
from tests.fuzz.choices import Choices

SECRET = "hunter2-0f9e8d"
"""Stands in what cannot be read; no answer may repeat it."""
MODERN = REVISIONS[-1].name
VERSIONS = (MODERN, *(revision.name for revision in REVISIONS[:-1]), "1999-01-01", "")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CANCELLED = "notifications/cancelled"
METHODS = (
    *("tools/call", "tools/list", "ping", "initialize", "notifications/initialized"),
    *("notifications/cancelled", "notifications/progress", "subscriptions/listen"),
    *sorted(KNOWN_METHODS),
    *("x/unknown", "", "tools/call ", "rpc.discover"),
)
IDS: tuple[Any, ...] = (1, 2, 3, "1", "a", 0, -1, 2**64, "\u00e9\U0001f600", "x" * 40)
ODD: tuple[Any, ...] = (None, True, 1.5, [], {}, [1], "", "text", -0.0, 1e300, 2**70, {"a": {}})
_WRITTEN = {
    "<1e999>": "1e999",
    "<-1e999>": "-1e999",
    "<310 digits>": "9" * 310,
    "<5000 digits>": "9" * 5000,
}
NUMBERS: tuple[Any, ...] = tuple(_WRITTEN)
"""They stand for numbers that no float holds, where a message is written."""
_NAMES = re.compile(r'"(_meta|name|uri|protocolVersion|requestId|resultType|inputResponses)":')
_WORDS = (
    *('"jsonrpc":"2.0"', '"id":1', '"id":"a"', '"id":null', '"method":"ping"', '"params":{}'),
    *('"result":{}', '"error":{"code":-32600,"message":""}', "NaN", "Infinity", "1e400"),
    *("\\ud800", "\\u0000", "\\ud83d\\ude00", "\ufeff", "[[[[[[[[", "]]]]", '{"a":', "}}}}"),
    *('"_meta":{', f'"{VERSION_KEY}":"{MODERN}"', f'"{CAPABILITIES_KEY}":{{}}', "tools/call"),
    *("tools/list", "initialize", "notifications/cancelled", '"requestId":1', "\u2028", "-0"),
    *("1e999", "9" * 310, '"\\u005fmeta":', '"result\\u0054ype":', '"\\u006eame":'),
)
TOKENS = (
    *(word.encode() for word in _WORDS),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\r\n", b"\n"),
)


Identity = tuple[str, Any]
"""An id by type and value; what has none is answered without."""


def identity(id: Any) -> Identity:
    """What an id is known by."""
    return ("", None) if id is UNSET or id is None else (type(id).__name__, id)


def called_off(message: Message) -> Identity | None:
    """The request that a message calls off, be it there or not."""
    if message.method != CANCELLED or message.id is not UNSET or not message.params:
        return None
    match read(bytes(message.params)).get("requestId"):
        case bool():
            return None
        case float() as id if id.is_integer():
            return identity(int(id))
        case int() | str() as id:
            return identity(id)
    return None


def read(text: bytes) -> Any:
    """JSON as Python reads it, but for integers of which it makes none: these are infinite."""
    return json.loads(text, parse_int=_integer)


def read_ours(text: bytes) -> Any:
    """The same for what we have sent, in which no object has a member twice."""
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer)


def _integer(word: str) -> int | float:
    return int(word) if len(word) <= 4300 else float(word)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), f"a member is sent twice: {pairs}"
    return found


def value(c: Choices, depth: int = 3) -> Any:
    """Any JSON value."""
    match c.below(8 if depth else 6):
        case 0:
            return c.byte()
        case 1:
            return c.text()
        case 2:
            return c.seldom(ODD, NUMBERS)
        case 3:
            return c.pick((True, False, None))
        case 4:
            return -c.below(65536) / 7
        case 5:
            return 10 ** c.below(30)
        case 6:
            return [value(c, depth - 1) for _ in range(c.below(4))]
        case _:
            return {c.text(6): value(c, depth - 1) for _ in range(c.below(4))}


def params(c: Choices, method: str, about: Sequence[Any] = ()) -> dict[str, Any]:
    """What a method may be asked with; ``about``: ids that may be cancelled."""
    name = c.seldom(("x", "echo", "", "wait"), NUMBERS)
    uri = c.seldom(("file:///a", "x:b", ""), NUMBERS)
    level = c.pick(("info", "debug", "emergency", "loud"))
    match method:
        case "tools/call" | "prompts/get":
            return {"name": name, "arguments": {"a": value(c, 1)} if c.flag() else {}}
        case "resources/read" | "resources/subscribe" | "resources/unsubscribe":
            return {"uri": uri}
        case "logging/setLevel":
            return {"level": level}
        case "initialize":
            return {
                "protocolVersion": c.seldom(VERSIONS[1:], NUMBERS),
                "capabilities": capabilities(c),
                "clientInfo": {"name": "fuzz", "version": "1"},
            }
        case "notifications/cancelled":
            return {"requestId": c.pick([*about, *IDS[:3]]), "reason": "enough"}
        case "notifications/progress":
            return {"progressToken": c.pick(IDS), "progress": c.byte()}
        case "notifications/message":
            return {"level": level, "data": value(c, 1)}
        case "subscriptions/listen":
            wanted: dict[str, Any] = {"toolsListChanged": True, "promptsListChanged": c.flag()}
            if c.flag():
                wanted["resourceSubscriptions"] = [uri]
            return {"notifications": wanted}
        case "completion/complete":
            ref = {"type": "ref/prompt", "name": name}
            return {"ref": ref, "argument": {"name": "a", "value": c.text(4)}}
        case "notifications/resources/updated":
            return {"uri": uri}
        case "sampling/createMessage":
            return {"messages": [], "maxTokens": c.byte()}
        case "elicitation/create":
            return {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
        case "tasks/get" | "tasks/cancel" | "tasks/result":
            return {"taskId": name}
    return {"cursor": c.text(4)} if c.flag(4) else {}


def capabilities(c: Choices) -> dict[str, Any]:
    """What a client declares."""
    return c.pick(
        (
            {},
            {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}},
            {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}},
            {"experimental": {"x": {}}},
        )
    )


def meta(c: Choices) -> dict[str, Any]:
    """What a request of the modern era says of itself."""
    found: dict[str, Any] = {VERSION_KEY: MODERN, CAPABILITIES_KEY: capabilities(c)}
    if c.flag(4):
        found["progressToken"] = c.pick(IDS)
    if c.flag(8):
        found["io.modelcontextprotocol/logLevel"] = "debug"
    if c.flag(8):
        found[VERSION_KEY] = c.pick(VERSIONS)
    return found


def request(c: Choices, *, modern: bool, about: Sequence[Any] = ()) -> dict[str, Any]:
    """A request or a notification, as its method says."""
    method = c.pick(METHODS)
    body = params(c, method, about)
    if modern:
        body["_meta"] = meta(c)
    elif c.flag(4):
        body["_meta"] = {"progressToken": c.pick(IDS)}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": body}
    if not method.startswith("notifications/"):
        message["id"] = c.pick(IDS)
    return message


def response(c: Choices, ids: Sequence[Any]) -> dict[str, Any]:
    """An answer to one of ``ids``, or to something that nobody has asked."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": c.pick([*ids, *IDS[:3]])}
    match c.below(8):
        case 0:
            code = c.pick((-32601, -32600, -32602, -32020, -32021, -32022, -32000, 7))
            data = {"supported": list(VERSIONS[:3]), "requested": "x"} if c.flag() else None
            message["error"] = {"code": code, "message": "no", "data": data}
        case 1:
            message["result"] = {
                "protocolVersion": c.pick(VERSIONS),
                "capabilities": {"tools": {}, "resources": {"subscribe": True}, "logging": {}},
                "serverInfo": {"name": "fuzz", "version": "1"},
            }
        case 2:
            message["result"] = {
                "resultType": "complete",
                "supportedVersions": [c.pick(VERSIONS), MODERN],
                "capabilities": {"tools": {"listChanged": True}, "resources": {}, "prompts": {}},
                "ttlMs": c.byte(),
                "cacheScope": "public",
            }
        case 3:
            question = {"method": c.pick(("elicitation/create", "roots/list", "x")), "params": {}}
            message["result"] = {
                "resultType": "input_required",
                "inputRequests": {"q": question},
                "requestState": c.text(4),
            }
        case 4:
            message["result"] = {
                "resultType": c.pick(("complete", "task", "odd")),
                "a": value(c, 1),
            }
        case _:
            message["result"] = {"resultType": "complete", "content": [], "tools": []}
    return message


def bent(c: Choices, message: dict[str, Any]) -> dict[str, Any]:
    """The message with something wrong in it, or right in another way."""
    message = dict(message)
    name = c.pick((*message, "id", "method", "params", "result", "error", "jsonrpc", "extra"))
    match c.below(5):
        case 0:
            message.pop(name, None)
        case 1:
            message[name] = c.seldom(ODD, NUMBERS)
        case 2:
            message[name] = value(c)
        case 3 if isinstance(message.get("params"), dict):
            inner = dict(message["params"])
            inner[c.pick((*inner, "_meta", "requestState", "inputResponses"))] = value(c, 2)
            message["params"] = inner
        case _ if isinstance(message.get("params"), dict):
            inner = dict(message["params"])
            noted = dict(inner.get("_meta") or {})
            noted[c.pick((*noted, "progressToken", VERSION_KEY, "a/b", "traceparent"))] = value(
                c, 1
            )
            message["params"] = {**inner, "_meta": noted}
    return message


def text(c: Choices, message: Any) -> bytes:
    """A message as JSON on one line, written in one of several ways."""
    how = c.below(4)
    written = json.dumps(
        message,
        ensure_ascii=how != 1,
        separators=(" , ", " : ") if how == 2 else (",", ":"),
    )
    if how == 3:
        written = escaped(written)
    for stands, number in _WRITTEN.items():
        written = written.replace(f'"{stands}"', number)
    return written.encode("utf-8", "surrogatepass")


def escaped(written: str) -> str:
    """JSON with names of members written in another way, each by an escape of one letter."""
    return _NAMES.sub(lambda name: f'"\\u{ord(name[1][0]):04x}{name[1][1:]}":', written)


_HIDDEN: dict[str, Any] = {
    "_meta": {"a/b": "<1e999>", "io.modelcontextprotocol/subscriptionId": 7},
    "inputResponses": {},
    "requestState": "old",
}


def relayed(body: dict[str, Any]) -> Raw:
    """A body as a relay passes it on: as it was written, with what belongs to another hop."""
    return Raw(text(Choices(b"\x03"), {**body, **_HIDDEN}))


def garbage(c: Choices, message: Any) -> bytes:
    """What cannot be read, with a secret in it, on one line."""
    if isinstance(message, dict):
        message = {**message, "note": SECRET}
    data = text(c, message)
    match c.below(6):
        case 0:
            data = data[: c.below(max(1, len(data)))]
        case 1:
            data += c.pick((b"}", b",", b"x", data))
        case 2:
            at = c.below(len(data))
            data = data[:at] + c.pick((b"\xff", b"\0", b"NaN", b"\\ud800", b"'")) + data[at:]
        case 3:
            data = SECRET.encode() + c.blob()
        case 4:
            data = b"\xef\xbb\xbf" + data
        case _:
            data = data.replace(b'"', b"'")
    return data.replace(b"\n", b" ")


def any_message(
    c: Choices, *, modern: bool, ids: Sequence[Any] = (), about: Sequence[Any] = ()
) -> bytes:
    """One line of any kind: mostly sound, so that what follows has a state to meet.

    ``ids``: of requests that may be answered; ``about``: of such as may be cancelled.
    """
    how = c.below(16)
    if how == 10 and about:
        given_up = {"requestId": c.pick(about)}
        return text(c, {"jsonrpc": "2.0", "method": CANCELLED, "params": given_up})
    if how in (1, 2, 3) and ids:
        message = response(c, ids)
    else:
        message = request(c, modern=modern, about=about)
    if how == 15:
        return garbage(c, message)
    if how in (13, 14):
        message = bent(c, message)
    if how in (11, 12):
        parts = [request(c, modern=modern) for _ in range(c.below(4))]
        return text(c, [*parts, message])
    return text(c, message)
