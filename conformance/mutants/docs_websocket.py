"""Mutants of this project's own rules of MCP over WebSocket."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.basic_transports_stdio import Drops
from conformance.mutants.fault import Fault, Value
from conformance.mutants.model import Table
from conformance.mutants.rfc6455 import Frame, frames, overlooks
from conformance.mutants.rfc6455_opening import answers, opens, refuses, shows
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.bindings.websocket import BINARY, TEXT, encoded
from mcpcore_conformance.kit.heard import Heard, Text
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.wire import Refused

table = Table("docs/websocket")

SERVER = {"name": "forgetful", "version": "1"}
SECRET = "mcp.auth.kit-secret-0123456789"  # noqa: S105


def _with_status(status: int) -> Callable[[], Fault]:
    return answers(lambda refused: Refused(refused.reason, status=status, headers=refused.headers))


def _cors(refused: Refused) -> Refused:
    headers = [*refused.headers, ("access-control-allow-origin", "*")]
    return Refused(refused.reason, status=refused.status, headers=headers)


class _Silent(Fault):
    """Loses what it was asked before the connection ends."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        before = isinstance(heard, Text) and b"kit-before" in heard.data
        return () if before else (heard,)


class _Splits(Fault):
    """Takes every line of a frame for a message."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        return payload.partition(b"\n")[0] if value is None else payload


class _Shares(Fault):
    """Takes the handshake of one connection for that of all."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and str(value.get("method")).endswith("/list"):
            name = str(value["method"]).partition("/")[0]
            self.answer(encode(messages.result(value["id"], {name: []})))
            return None
        return payload


class _Waits(Fault):
    """Waits for the payload of a frame before it looks at its head."""

    def written(self, data: bytes) -> bytes | None:
        if not Frame(data).size <= len(data):
            return None
        return data


def _lines(frame: Frame) -> bytes:
    """What a reader of lines makes of a frame."""
    if frame.opcode != TEXT or b"\n" not in frame.payload:
        return b""
    return encoded(TEXT, frame.payload.partition(b"\n")[0])


class _Forgets(Fault):
    """Agrees to what initialize asks for, whatever revision was offered."""

    def __init__(self) -> None:
        super().__init__()
        self._offered = False

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


table.add("any-path", "who-is-let-in/other-path", "Opens at every path.", opens("path"))
table.add(
    "any-origin",
    "who-is-let-in/foreign-origin-forbidden",
    "Does not look at Origin.",
    opens("headers"),
)
table.add(
    "origin-400",
    "who-is-let-in/foreign-origin-forbidden",
    "Refuses foreign origins with 400.",
    _with_status(400),
)
table.add("any-host", "who-is-let-in/foreign-host", "Answers to every name.", opens("edit"))
table.add(
    "all-may-read",
    "who-is-let-in/nothing-told",
    "Lets every page read its refusals.",
    answers(_cors),
)
table.add("chooses-nothing", "subprotocols/mcp", "Chooses nothing.", shows("subprotocol", None))
table.add(
    "offer-needed",
    "subprotocols/none",
    "Lets nobody in who offers nothing.",
    refuses(lambda options: options.get("offers") == []),
)
table.add("any-offer", "subprotocols/unknown-only", "Takes every offer.", opens("offers"))
table.add(
    "versions-not-known",
    "subprotocols/version",
    "Knows no offers of revisions.",
    refuses(_no_versions),
)
table.add(
    "any-version",
    "subprotocols/version-unknown",
    "Takes every offer of a revision.",
    opens("offers"),
)
table.add(
    "version-overlooked",
    "subprotocols/version-decides",
    "Forgets the revision that was offered.",
    _Forgets,
)
table.add(
    "chooses-token",
    "subprotocols/token-not-echoed",
    "Chooses the token.",
    shows("subprotocol", SECRET),
)
table.add(
    "tells-token",
    "subprotocols/token-not-echoed",
    "Tells in a header what it was offered.",
    shows("accepted", [("x-offers", SECRET)]),
)
table.add(
    "binary-taken",
    "how-it-ends/binary",
    "Takes binary frames for text.",
    frames(lambda frame: encoded(TEXT, frame.payload) if frame.opcode == BINARY else b""),
)
table.add(
    "answers-lost",
    "how-it-ends/behind-the-answers",
    "Forgets what it was asked when the connection has to end.",
    _Silent,
)
table.add("waits-for-payload", "how-it-ends/too-large", "Waits for a frame of any size.", _Waits)
table.add(
    "waits-for-frames",
    "how-it-ends/heads-at-once",
    "Waits for a frame before it looks at its head.",
    _Waits,
)
table.add(
    "waits-for-text",
    "how-it-ends/text-at-the-first-byte",
    "Looks at text when the message has ended.",
    overlooks(lambda frame: frame.opcode == TEXT and not frame.fin),
)
table.add(
    "drops-answers",
    "what-is-bounded/slow-reader",
    "Drops what it cannot send at once.",
    Drops,
)
table.add(
    "lines-are-messages",
    "websocket/one-message-per-frame",
    "Takes every line of a frame for a message.",
    _Splits,
)
table.add(
    "newlines-end-messages",
    "websocket/newlines-mean-nothing",
    "Ends messages at newlines.",
    frames(_lines),
)
table.add(
    "one-session",
    "websocket/sessions-apart",
    "Takes the handshake of one connection for that of all.",
    _Shares,
)
