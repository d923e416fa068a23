"""Mutants of the page server/utilities/pagination."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, code, misread, params_of, results_of, together
from conformance.mutants.lists import less_by_connection, listed
from conformance.mutants.model import Table
from mcpcore_conformance.cases.server_utilities_pagination import LISTS
from mcpcore_conformance.kit.messages import encode, error
from mcpcore_conformance.kit.model import Binding

table = Table("server/utilities/pagination")

PAGED = Binding.HTTP
"""Where our reference server shows its lists in pages."""


def _cursor(value: Any) -> Any:
    return params_of(value).get("cursor")


def _twice(method: str) -> Callable[[], Fault]:
    return listed(method, LISTS[method][1], lambda entries: [*entries, entries[0]])


def _without_cursor(value: Any, payload: bytes) -> Any:
    if _cursor(value) is None or value.get("method") not in LISTS:
        return payload
    params = {name: each for name, each in value["params"].items() if name != "cursor"}
    return {**value, "params": params}


class _Trims(Fault):
    """Takes a cursor that was altered for the one that it was."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[str] = []

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


@table.server("of-any-list", "implementation-guidelines/of-another-list", binding=PAGED)
class _OfAnyList(_Trims):
    """Takes the cursor of one list for the beginning of another."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("tools/list")(value) or _cursor(value) not in self._given:
            return payload
        return misread(_without_cursor)().said(value, payload)


@table.server("once-per-cursor", "implementation-guidelines/stable", binding=PAGED)
class _OncePerCursor(Fault):
    """Forgets a cursor when it was used."""

    def __init__(self) -> None:
        super().__init__()
        self._used: set[str] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        cursor = _cursor(value)
        if not isinstance(cursor, str):
            return payload
        if cursor in self._used:
            self.answer(error(value["id"], -32602, "this cursor was used before"))
            return None
        self._used.add(cursor)
        return payload


table.server(
    "round-and-round",
    "operations-supporting-pagination/tools",
    "operations-supporting-pagination/resources",
    "operations-supporting-pagination/templates",
    "operations-supporting-pagination/prompts",
).does(
    "Leads from every page to the first one.",
    together(
        misread(_without_cursor), *(results_of(method, put(nextCursor="again")) for method in LISTS)
    ),
)


@table.server("first-page-again", "request-format/pages-differ", binding=PAGED)
class _FirstAtLast(Fault):
    """Has the first page for every cursor, and there an end."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: list[Any] = []

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


table.server("tools-twice", "operations-supporting-pagination/tools").does(
    "Lists a tool twice.", _twice("tools/list")
)
table.server("resources-twice", "operations-supporting-pagination/resources").does(
    "Lists a resource twice.", _twice("resources/list")
)
table.server("templates-twice", "operations-supporting-pagination/templates").does(
    "Lists a template twice.", _twice("resources/templates/list")
)
table.server("prompts-twice", "operations-supporting-pagination/prompts").does(
    "Lists a prompt twice.", _twice("prompts/list")
)
table.server("null-cursor", "response-format/next-cursor").does(
    "Says null where no page follows.", results_of("prompts/list", put(nextCursor=None))
)
table.server("numbered-pages", "response-format/next-cursor").does(
    "Has the number of the next page for a cursor.", results_of("tools/list", put(nextCursor=2))
)
table.server("any-cursor", "error-handling/invalid-cursor", "error-handling/cursor-type").does(
    "Does not look at the cursor.", misread(_without_cursor)
)
table.server("cursor-code", "error-handling/invalid-cursor", "error-handling/cursor-type").does(
    "Calls a wrong cursor an internal error.", code(-32602, -32603)
)
table.server("trims", "implementation-guidelines/altered", binding=PAGED).does(
    "Takes a cursor with something behind it for that cursor.", _Trims
)
table.server("to-each-their-own", "pagination-model/same-whole").does(
    "Lists other tools for another client.", less_by_connection("tools/list", "tools")
)
