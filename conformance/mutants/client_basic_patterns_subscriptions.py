"""Mutants of clients for the page basic/patterns/subscriptions."""

from collections.abc import Iterable

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import once, params_of, reports
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival
from mcpcore_conformance.kit.heard import Done

table = Table("basic/patterns/subscriptions")

LISTEN = "subscriptions/listen"
TOOLS = {"method": "notifications/tools/list_changed", "uri": None}
PROMPTS = {"method": "notifications/prompts/list_changed", "uri": None}


@table.client("keeps-listening", "cancellation/client-cancels")
class _KeepsStreams(ClientFault):
    """Does not end its subscriptions."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        return () if value.get("method") == "notifications/cancelled" else (value,)

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return () if isinstance(arrival, Done) else (arrival,)


table.client(
    "listens-once", "graceful-closure/client-listens-again", "graceful-closure/client-reopens"
).does("Does not subscribe again.", once(LISTEN, to(None)))


def _heard(*changes: Value, ended: bool = False) -> Value:
    honoured = {"toolsListChanged": True, "promptsListChanged": True}
    return {"result": {"honoured": honoured, "changes": [*changes], "ended": ended}}


def _all(params: Value) -> Value:
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    return {**params, "notifications": {**params["notifications"], **wanted}}


table.client("wants-all", "notification-filter/client-asks").does(
    "Asks for all.", params_of(LISTEN, _all)
)
table.client("believes", "acknowledgment/client-checks").does(
    "Takes it that everything is honoured.", reports(0, _heard(TOOLS))
)
table.client("one-stream", "receiving-notifications/client-tells-apart").does(
    "Tells every stream of everything.",
    reports(0, {"result": {}, "steps": [_heard(TOOLS), _heard(TOOLS, PROMPTS, TOOLS)]}),
)
table.client("any-subscription", "receiving-notifications/client-unknown-subscription").does(
    "Takes what belongs to no subscription for its own.", reports(0, _heard(PROMPTS))
)
table.client("misses-the-end", "graceful-closure/client-hears-the-end").does(
    "Does not notice that the server has ended the stream.", reports(0, _heard(TOOLS))
)
