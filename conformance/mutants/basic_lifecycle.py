"""Mutants of the page basic/lifecycle."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import drop
from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    declines,
    dies_of,
    instead,
    misread,
    results_of,
)
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LEGACY
from mcpcore_conformance.kit.messages import encode, error, request, result

table = Table("basic/lifecycle")

OLDEST = "2024-11-05"
INITIALIZED = "notifications/initialized"


def _rather_before(result: Value) -> Value:
    """Agree to the version before the one that is due; instead of the first, to the last."""
    place = [each.name for each in LEGACY].index(result["protocolVersion"])
    return {**result, "protocolVersion": LEGACY[place - 1].name}


@table.server("oldest-offered", "version-negotiation/newest-offered")
class _OldestOffered(Fault):
    """Offers the oldest version to whom it does not understand."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "initialize" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]["params"]["protocolVersion"]
        if value["result"]["protocolVersion"] == asked:
            return (value,)
        return ({**value, "result": {**value["result"], "protocolVersion": OLDEST}},)


@table.server(
    "any-version",
    "version-negotiation/unknown-version",
    "version-negotiation/future-version",
    "version-negotiation/odd-versions",
    "version-negotiation/modern-version",
)
class _Echoes(Fault):
    """Agrees to whatever version it is asked for."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "initialize" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]["params"]["protocolVersion"]
        return ({**value, "result": {**value["result"], "protocolVersion": asked}},)


class _Opening(Fault):
    """Something else before the handshake than after it."""

    def __init__(self) -> None:
        super().__init__()
        self.initialized = self.asked_for = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self.asked_for |= asks("initialize")(value)
        before = not self.initialized
        self.initialized |= asks(INITIALIZED)(value)
        if before and isinstance(value, dict) and value.get("method") != "initialize":
            return self.early(value, payload)
        return payload

    def early(self, value: Value, payload: bytes) -> bytes | None:
        """What is said before notifications/initialized, and that itself."""
        return payload


@table.server("serves-early", "initialization/before-all")
class _ServesEarly(_Opening):
    """Serves whoever asks."""

    def early(self, value: Value, payload: bytes) -> bytes | None:
        if value.get("method") != "tools/list":
            return payload
        self.answer(result(value.get("id"), {"tools": []}))
        return None


@table.server("opened-by-word", "initialization/initialized-first")
class _OpenedByWord(_Opening):
    """Takes notifications/initialized for the whole handshake."""

    def early(self, value: Value, payload: bytes) -> bytes | None:
        return payload

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self.initialized and not self.asked_for and asks("tools/list")(value):
            self.answer(result(value.get("id"), {"tools": []}))
            return None
        return super().said(value, payload)


@table.server("ends-early", "initialization/after-refusal")
class _Spoilt(_Opening):
    """Ends when something comes before initialize."""

    def early(self, value: Value, payload: bytes) -> bytes | None:
        if self.asked_for:
            return payload
        self.vanish("closed: initialize has to come first")
        return None


class _NoEarlyPing(_Opening):
    def __init__(self, *, between: bool) -> None:
        super().__init__()
        self._between = between

    def early(self, value: Value, payload: bytes) -> bytes | None:
        if value.get("method") != "ping" or self.asked_for is not self._between:
            return payload
        self.answer(error(value.get("id"), -32600, "not initialized"))
        return None


@table.server("impatient", "initialization/server-waits")
class _Impatient(Fault):
    """Asks for the roots before the client is ready."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        opening = self.method_of(value) == "initialize" and "result" in value
        return (value, request("impatient", "roots/list")) if opening else (value,)


class _Once(Fault):
    """Does something the second time that a method comes."""

    def __init__(self, method: str, then: Callable[[Fault, Value], None]) -> None:
        super().__init__()
        self._method, self._then, self._seen = method, then, False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not asks(self._method)(value):
            return payload
        if not self._seen:
            self._seen = True
            return payload
        self._then(self, value)
        return None


@table.server("begins-anew", "initialization/twice-harmless")
class _ForgetsAfterSecond(Fault):
    """Forgets the conversation at a second initialize."""

    _openings = 0

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._openings += asks("initialize")(value)
        if self._openings < 2 or asks("initialize")(value) or "id" not in value:
            return payload
        self.answer(error(value["id"], -32600, "not initialized"))
        return None


def _without(*names: str) -> Callable[[], Fault]:
    def known(value: Any) -> bool:
        params = value.get("params", {}) if isinstance(value, dict) else {}
        return asks("initialize")(value) and all(name in params for name in names)

    return declines(known, -32602)


def _fills(value: Any, payload: bytes) -> Any:
    if not asks("initialize")(value):
        return payload
    params = {"protocolVersion": OLDEST, **value.get("params", {})}
    params.setdefault("capabilities", {})
    params.setdefault("clientInfo", {"name": "x", "version": "1"})
    if not isinstance(params["protocolVersion"], str):
        params["protocolVersion"] = OLDEST
    return {**value, "params": params}


def _opens_in_batches(value: Any) -> bytes:
    answers = [
        result(
            each["id"],
            {
                "protocolVersion": "2025-03-26",
                "capabilities": {},
                "serverInfo": {"name": "x", "version": "1"},
            },
        )
        for each in value
    ]
    return encode(answers)


table.server("other-version", "version-negotiation/version-echoed").does(
    "Answers every version that it speaks with another one.",
    results_of("initialize", _rather_before),
)

table.server(
    "version-code", "version-negotiation/unknown-version", "version-negotiation/future-version"
).does(
    "Calls a version that it does not speak an internal error.",
    declines(
        lambda value: (
            asks("initialize")(value)
            and value["params"].get("protocolVersion") not in [each.name for each in LEGACY]
        ),
        -32603,
    ),
)

table.server("nameless", "initialization/answered").does(
    "Does not say who it is.", results_of("initialize", drop("serverInfo"))
)
table.server("wants-capabilities", "initialization/minimal").does(
    "Refuses clients that can do nothing.",
    declines(
        lambda value: asks("initialize")(value) and not value["params"]["capabilities"], -32602
    ),
)
table.server("wants-known-members", "initialization/more-than-known").does(
    "Refuses what it does not know.", _without("more")
)
table.server("takes-no-version", "initialization/without-version").does(
    "Takes an initialize without a version for one of the oldest.", misread(_fills)
)
table.server("one-attempt", "initialization/without-version").does(
    "Ends when an initialize is not as it should be.",
    dies_of(lambda value, _payload: asks("initialize")(value) and not value.get("params")),
)
table.server("fills-in", "initialization/incomplete").does(
    "Fills in what an initialize does not say.", misread(_fills)
)


table.server("no-ping-first", "initialization/ping-first").does(
    "Answers no ping before initialize.", lambda: _NoEarlyPing(between=False)
)
table.server("no-ping-between", "initialization/ping-between").does(
    "Answers no ping before notifications/initialized.", lambda: _NoEarlyPing(between=True)
)

table.server("welcomes", "initialization/initialized-unanswered").does(
    "Answers notifications/initialized.",
    instead(asks(INITIALIZED), lambda _value: result("welcome", {})),
)
table.server("welcomes-again", "initialization/initialized-again").does(
    "Complains about a second notifications/initialized.",
    lambda: _Once(
        INITIALIZED, lambda fault, _value: fault.answer(error(None, -32600, "already there"))
    ),
)
table.server("opens-twice", "initialization/twice").does(
    "Answers a second initialize as it did the first.",
    lambda: _Once(
        "initialize",
        lambda fault, value: fault.answer(
            result(
                value["id"],
                {
                    "protocolVersion": value["params"]["protocolVersion"],
                    "capabilities": {},
                    "serverInfo": {"name": "x", "version": "1"},
                },
            )
        ),
    ),
)

table.server("opens-in-batches", "initialization/not-batched").does(
    "Answers an initialize in a batch.",
    instead(lambda value: isinstance(value, list), _opens_in_batches),
)
