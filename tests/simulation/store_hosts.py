"""Servers that share a store, whose steps take time, fail, or are lost."""

from collections.abc import Callable
from typing import Any

from mcpcore.engine.events import Event
from mcpcore.http.server.server import HttpServer
from mcpcore.http.storing import Step
from tests.http.stored.cluster import Worker
from tests.simulation.hosts import EPOCH, App, Scene
from tests.simulation.http_hosts import HttpServerHost
from tests.simulation.shared_store import SharedStore
from tests.simulation.trip import Trip

_FINDS = 3.0
"""Seconds within which workers come by at the store, so that they find what has lapsed there."""


class StoredServerHost(HttpServerHost):
    """One of the workers."""

    stored = True

    def __init__(
        self,
        scene: Scene,
        name: str,
        make_machine: Callable[[str], HttpServer],
        make_app: Callable[[HttpServerHost], App],
        shared: SharedStore,
    ) -> None:
        self._shared = shared
        self.neighbours: list[StoredServerHost] = []
        self.store_delay = 0.002
        self.wall_ahead = 0.0
        """So many seconds is its wall clock ahead of the others'."""
        self.store_fails: Callable[[Step], bool] = lambda step: False
        self.store_does_it = False
        self._chance = scene.world.chance(f"store/{name}")
        self._working = self._reading = False
        self._cut = self._waits = False
        super().__init__(scene, name, make_machine, make_app)

    def _boot(self) -> None:
        super()._boot()
        self._shared.arrives(self.identity)
        self.worker = Worker(self.identity, self.machine, self._shared.store)

    def _turn(self) -> None:
        super()._turn()
        if self.worker.asked and not self._working:
            self._working = True
            self.after(self._pace(), self._carry_out)

    def handle(self, event: Event, machine: Any) -> None:
        """Take an event: steps go to the store."""
        if isinstance(event, Step):
            self.worker.asked.append(event)
        else:
            super().handle(event, machine)

    # The store

    def _pace(self) -> float:
        return self.store_delay * (0.5 + self._chance.random())

    def _carry_out(self) -> None:
        if self._cut:
            self._waits = True
            return
        worker = self.worker
        worker.fails, worker.done_anyway = self.store_fails, self.store_does_it
        count = len(worker.asked)
        if count > 1 and self._chance.random() < 0.3:
            count = self._chance.randrange(1, count)
        self._shared.present()
        worker.carry_out(count, EPOCH + self.now() + self.wall_ahead)
        self._shared.look()
        self.after(self._pace(), self._learn)
        self._look_all()

    def _learn(self) -> None:
        self._working = False
        while self.worker.outcomes:
            self.worker.learn(0, self.now())
        self.turn()

    def _look_all(self) -> None:
        for host in (self, *self.neighbours):
            host.look_for_mail()

    def look_for_mail(self) -> None:
        """There may be notes for this worker."""
        if not self._reading and self.up and not self._cut:
            self._reading = True
            self.after(self._pace(), self._read_mail)

    def _read_mail(self) -> None:
        self._reading = False
        if self._cut:
            return
        worker = self.worker
        self._shared.present()
        worker.read_mail()
        while worker.notes:
            self.machine.note(worker.notes.popleft(), now=self.now())
        self.turn()

    # Who is there

    def _vanish(self) -> None:
        """The store hears no more of this worker: when its lease has lapsed, the others do."""
        self._shared.vanishes(self.identity)
        found = self._shared.settings.lease + _FINDS * self._chance.random()
        self.world.after(found, self._look_all)

    def cut_off(self, length: float) -> None:
        """Neither does the store hear of this worker nor it of the store, for so many seconds."""
        if self.up and not self._cut:
            self._cut = True
            self._vanish()
            self.after(length, self._back)

    def _back(self) -> None:
        self._cut = False
        self._shared.arrives(self.identity)
        if self._waits:
            self._waits = False
            self._carry_out()
        self.look_for_mail()

    def bury(self, name: str) -> None:
        """Somebody tells the store that a worker is gone."""
        self._shared.present()
        self._shared.store.leave(name)
        self._look_all()

    def crash(self) -> list[Trip]:
        """Forget everything; give the connections that break."""
        trips = super().crash()
        if not self._cut:
            self._vanish()
        self._working = self._reading = self._cut = self._waits = False
        return trips

    def _forget_sessions(self) -> None:
        """They stay in the store."""
