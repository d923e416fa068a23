"""Servers with a store and requests written by hand; steps travel at once, or one by one."""

from collections.abc import Callable
from typing import Any

from mcpcore.engine.events import RequestReceived
from mcpcore.http.server.stored.replica import SessionReplica
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import SessionTouch, Step
from mcpcore.wire.message import RequestId
from mcpcore_transports.stores.base import StepOutcome, Store, StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.stored.cluster import EPOCH, Worker, home_of, make_stored
from tests.http.support import LEGACY, Bench, Reply, request

TOKEN = {"_meta": {"progressToken": "p"}}
CALL = request("tools/call", {"name": "x", **TOKEN})


class StoreBench(Bench):
    """One worker.  ``slow``: steps and notes wait until they are moved."""

    def __init__(
        self, store: Store, name: str, settings: HttpSettings | None = None, **config: Any
    ) -> None:
        self.worker = Worker(name, make_stored(store, name, settings, **config), store)
        super().__init__(self.worker.server)
        self.stored = self.worker.server
        self.slow = False

    def pump(self) -> None:
        while True:
            self.look()
            if not self.slow:
                self.work()
                self.mail()
                self.look()
            open_routes = [route for route, reply in self.replies.items() if reply.end is None]
            written = [self.write(route, 1 << 20) for route in open_routes]
            self.look()
            if not any(written) and (self.slow or not self.worker.asked):
                return

    def look(self) -> None:
        """Take all events and steps, and write nothing."""
        while (event := self.server.next_event()) is not None:
            if isinstance(event, Step):
                self.worker.asked.append(event)
            else:
                self.events.append(event)

    def replica(self, session: str) -> SessionReplica:
        """What the worker knows of a session."""
        replica = home_of(self.stored)._replicas.replica(session)
        assert replica is not None
        return replica

    # By hand

    # That a session is used holds nothing up: a SessionTouch is no step of these.

    def waiting(self) -> list[str]:
        """The steps that were asked for and not carried out."""
        self.look()
        kinds = [type(step).__name__ for step in self.worker.asked]
        return [kind for kind in kinds if kind != "SessionTouch"]

    def step(self, count: int = 1) -> None:
        """Carry out the next steps, and let the server know."""
        self.look()
        together = 0
        for step in self.worker.asked:
            count -= not isinstance(step, SessionTouch)
            if count < 0:
                break
            together += 1
        self.work(together)
        self.pump()

    def work(self, most: int = 1_000) -> None:
        """Let the store do what is asked, and write nothing to clients."""
        self.look()
        self.worker.carry_out(most, EPOCH + self.now)
        while self.worker.outcomes:
            self.worker.learn(0, self.now)

    def mail(self) -> None:
        """Let the server read its notes, and nothing else happen."""
        self.worker.read_mail()
        while self.worker.notes:
            self.stored.note(self.worker.notes.popleft(), now=self.now)

    def failing(self, *kinds: str, done: bool = False) -> None:
        """Let the store fail these kinds of steps from now on; ``done``: after doing them."""
        self.worker.fails = lambda step: type(step).__name__ in kinds
        self.worker.done_anyway = done

    def go_on(self) -> None:
        """Let everything travel again."""
        self.slow = False
        self.pump()

    def recover(self, seconds: float) -> None:
        """Let the store do everything again, and time pass until that is noticed."""
        self.failing()
        self.pass_time(seconds)

    def asked(self, kind: type[Step]) -> list[Any]:
        """The steps of a kind that were carried out."""
        return [step for step, _ in self.worker.log if isinstance(step, kind)]

    def outcomes(self, kind: type[Step]) -> list[StepOutcome]:
        return [outcome for step, outcome in self.worker.log if isinstance(step, kind)]

    # Doing

    def call(self, session: str, id: Any = 1, **options: Any) -> tuple[int, int]:
        """Call a tool; give the exchange and the key."""
        route = self.send({**CALL, "id": id}, mcp_session_id=session, **options)
        return route, self.take(RequestReceived).key

    def question(self, key: int) -> RequestId:
        """Ask the client something for a call."""
        asked = self.server.request("roots/list", now=self.now, parent=key)
        self.pump()
        return asked

    def progress(self, key: int, *values: int) -> None:
        for value in values:
            assert self.server.progress(key, value)
        self.pump()

    def listen(self, session: str, **options: Any) -> int:
        return self.send(method="GET", mcp_session_id=session, **options)

    def cut(self, route: int) -> None:
        self.server.disconnect(route, now=self.now)
        self.replies[route].end = self.replies[route].end or CUT
        self.pump()


CUT: Any = object()


def party(
    *names: str,
    settings: HttpSettings | None = None,
    store: StoreSettings | None = None,
    **config: Any,
) -> list[StoreBench]:
    """Workers that share a store; the first has the clock of the leases."""
    benches: list[StoreBench] = []
    shared = MemoryStore(
        store or StoreSettings(lease=1e9), clock=lambda: benches[0].now if benches else 0.0
    )
    benches += [StoreBench(shared, name, settings, **config) for name in names]
    return benches


def one_in_session(
    version: str = LEGACY, *, principal: str | None = None, **options: Any
) -> tuple[StoreBench, str]:
    """A worker and a session."""
    (one,) = party("a", **options)
    return one, one.session(version, principal=principal)


def two_in_session(
    version: str = LEGACY, *, principal: str | None = None, **options: Any
) -> tuple[StoreBench, StoreBench, str]:
    """Two workers, and a session that was opened at the first."""
    one, other = party("a", "b", **options)
    return one, other, one.session(version, principal=principal)


def at_work(version: str = LEGACY, **options: Any) -> tuple[StoreBench, StoreBench, str, int, int]:
    """Two workers, and at the first a session with a call that streams: its exchange and key."""
    one, other, session = two_in_session(version, **options)
    route, key = one.call(session)
    one.progress(key, 1)
    return one, other, session, route, key


def settle(*benches: StoreBench) -> None:
    """Let everything travel between workers."""
    for _ in range(4):
        for bench in benches:
            bench.pump()


def shown(reply: Reply) -> list[Any]:
    """What an event stream has brought: progress, methods, or ``done``."""
    seen: list[Any] = []
    for event in reply.events:
        if "method" not in event:
            seen.append("error" if "error" in event else "done")
        elif event["method"] == "notifications/progress":
            seen.append(event["params"]["progress"])
        else:
            seen.append(event["method"].removeprefix("notifications/"))
    return seen


def cursor(reply: Reply, index: int = -1) -> str:
    return [id for id in reply.ids if id][index]


Act = Callable[[StoreBench, str], Reply]
__all__ = [
    "CALL",
    "CUT",
    "LEGACY",
    "Act",
    "StoreBench",
    "cursor",
    "party",
    "settle",
    "shown",
]
