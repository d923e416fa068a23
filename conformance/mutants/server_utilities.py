"""Mutants of the pages of server/utilities."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from conformance.mutants.basic_transports import misdirects, of
from conformance.mutants.edits import drop, over, put, where
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    alters,
    asks,
    code,
    declines,
    meta_of,
    misread,
    own_messages,
    params_of,
    results_of,
    since,
    takes,
    together,
)
from conformance.mutants.http_faults import calls
from conformance.mutants.lists import also, less_by_connection, listed, silent_capability
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.cases.server_utilities_completion import COMPLETE
from mcpcore_conformance.cases.server_utilities_logging import LEVELS
from mcpcore_conformance.cases.server_utilities_pagination import LISTS
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.messages import encode, error, notification
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.watching import MESSAGE

caching = Table("server/utilities/caching")

MEMBERS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


def _is_binary(result: Value) -> bool:
    return any("blob" in each for each in result["contents"])


for number, method in enumerate(("server/discover", *MEMBERS, "resources/read")):
    slug = method.replace("/", "-")
    missing = ("ttlMs", "cacheScope")[number % 2]
    caching.server(f"{slug}-without-hint", f"cacheable-results/{slug}").does(
        f"Leaves {missing} out of the results of {method}.", results_of(method, drop(missing))
    )
caching.server("binary-without-hint", "cacheable-results/resources-read").does(
    "Leaves ttlMs out of the results of resources/read that are binary.",
    results_of("resources/read", where(_is_binary, drop("ttlMs"))),
)
for slug, value in (("negative", -1), ("broken", 0.5), ("words", "1000")):
    caching.server(f"{slug}-time", "not-negative").does(
        f"Says that the list of prompts is fresh for {value!r}.",
        results_of("prompts/list", put(ttlMs=value)),
    )
caching.server("shared-scope", "known").does(
    "Gives a resource a scope that does not exist.",
    results_of("resources/read", put(cacheScope="shared")),
)


class _Pages(Fault):
    """Gives a list in two pages that have different scopes."""

    method: str
    _rest: Any = None

    def message(self, value: Value) -> list[Value | bytes]:
        if self.method_of(value) != self.method or "result" not in value:
            return [value]
        result, member = value["result"], MEMBERS[self.method]
        entries = result[member]
        if self._rest is None:
            self._rest = entries[1:]
            made = {**result, member: entries[:1], "nextCursor": "2", "cacheScope": "public"}
            return [{**value, "result": made}]
        made = {**result, member: self._rest, "cacheScope": "private"}
        return [{**value, "result": made}]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        # the server does not know that cursor
        return payload.replace(b'"cursor":"2",', b"").replace(b'"cursor":"2"', b"")


for method in MEMBERS:
    caching.server(f"{method.replace('/', '-')}-in-two-scopes", "same-scope").does(
        f"Gives the pages of {method} different scopes.", partial(_Pages, method)
    )
caching.server("fresh-question", "not-of-interim-results").does(
    "Says how long a question is fresh.", results_of("tools/call", put(ttlMs=0))
)


completion = Table("server/utilities/completion")


def _params(value: Any) -> Value:
    return params_of(value) if asks(COMPLETE)(value) else {}


def _ref(kind: str) -> Callable[[Any], bool]:
    """Whether something asks to complete a reference of that type."""
    return asks(
        COMPLETE, lambda params: isinstance(ref := params.get("ref"), dict) and ref["type"] == kind
    )


def _completed(edit: Callable[[Value], Value]) -> Breaks:
    return results_of(COMPLETE, over("completion", edit))


def _odd(value: Any) -> bool:
    argument = _params(value).get("argument")
    typed = argument.get("value") if isinstance(argument, dict) else None
    return isinstance(typed, str) and any(each < " " or each > "~" for each in typed)


def _untyped(value: Any, payload: bytes) -> Any:
    argument = _params(value).get("argument")
    if not isinstance(argument, dict) or not isinstance(argument.get("value"), str):
        return payload
    return {**value, "params": {**value["params"], "argument": {**argument, "value": ""}}}


EMPTY: dict[str, Any] = {"completion": {"values": []}, "resultType": "complete"}


completion.server("undeclared", "declared").does(
    "Completes, and does not declare it.", silent_capability("completions")
)
completion.server("values-with-labels", "shape").does(
    "Has objects for values.", _completed(put(values=[{"label": "x", "value": "x"}]))
)
completion.server("total-in-words", "shape").does(
    "Says in words how many there are.", _completed(put(total="many"))
)
completion.server("all-at-once", "at-most-a-hundred").does(
    "Sends all that it has.",
    _completed(lambda found: {"values": [str(number) for number in range(101)]}),
)
completion.server("small-total", "has-more").does(
    "Says that there are fewer than it sends.", _completed(put(total=0))
)
completion.server("never-more", "has-more").does(
    "Never says that there is more.", _completed(put(total=1000, hasMore=False))
)
completion.server("no-prompts", "prompt").does(
    "Does not complete prompts.", declines(_ref("ref/prompt"), -32602)
)
completion.server("no-templates", "resource").does(
    "Does not complete templates.", declines(_ref("ref/resource"), -32602)
)
completion.server("no-context", "context").does(
    "Does not know context.", declines(lambda value: "context" in _params(value), -32602)
)
completion.server("plain-text-only", "any-text").does(
    "Takes nothing but ASCII.", declines(_odd, -32602)
)
completion.server("completes-anything", "unknown-prompt", "missing", "inputs-validated").does(
    "Has nothing to propose for whatever it does not understand.", takes(COMPLETE, EMPTY)
)
completion.server("all-internal", "unknown-prompt", "missing").does(
    "Falls over its inputs.", code(-32602, -32603)
)
completion.server("does-not-listen", "typed").does(
    "Proposes the same whatever was typed.", misread(_untyped)
)


logging = Table("server/utilities/logging")

NOTE = notification(MESSAGE, {"level": "info", "data": "something happened"})


def _with_level(value: Value, level: str | None) -> Value:
    meta = {name: each for name, each in meta_of(value).items() if name != META_LOG_LEVEL}
    if level is not None:
        meta[META_LOG_LEVEL] = level
    return {**value, "params": {**value["params"], "_meta": meta}}


logging.server("late", "before-response").does(
    "Logs behind the answer.", also("tools/call", NOTE, after=True)
)
logging.server("first-level", "changed").does(
    "Keeps the first level that was set.",
    since(asks("logging/setLevel"), takes("logging/setLevel", {}), number=2),
)


class _OneLevel(Fault):
    """Has one level, whoever sets it."""

    level = "emergency"

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("logging/setLevel")(value):
            _OneLevel.level = value["params"]["level"]
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        called = self.method_of(value) == "tools/call" and "result" in value
        return (NOTE, value) if called and self.level == "debug" else (value,)


@logging.server("keeps-levels", "not-kept")
class _Keeps(Fault):
    """Keeps the level of a request for those that follow."""

    _level: str | None = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not asks("tools/call")(value):
            return payload
        self._level = meta_of(value).get(META_LOG_LEVEL, self._level)
        kept = _with_level(value, self._level)
        return misread(lambda _value, _payload: kept)().said(value, payload)


logging.server("next-stream", "own-stream", binding=Binding.HTTP).does(
    "Sends log messages on the stream of another request.",
    alters(Text, lambda text: MESSAGE.encode() in text.data, exchange=lambda number: number + 1),
)
logging.server("listen-stream", "not-on-listen", binding=Binding.HTTP).does(
    "Sends log messages on the stream of subscriptions/listen.",
    misdirects(of(MESSAGE), calls("subscriptions/listen"), as_well=False),
)


def _known_levels(value: Any, payload: bytes) -> Any:
    level = meta_of(value).get(META_LOG_LEVEL, "debug")
    return payload if level in LEVELS else _with_level(value, None)


def _own(**members: Any) -> Any:
    return own_messages(MESSAGE, over("params", put(**members)))


logging.server("undeclared", "declared").does(
    "Logs, and does not declare it.", silent_capability("logging")
)
logging.server("own-levels", "known").does("Has a level of its own.", _own(level="warn"))
logging.server("no-data", "known").does(
    "Has text where data should be.",
    own_messages(MESSAGE, put(params={"level": "info", "text": "x"})),
)
logging.server("keeps-it-to-itself", "sent").does(
    "Sends no log messages.", own_messages(MESSAGE, lambda _value: None)
)
logging.server("chatty", "nothing-below", "not-asked-for").does(
    "Sends log messages whatever the level is.", also("tools/call", NOTE)
)
logging.server("chatty-of-old", "nothing-below-the-one-set").does(
    "Sends log messages whatever level was set.", also("tools/call", NOTE)
)
logging.server("few-levels", "accepted").does(
    "Has no level notice.",
    declines(asks("logging/setLevel", lambda params: params["level"] == "notice"), -32602),
)
logging.server("any-level", "invalid-level").does(
    "Takes whatever it is given for a level.", takes("logging/setLevel", {})
)
logging.server("level-code", "invalid-level", "invalid-request-level").does(
    "Calls a wrong level an internal error.", code(-32602, -32603)
)

logging.server("one-level", "of-one-client").does("Has one level for all clients.", _OneLevel)
logging.server("leaves-levels-out", "invalid-request-level").does(
    "Takes a level that does not exist for none.", misread(_known_levels)
)


pagination = Table("server/utilities/pagination")

PAGED = Binding.HTTP
"""Where our reference server shows its lists in pages."""


def _cursor(value: Any) -> Any:
    return params_of(value).get("cursor")


def _twice(method: str) -> Breaks:
    return listed(method, LISTS[method][1], lambda entries: [*entries, entries[0]])


def _without_cursor(value: Any, payload: bytes) -> Any:
    if _cursor(value) is None or value.get("method") not in LISTS:
        return payload
    params = {name: each for name, each in value["params"].items() if name != "cursor"}
    return {**value, "params": params}


class _Trims(Fault):
    """Takes a cursor that was altered for the one that it was."""

    _given: list[str] = []

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if isinstance(given := value.get("result", {}).get("nextCursor"), str):
            self._given.append(given)
        return (value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        cursor = _cursor(value)
        if not isinstance(cursor, str) or cursor in self._given:
            return payload
        for given in self._given:
            if cursor.startswith(given):
                return encode({**value, "params": {**value["params"], "cursor": given}})
        return payload


@pagination.server("of-any-list", "of-another-list", binding=PAGED)
class _OfAnyList(_Trims):
    """Takes the cursor of one list for the beginning of another."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("tools/list")(value) or _cursor(value) not in self._given:
            return payload
        return misread(_without_cursor)().said(value, payload)


@pagination.server("once-per-cursor", "stable", binding=PAGED)
class _OncePerCursor(Fault):
    """Forgets a cursor when it was used."""

    _used: set[str] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        cursor = _cursor(value)
        if not isinstance(cursor, str):
            return payload
        if cursor in self._used:
            self.answer(error(value["id"], -32602, "this cursor was used before"))
            return None
        self._used.add(cursor)
        return payload


pagination.server("round-and-round", "tools", "resources", "templates", "prompts").does(
    "Leads from every page to the first one.",
    together(
        misread(_without_cursor), *(results_of(method, put(nextCursor="again")) for method in LISTS)
    ),
)


@pagination.server("first-page-again", "pages-differ", binding=PAGED)
class _FirstAtLast(Fault):
    """Has the first page for every cursor, and there an end."""

    _asked: list[Any] = []

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if _cursor(value) is None:
            return payload
        self._asked.append(value.get("id"))
        return misread(_without_cursor)().said(value, payload)

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "result" in value and value.get("id") in self._asked:
            found = {name: each for name, each in value["result"].items() if name != "nextCursor"}
            return ({**value, "result": found},)
        return (value,)


pagination.server("tools-twice", "tools").does("Lists a tool twice.", _twice("tools/list"))
pagination.server("resources-twice", "resources").does(
    "Lists a resource twice.", _twice("resources/list")
)
pagination.server("templates-twice", "templates").does(
    "Lists a template twice.", _twice("resources/templates/list")
)
pagination.server("prompts-twice", "prompts").does("Lists a prompt twice.", _twice("prompts/list"))
pagination.server("null-cursor", "next-cursor").does(
    "Says null where no page follows.", results_of("prompts/list", put(nextCursor=None))
)
pagination.server("numbered-pages", "next-cursor").does(
    "Has the number of the next page for a cursor.", results_of("tools/list", put(nextCursor=2))
)
pagination.server("any-cursor", "invalid-cursor", "cursor-type").does(
    "Does not look at the cursor.", misread(_without_cursor)
)
pagination.server("cursor-code", "invalid-cursor", "cursor-type").does(
    "Calls a wrong cursor an internal error.", code(-32602, -32603)
)
pagination.server("trims", "altered", binding=PAGED).does(
    "Takes a cursor with something behind it for that cursor.", _Trims
)
pagination.server("to-each-their-own", "same-whole").does(
    "Lists other tools for another client.", less_by_connection("tools/list", "tools")
)
