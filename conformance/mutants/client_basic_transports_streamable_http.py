"""Mutants of clients for the page basic/transports/streamable-http: sending and receiving."""

import base64
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import (
    adds,
    also_asks,
    gives_up,
    has,
    header,
    posts_to,
    reports,
    says,
    with_header,
    without_header,
)
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode, request

table = Table("basic/transports/streamable-http")
SENDING, RECEIVING = "sending-messages", "receiving-messages"


table.client("json-only", f"{SENDING}/client-accept").does(
    "Accepts JSON only.", header("accept", lambda value: "application/json")
)
table.client("untyped", f"{SENDING}/client-content-type").does(
    "Does not say what its bodies are.", without_header("content-type")
)
table.client("puts", f"{SENDING}/client-post").does(
    "Sends other requests as well.", also_asks("PUT", "/mcp")
)
table.client("arrays", f"{SENDING}/client-single-message").does(
    "Sends every message in an array.", says("tools/call", lambda value: encode([value]))
)
table.client("no-json", f"{SENDING}/client-takes-json").does(
    "Fails when the answer to a call is JSON.",
    gives_up(
        lambda value, payload: isinstance(value, dict) and "content" in value.get("result", {})
    ),
)
table.client("no-stream", f"{SENDING}/client-takes-stream").does(
    "Fails when the answer to a call is a stream.",
    gives_up(
        lambda value, payload: isinstance(value, dict) and "content" in value.get("result", {})
    ),
)
table.client("one-framing", f"{SENDING}/client-takes-any-framing").does(
    "Takes no chunks.", gives_up(has(b"chunked"))
)
table.client("waits-for-more", f"{RECEIVING}/client-stream-without-answer").does(
    "Waits although the stream has ended.", reports(0, {"failure": "timeout"})
)
table.client("hides-errors", f"{RECEIVING}/client-error-status").does(
    "Tells of the status and not of the error.",
    reports(0, {"error": {"code": 400, "message": "Bad Request"}}),
)
table.client("hangs", f"{RECEIVING}/client-empty-status").does(
    "Waits for an answer after a status that says no.", reports(1, {"failure": "timeout"})
)

for slug, part, what in (
    ("cr", b"\r\r", "lines that end with CR"),
    ("crlf", b"message\r", "lines that end with CR LF"),
    ("bom", b"\xef\xbb", "a byte order mark"),
    ("comments", b": keep-alive", "comments"),
    ("fields", b"odd: field", "fields that it does not know"),
    ("lines", b"\ndata: ", "data of several lines"),
    ("joined", b"\n\ndata: ", "several events at once"),
):
    table.client(f"no-{slug}", f"{RECEIVING}/client-sse-{slug}").does(
        f"Does not take {what}.", gives_up(has(part))
    )
table.client("patient", f"{RECEIVING}/client-keep-alive").does(
    "Takes comments for a sign that the answer is coming, and waits on.",
    reports(1, {"result": {"content": [{"type": "text", "text": "8"}]}}),
)
table.client("no-keep-alive", f"{RECEIVING}/client-keep-alive").does(
    "Takes a comment for the end of its stream.", reports(0, {"failure": "closed"})
)
table.client("no-pieces", f"{RECEIVING}/client-sse-pieces").does(
    "Takes each read for a whole event.", gives_up(lambda value, payload: payload == b"\n")
)
table.client("no-long", f"{RECEIVING}/client-sse-long").does(
    "Cuts events at 64 KiB.", gives_up(lambda value, payload: len(payload) > 65536)
)
table.client("no-garbage", f"{RECEIVING}/client-sse-garbage").does(
    "Fails for good at an event that is no JSON.", gives_up(has(b"{oops"))
)
table.client("stays-at-it", "backward-compatibility/client-falls-back").does(
    "Does not go back to the older era.", says("initialize", to(None))
)
table.client("falls-back-anyway", "stays-modern", "other-statuses").does(
    "Initializes whatever the answer to its first request was.",
    adds("server/discover", lambda value: request("again", "initialize", {})),
)
table.client(
    "posts-here", "httpsse-transport-2024-11-05/client-falls-back", "falls-back-from-modern"
).does(
    "Posts to the address that it was given, whatever the endpoint event says.", posts_to("/mcp")
)


MIRRORS = "custom-headers-from-tool-parameters/client-mirrors"


def _raw(value: str) -> str:
    """A value in the sentinel form as it would be without it, as far as h11 would let it."""
    if not value.startswith("=?base64?"):
        return value
    return base64.b64decode(value[len("=?base64?") : -2]).decode().replace("\0", "")


def _upper(value: str) -> str:
    return value.replace("=?base64?", "=?BASE64?")


@table.client("does-not-look", "refreshes")
class _Forgets(ClientFault):
    """Does not look at the tools before it makes the call again."""

    def said(self, value: Value) -> tuple[Value, ...]:
        listed = value.get("method") == "tools/list"
        if listed and any(each.get("method") == "tools/call" for each in self.requests.values()):
            return ({**value, "method": "prompts/list"},)
        return (value,)


@table.client("stubborn", "refreshes-once")
class _Stubborn(ClientFault):
    """Makes a call that is refused again and again."""

    _call: Value = {}
    _times: int = 0

    def said(self, value: Value) -> tuple[Value, ...]:
        if value.get("method") == "tools/call":
            self._call = value
        return (value,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "error" in value and self._times < 8:
            self._times += 1
            self.invent({**self._call, "id": f"again-{self._times}"})
        return payload


@table.client("loud-sentinel", "value-encoding/client-name", "base64")
class _Loud(ClientFault):
    """Writes the sentinel in capitals."""

    def asked(self, asked: Any) -> Any:
        asked.headers = [(name, _upper(value)) for name, value in asked.headers]
        return (asked,)


@table.client("no-mirror", MIRRORS, "base64", "nested", "refreshes")
class _Unmirrored(ClientFault):
    """Mirrors no parameters."""

    def asked(self, asked: Any) -> Any:
        asked.headers = [each for each in asked.headers if not each[0].startswith("mcp-param-")]
        return (asked,)


table.client("older-version", "protocol-version-header/client").does(
    "Names another version in the header than in the body.",
    header("mcp-protocol-version", lambda value: "2025-11-25"),
)
table.client("no-method", "method", "all-methods").does(
    "Does not name the method.", without_header("mcp-method")
)
table.client(
    "no-name",
    "standard-request-headers/client-name",
    "all-methods",
    "value-encoding/client-name",
).does("Does not name the tool.", without_header("mcp-name"))
table.client("raw-name", "value-encoding/client-name").does(
    "Does not encode names.", header("mcp-name", _raw)
)
table.client("mirrors-all", MIRRORS).does(
    "Mirrors every parameter.", with_header("mcp-param-query", "q", "POST")
)
table.client("raw-values", "base64").does("Does not encode values.", header("mcp-param-text", _raw))
table.client("injected", "no-injection").does(
    "Writes line breaks of values into the head.", with_header("x-injected", "yes")
)
table.client("writes-null", "omits").does(
    "Mirrors what is not there.", with_header("mcp-param-a", "null", "POST")
)
table.client("calls-all", "leaves-out").does(
    "Offers tools whose annotations are broken.",
    adds(
        "tools/call",
        lambda value: {
            **value,
            "id": "bad",
            "params": {**value["params"], "name": "bad_number", "arguments": {}},
        },
    ),
)


ON = "receiving-messages/client-listens-on"

table.client("ends-at-comments", ON).does(
    "Takes a comment for the end of what it listens to.",
    reports(0, {"result": {"honoured": {"toolsListChanged": True}, "changes": [], "ended": True}}),
)
table.client("gives-up-listening", ON).does(
    "Gives up a stream of changes as it gives up a request.",
    reports(0, {"failure": "timeout", "message": "it took too long"}),
)
