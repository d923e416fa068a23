"""Mutants of the page server/tools: every kind of content, and structured content."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop, over, put
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
    return _result(over("content", edit))


def _block(**members: Any) -> Callable[[], Fault]:
    """Edit the first block."""
    return _content(lambda content: [{**content[0], **members}, *content[1:]])


table.server("empty-text", "text-content/given").does("Gives no text.", _block(text=""))
table.server("no-text", "text-content/given").does("Gives no block.", _content(lambda content: []))
table.server("raw-image", "image-content/base64").does(
    "Gives an image in hexadecimal digits with colons.", _block(data="89:50:4e:47")
)
table.server("image-of-nothing", "image-content/base64").does(
    "Says only that it is an image.", _block(mimeType="image")
)
table.server("raw-audio", "audio-content/base64").does(
    "Gives a sound that is no base64.", _block(data="§")
)
table.server("link-nowhere", "resource-links/given").does(
    "Gives a link without scheme.", _block(uri="static")
)
table.server("link-without-name", "resource-links/given").does(
    "Gives a link that has a number for a name.", _block(name=1)
)
table.server("early-link", "tool-result/kinds-of-the-revision").does(
    "Gives links to resources in revisions that have none.",
    takes("tools/call", {"content": [{"type": "resource_link", "uri": "test://x", "name": "x"}]}),
)
table.server(
    "early-sound", "tool-result/kinds-of-the-revision", revisions=until("2024-11-05")
).does(
    "Gives sounds in a revision that has none.",
    takes("tools/call", {"content": [{"type": "audio", "data": "", "mimeType": "audio/wav"}]}),
)
table.server("embedded-nothing", "embedded-resources/given").does(
    "Embeds a resource without text or blob.", _block(resource={"uri": "test://embedded-resource"})
)
table.server("embedded-nowhere", "embedded-resources/given").does(
    "Embeds a resource without scheme.", _block(resource={"uri": "embedded", "text": "x"})
)
table.server("no-resources", "embedded-resources/capability").does(
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


table.server("other-output", "output-schema/conforms").does(
    "Gives a temperature in words.", _structured(put(temperature="warm"))
)
table.server("no-output", "output-schema/conforms", revisions=until("2025-06-18")).does(
    "Gives no structured content.", _result(drop("structuredContent"))
)
table.server("other-text", "structured-content/as-text").does(
    "Says in words what is in the structured content.", _block(text="It is warm.")
)
table.server("output-in-array", "structured-content/object").does(
    "Gives an array of objects.", _structured(lambda value: [value])
)
