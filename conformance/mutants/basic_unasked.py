"""Mutants of servers that say what nobody has asked for, on several pages."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.basic_patterns import around
from conformance.mutants.edits import over, put, to
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import meta_of, results_of, together
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode, error, notification, request, result
from mcpcore_conformance.kit.model import LEGACY, MODERN
from mcpcore_conformance.kit.shapes import SUBSCRIPTION

index = Table("basic/index")
lifecycle = Table("basic/lifecycle")
progress = Table("basic/patterns/progress")
cancellation = Table("basic/patterns/cancellation")
subscriptions = Table("basic/patterns/subscriptions")
resources = Table("server/resources")
logging = Table("server/utilities/logging")

EITHER = ("operation/announces-what-is-declared", "operation/announces-what-is-declared-early")
TOOLS = "notifications/tools/list_changed"
TOKENS = "behavior-requirements/active-tokens-only"


@index.server("answers-again", "answered-once")
class _AnswersAgain(Fault):
    """Answers a list once more when the next request comes."""

    _last: Value | None = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self._last is not None:
            self.answer(self._last)
            self._last = None
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) == "tools/list" and "result" in value:
            self._last = value
        return (value,)


@index.server("same-id", "server-id-fresh")
class _SameId(Fault):
    """Gives all its own requests one id."""

    _real: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value and "id" in value:
            self._real = value["id"]
            return ({**value, "id": "same"},)
        return (value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("id") == "same" and "method" not in value:
            return encode({**value, "id": self._real})
        return payload


lifecycle.server("announces-anyway", *EITHER).does(
    "Announces changes of tools, and has not declared that it does.",
    together(
        results_of("initialize", over("capabilities", put(tools={}))),
        also("tools/list", notification(TOOLS)),
    ),
)
logging.server("logs-a-list", "declared", revisions=LEGACY).does(
    "Does not declare that it logs, and logs whoever lists something.",
    together(
        results_of(
            "initialize",
            over(
                "capabilities", lambda found: {name: found[name] for name in ("tools", "resources")}
            ),
        ),
        also(
            "tools/list", notification("notifications/message", {"level": "info", "data": "a list"})
        ),
    ),
)


@progress.server("progress-afterwards", TOKENS)
class _ReportsAfterwards(Fault):
    """Reports progress when the answer was sent."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        meta = meta_of(self.asked.get((type(value.get("id")), value.get("id"))))
        if "method" in value or "progressToken" not in meta:
            return (value,)
        params = {"progressToken": meta["progressToken"], "progress": 1}
        return value, notification("notifications/progress", params)


@progress.server("counts-down", "only-grows")
class _CountsDown(Fault):
    """Reports what is left to do."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        meta = meta_of(self.asked.get((type(value.get("id")), value.get("id"))))
        if "method" in value or "progressToken" not in meta:
            return (value,)
        token = meta["progressToken"]
        left = ({"progressToken": token, "progress": each} for each in (2, 1))
        return *(notification("notifications/progress", each) for each in left), value


index.server("answers-nobody", "of-a-request").does(
    "Sends a result that nobody has asked for.",
    also("tools/list", result("nobody", {"resultType": "complete"}), after=True),
)
index.server("nameless-error", "of-a-request").does(
    "Sends an error without an id beside a good answer.",
    also("tools/list", error(None, -32603, "oh")),
)
index.server("logs-verbosely", "params").does(
    "Logs with a level that there is not.",
    also("tools/list", notification("notifications/message", {"level": "verbose", "data": "a"})),
)
index.server("pings-by-one-id", "server-ids-differ").does(
    "Pings with one id again and again.", also("ping", request("same", "ping"), after=True)
)
lifecycle.server("speaks-as-a-client", *EITHER).does(
    "Says that it is initialized, as clients do.",
    also("tools/list", notification("notifications/initialized")),
)
lifecycle.server("speaks-of-later", *EITHER).does(
    "Acknowledges a subscription, which is of a later revision.",
    also("tools/list", notification("notifications/subscriptions/acknowledged", {})),
)
lifecycle.server("asks-everybody", "asks-what-is-declared").does(
    "Asks for roots whoever is there.", also("tools/list", request("kit-asks", "roots/list"))
)
progress.server("progress-of-nobody", TOKENS).does(
    "Reports progress with a token that nobody has given.",
    also(
        "tools/list",
        notification("notifications/progress", {"progressToken": "nobody", "progress": 1}),
    ),
)
cancellation.server("cancels-nothing", "server-own-requests-only").does(
    "Cancels a request that it has not made.",
    also("tools/list", notification("notifications/cancelled", {"requestId": "nobody"})),
)
subscriptions.server("tells-without-a-stream", "nothing-without-it").does(
    "Tells of changes whoever is there.", also("tools/list", notification(TOOLS))
)
subscriptions.server("tells-at-once", "before-changes").does(
    "Tells of a change before it acknowledges the subscription.", around(TOOLS, before=True)
)
subscriptions.server("tells-namelessly", "named-by-all").does(
    "Tells of changes as older revisions do.", around(TOOLS, meta=to({}))
)
subscriptions.server("wraps-the-id", "named-by-all").does(
    "Names subscriptions by an object.",
    around(TOOLS, meta=lambda meta: {SUBSCRIPTION: {"id": meta[SUBSCRIPTION]}}),
)
subscriptions.server("tells-of-prompts", "of-the-kind").does(
    "Tells of changes of prompts whoever has subscribed to anything.",
    around("notifications/prompts/list_changed"),
)
resources.server("updates-everybody", "nothing-without-one").does(
    "Tells of updates whoever is there.",
    also("tools/list", notification("notifications/resources/updated", {"uri": "test://other"})),
)
logging.server("logs-unasked", "only-where-asked-for", revisions=MODERN).does(
    "Logs whoever lists something.",
    also("tools/list", notification("notifications/message", {"level": "info", "data": "a list"})),
)
