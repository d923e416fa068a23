"""Mutants of the page basic/versioning."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import over, put
from conformance.mutants.faults import (
    Fault,
    Value,
    answers_to,
    asks,
    code,
    declines,
    instead,
    results_of,
)
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_conformance.cases.basic_versioning import COMPATIBILITY, NEGOTIATION
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, error, result

table = Table("basic/versioning")

MODERN, LEGACY = "2026-07-28", "2025-11-25"


def _meta(value: Any) -> dict[str, Any]:
    params = value.get("params") if isinstance(value, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _data(edit: Callable[[Any], Any]) -> Callable[[], Fault]:
    """Edit the data of errors."""

    def change(value: Value) -> Value:
        if "data" not in value.get("error", {}):
            return value
        return {**value, "error": {**value["error"], "data": edit(value["error"]["data"])}}

    return answers_to("", change)


def _capabilities(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of("server/discover", over("capabilities", edit))


class _OneEra(Fault):
    """Serves the era of the first client, on whatever connection it came."""

    first = ""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, dict) or value.get("method") != "tools/list":
            return payload
        era = "modern" if META_PROTOCOL_VERSION in _meta(value) else "legacy"
        _OneEra.first = _OneEra.first or era
        if era == _OneEra.first:
            return payload
        self.answer(error(value["id"], -32600, "this server is of another era"))
        return None


@table.server("era-of-connection", f"{COMPATIBILITY}/both-eras-on-one-connection")
class _EraOfConnection(Fault):
    """Takes every request on an initialized connection for a legacy one."""

    _legacy = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._legacy |= asks("initialize")(value)
        if not self._legacy or META_PROTOCOL_VERSION not in _meta(value):
            return payload
        self.answer(result(value["id"], {"tools": []}))
        return None


@table.server("locked-by-probe", f"{COMPATIBILITY}/refused-probe")
class _LockedByProbe(Fault):
    """Has no initialize any more after a modern request."""

    _modern = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._modern |= META_PROTOCOL_VERSION in _meta(value)
        if not self._modern or not asks("initialize")(value):
            return payload
        self.answer(error(value["id"], -32601, "Method not found"))
        return None


@table.server("lists-more", f"{NEGOTIATION}/list-is-true")
class _ListsMore(Fault):
    """Lists versions in which it does not agree."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) == "initialize" and "result" in value:
            return ({**value, "result": {**value["result"], "protocolVersion": LEGACY}},)
        return (value,)


table.server("any-version", f"{NEGOTIATION}/unsupported", f"{NEGOTIATION}/requested").does(
    "Serves requests of whatever version.",
    instead(
        lambda value: asks("tools/list")(value) and bool(_meta(value)),
        lambda value: result(value["id"], {"tools": [], "resultType": "complete"}),
    ),
)
table.server(
    "version-code", f"{NEGOTIATION}/unsupported", f"{NEGOTIATION}/discover-unsupported"
).does(
    "Calls a version that it does not speak a wrong parameter.", code(UNSUPPORTED_VERSION, -32602)
)
table.server(
    "names-no-versions", f"{NEGOTIATION}/unsupported", f"{NEGOTIATION}/discover-unsupported"
).does(
    "Does not say which versions it speaks.", _data(lambda data: {"requested": data["requested"]})
)
table.server("repeats-nothing", f"{NEGOTIATION}/requested").does(
    "Repeats its own version instead of the one that was asked for.", _data(put(requested=MODERN))
)
table.server("shorter-list", f"{NEGOTIATION}/same-list").does(
    "Names fewer versions in the error than in server/discover.", _data(put(supported=[MODERN]))
)

table.server("nameless-extension", "extension-negotiation/names").does(
    "Has an extension without a prefix.", _capabilities(put(extensions={"tasks": {}}))
)
table.server("extension-without-settings", "extension-negotiation/names").does(
    "Says true where the settings of an extension should be.",
    _capabilities(put(extensions={"org.example/x": True})),
)
table.server("wants-known-extensions", "extension-negotiation/unknown").does(
    "Refuses clients with an extension that it does not know.",
    declines(lambda value: "extensions" in _meta(value).get(META_CLIENT_CAPABILITIES, {}), -32602),
)
table.server("extends-unasked", "extension-negotiation/not-declared").does(
    "Answers every call with a task.",
    results_of("tools/call", lambda _found: {"resultType": "task", "taskId": "1"}),
)
table.server("still-pings", f"{COMPATIBILITY}/removed-methods").does(
    "Answers ping in every era.", instead(asks("ping"), lambda value: result(value["id"], {}))
)
table.server("removed-code", f"{COMPATIBILITY}/removed-methods").does(
    "Calls methods that it has no more an invalid request.", code(-32601, -32600)
)
table.server("says-no", f"{COMPATIBILITY}/initialize-answered").does(
    "Does not tell legacy clients what it speaks.",
    instead(asks("initialize"), lambda value: error(value["id"], -32601, "Method not found")),
)
table.server("agrees-to-the-impossible", f"{COMPATIBILITY}/initialize-answered").does(
    "Agrees to a version without initialize in an initialize.",
    results_of("initialize", put(protocolVersion=MODERN)),
)
table.server("one-era", f"{COMPATIBILITY}/both-eras").does(
    "Serves clients of one era, that of the first one.", _OneEra
)
