"""The store that the workers of a run share: who is there, what it holds, and for how long."""

from collections import Counter

from msgspec import Raw

from mcpcore.http.storing import Announcements, SessionDelete, SessionRecord, SessionSave
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.memory import MemoryStore
from tests.simulation.hosts import EPOCH
from tests.simulation.rules import demand
from tests.simulation.twin_store import TwinStore
from tests.simulation.world import World
from tests.torture.tables import REMEMBERED, counts, more, tables

SPAN = 4 * StoreSettings().absolute
"""Seconds in which the time of everything is over that a store keeps."""
_EXACTLY = 16
"""Every so many looks bytes are counted again, and what workers hold is looked at."""
_NOBODY = "nobody"
"""A worker that comes by when everybody has gone."""
_RETURN = 7
"""After so many leases a worker that says nothing is not known any more."""
_SLACK = 0.001
_TWINS = 0.125
"""The share of schedules in which a store in SQLite has to say the same as that in memory."""
_FREE = "what a worker held is free once its lease has lapsed"
_RIGHT = "what a store keeps is counted right"


class SharedStore:
    """A store in memory, which has the time of the world, held to its limits and its ends.

    Now and then it has a twin in SQLite.  It has to be closed.
    """

    def __init__(self, world: World, settings: StoreSettings) -> None:
        self._world = world
        self.settings = settings
        make = TwinStore if world.chance("twin").random() < _TWINS else MemoryStore
        self.store = make(settings, clock=lambda: world.time)
        self.store._secret = b"the secret of all workers".ljust(32)
        self._there: set[str] = set()
        """Workers that live, and reach it."""
        self._heard: dict[str, float] = {}
        """By worker: when it said last that it is there."""
        self._looks = self._most = 0
        self._before = self._contents()

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

        That only matters as somebody looks who else is there.
        """
        for worker in self._there:
            self._heard[worker] = self._world.time
            if isinstance(self.store, TwinStore):
                self.store.present(worker)
            else:
                self.store._renew(worker)

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
        store, settings = self.store, self.settings
        sessions = store._all.sessions
        kept = size = 0
        demand(len(sessions) <= settings.sessions, "the sessions of a store are bounded")
        for session in sessions.values():
            events = session.kept <= settings.events
            fits = session.size <= settings.event_bytes or session.kept == 1
            demand(events and fits, "events are bounded", session.kept, session.size)
            queued = session.queued <= settings.queue_bytes
            few = len(session.queue) <= settings.events
            demand(queued and few, "a queue is bounded", session.queued, len(session.queue))
            demand(len(session.streams) <= settings.streams, "streams are bounded")
            demand(len(session.once) <= settings.once, "announcements are bounded")
            kept += session.kept
            size += session.size + session.queued
        demand((kept, size) == (store._kept, store._size), _RIGHT, kept, size)
        demand(size <= settings.total_bytes or kept == 1, "events are bounded", size)
        self._most = max(self._most, kept)
        demand(len(store._order) <= 65 + 4 * self._most, "events are bounded", len(store._order))
        announced = store._announced_size <= settings.queue_bytes
        few = len(store._announced) <= settings.announcements
        demand(announced and few, "announcements are bounded", store._announced_size)
        for name, worker in store._workers.items():
            demand(worker.posted <= settings.mailbox, "a mailbox is bounded", worker.posted)
            silent = self._world.time - self._heard.get(name, self._world.time)
            known = silent <= _RETURN * settings.lease + _SLACK
            demand(known, "a worker that is gone is forgotten", name, silent)
        self._looks += 1
        if self._looks % _EXACTLY == 0:
            self._look_closely()

    def _look_closely(self) -> None:
        for session in self.store._all.sessions.values():
            streams = session.streams.values()
            for stream in streams:
                held = {*stream.readers}
                if stream.holder is not None:
                    held.add(stream.holder)
                if stream.request is not None and not stream.idle:
                    held.add(stream.writer)
                gone = [worker for worker in sorted(held) if self.lapsed(worker)]
                demand(not gone, _FREE, stream.number, gone)
            gone = [worker for worker in session.calls if self.lapsed(worker)]
            demand(not gone, _FREE, session.record.id, gone)
            count = sum(len(stream.entries) for stream in streams)
            size = sum(len(entry.data) for stream in streams for entry in stream.entries)
            demand((count, size) == (session.kept, session.size), _RIGHT, count, size)
            queued = sum(len(data) for data, _ in session.queue)
            demand(queued == session.queued, _RIGHT, queued)
        noted = sum(len(note) for _, note in self.store._announced.values())
        demand(noted == self.store._announced_size, _RIGHT, noted)

    # The end

    def unused(self, now: float) -> None:
        """Demand that in sessions that nobody uses any more nothing is kept but their queues."""
        self.present()
        self._visit(EPOCH + now)
        for id, session in self.store._all.sessions.items():
            left = {
                "events": session.kept,
                "streams": len(session.streams),
                "calls": len(session.calls),
            }
            fits = not any(left.values())
            demand(fits, "a store keeps nothing of sessions that nobody uses", id, left)
        self.look()

    def rested(self, now: float) -> None:
        """Demand that nothing is left when the time of everything is over."""
        self._world.time += SPAN
        self._there.clear()
        self._visit(EPOCH + now + SPAN)
        left = more(self._contents(), self._before, {*REMEMBERED, "TwinStore._order"})
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

    def _contents(self) -> Counter[str]:
        return tables([self.store, self.store._all]) + counts([self.store])
