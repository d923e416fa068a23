"""The table of tasks: a model test over everything that can happen, and each limit by itself."""

import json
import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from msgspec import Raw

from mcpcore.errors import TableFull, TooManyQuestions
from mcpcore.service.task_settings import TaskSettings
from mcpcore.service.tasks import TRANSITIONS, TaskRecord, TaskSignal, TaskTable
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, TIMED_OUT, ErrorData, McpError

SECRET = bytes(range(32))
RESULT = Raw(b'{"content":[]}')
ANSWER = Raw(b'{"action":"accept"}')
ENDED = ("completed", "failed", "cancelled")


def table(**settings: Any) -> TaskTable:
    return TaskTable(SECRET, TaskSettings(**settings))


def ask(tasks: TaskTable, record: TaskRecord, key: str = "q", wall: float = 0.0) -> str | None:
    return tasks.ask(record, key, "elicitation/create", b'{"message":"?"}', wall=wall)


class Model:
    """What a task should look like."""

    def __init__(self, record: TaskRecord, created: float) -> None:
        self.record = record
        self.created = created
        self.status = "working"
        self.asked: set[str] = set()
        self.open: set[str] = set()
        self.size = 0


class Tasks(RuleBasedStateMachine):
    """Whatever is done with tasks, in any order, with time passing."""

    tasks = Bundle("tasks")

    @initialize()
    def begin(self) -> None:
        self.table = table(
            tasks=8, per_owner=4, result_size=60, stored=100, questions=5, keep=500, page_size=2
        )
        self.now = 1000.0
        self.known: dict[str, Model] = {}
        self.ids: set[str] = set()

    @rule(
        target=tasks,
        owner=st.sampled_from([None, "a", "b"]),
        ttl=st.sampled_from([None, 1000, 5000]),
    )
    def create(self, owner: str | None, ttl: int | None) -> Model | None:
        owned = [m for m in self.known.values() if owner is not None and m.record.owner == owner]
        if len(self.known) >= 8 or len(owned) >= 4:
            with pytest.raises(TableFull):
                self.table.create(owner, wall=self.now, ttl=ttl)
            return None
        record = self.table.create(owner, wall=self.now, ttl=ttl)
        assert record.id not in self.ids
        self.ids.add(record.id)
        self.known[record.id] = model = Model(record, self.now)
        return model

    @rule(model=tasks, key=st.sampled_from(["q", "r"]))
    def ask(self, model: Model | None, key: str) -> None:
        if model is None:
            return
        if model.status in ENDED:
            assert ask(self.table, model.record, key, self.now) is None
        elif len(model.asked) >= 5:
            with pytest.raises(TooManyQuestions):
                ask(self.table, model.record, key, self.now)
        else:
            name = ask(self.table, model.record, key, self.now)
            assert name is not None
            assert name not in model.asked
            model.asked.add(name)
            model.open.add(name)
            model.status = "input_required"

    @rule(model=tasks, keys=st.sets(st.sampled_from(["q", "r", "q-2", "r-2", "q-3", "none"])))
    def answer(self, model: Model | None, keys: set[str]) -> None:
        if model is None:
            return
        taken = self.table.answer(model.record, dict.fromkeys(keys, ANSWER), wall=self.now)
        assert set(taken) == keys & model.open
        model.open -= keys
        if model.status == "input_required" and not model.open:
            model.status = "working"

    @rule(model=tasks)
    def withdraw(self, model: Model | None) -> None:
        if model is None or not model.open:
            return
        key = min(model.open)
        self.table.withdraw(model.record, key, wall=self.now)
        model.open.discard(key)
        if not model.open:
            model.status = "working"

    @rule(model=tasks, length=st.integers(0, 70))
    def complete(self, model: Model | None, length: int) -> None:
        if model is None:
            return
        before = model.status in ENDED
        result = Raw(b'{"content":[],"x":"%b"}' % (b"x" * length))
        fits = len(bytes(result)) <= min(60, 100 - self.table.stored)
        assert self.table.complete(model.record, result, wall=self.now) is not before
        if not before:
            self.end(model, "completed" if fits else "failed")
            if fits and model.record.id in self.known:
                model.size = len(bytes(result))

    @rule(model=tasks)
    def fail(self, model: Model | None) -> None:
        if model is not None:
            error = ErrorData(INTERNAL_ERROR, "broken")
            before = model.status in ENDED
            assert self.table.fail(model.record, error, wall=self.now) is not before
            self.end(model, "failed")

    @rule(model=tasks)
    def cancel(self, model: Model | None) -> None:
        if model is not None:
            before = model.status in ENDED
            assert self.table.cancel(model.record, "enough", wall=self.now) is not before
            self.end(model, "cancelled")

    @rule(model=consumes(tasks))
    def remove(self, model: Model | None) -> None:
        if model is not None:
            self.table.remove(model.record)
            self.known.pop(model.record.id, None)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        due = [m for m in self.known.values() if m.record.expires <= self.now]
        late = {m.record.id for m in due if m.status not in ENDED}
        assert {record.id for record in self.table.expire(self.now)} == late
        for model in due:
            if model.record.id in late:
                self.end(model, "failed")
            else:
                del self.known[model.record.id]

    def end(self, model: Model, status: str) -> None:
        if model.status not in ENDED:
            model.status = status
            model.open.clear()

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        assert len(self.table) == len(self.known)
        assert self.table.stored == sum(model.size for model in self.known.values())
        for id, model in self.known.items():
            record = self.table.find(id, model.record.owner, wall=self.now)
            assert record is model.record
            assert record.status == model.status
            assert set(record.questions) == model.open
            assert (record.status == "input_required") is bool(record.questions)
            assert record.expires > self.now
            assert (record.result is not None) is (record.status == "completed")
            assert (record.error is not None) is (record.status == "failed")
        for owner in ("a", "b", "c"):
            mine = [m.record.id for m in self.known.values() if m.record.owner == owner]
            listed: list[str] = []
            cursor = None
            while True:
                page, cursor = self.table.page(owner, cursor, wall=self.now)
                assert len(page) <= 2
                listed += [record.id for record in page]
                if cursor is None:
                    break
            assert listed == mine
        deadline = self.table.deadline()
        earliest = min((m.record.expires for m in self.known.values()), default=math.inf)
        assert (math.inf if deadline is None else deadline) == earliest


TestTasks = Tasks.TestCase


def test_ids_belong_to_their_secret_and_nobody_can_tell_the_next() -> None:
    first, again, other = table(), table(), TaskTable(bytes(32))
    ids = [each.create(None, wall=0.0).id for each in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 32  # 192 bits
    assert first.create(None, wall=0.0).id != ids[0]
    with pytest.raises(ValueError, match="at least 32 random bytes"):
        TaskTable(b"short")


@pytest.mark.parametrize("status", ["working", "input_required"])
@pytest.mark.parametrize("signal", list(TaskSignal))
def test_every_end_can_be_reached_from_everywhere(status: Any, signal: TaskSignal) -> None:
    after = TRANSITIONS.get((status, signal))
    if signal in (TaskSignal.COMPLETE, TaskSignal.FAIL, TaskSignal.CANCEL):
        assert after in ENDED
    else:
        assert after not in ENDED


@pytest.mark.parametrize(
    ("owner", "asker", "found"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", None, False),
        (None, "a", False),
        (None, None, True),
    ],
)
def test_a_task_is_there_for_its_owner_alone(
    owner: str | None, asker: str | None, found: bool
) -> None:
    tasks = table()
    record = tasks.create(owner, wall=0.0)
    if found:
        assert tasks.find(record.id, asker, wall=1.0) is record
        return
    with pytest.raises(McpError, match="no such task") as caught:
        tasks.find(record.id, asker, wall=1.0)
    assert caught.value.code == INVALID_PARAMS
    with pytest.raises(McpError) as unknown:
        tasks.find("unknown", asker, wall=1.0)
    assert str(unknown.value) == str(caught.value)  # nobody learns that there is one


def test_what_nobody_owns_is_listed_to_nobody() -> None:
    tasks = table()
    tasks.create(None, wall=0.0)
    assert tasks.page(None, None, wall=0.0) == ([], None)


def test_cursors_of_others_are_refused() -> None:
    tasks = table(page_size=1)
    for owner in ("a", "a", "b"):
        tasks.create(owner, wall=0.0)
    _, cursor = tasks.page("a", None, wall=0.0)
    assert cursor is not None
    with pytest.raises(McpError, match="cursor") as caught:
        tasks.page("b", cursor, wall=0.0)
    assert caught.value.code == INVALID_PARAMS


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(None, 3_600_000), (60_000, 60_000), (0, 1_000), (10**12, 86_400_000)],
)
def test_the_ttl_that_is_granted(asked: int | None, granted: int) -> None:
    assert table().granted(asked) == granted


def test_a_negative_ttl_is_refused() -> None:
    with pytest.raises(McpError, match=r"task\.ttl"):
        table().granted(-1)


def test_what_outlives_its_ttl_fails_and_is_kept_a_while() -> None:
    tasks = table(keep=2000)
    record = tasks.create(None, wall=0.0, ttl=1000)
    assert tasks.deadline() == 1.0
    assert tasks.expire(0.9) == []
    assert tasks.expire(1.5) == [record]
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.code == TIMED_OUT
    assert "1000 ms" in record.error.message
    assert tasks.find(record.id, None, wall=3.4) is record
    assert tasks.expire(3.5) == []
    assert len(tasks) == 0
    assert tasks.deadline() is None


def test_what_ended_shortly_before_its_ttl_is_kept_longer() -> None:
    tasks = table(keep=60_000)
    record = tasks.create(None, wall=0.0, ttl=10_000)
    tasks.complete(record, RESULT, wall=9.0)
    assert record.ttl == 69_000
    unlimited = tasks.create(None, wall=0.0, ttl=None)
    tasks.complete(unlimited, RESULT, wall=9.0)
    assert unlimited.ttl is None
    assert tasks.deadline() == 69.0


def test_what_ended_early_is_kept_for_its_ttl() -> None:
    tasks = table(keep=2000)
    record = tasks.create(None, wall=0.0, ttl=600_000)
    tasks.complete(record, RESULT, wall=9.0)
    assert (record.ttl, tasks.deadline()) == (600_000, 600.0)


def test_what_has_expired_is_not_found_even_if_nobody_looked() -> None:
    tasks = table()
    record = tasks.create("a", wall=0.0, ttl=1000)
    with pytest.raises(McpError):
        tasks.find(record.id, "a", wall=1.0)
    assert tasks.page("a", None, wall=1.0) == ([], None)


@pytest.mark.parametrize(
    ("settings", "room"), [({"result_size": 20}, 20), ({"stored": 30, "result_size": 25}, 16)]
)
def test_a_result_without_room_is_an_error(settings: dict[str, int], room: int) -> None:
    tasks = table(**settings)
    tasks.complete(tasks.create(None, wall=0.0), RESULT, wall=0.0)
    record = tasks.create(None, wall=0.0)
    long = Raw(b'{"content":["%b"]}' % (b"x" * 20))
    assert tasks.complete(record, long, wall=0.0)
    assert record.status == "failed"
    assert record.result is None
    assert record.error is not None
    assert record.error.message.endswith(f"there is room for {room}")


@pytest.mark.parametrize(
    ("result", "is_error", "message"),
    [
        ({"content": [{"type": "text", "text": "fine"}]}, False, None),
        ({"content": [{"type": "text", "text": "bad"}], "isError": True}, True, "bad"),
        ({"content": [{"type": "image"}, {"text": "x"}], "isError": True}, True, "x"),
        ({"content": [], "isError": True}, True, None),
        ({"action": "accept", "content": {"name": "Ada"}}, False, None),
    ],
)
def test_a_failure_of_the_tool_is_seen(
    result: dict[str, Any], is_error: bool, message: str | None
) -> None:
    tasks = table()
    record = tasks.create(None, wall=0.0)
    tasks.say(record, "half way", wall=0.0)
    tasks.complete(record, Raw(json.dumps(result).encode()), wall=1.0)
    assert (record.status, record.is_error, record.message) == ("completed", is_error, message)


def test_a_key_is_never_used_twice() -> None:
    tasks = table()
    record = tasks.create(None, wall=0.0)
    assert ask(tasks, record, "q") == "q"
    tasks.answer(record, {"q": ANSWER}, wall=0.0)
    assert ask(tasks, record, "q") == "q-2"
    assert ask(tasks, record, "q-2") == "q-2-2"
    assert ask(tasks, record, "q") == "q-3"
    question = json.loads(bytes(record.questions["q-3"]))
    assert question == {"method": "elicitation/create", "params": {"message": "?"}}


def test_messages_are_bounded_and_told_once() -> None:
    tasks = table()
    record = tasks.create(None, wall=0.0)
    assert tasks.say(record, "x" * 100_000, wall=1.0)
    assert record.message is not None
    assert len(record.message) < 10_000
    assert record.updated == 1.0
    assert not tasks.say(record, "x" * 100_000, wall=2.0)
    assert record.updated == 1.0
    tasks.cancel(record, "enough", wall=3.0)
    assert not tasks.say(record, "late", wall=4.0)


def test_messages_can_be_told() -> None:
    tasks = table()
    record = tasks.create(None, wall=0.0)
    assert tasks.say(record, "reading \udcff", wall=1.0)
    assert record.message == "reading ?"
    assert not tasks.say(record, "reading \udcff", wall=2.0)
    assert tasks.fail(record, ErrorData(INTERNAL_ERROR, "lost \udcff"), wall=3.0)
    assert record.message == "lost ?"


def test_ended_sessions_leave_nothing_behind() -> None:
    tasks = table(tasks=10, per_owner=5)
    for _ in range(1000):
        record = tasks.create("a", wall=0.0)
        tasks.complete(record, RESULT, wall=0.0)
        tasks.remove(record)
        tasks.remove(record)
    assert (len(tasks), tasks.stored, tasks.owned("a")) == (0, 0, [])
    assert len(tasks._expiries) < 100


def test_the_result_of_a_removed_task_takes_no_room() -> None:
    tasks = table()
    record = tasks.create("a", wall=0.0)
    tasks.remove(record)
    assert tasks.complete(record, RESULT, wall=1.0)
    assert tasks.stored == 0
