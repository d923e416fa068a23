"""Machines at work: each with a clock of its own, its connections, and what drivers do for it.

A host feeds what arrives into its machine, tells its application what happened, and lets out what
the network takes.  It decides nothing about the protocol.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from mcpcore.engine.events import Event
from mcpcore.http.settings import HttpSettings
from tests.simulation.accounts import Accounts
from tests.simulation.cancelling import Arrivals
from tests.simulation.rules import demand
from tests.simulation.wires import Streams
from tests.simulation.world import World

EPOCH = 1_800_000_000.0
_TOGETHER = 1e-6
"""Clocks are compared this exactly: sums of floats differ."""


class Machine(Protocol):
    """What hosts ask of any of the machines."""

    def next_event(self) -> Event | None:
        """Advance."""

    def deadline(self) -> float | None:
        """When time matters next."""

    def handle_timeout(self, now: float) -> None:
        """Let what is due happen."""


class App(Protocol):
    """Whom a host tells."""

    def handle(self, event: Event, machine: Any) -> None:
        """Take one event."""


class Scene:
    """What all that takes part in one run shares."""

    def __init__(self, world: World, books: Accounts) -> None:
        self.world = world
        self.books = books
        self.streams = Streams()
        self.arrivals = Arrivals()
        self.settings = HttpSettings()
        """Those of all its servers."""
        self.look: Callable[[Any], None] = lambda machine: None
        """Called with every machine after each of its turns."""
        self.routes = 0
        self.runs = 0
        self.drained = False
        """The main part is over: nobody opens anything new."""

    def new_route(self) -> int:
        """A number for an exchange, never used twice."""
        self.routes += 1
        return self.routes

    def new_run(self) -> int:
        """A number for a run, never used twice."""
        self.runs += 1
        return self.runs


class Host:
    """A process: a clock, and one life after the other."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.world = scene.world
        self.name = name
        self.skew = 1000.0
        self.up = True
        self.life = 0
        """Counts crashes: what an earlier life has planned does not happen."""
        self._armed: dict[int, float] = {}
        self._busy: set[int] = set()
        self._still = 0

    def now(self) -> float:
        """Its clock."""
        return self.world.time + self.skew

    def after(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen in this life."""
        self.world.after(delay, self._in_life, self.life, act, args)

    def _in_life(self, life: int, act: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life == self.life and self.up:
            act(*args)

    # Time

    def arm(self, machine: Machine, turn: Callable[[], None]) -> None:
        """See to it that a machine hears of its deadline."""
        due = machine.deadline()
        place = id(machine)
        if due is None or due >= self._armed.get(place, math.inf):
            return
        self._armed[place] = due
        self.world.at(due - self.skew, self._ring, self.life, machine, turn, due)

    def _ring(self, life: int, machine: Machine, turn: Callable[[], None], due: float) -> None:
        if life != self.life or self._armed.get(id(machine)) != due:
            return
        del self._armed[id(machine)]
        self.tick(machine, turn)

    def tick(self, machine: Machine, turn: Callable[[], None]) -> None:
        """Let a machine do what is due now."""
        now = self.now()
        due = machine.deadline()
        if due is not None and due <= now + _TOGETHER:
            now = max(now, due)
            machine.handle_timeout(now)
            after = machine.deadline()
            demand(after is None or after >= now, "no deadline is missed", self.name, after, now)
            self._repeats(now, after)
            turn()
        self.arm(machine, turn)

    def _repeats(self, now: float, after: float | None) -> None:
        """A deadline that stays where it is would keep a driver busy for ever."""
        still = after is not None and after <= now
        self._still = self._still + 1 if still else 0
        demand(self._still < 50, "a deadline that was handled is over", self.name, now)

    def take_turn(self, machine: Machine, turn: Callable[[], None]) -> None:
        """Take a turn, unless that is what is being done: then it comes to the same."""
        place = id(machine)
        if place in self._busy:
            return
        self._busy.add(place)
        try:
            turn()
        finally:
            self._busy.discard(place)

    def drain(self, machine: Machine, app: App) -> None:
        """Tell the application all that a machine has to tell."""
        while (event := machine.next_event()) is not None:
            self.world.note(self.name, type(event).__name__)
            app.handle(event, machine)
