"""Mutants of the page server/prompts."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import Change, each, first, over, put
from conformance.mutants.fault import Breaks
from conformance.mutants.faults import asks, declines, fails, results_of, takes
from conformance.mutants.lists import (
    less_after_calls,
    less_by_connection,
    listed,
    quiet_about,
    silent_capability,
)
from conformance.mutants.model import Table, until
from mcpcore_conformance.cases.server_prompts import UNKNOWN

table = Table("server/prompts")

Value = dict[str, Any]
MESSAGE = {"role": "user", "content": {"type": "text", "text": "hello"}}


def _prompts(edit: Callable[[Value], Value]) -> Breaks:
    return listed("prompts/list", "prompts", first(edit))


def _messages(edit: Change) -> Breaks:
    return results_of("prompts/get", over("messages", each(edit)))


def _block(**members: Any) -> Breaks:
    """Edit the block of the first message."""
    return results_of("prompts/get", over("messages", first(over("content", put(**members)))))


def _refuses(code: int) -> Breaks:
    return fails("prompts/get", code)


ANYTHING = takes("prompts/get", {"messages": [MESSAGE], "resultType": "complete"})

table.server("undeclared", "declared").does(
    "Lists prompts and does not declare them.", silent_capability("prompts")
)
table.server("argument-without-name", "listing-prompts/shape").does(
    "Lists a prompt with an argument that has no name.",
    _prompts(put(arguments=[{"required": True}])),
)
table.server("arguments-by-name", "listing-prompts/shape", revisions=until("2024-11-05")).does(
    "Lists arguments in an object.", _prompts(put(arguments={"arg1": {"required": True}}))
)
table.server("other-prompts", "list-not-per-connection").does(
    "Every connection is told of one prompt less.", less_by_connection("prompts/list", "prompts")
)
table.server("fewer-prompts", "list-no-side-effect").does(
    "Once a tool has been called there is one prompt less.",
    less_after_calls("prompts/list", "prompts"),
)
table.server("name-twice", "name-unique").does(
    "Two prompts have one name.",
    listed(
        "prompts/list", "prompts", lambda found: [*found, {**found[0], "description": "another"}]
    ),
)
table.server("argument-twice", "arguments-unique").does(
    "A prompt has an argument twice.", _prompts(put(arguments=[{"name": "a"}, {"name": "a"}]))
)
table.server("system-message", "getting-a-prompt/shape").does(
    "Gives a message of the system.", _messages(put(role="system"))
)
table.server("several-blocks", "getting-a-prompt/shape", revisions=until("2025-06-18")).does(
    "Gives a message with an array of blocks.",
    _messages(lambda message: {**message, "content": [message["content"]]}),
)
table.server("needs-arguments", "no-arguments").does(
    "Wants the member arguments in every request.",
    declines(asks("prompts/get", lambda params: "arguments" not in params), -32602),
)
table.server("fixed-prompt", "arguments-used").does(
    "Gives the same messages whatever the arguments are.", ANYTHING
)
table.server(
    "gives-anything", "unknown-prompt", "missing-argument", "malformed", "argument-type"
).does("Gives messages for every request, whatever it says.", ANYTHING)
table.server("internal-errors", "unknown-prompt", "missing-argument", "argument-type").does(
    "Answers every request that it does not like with an internal error.", _refuses(-32603)
)
table.server("chokes", "further-argument").does(
    "Falls over an argument that it does not know.",
    declines(asks("prompts/get", lambda params: UNKNOWN in params.get("arguments", {})), -32603),
)
table.server("raw-image", "base64").does("Gives an image that is no base64.", _block(data="..."))
table.server("image-of-nothing", "base64").does(
    "Says nothing but that it is an image.", _block(mimeType="")
)
table.server("embedded-without-type", "complete").does(
    "Embeds a resource without a MIME type.",
    _block(resource={"uri": "test://example-resource", "text": "x"}),
)
table.server("embedded-nothing", "complete").does(
    "Embeds a resource without text or blob.",
    _block(resource={"uri": "test://example-resource", "mimeType": "text/plain"}),
)
table.server("silent-change", "announced", "announced-to-listeners").does(
    "Says nothing when the prompts change.", quiet_about("notifications/prompts/list_changed")
)
