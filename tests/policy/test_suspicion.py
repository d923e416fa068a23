"""The counter of violations: who is suspicious, when it is told, and what is kept."""

from math import log

import pytest

from mcpcore.policy.suspicion import Suspicion, Suspicious


def told(suspicion: Suspicion, *times: float, caller: str = "ann") -> list[bool]:
    """Note violations; for each, whether it makes the caller suspicious."""
    return [suspicion.note(caller, "bad", now=now) is not None for now in times]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((0, 0, 0, 0), [False, False, True, False]),
        ((0, 10, 20, 30, 40), [False] * 5),  # 2 at most
        ((0, 1, 2, 3), [False, False, False, True]),  # a little is forgotten
        # It is told again once the number has fallen below a half, and not before.
        ((0, 0, 0, 10, 10), [False, False, True, False, False]),
        ((0, 0, 0, 11, 11, 11), [False, False, True, False, True, False]),
    ],
)
def test_when_a_caller_is_suspicious(times: tuple[float, ...], expected: list[bool]) -> None:
    assert told(Suspicion(violations=3, half_life=10), *times) == expected


def test_the_event_has_the_last_reason_and_the_rate() -> None:
    suspicion = Suspicion(violations=2, half_life=10)
    assert suspicion.note("ann", "one", now=5) is None
    assert suspicion.note("ben", "other", now=5) is None
    assert suspicion.note("ann", "two", now=5) == Suspicious("ann", "two", 2 * log(2) / 10)


def test_the_caller_without_a_violation_for_longest_is_forgotten() -> None:
    suspicion = Suspicion(violations=2, callers=2)
    known = [told(suspicion, 0, caller=caller) for caller in ("ann", "ben", "ann", "cid")]
    assert known == [[False], [False], [True], [False]]
    assert told(suspicion, 0, 0, caller="ben") == [False, True]  # anew, in place of ann
    assert told(suspicion, 0, caller="ann") == [False]


@pytest.mark.parametrize("name", ["violations", "half_life", "callers"])
def test_numbers_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=r"^violations, half_life and callers must be positive$"):
        Suspicion(**{name: 0})  # type: ignore[arg-type]
    assert told(Suspicion(violations=1, half_life=1, callers=1), 0) == [True]


def test_the_numbers_that_hold_unless_others_are_given() -> None:
    suspicion = Suspicion()
    assert told(suspicion, *[0] * 19) == [False] * 19
    for number in range(10_000):
        suspicion.note(str(number), "bad", now=0)
    assert told(suspicion, *[0] * 19) == [False] * 19  # it was forgotten
    assert suspicion.note("ann", "bad", now=0) == Suspicious("ann", "bad", 20 * log(2) / 60)
