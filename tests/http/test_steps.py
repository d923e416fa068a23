"""What a server has asked of its store: answers, deadlines, and what it keeps of them."""

from collections import deque

from mcpcore.engine.events import Event
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.stored.replica import StoreSteps, ignore
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import SessionLoad, StoreFailure
from tests.faults.holdings import tables

MANY = 5_000


def _steps() -> tuple[StoreSteps, deque[Event]]:
    events: deque[Event] = deque()
    settings = HttpSettings(store_timeout=10)
    return StoreSteps(events, EventLog(bytes(32), settings), settings, bytes(32)), events


def _token(step: Event) -> int:
    assert isinstance(step, SessionLoad)
    return step.token


def test_what_was_answered_does_not_pile_up_behind_a_step_that_waits() -> None:
    steps, events = _steps()
    steps.ask(SessionLoad, "stuck", ignore)
    for _ in range(MANY):
        steps.ask(SessionLoad, "quick", ignore)
        steps.answer(_token(events.pop()), None)
    assert max(tables([steps]).values()) < 100
    assert steps.deadline() == 10


def test_each_step_keeps_its_own_deadline_whatever_was_cleared_away() -> None:
    steps, events = _steps()
    given_up: list[str] = []

    def note(name: str) -> None:
        steps.ask(
            SessionLoad,
            name,
            lambda outcome: given_up.append(name) if isinstance(outcome, StoreFailure) else None,
        )

    note("first")
    for number in range(200):
        steps.log.now = number / 100
        note(f"quick {number}")
        steps.answer(_token(events.pop()), None)
    note("last")
    steps.handle_timeout(10)
    assert given_up == ["first"]
    assert steps.deadline() == 10 + 1.99
    steps.handle_timeout(12)
    assert given_up == ["first", "last"]
    assert not steps
    assert steps.deadline() is None
