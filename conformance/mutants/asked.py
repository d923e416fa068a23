"""Mutants of the pages of what a server asks of its client."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import Change, drop, over, put
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import alters, answers_to, asks, declines, errors_of
from conformance.mutants.lists import also, told
from conformance.mutants.model import Table, until
from conformance.mutants.questions import (
    asks_anyway,
    questions,
    refuses_answers,
    silent_after_answers,
    struck_by,
    takes_any_answer,
)
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.model import LEGACY

elicitation = Table("client/elicitation")

ELICIT = "elicitation/create"
COMPLETE = "notifications/elicitation/complete"
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
ASKED = {"message": "Who are you?", "requestedSchema": FORM}
VISIT = {"mode": "url", "message": "Please sign in", "url": "https://example.com"}


def _asks(edit: Callable[[Value], Value]) -> Breaks:
    return questions(ELICIT, edit)


def _fields(edit: Change) -> Breaks:
    """Edit the fields of forms."""
    return _asks(over("requestedSchema", over("properties", edit)))


def _field(edit: Callable[[Value], Value]) -> Breaks:
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
    elicitation.server(slug, "form-mode-elicitation-requests/shape").does(
        "Asks in a form that nobody has.", _asks(edit)
    )
elicitation.server("no-message", "message").does(
    "Does not say why it asks.", _asks(put(message=""))
)
elicitation.server("form-in-form", "primitive-fields").does(
    "Asks for an object within a form.",
    _field(lambda rules: {"type": "object", "properties": {"name": rules}}),
)
elicitation.server("array-of-objects", "primitive-fields").does(
    "Asks for an array of objects.",
    _field(lambda rules: {"type": "array", "items": {"type": "object"}}),
)
elicitation.server("choice-with-titles-early", "new-kinds").does(
    "Gives choices titles in a revision that has none.",
    _field(lambda rules: {"type": "string", "oneOf": [{"const": "x", "title": "X"}]}),
)
elicitation.server("default-early", "new-kinds").does(
    "Gives texts defaults in a revision that has none.",
    _field(lambda rules: {"type": "string", "default": "x"}),
)
elicitation.server("default-of-other-type", "defaults").does(
    "Gives a text the default 1.", _field(put(default=1))
)
elicitation.server("no-defaults", "defaults").does(
    "Gives no defaults.", _fields(lambda fields: {name: {"type": "string"} for name in fields})
)
elicitation.server("choices-twice", "choices").does(
    "Gives the choices of a field twice, with titles and without.",
    _fields(
        lambda fields: {
            "twice": {"type": "string", "enum": ["x"], "oneOf": [{"const": "x", "title": "X"}]}
        }
    ),
)
elicitation.server("names-and-choices", "choices").does(
    "Has more names than choices.",
    _fields(put(more={"type": "string", "enum": ["x"], "enumNames": ["X", "Y"]})),
)
elicitation.server("asks-anyway", "declared-only", "no-forms").does(
    "Asks every client.", asks_anyway(ELICIT, ASKED)
)
elicitation.server("visits-anyway", "no-urls").does(
    "Sends every client to a URL.", asks_anyway(ELICIT, VISIT)
)
elicitation.server("requires-anyway", "no-urls").does(
    "Requires a visit of every client.",
    answers_to(
        "tools/call",
        lambda value: messages.error(value["id"], -32042, "sign in", {"elicitations": [VISIT]}),
    ),
)
elicitation.server("empty-is-nothing", "empty-is-form").does(
    "Takes an empty capability for none.", declines(asks("tools/call"), -32021)
)
elicitation.server("visit-without-mode", "url-mode-elicitation-requests/shape").does(
    "Does not say that it is a URL.", _asks(drop("mode"))
)
elicitation.server(
    "visit-without-id", "url-mode-elicitation-requests/shape", revisions=LEGACY
).does("Gives no elicitationId.", _asks(drop("elicitationId")))
elicitation.server("path-for-url", "valid-url").does("Gives a path.", _asks(put(url="/sign-in")))
elicitation.server("plain-http", "https").does(
    "Gives a URL without TLS.", _asks(put(url="http://example.com/sign-in"))
)
elicitation.server("other-visit", "id").does(
    "Says that another visit has ended.",
    told(COMPLETE, lambda params: {"elicitationId": "another"}),
)
elicitation.server("nameless-visit", "id").does(
    "Does not say which visit has ended.", told(COMPLETE, lambda params: {})
)
elicitation.server("tells-all", "to-the-initiator").does(
    "Tells every client that a visit has ended.",
    also("ping", messages.notification(COMPLETE, {"elicitationId": "another"})),
)


for slug, found in (
    ("nothing-required", []),
    ("form-required", [{**ASKED, "mode": "form", "elicitationId": "1"}]),
    ("required-without-id", [VISIT]),
):
    elicitation.server(slug, "list").does(
        "Requires something else than visits with an elicitationId.",
        errors_of("tools/call", put(data={"elicitations": found})),
    )
elicitation.server("waits-for-ever", "decline", "cancel").does(
    "Does not go on when the user does not accept.", silent_after_answers(ELICIT)
)
elicitation.server("struck-by-decline", "decline").does(
    "Falls silent when the user declines.", struck_by(lambda answer: "decline" in repr(answer))
)
elicitation.server("struck-by-cancel", "cancel").does(
    "Falls silent when the user cancels.", struck_by(lambda answer: "cancel" in repr(answer))
)
elicitation.server("struck-by-error", "client-error").does(
    "Falls silent when the client fails.", struck_by(lambda answer: "error" in answer)
)
elicitation.server("takes-any-answer", "unknown-action", "server-validates").does(
    "Takes whatever the client answers.", takes_any_answer(ELICIT)
)


roots = Table("client/roots")

ROOTS = "roots/list"


@roots.server("remembers-roots", "changes-handled")
class _Remembering(Fault):
    """Does not hear that roots have changed."""

    _known: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        self._known = self._known or value["result"]
        return (messages.result(value["id"], self._known),)


roots.server("wanted-roots", "shape").does(
    "Says which roots it wants.", questions(ROOTS, put(uri="file:///"))
)
roots.server("meta-in-words", "shape").does(
    "Has a text for _meta.", questions(ROOTS, lambda params: {"_meta": "please"})
)
roots.server("asks-anyway", "declared-only").does("Asks every client.", asks_anyway(ROOTS, {}))
roots.server("refuses-roots", "answer-used").does(
    "Does not take what the client answers.", refuses_answers(ROOTS, -32602)
)
roots.server("struck-by-no-roots", "answer-used").does(
    "Falls silent if there are no roots.",
    struck_by(lambda answer: answer.get("result") == {"roots": []}),
)
roots.server("struck-by-error", "client-error").does(
    "Falls silent when the client fails.", struck_by(lambda answer: "error" in answer)
)
roots.server("struck-by-roots", "malformed-roots").does(
    "Falls silent at a root whose URI is a number.", struck_by(lambda answer: "17" in repr(answer))
)


sampling = Table("client/sampling")
transports = Table("basic/transports")

CREATE = "sampling/createMessage"
MESSAGE = {"role": "user", "content": {"type": "text", "text": "Say something."}}
"""What is asked whether or not it may be."""
SAMPLE = {"messages": [MESSAGE], "maxTokens": 10}


def _samples(edit: Callable[[Value], Value]) -> Breaks:
    return questions(CREATE, edit)


transports.server("requests-elsewhere", "requests-on-the-stream-of-the-call").does(
    "Sends requests for roots on another stream.",
    alters(Text, lambda text: b'"roots/list"' in text.data, exchange=lambda number: number + 1000),
)


for slug, edit in (
    ("no-max-tokens", lambda params: {"messages": params["messages"]}),
    ("prompt-for-messages", put(messages="Say something.")),
    ("system-message", put(messages=[{**MESSAGE, "role": "system"}])),
    ("great-share", put(modelPreferences={"costPriority": 10})),
):
    sampling.server(slug, "creating-messages/shape").does(
        "Asks in a form that nobody knows.", _samples(edit)
    )
sampling.server(
    "several-blocks-early", "creating-messages/shape", revisions=until("2025-06-18")
).does(
    "Asks with several blocks in a message in a revision that has one.",
    _samples(put(messages=[{**MESSAGE, "content": [MESSAGE["content"]]}])),
)
sampling.server("nothing-to-say", "content").does(
    "Asks without messages.", _samples(put(messages=[]))
)
sampling.server("no-room", "content").does(
    "Leaves no token for an answer.", _samples(put(maxTokens=0))
)
sampling.server("asks-anyway", "capabilities/declared-only").does(
    "Asks every client.", asks_anyway(CREATE, SAMPLE)
)
sampling.server("tools-anyway", "tools-in-sampling/declared-only").does(
    "Offers tools to every client.", asks_anyway(CREATE, {**SAMPLE, "toolChoice": {"mode": "auto"}})
)
sampling.server("tools-without-schema", "tools-in-sampling/shape").does(
    "Offers a tool without a schema.", _samples(put(tools=[{"name": "add"}]))
)
sampling.server("choice-of-nobody", "tools-in-sampling/shape").does(
    "Demands a choice that does not exist.", _samples(put(toolChoice={"mode": "always"}))
)


def _last(edit: Change) -> Breaks:
    """Edit the blocks of the last message, if it has several."""

    def change(messages: list[Value]) -> list[Value]:
        several = isinstance(messages[-1]["content"], list)
        return [*messages[:-1], over("content", edit)(messages[-1])] if several else messages

    return _samples(over("messages", change))


sampling.server("one-result", "tool-results").does(
    "Tells the model one result alone.", _last(lambda blocks: blocks[:1])
)
sampling.server("more-than-results", "tool-results").does(
    "Says something beside the results.", _last(lambda blocks: [*blocks, MESSAGE["content"]])
)
sampling.server("no-results", "tool-results").does(
    "Goes on without results.", _samples(over("messages", lambda found: found[:2]))
)
sampling.server("all-servers", "context").does(
    "Wants the context of all servers.", _samples(put(includeContext="allServers"))
)
sampling.server("deaf-to-answers", "answer-used").does(
    "Refuses what the model says.", refuses_answers(CREATE, -32603)
)
sampling.server("refusal-ignored", "refusal").does(
    "Says that all went well when the user has refused.", takes_any_answer(CREATE)
)
sampling.server("struck-by-refusal", "refusal").does(
    "Falls silent when the user refuses.", struck_by(lambda answer: "error" in answer)
)
sampling.server("takes-any-answer", "malformed-answer").does(
    "Takes whatever the client answers.", takes_any_answer(CREATE)
)
sampling.server("struck-by-answer", "malformed-answer").does(
    "Falls silent at an answer without the members that it needs.",
    struck_by(lambda answer: answer.get("result") == {}),
)
