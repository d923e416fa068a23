"""Mutants of the page server/tools: every kind of content, and structured content."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.faults import answers_to, results_of, takes
from conformance.mutants.lists import Entries
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/tools")

Value = dict[str, Any]
TEXT = {"type": "text", "text": "done"}


def _result(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of("tools/call", edit)


def _content(edit: Callable[[Entries], Entries]) -> Callable[[], Fault]:
    return _result(lambda result: {**result, "content": edit(result["content"])})


def _block(**members: Any) -> Callable[[], Fault]:
    """Edit the first block."""
    return _content(lambda content: [{**content[0], **members}, *content[1:]])


table.add("empty-text", "text-content/given", "Gives no text.", _block(text=""))
table.add("no-text", "text-content/given", "Gives no block.", _content(lambda content: []))
table.add(
    "raw-image",
    "image-content/base64",
    "Gives an image in hexadecimal digits with colons.",
    _block(data="89:50:4e:47"),
)
table.add(
    "image-of-nothing",
    "image-content/base64",
    "Says only that it is an image.",
    _block(mimeType="image"),
)
table.add("raw-audio", "audio-content/base64", "Gives a sound that is no base64.", _block(data="§"))
table.add(
    "link-nowhere", "resource-links/given", "Gives a link without scheme.", _block(uri="static")
)
table.add(
    "link-without-name",
    "resource-links/given",
    "Gives a link that has a number for a name.",
    _block(name=1),
)
table.add(
    "early-link",
    "tool-result/kinds-of-the-revision",
    "Gives links to resources in revisions that have none.",
    takes(
        "tools/call",
        {"content": [{"type": "resource_link", "uri": "test://x", "name": "x"}]},
    ),
)
table.add(
    "early-sound",
    "tool-result/kinds-of-the-revision",
    "Gives sounds in a revision that has none.",
    takes("tools/call", {"content": [{"type": "audio", "data": "", "mimeType": "audio/wav"}]}),
    revisions=until("2024-11-05"),
)
table.add(
    "embedded-nothing",
    "embedded-resources/given",
    "Embeds a resource without text or blob.",
    _block(resource={"uri": "test://embedded-resource"}),
)
table.add(
    "embedded-nowhere",
    "embedded-resources/given",
    "Embeds a resource without scheme.",
    _block(resource={"uri": "embedded", "text": "x"}),
)
table.add(
    "no-resources",
    "embedded-resources/capability",
    "Embeds resources and does not know resources/list.",
    answers_to(
        "resources/list", lambda value: messages.error(value["id"], -32601, "no such method")
    ),
)


def _structured(edit: Callable[[Any], Any]) -> Callable[[], Fault]:
    def change(result: Value) -> Value:
        if "structuredContent" not in result:
            return result
        return {**result, "structuredContent": edit(result["structuredContent"])}

    return _result(change)


table.add(
    "other-output",
    "output-schema/conforms",
    "Gives a temperature in words.",
    _structured(lambda value: {**value, "temperature": "warm"}),
)
table.add(
    "no-output",
    "output-schema/conforms",
    "Gives no structured content.",
    _result(
        lambda result: {key: each for key, each in result.items() if key != "structuredContent"}
    ),
    revisions=until("2025-06-18"),
)
table.add(
    "other-text",
    "structured-content/as-text",
    "Says in words what is in the structured content.",
    _block(text="It is warm."),
)
table.add(
    "output-in-array",
    "structured-content/object",
    "Gives an array of objects.",
    _structured(lambda value: [value]),
)
