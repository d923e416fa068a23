"""Bugs of a store, and of those who share it: what stays there, and what is never free again."""

from typing import Any

from msgspec import structs

from mcpcore.http.server.server import HttpServer
from mcpcore.http.server.stored.replica import Quota, SessionQueue, SessionReplica
from mcpcore.http.server.stored.sessions import NoteQueue
from mcpcore.http.server.stored.streams import StreamWriter
from mcpcore.http.storing import LogPage
from mcpcore_transports.stores import base
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.simulation.mutations.model import Mutation, wrapped


def _rows_stay() -> None:
    """What was announced in a session once is known to the store for ever."""

    def make(remove: Any) -> Any:
        def mutant(self: Any, session: int) -> None:
            remove(self, session)
            self._run("INSERT INTO once (session, name) VALUES (?, '')", session)

        return mutant

    wrapped(MemoryStore, "_remove", make)


def _unlimited(*methods: str, **limits: float) -> None:
    """Let methods of the store work with other limits."""

    def make(method: Any) -> Any:
        def mutant(self: Any, *values: Any) -> Any:
            kept = self.settings
            self.settings = structs.replace(kept, **limits)
            try:
                return method(self, *values)
            finally:
                self.settings = kept

        return mutant

    for name in methods:
        wrapped(MemoryStore, name, make)


def _queue_unbounded() -> None:
    """The queue of a session takes messages however long they are."""
    _unlimited("_enqueue", queue_bytes=1 << 40)


def _log_unbounded() -> None:
    """All events of a session are kept until they are too old."""
    _unlimited("_keep", events=1 << 40, event_bytes=1 << 40)


def _events_for_ever() -> None:
    """Events do not grow too old."""
    _unlimited("_expire", "_sweep", age=1e12)


def _never_lapsed() -> None:
    """What a worker held that nobody hears of any more stays with it."""

    def make(bury: Any) -> Any:
        def mutant(self: Any, now: float, **spared: bool) -> None:
            kept = self._bury
            self._bury = lambda worker: None
            bury(self, now, **spared)
            self._bury = kept

        return mutant

    wrapped(MemoryStore, "_bury_expired", make)


def _restored(method: str, table: str) -> None:
    """Let the rows of a table stay that a method of the store removes."""

    def make(remove: Any) -> Any:
        def mutant(self: Any, *values: Any, **spared: bool) -> None:
            before = self._run(f"SELECT * FROM {table}").fetchall()
            remove(self, *values, **spared)
            for row in before:
                marks = ", ".join("?" * len(row))
                self._run(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", *row)

        return mutant

    wrapped(MemoryStore, method, make)


def _worker_stays() -> None:
    """A worker that nobody hears of any more keeps its mailbox."""
    _restored("_bury_expired", "workers")


def _share_kept() -> None:
    """What a worker may work on is not free again when the worker is gone."""
    _restored("_bury", "calls")


def _orphans_unnoticed() -> None:
    """Who waits for what a worker writes that is gone is not told."""

    def make(bury: Any) -> Any:
        def mutant(self: Any, worker: str) -> None:
            bury(self, worker)
            self._run("UPDATE streams SET orphaned = 0")

        return mutant

    wrapped(MemoryStore, "_bury", make)


def _left_open() -> None:
    """A stream that its writer gives up stays open in the store."""

    def mutant(self: Any) -> None:
        return None

    StreamWriter._give_up = mutant  # type: ignore[method-assign]


def _begun_unheard() -> None:
    """A worker forgets its session while a stream that was given up is still being begun."""

    def make(busy: Any) -> Any:
        def mutant(self: Any) -> Any:
            self.giving_up.clear()
            return busy.fget(self)

        return property(mutant)

    wrapped(SessionReplica, "busy", make)


def _taken_unseen() -> None:
    """What the store took for a stream, and was too slow to tell its worker, stays on it."""

    def mutant(self: Any, stream: Any, after: int) -> None:
        return None

    SessionQueue.take_back = mutant  # type: ignore[method-assign]


def _share_forgotten() -> None:
    """A share that the store has given, and said that it had not, is not given back."""

    def make(answered: Any) -> Any:
        def mutant(self: Any, outcome: Any) -> None:
            answered(self, outcome)
            self._unsure = False

        return mutant

    wrapped(Quota, "_answered", make)


def _unconfirmed_news() -> None:
    """What is on its way to the store is not told to a session that is being loaded from it."""

    def mutant(self: Any) -> list[Any]:
        return []

    NoteQueue.announced = mutant  # type: ignore[method-assign]


def _looked_for_ever() -> None:
    """How far a stream has come is asked again until something comes that is not kept any more."""

    def make(looked: Any) -> Any:
        def mutant(self: Any, page: Any) -> None:
            looked(self, structs.replace(page, lost=0) if isinstance(page, LogPage) else page)

        return mutant

    wrapped(StreamWriter, "_looked", make)


def _ended_early() -> None:
    """A session ends long before its time, where nobody uses it for a while."""

    def mutant(created: float, used: float | None, settings: Any) -> float:
        return (created if used is None else used) + 45.0

    setattr(base, "ends", mutant)  # noqa: B010 - a function is not assigned to


def _news_overtaken() -> None:
    """Of two pieces of news for all from another worker the second is told first."""

    def make(note: Any) -> Any:
        waits: dict[int, Any] = {}

        def mutant(self: Any, data: bytes, *, now: float) -> None:
            if b'"all":' in data and id(self) not in waits:
                waits[id(self)] = data
                return
            note(self, data, now=now)
            if b'"all":' in data:
                note(self, waits.pop(id(self)), now=now)

        return mutant

    wrapped(HttpServer, "note", make)


def _news_missed() -> None:
    """A worker does not tell some of what another has for all."""

    def make(note: Any) -> Any:
        def mutant(self: Any, data: bytes, *, now: float) -> None:
            if b'"all":3}' not in data:
                note(self, data, now=now)

        return mutant

    wrapped(HttpServer, "note", make)


MUTATIONS = [
    Mutation("rows stay", "store", _rows_stay),
    Mutation("queue unbounded", "store", _queue_unbounded, first=330),
    Mutation("log unbounded", "store", _log_unbounded),
    Mutation("events for ever", "store", _events_for_ever),
    Mutation("never lapsed", "store", _never_lapsed, only="crash_server,store_cut"),
    Mutation("worker stays", "store", _worker_stays, only="crash_server,store_cut"),
    Mutation("share kept", "store", _share_kept, only="crash_server,store_cut"),
    Mutation("orphans unnoticed", "store", _orphans_unnoticed, only="crash_server,store_cut"),
    Mutation("left open", "store", _left_open),
    Mutation(
        "share forgotten",
        "store",
        _share_forgotten,
        only="store_cut,store_fail,crash_client",
        within=2000,
        first=460,
    ),
    Mutation("ended early", "store", _ended_early),
    Mutation("news overtaken", "store", _news_overtaken),
    Mutation("news missed", "store", _news_missed),
    Mutation("unconfirmed news", "store", _unconfirmed_news, within=0),
    Mutation("begun unheard", "store", _begun_unheard, within=0),
    Mutation("taken unseen", "store", _taken_unseen, within=0),
    Mutation("looked for ever", "store", _looked_for_ever, within=0),
]
