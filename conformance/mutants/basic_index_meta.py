"""Mutants of the page basic/index: ``_meta``, and requests that stand on their own."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop
from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    before,
    code,
    declines,
    errors_of,
    meta_of,
    misread,
    together,
)
from conformance.mutants.lists import less_by_connection
from conformance.mutants.model import Table
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, error

table = Table("basic/index")

VERSION = "2026-07-28"


def _request(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value and "id" in value


def _filled(**members: Any) -> Callable[[], Fault]:
    """Fill in what is missing in ``_meta``, or of a wrong type."""
    given = {f"io.modelcontextprotocol/{name}": each for name, each in members.items()}

    def read(value: Any, payload: bytes) -> Any:
        if not _request(value):
            return payload
        params = value.get("params", {})
        meta = dict(meta_of(value))
        for name, each in given.items():
            if not isinstance(meta.get(name), type(each)):
                meta[name] = each
        return {**value, "params": {**params, "_meta": meta}}

    return misread(read)


@table.server("remembers-capabilities", "statelessness/capabilities")
class _Remembers(Fault):
    """Knows the capabilities of earlier requests."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, Any] = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not _request(value) or META_CLIENT_CAPABILITIES not in meta_of(value):
            return payload
        self._known.update(meta_of(value)[META_CLIENT_CAPABILITIES])
        added = {**meta_of(value), META_CLIENT_CAPABILITIES: self._known}
        read = misread(
            lambda told, _payload: {**told, "params": {**told["params"], "_meta": added}}
        )
        return read().said(value, payload)


@table.server("meta-guessed", "meta/missing", "meta/version-missing")
class _Guesses(Fault):
    """Has no older revision, but takes a first request without a version for one of them."""

    _begun = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("initialize")(value):
            self.answer(error(value["id"], -32601, "Method not found"))
            return None
        begun, self._begun = self._begun, True
        if begun or not _request(value) or META_PROTOCOL_VERSION in meta_of(value):
            return payload
        self.answer(error(value["id"], -32601, "Method not found"))
        return None


table.server("meta-code", "meta/missing", "meta/version-missing", "meta/capabilities-missing").does(
    "Has no older revision, and calls a request without the fields it needs an invalid one.",
    together(declines(asks("initialize"), -32601), code(-32602, -32600)),
)


@table.server(
    "meta-remembered", "meta/missing", "meta/version-missing", "meta/capabilities-missing"
)
class _Trusts(Fault):
    """Fills in what a request does not say in _meta from the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, Any] = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not _request(value):
            return payload
        self._known = {**self._known, **meta_of(value)}
        params = {**value.get("params", {}), "_meta": self._known}
        read = misread(lambda told, _payload: {**told, "params": params})
        return read().said(value, payload) if self._known else payload


class _Locked(Fault):
    """Decides something once; whatever differs from it later is refused."""

    def __init__(self, key: str, number: int) -> None:
        super().__init__()
        self._key, self._number = key, number
        self._first: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        found = meta_of(value).get(self._key)
        if not _request(value) or found is None:
            return payload
        self._first = self._first or found
        if found == self._first:
            return payload
        data = {"supported": [VERSION], "requested": str(found)}
        self.answer(error(value["id"], self._number, "another one than before", data))
        return None


table.server("discover-first", "statelessness/nothing-before").does(
    "Wants to be discovered before it serves anything.",
    before(asks("server/discover"), declines(_request)),
)


@table.server("favours", "meta/client-info-decides-nothing")
class _Favours(Fault):
    """Gives a client of another name another list."""

    def message(self, value: Value) -> tuple[Value]:
        asked = self.asked.get((type(value.get("id")), value.get("id")), {})
        name = meta_of(asked).get(META_CLIENT_INFO, {}).get("name")
        if "result" not in value or name == "mcpcore-conformance":
            return (value,)
        return ({**value, "result": {**value["result"], "tools": []}},)


table.server(
    "meta-optional",
    "meta/missing",
    "meta/version-missing",
    "meta/capabilities-missing",
    "meta/field-types",
).does(
    "Fills in what a request does not say in _meta.",
    _filled(protocolVersion=VERSION, clientCapabilities={}),
)
table.server("wants-client-info", "meta/client-info-optional").does(
    "Refuses requests that do not say who the client is.",
    declines(lambda value: _request(value) and META_CLIENT_INFO not in meta_of(value), -32602),
)
table.server("wants-known-keys", "meta/other-keys").does(
    "Refuses keys in _meta that it does not know.",
    declines(lambda value: "org.example/note" in meta_of(value), -32602),
)
table.server("capability-without-data", "meta/undeclared-capability").does(
    "Does not say which capability is missing.", errors_of("tools/call", drop("data"))
)
table.server("capability-code", "meta/undeclared-capability", "statelessness/capabilities").does(
    "Calls a missing capability an invalid request.", code(-32021, -32600)
)
table.server("never-capable", "meta/declared-capability").does(
    "Does not look at the capabilities that a request declares.",
    declines(asks("tools/call"), -32021),
)
table.server("remembers-versions", "statelessness/versions").does(
    "Expects the version of the first request ever after.",
    lambda: _Locked(META_PROTOCOL_VERSION, UNSUPPORTED_VERSION),
)
table.server("another-each-time", "statelessness/any-connection").does(
    "Offers each connection something else.", less_by_connection("tools/list", "tools")
)
table.server("one-client", "statelessness/several-conversations").does(
    "Serves one client on a connection.", lambda: _Locked(META_CLIENT_INFO, -32600)
)
