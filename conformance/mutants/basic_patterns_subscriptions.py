"""Mutants of the page basic/patterns/subscriptions."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import Change, over, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, declines, results_of, takes
from conformance.mutants.lists import also, quiet_about, told
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.shapes import SUBSCRIPTION

table = Table("basic/patterns/subscriptions")

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"


def _named(method: str, edit: Change) -> Callable[[], Fault]:
    """Edit the subscription id of a notification."""
    return told(method, over("_meta", over(SUBSCRIPTION, edit)))


def _honoured(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return told(ACKNOWLEDGED, over("notifications", edit))


class _Around(Fault):
    def __init__(self, extra: str, params: Value, meta: Change, *, before: bool) -> None:
        super().__init__()
        self._extra, self._params, self._meta, self._before = extra, params, meta, before

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != ACKNOWLEDGED:
            return (value,)
        meta = self._meta(value["params"]["_meta"])
        extra = messages.notification(self._extra, {**self._params, "_meta": meta})
        return (extra, value) if self._before else (value, extra)


def around(
    method: str, *, before: bool = False, meta: Change = lambda meta: meta, **params: Any
) -> Callable[[], Fault]:
    """Send one notification more of a subscription before or after its acknowledgement."""
    return lambda: _Around(method, params, meta, before=before)


@table.server("deaf", "cancellation/by-the-client")
class _Deaf(Fault):
    """Goes on after a subscription was cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._known: Value = {}

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == ACKNOWLEDGED:
            self._known = value["params"]["_meta"]
        if self._known and self.method_of(value) == "tools/call":
            return (messages.notification(TOOLS, {"_meta": self._known}), value)
        return (value,)


@table.server("ends-at-once", "opening-a-stream/stays-open")
class _Ending(Fault):
    """Answers the request right after the acknowledgement."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != ACKNOWLEDGED:
            return (value,)
        meta = value["params"]["_meta"]
        result = {"resultType": "complete", "_meta": meta}
        return (value, messages.result(meta[SUBSCRIPTION], result))


table.server("no-filter", "acknowledgment/shape", "acknowledgment/subset").does(
    "Does not say what it honours.", told(ACKNOWLEDGED, lambda params: {"_meta": params["_meta"]})
)
table.server("filter-in-words", "acknowledgment/shape").does(
    "Honours changes of tools in words.", _honoured(lambda found: {"toolsListChanged": "yes"})
)
table.server("answered-at-once", "acknowledgment/shape", "opening-a-stream/malformed-filter").does(
    "Answers the request instead of acknowledging it.",
    takes("subscriptions/listen", {"resultType": "complete"}),
)
table.server("never-acknowledged", "acknowledgment/shape").does(
    "Says nothing.", quiet_about(ACKNOWLEDGED)
)
table.server("acknowledged-late", "acknowledgment/first").does(
    "Sends a notification before the acknowledgement.", around(TOOLS, before=True)
)
table.server("acknowledged-twice", "acknowledgment/first").does(
    "Acknowledges every subscription twice.", around(ACKNOWLEDGED, notifications={})
)
for slug, edit in (
    ("id-as-text", str),
    ("id-as-number", lambda id: int(id) if str(id).isdigit() else id),
    ("id-that-is-false", lambda id: id or None),
):
    table.server(slug, "receiving-notifications/id-of-the-request").does(
        "Changes the id of a subscription.", _named(ACKNOWLEDGED, edit)
    )
table.server("nameless-changes", "receiving-notifications/id-on-every-notification").does(
    "Sends a change of prompts without the subscription.", told(PROMPTS, lambda params: {})
)
table.server("nameless-updates", "receiving-notifications/id-on-every-notification").does(
    "Sends an update without the subscription.",
    told(UPDATED, lambda params: {"uri": params["uri"]}),
)
table.server("honours-all", "acknowledgment/subset").does(
    "Honours more than was asked for.", _honoured(put(toolsListChanged=True))
)
table.server("honours-other-uris", "acknowledgment/subset").does(
    "Honours another resource than was asked for.",
    _honoured(lambda found: {"resourceSubscriptions": ["test://other"]} if found else found),
)
table.server("honours-nothing", "acknowledgment/declared-honoured").does(
    "Honours nothing.", _honoured(lambda found: {})
)
table.server("promises-only", "acknowledgment/declared-honoured").does(
    "Declares announcements of changes, and does not know subscriptions/listen.",
    declines(asks("subscriptions/listen"), -32601),
)
table.server("honours-unknown", "acknowledgment/unknown-omitted").does(
    "Honours whatever it is asked for.", _honoured(put(mcpcoreConformanceChanged=True))
)
table.server("tells-all", "opening-a-stream/requested-only").does(
    "Sends changes of tools to everybody who has subscribed to anything.", around(TOOLS)
)
table.server("tells-everybody", "opening-a-stream/nothing-unasked").does(
    "Sends changes of tools to everybody, as older revisions do.",
    also("tools/call", messages.notification(TOOLS)),
)
table.server("tells-of-all-resources", "notification-filter/per-uri").does(
    "Sends updates of all resources.", around(UPDATED, uri="test://watched-resource")
)
table.server("one-id-for-all", "multiple-concurrent-subscriptions/told-apart").does(
    "Sends everything under the first id.", _named(PROMPTS, lambda id: id - 1)
)
table.server("sudden-end", "graceful-closure/answered").does(
    "Ends without an answer.",
    results_of("subscriptions/listen", lambda result: {"resultType": "complete"}),
)
table.server("other-end", "graceful-closure/answered").does(
    "Ends another subscription.",
    results_of("subscriptions/listen", over("_meta", put(**{SUBSCRIPTION: "another"}))),
)
