"""Each store beside a model of plain dicts: random histories, the same outcomes and notes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec import structs

from mcpcore.http.storing import (
    Announce,
    Announcements,
    Ended,
    LogPage,
    Moved,
    NoSession,
    Post,
    QueuePut,
    QueueTake,
    SessionCalls,
    SessionDelete,
    SessionLoad,
    SessionSave,
    SessionTouch,
    Step,
    StoredTask,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    StreamRelease,
    TaskChanged,
    TaskList,
    TaskLoad,
    TaskSave,
    Wake,
)
from mcpcore_transports.stores.base import TASK_END, StoreSettings
from tests.transports.store_stage import KINDS, WORKERS, Theatre, decoded, record, theatre

SETTINGS = StoreSettings(
    events=5,
    event_bytes=60,
    age=30,
    streams=4,
    queue_bytes=40,
    once=3,
    sessions=100,
    sessions_per_client=3,
    unused=20,
    idle=40,
    absolute=120,
    lease=10,
    renew=0,
    mailbox=1000,
    announcements=3,
    tasks=3,
    tasks_per_owner=2,
    task_bytes=100,
)
EXAMPLES = {"memory": 100, "sqlite": 60, "redis": 60}


class Model:
    """What a store is, in the plainest way: everything is looked through each time."""

    def __init__(self, late: bool = False) -> None:
        self.late = late
        """Room for new sessions is made at the end of the batch that made them."""
        self.made: dict[str, str] = {}
        """Sessions for which there is to be room yet, and whose they are."""
        self.sessions: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.numbers = 0
        """Number of the last task."""
        self.mail: dict[str, list[Any]] = {}
        self.announced: list[tuple[str, float, bytes]] = []
        """Topic, time and note of what was said to everybody, oldest first."""
        self.expires: dict[str, float] = {}
        """Leases of the workers that are there."""
        self.acting = ""
        """The worker that does something."""
        self.told: dict[tuple[str, type[Step], Wake], str] = {}
        """Who was woken for what and has not tried it since, and by whom."""
        self.reminders: dict[str, list[Wake]] = {}
        """What may be said once more, as whoever had said it has died."""
        self.stale: dict[str, list[Wake | Moved]] = {}
        """What may be said of streams that are too old, until a store finds that they are."""

    # time

    def look(self, wall: float) -> None:
        """Give up what is too old."""
        self.tasks = {id: task for id, task in self.tasks.items() if wall < task["expires"]}
        for name, session in [*self.sessions.items()]:
            created = session["record"].created
            used = session["used"]
            end = created + SETTINGS.unused if used is None else used + SETTINGS.idle
            if wall >= min(end, created + SETTINGS.absolute):
                for number, stream in session["streams"].items():
                    self.outlive(name, number, stream)
                del self.sessions[name]
                continue
            session["events"] = [
                event for event in session["events"] if wall < event["time"] + SETTINGS.age
            ]
            for number, stream in [*session["streams"].items()]:
                if (
                    self.idle(stream)
                    and not any(event["stream"] is stream for event in session["events"])
                    and wall >= stream["time"] + SETTINGS.age
                ):
                    self.outlive(name, number, stream)
                    del session["streams"][number]

    def outlive(self, name: str, number: int, stream: dict[str, Any]) -> None:
        for worker in stream["readers"]:
            self.stale.setdefault(worker, []).append(Wake(session=name, stream=number))
        if stream["holder"] is not None:
            notes = self.stale.setdefault(stream["holder"], [])
            notes.append(Moved(session=name, stream=number))
            if stream["armed"]:
                notes.append(Wake(session=name, stream=number))

    def bury(self, now: float) -> None:
        for worker, expires in [*self.expires.items()]:
            if now >= expires:
                del self.expires[worker]
                for (reader, _, note), teller in self.told.items():
                    if teller == worker:
                        self.reminders.setdefault(reader, []).append(note)
                self.gone(worker)

    def gone(self, worker: str) -> None:
        for name, session in self.sessions.items():
            session["calls"].pop(worker, None)
            for number, stream in session["streams"].items():
                stream["readers"].discard(worker)
                if stream["holder"] == worker:
                    stream["holder"] = None
                    stream["armed"] = False
                    self.tell(worker, Moved(session=name, stream=number))
                if stream["writer"] == worker and stream["request"] and not stream["ended"]:
                    stream["orphaned"] = True
                    self.wake_readers(name, number, stream)
            self.wake_carrier(name, session)

    def here(self, worker: str, now: float) -> None:
        self.acting = worker
        self.expires[worker] = now + SETTINGS.lease
        self.mail.setdefault(worker, [])
        self.bury(now)

    def leave(self, worker: str) -> None:
        self.acting = worker
        self.expires.pop(worker, None)
        if self.mail.pop(worker, None) is not None:
            self.gone(worker)

    # notes

    def tell(self, worker: str, note: Any) -> None:
        if worker in self.mail:
            self.mail[worker].append(note)

    def wake(self, worker: str, kind: type[Step], note: Wake) -> None:
        self.tell(worker, note)
        self.told[worker, kind, note] = self.acting

    def wake_readers(self, name: str, number: int, stream: dict[str, Any]) -> None:
        for worker in stream["readers"]:
            self.wake(worker, StreamRead, Wake(session=name, stream=number))
        stream["readers"].clear()

    def wake_carrier(self, name: str, session: dict[str, Any]) -> None:
        number = self.carrier(session)
        if number is not None and session["queue"]:
            stream = session["streams"][number]
            if stream["armed"]:
                stream["armed"] = False
                self.wake(stream["holder"], QueueTake, Wake(session=name, stream=number))

    # streams

    @staticmethod
    def idle(stream: dict[str, Any]) -> bool:
        open_get = stream["request"] is None and stream["holder"] is not None
        open_post = stream["request"] is not None and not stream["orphaned"]
        return stream["ended"] or not (open_get or open_post)

    @staticmethod
    def carrier(session: dict[str, Any]) -> int | None:
        open_gets = [
            (stream["rank"], number)
            for number, stream in session["streams"].items()
            if stream["request"] is None and stream["holder"] and not stream["ended"]
        ]
        return max(open_gets)[1] if open_gets else None

    @staticmethod
    def rank(session: dict[str, Any]) -> int:
        session["rank"] += 1
        rank: int = session["rank"]
        return rank

    def keep(
        self, session: dict[str, Any], stream: dict[str, Any], data: bytes, wall: float
    ) -> int:
        stream["last"] += 1
        events = session["events"]
        events.append({"stream": stream, "place": stream["last"], "data": data, "time": wall})
        while len(events) > 1 and (
            len(events) > SETTINGS.events
            or sum(len(event["data"]) for event in events) > SETTINGS.event_bytes
        ):
            events.pop(0)
        place: int = stream["last"]
        return place

    @staticmethod
    def page(
        session: dict[str, Any], stream: dict[str, Any], entries: list[tuple[int, bytes]]
    ) -> LogPage:
        kept = [event["place"] for event in session["events"] if event["stream"] is stream]
        return LogPage(
            entries=tuple(entries),
            lost=kept[0] - 1 if kept else stream["last"],
            last=stream["last"],
            ended=stream["ended"],
            orphaned=stream["orphaned"],
            request=stream["request"],
        )

    # steps

    def commit(self, worker: str, batch: list[Step], wall: float) -> list[Any]:
        outcomes = [self.do(worker, step, wall) for step in batch]
        while self.made:
            name = next(iter(self.made))
            self.make_room(self.made[name], wall)
            del self.made[name]
        return outcomes

    def do(self, worker: str, step: Step, wall: float) -> Any:
        self.look(wall)
        session = self.sessions.get(step.session)
        if isinstance(step, Post):
            for name in [*self.mail] if step.to is None else [step.to]:
                if step.to is not None or name != worker:
                    self.tell(name, step.note)
            return None
        match step:
            case TaskSave():
                return self.save_task(worker, step)
            case TaskLoad():
                if step.id not in self.tasks:
                    return None
                if step.follow:
                    self.tasks[step.id]["followers"].add(worker)
                return self.shown(step.id)
            case TaskList():
                own = [id for id, each in self.tasks.items() if each["owner"] == step.owner]
                after = [each for each in map(self.shown, own) if each.number > step.after]
                return tuple(after[: step.limit])
        if isinstance(step, SessionSave):
            return self.save(session, step, wall)
        if isinstance(step, Announce):
            for name in self.mail:
                if name != worker:
                    self.tell(name, step.note)
            self.announced = [each for each in self.announced if each[0] != step.topic]
            self.announced.append((step.topic, wall, step.note))
            self.forget_announcements(wall)
            return None
        if isinstance(step, Announcements):
            self.forget_announcements(wall)
            return tuple(note for _, at, note in self.announced if at >= step.since)
        if session is None:
            match step:
                case SessionTouch() | SessionDelete():
                    return False
                case SessionLoad() | SessionCalls():
                    return None
            return NoSession()
        match step:
            case SessionLoad():
                before, session["used"] = session["used"], wall
                session["grade"] = max(session["grade"], 1)
                return structs.replace(session["record"], used=before)
            case SessionCalls():
                others = sum(session["calls"].values()) - session["calls"].get(worker, 0)
                granted = min(step.calls, max(0, step.limit - others))
                session["calls"][worker] = granted
                return granted
            case SessionTouch():
                session["used"] = wall
                session["grade"] = 2
                return True
            case SessionDelete():
                del self.sessions[step.session]
                return True
            case QueuePut():
                return self.put(session, step)
            case StreamBegin():
                return self.begin(session, worker, step, wall)
        assert isinstance(step, StreamAppend | StreamRead | QueueTake | StreamClaim | StreamRelease)
        stream = session["streams"].get(step.stream)
        if stream is None:
            return LogPage(ended=True) if isinstance(step, QueueTake) else None
        if isinstance(step, StreamRead | QueueTake):
            note = Wake(session=step.session, stream=step.stream)
            self.told.pop((worker, type(step), note), None)
        match step:
            case StreamAppend():
                return self.append(session, stream, worker, step, wall)
            case StreamRead():
                return self.read(session, stream, worker, step)
            case QueueTake():
                return self.take(session, stream, worker, step, wall)
            case StreamClaim() if not self.finds_room(session, stream, step):
                return False
            case StreamClaim():
                before, stream["holder"] = stream["holder"], worker
                stream["rank"] = self.rank(session)
                stream["time"] = wall
                if before not in (None, worker):
                    stream["armed"] = False
                    stream["readers"].discard(before)
                    self.tell(before, Moved(session=step.session, stream=step.stream))
            case StreamRelease() if stream["holder"] == worker:
                stream["holder"] = None
                stream["armed"] = False
                stream["readers"].discard(worker)
                stream["time"] = wall
        self.wake_carrier(step.session, session)
        return None

    @staticmethod
    def gets(session: dict[str, Any]) -> int:
        return sum(
            stream["request"] is None and stream["holder"] is not None and not stream["ended"]
            for stream in session["streams"].values()
        )

    def finds_room(
        self, session: dict[str, Any], stream: dict[str, Any], step: StreamClaim
    ) -> bool:
        counted = stream["request"] is None and not stream["ended"] and stream["holder"] is None
        return not (counted and step.limit and self.gets(session) >= step.limit)

    def forget_announcements(self, wall: float) -> None:
        while self.announced and (
            len(self.announced) > SETTINGS.announcements
            or sum(len(note) for _, _, note in self.announced) > SETTINGS.queue_bytes
            or wall >= self.announced[0][1] + SETTINGS.idle
        ):
            self.announced.pop(0)

    def shown(self, id: str) -> StoredTask:
        task = self.tasks[id]
        gone = task["worker"] not in self.expires
        return StoredTask(
            number=task["number"], worker=task["worker"], gone=gone, task=task["text"]
        )

    def save_task(self, worker: str, step: TaskSave) -> bool | None:
        known = self.tasks.get(step.id)
        if step.new == (known is not None) or (known is not None and known["ended"]):
            return False
        others = [each["text"] for id, each in self.tasks.items() if id != step.id]
        size = sum(map(len, others)) + len(step.task)
        grown = len(step.task) - len(known["text"] if known else b"")
        if size > SETTINGS.task_bytes and not (step.ended and grown <= TASK_END):
            return None
        if known is None:
            own = [each for each in self.tasks.values() if each["owner"] == step.owner]
            full = step.owner is not None and len(own) >= SETTINGS.tasks_per_owner
            if full or len(self.tasks) >= SETTINGS.tasks:
                return None
            self.numbers += 1
            known = {"number": self.numbers, "owner": step.owner, "worker": worker}
            known["followers"] = set()
            self.tasks[step.id] = known
        for follower in known["followers"]:
            self.tell(follower, TaskChanged(session="", task=step.id))
        known["followers"].clear()
        known.update(ended=step.ended, expires=step.expires, text=step.task)
        return True

    def save(self, session: dict[str, Any] | None, step: SessionSave, wall: float) -> Any:
        if session is not None:
            session["used"] = wall
            session["grade"] = max(session["grade"], 1)
            if step.record.version <= session["record"].version:
                return session["record"]
            session["record"] = step.record
        elif step.record.version > 1:
            return False
        else:
            if self.late:
                self.made[step.session] = step.record.owner
            else:
                self.make_room(step.record.owner, wall)
            self.sessions[step.session] = {
                "owner": step.record.owner,
                "record": step.record,
                "used": None,
                "grade": 0,
                "streams": {},
                "events": [],
                "queue": [],
                "once": [],
                "rank": 0,
                "calls": {},
            }
        return None

    def make_room(self, owner: str, wall: float) -> None:
        own = [
            name
            for name, session in self.sessions.items()
            if session["owner"] == owner and name not in self.made
        ]
        if len(own) >= SETTINGS.sessions_per_client:
            first = min(own, key=self.place)
            while self.busy(self.sessions[first]):
                self.sessions[first].update(grade=2, used=wall)
                first = min(own, key=self.place)
            del self.sessions[first]
            for worker in self.mail:
                self.tell(worker, Ended(session=first, reason="it made room for others"))

    def place(self, name: str) -> tuple[int, float]:
        """Fresh ones are in the order in which they were made."""
        session = self.sessions[name]
        return session["grade"], session["used"] if session["grade"] else 0.0

    def busy(self, session: dict[str, Any]) -> bool:
        working = not all(self.idle(stream) for stream in session["streams"].values())
        return working or any(session["calls"].values())

    def begin(self, session: dict[str, Any], worker: str, step: StreamBegin, wall: float) -> Any:
        streams = session["streams"]
        if step.stream in streams:
            return StoreFailure("a stream with this number exists")
        if step.request is None and step.limit and self.gets(session) >= step.limit:
            return False
        if len(streams) >= SETTINGS.streams:
            idle = [number for number, stream in streams.items() if self.idle(stream)]
            if not idle:
                return StoreFailure("the session has too many streams")
            forgotten = streams.pop(idle[0])
            session["events"] = [
                event for event in session["events"] if event["stream"] is not forgotten
            ]
        streams[step.stream] = {
            "request": step.request,
            "writer": worker,
            "holder": worker,
            "rank": self.rank(session),
            "time": wall,
            "last": 0,
            "ended": False,
            "orphaned": False,
            "armed": False,
            "readers": set(),
        }
        return None

    def append(
        self, session: dict[str, Any], stream: dict[str, Any], worker: str, step: StreamAppend,
        wall: float,
    ) -> int | None:  # fmt: skip
        if stream["ended"]:
            return None
        if step.data or not step.ends:
            self.keep(session, stream, step.data, wall)
        stream["time"] = wall
        stream["ended"] = step.ends
        if worker == stream["writer"]:
            stream["orphaned"] = False
        self.wake_readers(step.session, step.stream, stream)
        self.wake_carrier(step.session, session)
        last: int = stream["last"]
        return last

    def read(
        self, session: dict[str, Any], stream: dict[str, Any], worker: str, step: StreamRead
    ) -> LogPage:
        entries: list[tuple[int, bytes]] = []
        for event in session["events"]:
            if event["stream"] is stream and event["place"] > step.after:
                if (
                    entries
                    and sum(len(data) for _, data in entries) + len(event["data"]) > step.limit
                ):
                    break
                entries.append((event["place"], event["data"]))
        if step.after >= stream["last"] and not stream["ended"] and not stream["orphaned"]:
            stream["readers"].add(worker)
        else:
            stream["readers"].discard(worker)
        return self.page(session, stream, entries)

    def put(self, session: dict[str, Any], step: QueuePut) -> bool:
        if step.once is not None and step.once in session["once"]:
            return False
        queue = session["queue"]

        def fits(messages: list[bytes]) -> bool:
            return (
                len(messages) < SETTINGS.events
                and sum(map(len, messages)) + len(step.data) <= SETTINGS.queue_bytes
            )

        if not fits([data for data in queue if b'"id"' in data]):
            return False
        while not fits(queue):
            queue.remove(next(data for data in queue if b'"id"' not in data))
        queue.append(step.data)
        if step.once is not None:
            session["once"] = [*session["once"], step.once][-SETTINGS.once :]
        self.wake_carrier(step.session, session)
        return True

    def take(
        self, session: dict[str, Any], stream: dict[str, Any], worker: str, step: QueueTake,
        wall: float,
    ) -> LogPage:  # fmt: skip
        if stream["holder"] != worker or stream["ended"] or stream["request"] is not None:
            return self.page(session, stream, [])
        entries: list[tuple[int, bytes]] = []
        size = 0
        if self.carrier(session) == step.stream:
            while session["queue"] and (
                not entries or size + len(session["queue"][0]) <= step.limit
            ):
                data = session["queue"].pop(0)
                size += len(data)
                entries.append((self.keep(session, stream, data, wall), data))
        stream["armed"] = not entries
        if entries:
            stream["time"] = wall
            self.wake_readers(step.session, step.stream, stream)
        return self.page(session, stream, entries)


# Mostly what finds something to do: a session that is there, a few streams.
session_ids = st.sampled_from("rrrrrrs")
numbers = st.sampled_from([1, 2, 3, 1, 2, 3, 4, 5])
limits = st.sampled_from([1000, 20, 0])
texts = st.sampled_from([b"x", b"yy" * 9, b"z" * 70, b""])
endings = st.sampled_from([False] * 5 + [True])
messages = st.sampled_from([b"{}", b'{"id":1}', b'{"x":"yyyyyyyyyyyyy"}', b'{"id":"zzzzzzzz"}'])


def some(kind: type[Step], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(kind, token=st.just(1), session=session_ids, **parts)


saves = st.builds(
    lambda session, version, level: SessionSave(
        token=1, session=session, record=record(session, version, 0.0, level)
    ),
    session_ids,
    st.integers(1, 3),
    st.sampled_from([None, "info", "debug"]),
)
loads = some(SessionLoad) | some(SessionTouch)
room = st.sampled_from([0, 0, 1, 2])
begins = some(StreamBegin, stream=numbers, request=st.sampled_from([None, b"7"]), limit=room)
appends = some(
    StreamAppend,
    stream=numbers,
    data=texts,
    ends=endings,
)
reads = some(StreamRead, stream=numbers, after=st.integers(0, 4), limit=limits)
puts = some(
    QueuePut,
    data=messages,
    once=st.sampled_from([None, None, None, "1", "2", "3", "4", "5"]),
)
takes = some(QueueTake, stream=numbers, limit=limits)
claims = some(StreamClaim, stream=numbers, limit=room)
running = some(SessionCalls, calls=st.integers(0, 6), limit=st.sampled_from([5, 5, 5, 3]))
announcing = st.builds(
    Announce,
    token=st.just(1),
    session=st.just(""),
    note=st.binary(min_size=1, max_size=3) | st.just(b"n" * 21),
    topic=st.sampled_from("wxyz"),
)
announced = st.builds(
    Announcements,
    token=st.just(1),
    session=st.just(""),
    since=st.sampled_from([0.0, 1000.0, 1020.0, 1050.0]),
)
releases = some(StreamRelease, stream=numbers)
posts = st.builds(
    Post,
    token=st.just(1),
    session=st.just(""),
    to=st.sampled_from([None, *WORKERS]),
    note=st.binary(min_size=1, max_size=3),
)
task_names = st.sampled_from("tuvw")
saved_tasks = st.builds(
    TaskSave,
    token=st.just(1),
    session=st.just(""),
    id=task_names,
    owner=st.sampled_from(["ann", "ann", "bob", None]),
    task=texts,
    ended=st.sampled_from([False, False, True]),
    expires=st.sampled_from([1.0, 10.0, 100.0, float("inf")]),
    new=st.booleans(),
)
loaded_tasks = st.builds(
    TaskLoad, token=st.just(1), session=st.just(""), id=task_names, follow=st.booleans()
)
listed_tasks = st.builds(
    TaskList,
    token=st.just(1),
    session=st.just(""),
    owner=st.just("ann"),
    after=st.integers(0, 3),
    limit=st.integers(1, 3),
)
tasks = saved_tasks | loaded_tasks | listed_tasks
everything = saves | loads | begins | appends | reads | puts | takes | claims | releases | posts
everything |= running | announcing | announced
workers = st.sampled_from(WORKERS)


class Beside(RuleBasedStateMachine):
    """A store and the model do the same."""

    house: Theatre

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stage = self.stack.enter_context(self.house.stage(SETTINGS))
        self.model = Model(late=self.house.kind == "redis")

    def teardown(self) -> None:
        with self.stack:
            for worker in WORKERS:
                self.receive_at(worker)

    @initialize(unused=st.booleans())
    def open(self, unused: bool) -> None:
        for session in "rs":
            self.commit("a", [SessionSave(token=1, session=session, record=record(session))])
            if not unused:
                self.commit("a", [SessionTouch(token=1, session=session)])
        self.commit("a", [StreamBegin(token=1, session="r", stream=1)])
        self.commit("b", [StreamBegin(token=1, session="r", stream=2, request=b"7")])

    def commit(self, worker: str, batch: list[Step]) -> None:
        stage = self.stage
        stage.wall += 0.01
        self.model.here(worker, stage.now)
        self.model.look(stage.wall)
        batch = [self.dated(step, place) for place, step in enumerate(batch)]
        wanted = self.model.commit(worker, batch, stage.wall)
        assert stage.commit(worker, *batch) == wanted
        self.receive_at(worker)

    # What is likely to find something to do, as the model knows.

    def drawn(self, data: st.DataObject, wanted: str) -> tuple[int, str, int]:
        """A stream that serves, one of its workers and its last position; any if there is none."""
        self.model.look(self.stage.wall)
        found = self.model.sessions.get("r", {"streams": {}})["streams"]
        fitting = [
            (number, stream["holder"] or stream["writer"], stream["last"])
            for number, stream in sorted(found.items())
            if not stream["ended"] and (wanted == "any" or (stream["request"] is None))
        ]
        carrier = self.model.carrier(self.model.sessions["r"]) if found else None
        fitting += [each for each in fitting if each[0] == carrier] * 2
        drawn: tuple[int, str, int] = data.draw(st.sampled_from(fitting or [(1, "a", 0)]))
        return drawn

    @rule(data=st.data(), text=texts, ends=endings)
    def append(self, data: st.DataObject, text: bytes, ends: bool) -> None:
        number, worker, _ = self.drawn(data, "any")
        step = StreamAppend(token=1, session="r", stream=number, data=text, ends=ends)
        self.commit(worker, [step])

    @rule(data=st.data(), worker=workers, limit=limits, back=st.sampled_from([0, 0, 1, 2]))
    def read(self, data: st.DataObject, worker: str, limit: int, back: int) -> None:
        number, _, last = self.drawn(data, "any")
        after = max(0, last - back)
        step = StreamRead(token=1, session="r", stream=number, after=after, limit=limit)
        self.commit(worker, [step])

    @rule(data=st.data(), limit=limits, text=messages)
    def take(self, data: st.DataObject, limit: int, text: bytes) -> None:
        number, worker, _ = self.drawn(data, "get")
        step = QueueTake(token=1, session="r", stream=number, limit=limit)
        self.commit(worker, [step])
        self.commit("b", [QueuePut(token=1, session="r", data=text)])

    @rule(data=st.data(), worker=workers, releases=st.booleans(), limit=room)
    def connect(self, data: st.DataObject, worker: str, releases: bool, limit: int) -> None:
        number, holder, _ = self.drawn(data, "any")
        if releases:
            self.commit(holder, [StreamRelease(token=1, session="r", stream=number)])
        else:
            self.commit(worker, [StreamClaim(token=1, session="r", stream=number, limit=limit)])

    @rule(worker=workers, step=begins)
    def begin(self, worker: str, step: Step) -> None:
        self.commit(worker, [step])

    @rule(worker=workers, steps=st.lists(running | announcing | announced, max_size=3))
    def count(self, worker: str, steps: list[Step]) -> None:
        self.commit(worker, steps)

    @rule(worker=workers, steps=st.lists(tasks, min_size=1, max_size=3))
    def task(self, worker: str, steps: list[Step]) -> None:
        self.commit(worker, steps)

    @rule(worker=workers, step=puts)
    def put(self, worker: str, step: Step) -> None:
        self.commit(worker, [step])

    @rule(
        worker=workers,
        made=st.lists(st.sampled_from("svwxyz"), max_size=4, unique=True),
        used=st.sampled_from("svwxyz"),
        places=st.sets(st.integers(0, 4), max_size=2),
    )
    def crowd(self, worker: str, made: list[str], used: str, places: set[int]) -> None:
        """One owner with more sessions than its share."""
        # to save one that is there is a use, and which of two uses in a batch is the last is open
        self.model.look(self.stage.wall + 0.01)
        new = [each for each in made if each == used or each not in self.model.sessions]
        # that one first: had it made room by then, it would be made anew and be older than others
        new.sort(key=lambda each: each not in self.model.sessions)
        batch: list[Step] = [
            SessionSave(token=1, session=session, record=record(session)) for session in new
        ]
        if "s" in self.model.sessions and self.model.busy(self.model.sessions["s"]):
            # it counts as used now, should another go for it: nor is it open which is the last
            places = set()
        for place in sorted(places):
            batch.insert(place, SessionTouch(token=1, session=used))
        self.commit(worker, batch)

    @rule(worker=workers, begins=st.booleans(), get=st.booleans())
    def work(self, worker: str, begins: bool, get: bool) -> None:
        """One of the crowd has something open, or no longer."""
        number, request = (5, None) if get else (6, b"7")
        if begins:
            step: Step = StreamBegin(token=1, session="s", stream=number, request=request)
        elif get:
            step = StreamRelease(token=1, session="s", stream=number)
        else:
            step = StreamAppend(token=1, session="s", stream=number, data=b"x", ends=True)
        self.commit(worker, [step])

    @rule(worker=workers, batch=st.lists(everything, min_size=1, max_size=5))
    def batch(self, worker: str, batch: list[Step]) -> None:
        self.commit(worker, batch)

    def dated(self, step: Step, place: int) -> Step:
        """A record as it would be saved: when a session was made, and by whom, does not change."""
        if isinstance(step, TaskSave):
            return structs.replace(step, expires=self.stage.wall + step.expires)
        if not isinstance(step, SessionSave):
            return step
        known = self.model.sessions.get(step.session)
        made = record(
            step.session,
            step.record.version,
            # one after the other: which of two of the same time is the older is open
            known["record"].created if known else self.stage.wall + place / 1000,
            step.record.log_level,
            "" if step.session == "r" else "crowd",
        )
        return SessionSave(token=1, session=step.session, record=made)

    @rule(worker=workers)
    def receive(self, worker: str) -> None:
        self.receive_at(worker)

    def receive_at(self, worker: str) -> None:
        self.model.here(worker, self.stage.now)
        self.model.look(self.stage.wall)
        found = self.stage.notes(worker)
        wanted, self.model.mail[worker] = self.model.mail[worker], []
        # posted ones in order, the others in any, as far as their stream is still there
        plain = [note for note in found if not note.startswith(b'{"note":')]
        assert plain == [note for note in wanted if isinstance(note, bytes)]
        told = [decoded(note) for note in found if note.startswith(b'{"note":')]
        ended = [note for note in told if isinstance(note, Ended)]
        due = [note for note in wanted if isinstance(note, Ended)]
        if self.house.kind == "redis":  # those that go for one batch are told of in any order
            ended.sort(key=repr)
            due.sort(key=repr)
        assert ended == due
        made = self.living([note for note in told if not isinstance(note, Ended)])
        for note in self.living([note for note in wanted if not isinstance(note, bytes | Ended)]):
            assert note in made
            made.remove(note)
        reminders = self.model.reminders.pop(worker, [])
        if self.house.kind == "redis":
            made = [note for note in made if note not in reminders]
        stale = self.model.stale.get(worker, [])
        for note in made:
            assert note in stale
            stale.remove(note)

    def living(self, notes: list[Any]) -> list[Any]:
        sessions = self.model.sessions
        return [
            note
            for note in notes
            if note.session in sessions and note.stream in sessions[note.session]["streams"]
        ]

    @rule(worker=workers, seconds=st.sampled_from([2, 5, 15]), used=st.sampled_from([1, 1, 0]))
    def later(self, worker: str, seconds: float, used: int) -> None:
        self.stage.wall += seconds
        if used:
            self.commit(worker, [SessionTouch(token=1, session="r")])

    @rule(worker=workers, what=st.sampled_from(["silence"] * 6 + ["leave", "delete"]))
    def meanwhile(self, worker: str, what: str) -> None:
        match what:
            case "silence":  # of one, while the others show that they are there
                for _ in range(2):
                    self.stage.now += 6
                    for other in WORKERS:
                        if other != worker:
                            self.commit(other, [])
            case "leave":
                self.model.leave(worker)
                self.stage.owners[worker].leave(worker)
            case "delete":
                self.commit(worker, [SessionDelete(token=1, session="r")])
                self.commit(worker, [SessionSave(token=1, session="r", record=record("r"))])


@pytest.fixture(params=KINDS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(request.param, tmp_path) as made:
        yield made


@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.long)])
def test_store_and_model_agree(house: Theatre, share: int) -> None:
    machine = type("Machine", (Beside,), {"house": house})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES[house.kind] // share,
            stateful_step_count=60,
            deadline=None,
            # Shrinking a history of a Redis or a file takes minutes; it is printed as it was found.
            phases=[phase for phase in Phase if phase is not Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
