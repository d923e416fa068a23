"""The store that the workers of a run share: who is there, what it holds, and for how long."""

from typing import Any
from unittest import mock

from msgspec import Raw, structs

from mcpcore.http.storing import Announcements, SessionDelete, SessionRecord, SessionSave
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.faults.holdings import more, rows
from tests.simulation.hosts import EPOCH
from tests.simulation.rules import demand
from tests.simulation.world import World

SPAN = 4 * StoreSettings().absolute
"""Seconds in which the time of everything is over that a store keeps."""
_EXACTLY = 16
"""Every so many looks bytes are counted again, and what workers hold is looked at."""
_NOBODY = "nobody"
"""A worker that comes by when everybody has gone."""
_RETURN = 7
"""After so many leases a worker that says nothing is not known any more."""
_SLACK = 0.001
_AT_ONCE = 1e-9
"""Seconds between two renewals of a lease, so that who is gone is noticed at once."""
_FREE = "what a worker held is free once its lease has lapsed"
_RIGHT = "what a store keeps is counted right"


class SharedStore:
    """A store in memory, which has the time of the world, held to its limits and its ends.

    It has to be closed.
    """

    def __init__(self, world: World, settings: StoreSettings) -> None:
        self._world = world
        self.settings = settings
        at_once = structs.replace(settings, renew=_AT_ONCE)
        self.store = MemoryStore(at_once, clock=lambda: world.time)
        secret = b"the secret of all workers".ljust(32)
        self.store._run("INSERT INTO facts VALUES ('secret', ?)", secret)
        self._there: set[str] = set()
        """Workers that live, and reach it."""
        self._heard: dict[str, float] = {}
        """By worker: when it said last that it is there."""
        self._looks = 0
        self._before = rows(self.store._db)

    # Who is there

    def arrives(self, worker: str) -> None:
        """A worker is there, from now on."""
        self._there.add(worker)
        self.present()

    def vanishes(self, worker: str) -> None:
        """A worker says nothing more."""
        self.present()
        self._there.discard(worker)

    def present(self) -> None:
        """Whoever is there has said so, as each does every few seconds.

        That only matters as somebody looks who else is there.  Nobody is looked for who may be
        gone: he may be the next of whom this is told.
        """
        with mock.patch.object(self.store, "_bury_expired"):
            for worker in self._there:
                self._heard[worker] = self._world.time
                self.store._renew(worker)
        # or the next look, if it comes within the same moment, would be put off
        self.store._renewed.clear()

    def lapsed(self, worker: str) -> bool:
        """Nothing was heard of a worker for as long as its lease is."""
        said = self._heard.get(worker)
        return said is None or self._world.time > said + self.settings.lease + _SLACK

    def close(self) -> None:
        """Leave nothing behind."""
        self.store.close()

    # What holds at any time

    def look(self) -> None:
        """Demand that all that it keeps is within its limits."""
        settings, kept, size = self.settings, 0, 0
        demand(len(self._sessions()) <= settings.sessions, "the sessions of a store are bounded")
        for key, _, events, event_bytes in self._sessions():
            fits = event_bytes <= settings.event_bytes or events == 1
            demand(events <= settings.events and fits, "events are bounded", events, event_bytes)
            queued, queue_bytes = self._sum("data", "queue WHERE session = ?", key)
            fits = queue_bytes <= settings.queue_bytes and queued <= settings.events
            demand(fits, "a queue is bounded", queue_bytes, queued)
            streams = self._count("streams WHERE session = ?", key)
            demand(streams <= settings.streams, "streams are bounded")
            once = self._count("once WHERE session = ?", key)
            demand(once <= settings.once, "announcements are bounded")
            kept += events
            size += event_bytes + queue_bytes
        counted = self.store._value("SELECT value FROM facts WHERE name = 'bytes'")
        demand((kept, size) == (self._count("events"), counted), _RIGHT, kept, size)
        demand(size <= settings.total_bytes or kept == 1, "events are bounded", size)
        count, size = self._sum("note", "announcements")
        fits = size <= settings.queue_bytes and count <= settings.announcements
        demand(fits, "announcements are bounded", size)
        for (name,) in self._rows("SELECT name FROM workers"):
            posted = self._count("notes WHERE posted AND worker = ?", name)
            demand(posted <= settings.mailbox, "a mailbox is bounded", posted)
            silent = self._world.time - self._heard.get(name, self._world.time)
            known = silent <= _RETURN * settings.lease + _SLACK
            demand(known, "a worker that is gone is forgotten", name, silent)
        self._looks += 1
        if self._looks % _EXACTLY == 0:
            self._look_closely()

    def _look_closely(self) -> None:
        holding = (
            "SELECT holder FROM streams WHERE holder IS NOT NULL UNION SELECT worker FROM readers"
            " UNION SELECT worker FROM calls UNION SELECT writer FROM streams"
            " WHERE request IS NOT NULL AND NOT ended AND NOT orphaned ORDER BY 1"
        )
        gone = [worker for (worker,) in self._rows(holding) if self.lapsed(worker)]
        demand(not gone, _FREE, gone)
        for key, _, kept, size in self._sessions():
            found = self._sum("data", "events WHERE session = ?", key)
            demand(found == (kept, size), _RIGHT, *found)

    def _rows(self, query: str, *values: object) -> list[Any]:
        return self.store._run(query, *values).fetchall()

    def _sessions(self) -> list[tuple[int, str, int, int]]:
        """Key, id, number of events and their bytes of every session."""
        return self._rows("SELECT key, id, kept, size FROM sessions")

    def _count(self, where: str, *values: object) -> int:
        return int(self.store._value(f"SELECT count(*) FROM {where}", *values))

    def _sum(self, column: str, where: str, *values: object) -> tuple[int, int]:
        """The number of rows and their bytes."""
        query = f"SELECT count(*), coalesce(sum(length({column})), 0) FROM {where}"
        ((count, size),) = self._rows(query, *values)
        return int(count), int(size)

    # The end

    def unused(self, now: float) -> None:
        """Demand that in sessions that nobody uses any more nothing is kept but their queues."""
        self.present()
        self._visit(EPOCH + now)
        for key, id, kept, _ in self._sessions():
            left = {
                "events": kept,
                "streams": self._count("streams WHERE session = ?", key),
                "calls": self._count("calls WHERE session = ?", key),
            }
            fits = not any(left.values())
            demand(fits, "a store keeps nothing of sessions that nobody uses", id, left)
        self.look()

    def rested(self, now: float) -> None:
        """Demand that nothing is left when the time of everything is over."""
        self._world.time += SPAN
        self._there.clear()
        self._visit(EPOCH + now + SPAN)
        left = more(rows(self.store._db), self._before, ())
        demand(not left, "a store is empty in the end", left)

    def _visit(self, wall: float) -> None:
        """A worker comes by whose clients begin and end a session."""
        record = SessionRecord(
            id="n", revision="2025-11-25", capabilities=Raw(b"{}"), created=wall, owner="n"
        )
        steps = (
            SessionSave(token=1, session="n", record=record),
            SessionDelete(token=2, session="n"),
            Announcements(token=3, session="", since=0.0),
        )
        self.store.commit(_NOBODY, steps, wall)
        self.store.leave(_NOBODY)
