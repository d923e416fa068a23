"""Mutants of this project's own rules of MCP over WebSocket."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.basic_transports_stdio import Drops
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import instead, loses, misread, reads
from conformance.mutants.model import Table
from conformance.mutants.rfc6455 import Frame, answers, frames, opens, overlooks, refuses, shows
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.bindings.websocket import BINARY, TEXT, encoded
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.wire import Refused

table = Table("docs/websocket")

SERVER = {"name": "forgetful", "version": "1"}
SECRET = "mcp.auth.kit-secret-0123456789"  # noqa: S105


def _cors(refused: Refused) -> Refused:
    headers = [*refused.headers, ("access-control-allow-origin", "*")]
    return Refused(refused.reason, status=refused.status, headers=headers)


table.server("answers-lost", "behind-the-answers").does(
    "Forgets what it was asked when the connection has to end.",
    loses(Text, lambda text: b"kit-before" in text.data),
)
table.server("lines-are-messages", "one-message-per-frame").does(
    "Takes every line of a frame for a message.",
    misread(lambda value, payload: payload.partition(b"\n")[0] if value is None else payload),
)
table.server("one-session", "sessions-apart").does(
    "Takes the handshake of one connection for that of all.",
    instead(
        lambda value: isinstance(value, dict) and str(value.get("method")).endswith("/list"),
        lambda value: messages.result(value["id"], {value["method"].partition("/")[0]: []}),
    ),
)


WAITS = reads(lambda data: data if Frame(data).size <= len(data) else None)
"""Waits for the payload of a frame before it looks at its head."""


def _lines(frame: Frame) -> bytes:
    """What a reader of lines makes of a frame."""
    if frame.opcode != TEXT or b"\n" not in frame.payload:
        return b""
    return encoded(TEXT, frame.payload.partition(b"\n")[0])


@table.server("version-overlooked", "version-decides")
class _Forgets(Fault):
    """Forgets the revision that was offered."""

    _offered = False

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        offers = options.get("offers") or ()
        self._offered = any(each.startswith("mcp.version.") for each in offers)
        return options

    def message(self, value: Value) -> Iterable[Value | bytes]:
        opening = self.method_of(value) == "initialize" and "id" in value
        if not self._offered or not opening:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]["params"]["protocolVersion"]
        result = {"protocolVersion": asked, "capabilities": {}, "serverInfo": SERVER}
        return (messages.result(value["id"], result),)


def _no_versions(options: dict[str, Any]) -> bool:
    offers = options.get("offers")
    return offers is not None and all(each.startswith("mcp.version.") for each in offers)


table.server("any-path", "other-path").does("Opens at every path.", opens("path"))
table.server("any-origin", "foreign-origin-forbidden").does(
    "Does not look at Origin.", opens("headers")
)
table.server("origin-400", "foreign-origin-forbidden").does(
    "Refuses foreign origins with 400.",
    answers(lambda refused: Refused(refused.reason, status=400, headers=refused.headers)),
)
table.server("any-host", "foreign-host").does("Answers to every name.", opens("edit"))
table.server("all-may-read", "nothing-told").does(
    "Lets every page read its refusals.", answers(_cors)
)
table.server("chooses-nothing", "mcp").does("Chooses nothing.", shows("subprotocol", None))
table.server("offer-needed", "none").does(
    "Lets nobody in who offers nothing.", refuses(lambda options: options.get("offers") == [])
)
table.server("any-offer", "unknown-only").does("Takes every offer.", opens("offers"))
table.server("versions-not-known", "version").does(
    "Knows no offers of revisions.", refuses(_no_versions)
)
table.server("any-version", "version-unknown").does(
    "Takes every offer of a revision.", opens("offers")
)
table.server("chooses-token", "token-not-echoed").does(
    "Chooses the token.", shows("subprotocol", SECRET)
)
table.server("tells-token", "token-not-echoed").does(
    "Tells in a header what it was offered.", shows("accepted", [("x-offers", SECRET)])
)
table.server("binary-taken", "binary").does(
    "Takes binary frames for text.",
    frames(lambda frame: encoded(TEXT, frame.payload) if frame.opcode == BINARY else b""),
)
table.server("waits-for-payload", "too-large").does("Waits for a frame of any size.", WAITS)
table.server("waits-for-frames", "heads-at-once").does(
    "Waits for a frame before it looks at its head.", WAITS
)
table.server("waits-for-text", "text-at-the-first-byte").does(
    "Looks at text when the message has ended.",
    overlooks(lambda frame: frame.opcode == TEXT and not frame.fin),
)
table.server("drops-answers", "slow-reader").does("Drops what it cannot send at once.", Drops)
table.server("newlines-end-messages", "newlines-mean-nothing").does(
    "Ends messages at newlines.", frames(_lines)
)
