"""Mutants of the page server/resources: lists, reading, errors, what may not be reached."""

import base64
from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.faults import answers_to, instead, results_of
from conformance.mutants.lists import (
    Entries,
    first_entry,
    less_after_calls,
    less_by_connection,
    listed,
    silent_capability,
)
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/resources")

Value = dict[str, Any]
FILE = "root:x:0:0:root:/root:/bin/sh\n"


def _resources(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return listed("resources/list", "resources", first_entry(edit))


def _template(uri: str) -> Callable[[], Fault]:
    def edit(found: Entries) -> Entries:
        return [{**found[0], "uriTemplate": uri}]

    return listed("resources/templates/list", "resourceTemplates", edit)


def _contents(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit all contents."""
    return results_of(
        "resources/read",
        lambda result: {**result, "contents": [edit(each) for each in result["contents"]]},
    )


def _error(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit errors of resources/read."""

    def change(value: Value) -> Value:
        return {**value, "error": edit(value["error"])} if "error" in value else value

    return answers_to("resources/read", change)


def _reads(contents: Entries, concerns: Callable[[Any], bool] = lambda uri: True) -> Any:
    """Answer for resources in the server's place; ``concerns`` gets the URI."""

    def asked(value: Any) -> bool:
        if not isinstance(value, dict) or value.get("method") != "resources/read":
            return False
        return concerns(value.get("params", {}).get("uri"))

    result = {"contents": contents, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    return instead(asked, lambda value: messages.result(value["id"], result))


table.add(
    "undeclared",
    "capabilities/declared",
    "Lists resources and does not declare them.",
    silent_capability("resources"),
)
table.add(
    "no-name",
    "listing-resources/shape",
    "Lists a resource without a name.",
    _resources(lambda one: {key: value for key, value in one.items() if key != "name"}),
)
table.add(
    "great-priority",
    "listing-resources/shape",
    "Lists a resource with a priority of 5.",
    _resources(lambda one: {**one, "annotations": {"priority": 5}}),
    revisions=until("2024-11-05"),
)
table.add(
    "robots",
    "listing-resources/shape",
    "Lists a resource for robots.",
    _resources(lambda one: {**one, "annotations": {"audience": ["robot"]}}),
    revisions=until("2025-06-18"),
)
table.add(
    "template-of-number",
    "resource-templates/shape",
    "Lists a template that is a number.",
    listed(
        "resources/templates/list",
        "resourceTemplates",
        first_entry(lambda one: {**one, "uriTemplate": 1}),
    ),
)
table.add(
    "other-resources",
    "capabilities/list-not-per-connection",
    "Every connection is told of one resource less.",
    less_by_connection("resources/list", "resources"),
)
table.add(
    "fewer-resources",
    "capabilities/list-no-side-effect",
    "Once a tool has been called there is one resource less.",
    less_after_calls("resources/list", "resources"),
)
table.add(
    "uri-twice",
    "resource/uri-unique",
    "Two resources have one URI.",
    listed(
        "resources/list",
        "resources",
        lambda found: [*found, {**found[0], "description": "another"}],
    ),
)
for slug, uri in (("no-scheme", "static"), ("space-in-uri", "test://a b"), ("escape", "test://%")):
    table.add(
        slug,
        "custom-uri-schemes/rfc-3986",
        f"Lists the resource {uri!r}.",
        _resources(lambda one, uri=uri: {**one, "uri": uri}),  # type: ignore[misc]
    )
table.add(
    "open-brace",
    "resource-templates/rfc-6570",
    "Lists a template with a brace that is not closed.",
    _template("test://{id"),
)
table.add(
    "neither-text-nor-blob",
    "reading-resources/shape",
    "Gives contents without text or blob.",
    _contents(lambda one: {"uri": one["uri"]}),
)
table.add(
    "contents-alone",
    "reading-resources/shape",
    "Gives an object instead of an array.",
    results_of("resources/read", lambda result: {**result, "contents": result["contents"][0]}),
    revisions=until("2024-11-05"),
)
table.add(
    "nothing-readable",
    "reading-resources/shape",
    "Refuses to read what it lists.",
    answers_to("resources/read", lambda value: messages.error(value["id"], -32603, "no")),
)
table.add(
    "raw-blob",
    "security-considerations/base64",
    "Gives a blob as it is.",
    _contents(lambda one: {**one, "blob": "\x89PNG\r\n"} if "blob" in one else one),
)
table.add(
    "other-uri",
    ("text-content/text", "binary-content/blob", "resource-templates/read"),
    "Gives contents of another resource.",
    _contents(lambda one: {**one, "uri": "test://other"}),
)
table.add(
    "no-mime-type",
    ("text-content/text", "binary-content/blob"),
    "Gives contents without a MIME type.",
    _contents(lambda one: {key: value for key, value in one.items() if key != "mimeType"}),
)
table.add(
    "blob-as-text",
    "binary-content/blob",
    "Gives a binary resource as a text.",
    _contents(lambda one: {**{k: v for k, v in one.items() if k != "blob"}, "text": "PNG"}),
)
table.add(
    "suffix-for-type",
    "resource/mime-type",
    "Names a suffix where the MIME type belongs.",
    _resources(lambda one: {**one, "mimeType": ".txt"}),
)
table.add(
    "size-of-text",
    "resource/size",
    "Lists a size that is too large by one.",
    _resources(lambda one: {**one, "size": one["size"] + 1}),
)
table.add(
    "size-grows",
    "resource/size",
    "Gives more than it has listed.",
    _contents(lambda one: {**one, "text": "ä" + one["text"][1:]} if "text" in one else one),
)
table.add(
    "date-in-words",
    "annotations/last-modified",
    "Says in words when a resource was modified.",
    _resources(lambda one: {**one, "annotations": {"lastModified": "yesterday"}}),
)
table.add(
    "fixed-template",
    "resource-templates/read",
    "Gives the same text for every URI of a template.",
    _contents(lambda one: {**one, "text": "data"}),
)
table.add(
    "not-found-modern",
    "error-handling/not-found",
    "Uses the error of the modern era for what does not exist.",
    _error(lambda error: {**error, "code": -32602}),
)
table.add(
    "not-found-legacy",
    "error-handling/not-found-invalid-params",
    "Uses the error of the legacy era for what does not exist.",
    _error(lambda error: {**error, "code": -32002}),
)
table.add(
    "nothing-for-nothing",
    (
        "error-handling/not-found",
        "error-handling/not-found-invalid-params",
        "error-handling/not-found-not-empty",
        "error-handling/not-found-uri",
    ),
    "Answers with empty contents for what does not exist.",
    _reads([]),
)
table.add(
    "nameless-error",
    "error-handling/not-found-uri",
    "Does not say what was not found.",
    _error(lambda error: {key: value for key, value in error.items() if key != "data"}),
)
table.add(
    "anything-readable",
    ("reading-resources/no-uri", "security-considerations/invalid-uri"),
    "Reads something for every URI, and for none.",
    _reads([{"uri": "test://x", "text": "x"}]),
)
table.add(
    "numbers-readable",
    "security-considerations/invalid-uri",
    "Takes a number for a URI.",
    _reads([{"uri": "test://x", "text": "x"}], lambda uri: isinstance(uri, int)),
)
table.add(
    "way-out",
    "security-considerations/traversal",
    "Follows escaped dots out of its folder.",
    _reads([{"uri": "test://x", "text": FILE}], lambda uri: "%2e%2e/" in str(uri)),
)
table.add(
    "way-out-in-base64",
    "security-considerations/traversal",
    "Follows dots to a file, and gives it as a blob.",
    _reads(
        [{"uri": "test://x", "blob": base64.b64encode(FILE.encode()).decode()}],
        lambda uri: "../" in str(uri),
    ),
    revisions=until("2024-11-05"),
)
table.add(
    "all-files",
    "security-considerations/unlisted-files",
    "Reads every file of the system.",
    _reads([{"uri": "test://x", "text": FILE}], lambda uri: str(uri).startswith("file:")),
)
