"""Mutants of the page client/elicitation, as a server has to follow it."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import answers_to, asks, declines
from conformance.mutants.lists import also, told
from conformance.mutants.model import Table
from conformance.mutants.questions import (
    asks_anyway,
    questions,
    silent_after_answers,
    struck_by,
    takes_any_answer,
)
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.model import LEGACY

table = Table("client/elicitation")

METHOD = "elicitation/create"
COMPLETE = "notifications/elicitation/complete"
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
ASKED = {"message": "Who are you?", "requestedSchema": FORM}
VISIT = {"mode": "url", "message": "Please sign in", "url": "https://example.com"}


def _asks(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return questions(METHOD, edit)


def _fields(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the fields of forms."""

    def change(params: Value) -> Value:
        schema = params["requestedSchema"]
        form = {**schema, "properties": edit(schema["properties"])}
        return {**params, "requestedSchema": form}

    return _asks(change)


def _field(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the first field of forms."""

    def change(fields: Value) -> Value:
        first = next(iter(fields))
        return {**fields, first: edit(fields[first])}

    return _fields(change)


for slug, edit in (
    ("no-schema", lambda params: {"message": params["message"]}),
    ("unknown-mode", lambda params: {**params, "mode": "voice"}),
    ("schema-of-array", lambda params: {**params, "requestedSchema": {"type": "array"}}),
    (
        "unknown-format",
        lambda params: {
            **params,
            "requestedSchema": {
                "type": "object",
                "properties": {"name": {"type": "string", "format": "phone"}},
            },
        },
    ),
):
    table.add(
        slug, "form-mode-elicitation-requests/shape", "Asks in a form that nobody has.", _asks(edit)
    )
table.add(
    "no-message",
    "elicitation-requests/message",
    "Does not say why it asks.",
    _asks(lambda params: {**params, "message": ""}),
)
table.add(
    "form-in-form",
    "requested-schema/primitive-fields",
    "Asks for an object within a form.",
    _field(lambda rules: {"type": "object", "properties": {"name": rules}}),
)
table.add(
    "array-of-objects",
    "requested-schema/primitive-fields",
    "Asks for an array of objects.",
    _field(lambda rules: {"type": "array", "items": {"type": "object"}}),
)
table.add(
    "choice-with-titles-early",
    "requested-schema/new-kinds",
    "Gives choices titles in a revision that has none.",
    _field(lambda rules: {"type": "string", "oneOf": [{"const": "x", "title": "X"}]}),
)
table.add(
    "default-early",
    "requested-schema/new-kinds",
    "Gives texts defaults in a revision that has none.",
    _field(lambda rules: {"type": "string", "default": "x"}),
)
table.add(
    "default-of-other-type",
    "requested-schema/defaults",
    "Gives a text the default 1.",
    _field(lambda rules: {**rules, "default": 1}),
)
table.add(
    "no-defaults",
    "requested-schema/defaults",
    "Gives no defaults.",
    _fields(lambda fields: {name: {"type": "string"} for name in fields}),
)
table.add(
    "choices-twice",
    "requested-schema/choices",
    "Gives the choices of a field twice, with titles and without.",
    _fields(
        lambda fields: {
            "twice": {"type": "string", "enum": ["x"], "oneOf": [{"const": "x", "title": "X"}]}
        }
    ),
)
table.add(
    "names-and-choices",
    "requested-schema/choices",
    "Has more names than choices.",
    _fields(
        lambda fields: {
            **fields,
            "more": {"type": "string", "enum": ["x"], "enumNames": ["X", "Y"]},
        }
    ),
)
table.add(
    "asks-anyway",
    ("capabilities/declared-only", "capabilities/no-forms"),
    "Asks every client.",
    asks_anyway(METHOD, ASKED),
)
table.add(
    "visits-anyway",
    "capabilities/no-urls",
    "Sends every client to a URL.",
    asks_anyway(METHOD, VISIT),
)
table.add(
    "requires-anyway",
    "capabilities/no-urls",
    "Requires a visit of every client.",
    answers_to(
        "tools/call",
        lambda value: messages.error(value["id"], -32042, "sign in", {"elicitations": [VISIT]}),
    ),
)
table.add(
    "empty-is-nothing",
    "capabilities/empty-is-form",
    "Takes an empty capability for none.",
    declines(asks("tools/call"), -32021),
)
table.add(
    "visit-without-mode",
    "url-mode-elicitation-requests/shape",
    "Does not say that it is a URL.",
    _asks(lambda params: {key: each for key, each in params.items() if key != "mode"}),
)
table.add(
    "visit-without-id",
    "url-mode-elicitation-requests/shape",
    "Gives no elicitationId.",
    _asks(lambda params: {key: each for key, each in params.items() if key != "elicitationId"}),
    revisions=LEGACY,
)
table.add(
    "path-for-url",
    "url-mode-elicitation-requests/valid-url",
    "Gives a path.",
    _asks(lambda params: {**params, "url": "/sign-in"}),
)
table.add(
    "plain-http",
    "safe-url-handling/https",
    "Gives a URL without TLS.",
    _asks(lambda params: {**params, "url": "http://example.com/sign-in"}),
)
table.add(
    "other-visit",
    "completion-notifications-for-url-mode-elicitation/id",
    "Says that another visit has ended.",
    told(COMPLETE, lambda params: {"elicitationId": "another"}),
)
table.add(
    "nameless-visit",
    "completion-notifications-for-url-mode-elicitation/id",
    "Does not say which visit has ended.",
    told(COMPLETE, lambda params: {}),
)
table.add(
    "tells-all",
    "completion-notifications-for-url-mode-elicitation/to-the-initiator",
    "Tells every client that a visit has ended.",
    also("ping", messages.notification(COMPLETE, {"elicitationId": "another"})),
)


def _required(elicitations: Any) -> Callable[[], Fault]:
    def edit(value: Value) -> Value:
        if "error" not in value:
            return value
        return {**value, "error": {**value["error"], "data": {"elicitations": elicitations}}}

    return answers_to("tools/call", edit)


for slug, found in (
    ("nothing-required", []),
    ("form-required", [{**ASKED, "mode": "form", "elicitationId": "1"}]),
    ("required-without-id", [VISIT]),
):
    table.add(
        slug,
        "url-elicitation-required-error/list",
        "Requires something else than visits with an elicitationId.",
        _required(found),
    )
table.add(
    "waits-for-ever",
    ("error-handling/decline", "error-handling/cancel"),
    "Does not go on when the user does not accept.",
    silent_after_answers(METHOD),
)
table.add(
    "struck-by-decline",
    "error-handling/decline",
    "Falls silent when the user declines.",
    struck_by(lambda answer: "decline" in repr(answer)),
)
table.add(
    "struck-by-cancel",
    "error-handling/cancel",
    "Falls silent when the user cancels.",
    struck_by(lambda answer: "cancel" in repr(answer)),
)
table.add(
    "struck-by-error",
    "error-handling/client-error",
    "Falls silent when the client fails.",
    struck_by(lambda answer: "error" in answer),
)
table.add(
    "takes-any-answer",
    ("response-actions/unknown-action", "form-mode-security/server-validates"),
    "Takes whatever the client answers.",
    takes_any_answer(METHOD),
)
