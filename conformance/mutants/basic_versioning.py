"""Mutants of the page basic/versioning."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import Change, over, put
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    asks,
    code,
    declines,
    errors_of,
    instead,
    meta_of,
    results_of,
    since,
)
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_conformance.cases.basic_versioning import COMPATIBILITY, NEGOTIATION
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, error, result

table = Table("basic/versioning")

MODERN, LEGACY = "2026-07-28", "2025-11-25"


def _data(edit: Change) -> Breaks:
    return errors_of("", over("data", edit))


def _capabilities(edit: Callable[[Value], Value]) -> Breaks:
    return results_of("server/discover", over("capabilities", edit))


class _OneEra(Fault):
    """Serves the era of the first client, on whatever connection it came."""

    first = ""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, dict) or value.get("method") != "tools/list":
            return payload
        era = "modern" if META_PROTOCOL_VERSION in meta_of(value) else "legacy"
        _OneEra.first = _OneEra.first or era
        if era == _OneEra.first:
            return payload
        self.answer(error(value["id"], -32600, "this server is of another era"))
        return None


table.server("era-of-connection", f"{COMPATIBILITY}/both-eras-on-one-connection").does(
    "Takes every request on an initialized connection for a legacy one.",
    since(
        asks("initialize"),
        instead(
            lambda value: META_PROTOCOL_VERSION in meta_of(value),
            lambda value: result(value["id"], {"tools": []}),
        ),
    ),
)
table.server("locked-by-probe", f"{COMPATIBILITY}/refused-probe").does(
    "Has no initialize any more after a modern request.",
    since(
        lambda value: META_PROTOCOL_VERSION in meta_of(value), declines(asks("initialize"), -32601)
    ),
)
table.server("lists-more", f"{NEGOTIATION}/list-is-true").does(
    "Lists versions in which it does not agree.",
    results_of("initialize", put(protocolVersion=LEGACY)),
)
table.server("any-version", f"{NEGOTIATION}/unsupported", f"{NEGOTIATION}/requested").does(
    "Serves requests of whatever version.",
    instead(
        asks("tools/list", lambda params: bool(params.get("_meta"))),
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
table.server("nameless-extension", "names").does(
    "Has an extension without a prefix.", _capabilities(put(extensions={"tasks": {}}))
)
table.server("extension-without-settings", "names").does(
    "Says true where the settings of an extension should be.",
    _capabilities(put(extensions={"org.example/x": True})),
)
table.server("wants-known-extensions", "unknown").does(
    "Refuses clients with an extension that it does not know.",
    declines(
        lambda value: "extensions" in meta_of(value).get(META_CLIENT_CAPABILITIES, {}), -32602
    ),
)
table.server("extends-unasked", "not-declared").does(
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
