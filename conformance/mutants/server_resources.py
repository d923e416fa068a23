"""Mutants of the page server/resources: lists, reading, errors, what may not be reached."""

import base64
from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import Change, drop, each, first, over, put, to
from conformance.mutants.fault import Breaks
from conformance.mutants.faults import answers_to, asks, errors_of, fails, instead, results_of
from conformance.mutants.lists import (
    Entries,
    also,
    less_after_calls,
    less_by_connection,
    listed,
    quiet_about,
    silent_capability,
    told,
)
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/resources")

Value = dict[str, Any]
FILE = "root:x:0:0:root:/root:/bin/sh\n"


def _resources(edit: Callable[[Value], Value]) -> Breaks:
    return listed("resources/list", "resources", first(edit))


def _template(uri: Any) -> Breaks:
    return listed("resources/templates/list", "resourceTemplates", first(put(uriTemplate=uri)))


def _contents(edit: Change) -> Breaks:
    return results_of("resources/read", over("contents", each(edit)))


def _reads(contents: Entries, concerns: Callable[[Any], bool] = lambda uri: True) -> Any:
    """Answer for resources in the server's place; ``concerns`` gets the URI."""
    asked = asks("resources/read", lambda params: concerns(params.get("uri")))
    result = {"contents": contents, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    return instead(asked, lambda value: messages.result(value["id"], result))


table.server("undeclared", "declared").does(
    "Lists resources and does not declare them.", silent_capability("resources")
)
table.server("no-name", "listing-resources/shape").does(
    "Lists a resource without a name.", _resources(drop("name"))
)
table.server("great-priority", "listing-resources/shape", revisions=until("2024-11-05")).does(
    "Lists a resource with a priority of 5.", _resources(put(annotations={"priority": 5}))
)
table.server("robots", "listing-resources/shape", revisions=until("2025-06-18")).does(
    "Lists a resource for robots.", _resources(put(annotations={"audience": ["robot"]}))
)
table.server("template-of-number", "resource-templates/shape").does(
    "Lists a template that is a number.", _template(1)
)
table.server("other-resources", "list-not-per-connection").does(
    "Every connection is told of one resource less.",
    less_by_connection("resources/list", "resources"),
)
table.server("fewer-resources", "list-no-side-effect").does(
    "Once a tool has been called there is one resource less.",
    less_after_calls("resources/list", "resources"),
)
table.server("uri-twice", "uri-unique").does(
    "Two resources have one URI.",
    listed(
        "resources/list",
        "resources",
        lambda found: [*found, {**found[0], "description": "another"}],
    ),
)
for slug, uri in (("no-scheme", "static"), ("space-in-uri", "test://a b"), ("escape", "test://%")):
    table.server(slug, "rfc-3986").does(f"Lists the resource {uri!r}.", _resources(put(uri=uri)))
table.server("open-brace", "rfc-6570").does(
    "Lists a template with a brace that is not closed.", _template("test://{id")
)
table.server("neither-text-nor-blob", "reading-resources/shape").does(
    "Gives contents without text or blob.", _contents(lambda one: {"uri": one["uri"]})
)
table.server("contents-alone", "reading-resources/shape", revisions=until("2024-11-05")).does(
    "Gives an object instead of an array.",
    results_of("resources/read", lambda result: {**result, "contents": result["contents"][0]}),
)
table.server("nothing-readable", "reading-resources/shape").does(
    "Refuses to read what it lists.", fails("resources/read", -32603)
)
table.server("raw-blob", "base64").does(
    "Gives a blob as it is.", _contents(over("blob", to("\x89PNG\r\n")))
)
table.server("other-uri", "text", "blob", "read").does(
    "Gives contents of another resource.", _contents(put(uri="test://other"))
)
table.server("no-mime-type", "text", "blob").does(
    "Gives contents without a MIME type.", _contents(drop("mimeType"))
)
table.server("blob-as-text", "blob").does(
    "Gives a binary resource as a text.", _contents(lambda one: put(text="PNG")(drop("blob")(one)))
)
table.server("suffix-for-type", "mime-type").does(
    "Names a suffix where the MIME type belongs.", _resources(put(mimeType=".txt"))
)
table.server("size-of-text", "size").does(
    "Lists a size that is too large by one.", _resources(over("size", lambda size: size + 1))
)
table.server("size-grows", "size").does(
    "Gives more than it has listed.", _contents(over("text", lambda text: "ä" + text[1:]))
)
table.server("date-in-words", "last-modified").does(
    "Says in words when a resource was modified.",
    _resources(put(annotations={"lastModified": "yesterday"})),
)
table.server("fixed-template", "read").does(
    "Gives the same text for every URI of a template.", _contents(put(text="data"))
)
table.server("not-found-modern", "not-found").does(
    "Uses the error of the modern era for what does not exist.",
    errors_of("resources/read", put(code=-32602)),
)
table.server("not-found-legacy", "not-found-invalid-params").does(
    "Uses the error of the legacy era for what does not exist.",
    errors_of("resources/read", put(code=-32002)),
)
table.server(
    "nothing-for-nothing",
    "not-found",
    "not-found-invalid-params",
    "not-found-not-empty",
    "not-found-uri",
).does("Answers with empty contents for what does not exist.", _reads([]))
table.server("nameless-error", "not-found-uri").does(
    "Does not say what was not found.", errors_of("resources/read", drop("data"))
)
table.server("anything-readable", "no-uri", "invalid-uri").does(
    "Reads something for every URI, and for none.", _reads([{"uri": "test://x", "text": "x"}])
)
table.server("numbers-readable", "invalid-uri").does(
    "Takes a number for a URI.",
    _reads([{"uri": "test://x", "text": "x"}], lambda uri: isinstance(uri, int)),
)
table.server("way-out", "traversal").does(
    "Follows escaped dots out of its folder.",
    _reads([{"uri": "test://x", "text": FILE}], lambda uri: "%2e%2e/" in str(uri)),
)
table.server("way-out-in-base64", "traversal", revisions=until("2024-11-05")).does(
    "Follows dots to a file, and gives it as a blob.",
    _reads(
        [{"uri": "test://x", "blob": base64.b64encode(FILE.encode()).decode()}],
        lambda uri: "../" in str(uri),
    ),
)
table.server("all-files", "unlisted-files").does(
    "Reads every file of the system.",
    _reads([{"uri": "test://x", "text": FILE}], lambda uri: str(uri).startswith("file:")),
)


UPDATED = "notifications/resources/updated"
UPDATE = messages.notification(UPDATED, {"uri": "test://watched-resource"})

table.server("no-subscriptions", "accepted").does(
    "Declares subscriptions and does not know them.", fails("resources/subscribe", -32601)
)
table.server("no-way-back", "accepted", revisions=until("2024-11-05")).does(
    "Answers resources/unsubscribe with a word.",
    answers_to(
        "resources/unsubscribe", lambda value: messages.result(value["id"], {"_meta": "done"})
    ),
)
table.server("silent-update", "updated", "updated-to-listeners").does(
    "Says nothing when a resource changes.", quiet_about(UPDATED)
)
table.server("nameless-update", "updated", revisions=until("2024-11-05")).does(
    "Does not say which resource has changed.", told(UPDATED, lambda params: {})
)
table.server("other-update", "updated", "updated-to-listeners").does(
    "Says that another resource has changed.", told(UPDATED, put(uri="test://other"))
)
table.server("update-of-nobody", "updated-to-listeners").does(
    "Does not say whose subscription an update is for.",
    told(UPDATED, lambda params: {"uri": params["uri"]}),
)
table.server("update-for-all", "only-what-was-subscribed", "unsubscribed").does(
    "Tells of every change, whoever has subscribed to what.", also("tools/call", UPDATE)
)
table.server("update-for-others", "per-session").does(
    "Tells of changes whoever says that he is there.", also("ping", UPDATE)
)
table.server("silent-change", "announced", "announced-to-listeners").does(
    "Says nothing when the list changes.", quiet_about("notifications/resources/list_changed")
)
