"""Mutants of the page basic/index: what is no message."""

from typing import Any

from conformance.mutants.faults import (
    answers_to,
    code,
    declines,
    dies_of,
    ignores,
    instead,
    misread,
)
from conformance.mutants.http_faults import header_of, requests, status_of
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_index import LARGE, NUMBER
from mcpcore_conformance.kit.messages import result

table = Table("basic/index")


def _no_json(value: Any) -> bool:
    return value is None


def _lone_surrogate(value: Any, _payload: bytes) -> bool:
    text = value.get("x") if isinstance(value, dict) else None
    return isinstance(text, str) and any("\ud800" <= each <= "\udfff" for each in text)


table.add(
    "carries-out-fragments",
    "messages/not-json",
    "Carries out what it can guess of a message that is cut off.",
    instead(_no_json, lambda _value: result(NUMBER, {})),
)
table.add(
    "falls-over-fragments",
    "messages/not-json",
    "Ends when it reads something that is no JSON.",
    dies_of(lambda value, _payload: _no_json(value)),
)
table.add(
    "fine-with-anything",
    "messages/not-json-status",
    "Answers every body with 200.",
    status_of(lambda asked: asked.value is None, 200),
)
table.add(
    "parse-error-code",
    "error-codes/parse-error",
    "Has one code for everything that it cannot read.",
    code(-32700, -32600),
)
table.add(
    "silent-about-fragments",
    "error-codes/parse-error",
    "Says nothing to what it cannot read.",
    ignores(_no_json),
)
table.add(
    "invents-ids",
    "error-responses/no-invented-id",
    "Gives errors about what it cannot read an id of its own.",
    answers_to("", lambda value: {**value, "id": "server-error"} if "id" not in value else value),
)
table.add(
    "takes-nan",
    "messages/json-by-the-letter",
    "Takes NaN for a number.",
    misread(lambda _value, payload: payload.replace(b"NaN", b"null")),
)
table.add(
    "takes-comments",
    "messages/json-by-the-letter",
    "Skips comments.",
    misread(lambda _value, payload: payload.replace(b"/* hello */", b"")),
)
table.add(
    "replaces-octets",
    "messages/invalid-utf8",
    "Replaces octets that are not UTF-8.",
    misread(lambda _value, payload: payload.decode("utf-8", "replace").encode()),
)
table.add(
    "falls-over-surrogates",
    "messages/lone-surrogate",
    "Ends when it writes a lone surrogate to its log.",
    dies_of(_lone_surrogate),
)
table.add(
    "ignores-scalars",
    "messages/not-an-object",
    "Says nothing to JSON that is no object.",
    ignores(lambda value: value is not None and not isinstance(value, dict)),
)
table.add(
    "stack-overflow",
    "messages/depth",
    "Ends when it runs out of stack.",
    dies_of(lambda _value, payload: payload.count(b"[") > 1000),
)
table.add(
    "quadratic",
    "messages/many-members",
    "Ends when an object has too many members.",
    dies_of(lambda _value, payload: payload.count(b":") > 10_000),
)
table.add(
    "out-of-memory",
    "messages/size",
    "Ends when a message is too large for it.",
    dies_of(lambda _value, payload: len(payload) > LARGE),
)
table.add(
    "small-buffer",
    "messages/large-taken",
    "Takes no message of more than 64 KB.",
    declines(lambda value: len(str(value)) > 65536),
)
table.add(
    "wrong-content-type",
    "messages/content-type",
    "Says that its messages are plain text.",
    header_of(requests, "content-type", "text/plain"),
)

__all__ = ["table"]
