"""Mutants of the page server/resources: what is told of changes."""

from conformance.mutants.faults import answers_to
from conformance.mutants.lists import also, quiet_about, told
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/resources")

UPDATED = "notifications/resources/updated"
UPDATE = messages.notification(UPDATED, {"uri": "test://watched-resource"})

table.add(
    "no-subscriptions",
    "subscriptions/accepted",
    "Declares subscriptions and does not know them.",
    answers_to(
        "resources/subscribe", lambda value: messages.error(value["id"], -32601, "no such method")
    ),
)
table.add(
    "no-way-back",
    "subscriptions/accepted",
    "Answers resources/unsubscribe with a word.",
    answers_to(
        "resources/unsubscribe", lambda value: messages.result(value["id"], {"_meta": "done"})
    ),
    revisions=until("2024-11-05"),
)
table.add(
    "silent-update",
    ("subscriptions/updated", "subscriptions/updated-to-listeners"),
    "Says nothing when a resource changes.",
    quiet_about(UPDATED),
)
table.add(
    "nameless-update",
    "subscriptions/updated",
    "Does not say which resource has changed.",
    told(UPDATED, lambda params: {}),
    revisions=until("2024-11-05"),
)
table.add(
    "other-update",
    ("subscriptions/updated", "subscriptions/updated-to-listeners"),
    "Says that another resource has changed.",
    told(UPDATED, lambda params: {**params, "uri": "test://other"}),
)
table.add(
    "update-of-nobody",
    "subscriptions/updated-to-listeners",
    "Does not say whose subscription an update is for.",
    told(UPDATED, lambda params: {"uri": params["uri"]}),
)
table.add(
    "update-for-all",
    (
        "subscriptions/only-what-was-subscribed",
        "subscriptions/unsubscribed",
    ),
    "Tells of every change, whoever has subscribed to what.",
    also("tools/call", UPDATE),
)
table.add(
    "update-for-others",
    "subscriptions/per-session",
    "Tells of changes whoever says that he is there.",
    also("ping", UPDATE),
)
table.add(
    "silent-change",
    ("list-changed-notification/announced", "list-changed-notification/announced-to-listeners"),
    "Says nothing when the list changes.",
    quiet_about("notifications/resources/list_changed"),
)
