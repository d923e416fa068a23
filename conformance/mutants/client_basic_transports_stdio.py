"""Mutants of clients for the page basic/transports/stdio."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import adds, gives_up, has, params_of, reports, says, signals
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode, request

table = Table("basic/transports/stdio")
FRAMING = "basic-transports-stdio"


@table.client("does-not-probe", "backward-compatibility/client-probes")
class _Begins(ClientFault):
    """Begins with another request."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != "server/discover":
            return (value,)
        return request("early", "tools/list", value["params"]), value

    def told(self, value: Any, payload: bytes) -> bytes | None:
        early = isinstance(value, dict) and value.get("id") == "early"
        return None if early else payload


table.client(
    "one-code",
    "backward-compatibility/client-falls-back",
    "backward-compatibility/client-falls-back-on-silence",
).does("Does not go back to the older era.", says("initialize", to(None)))


def _without_breaks(params: Value) -> Value:
    arguments = params.get("arguments", {})
    lines = {name: " ".join(str(each).splitlines()) for name, each in arguments.items()}
    return {**params, "arguments": lines}


table.client("joins-lines", f"{FRAMING}/client-one-line").does(
    "Takes breaks out of text.", params_of("tools/call", _without_breaks)
)
table.client("greets", f"{FRAMING}/client-nothing-else").does(
    "Writes a mark of the byte order first.",
    says("", lambda value: b"\xef\xbb\xbf" + encode(value)),
)
table.client("batches", f"{FRAMING}/client-individual-messages").does(
    "Writes a call within an array.", says("tools/call", lambda value: encode([value]))
)
table.client("no-crlf", f"{FRAMING}/client-takes-crlf").does(
    "Fails when a line ends with CR LF.", gives_up(has(b"\r\n"))
)
table.client("no-pieces", f"{FRAMING}/client-takes-pieces").does(
    "Takes each read for a message.", gives_up(lambda value, payload: payload == b"{")
)
table.client("short-lines", f"{FRAMING}/client-takes-long-lines").does(
    "Cuts lines at 64 KiB.", gives_up(lambda value, payload: len(payload) > 65536)
)
table.client("no-noise", f"{FRAMING}/client-skips-noise").does(
    "Fails at what is no message.", gives_up(has(b"42%"))
)
table.client("stderr-is-error", f"{FRAMING}/client-stderr").does(
    "Takes what is on standard error for a failure.", gives_up(has(b"ERROR: "))
)
table.client("one-thing-at-a-time", f"{FRAMING}/client-deaf-server").does(
    "Reads nothing while the server does not.",
    reports(1, {"failure": "timeout", "message": "no answer"}),
)
table.client("terminates", "shutdown/client-closes-input").does(
    "Sends SIGTERM at once.", signals("SIGTERM")
)
table.client("terminates-as-well", "shutdown/client-closes-input").does(
    "Does not wait for the server's end.", signals("EOF", "SIGTERM")
)
table.client("kills", "shutdown/client-uses-force").does(
    "Kills the server without closing its input.", signals()
)
table.client("waits", "unexpected-termination/client-notices").does(
    "Waits for a server that is dead.", reports(0, {"failure": "timeout"})
)
table.client("gives-up", "unexpected-termination/client-restarts").does(
    "Does not start a server again.", reports(1, {"failure": "closed"})
)
table.client("falls-back-anyway", "backward-compatibility/client-stays-modern").does(
    "Initializes whatever the probe gave.",
    adds("server/discover", lambda value: request("again", "initialize", {})),
)
