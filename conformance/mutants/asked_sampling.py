"""Mutants of the page client/sampling, as a server has to follow it."""

from collections.abc import Callable, Iterable

from conformance.mutants.fault import Fault, Value
from conformance.mutants.model import Table, until
from conformance.mutants.questions import (
    asks_anyway,
    questions,
    refuses_answers,
    struck_by,
    takes_any_answer,
)
from mcpcore_conformance.kit.heard import Heard, Text

table = Table("client/sampling")
transports = Table("basic/transports")

METHOD = "sampling/createMessage"
MESSAGE = {"role": "user", "content": {"type": "text", "text": "Say something."}}
"""What is asked whether or not it may be."""
ASKED = {"messages": [MESSAGE], "maxTokens": 10}


def _asks(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return questions(METHOD, edit)


class _Elsewhere(Fault):
    """Sends its requests for roots on another exchange."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        for each in super().heard(heard):
            if isinstance(each, Text) and b'"roots/list"' in each.data:
                each.exchange += 1000
            yield each


for slug, edit in (
    ("no-max-tokens", lambda params: {"messages": params["messages"]}),
    ("prompt-for-messages", lambda params: {**params, "messages": "Say something."}),
    ("system-message", lambda params: {**params, "messages": [{**MESSAGE, "role": "system"}]}),
    ("great-share", lambda params: {**params, "modelPreferences": {"costPriority": 10}}),
):
    table.add(slug, "creating-messages/shape", "Asks in a form that nobody knows.", _asks(edit))
table.add(
    "several-blocks-early",
    "creating-messages/shape",
    "Asks with several blocks in a message in a revision that has one.",
    _asks(lambda params: {**params, "messages": [{**MESSAGE, "content": [MESSAGE["content"]]}]}),
    revisions=until("2025-06-18"),
)
table.add(
    "nothing-to-say",
    "messages/content",
    "Asks without messages.",
    _asks(lambda params: {**params, "messages": []}),
)
table.add(
    "no-room",
    "messages/content",
    "Leaves no token for an answer.",
    _asks(lambda params: {**params, "maxTokens": 0}),
)
table.add(
    "asks-anyway",
    "capabilities/declared-only",
    "Asks every client.",
    asks_anyway(METHOD, ASKED),
)
table.add(
    "tools-anyway",
    "tools-in-sampling/declared-only",
    "Offers tools to every client.",
    asks_anyway(METHOD, {**ASKED, "toolChoice": {"mode": "auto"}}),
)
table.add(
    "tools-without-schema",
    "tools-in-sampling/shape",
    "Offers a tool without a schema.",
    _asks(lambda params: {**params, "tools": [{"name": "add"}]}),
)
table.add(
    "choice-of-nobody",
    "tools-in-sampling/shape",
    "Demands a choice that does not exist.",
    _asks(lambda params: {**params, "toolChoice": {"mode": "always"}}),
)
table.add(
    "all-servers",
    "capabilities/context",
    "Wants the context of all servers.",
    _asks(lambda params: {**params, "includeContext": "allServers"}),
)
table.add(
    "deaf-to-answers",
    "creating-messages/answer-used",
    "Refuses what the model says.",
    refuses_answers(METHOD, -32603),
)


table.add(
    "refusal-ignored",
    "error-handling/refusal",
    "Says that all went well when the user has refused.",
    takes_any_answer(METHOD),
)
table.add(
    "struck-by-refusal",
    "error-handling/refusal",
    "Falls silent when the user refuses.",
    struck_by(lambda answer: "error" in answer),
)
table.add(
    "takes-any-answer",
    "security-considerations/malformed-answer",
    "Takes whatever the client answers.",
    takes_any_answer(METHOD),
)
table.add(
    "struck-by-answer",
    "security-considerations/malformed-answer",
    "Falls silent at an answer without the members that it needs.",
    struck_by(lambda answer: answer.get("result") == {}),
)
transports.add(
    "requests-elsewhere",
    "listening-for-messages-from-the-server/requests-on-the-stream-of-the-call",
    "Sends requests for roots on another stream.",
    _Elsewhere,
)


__all__ = ["table", "transports"]
