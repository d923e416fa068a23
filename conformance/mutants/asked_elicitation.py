"""Mutants of the page client/elicitation, as a server has to follow it."""

from collections.abc import Callable

from conformance.mutants.edits import Change, drop, over, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import answers_to, asks, declines, errors_of
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


def _fields(edit: Change) -> Callable[[], Fault]:
    """Edit the fields of forms."""
    return _asks(over("requestedSchema", over("properties", edit)))


def _field(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the first field of forms."""

    def change(fields: Value) -> Value:
        first = next(iter(fields))
        return {**fields, first: edit(fields[first])}

    return _fields(change)


for slug, edit in (
    ("no-schema", lambda params: {"message": params["message"]}),
    ("unknown-mode", put(mode="voice")),
    ("schema-of-array", put(requestedSchema={"type": "array"})),
    (
        "unknown-format",
        put(
            requestedSchema={
                "type": "object",
                "properties": {"name": {"type": "string", "format": "phone"}},
            }
        ),
    ),
):
    table.server(slug, "form-mode-elicitation-requests/shape").does(
        "Asks in a form that nobody has.", _asks(edit)
    )
table.server("no-message", "elicitation-requests/message").does(
    "Does not say why it asks.", _asks(put(message=""))
)
table.server("form-in-form", "requested-schema/primitive-fields").does(
    "Asks for an object within a form.",
    _field(lambda rules: {"type": "object", "properties": {"name": rules}}),
)
table.server("array-of-objects", "requested-schema/primitive-fields").does(
    "Asks for an array of objects.",
    _field(lambda rules: {"type": "array", "items": {"type": "object"}}),
)
table.server("choice-with-titles-early", "requested-schema/new-kinds").does(
    "Gives choices titles in a revision that has none.",
    _field(lambda rules: {"type": "string", "oneOf": [{"const": "x", "title": "X"}]}),
)
table.server("default-early", "requested-schema/new-kinds").does(
    "Gives texts defaults in a revision that has none.",
    _field(lambda rules: {"type": "string", "default": "x"}),
)
table.server("default-of-other-type", "requested-schema/defaults").does(
    "Gives a text the default 1.", _field(put(default=1))
)
table.server("no-defaults", "requested-schema/defaults").does(
    "Gives no defaults.", _fields(lambda fields: {name: {"type": "string"} for name in fields})
)
table.server("choices-twice", "requested-schema/choices").does(
    "Gives the choices of a field twice, with titles and without.",
    _fields(
        lambda fields: {
            "twice": {"type": "string", "enum": ["x"], "oneOf": [{"const": "x", "title": "X"}]}
        }
    ),
)
table.server("names-and-choices", "requested-schema/choices").does(
    "Has more names than choices.",
    _fields(put(more={"type": "string", "enum": ["x"], "enumNames": ["X", "Y"]})),
)
table.server("asks-anyway", "capabilities/declared-only", "capabilities/no-forms").does(
    "Asks every client.", asks_anyway(METHOD, ASKED)
)
table.server("visits-anyway", "capabilities/no-urls").does(
    "Sends every client to a URL.", asks_anyway(METHOD, VISIT)
)
table.server("requires-anyway", "capabilities/no-urls").does(
    "Requires a visit of every client.",
    answers_to(
        "tools/call",
        lambda value: messages.error(value["id"], -32042, "sign in", {"elicitations": [VISIT]}),
    ),
)
table.server("empty-is-nothing", "capabilities/empty-is-form").does(
    "Takes an empty capability for none.", declines(asks("tools/call"), -32021)
)
table.server("visit-without-mode", "url-mode-elicitation-requests/shape").does(
    "Does not say that it is a URL.", _asks(drop("mode"))
)
table.server("visit-without-id", "url-mode-elicitation-requests/shape", revisions=LEGACY).does(
    "Gives no elicitationId.", _asks(drop("elicitationId"))
)
table.server("path-for-url", "url-mode-elicitation-requests/valid-url").does(
    "Gives a path.", _asks(put(url="/sign-in"))
)
table.server("plain-http", "safe-url-handling/https").does(
    "Gives a URL without TLS.", _asks(put(url="http://example.com/sign-in"))
)
table.server("other-visit", "completion-notifications-for-url-mode-elicitation/id").does(
    "Says that another visit has ended.",
    told(COMPLETE, lambda params: {"elicitationId": "another"}),
)
table.server("nameless-visit", "completion-notifications-for-url-mode-elicitation/id").does(
    "Does not say which visit has ended.", told(COMPLETE, lambda params: {})
)
table.server(
    "tells-all", "completion-notifications-for-url-mode-elicitation/to-the-initiator"
).does(
    "Tells every client that a visit has ended.",
    also("ping", messages.notification(COMPLETE, {"elicitationId": "another"})),
)


for slug, found in (
    ("nothing-required", []),
    ("form-required", [{**ASKED, "mode": "form", "elicitationId": "1"}]),
    ("required-without-id", [VISIT]),
):
    table.server(slug, "url-elicitation-required-error/list").does(
        "Requires something else than visits with an elicitationId.",
        errors_of("tools/call", put(data={"elicitations": found})),
    )
table.server("waits-for-ever", "error-handling/decline", "error-handling/cancel").does(
    "Does not go on when the user does not accept.", silent_after_answers(METHOD)
)
table.server("struck-by-decline", "error-handling/decline").does(
    "Falls silent when the user declines.", struck_by(lambda answer: "decline" in repr(answer))
)
table.server("struck-by-cancel", "error-handling/cancel").does(
    "Falls silent when the user cancels.", struck_by(lambda answer: "cancel" in repr(answer))
)
table.server("struck-by-error", "error-handling/client-error").does(
    "Falls silent when the client fails.", struck_by(lambda answer: "error" in answer)
)
table.server(
    "takes-any-answer", "response-actions/unknown-action", "form-mode-security/server-validates"
).does("Takes whatever the client answers.", takes_any_answer(METHOD))
