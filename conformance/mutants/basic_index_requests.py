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


class _OncePerId(Fault):
    """Takes the second request with an id for the first one, come again."""

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


table.add(
    "zero-is-no-id",
    "result-responses/integer-ids",
    "Takes the id 0 for none.",
    declines(_id(lambda id: id == 0 and isinstance(id, int))),
)
table.add(
    "negative-ids",
    "result-responses/integer-ids",
    "Answers with the absolute value of the id.",
    answers_to("", _positive),
)
table.add(
    "empty-id",
    "result-responses/string-ids",
    "Takes an empty string for no id.",
    declines(_id(lambda id: id == "")),
)
table.add(
    "ids-become-numbers",
    "result-responses/string-ids",
    "Answers a string of digits with a number.",
    answers_to("", lambda value: {**value, "id": 17} if value.get("id") == "17" else value),
)
table.add(
    "rounds-ids",
    ("result-responses/large-integer-ids", "result-responses/huge-integer-ids"),
    "Reads ids as numbers of double precision.",
    answers_to("", _rounded),
    binding=Binding.HTTP,
)
table.add(
    "one-kind-of-id",
    "result-responses/number-and-string",
    'Keeps ids as strings, and takes 7 and "7" for the same.',
    declines(_id(lambda id: id == "7")),
)
table.add(
    "loses-some",
    "result-responses/many-in-flight",
    "Loses every tenth request.",
    ignores(_id(lambda id: isinstance(id, int) and id % 10 == 0)),
)
table.add(
    "null-is-a-notification",
    "requests/id-null",
    "Takes a request with the id null for a notification.",
    ignores(_id(lambda id: id is None)),
)
table.add(
    "true-is-one",
    "requests/id-type",
    "Takes true for the id 1.",
    misread(_first_id),
)
table.add(
    "drops-odd-ids",
    "requests/id-type",
    "Says nothing to requests whose id has a wrong type.",
    ignores(_id(lambda id: not is_id(id))),
)
table.add(
    "any-version",
    "requests/version-member",
    "Does not look at jsonrpc.",
    misread(_with_version),
)
table.add(
    "drops-odd-methods",
    "requests/method-type",
    "Says nothing to requests without a proper method.",
    ignores(
        lambda value: (
            isinstance(value, dict) and "id" in value and not isinstance(value.get("method"), str)
        )
    ),
)
table.add(
    "drops-lists",
    "requests/params-type",
    "Takes params that are a list for none.",
    misread(_with_params({})),
    revisions=LEGACY,
)
table.add(
    "lists-for-metadata",
    "requests/params-type",
    "Takes params that are a list for those of its last client.",
    misread(_with_params({"_meta": METADATA})),
    revisions=MODERN,
)
table.add(
    "wants-params",
    "requests/without-params",
    "Does not take a list request without params of its own.",
    declines(
        lambda value: asks("tools/list")(value) and {*value.get("params", {})} <= {"_meta"},
        -32602,
    ),
)
table.add(
    "wants-known-members",
    "requests/unknown-members",
    "Refuses requests with a member that it does not know.",
    declines(lambda value: isinstance(value, dict) and "trace" in value),
)
table.add(
    "unknown-method-code",
    "error-responses/unknown-method",
    "Answers an unknown method with -32602.",
    code(-32601, -32602),
)
table.add(
    "any-letters",
    "error-responses/method-case",
    "Does not tell large letters from small ones in methods.",
    misread(_in_small_letters),
)
table.add(
    "once-per-id",
    ("requests/duplicate-in-flight", "requests/duplicate-of-slow"),
    "Drops a request whose id it has seen.",
    _OncePerId,
    binding=Binding.HTTP,
)

__all__ = ["table"]
