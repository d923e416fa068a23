"""Mutants of the page server/resources: what is told of changes."""

from conformance.mutants.edits import put
from conformance.mutants.faults import answers_to
from conformance.mutants.lists import also, quiet_about, told
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/resources")

UPDATED = "notifications/resources/updated"
UPDATE = messages.notification(UPDATED, {"uri": "test://watched-resource"})

table.server("no-subscriptions", "subscriptions/accepted").does(
    "Declares subscriptions and does not know them.",
    answers_to(
        "resources/subscribe", lambda value: messages.error(value["id"], -32601, "no such method")
    ),
)
table.server("no-way-back", "subscriptions/accepted", revisions=until("2024-11-05")).does(
    "Answers resources/unsubscribe with a word.",
    answers_to(
        "resources/unsubscribe", lambda value: messages.result(value["id"], {"_meta": "done"})
    ),
)
table.server("silent-update", "subscriptions/updated", "subscriptions/updated-to-listeners").does(
    "Says nothing when a resource changes.", quiet_about(UPDATED)
)
table.server("nameless-update", "subscriptions/updated", revisions=until("2024-11-05")).does(
    "Does not say which resource has changed.", told(UPDATED, lambda params: {})
)
table.server("other-update", "subscriptions/updated", "subscriptions/updated-to-listeners").does(
    "Says that another resource has changed.", told(UPDATED, put(uri="test://other"))
)
table.server("update-of-nobody", "subscriptions/updated-to-listeners").does(
    "Does not say whose subscription an update is for.",
    told(UPDATED, lambda params: {"uri": params["uri"]}),
)
table.server(
    "update-for-all", "subscriptions/only-what-was-subscribed", "subscriptions/unsubscribed"
).does("Tells of every change, whoever has subscribed to what.", also("tools/call", UPDATE))
table.server("update-for-others", "subscriptions/per-session").does(
    "Tells of changes whoever says that he is there.", also("ping", UPDATE)
)
table.server(
    "silent-change",
    "list-changed-notification/announced",
    "list-changed-notification/announced-to-listeners",
).does("Says nothing when the list changes.", quiet_about("notifications/resources/list_changed"))
