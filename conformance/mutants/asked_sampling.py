"""Mutants of the page client/sampling, as a server has to follow it."""

from collections.abc import Callable

from conformance.mutants.edits import put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import alters
from conformance.mutants.model import Table, until
from conformance.mutants.questions import (
    asks_anyway,
    questions,
    refuses_answers,
    struck_by,
    takes_any_answer,
)
from mcpcore_conformance.kit.heard import Text

table = Table("client/sampling")
transports = Table("basic/transports")

METHOD = "sampling/createMessage"
MESSAGE = {"role": "user", "content": {"type": "text", "text": "Say something."}}
"""What is asked whether or not it may be."""
ASKED = {"messages": [MESSAGE], "maxTokens": 10}


def _asks(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return questions(METHOD, edit)


transports.server(
    "requests-elsewhere",
    "listening-for-messages-from-the-server/requests-on-the-stream-of-the-call",
).does(
    "Sends requests for roots on another stream.",
    alters(Text, lambda text: b'"roots/list"' in text.data, exchange=lambda number: number + 1000),
)


for slug, edit in (
    ("no-max-tokens", lambda params: {"messages": params["messages"]}),
    ("prompt-for-messages", put(messages="Say something.")),
    ("system-message", put(messages=[{**MESSAGE, "role": "system"}])),
    ("great-share", put(modelPreferences={"costPriority": 10})),
):
    table.server(slug, "creating-messages/shape").does(
        "Asks in a form that nobody knows.", _asks(edit)
    )
table.server("several-blocks-early", "creating-messages/shape", revisions=until("2025-06-18")).does(
    "Asks with several blocks in a message in a revision that has one.",
    _asks(put(messages=[{**MESSAGE, "content": [MESSAGE["content"]]}])),
)
table.server("nothing-to-say", "messages/content").does(
    "Asks without messages.", _asks(put(messages=[]))
)
table.server("no-room", "messages/content").does(
    "Leaves no token for an answer.", _asks(put(maxTokens=0))
)
table.server("asks-anyway", "capabilities/declared-only").does(
    "Asks every client.", asks_anyway(METHOD, ASKED)
)
table.server("tools-anyway", "tools-in-sampling/declared-only").does(
    "Offers tools to every client.", asks_anyway(METHOD, {**ASKED, "toolChoice": {"mode": "auto"}})
)
table.server("tools-without-schema", "tools-in-sampling/shape").does(
    "Offers a tool without a schema.", _asks(put(tools=[{"name": "add"}]))
)
table.server("choice-of-nobody", "tools-in-sampling/shape").does(
    "Demands a choice that does not exist.", _asks(put(toolChoice={"mode": "always"}))
)
table.server("all-servers", "capabilities/context").does(
    "Wants the context of all servers.", _asks(put(includeContext="allServers"))
)
table.server("deaf-to-answers", "creating-messages/answer-used").does(
    "Refuses what the model says.", refuses_answers(METHOD, -32603)
)
table.server("refusal-ignored", "error-handling/refusal").does(
    "Says that all went well when the user has refused.", takes_any_answer(METHOD)
)
table.server("struck-by-refusal", "error-handling/refusal").does(
    "Falls silent when the user refuses.", struck_by(lambda answer: "error" in answer)
)
table.server("takes-any-answer", "security-considerations/malformed-answer").does(
    "Takes whatever the client answers.", takes_any_answer(METHOD)
)
table.server("struck-by-answer", "security-considerations/malformed-answer").does(
    "Falls silent at an answer without the members that it needs.",
    struck_by(lambda answer: answer.get("result") == {}),
)
