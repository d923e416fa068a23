"""One run: a story on one driver, one point that fails, and the rules after it."""

import asyncio
import gc
import operator
import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import pytest
import sniffio
from msgspec import Struct

from mcpcore import Endpoint, HttpClient, LocalError, Peer
from mcpcore.errors import RequestTimeout, StoreUnavailableError
from mcpcore_transports.link import clock
from mcpcore_transports.serve.serve import backend_options
from tests.bindings.stories import Ledger, children
from tests.bindings.workbench import census
from tests.faults.allowed import NUMBERED, REMEMBERED, STORED
from tests.faults.complaints import Complaints, briefly
from tests.faults.holdings import OURS, counts, living, more, tables
from tests.rest import at_rest
from tests.torture import calls
from tests.torture.functions import Failed
from tests.torture.points import Point, Watch
from tests.torture.reach import Reached
from tests.torture.rows import Row
from tests.torture.stages import Stage
from tests.torture.stored import SERVING, Ahead, lapse
from tests.torture.story import ENDS, HEARD, Story, hello
from tests.torture.suspensions import Cancelling, observed

PATIENCE = 30.0
"""Seconds that everything together may take."""
SETTLING = 6.0
"""Seconds within which what was under way is over."""
HURRIED = 0.4
"""Seconds of a run from which on a bound of time may have come too soon for the machine ..."""
UNHURRIED = 8.0
"""... and how many times as long everything may take when it is run again."""
HARMLESS = {"short", "again"}
"""Ways to fail of which nobody may notice anything."""
MAY_GROW = NUMBERED | STORED | set(REMEMBERED)
"""What a server may keep of clients who have gone."""
OPENING = (OSError, LocalError, Failed, StoreUnavailableError)
"""How it is told that a server cannot be opened."""
OPENED = ("lifespan.", "serve.")
"""What is opened and closed with a server, and who is told that it has just been opened: they fail
that as well.  So their points begin."""
_T = TypeVar("_T")


class Found(Struct):
    """What came of one run."""

    point: Point | None
    reached: bool
    problems: list[str]
    watch: Watch


@contextmanager
def _unheard(heard: list[str]) -> Iterator[None]:
    """Hear what is raised where nobody hears it; warnings are raised."""
    unraisable = sys.unraisablehook

    def unheard(problem: Any) -> None:
        # Generators of httpx hold others that nobody closes when they are left early.
        if not any(name in str(problem.exc_value) for name in ("'httpx.", "'httpcore.")):
            heard.append(f"unraisable: {problem.exc_value!r} in {problem.object!r}")

    sys.unraisablehook = unheard
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = unraisable


class _Tables:
    """The tables of requests in flight of every endpoint, and of exchanges of every HTTP client,
    that a run has made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._endpoints = _made(patch, Endpoint)
        self._clients = _made(patch, HttpClient)

    def left(self) -> list[str]:
        """What is still in flight."""
        requests = [
            f"{way} {row.method}"
            for endpoint in self._endpoints
            for way, table in (("in", endpoint.inbound), ("out", endpoint.outbound))
            for row in table.values()
        ]
        exchanges = sum(client.exchanges for client in self._clients)
        return [*requests, f"{exchanges} exchanges"] if exchanges else requests


def _made(patch: pytest.MonkeyPatch, kind: type[_T]) -> list[_T]:
    """All objects of a class that are made from now on."""
    made: list[_T] = []
    begin = kind.__init__

    def begun(new: _T, *arguments: Any, **settings: Any) -> None:
        begin(new, *arguments, **settings)
        made.append(new)

    patch.setattr(kind, "__init__", begun)
    return made


class Run:
    """The story on one driver, once."""

    def __init__(self, row: Row, era: str, target: Point | None, patience: float = 1.0) -> None:
        self.row, self.era, self.patience = row, era, patience
        self.watch = Watch(target)
        self.problems: list[str] = []
        self._point = target
        self._tables: _Tables

    def play(self, backend: str) -> Found:
        """Do it, on an event loop of its own."""
        before = _held()
        complaints = Complaints(briefly)
        with pytest.MonkeyPatch.context() as patch:
            ledger = Ledger(patch)
            self._tables = _Tables(patch)
            with complaints.listening(), _unheard(complaints.heard), self.watch.watching():
                try:
                    anyio.run(self._perform, **_loop(backend))
                except TimeoutError:
                    self.problems.append("it hangs")
                except Exception as error:
                    self.problems.append(f"it raises {_flat(error)}")
        try:
            ledger.check(asked=self._point is None and self.row.act.serves)
        except AssertionError as error:
            self.problems.append(str(error).partition("\n")[0])
        after = _held()
        until = time.monotonic() + SETTLING * self.patience
        while any(map(operator.gt, after, before)) and time.monotonic() < until:
            time.sleep(0.005)  # threads that were left to themselves tell nobody of their end
            after = _held()
        for name, ours, now in zip(
            ("descriptors", "children", "threads"), before, after, strict=True
        ):
            if now > ours:
                self.problems.append(f"{name} left: {now} where there were {ours}")
        self.problems += self._heard(complaints.heard)
        return Found(self._point, self.watch.failed, self.problems, self.watch)

    def _heard(self, texts: list[str]) -> list[str]:
        """What is wrong with what was logged; what functions of the user's raise is logged."""
        if self._point is not None and self._point.family == "user":
            texts = [text for text in texts if text.startswith("unraisable")]
        return [f"logged: {text}" for text in texts]

    async def _perform(self) -> None:
        cancelling = Cancelling()
        stage = Stage(
            cancelling, waits=self.era < "2026", until=self._until, patience=self.patience
        )
        with anyio.fail_after(PATIENCE * self.patience), observed(cancelling):
            standing: list[Any] = []
            async with self.row.open(stage):
                standing = living(OURS)
                before = _kept(standing)
                if stage.failure is None and not stage.ended.is_set():
                    await self._converse(stage)
                if stage.http_client is None and not stage.ended.is_set():
                    served, come_back = Ahead(clock), stage.come_back

                    def kept() -> list[str]:
                        lapse(standing, served)
                        found = more(_kept(standing), before, MAY_GROW | SERVING)
                        return come_back() or found

                    await self._until("kept while it serves", kept)
            self._judge_server(stage)
            if (
                self._point is None or self._point.kind != "server"
            ):  # what is dead may have work left
                await self._until("kept", lambda: more(_kept(standing), before, MAY_GROW))
        await self._nothing_runs()

    async def _converse(self, stage: Stage) -> None:
        story = Story(
            stage.cancelling,
            stage.client,
            self.row.act,
            waits=stage.waits,
            heard=HEARD * self.patience,
            http_client=stage.http_client,
        )
        looked = True
        await self._as_a_task(stage, story)
        self.watch.on = False
        self._judge_client(story)
        stage.released.set()
        stage.refusing = False
        stage.calm()
        if self.watch.failed and self._point is not None and self._point.kind == "server":
            await stage.ended.wait()
            looked = not self.row.stored
        elif self.row.act.serves and stage.failure is None:  # which is judged by itself
            try:
                await hello(stage.target, self.era, stage.client, stage.http_client)
            except (*ENDS, AssertionError) as error:
                looked = False
                self.problems.append(f"who comes next is not served: {_flat(error)}")
        if looked:
            await self._until("in flight", self._tables.left)

    async def _as_a_task(self, stage: Stage, story: Story) -> None:
        """Live the story, in a task that can be cancelled as those of the event loop are."""

        async def live() -> None:
            with (
                anyio.CancelScope() as scope,
                stage.cancelling.offering("client", scope.cancel),
            ):
                await story.live(stage.target, self.era)

        if sniffio.current_async_library() == "trio":
            await live()
            return
        task = asyncio.create_task(live())
        try:
            with stage.cancelling.offering("task", task.cancel):
                await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        if not task.cancelled():
            task.result()
        elif self._point is None or self._point.kind != "task":
            self.problems.append("the client is cancelled, and nobody has cancelled it")

    # What is wrong

    def _judge_client(self, story: Story) -> None:
        point = self._point
        wrong = dict(story.wrong)
        for name, end in wrong.items():
            if not story.may_end(end):
                self.problems.append(f"{name} ends in {_flat(end)}")
            elif isinstance(end, RequestTimeout) and not self.row.silent:
                self.problems.append(f"{name} waits for its deadline")
        if isinstance(story.refused, RequestTimeout) and not self.row.silent:
            self.problems.append("connecting waits for its deadline")
        last = story.act.last[0].__name__
        if not self.watch.failed or (point is not None and point.kind in HARMLESS):
            if (wrong or story.refused) and not story.act.fickle:
                self.problems.append(f"it fails for no reason: {_flat(story.refused)} {wrong}")
        elif story.stopped and not story.act.fickle and last in wrong:
            self.problems.append(f"after cancelled calls no other: {wrong[last]!r}")

    def _judge_server(self, stage: Stage) -> None:
        error, point = stage.failure, self._point
        if error is None:
            return
        opening = point is not None and (
            point.site.startswith(OPENED) or (stage.target is None and point.family != "wait")
        )
        if not (opening and isinstance(error, OPENING)):
            self.problems.append(f"the server fails: {_flat(error)}")

    async def _until(self, what: str, look: Any) -> None:
        """Let what is still there have its time."""
        with anyio.move_on_after(SETTLING * self.patience):
            while found := look():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.005)
            return
        self.problems.append(f"{what}: {found}")

    async def _nothing_runs(self) -> None:
        await self._until("tasks left", _tasks)


def _loop(name: str) -> dict[str, Any]:
    """What is said of an event loop to run on it."""
    if name == "uvloop":
        return {"backend": "asyncio", "backend_options": backend_options("uvloop", "asyncio", None)}
    return {"backend": name}


def _tasks() -> list[str]:
    tasks = census().tasks
    return [] if sum(tasks.values()) <= _BARE[sniffio.current_async_library()] else list(tasks)


_BARE = {"asyncio": 1, "trio": 3}
"""Tasks of an event loop that does nothing."""


def _kept(standing: list[Any]) -> Counter[str]:
    return tables(standing) + counts(standing)


def _held() -> tuple[int, int, int]:
    threads = [each for each in threading.enumerate() if not each.name.startswith("Trio")]
    return len(os.listdir("/proc/self/fd")), len(children()), len(threads)


def _flat(error: Any) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " + ".join(_flat(each) for each in error.exceptions)
    return repr(error)


def play(row: Row, era: str, target: Point | None, backend: str) -> Found:
    """Do a run; and again, with far more time, if something was wrong and a bound may be why.

    What is wrong in a short run is so on any machine, and what still is with time to spare, too;
    and what hangs waits for something that no machine is slow enough for.
    """
    began = time.monotonic()
    found = Run(row, era, target).play(backend)
    if found.problems and HURRIED < time.monotonic() - began < PATIENCE:
        found = Run(row, era, target, UNHURRIED).play(backend)
    return found


def collect_points(row: Row, era: str, backend: str) -> tuple[Watch, Reached]:
    """Every point of the story on a driver, and where it has waited."""
    anyio.run(anyio.sleep, 0, **_loop(backend))  # uvloop has descriptors that it never closes
    reached = Reached()
    with reached.looking():  # what is made once, such as a guard of processes, is made by this one
        first = play(row, era, None, backend)
    found = play(row, era, None, backend)
    for problems in (first.problems, found.problems):
        if problems:
            raise AssertionError(f"it does not even work: {problems}")
    return found.watch, reached


@contextmanager
def rack() -> Iterator[None]:
    """Where runs are made: calls of the system are watched, what was there before is at rest."""
    at_rest()
    with calls.watched():
        yield


def no_peer_left() -> list[str]:
    """Peers that nobody has let go of."""
    gc.collect()
    return [repr(each) for each in gc.get_objects() if isinstance(each, Peer)]
