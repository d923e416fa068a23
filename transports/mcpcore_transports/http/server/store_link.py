"""Link between an HTTP server and its store: steps out in batches, outcomes and notes in.

A store blocks, so it is called in worker threads of anyio.  One thread carries out steps, a batch
at a time: a slow store gets larger batches.  Another waits for notes of other workers.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.to_thread

from mcpcore.engine.events import Event
from mcpcore.errors import StoreUnavailableError
from mcpcore.http.storing import Step, StoreBinding, StoreFailure
from mcpcore.spec.errors import LocalProtocolError
from mcpcore_transports.http1.settings import StoreLinkSettings
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.stores.base import StepOutcome, Store, StoreSettings

__all__ = ["StoreLink", "StoreLinkSettings", "binding", "worker_name"]

logger = logging.getLogger("mcpcore.store")


def worker_name() -> str:
    """Return a random name, unique for a worker, which clients see in the ids of requests."""
    return secrets.token_urlsafe(9)


def binding(store: Store) -> StoreBinding:
    """Make this process a worker of a store, which may block.  Raises StoreUnavailableError."""
    known = getattr(store, "settings", None)
    lives = known if isinstance(known, StoreSettings) else None
    return StoreBinding(
        worker=worker_name(),
        secret=store.secret(),
        epoch=time.time() - clock(),
        idle=None if lives is None else lives.idle,
        absolute=None if lives is None else lives.absolute,
    )


class StoringMachine(Protocol):
    """Machine whose steps a link carries out: an HTTP server, or the tasks of a server."""

    reachable: bool
    """False while the store cannot be reached."""

    def stored(self, token: int, outcome: StepOutcome, *, now: float) -> None:
        """Take the outcome of a step."""

    def note(self, data: bytes, *, now: float) -> None:
        """Take a note of another worker, or of the store.  Raises LocalProtocolError."""


class StoreLink(App):
    """App in front of the application of a machine: takes the steps out of its events."""

    def __init__(
        self,
        store: Store,
        worker: str,
        machine: StoringMachine,
        app: App,
        flush: Callable[[], None],
        *,
        settings: StoreLinkSettings | None = None,
    ) -> None:
        self.settings = settings or StoreLinkSettings()
        self._store = store
        self._worker = worker
        self._machine = machine
        self._app = app
        self._flush = flush
        self._waiting: list[Step] = []
        self._more = anyio.Event()
        self._closing = threading.Event()

    def handle(self, event: Event) -> None:
        """Take one event of the machine."""
        if not isinstance(event, Step):
            self._app.handle(event)
        elif len(self._waiting) < self.settings.waiting:
            self._waiting.append(event)
            self._more.set()
        else:
            failure = StoreFailure("too much waits for the store")
            self._machine.stored(event.token, failure, now=clock())

    async def run(self) -> None:
        """Carry out steps and take notes, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen)
            await self._carry_out()

    async def leave(self) -> None:
        """Tell the store that this worker leaves; its unfinished work belongs to no worker then."""
        self._closing.set()
        with anyio.move_on_after(self.settings.farewell, shield=True):
            try:
                await anyio.to_thread.run_sync(
                    self._store.leave, self._worker, abandon_on_cancel=True
                )
            except BaseException as raised:  # a fault as below: the server ends all the same
                error = failure_of(raised)
                logger.warning("the store does not hear that %s goes: %s", self._worker, error)

    async def _carry_out(self) -> None:
        limiter = anyio.CapacityLimiter(1)
        while True:
            if not self._waiting:
                self._more = anyio.Event()
                await self._more.wait()
            batch = self._waiting[: self.settings.batch]
            del self._waiting[: self.settings.batch]
            outcomes = await anyio.to_thread.run_sync(self._commit, batch, limiter=limiter)
            now = clock()
            for step, outcome in zip(batch, outcomes, strict=True):
                self._machine.stored(step.token, outcome, now=now)
            self._flush()

    def _commit(self, batch: list[Step]) -> list[StepOutcome]:
        try:
            outcomes = self._store.commit(self._worker, batch, time.time())
            if len(outcomes) != len(batch):
                raise RuntimeError(f"{len(batch)} steps have {len(outcomes)} outcomes")
            return outcomes
        except BaseException as raised:
            # A third party's store may have faults; waiting callers must be told.
            error = failure_of(raised)
            logger.error("the store failed", exc_info=error)
            return [StoreFailure(f"the store failed: {type(error).__name__}")] * len(batch)

    def _receive(self, timeout: float) -> list[bytes]:
        """Receive notes, in a thread; nothing when closing, to avoid registering again."""
        if self._closing.is_set():
            return []
        notes = self._store.receive(self._worker, timeout)
        if self._closing.is_set():  # perhaps only since then, and it has registered after it left
            self._store.leave(self._worker)
        return notes

    async def _listen(self) -> None:
        limiter = anyio.CapacityLimiter(1)
        down = False
        while not self._closing.is_set():
            try:
                notes = await anyio.to_thread.run_sync(
                    self._receive,
                    0.0 if down else self.settings.listen,
                    limiter=limiter,
                    abandon_on_cancel=True,
                )
            except BaseException as raised:
                error = failure_of(raised)
                if not isinstance(error, StoreUnavailableError):
                    logger.error("the store failed", exc_info=error)
                elif not down:
                    logger.warning("the store is out of reach: %s", error)
                down = True
                self._machine.reachable = False
                await anyio.sleep(self.settings.pause)
                continue
            if down:
                logger.warning("the store is within reach again")
                down = False
                self._machine.reachable = True
            if notes:
                now = clock()
                for note in notes:
                    try:
                        self._machine.note(note, now=now)
                    except LocalProtocolError as error:
                        # Perhaps from a worker of a newer version.
                        logger.warning("a note of another worker is not understood: %s", error)
                self._flush()
