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


table.server("carries-out-fragments", "messages/not-json").does(
    "Carries out what it can guess of a message that is cut off.",
    instead(_no_json, lambda _value: result(NUMBER, {})),
)
table.server("falls-over-fragments", "messages/not-json").does(
    "Ends when it reads something that is no JSON.",
    dies_of(lambda value, _payload: _no_json(value)),
)
table.server("fine-with-anything", "messages/not-json-status").does(
    "Answers every body with 200.", status_of(lambda asked: asked.value is None, 200)
)
table.server("parse-error-code", "error-codes/parse-error").does(
    "Has one code for everything that it cannot read.", code(-32700, -32600)
)
table.server("silent-about-fragments", "error-codes/parse-error").does(
    "Says nothing to what it cannot read.", ignores(_no_json)
)
table.server("invents-ids", "error-responses/no-invented-id").does(
    "Gives errors about what it cannot read an id of its own.",
    answers_to("", lambda value: {**value, "id": "server-error"} if "id" not in value else value),
)
table.server("takes-nan", "messages/json-by-the-letter").does(
    "Takes NaN for a number.", misread(lambda _value, payload: payload.replace(b"NaN", b"null"))
)
table.server("takes-comments", "messages/json-by-the-letter").does(
    "Skips comments.", misread(lambda _value, payload: payload.replace(b"/* hello */", b""))
)
table.server("replaces-octets", "messages/invalid-utf8").does(
    "Replaces octets that are not UTF-8.",
    misread(lambda _value, payload: payload.decode("utf-8", "replace").encode()),
)
table.server("falls-over-surrogates", "messages/lone-surrogate").does(
    "Ends when it writes a lone surrogate to its log.", dies_of(_lone_surrogate)
)
table.server("ignores-scalars", "messages/not-an-object").does(
    "Says nothing to JSON that is no object.",
    ignores(lambda value: value is not None and not isinstance(value, dict)),
)
table.server("stack-overflow", "messages/depth").does(
    "Ends when it runs out of stack.", dies_of(lambda _value, payload: payload.count(b"[") > 1000)
)
table.server("quadratic", "messages/many-members").does(
    "Ends when an object has too many members.",
    dies_of(lambda _value, payload: payload.count(b":") > 10_000),
)
table.server("out-of-memory", "messages/size").does(
    "Ends when a message is too large for it.",
    dies_of(lambda _value, payload: len(payload) > LARGE),
)
table.server("small-buffer", "messages/large-taken").does(
    "Takes no message of more than 64 KB.", declines(lambda value: len(str(value)) > 65536)
)
table.server("wrong-content-type", "messages/content-type").does(
    "Says that its messages are plain text.", header_of(requests, "content-type", "text/plain")
)
