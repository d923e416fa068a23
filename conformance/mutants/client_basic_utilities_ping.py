"""Mutants of clients for the page basic/utilities/ping."""

from conformance.mutants.client_faults import adds_to_answers, answers, never_says
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, result

table = Table("basic/utilities/ping")

table.client("deaf", "answers", "answers-each").does("Never answers a ping.", never_says("ping"))
table.client("refuses", "answers").does(
    "Says that it does not know the method.",
    answers("ping", lambda value: error(value["id"], METHOD_NOT_FOUND, "what?")),
)
table.client("talkative", "answers-before-initialized").does(
    "Answers with more than nothing.",
    answers("ping", lambda value: result(value["id"], {"pong": True})),
)
table.client("twice", "answers-each").does(
    "Answers every ping twice.", adds_to_answers("ping", lambda value: value)
)
