"""Mutants of clients for the page basic/transports."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import (
    adds,
    also_asks,
    gives_up,
    has,
    header,
    heads,
    hooked,
    never_says,
    once,
    params_of,
    posts_to,
    reports,
    says,
    signals,
    with_header,
    without_header,
)
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Ended
from mcpcore_conformance.kit.heard import header as header_of
from mcpcore_conformance.kit.messages import encode, request

table = Table("basic/transports")


table.client("ignores-endpoint", "posts-to-endpoint").does(
    "Posts to another address than that of the endpoint event.", posts_to("/sse")
)


@table.client("posts-anywhere", "foreign-endpoint")
class _PostsAnywhere(ClientFault):
    """Posts to an endpoint of another origin."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        made: list[Any] = [asked]
        if asked.method == "GET":
            made.append(Asked(-1000 - asked.exchange, "POST", "/messages", asked.headers))
        return made


class _FailsOn405(ClientFault):
    """Takes a 405 for a failure."""

    _seen = False

    def replied(self, status: int) -> None:
        self._seen = self._seen or status == 405

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return (Ended(1),) if isinstance(arrival, Ended) and self._seen else (arrival,)


@table.client("impatient", "retry")
class _Impatient(ClientFault):
    """Comes back at once."""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if header_of(asked.headers, "last-event-id") is not None:
            asked.at -= 0.5
        return (asked,)


def _never(method: str) -> Any:
    return heads(lambda asked: () if asked.method == method else (asked,))


table.client("tidies-session", "sends-session").does(
    "Takes what follows a semicolon off the id of the session.",
    header("mcp-session-id", lambda value: value.partition(";")[0]),
)
table.client("session-in-posts-only", "sends-session").does(
    "Sends the id of the session with messages only.", without_header("mcp-session-id", "GET")
)
table.client("invents-session", "without-session").does(
    "Makes up a session.", with_header("mcp-session-id", "mine")
)
table.client("loses-heart", "initializes-again").does(
    "Does not begin a new session.", once("initialize", to(None))
)
table.client("expects-no-stream", "initializes-again-by-get").does(
    "Takes a 404 to its GET for the word that there is no stream.", once("initialize", to(None))
)
table.client("keeps-session", "initializes-again", "initializes-again-by-get").does(
    "Begins a new session with the id of the old one.",
    with_header("mcp-session-id", "kit-session-1", "POST"),
)
table.client("leaves", "deletes").does("Never ends a session.", _never("DELETE"))
table.client("deletes-twice", "deletes").does(
    "Ends its session early, too.", also_asks("DELETE", "/mcp", mcp_session_id="kit-session-1")
)
table.client("needs-delete", "delete-refused").does(
    "Takes it for a failure if a session cannot be ended.", _FailsOn405
)
table.client("needs-get", "takes-405").does(
    "Takes it for a failure if there is no stream for GET.", _FailsOn405
)
table.client("no-version", "sends-version").does(
    "Names no version.", without_header("mcp-protocol-version")
)
table.client("no-version-by-get", "sends-version").does(
    "Names no version when it listens.", without_header("mcp-protocol-version", "GET")
)
table.client("accepts-anything", "accept").does(
    "Says of its GET that anything will do.", header("accept", lambda value: "*/*", "GET")
)
table.client("deaf", "hears").does("Does not answer what comes by GET.", never_says("ping"))
table.client("does-not-resume", "resumes", "resumes-again").does(
    "Never comes back to a stream.", _never("GET")
)
table.client("first-event", "resumes", "resumes-again").does(
    "Comes back after the first event that it had.",
    header("last-event-id", lambda value: value.replace("2", "1")),
)
table.client("hopes", "gives-up").does(
    "Takes a stream that could not be resumed for an empty answer.",
    reports(0, {"result": {"content": []}}),
)
table.client("takes-twice", "one-answer").does(
    "Takes an answer that it had for the next one.",
    reports(1, {"result": {"content": [{"type": "text", "text": "resumed"}]}}),
)


index = Table("basic/transports/index")


index.client("replaces", "refuses-bad-utf-8").does(
    "Reads what is no UTF-8 as if it were something.",
    hooked(
        told=lambda value, payload: (
            payload if value is not None else payload.decode("utf-8", "replace").encode()
        )
    ),
)
index.client("latin-1", "writes-utf-8").does(
    "Writes Latin-1.",
    says("tools/call", lambda value: encode(value).decode().encode("latin-1", "replace")),
)


stdio = Table("basic/transports/stdio")


@stdio.client("does-not-probe", "probes")
class _Begins(ClientFault):
    """Begins with another request."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != "server/discover":
            return (value,)
        return request("early", "tools/list", value["params"]), value

    def told(self, value: Any, payload: bytes) -> bytes | None:
        early = isinstance(value, dict) and value.get("id") == "early"
        return None if early else payload


stdio.client("one-code", "falls-back", "falls-back-on-silence").does(
    "Does not go back to the older era.", says("initialize", to(None))
)


def _without_breaks(params: Value) -> Value:
    arguments = params.get("arguments", {})
    lines = {name: " ".join(str(each).splitlines()) for name, each in arguments.items()}
    return {**params, "arguments": lines}


stdio.client("joins-lines", "one-line").does(
    "Takes breaks out of text.", params_of("tools/call", _without_breaks)
)
stdio.client("greets", "nothing-else").does(
    "Writes a mark of the byte order first.",
    says("", lambda value: b"\xef\xbb\xbf" + encode(value)),
)
stdio.client("batches", "individual-messages").does(
    "Writes a call within an array.", says("tools/call", lambda value: encode([value]))
)
stdio.client("no-crlf", "takes-crlf").does(
    "Fails when a line ends with CR LF.", gives_up(has(b"\r\n"))
)
stdio.client("no-pieces", "takes-pieces").does(
    "Takes each read for a message.", gives_up(lambda value, payload: payload == b"{")
)
stdio.client("short-lines", "takes-long-lines").does(
    "Cuts lines at 64 KiB.", gives_up(lambda value, payload: len(payload) > 65536)
)
stdio.client("no-noise", "skips-noise").does("Fails at what is no message.", gives_up(has(b"42%")))
stdio.client("stderr-is-error", "stderr").does(
    "Takes what is on standard error for a failure.", gives_up(has(b"ERROR: "))
)
stdio.client("one-thing-at-a-time", "deaf-server").does(
    "Reads nothing while the server does not.",
    reports(1, {"failure": "timeout", "message": "no answer"}),
)
stdio.client("terminates", "closes-input").does("Sends SIGTERM at once.", signals("SIGTERM"))
stdio.client("terminates-as-well", "closes-input").does(
    "Does not wait for the server's end.", signals("EOF", "SIGTERM")
)
stdio.client("kills", "uses-force").does("Kills the server without closing its input.", signals())
stdio.client("waits", "notices").does(
    "Waits for a server that is dead.", reports(0, {"failure": "timeout"})
)
stdio.client("gives-up", "restarts").does(
    "Does not start a server again.", reports(1, {"failure": "closed"})
)
stdio.client("falls-back-anyway", "stays-modern").does(
    "Initializes whatever the probe gave.",
    adds("server/discover", lambda value: request("again", "initialize", {})),
)
