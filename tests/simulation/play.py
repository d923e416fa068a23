"""A run of one schedule: hosts, faults, and all rules."""

import traceback
from typing import Any

from msgspec import Struct

from mcpcore.spec.errors import LocalProtocolError
from tests.simulation.accounts import PATIENCE, Accounts
from tests.simulation.client_app import ClientApp
from tests.simulation.coda import LENGTH, Coda
from tests.simulation.excuses import Excuses
from tests.simulation.faults import AGAIN, strike
from tests.simulation.hosts import Scene
from tests.simulation.invariants import Watch, rested
from tests.simulation.rules import BreachError, demand
from tests.simulation.scenes import Scenery, build
from tests.simulation.schedule import SPAN, Place, Schedule
from tests.simulation.work import Work, draw_work
from tests.simulation.world import World

_SETTLE = 135.0
"""Seconds after the last fault in which everything that was begun comes to an end."""
_OPENING = 40.0
_CLOSING = 60.0
_REST = 20_000.0
"""Seconds in which all sides have to fall idle."""
_MOST_STEPS = 20_000


class Outcome(Struct, frozen=True):
    """What came of a schedule."""

    schedule: Schedule
    breach: str | None
    works: tuple[Place, ...]
    """What clients were to do."""
    steps: int
    requests: int
    digest: str
    timeline: list[str] | None

    @property
    def rule(self) -> str | None:
        """Which rule was broken."""
        return None if self.breach is None else self.breach.partition(":")[0]


def play(schedule: Schedule, *, timeline: bool = False) -> Outcome:
    """Play a schedule to its end, or until a rule is broken."""
    world = World(schedule.seed, timeline=timeline)
    performance = Performance(world, schedule)
    breach: str | None = None
    try:
        performance.run()
    except BreachError as broken:
        breach = str(broken)
    except LocalProtocolError as error:
        breach = f"a machine did not take what it must: {error}"
    except Exception as error:  # whatever a machine raises is a fault of it
        if timeline:
            traceback.print_exc()
        breach = f"{type(error).__name__}: {error}"
    finally:
        performance.close()
    if breach is not None:
        breach = " ".join(breach.split())
        world.note("breach", breach)
    return Outcome(
        schedule=schedule,
        breach=breach,
        works=tuple(performance.works),
        steps=world.steps,
        requests=performance.books.requests,
        digest=world.digest,
        timeline=world.timeline,
    )


class Performance:
    """One run of a schedule."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        self.world = world
        self.schedule = schedule
        chance = world.chance("scene")
        tight = chance.random() < 0.15
        excuses = Excuses(schedule.faults)
        self.books = Accounts(world, excuses, tight=tight, shared=schedule.scenario == "store")
        self.scene = Scene(world, self.books)
        watch = Watch(world)
        self.scene.look = watch.look
        self.scenery: Scenery = build(self.scene, schedule.scenario, chance, tight=tight)
        lasts = (fault.at + max(fault.length, AGAIN) for fault in schedule.faults)
        self.quiet = max(lasts, default=0.0)
        self.perfect = not schedule.faults and not self.scenery.forgetful
        self.books.perfect = self.perfect
        self.works: list[Place] = []

    def run(self) -> None:
        """Play it all."""
        scenery, world = self.scenery, self.world
        for slot in range(scenery.size):
            client = scenery.client(slot)
            world.after(0.2 * world.chance(f"begin/{slot}").random(), client.begin)
            self._give_work(slot, client)
        for fault in self.schedule.faults:
            world.at(fault.at, strike, self, fault)
        self._until(max(self.quiet, SPAN) + _SETTLE)
        self._coda()
        self._end()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.scenery.shared is not None:
            self.scenery.shared.close()

    def _give_work(self, slot: int, client: Any) -> None:
        chosen = self.schedule.works
        chance = self.world.chance(f"work/{slot}")
        for work in draw_work(chance, span=SPAN, most=7, tight=self.scenery.tight):
            if chosen is not None and (slot, work.number) not in chosen:
                continue
            self.works.append((slot, work.number))
            # The answers of a batch come with the last of them.
            settled = self.perfect and slot not in self.scenery.batching
            wanted = expectation(work) if settled else None
            client.after(work.at, self._do, client.app, work, wanted)

    def _do(self, app: ClientApp, work: Work, wanted: str | None) -> None:
        app.do(work, wanted)

    def replace(self, slot: int) -> Any:
        """Another client takes the place of one that is gone."""
        client = self.scenery.replace(slot)
        client.begin()
        return client

    def _until(self, time: float) -> None:
        world = self.world
        while world.step(time):
            demand(world.steps < _MOST_STEPS, "everything comes to rest")

    # When nothing goes wrong any more

    def _coda(self) -> None:
        """Every client can work again, or else a new one can."""
        scenery, world = self.scenery, self.world
        for slot in range(scenery.size):
            client = scenery.client(slot)
            if client.over or not client.up:
                self.replace(slot)
        self._until(world.time + _OPENING)
        coda = Coda(self)
        coda.main_part()
        coda.begin()
        self._until(world.time + LENGTH)
        coda.check()

    def _end(self) -> None:
        scenery, world = self.scenery, self.world
        for slot in range(scenery.size):
            client = scenery.client(slot)
            client.app.end_listening()
            half = world.chance(f"end/{slot}").random() < 0.3
            client.close(half=half)
        self._until(world.time + _CLOSING)
        for client in scenery.clients:
            if client.up:
                self.books.settled(client.number)
        self._until(world.time + 2 * self.scene.streams.idle)
        for server in scenery.servers:
            for machine in server.machines if server.up else ():
                left = getattr(machine, "sessions", 0)
                demand(not left, "a session that nobody uses ends", server.name, left)
        shared = scenery.shared
        if shared is not None:
            shared.unused(scenery.servers[0].now())
        self._until(world.time + _REST)
        demand(world.idle, "all sides fall idle")
        self.books.all_settled()
        for host in [*scenery.clients, *scenery.servers]:
            if host.up:
                for machine in host.machines:
                    rested(machine, host.name)
        if shared is not None:
            shared.rested(scenery.servers[0].now())


def expectation(work: Work) -> str | None:
    """What becomes of some work where nothing goes wrong; None if that is open."""
    if work.cancel_after is not None or work.kind == "abandon":
        return None
    if work.kind == "list":
        return "ResultReceived"
    if work.kind != "call":
        return None
    acts = [act for _, act in work.script]
    length = sum(pause for pause, _ in work.script)
    length += sum(PATIENCE + 1.0 for act in acts if act.startswith("ask"))
    if "never" in acts or (work.timeout is not None and length + 4.0 > work.timeout):
        return None
    return "ErrorReceived" if acts[-1] == "fail" else "ResultReceived"
