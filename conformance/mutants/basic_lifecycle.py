"""Mutants of the page basic/lifecycle."""

from collections.abc import Iterable
from itertools import count
from typing import Any

from msgspec import field

from conformance.mutants.edits import drop, to
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    answers_to,
    asks,
    before,
    declines,
    dies_of,
    hooked,
    instead,
    misread,
    own_messages,
    results_of,
    since,
    takes,
)
from conformance.mutants.lists import also, silent_capability
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LEGACY
from mcpcore_conformance.kit.messages import encode, error, request, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/lifecycle")

OLDEST = "2024-11-05"
INITIALIZED = "notifications/initialized"
_NAMES = [each.name for each in LEGACY]


def _rather_before(result: Value) -> Value:
    """Agree to the version before the one that is due; instead of the first, to the last."""
    place = _NAMES.index(result["protocolVersion"])
    return {**result, "protocolVersion": _NAMES[place - 1]}


@table.server("oldest-offered", "newest-offered")
class _OldestOffered(Fault):
    """Offers the oldest version to whom it does not understand."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "initialize" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]["params"]["protocolVersion"]
        if value["result"]["protocolVersion"] == asked:
            return (value,)
        return ({**value, "result": {**value["result"], "protocolVersion": OLDEST}},)


@table.server("any-version", "unknown-version", "future-version", "odd-versions", "modern-version")
class _Echoes(Fault):
    """Agrees to whatever version it is asked for."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "initialize" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]["params"]["protocolVersion"]
        return ({**value, "result": {**value["result"], "protocolVersion": asked}},)


table.server("serves-early", "before-all").does(
    "Serves whoever asks.", before(asks(INITIALIZED), takes("tools/list", {"tools": []}))
)
table.server("opened-by-word", "initialized-first").does(
    "Takes notifications/initialized for the whole handshake.",
    before(asks("initialize"), since(asks(INITIALIZED), takes("tools/list", {"tools": []}))),
)
table.server("ends-early", "after-refusal").does(
    "Ends when something comes before initialize.",
    before(asks("initialize"), dies_of(lambda value, _payload: isinstance(value, dict))),
)
table.server("impatient", "server-waits").does(
    "Asks for the roots before the client is ready.",
    also("initialize", request("impatient", "roots/list"), after=True),
)
table.server("begins-anew", "twice-harmless").does(
    "Forgets the conversation at a second initialize.",
    since(
        asks("initialize"),
        declines(lambda value: "id" in value and not asks("initialize")(value)),
        number=2,
    ),
)


def _fills(value: Any, payload: bytes) -> Any:
    if not asks("initialize")(value):
        return payload
    params = {"protocolVersion": OLDEST, **value.get("params", {})}
    params.setdefault("capabilities", {})
    params.setdefault("clientInfo", {"name": "x", "version": "1"})
    if not isinstance(params["protocolVersion"], str):
        params["protocolVersion"] = OLDEST
    return {**value, "params": params}


def _opened(value: Any) -> Value:
    version = value["params"]["protocolVersion"]
    server = {"name": "x", "version": "1"}
    return result(
        value["id"], {"protocolVersion": version, "capabilities": {}, "serverInfo": server}
    )


table.server("other-version", "version-echoed").does(
    "Answers every version that it speaks with another one.",
    results_of("initialize", _rather_before),
)
table.server("version-code", "unknown-version", "future-version").does(
    "Calls a version that it does not speak an internal error.",
    declines(
        asks("initialize", lambda params: params.get("protocolVersion") not in _NAMES), -32603
    ),
)
table.server("nameless", "answered").does(
    "Does not say who it is.", results_of("initialize", drop("serverInfo"))
)
table.server("wants-capabilities", "minimal").does(
    "Refuses clients that can do nothing.",
    declines(asks("initialize", lambda params: not params["capabilities"]), -32602),
)
table.server("wants-known-members", "more-than-known").does(
    "Refuses what it does not know.",
    declines(asks("initialize", lambda params: "more" in params), -32602),
)
table.server("takes-no-version", "without-version").does(
    "Takes an initialize without a version for one of the oldest.", misread(_fills)
)
table.server("one-attempt", "without-version").does(
    "Ends when an initialize is not as it should be.",
    dies_of(lambda value, _payload: asks("initialize")(value) and not value.get("params")),
)
table.server("fills-in", "incomplete").does(
    "Fills in what an initialize does not say.", misread(_fills)
)
table.server("no-ping-first", "ping-first").does(
    "Answers no ping before initialize.", before(asks("initialize"), declines(asks("ping")))
)
table.server("no-ping-between", "ping-between").does(
    "Answers no ping before notifications/initialized.",
    before(asks(INITIALIZED), since(asks("initialize"), declines(asks("ping")))),
)
table.server("welcomes", "initialized-unanswered").does(
    "Answers notifications/initialized.", instead(asks(INITIALIZED), to(result("welcome", {})))
)
table.server("welcomes-again", "initialized-again").does(
    "Complains about a second notifications/initialized.",
    since(
        asks(INITIALIZED),
        instead(asks(INITIALIZED), to(error(None, -32600, "already there"))),
        number=2,
    ),
)
table.server("opens-twice", "twice").does(
    "Answers a second initialize as it did the first.",
    since(asks("initialize"), instead(asks("initialize"), _opened), number=2),
)
table.server("opens-in-batches", "not-batched").does(
    "Answers an initialize in a batch.",
    instead(
        lambda value: isinstance(value, list),
        lambda batch: encode([_opened(each) for each in batch]),
    ),
)


def _asks_anyway(method: str, params: Value) -> Breaks:
    """Ask the client, whatever it declared, and fail the call then."""
    return also("tools/call", request("anyway", method, params))


class _OneVersion(Fault):
    """Speaks the version of whoever came last."""

    last = ""

    _mine = ""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("initialize")(value):
            self._mine = _OneVersion.last = value["params"]["protocolVersion"]
        elif self._mine != _OneVersion.last and "id" in value:
            self.answer(error(value["id"], -32600, "another version was agreed on"))
            return None
        return payload


@table.server("one-conversation", "others-stay", "dropped")
class _FirstOnly(Fault):
    """Ends with its first conversation."""

    _number: int = field(default_factory=count().__next__)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self._number and asks("tools/list")(value):
            self.vanish("the server has ended")
            return None
        return payload


table.server(
    "stays", "end-of-input", "end-before-initialize", "terminated", binding=Binding.STDIO
).does(
    "Ends neither with its input nor on SIGTERM.",
    hooked(finished=lambda: False, signalled=to(False)),
)
table.server("promises", "declared").does(
    "Declares logging and does not know logging/setLevel.",
    declines(asks("logging/setLevel"), -32601),
)
table.server("keeps-quiet", "undeclared").does(
    "Has prompts and does not declare them.", silent_capability("prompts")
)
table.server("samples-anyway", "no-sampling").does(
    "Asks for sampling whether the client can do it or not.",
    _asks_anyway("sampling/createMessage", {"messages": [], "maxTokens": 1}),
)
table.server("roots-anyway", "no-roots").does(
    "Asks for roots whether the client can do it or not.", _asks_anyway("roots/list", {})
)
table.server("elicits-anyway", "no-elicitation").does(
    "Asks the user whether the client can do it or not.",
    _asks_anyway("elicitation/create", {"message": "x", "requestedSchema": {}}),
)
table.server("serves-later-methods", "later-methods").does(
    "Serves server/discover whatever version was agreed on.",
    instead(asks("server/discover"), lambda value: result(value["id"], {})),
)
table.server("one-version", "two-versions").does(
    "Keeps the version of the last client for all of them.", _OneVersion
)
table.server("waits-for-ever", "unanswered-question").does(
    "Never gives up a question.", answers_to("tools/call", lambda _value: None)
)
table.server("gives-up-silently", "unanswered-question").does(
    "Does not tell the client that it has given up a question.",
    own_messages("notifications/cancelled", lambda _value: None),
)
