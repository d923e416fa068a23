"""How often and how soon a client comes back, when it does not, and what may be sent twice."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.engine import Fault, FaultKind
from mcpcore.engine.outbound import is_repeatable, may_repeat
from mcpcore.engine.reconnection import (
    Reconnection,
    ReconnectSettings,
    breaks_for_good,
    closes_for_good,
    fails_for_good,
    fault_of_close,
    refuses_for_good,
)
from mcpcore.spec.errors import BUSY, INVALID_PARAMS, METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.methods import METHODS, REPEATABLE
from mcpcore.spec.types.tools import Tool


def plan(attempts: int = 5, *, seed: bytes = b"", **settings: Any) -> Reconnection:
    return Reconnection(ReconnectSettings(**settings), attempts, seed=seed)


# Attempts


def test_delays_grow_to_the_longest_and_then_it_is_over() -> None:
    each = plan(7, first_delay=1.0, growth=2.0, max_delay=10.0)
    each.opened(0.0)
    found = [each.lost(float(number)) for number in range(8)]
    assert [step and (step.number, step.delay) for step in found] == [
        (1, 1.0),
        (2, 2.0),
        (3, 4.0),
        (4, 8.0),
        (5, 10.0),
        (6, 10.0),
        (7, 10.0),
        None,
    ]
    assert each.made == 7


@pytest.mark.parametrize(("stood", "number"), [(0.0, 2), (9.9, 2), (10.0, 1), (1e9, 1)], ids=str)
def test_attempts_are_counted_anew_after_a_connection_that_lasted(
    stood: float, number: int
) -> None:
    each = plan(lasting=10.0)
    each.opened(0.0)
    assert each.lost(1.0) is not None
    each.opened(5.0)
    again = each.lost(5.0 + stood)
    assert again is not None
    assert again.number == number


def test_a_connection_that_never_opened_has_not_lasted() -> None:
    each = plan(2)
    each.opened(0.0)
    assert [step and step.number for step in map(each.lost, (1.0, 100.0, 200.0))] == [1, 2, None]


OUTLIVED = Fault(FaultKind.AUTHORIZATION)


def test_a_fresh_token_is_tried_once_in_a_row() -> None:
    each = plan(5, lasting=10.0)
    each.opened(0.0)
    ends = [(20.0, OUTLIVED), (25.0, OUTLIVED), (40.0, OUTLIVED), (41.0, None), (42.0, OUTLIVED)]
    found = []
    for now, fault in ends:
        found.append(each.lost(now, fault=fault))
        each.opened(now)
    assert [step and step.number for step in found] == [1, None, 1, 2, None]
    assert plan(0).lost(0.0, fault=OUTLIVED) is None


@pytest.mark.parametrize(
    ("expires_in", "stood", "comes_back"),
    [
        (3.0, 3.0, True),
        (3.0, 1.5, True),  # by the server's clock it was over
        (3.0, 1.4, False),
        (None, 9.9, False),
        (100.0, 10.0, True),
        (0.0, 1.0, False),
        (-1.0, 1.0, False),
    ],
    ids=str,
)
def test_a_token_that_is_over_is_always_replaced(
    expires_in: float | None, stood: float, comes_back: bool
) -> None:
    each, now = plan(5, lasting=10.0), 0.0
    for number in range(20):
        each.opened(now, expires_in=expires_in)
        now += stood
        found = each.lost(now, fault=OUTLIVED)
        assert (found is not None) is (comes_back or number == 0)
        if found is None:
            break
        assert found.number == 1


@pytest.mark.parametrize(
    ("unmarked", "stood", "numbers"),
    [(False, 3.0, [1, 2, None]), (True, 3.0, [1, 1, 1]), (True, 1.4, [1, 2, None])],
)
def test_a_short_token_excuses_an_end_of_another_kind_where_none_tells_its_kind(
    unmarked: bool, stood: float, numbers: list[int | None]
) -> None:
    each = Reconnection(ReconnectSettings(lasting=10.0), 2, unmarked=unmarked)
    for now, number in zip((0.0, 3.0, 6.0), numbers, strict=True):
        each.opened(now, expires_in=3.0)
        found = each.lost(now + stood)
        assert (found and found.number) == number


def test_a_fresh_token_is_tried_after_other_attempts() -> None:
    each = plan(5, lasting=10.0)
    found = []
    for now, fault in ((0.0, None), (5.0, OUTLIVED), (6.0, None), (7.0, OUTLIVED)):
        each.opened(now)
        found.append(each.lost(now, fault=fault))
    assert [step and step.number for step in found] == [1, 2, 3, None]


def test_a_final_end_and_no_attempts_allowed_are_the_end() -> None:
    assert plan().lost(0.0, final=True) is None
    assert plan(0).lost(0.0) is None


@pytest.mark.parametrize(
    ("wanted", "delay"), [(None, 1.0), (0.0, 1.0), (5.0, 5.0), (900.0, 30.0)], ids=str
)
def test_a_server_may_ask_for_a_longer_delay_within_bounds(
    wanted: float | None, delay: float
) -> None:
    step = plan().lost(0.0, fault=Fault(FaultKind.STATUS, 503, wanted))
    assert step is not None
    assert step.delay == delay


@pytest.mark.parametrize(("wanted", "delay"), [(None, 0.25), (0.0, 0.25), (0.5, 0.5)], ids=str)
def test_where_a_server_asks_for_nothing_a_short_delay_stays_short(
    wanted: float | None, delay: float
) -> None:
    step = plan(first_delay=0.25).lost(0.0, fault=Fault(FaultKind.STATUS, 503, wanted))
    assert step is not None
    assert step.delay == delay


@given(
    seed=st.binary(min_size=1, max_size=80),
    first=st.floats(0, 1e6),
    growth=st.floats(1, 1e6),
    longest=st.floats(0, 1e6),
    jitter=st.floats(0, 10),
    count=st.integers(1, 40),
)
def test_delays_are_within_bounds_and_depend_on_the_seed_alone(
    seed: bytes, first: float, growth: float, longest: float, jitter: float, count: int
) -> None:
    settings = {"first_delay": first, "growth": growth, "max_delay": longest, "jitter": jitter}
    one, two = (plan(count, seed=seed, **settings) for _ in range(2))
    for number in range(count):
        step = one.lost(float(number))
        assert step == two.lost(float(number))
        assert step is not None
        assert min(first, longest) <= step.delay <= longest
    assert one.lost(99.0) is None


def test_clients_do_not_come_back_in_step() -> None:
    delays = set()
    for number in range(50):
        step = plan(seed=b"%d" % number, jitter=0.5).lost(0.0)
        assert step is not None
        delays.add(step.delay)
    assert len(delays) == 50
    assert min(delays) < 1.1
    assert max(delays) > 1.4


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": -1},
        {"max_restarts": -1},
        {"max_waiting": -1},
        {"max_repeats": -1},
        {"first_delay": -0.1},
        {"max_delay": float("nan")},
        {"jitter": -1.0},
        {"lasting": -1.0},
        {"growth": 0.5},
        {"opening": 0.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReconnectSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"attempts": -1}, "attempts must be at least 0, not -1"),
        ({"opening": 0.0}, "opening must be above 0, not 0.0"),
        ({"growth": 0.5}, "growth must be at least 1, not 0.5"),
    ],
    ids=str,
)
def test_the_refusal_of_a_setting_says_what_it_may_be(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as refused:
        ReconnectSettings(**wrong)
    assert str(refused.value) == text


NAUGHTS = ["attempts", "max_restarts", "first_delay", "max_delay", "jitter", "lasting"]
NAUGHTS += ["max_waiting", "parting", "max_repeats"]


@pytest.mark.parametrize("name", NAUGHTS)
def test_settings_that_may_be_nothing(name: str) -> None:
    assert getattr(ReconnectSettings(**{name: 0}), name) == 0


# Ends that are final


FINAL_CODES = {1000, 1002, 1003, 1007, 1008, 1010, 1015, 3000, 3003, 4000, 4001, 4999}
PASSING_CODES = {1001, 1005, 1006, 1009, 1011, 1012, 1013, 1014}


@pytest.mark.parametrize("code", sorted(FINAL_CODES | PASSING_CODES))
def test_close_codes(code: int) -> None:
    assert closes_for_good(code) is (code in FINAL_CODES)


@pytest.mark.parametrize("code", sorted(FINAL_CODES | PASSING_CODES))
def test_a_close_may_tell_of_the_end_of_a_token(code: int) -> None:
    assert fault_of_close(code, authorized=False) is None
    fault = fault_of_close(code, authorized=True)
    assert fault == (OUTLIVED if code == 1008 else None)
    assert closes_for_good(code, fault) is (code in FINAL_CODES - {1008})


FINAL_STATUSES = {301, 302, 308, 400, 401, 403, 405, 407, 410, 426}
PASSING_STATUSES = {404, 408, 425, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES | PASSING_STATUSES))
def test_statuses_of_a_refused_upgrade(status: int) -> None:
    assert fails_for_good(Fault(FaultKind.STATUS, status)) is (status in FINAL_STATUSES)


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
def test_faults_without_a_status(kind: FaultKind) -> None:
    assert fails_for_good(Fault(kind)) is (kind.value in {"redirect", "authorization"})
    assert fails_for_good(Fault(kind, 401, passing=True)) is False
    assert fails_for_good(None) is False


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
def test_streams_that_cannot_be_understood_are_not_asked_for_again(kind: FaultKind) -> None:
    final = {"redirect", "too large", "encoding", "malformed", "headers", "authorization"}
    assert breaks_for_good(Fault(kind)) is (kind.value in final)
    assert breaks_for_good(Fault(FaultKind.STATUS, 401)) is True
    assert breaks_for_good(Fault(FaultKind.STATUS, 503)) is False
    assert breaks_for_good(None) is False


@pytest.mark.parametrize(
    ("code", "final"),
    [(None, False), (BUSY, False), (INVALID_PARAMS, True), (METHOD_NOT_FOUND, True), (7, True)],
)
def test_refusals_to_negotiate(code: int | None, final: bool) -> None:
    assert refuses_for_good(None if code is None else ErrorData(code, "no")) is final


# What may be sent twice


def test_the_methods_that_may_be_repeated_are_requests_of_clients_that_change_nothing() -> None:
    assert {row.name for row in METHODS if row.cacheable} <= REPEATABLE
    assert REPEATABLE - {row.name for row in METHODS if row.cacheable} == {
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/directory/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
        "tasks/list",
        "tasks/result",
    }


TOOLS = frozenset({"look"})


@pytest.mark.parametrize(
    ("method", "params", "mark", "tools", "repeat"),
    [
        ("tools/list", {}, None, (), True),
        ("tools/list", {}, False, (), False),
        ("tools/call", {"name": "look"}, None, TOOLS, True),
        ("tools/call", {"name": "look"}, None, (), False),
        ("tools/call", {"name": "look"}, False, TOOLS, False),
        ("tools/call", {"name": "make"}, None, TOOLS, False),
        ("tools/call", {"name": "make"}, True, (), True),
        ("tools/call", {"name": 7}, None, TOOLS, False),
        ("tools/call", {}, None, TOOLS, False),
        ("prompts/get", {"name": "look"}, None, TOOLS, False),
        ("completion/complete", {}, None, TOOLS, False),
        ("tasks/cancel", {}, None, TOOLS, False),
        ("acme/look", {"name": "look"}, None, TOOLS, False),
        ("acme/look", {}, True, (), True),
    ],
)
def test_what_may_be_repeated(
    method: str, params: Any, mark: bool | None, tools: Any, repeat: bool
) -> None:
    assert may_repeat(method, msgspec.json.encode(params), mark, tools) is repeat


HINTS = [
    None,
    {},
    *(
        {name: value}
        for name, value in itertools.product(
            ("readOnlyHint", "idempotentHint", "destructiveHint"), (True, False)
        )
    ),
]


@pytest.mark.parametrize("hints", HINTS, ids=str)
def test_tools_that_say_that_they_may_be_called_twice(hints: Any) -> None:
    raw = {"name": "t", "inputSchema": {"type": "object"}}
    if hints is not None:
        raw["annotations"] = hints
    tool = msgspec.convert(raw, Tool)
    wanted = bool(hints) and (hints.get("readOnlyHint") or hints.get("idempotentHint"))
    assert is_repeatable(tool) is bool(wanted)
