"""Rows of mutants, and the operations that their faults are made of."""

from collections.abc import Callable
from typing import Any

import pytest

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.edits import Change, drop, each, first, over, put, to, where
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import (
    alters,
    asks,
    before,
    declines,
    errors_of,
    fails,
    loses,
    responds,
    results_of,
    since,
    together,
)
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore.spec.revisions import BY_NAME, Span
from mcpcore_conformance.kit.heard import Event, Heard, Text
from mcpcore_conformance.kit.messages import encode, error, notification, request, result
from mcpcore_conformance.kit.model import ALL, Binding

PING, LIST = request(1, "ping"), request(2, "tools/list", {"cursor": "x"})
REFUSED = error(1, -32600, "declined")


@pytest.mark.parametrize(
    ("change", "value", "found"),
    [
        (put(a=1, b=2), {"a": 0, "c": 3}, {"a": 1, "b": 2, "c": 3}),
        (drop("a", "b"), {"a": 0, "c": 3}, {"c": 3}),
        (over("a", put(b=1)), {"a": {}, "c": 3}, {"a": {"b": 1}, "c": 3}),
        (over("a", put(b=1)), {"c": 3}, {"c": 3}),
        (where(lambda value: value > 1, to(0)), 2, 0),
        (where(lambda value: value > 1, to(0)), 1, 1),
        (each(put(a=1)), [{}, {"a": 0}], [{"a": 1}, {"a": 1}]),
        (first(drop("a")), [{"a": 0}, {"a": 0}], [{}, {"a": 0}]),
    ],
)
def test_operations_on_values(change: Change, value: Any, found: Any) -> None:
    kept = repr(value)
    assert change(value) == found
    assert repr(value) == kept


def reached(make: Callable[[], Fault], *said: Value) -> list[Any]:
    """What a server reads of each message, or hears in its place."""
    fault, found = make(), list[Any]()
    for value in said:
        fault.remember(value)
        payload = fault.said(value, encode(value))
        answers = [each.data for each in fault.take_answers() if isinstance(each, Text)]
        found.append(value if payload == encode(value) and not answers else answers)
    return found


NO_PING = declines(asks("ping"))


@pytest.mark.parametrize(
    ("make", "said", "broken"),
    [
        (since(asks("tools/list"), NO_PING), (PING, LIST, PING), (2,)),
        (since(asks("ping"), NO_PING, number=2), (PING, PING, PING), (1, 2)),
        (before(asks("tools/list"), NO_PING), (PING, LIST, PING), (0,)),
        (before(asks("ping"), NO_PING, number=3), (PING, PING, PING), (0, 1)),
        (declines(asks("ping", lambda params: "cursor" in params)), (PING, PING), ()),
    ],
)
def test_a_fault_begins_and_ends_with_a_message(
    make: Callable[[], Fault], said: tuple[Value, ...], broken: tuple[int, ...]
) -> None:
    wanted = [[encode(REFUSED)] if n in broken else each for n, each in enumerate(said)]
    assert reached(make, *said) == wanted


NOTE = notification("notifications/message", {"level": "info", "data": "x"})
GOOD, BAD = result(1, {"a": 1}), error(1, -32603, "oh")


@pytest.mark.parametrize(
    ("make", "answer", "heard"),
    [
        (results_of("ping", put(a=2)), GOOD, [result(1, {"a": 2})]),
        (results_of("ping", put(a=2)), BAD, [BAD]),
        (results_of("tools/list", put(a=2)), GOOD, [GOOD]),
        (errors_of("", put(code=1)), BAD, [error(1, 1, "oh")]),
        (errors_of("", put(code=1)), GOOD, [GOOD]),
        (fails("ping", -32601), GOOD, [error(1, -32601, "no")]),
        (also("ping", NOTE), GOOD, [NOTE, GOOD]),
        (also("ping", lambda value: {"of": value["id"]}, after=True), GOOD, [GOOD, {"of": 1}]),
        (also("tools/list", NOTE), GOOD, [GOOD]),
        (
            together(also("ping", NOTE), results_of("ping", put(a=2))),
            GOOD,
            [NOTE, GOOD | {"result": {"a": 2}}],
        ),
        (since(asks("ping"), results_of("ping", put(a=2))), GOOD, [result(1, {"a": 2})]),
        (since(asks("tools/list"), results_of("ping", put(a=2))), GOOD, [GOOD]),
    ],
)
def test_answers_are_edited(make: Callable[[], Fault], answer: Value, heard: list[Value]) -> None:
    fault = make()
    fault.remember(PING)
    fault.said(PING, encode(PING))
    assert [*fault.message(answer)] == heard


def test_several_faults_answer_one_after_the_other() -> None:
    make = together(responds(asks("ping"), to(NOTE)), NO_PING)
    assert reached(make, PING, LIST) == [[encode(NOTE), encode(REFUSED)], LIST]


@pytest.mark.parametrize(
    ("make", "heard"),
    [
        (alters(Event, retry=None), [Event(1, retry=None)]),
        (alters(Event, lambda event: event.name == "x", retry=None), [Event(1, retry=5)]),
        (alters(Event, exchange=lambda number: number + 1), [Event(2, retry=5)]),
        (alters(Text, exchange=7), [Event(1, retry=5)]),
        (loses(Event), []),
        (loses(Event, lambda event: event.comment), [Event(1, retry=5)]),
    ],
)
def test_what_is_heard_is_altered_or_lost(make: Callable[[], Fault], heard: list[Heard]) -> None:
    assert [*make().heard(Event(1, retry=5))] == heard


def test_a_row_is_written_or_decorates_its_fault() -> None:
    table = Table("basic/x")
    span = Span(BY_NAME["2025-03-26"], BY_NAME["2025-06-18"])
    table.server("a", "one/a", "rfc/one/b", revisions=span).does("Breaks.", Fault)

    @table.client("b", "basic/x/one/b", binding=Binding.STDIO)
    class Breaks(ClientFault):
        """Breaks
        as well.

        And more.
        """

    one, other = table.mutants
    assert (one.id, one.kills, one.summary) == (
        "basic/x/a",
        ("basic/x/one/a", "basic/x/rfc/one/b"),
        "Breaks.",
    )
    assert (one.revisions, one.binding, one.fault, one.client_fault) == (span, None, Fault, None)
    assert (other.id, other.kills, other.summary) == (
        "basic/x/client-b",
        ("basic/x/one/b",),
        "Breaks as well.",
    )
    assert (other.revisions, other.binding, other.fault) == (ALL, Binding.STDIO, None)
    assert other.client_fault is Breaks
