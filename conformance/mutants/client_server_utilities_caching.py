"""Mutants of clients for the page server/utilities/caching."""

from conformance.mutants.client_fault import Value
from conformance.mutants.client_faults import adds, once, reports
from conformance.mutants.edits import put
from conformance.mutants.model import Table

table = Table("server/utilities/caching")


def _contents(text: str) -> Value:
    return {"result": {"contents": [{"uri": "test://kit/a", "text": text}]}}


table.client("key-without-params", "cache-key/client-other-params").does(
    "Serves what it has of a method, whatever the parameters are.",
    once("resources/read", put(method="prompts/list")),
)
table.client("caches-input", "cache-key/client-not-after-input").does(
    "Keeps results that took input.", reports(1, _contents("one"))
)
table.client("shares-private", "cache-scope-field/client-private").does(
    "Serves a private list to everybody.", once("tools/list", put(method="prompts/list"))
)
table.client(
    "caches-all",
    "time-to-live-ttl-field/client-zero",
    "time-to-live-ttl-field/client-negative",
    "time-to-live-ttl-field/client-absent",
    "freshness-calculation/client-stale",
    "interaction-with-notifications/client-forgets",
).does("Keeps everything for ever.", once("tools/list", put(method="prompts/list")))
table.client(
    "polls", "freshness-calculation/client-no-polling", "time-to-live-ttl-field/client-positive"
).does("Asks for lists that nobody wanted.", adds("tools/list", put(id="poll")))
table.client("one-page", "cache-key/client-cursors").does(
    "Takes the first page for all pages.",
    reports(2, {"result": [{"name": "add_numbers"}, {"name": "add_numbers"}]}),
)
