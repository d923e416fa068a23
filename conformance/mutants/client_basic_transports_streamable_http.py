"""Mutants of clients for the page basic/transports/streamable-http: sending and receiving."""

from conformance.mutants.client_faults import (
    also_asks,
    gives_up,
    has,
    header,
    reports,
    says,
    without_header,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode

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
