"""What every store promises, as tables of histories: one suite for memory, SQLite and Redis."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct, structs

from mcpcore.errors import StoreUnavailableError
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
    SessionRecord,
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
from mcpcore_transports.stores.base import StoreSettings
from tests.clock import PATIENCE
from tests.transports.stores.store_stage import (
    KINDS,
    WORKERS,
    Stage,
    Theatre,
    decoded,
    record,
    theatre,
)

SETTINGS = StoreSettings(
    events=4,
    event_bytes=100,
    age=300,
    streams=3,
    queue_bytes=40,
    once=2,
    sessions=3,
    sessions_per_client=2,
    unused=60,
    idle=1800,
    absolute=86400,
    lease=10,
    renew=0,
    mailbox=5,
    announcements=3,
    proofs=3,
    proofs_per_principal=2,
    tasks=3,
    tasks_per_owner=2,
    task_bytes=100,
)
GONE = NoSession()


@pytest.fixture(params=KINDS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def stage(house: Theatre) -> Iterator[Stage]:
    with house.stage(SETTINGS) as made:
        yield made


# A history is a list of what is done and what is to come of it.


class Notes(Struct):
    """Worker ``worker`` finds exactly these notes."""

    worker: str
    notes: tuple[Any, ...] = ()


class Later(Struct):
    """So many seconds pass on the wall clock."""

    seconds: float


class Silence(Struct):
    """So many seconds pass in which only ``but`` show that they are there."""

    seconds: float
    but: str = ""


class Leaves(Struct):
    worker: str


class Do(Struct):
    """A worker commits a step, with this outcome."""

    worker: str
    step: Step
    outcome: Any = None


def page(*data: bytes, first: int = 1, **more: Any) -> LogPage:
    entries = tuple(enumerate(data, first))
    more.setdefault("last", entries[-1][0] if entries else 0)
    more.setdefault("version", 1)
    return LogPage(entries=entries, **more)


def save(**more: Any) -> SessionSave:
    made = record(**more)
    return SessionSave(token=1, session=made.id, record=made)


def load(session: str = "s") -> SessionLoad:
    return SessionLoad(token=1, session=session)


def touch(session: str = "s") -> SessionTouch:
    return SessionTouch(token=1, session=session)


def delete(session: str = "s") -> SessionDelete:
    return SessionDelete(token=1, session=session)


def begin(
    stream: int, request: bytes | None = b"7", session: str = "s", limit: int = 0
) -> StreamBegin:
    return StreamBegin(token=1, session=session, stream=stream, request=request, limit=limit)


def append(stream: int, data: bytes, *, ends: bool = False, session: str = "s") -> StreamAppend:
    return StreamAppend(token=1, session=session, stream=stream, data=data, ends=ends)


def read(stream: int, after: int = 0, limit: int = 1000, session: str = "s") -> StreamRead:
    return StreamRead(token=1, session=session, stream=stream, after=after, limit=limit)


def put(data: bytes, once: str | None = None, session: str = "s") -> QueuePut:
    return QueuePut(token=1, session=session, data=data, once=once)


def take(stream: int, limit: int = 1000, session: str = "s") -> QueueTake:
    return QueueTake(token=1, session=session, stream=stream, limit=limit)


def claim(stream: int, session: str = "s", limit: int = 0) -> StreamClaim:
    return StreamClaim(token=1, session=session, stream=stream, limit=limit)


def calls(count: int, session: str = "s", limit: int = 10) -> SessionCalls:
    return SessionCalls(token=1, session=session, calls=count, limit=limit)


def touches(worker: str, **alive: bool) -> list[Do]:
    """Use sessions that are there, or are not."""
    return [Do(worker, touch(session), there) for session, there in alive.items()]


def appends(worker: str, stream: int, *data: bytes, first: int = 1) -> list[Do]:
    """Add to a stream one after the other, from this place on."""
    return [Do(worker, append(stream, each), place) for place, each in enumerate(data, first)]


def puts(worker: str, *data: bytes) -> list[Do]:
    """Queue what has room."""
    return [Do(worker, put(each), True) for each in data]


def announce(note: bytes, topic: str) -> Announce:
    return Announce(token=1, session="", note=note, topic=topic)


def announced(since: float) -> Announcements:
    return Announcements(token=1, session="", since=since)


def release(stream: int, session: str = "s") -> StreamRelease:
    return StreamRelease(token=1, session=session, stream=stream)


def post(to: str | None, note: bytes) -> Post:
    return Post(token=1, session="", to=to, note=note)


def woken(stream: int) -> Wake:
    return Wake(session="s", stream=stream)


def evicted(session: str) -> Ended:
    return Ended(session=session, reason="it made room for others")


def let_go(stream: int) -> Moved:
    return Moved(session="s", stream=stream)


BIG = (1 << 59) - 1
N, R = b'{"method":"n"}', b'{"id":1,"method":"r"}'
NEW = Do("a", save())
REQUEST = Do("a", begin(1))
"""Stream 1 answers a request that worker a runs ..."""
GET = Do("a", begin(5, None))
"""... and stream 5 belongs to none."""
OPEN = page(request=b"7")
Moment = Notes | Later | Silence | Leaves | Do

HISTORIES: dict[str, list[Moment]] = {
    # sessions
    "a session is found by every worker": [NEW, Do("b", load(), record()), Do("c", touch(), True)],
    "nobody knows a session that was never made": [
        Do("a", load(), None),
        Do("a", touch(), False),
        Do("a", delete(), False),
    ],
    "a newer record replaces, an older one does not": [
        NEW,
        Do("b", save(version=3, level="info")),
        Do("a", save(version=2, level="debug"), record(version=3, level="info")),
        Do("a", load(), record(version=3, level="info", used=1000)),
    ],
    "of two records of one version the earlier stays": [
        NEW,
        Do("a", save(version=2, level="info")),
        Do("b", save(version=2, level="debug"), record(version=2, level="info")),
        Do("a", load(), record(version=2, level="info", used=1000)),
        Do("b", save(version=3, level="debug")),
        Do("a", load(), record(version=3, level="debug", used=1000)),
    ],
    "a change does not bring a session back": [
        NEW,
        Do("a", delete(), True),
        Do("b", save(version=2), False),
        Do("b", load(), None),
    ],
    "with a session all goes that it had": [
        NEW,
        REQUEST,
        GET,
        Do("a", append(1, b"x"), 1),
        Do("a", put(N, once="1"), True),
        Do("b", delete(), True),
        Do("b", delete(), False),
        Do("a", append(1, b"y"), GONE),
        Do("a", read(1), GONE),
        Do("a", take(5), GONE),
        Do("a", put(N), GONE),
        Do("a", begin(2), GONE),
        Do("a", claim(5), GONE),
        Do("a", release(5), GONE),
        NEW,
        Do("a", read(1), None),
        Do("a", begin(1)),
        Do("a", read(1), OPEN),
        Do("a", put(N, once="1"), True),
    ],
    "an unused session ends early": [
        NEW,
        Later(59.9),
        Do("a", begin(1)),
        Later(0.1),
        Do("b", load()),
    ],
    "a used one later": [
        NEW,
        Later(59),
        Do("a", touch(), True),
        Later(1799),
        Do("a", load(), record(used=1059)),
        Later(1799),
        Do("a", save(version=2)),
        Later(1800),
        Do("a", touch(), False),
    ],
    "a session lives as long if its worker's clock is behind, as the machine has slept": [
        Later(100_000),
        NEW,
        Later(59),
        Do("a", save(version=2)),
        Do("b", load(), record(version=2, used=101_059)),
        Later(1799),
        Do("a", save(version=3)),
        Do("b", save(session="t", owner="t", created=102_858)),
        Do("b", save(session="u", owner="u", created=102_858)),
        Do("b", save(session="v", owner="v", created=102_858)),
        *touches("b", t=False, s=True),
    ],
    "no session outlives the day": [
        NEW,
        *[moment for _ in range(86) for moment in (Do("a", touch(), True), Later(1000))],
        Do("a", touch(), True),
        Later(400),
        Do("a", touch(), False),
    ],
    "too many sessions: the unused go first, then those not used for long": [
        NEW,
        Do("a", touch(), True),
        Later(1),
        Do("a", save(session="t", owner="t", created=1001)),
        Do("a", save(session="u", owner="u", created=1001)),
        Later(1),
        Do("a", touch("u"), True),
        Do("b", save(session="v", owner="v", created=1002)),
        *touches("b", t=False, v=True),
        Later(1),
        Do("a", touch(), True),
        Do("b", save(session="w", owner="w", created=1003)),
        *touches("b", w=True, u=False, v=True, s=True),
    ],
    "the share of an owner: its own go, never used ones first, then those not used for long": [
        *[Do("a", save(session=each, owner="evil")) for each in "xy"],
        Do("b", save(session="z", owner="good")),
        Do("b", touch("x"), True),
        Later(1),
        Do("b", save(session="w", owner="evil", created=1001)),
        *touches("a", y=False, w=True),
        Later(1),
        Do("a", touch("x"), True),
        Do("a", save(session="v", owner="evil", created=1002)),
        *touches("b", w=False, x=True, v=True),
        Do("a", touch("z"), True),
    ],
    "a deleted session, or one that is over, takes no share": [
        *[Do("a", save(session=each, owner="evil")) for each in "xy"],
        Do("a", touch("x"), True),
        Do("b", delete("y"), True),
        Do("b", save(session="y", owner="evil")),
        Later(60),
        Do("a", save(session="z", owner="evil", created=1060)),
        *touches("b", x=True, y=False, z=True),
        Later(1800),
        Do("b", touch("x"), False),
        Do("a", save(session="y", owner="evil", created=2860)),
        Do("a", save(session="x", owner="evil", created=2860)),
        *touches("b", y=True, x=True),
    ],
    "a page tells the version of the record of its time": [
        NEW,
        Do("a", begin(1, request=None)),
        Do("b", put(b"x"), True),
        Do("b", save(version=2)),
        Do("a", take(1), page(b"x", version=2)),
        Do("b", save(version=3)),
        Do("a", read(1), page(b"x", version=3)),
        Do("a", take(1), page(last=1, version=3)),
    ],
    "a session whose handshake is complete outlives a flood of others that are not": [
        NEW,
        Do("b", save(version=2)),
        *[Do("a", save(session=f"f{each}")) for each in range(9)],
        Do("a", touch(), True),
    ],
    "a session that was used outlives handshakes, one that was not does not": [
        NEW,
        Do("a", touch(), True),
        Do("a", save(session="t")),
        Do("a", save(session="t", version=2)),
        *[
            moment
            for each in range(1, 9)
            for moment in (
                Later(1),
                Do("a", save(session=f"f{each}", created=1000 + each)),
                Do("b", load(f"f{each}"), record(f"f{each}", created=1000 + each)),
                Do("a", save(session=f"f{each}", version=2, created=1000 + each)),
            )
        ],
        *touches("a", t=False, f7=False, f8=True, s=True),
    ],
    "whoever is sent away is told of to all workers": [
        *[Notes(each) for each in "abc"],
        Do("a", save(session="x")),
        Do("a", save(session="y", created=1001)),
        Do("b", save(session="z", created=1002)),
        *[Notes(each, (evicted("x"),)) for each in "abc"],
        Do("b", delete("z"), True),
        *[Notes(each) for each in "abc"],
    ],
    **{
        f"a session with {what} outlives those that were used later": [
            NEW,
            Do("a", touch(), True),
            Do("a", work),
            *[
                moment
                for each in range(1, 9)
                for moment in (
                    Later(1),
                    Do("b", save(session=f"f{each}", created=1000 + each)),
                    Do("b", touch(f"f{each}"), True),
                )
            ],
            *touches("b", f7=False, f8=True),
            rest,
            Later(1),
            Do("b", touch("f8"), True),
            Do("b", save(session="g", created=1009)),
            *touches("b", s=False, g=True),
        ]
        for what, work, rest in (
            ("an open GET stream", begin(5, None), Do("a", release(5))),
            ("a running request", begin(1), Do("a", append(1, b"x", ends=True), 1)),
        )
    },
    "one with requests outlives those that were used later": [
        NEW,
        Do("a", calls(2), 2),
        Do("b", save(session="x")),
        Do("b", touch("x"), True),
        Do("b", save(session="y")),
        *touches("b", x=False, y=True),
        Do("a", calls(0), 0),
        Later(1),
        Do("b", touch("y"), True),
        Do("b", save(session="z", created=1001)),
        Do("b", touch(), False),
    ],
    "where all are at work one goes nevertheless": [
        *[Do("a", save(session=each)) for each in "xy"],
        *[Do("a", begin(1, session=each)) for each in "xy"],
        Do("a", save(session="z")),
        Do("a", touch("z"), True),
        Do("a", save(session="s")),
        *touches("a", s=True, z=False),
    ],
    # streams
    "positions count from one and are read from anywhere": [
        NEW,
        REQUEST,
        *appends("a", 1, b"x", b"y"),
        Do("a", append(1, b"z", ends=True), 3),
        Do("b", read(1), page(b"x", b"y", b"z", ended=True, request=b"7")),
        Do("b", read(1, 1), page(b"y", b"z", first=2, ended=True, request=b"7")),
        Do("b", read(1, 3), page(last=3, ended=True, request=b"7")),
    ],
    "streams do not mix": [
        NEW,
        REQUEST,
        Do("b", begin(BIG, b'"x"')),
        Do("b", begin(BIG - 1, None)),
        Do("a", append(1, b"1"), 1),
        Do("b", append(BIG, b"2"), 1),
        Do("b", append(BIG - 1, b"3"), 1),
        Do("a", read(BIG), page(b"2", request=b'"x"')),
        Do("a", read(BIG - 1), page(b"3")),
    ],
    "any bytes are kept": [
        NEW,
        REQUEST,
        Do("a", append(1, bytes(range(60))), 1),
        Do("a", append(1, b""), 2),
        Do("a", append(1, b'\xff\x00"\r\n'), 3),
        Do("b", read(1), page(bytes(range(60)), b"", b'\xff\x00"\r\n', request=b"7")),
    ],
    "a page holds about so many bytes, and one event at least": [
        NEW,
        REQUEST,
        *appends("a", 1, b"xxx", b"yyy", b"zzz"),
        Do("b", read(1, 0, 6), page(b"xxx", b"yyy", last=3, request=b"7")),
        Do("b", read(1, 0, 5), page(b"xxx", last=3, request=b"7")),
        Do("b", read(1, 1, 0), page(b"yyy", first=2, last=3, request=b"7")),
        Notes("b"),
    ],
    "nothing is added behind the end": [
        NEW,
        REQUEST,
        Do("a", append(1, b"x"), 1),
        Do("a", append(1, b"", ends=True), 1),
        Do("a", append(1, b"y"), None),
        Do("a", append(1, b"", ends=True), None),
        Do("b", read(1), page(b"x", ended=True, request=b"7")),
    ],
    "a stream nobody has begun": [NEW, Do("a", append(1, b"x"), None), Do("a", read(1), None)],
    "a number names one stream": [
        NEW,
        REQUEST,
        Do("b", begin(1, None), StoreFailure("a stream with this number exists")),
    ],
    "the oldest events of a session go first: too many": [
        NEW,
        REQUEST,
        Do("a", begin(2)),
        Do("a", append(1, b"1"), 1),
        Do("a", append(2, b"2"), 1),
        *appends("a", 1, b"3", b"4", b"5", first=2),
        Do("a", read(1), page(b"3", b"4", b"5", first=2, lost=1, request=b"7")),
        Do("a", read(2), page(b"2", request=b"7")),
        Do("a", append(1, b"6"), 5),
        Do("a", read(2), page(last=1, lost=1, request=b"7")),
    ],
    "the oldest events of a session go first: too long": [
        NEW,
        REQUEST,
        *appends("a", 1, b"x" * 40, b"y" * 40, b"z" * 60),
        Do("a", read(1), page(b"y" * 40, b"z" * 60, first=2, lost=1, request=b"7")),
        Do("a", append(1, b"w" * 500), 4),
        Do("a", read(1), page(b"w" * 500, first=4, lost=3, request=b"7")),
    ],
    "the oldest events of a session go first: too old": [
        NEW,
        Do("a", touch(), True),
        REQUEST,
        Do("a", append(1, b"x"), 1),
        Later(299),
        Do("a", append(1, b"y"), 2),
        Do("a", read(1), page(b"x", b"y", request=b"7")),
        Later(1),
        Do("a", read(1), page(b"y", first=2, lost=1, request=b"7")),
        Later(299),
        Do("a", read(1), page(last=2, lost=2, request=b"7")),
        Do("a", append(1, b"z"), 3),
    ],
    "a stream that has ended is forgotten with its last event": [
        NEW,
        Do("a", touch(), True),
        REQUEST,
        Do("a", append(1, b"x", ends=True), 1),
        Later(299),
        Do("b", read(1), page(b"x", ended=True, request=b"7")),
        Later(1),
        Do("b", read(1), None),
    ],
    "too many streams: those go first to which nothing is added": [
        NEW,
        REQUEST,
        GET,
        Do("a", begin(3)),
        Do("a", begin(4), StoreFailure("the session has too many streams")),
        Do("a", append(3, b"", ends=True), 0),
        Do("a", begin(4)),
        Do("a", read(3), None),
        Do("a", release(5)),
        Do("a", begin(6)),
        Do("a", read(5), None),
        Do("a", read(1), OPEN),
    ],
    # wakes
    "a reader that found nothing is woken, once": [
        NEW,
        REQUEST,
        Do("b", claim(1)),
        Notes("a", (let_go(1),)),
        Do("b", read(1), OPEN),
        Notes("b"),
        *appends("a", 1, b"x", b"y"),
        Notes("b", (woken(1),)),
        Do("b", read(1), page(b"x", b"y", request=b"7")),
        Do("a", append(1, b"z"), 3),
        Notes("b"),
    ],
    "whoever reads is woken, however many": [
        NEW,
        REQUEST,
        Do("a", read(1), OPEN),
        Do("b", read(1), OPEN),
        Do("c", read(1), OPEN),
        Do("c", read(1), OPEN),
        Do("a", append(1, b"x"), 1),
        Notes("a", (woken(1),)),
        Notes("b", (woken(1),)),
        Notes("c", (woken(1),)),
    ],
    "a reader learns of the end": [
        NEW,
        REQUEST,
        Do("b", read(1), OPEN),
        Do("a", append(1, b"", ends=True), 0),
        Notes("b", (woken(1),)),
        Do("b", read(1), page(ended=True, request=b"7")),
        Notes("b"),
    ],
    "who has found something is not woken": [
        NEW,
        REQUEST,
        Do("a", append(1, b"x"), 1),
        Do("b", read(1), page(b"x", request=b"7")),
        Do("a", append(1, b"y"), 2),
        Notes("b"),
    ],
    "who was told to let go is not woken": [
        NEW,
        REQUEST,
        Do("b", claim(1)),
        Do("b", read(1), OPEN),
        Do("c", claim(1)),
        Do("a", append(1, b"x"), 1),
        Notes("a", (let_go(1),)),
        Notes("b", (let_go(1),)),
        Notes("c"),
    ],
    "claiming again what one has tells nobody": [
        NEW,
        GET,
        Do("a", claim(5)),
        Do("b", claim(9)),
        Notes("a"),
    ],
    # the queue
    "what is queued goes onto the carrier": [
        NEW,
        *puts("a", N, R),
        GET,
        Do("a", take(5), page(N, R)),
        Do("a", take(5), page(last=2)),
        Do("b", read(5), page(N, R)),
        Do("b", put(N), True),
        Notes("a", (woken(5),)),
        Do("a", take(5), page(N, first=3)),
    ],
    "the newest GET stream carries": [
        NEW,
        GET,
        Do("a", take(5), page()),
        Do("b", begin(6, None)),
        Do("b", take(6), page()),
        Do("c", put(N), True),
        Notes("a"),
        Notes("b", (woken(6),)),
        Do("a", take(5), page()),
        Do("b", take(6), page(N)),
    ],
    "the next newest carries once the newest has no connection": [
        NEW,
        GET,
        Do("a", take(5), page()),
        Do("b", begin(6, None)),
        Do("b", put(N), True),
        Do("b", release(6)),
        Notes("a", (woken(5),)),
        Do("a", take(5), page(N)),
        Do("b", read(6), page()),
    ],
    "... or has ended": [
        NEW,
        GET,
        Do("a", take(5), page()),
        Do("b", begin(6, None)),
        Do("b", put(N), True),
        Do("b", append(6, b"", ends=True), 0),
        Notes("a", (woken(5),)),
        Do("b", take(6), page(ended=True)),
    ],
    "a stream that is claimed becomes the newest": [
        NEW,
        GET,
        Do("b", begin(6, None)),
        Do("a", put(N), True),
        Do("a", take(5), page()),
        Do("a", claim(5)),
        Notes("a", (woken(5),)),
        Do("a", take(5), page(N)),
    ],
    "only where the connection is, messages are taken": [
        NEW,
        GET,
        Do("a", take(5), page()),
        Do("b", claim(5)),
        Notes("a", (let_go(5),)),
        Do("b", take(5), page()),
        Do("c", put(N), True),
        Notes("a"),
        Notes("b", (woken(5),)),
        Do("a", take(5), page()),
        Do("a", release(5)),
        Do("b", take(5), page(N)),
    ],
    "nothing is taken onto the stream of a request": [
        NEW,
        REQUEST,
        Do("a", put(N), True),
        Do("a", take(1), OPEN),
        Notes("a"),
    ],
    "who takes nothing is woken once": [
        NEW,
        GET,
        Do("a", take(5), page()),
        *puts("a", N, N),
        Notes("a", (woken(5),)),
        Do("a", take(5, limit=1), page(N)),
        Do("a", put(N), True),
        Notes("a"),
        Do("a", take(5), page(N, N, first=2)),
    ],
    "who reads a GET stream elsewhere learns what was taken": [
        NEW,
        GET,
        Do("b", read(5), page()),
        Do("a", put(N), True),
        Do("a", take(5), page(N)),
        Notes("b", (woken(5),)),
    ],
    "an announcement arrives once": [
        NEW,
        GET,
        Do("a", put(N, once="1"), True),
        Do("b", put(N, once="1"), False),
        Do("a", put(N, once="2"), True),
        Do("a", take(5), page(N, N)),
        Do("c", put(N, once="1"), False),
        Do("c", put(N, once="3"), True),
        Do("c", put(N, once="2"), False),
        Do("c", put(N, once="1"), True),
    ],
    "too much in the queue: notifications go, the oldest first": [
        NEW,
        GET,
        Do("a", put(b'{"method":"1"}'), True),
        Do("a", put(b'{"id":1,"x":2}'), True),
        Do("a", put(b'{"method":"2"}'), True),
        Do("a", take(5), page(b'{"id":1,"x":2}', b'{"method":"2"}')),
    ],
    "a request is refused rather than another dropped": [
        NEW,
        GET,
        Do("a", put(b'{"id":1,"x":1}'), True),
        Do("a", put(b'{"id":2,"x":2}'), True),
        Do("a", put(b'{"id":3,"x":3}'), False),
        Do("a", put(b'{"x":4}'), True),
        Do("a", take(5), page(b'{"id":1,"x":1}', b'{"id":2,"x":2}', b'{"x":4}')),
    ],
    "too many in the queue": [
        NEW,
        GET,
        *[Do("a", put(b"%d" % number), True) for number in range(5)],
        Do("a", put(b'{"id":1}'), True),
        Do("a", take(5), page(b"2", b"3", b"4", b'{"id":1}')),
    ],
    "what found no room may come again": [
        NEW,
        Do("a", put(b"x" * 41, once="1"), False),
        Do("b", put(N, once="1"), True),
        Do("a", put(N, once="1"), False),
    ],
    "what never fits drops nothing": [
        NEW,
        GET,
        Do("a", put(N), True),
        Do("a", put(b"x" * 41), False),
        Do("a", take(5), page(N)),
    ],
    # workers
    "notes arrive in order": [
        *[Do(worker, touch(), False) for worker in WORKERS],
        Do("a", post("b", b"1")),
        Do("a", post(None, b"2")),
        Do("c", post("b", b"3")),
        Do("b", post("b", b"4")),
        Notes("a"),
        Notes("b", (b"1", b"2", b"3", b"4")),
        Notes("c", (b"2",)),
        Notes("b"),
    ],
    "a note to nobody is no mistake": [Do("a", post("nobody", b"1")), Do("a", post(None, b"2"))],
    "a full mailbox refuses": [
        Notes("b"),
        *[Do("a", post("b", b"1")) for _ in range(5)],
        Do("a", post("b", b"2"), StoreFailure("the mailbox of worker b is full")),
        Notes("b", (b"1",) * 5),
        Do("a", post("b", b"2")),
        Notes("b", (b"2",)),
    ],
    "a worker that leaves orphans its streams": [
        NEW,
        REQUEST,
        Do("a", append(1, b"x"), 1),
        Do("b", read(1, 1), page(last=1, request=b"7")),
        Do("b", begin(6)),
        Leaves("a"),
        Notes("b", (woken(1),)),
        Do("b", read(1), page(b"x", orphaned=True, request=b"7")),
        Do("b", read(6), OPEN),
        Do("b", append(1, b"sorry", ends=True), 2),
        Do("c", append(1, b"sorry", ends=True), None),
        Do("c", read(1, 1), page(b"sorry", first=2, ended=True, orphaned=True, request=b"7")),
    ],
    "a worker that has left but writes on, and is silent then, orphans its streams again": [
        NEW,
        REQUEST,
        Leaves("a"),
        Do("a", append(1, b"x"), 1),
        Do("b", read(1, 1), page(last=1, request=b"7")),
        Silence(10, but="b"),
        Notes("b", (woken(1),)),
        Do("b", read(1), page(b"x", orphaned=True, request=b"7")),
    ],
    "a worker of which nothing is heard likewise": [
        NEW,
        REQUEST,
        Do("b", read(1), OPEN),
        Silence(9.9, but="b"),
        Notes("b"),
        Silence(0.1, but="b"),
        Notes("b", (woken(1),)),
        Do("b", read(1), page(orphaned=True, request=b"7")),
    ],
    "a worker that was silent itself misses nobody until all could come back": [
        NEW,
        REQUEST,
        Do("b", read(1), OPEN),
        Silence(10),
        Do("b", read(1), OPEN),
        Silence(9.9, but="b"),
        Notes("b"),
        Silence(0.1, but="b"),
        Notes("b", (woken(1),)),
    ],
    "a stream has a writer as long as that shows itself": [
        NEW,
        REQUEST,
        *[moment for _ in range(5) for moment in (Silence(6, but="b"), Notes("a"))],
        Do("b", read(1), OPEN),
    ],
    "a worker is missed as soon though the clock was set back": [
        NEW,
        REQUEST,
        Silence(-3600, but="b"),
        Silence(12, but="b"),
        Do("b", read(1), page(orphaned=True, request=b"7")),
    ],
    "messages do not wait for a connection at a worker that is gone": [
        NEW,
        GET,
        Do("b", begin(6, None)),
        Do("a", take(5), page()),
        Do("c", put(N), True),
        Silence(10, but="a"),
        Notes("a", (woken(5),)),
        Do("a", take(5), page(N)),
    ],
    "a worker that comes back has lost its connections, and goes on writing": [
        NEW,
        REQUEST,
        GET,
        Do("a", take(5), page()),
        Silence(10, but="b"),
        Do("b", read(1), page(orphaned=True, request=b"7")),
        Do("a", append(1, b"late"), 1),
        Do("a", take(5), page()),
        Do("b", read(1), page(b"late", request=b"7")),
        Do("b", put(N), True),
        Notes("a", (let_go(1), let_go(5))),
    ],
    "who claims a stream of the gone is woken only for what he asked": [
        NEW,
        GET,
        Do("a", take(5), page()),
        Leaves("a"),
        Do("b", claim(5)),
        Do("c", put(N), True),
        Notes("b"),
    ],
    "who has left waits for nothing": [
        NEW,
        REQUEST,
        Do("b", read(1), OPEN),
        Leaves("b"),
        Do("b", touch(), True),
        Do("a", append(1, b"x"), 1),
        Notes("b"),
    ],
    "who waits for a stream that is forgotten is not woken for the next": [
        NEW,
        Do("a", touch(), True),
        GET,
        Do("c", read(5), page()),
        Do("a", release(5)),
        Later(300),
        Do("c", read(5), None),
        Do("a", begin(6)),
        Do("a", append(6, b"x"), 1),
        Notes("c"),
    ],
    "the events of a forgotten stream count no more": [
        NEW,
        REQUEST,
        *appends("a", 1, b"x", b"y"),
        Do("a", append(1, b"z", ends=True), 3),
        Do("a", begin(2)),
        Do("a", begin(3)),
        Do("a", begin(4)),
        Do("a", read(1), None),
        Do("a", append(2, b"", ends=True), 0),
        Do("a", begin(1)),
        *[Do("a", append(1, b"%d" % number), number) for number in (1, 2, 3, 4)],
        Do("a", read(1), page(b"1", b"2", b"3", b"4", request=b"7")),
        Do("a", append(1, b"5"), 5),
        Do("a", read(1), page(b"2", b"3", b"4", b"5", first=2, lost=1, request=b"7")),
    ],
    "the GET streams of a session are counted at all workers": [
        NEW,
        Do("a", begin(5, None, limit=2)),
        Do("b", begin(6, None, limit=2)),
        Do("c", begin(7, None, limit=2), False),
        Do("c", take(7), LogPage(ended=True)),
        Do("c", claim(7, limit=2)),
        Do("a", release(5)),
        Do("c", begin(7, None, limit=2)),
    ],
    "a stream of a request is none of them": [
        NEW,
        Do("a", begin(5, None, limit=1)),
        Do("a", begin(1, limit=1)),
        Do("b", claim(1, limit=1)),
        Notes("a", (let_go(1),)),
    ],
    "a GET stream that moves to another worker counts once": [
        NEW,
        Do("a", begin(5, None, limit=1)),
        Do("b", claim(5, limit=1)),
        Notes("a", (let_go(5),)),
        Do("b", claim(5, limit=1)),
        Do("a", begin(6, None, limit=1), False),
    ],
    "a GET stream that has lost its connection must find room again": [
        NEW,
        Do("a", begin(5, None, limit=1)),
        Do("a", release(5)),
        Do("b", begin(6, None, limit=1)),
        Do("a", claim(5, limit=1), False),
        Do("a", put(N), True),
        Do("b", take(6), page(N)),
        Do("b", append(6, b"", ends=True), 1),
        Do("a", claim(5, limit=1)),
    ],
    "the GET streams of the dead make room": [
        NEW,
        Do("a", begin(5, None, limit=2)),
        Do("a", begin(6, None, limit=2)),
        Do("b", begin(7, None, limit=2), False),
        Silence(10, but="b"),
        Do("b", begin(7, None, limit=2)),
        Do("b", claim(5, limit=2)),
        Do("b", claim(6, limit=2), False),
    ],
    "the requests of a session are counted at all workers": [
        NEW,
        Do("a", calls(6), 6),
        Do("b", calls(6), 4),
        Do("c", calls(1), 0),
        Do("a", calls(8), 6),
        Do("a", calls(2), 2),
        Do("c", calls(9), 4),
        Do("b", calls(0), 0),
        Do("a", calls(3), 3),
        Do("a", calls(20, limit=8), 4),
        Do("a", calls(5, limit=2), 0),
        Do("a", calls(1, "t"), None),
    ],
    "the requests of the dead make room": [
        NEW,
        Do("a", calls(9), 9),
        Do("b", calls(9), 1),
        Silence(10, but="b"),
        Do("b", calls(9), 9),
        Leaves("b"),
        Do("a", calls(10), 10),
    ],
    "a session that is made anew has no requests": [
        NEW,
        Do("a", calls(9), 9),
        Do("a", delete(), True),
        NEW,
        Do("b", calls(10), 10),
    ],
    "what is announced is heard by all others, and kept": [
        Do("b", announced(0), ()),
        Do("c", announced(0), ()),
        Do("a", announce(b"1", "x")),
        Later(5),
        Do("a", announce(b"2", "y")),
        Notes("a"),
        Notes("b", (b"1", b"2")),
        Notes("c", (b"1", b"2")),
        Do("b", announced(1000), (b"1", b"2")),
        Do("a", announced(1001), (b"2",)),
        Do("a", announced(1005), (b"2",)),
        Do("a", announced(1006), ()),
    ],
    "an announcement takes the place of an older one": [
        Do("a", announce(b"1", "x")),
        Do("a", announce(b"2", "y")),
        Later(5),
        Do("b", announce(b"3", "x")),
        Do("b", announced(0), (b"2", b"3")),
        Do("b", announced(1001), (b"3",)),
    ],
    "announcements are bounded in number": [
        *[Do("a", announce(b"%d" % number, f"{number}")) for number in range(5)],
        Do("b", announced(0), (b"2", b"3", b"4")),
    ],
    "announcements are bounded in bytes": [
        Do("a", announce(b"x" * 30, "x")),
        Do("a", announce(b"y" * 10, "y")),
        Do("a", announced(0), (b"x" * 30, b"y" * 10)),
        Do("a", announce(b"z", "z")),
        Do("a", announced(0), (b"y" * 10, b"z")),
        Do("a", announce(b"z" * 41, "z")),
        Do("a", announced(0), ()),
    ],
    "announcements are kept for as long as a session may be idle": [
        Do("a", announce(b"1", "x")),
        Later(900),
        Do("a", announce(b"2", "y")),
        Later(899),
        Do("a", announced(0), (b"1", b"2")),
        Later(1),
        Do("a", announced(0), (b"2",)),
        Later(900),
        Do("a", announced(0), ()),
    ],
    "a GET stream is never orphaned": [
        NEW,
        GET,
        Leaves("a"),
        Do("b", read(5), page()),
        Do("b", claim(5)),
        Do("b", put(N), True),
        Do("b", take(5), page(N)),
    ],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str, stage: Stage) -> None:
    play(stage, HISTORIES[name])


def play(stage: Stage, history: list[Any]) -> None:
    for number, moment in enumerate(history):
        where = f"moment {number}: {moment}"
        match moment:
            case Do():
                assert stage.commit(moment.worker, moment.step) == [moment.outcome], where
            case Notes():
                found = [_plain(note) for note in stage.notes(moment.worker)]
                if not all(isinstance(note, bytes) for note in moment.notes):
                    # those that come of one step come in any order
                    found.sort(key=repr)
                assert tuple(found) == moment.notes, where
            case Later():
                stage.wall += moment.seconds
            case Silence():
                for _ in range(2):
                    stage.now += moment.seconds / 2
                    if moment.but:
                        stage.commit(moment.but)
            case Leaves():
                stage.owners[moment.worker].leave(moment.worker)


def _plain(note: bytes) -> Any:
    return decoded(note) if note.startswith(b"{") else note


def test_a_batch_is_carried_out_in_order(stage: Stage) -> None:
    steps = [
        save(),
        begin(1),
        append(1, b"x"),
        begin(1),
        read(1),
        append(1, b"y", ends=True),
        append(1, b"z"),
        read(1, 1),
        touch("nobody"),
        calls(3, "nobody"),
        announced(0),
        load(),
    ]
    assert stage.commit("a", *steps) == [
        None,
        None,
        1,
        StoreFailure("a stream with this number exists"),
        page(b"x", request=b"7"),
        2,
        None,
        page(b"y", first=2, ended=True, request=b"7"),
        False,
        None,
        (),
        record(),
    ]
    assert stage.commit("a") == []


@pytest.mark.parametrize("limit", ["sessions", "sessions_per_client"])
def test_for_each_that_a_batch_makes_one_goes_and_none_at_work(house: Theatre, limit: str) -> None:
    with house.stage(StoreSettings(**{limit: 3})) as stage:
        assert stage.notes("b") == []
        stage.commit("a", save(), begin(1))
        for other in "xy":
            stage.wall += 1
            stage.commit("a", save(session=other, created=stage.wall))
        stage.wall += 1
        new = [save(session=each, created=stage.wall) for each in ("n1", "n2", "n3")]
        assert stage.commit("a", *new) == [None, None, None]
        assert sorted(map(decoded, stage.notes("b")), key=repr) == [
            evicted(each) for each in ("n1", "x", "y")
        ]
        living = stage.commit("b", *[touch(each) for each in ("s", "x", "y", "n1", "n2", "n3")])
        assert living == [True, False, False, False, True, True]


def test_those_at_work_outlive_what_was_used_by_a_clock_ahead_of_ours(house: Theatre) -> None:
    with house.stage(StoreSettings(sessions=3)) as stage:
        stage.commit("a", save(session="s"), begin(1), save(session="t"), begin(1, session="t"))
        stage.wall += 10
        stage.commit("b", save(session="x", created=stage.wall), touch("x"))
        stage.wall -= 5
        stage.commit("a", save(session="y", created=stage.wall))
        assert stage.commit("a", *[touch(each) for each in "stxy"]) == [True, True, False, True]


def test_where_there_is_one_place_who_comes_last_has_it(house: Theatre) -> None:
    with house.stage(StoreSettings(sessions_per_client=1)) as stage:
        stage.commit("a", save(), begin(1))
        stage.commit("a", save(session="x"), begin(1, session="x"), save(session="y"))
        assert stage.commit("a", *[touch(each) for each in "sxy"]) == [False, False, True]


def test_a_record_comes_back_whole(stage: Stage) -> None:
    whole = SessionRecord(
        id="ümläut \u2028 } {a}:",
        principal="p\x00\ud7ff😀",
        revision="2025-06-18",
        client_info=Raw(b'{"name":"n","version":"1"}'),
        capabilities=Raw(b'{"sampling":{},"x":[1.50,null]}'),
        initialized=True,
        log_level="warning",
        subscriptions=("a://b", "c://d"),
        created=1763600000.123456,
        version=1,
    )
    stage.wall = whole.created
    assert stage.commit("a", SessionSave(token=1, session=whole.id, record=whole)) == [None]
    (found,) = stage.commit("b", load(whole.id))
    assert msgspec.json.encode(found) == msgspec.json.encode(whole)
    # ids that a client makes up find nothing
    for other in ("", "}", "ümläut", "*", "ümläut \u2028 } {a}:s"):
        assert stage.commit("b", load(other)) == [None]


def test_the_secret_is_made_once(stage: Stage) -> None:
    secrets = {stage.owners[worker].secret() for worker in WORKERS}
    assert len(secrets) == 1
    assert len(secrets.pop()) == 32


def test_secrets_are_not_guessed(house: Theatre) -> None:
    with house.stage(SETTINGS) as one, house.stage(SETTINGS) as other:
        assert one.owners["a"].secret() != other.owners["a"].secret()


@pytest.mark.parametrize("worker", ["b", "c"])
def test_a_note_ends_a_wait(stage: Stage, worker: str) -> None:
    store = stage.owners["b"]
    store.receive("b", 0)
    store.receive("c", 0)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.receive, "b", 50)
        stage.commit("a" if worker == "b" else "c", post("b", b"now"))
        assert waiting.result(timeout=PATIENCE) == [b"now"]


def test_leaving_ends_a_wait(stage: Stage) -> None:
    store = stage.owners["b"]
    store.receive("b", 0)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.receive, "b", 50)
        while not wait([waiting], timeout=0.01).done:  # it may not have begun to wait
            store.leave("b")
        assert waiting.result(timeout=PATIENCE) == []


def test_many_threads_at_once(stage: Stage) -> None:
    stage.commit("a", save(), touch())
    per_worker, batch = 60, 6

    def write(worker: str) -> list[object]:
        number = WORKERS.index(worker) + 1
        assert stage.commit(worker, begin(number, b"7")) == [None]
        return [
            outcome
            for start in range(0, per_worker, batch)
            for outcome in stage.commit(
                worker,
                *(append(number, b"%s%d" % (worker.encode(), start + at)) for at in range(batch)),
            )
        ]

    with ThreadPoolExecutor(3) as threads:
        for places in threads.map(write, WORKERS):
            assert places == list(range(1, per_worker + 1))
    kept = {}
    for number in (1, 2, 3):
        (found,) = stage.commit("a", read(number))
        assert isinstance(found, LogPage)
        assert found.last == per_worker
        kept[number] = len(found.entries)
        for place, data in found.entries:
            assert data == b"%s%d" % (WORKERS[number - 1].encode(), place - 1)
    assert sum(kept.values()) == SETTINGS.events


def test_room_is_made_for_several_streams_at_once(house: Theatre) -> None:
    """Else each new one has all of them looked through, which holds up every session."""
    with house.stage(structs.replace(SETTINGS, streams=48)) as stage:
        stage.commit("a", save(), begin(1), *(begin(number, None) for number in range(2, 6)))
        stage.commit("a", *(release(number) for number in range(2, 6)))
        stage.commit("a", *(begin(number) for number in range(6, 50)))
        pages = stage.commit("a", *map(read, range(1, 6)))
        assert [isinstance(each, LogPage) for each in pages] == [True, False, False, False, True]


def test_what_waits_in_all_sessions_together_is_bounded(tmp_path: Path) -> None:
    settings = structs.replace(SETTINGS, total_bytes=100, events=100)
    for kind in ("memory", "sqlite"):  # in Redis `maxmemory` bounds it
        with theatre(kind, tmp_path) as house, house.stage(settings) as stage:
            stage.commit("a", save(), begin(1), save(session="t"), begin(1, session="t"))
            stage.commit("a", append(1, b"x" * 40), append(1, b"y" * 40, session="t"))
            stage.commit("a", append(1, b"z" * 40))
            assert stage.commit("a", read(1), read(1, session="t")) == [
                page(b"z" * 40, first=2, lost=1, request=b"7"),
                page(b"y" * 40, request=b"7"),
            ]


def test_a_proof_is_used_once(stage: Stage) -> None:
    a, b = stage.owners["a"], stage.owners["b"]
    for store, digest, party, until, wall, outcome in [
        (a, b"1", "ann", 1600.0, 1000.0, True),
        (b, b"1", "ann", 1600.0, 1000.0, False),
        (a, b"1", "bob", 1700.0, 1001.0, False),
        (b, b"\x00\xff", "ann", 1601.0, 1001.5, True),
        (a, b"3", "ann", 1602.0, 1001.5, None),  # there is no room for another one of hers
        (a, b"3", "bob", 1602.25, 1002.0, True),
        (b, b"4", "eve", 1603.0, 1003.0, None),  # nor for anybody's, and none is forgotten for it
        (a, b"1", "ann", 1604.0, 1600.0, False),
        (b, b"4", "ann", 2200.0, 1600.5, True),  # the first one is over
        (b, b"5", "ann", 2200.0, 1601.5, True),  # and her second one
        (a, b"6", "ann", 2200.0, 1601.5, None),
        (a, b"3", "bob", 2200.0, 1602.25, False),
        (a, b"3", "bob", 2200.0, 1602.5, True),
    ]:
        found = store.use_once(digest, party=party, until=until, wall=wall)
        assert found is outcome, (digest, wall)


def test_of_many_at_once_one_uses_a_proof(stage: Stage) -> None:
    stores = [stage.owners[worker] for worker in WORKERS] * 4

    def use(store: Any) -> bool | None:
        found: bool | None = store.use_once(b"1", party="ann", until=1600.0, wall=1000.0)
        return found

    with ThreadPoolExecutor(len(stores)) as threads:
        assert sorted(threads.map(use, stores), key=str) == [False] * (len(stores) - 1) + [True]


# Tasks


def task(id: str, text: bytes = b"t", owner: str | None = "ann", **more: Any) -> TaskSave:
    members = {"ended": False, "expires": 1100.0, "new": False, **more}
    return TaskSave(token=1, session="", id=id, owner=owner, task=text, **members)


def look(id: str, **more: Any) -> TaskLoad:
    return TaskLoad(token=1, session="", id=id, **more)


def kept(number: int, text: bytes = b"t", worker: str = "a", *, gone: bool = False) -> StoredTask:
    return StoredTask(number=number, worker=worker, gone=gone, task=text)


def listed(after: int = 0, limit: int = 9, owner: str = "ann") -> TaskList:
    return TaskList(token=1, session="", owner=owner, after=after, limit=limit)


TASKS: dict[str, list[Any]] = {
    "a change is seen by all, the first end is final": [
        Do("b", look("x"), None),
        Do("b", task("x"), False),
        Do("a", task("x", new=True), True),
        Do("a", task("x", new=True), False),
        Do("b", look("x"), kept(1)),
        Do("b", task("x", b"\x00\xff"), True),
        Do("a", look("x"), kept(1, b"\x00\xff")),
        Do("b", task("x", b"over", ended=True), True),
        Do("a", task("x", b"done", ended=True), False),
        Do("a", look("x"), kept(1, b"over")),
    ],
    "tasks are removed when their time has come": [
        Do("a", task("x", new=True, expires=1050.0), True),
        Do("a", task("y", new=True, expires=float("inf")), True),
        Do("a", task("z", new=True), None),
        Do("b", task("x", ended=True, expires=1060.0), True),
        Later(59.0),
        Do("b", look("x"), kept(1)),
        Later(1.5),
        Do("b", look("x"), None),
        Do("b", task("x"), False),
        Do("b", listed(), (kept(2),)),
        Do("a", task("z", new=True), True),
    ],
    "there is room for so many, of all and of one": [
        Do("a", task("x", new=True), True),
        Do("b", task("y", new=True), True),
        Do("b", task("z", new=True), None),
        Do("b", task("z", new=True, owner=None), True),
        Do("b", task("u", new=True, owner="bob"), None),
        Do("b", look("u"), None),
    ],
    "those of an owner are listed in their order": [
        Do("a", task("x", new=True), True),
        Do("b", task("z", new=True, owner=None), True),
        Do("b", task("y", b"u", new=True), True),
        Do("b", listed(), (kept(1), kept(3, b"u", "b"))),
        Do("a", listed(limit=1), (kept(1),)),
        Do("a", listed(after=1), (kept(3, b"u", "b"),)),
        Do("a", listed(owner="bob"), ()),
    ],
    "those who follow a task are told of its next change, once": [
        Do("a", task("x", new=True), True),
        Do("b", look("x"), kept(1)),
        Do("c", look("x", follow=True), kept(1)),
        Do("c", look("x", follow=True), kept(1)),
        Do("c", look("y", follow=True), None),
        Do("a", task("x", 101 * b"x"), None),
        *(Notes(name) for name in WORKERS),
        Do("a", task("x"), True),
        Notes("a"),
        Notes("b"),
        Notes("c", (TaskChanged(session="", task="x"),)),
        Do("a", task("x"), True),
        Notes("c"),
        Do("a", look("x", follow=True), kept(1)),
        Do("c", look("x", follow=True), kept(1)),
        Do("c", task("x", ended=True), True),
        Notes("a", (TaskChanged(session="", task="x"),)),
        Notes("c", (TaskChanged(session="", task="x"),)),
    ],
    "a worker of which nothing is heard is gone, until it is back": [
        Do("a", task("x", new=True), True),
        Silence(11.0, but="b"),
        Do("b", look("x"), kept(1, gone=True)),
        Do("b", listed(), (kept(1, gone=True),)),
        Do("a", look("x"), kept(1)),
        Leaves("a"),
        Do("b", look("x"), kept(1, gone=True)),
        Do("b", task("x", b"lost", ended=True), True),
        Do("a", task("x", b"done", ended=True), False),
    ],
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks(stage: Stage, name: str) -> None:
    play(stage, TASKS[name])


def test_the_bytes_of_tasks_are_bounded(stage: Stage) -> None:
    long = 60 * b"x"
    steps = [
        task("x", long, new=True),
        task("y", long, new=True),
        task("y", 40 * b"y", new=True),
        task("x", long + b"x"),
        task("x", b"", ended=True),
        task("y", 100 * b"y"),
        task("y", 1124 * b"y", ended=True),
    ]
    assert stage.commit("a", *steps) == [True, None, True, None, True, True, True]
    assert stage.commit("a", task("z", new=True)) == [None]
    stage.wall += 101.0  # those go, and their bytes with them
    more: dict[str, Any] = {"new": True, "expires": 1300.0}
    steps = [task("z", 100 * b"z", **more), task("u", **more)]
    assert stage.commit("a", *steps) == [True, None]


def test_a_list_of_long_tasks_is_a_short_one(house: Theatre) -> None:
    """Else a few small requests have hundreds of megabytes of results read at once."""
    with house.stage(StoreSettings()) as stage:
        half, whole = 600_000 * b"x", 2_000_000 * b"x"
        texts = [half, half, b"t", whole]
        steps = [task(f"{at}", text, new=True) for at, text in enumerate(texts)]
        assert stage.commit("a", *steps) == [True] * 4
        pages = stage.commit("b", listed(), listed(after=1), listed(after=3), listed(after=4))
        assert pages == [
            (kept(1, half),),
            (kept(2, half), kept(3)),
            (kept(4, whole),),
            (),
        ]


def test_a_closed_store_says_so(stage: Stage) -> None:
    stage.commit("a", save())
    stage.close()
    (outcome,) = stage.commit("a", load())
    assert isinstance(outcome, StoreFailure)
    assert "closed" in outcome.reason
    with pytest.raises(StoreUnavailableError, match="closed"):
        stage.notes("a")
    with pytest.raises(StoreUnavailableError, match="closed"):
        stage.owners["a"].use_once(b"1", party="ann", until=1600.0, wall=1000.0)
