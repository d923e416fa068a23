"""Mutants of clients for the pages server/resources, server/utilities/logging and completion."""

from typing import Any
from urllib.parse import quote

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import (
    adds,
    gives_up,
    once,
    params_of,
    repaired,
    reports,
    responds,
)
from conformance.mutants.edits import drop, over, put, to
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.messages import request

resources = Table("server/resources")
logging = Table("server/utilities/logging")
completion = Table("server/utilities/completion")


@logging.client("texts-only", "hears")
class _TextsOnly(ClientFault):
    """Tells of messages whose data is text."""

    def report(self, report: Value) -> Value:
        heard = report.get("notifications", [])
        kept = [each for each in heard if isinstance(each["params"].get("data"), str)]
        return {**report, "notifications": kept}


resources.client("one-code", "not-found").does(
    "Knows one code only, and takes the other for a failure of its own.",
    reports(1, {"failure": "invalid"}),
)
resources.client("quotes", "exact-uri").does(
    "Quotes URIs.",
    params_of("resources/read", lambda params: {**params, "uri": quote(params["uri"], safe=":/")}),
)
resources.client("never-unsubscribes", "hears").does(
    "Subscribes again where it should not any more.", adds("resources/subscribe", put(id="again"))
)
logging.client("other-level", "sets").does(
    "Sets another level.", params_of("logging/setLevel", lambda params: {"level": "debug"})
)
logging.client("always-logs", "asks").does(
    "Asks for all messages all the time.",
    params_of(
        "tools/call",
        lambda params: {**params, "_meta": {**params.get("_meta", {}), META_LOG_LEVEL: "debug"}},
    ),
)
logging.client("sets-level", "asks").does(
    "Sets the level by a request that there is no more.",
    adds("tools/call", lambda value: request("level", "logging/setLevel", {"level": "debug"})),
)
completion.client("wants-total", "partial").does(
    "Wants to know the total.", reports(0, {"failure": "invalid"})
)
completion.client("no-context", "context").does(
    "Keeps to itself what it knows of other arguments.",
    params_of("completion/complete", drop("context")),
)


tools = Table("server/tools")
WRONG = {"city": "Oslo", "degrees": "warm"}


def _shortened(params: Value) -> Value:
    arguments = {name: each for name, each in params.get("arguments", {}).items() if each}
    return {**params, "arguments": arguments}


tools.client("trusts", "validates", "validates-references").does(
    "Takes every structured result.",
    reports(1, {"result": {"content": [], "structuredContent": WRONG}}),
)
tools.client("loses-structure", "takes-what-is-right").does(
    "Tells its caller nothing but the text.", reports(1, {"result": {"content": []}})
)
tools.client("drops-empty", "exact-arguments").does(
    "Leaves out arguments that are empty or null.", params_of("tools/call", _shortened)
)
tools.client("hides-tool-errors", "tells-tool-errors").does(
    "Takes a tool that failed for one that did not.",
    reports(0, {"result": {"content": [{"type": "text", "text": "it broke"}]}}),
)
tools.client("hides-errors", "tells-protocol-errors").does(
    "Tells its caller of every error that it was internal.",
    reports(0, {"error": {"code": -32603, "message": "Internal error"}}),
)
tools.client("known-content-only", "unknown-content").does(
    "Fails for good at content that it does not know.",
    gives_up(lambda value, payload: b"hologram" in payload),
)
tools.client("old-list", "survives").does(
    "Keeps the list that it has.",
    reports(3, {"result": [{"name": "add_numbers"}, {"name": "echo"}]}),
)


caching = Table("server/utilities/caching")


caching.client("key-without-params", "other-params").does(
    "Serves what it has of a method, whatever the parameters are.",
    once("resources/read", put(method="prompts/list")),
)
caching.client("caches-input", "not-after-input").does(
    "Keeps results that took input.",
    reports(1, {"result": {"contents": [{"uri": "test://kit/a", "text": "one"}]}}),
)
caching.client("shares-private", "private").does(
    "Serves a private list to everybody.", once("tools/list", put(method="prompts/list"))
)
caching.client(
    "caches-all",
    "zero",
    "negative",
    "absent",
    "stale",
    "forgets",
).does("Keeps everything for ever.", once("tools/list", put(method="prompts/list")))
caching.client("polls", "no-polling", "positive").does(
    "Asks for lists that nobody wanted.", adds("tools/list", put(id="poll"))
)
caching.client("one-page", "cursors").does(
    "Takes the first page for all pages.",
    reports(2, {"result": [{"name": "add_numbers"}, {"name": "add_numbers"}]}),
)


pagination = Table("server/utilities/pagination")


@pagination.client("loops", "loop")
class _Loops(ClientFault):
    """Follows cursors for ever."""

    _times = 0

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "nextCursor" in value.get("result", {}):
            self._times += 1
            if self._times < 2500:
                self.invent(request(f"loop-{self._times}", "tools/list", {"cursor": "again"}))
        return payload


pagination.client("one-more", "end").does(
    "Asks for a page more than there is.",
    responds(
        lambda value: value.get("id") != "more" and "tools" in value.get("result", {}),
        to(request("more", "tools/list", {"cursor": "more"})),
    ),
)
pagination.client("trims", "opaque").does(
    "Trims cursors.", params_of("tools/list", over("cursor", str.strip))
)
pagination.client("first-page", "page-size").does(
    "Reads one page.",
    repaired(
        lambda value: "nextCursor" in value.get("result", {}), over("result", drop("nextCursor"))
    ),
)
pagination.client("empty-is-the-end", "empty-cursor").does(
    "Takes an empty cursor for the end.",
    repaired(
        lambda value: value.get("result", {}).get("nextCursor") == "",
        over("result", drop("nextCursor")),
    ),
)
pagination.client("overlooks", "refused-cursor").does(
    "Takes a page that is refused for the end.", reports(0, {"result": [{"name": "one"}]})
)
