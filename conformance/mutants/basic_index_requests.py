"""Mutants of the page basic/index: requests, their ids and their envelope."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.faults import (
    Fault,
    Value,
    answers_to,
    asks,
    code,
    declines,
    ignores,
    misread,
)
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.messages import is_id
from mcpcore_conformance.kit.model import LEGACY, MODERN, Binding

table = Table("basic/index")

METADATA = {
    META_PROTOCOL_VERSION: LATEST.name,
    META_CLIENT_INFO: {"name": "kit", "version": "1"},
    META_CLIENT_CAPABILITIES: {},
}
"""What a request of the modern era needs."""


def _id(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether something is a request with an id that passes the test."""
    return lambda value: (
        isinstance(value, dict) and "method" in value and "id" in value and test(value["id"])
    )


def _positive(value: Value) -> Value:
    id = value.get("id")
    return {**value, "id": abs(id)} if isinstance(id, int) else value


def _rounded(value: Value) -> Value:
    id = value.get("id")
    return {**value, "id": int(float(id))} if isinstance(id, int) else value


@table.server(
    "once-per-id",
    "requests/duplicate-in-flight",
    "requests/duplicate-of-slow",
    binding=Binding.HTTP,
)
class _OncePerId(Fault):
    """Drops a request whose id it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        id = value.get("id") if isinstance(value, dict) else None
        if is_id(id) and "method" in value:
            if id in self._seen:
                return None
            self._seen.add(id)
        return payload


def _first_id(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and value.get("id") is True:
        return {**value, "id": 1}
    return payload


def _with_version(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and "jsonrpc" not in value:
        return {"jsonrpc": "2.0", **value}
    return payload


def _with_params(params: Value) -> Callable[[Any, bytes], Any]:
    """Take these params where they are a list."""

    def edit(value: Any, payload: bytes) -> Any:
        if isinstance(value, dict) and isinstance(value.get("params"), list):
            return {**value, "params": params}
        return payload

    return edit


def _in_small_letters(value: Any, payload: bytes) -> Any:
    if isinstance(value, dict) and isinstance(value.get("method"), str) and value.get("id"):
        return {**value, "method": value["method"].lower()}
    return payload


table.server("zero-is-no-id", "result-responses/integer-ids").does(
    "Takes the id 0 for none.", declines(_id(lambda id: id == 0 and isinstance(id, int)))
)
table.server("negative-ids", "result-responses/integer-ids").does(
    "Answers with the absolute value of the id.", answers_to("", _positive)
)
table.server("empty-id", "result-responses/string-ids").does(
    "Takes an empty string for no id.", declines(_id(lambda id: id == ""))
)
table.server("ids-become-numbers", "result-responses/string-ids").does(
    "Answers a string of digits with a number.",
    answers_to("", lambda value: {**value, "id": 17} if value.get("id") == "17" else value),
)
table.server(
    "rounds-ids",
    "result-responses/large-integer-ids",
    "result-responses/huge-integer-ids",
    binding=Binding.HTTP,
).does("Reads ids as numbers of double precision.", answers_to("", _rounded))
table.server("one-kind-of-id", "result-responses/number-and-string").does(
    'Keeps ids as strings, and takes 7 and "7" for the same.', declines(_id(lambda id: id == "7"))
)
table.server("loses-some", "result-responses/many-in-flight").does(
    "Loses every tenth request.", ignores(_id(lambda id: isinstance(id, int) and id % 10 == 0))
)
table.server("null-is-a-notification", "requests/id-null").does(
    "Takes a request with the id null for a notification.", ignores(_id(lambda id: id is None))
)
table.server("true-is-one", "requests/id-type").does("Takes true for the id 1.", misread(_first_id))
table.server("drops-odd-ids", "requests/id-type").does(
    "Says nothing to requests whose id has a wrong type.", ignores(_id(lambda id: not is_id(id)))
)
table.server("any-version", "requests/version-member").does(
    "Does not look at jsonrpc.", misread(_with_version)
)
table.server("drops-odd-methods", "requests/method-type").does(
    "Says nothing to requests without a proper method.",
    ignores(
        lambda value: (
            isinstance(value, dict) and "id" in value and not isinstance(value.get("method"), str)
        )
    ),
)
table.server("drops-lists", "requests/params-type", revisions=LEGACY).does(
    "Takes params that are a list for none.", misread(_with_params({}))
)
table.server("lists-for-metadata", "requests/params-type", revisions=MODERN).does(
    "Takes params that are a list for those of its last client.",
    misread(_with_params({"_meta": METADATA})),
)
table.server("wants-params", "requests/without-params").does(
    "Does not take a list request without params of its own.",
    declines(
        lambda value: asks("tools/list")(value) and {*value.get("params", {})} <= {"_meta"}, -32602
    ),
)
table.server("wants-known-members", "requests/unknown-members").does(
    "Refuses requests with a member that it does not know.",
    declines(lambda value: isinstance(value, dict) and "trace" in value),
)
table.server("unknown-method-code", "error-responses/unknown-method").does(
    "Answers an unknown method with -32602.", code(-32601, -32602)
)
table.server("any-letters", "error-responses/method-case").does(
    "Does not tell large letters from small ones in methods.", misread(_in_small_letters)
)
