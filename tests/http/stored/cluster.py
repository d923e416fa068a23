"""Workers that share a store, behind one face: what a client reaches through a balancer."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from mcpcore import Config, HttpServer, HttpSettings, Implementation, ServerCapabilities
from mcpcore.engine.events import Event, RequestCancelled, RequestReceived
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.server.stored.sessions import StoredSessions
from mcpcore.http.storing import Step, StoreBinding, StoreFailure
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import RequestId
from mcpcore_transports.stores.base import StepOutcome, Store, StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.support import SERVER_OFFERS

EPOCH = 1_800_000_000.0


def make_stored(
    store: Store, name: str = "w1", settings: HttpSettings | None = None, **config: Any
) -> HttpServer:
    return HttpServer(
        Config(
            info=Implementation(name="server", version="1"),
            capabilities=msgspec.convert(SERVER_OFFERS, ServerCapabilities),
            **config,
        ),
        secret=name.encode().ljust(32, b"-"),
        store=StoreBinding(
            worker=name,
            secret=store.secret(),
            epoch=EPOCH,
            idle=store.settings.idle if isinstance(store, MemoryStore) else None,
            absolute=store.settings.absolute if isinstance(store, MemoryStore) else None,
        ),
        settings=settings,
    )


def home_of(server: HttpServer) -> StoredSessions:
    assert server._stored is not None
    return server._stored


class Worker:
    """One server with what is on its way between it and the store."""

    def __init__(self, name: str, server: HttpServer, store: Store) -> None:
        self.name = name
        self.server = server
        self.store = store
        self.asked: deque[Step] = deque()
        """Not carried out yet."""
        self.outcomes: deque[tuple[int, StepOutcome]] = deque()
        """Of steps that were carried out; the server does not know yet."""
        self.notes: deque[bytes] = deque()
        """Out of the mailbox, not delivered yet."""
        self.fails: Callable[[Step], bool] = lambda step: False
        """Which steps the store fails; half of them were carried out all the same."""
        self.done_anyway = False
        self.log: list[tuple[Step, StepOutcome]] = []
        store.receive(name, 0)

    def carry_out(self, count: int, wall: float) -> bool:
        """Let the store do the oldest ``count`` steps; False if there are none."""
        if not self.asked:
            return False
        batch = [self.asked.popleft() for _ in range(min(count, len(self.asked)))]
        good = [step for step in batch if not self.fails(step)]
        done = batch if self.done_anyway else good
        outcomes = dict(
            zip(
                [step.token for step in done], self.store.commit(self.name, done, wall), strict=True
            )
        )
        for step in batch:
            outcome = outcomes[step.token] if step in good else StoreFailure("it was told to fail")
            self.log.append((step, outcome))
            self.outcomes.append((step.token, outcome))
        return True

    def do(self, step: Step, wall: float) -> StepOutcome:
        """Let the store do a step for which the server has not asked."""
        (outcome,) = self.store.commit(self.name, [step], wall)
        return outcome

    def learn(self, index: int, now: float) -> None:
        """Let the server learn one outcome."""
        self.outcomes.rotate(-index)
        token, outcome = self.outcomes.popleft()
        self.outcomes.rotate(index)
        self.server.stored(token, outcome, now=now)

    def read_mail(self) -> bool:
        self.notes += self.store.receive(self.name, 0)
        return bool(self.notes)


class Cluster:
    """The interface of an HttpServer over several of them; each request goes to another worker.

    ``slow``: steps and notes wait until they are moved by hand.
    """

    def __init__(
        self,
        count: int = 2,
        settings: HttpSettings | None = None,
        *,
        store: Store | None = None,
        **config: Any,
    ) -> None:
        self.now = 0.0
        self.store = store or MemoryStore(StoreSettings(lease=1e12), clock=lambda: self.now)
        self.slow = False
        self.in_order = False
        """Everything for everybody is said by the same worker."""
        self.workers: list[Worker] = []
        self.route_of: dict[int, Worker] = {}
        """Where an exchange went."""
        self._settings = settings
        self._config = config
        self._made = 0
        self._turn = 0
        self._calls = 0
        self._keys: dict[int, tuple[Worker, int]] = {}
        self.pick: Callable[[HttpRequest], Worker] = lambda head: self.next_worker()
        for _ in range(count):
            self.add()

    # Workers

    def add(self) -> Worker:
        self._made += 1
        name = f"w{self._made}"
        server = make_stored(self.store, name, self._settings, **self._config)
        worker = Worker(name, server, self.store)
        self.workers.append(worker)
        return worker

    def next_worker(self) -> Worker:
        self._turn += 1
        return self.workers[self._turn % len(self.workers)]

    def kill(self, worker: Worker) -> list[int]:
        """A worker dies; give the exchanges that it had."""
        self.workers.remove(worker)
        self.store.leave(worker.name)
        self._keys = {key: place for key, place in self._keys.items() if place[0] is not worker}
        mine = [route for route, at in self.route_of.items() if at is worker]
        for route in mine:
            del self.route_of[route]
        return mine

    def worker_of(self, key: int) -> Worker | None:
        """Where a request is worked on; None if that worker is dead."""
        place = self._keys.get(key)
        return None if place is None else place[0]

    # In

    def open(
        self, exchange: int, head: HttpRequest, *, principal: str | None = None, now: float
    ) -> int:
        self.now = now
        worker = self.route_of[exchange] = self.pick(head)
        return worker.server.open(exchange, head, principal=principal, now=now)

    def body(self, exchange: int, data: bytes, *, end: bool, now: float) -> None:
        self.now = now
        self.route_of[exchange].server.body(exchange, data, end=end, now=now)

    def disconnect(self, exchange: int, *, now: float) -> None:
        self.now = now
        worker = self.route_of.pop(exchange, None)
        if worker is not None:
            worker.server.disconnect(exchange, now=now)

    def next_event(self) -> Event | None:
        while True:
            for worker in self.workers:
                while (event := worker.server.next_event()) is not None:
                    if not isinstance(event, Step):
                        return self._translated(worker, event)
                    worker.asked.append(event)
            if self.slow or not self.move():
                return None

    def move(self) -> bool:
        """Let steps and notes travel; False if there are none."""
        moved = False
        for worker in self.workers:
            moved = worker.carry_out(1_000, EPOCH + self.now) or moved
            while worker.outcomes:
                worker.learn(0, self.now)
        for worker in self.workers:
            moved = worker.read_mail() or moved
            while worker.notes:
                worker.server.note(worker.notes.popleft(), now=self.now)
        return moved

    def _translated(self, worker: Worker, event: Event) -> Event:
        if isinstance(event, RequestReceived):
            self._calls += 1
            key = self._calls
            self._keys[key] = (worker, event.key)
            return structs.replace(event, key=key)
        if isinstance(event, RequestCancelled):
            found = [key for key, place in self._keys.items() if place == (worker, event.key)]
            return structs.replace(event, key=found[0])
        return event

    # Out

    def writable(self) -> list[int]:
        return [route for worker in self.workers for route in worker.server.writable()]

    def data_to_send(self, exchange: int, limit: int) -> list[HttpHead | HttpChunk | HttpEnd]:
        worker = self.route_of.get(exchange)
        items = [] if worker is None else worker.server.data_to_send(exchange, limit)
        if items and isinstance(items[-1], HttpEnd):
            del self.route_of[exchange]
        return items

    def deadline(self) -> float | None:
        dues = [worker.server.deadline() for worker in self.workers]
        return min((due for due in dues if due is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        self.now = now
        for worker in self.workers:
            due = worker.server.deadline()
            if due is not None and due <= now:
                worker.server.handle_timeout(now)

    @property
    def exchanges(self) -> int:
        return sum(worker.server.exchanges for worker in self.workers)

    # Calls of the owner

    def respond(self, key: int, result: Body) -> bool:
        worker, own = self._keys[key]
        return worker.server.respond(own, result)

    def fail(self, key: int, error: ErrorData) -> bool:
        worker, own = self._keys[key]
        return worker.server.fail(own, error)

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if parent is None:
            # What two workers say at the same time has no order.
            worker = self.workers[0] if self.in_order else self.next_worker()
            worker.server.notify(method, params, meta=meta)
        else:
            worker, own = self._keys[parent]
            worker.server.notify(method, params, parent=own, meta=meta)

    def request(
        self, method: str, *, now: float, parent: int, timeout: float | None = None
    ) -> RequestId:
        worker, own = self._keys[parent]
        return worker.server.request(method, now=now, parent=own, timeout=timeout)

    def close_stream(self, key: int, *, retry: float | None = None, now: float) -> bool:
        worker, own = self._keys[key]
        return worker.server.close_stream(own, retry=retry, now=now)

    def close_get_streams(self, session: str, *, retry: float | None = None, now: float) -> int:
        closed = 0
        for worker in self.workers:
            try:
                closed += worker.server.close_get_streams(session, retry=retry, now=now)
            except LocalProtocolError:
                continue  # it has no replica of the session
        return closed
