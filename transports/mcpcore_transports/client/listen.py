"""Changes on the server as one async iterator, in both eras.

They arrive on a ``subscriptions/listen`` stream (modern), or on the connection, and resources are
subscribed to one by one (legacy).
"""

import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from msgspec import Raw, Struct

from mcpcore.engine.events import ErrorReceived, RequestEnded, ResultReceived
from mcpcore.engine.reconnection import grown
from mcpcore.errors import (
    CallFailed,
    CallUnauthorized,
    ConnectionClosed,
    InvalidResponse,
    LocalProtocolError,
    PeerError,
)
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import ERRORS, LocalError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.spec.types.tasks import Task
from mcpcore.wire.message import RequestId
from mcpcore_transports.client.errors import failure_of_request, promised
from mcpcore_transports.link import clock
from mcpcore_transports.running.audit import LONGEST_REASON, printable

if TYPE_CHECKING:  # a type alone: the core makes use of this module
    from mcpcore_transports.client.core import ClientCore

LISTEN = "subscriptions/listen"
RESOURCE_UPDATED = "notifications/resources/updated"
TASK_CHANGED = "notifications/tasks"
TASK_STATUS = "notifications/tasks/status"
_STEADY = 10.0
"""Seconds after which the end of a stream is no failure, but a cut of idle connections."""

logger = logging.getLogger("mcpcore.client")

Pace = tuple[int, float, float]
"""Pace of attempts: their number, seconds before the first, and maximum seconds before any."""

LIST_CHANGES = {
    "notifications/tools/list_changed": ("tools_list_changed", "tools.listChanged"),
    "notifications/prompts/list_changed": ("prompts_list_changed", "prompts.listChanged"),
    "notifications/resources/list_changed": ("resources_list_changed", "resources.listChanged"),
}
"""Member of the filter and capability of the server, by notification."""

_KINDS = {RESOURCE_UPDATED: "resource", TASK_CHANGED: "task", TASK_STATUS: "task"}


class Change(Struct, frozen=True):
    """A change on the server, with ``uri`` of a resource, or ``task_id`` of a task."""

    method: str
    uri: str | None = None
    task_id: str | None = None
    missed: bool = False
    """True if the stream was broken for a while, and the change may have happened meanwhile."""

    @property
    def kind(self) -> str:
        """``tools``, ``prompts``, ``resources`` (their lists), ``resource`` or ``task`` (one)."""
        return _KINDS.get(self.method) or self.method.split("/")[1]


class _Uri(Struct):
    uri: str | None = None


class Listening:
    """An open stream of changes: ``async with client.listen(...) as changes: async for ...``.

    Equal changes that wait for the reader are joined into one.  A broken stream is opened again:
    over HTTP according to its settings (``max_resumes``, ``retry_delay``, ``max_retry_delay``), on
    other bindings with the next connection (``ClientSettings.reconnect``).  Then all that it covers
    is reported as changed, with ``missed``.

    The iteration ends when the server ends the stream gracefully without going away itself.  If the
    stream is broken for good, the iteration raises PeerError, ConnectionClosed or another
    CallFailed, or the exception of a middleware on the way to a new stream.
    """

    def __init__(self, core: "ClientCore", wanted: SubscriptionFilter) -> None:
        self.wanted = wanted
        """Filter that was asked for."""
        self.filter = wanted
        """Filter that the server honours, once the stream is open."""
        self.reopened = 0
        """Number of times the stream broke and was opened again."""
        self.tasks: dict[str, Task] = {}
        """Latest state of each task by id; the extension's notifications are complete states."""
        self._core = core
        self._request: RequestId | None = None
        self._uris: list[str] = []
        self._pending: dict[Change, None] = {}
        self._news = anyio.Event()
        self._used = False
        self._open = False
        self._acknowledged = False
        """True like :attr:`_open`, but still so after an open stream has ended."""
        self._since = 0.0
        self._tries = 0
        self._reopening = False
        self._ended = False
        self._error: Exception | None = None

    async def __aenter__(self) -> "Listening":
        if self._used:
            raise LocalProtocolError("a stream is opened once: call listen() for another")
        self._used = True
        if self._core.closed is not None:
            raise ConnectionClosed(LISTEN, self._core.closed)
        try:
            if lookup(LISTEN, "client", self._core.revision) is not None:
                await self._core.open_stream(self, self.wanted)
            elif self._core.deaf is not None:
                raise ConnectionClosed(LISTEN, self._core.deaf)
            else:
                await self._subscribe()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._request is not None:
            self._core.streams.pop(self._request, None)
            if not self._ended:
                self._core.cancel(self._request, "nobody listens any more")
        elif self in self._core.listeners:
            self._core.listeners.remove(self)
            with anyio.move_on_after(self._core.settings.parting_time, shield=True):
                await self._leave()
        if not self._ended:
            self._request, self._error, self._ended = None, None, True
            self._wake()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._ended:
                raise self._error or StopAsyncIteration
            await self._wait()
        change = next(iter(self._pending))
        del self._pending[change]
        return change

    # Events from the core

    def acknowledged(self, honoured: SubscriptionFilter) -> None:
        """Record that the server opened the stream, for the first time or on a later connection."""
        again = self._open
        self.filter = honoured
        self._open, self._acknowledged, self._since = True, True, clock()
        if again:
            self.missed()
        self._wake()

    def notify(self, method: str, params: Raw) -> None:
        """Take a notification."""
        self._tries = 0
        change, task = Change(method), None
        if method == RESOURCE_UPDATED:
            change = Change(method, promised(params, _Uri, method).uri)
        elif method in (TASK_CHANGED, TASK_STATUS):
            task = promised(params, Task, method)
            change = Change(method, task_id=task.task_id)
        wanted = _wants(self.filter, change)
        # A change of an extension is taken from this listener's own stream.
        if wanted or (wanted is None and self._request is not None):
            if task is not None:
                self.tasks[task.task_id] = task
            self._add(change)

    def carries(self, task_id: str) -> bool:
        """Return True if the stream is open and covers a task."""
        return self._open and not self._ended and task_id in self.filter.task_ids

    def end(self, outcome: ResultReceived | ErrorReceived | RequestEnded) -> None:
        """End the stream, or open it again if its end allows that."""
        was_open, self._open, self._request = self._open, False, None
        if was_open and clock() - self._since > _STEADY:
            self._tries = 0
        if isinstance(outcome, ResultReceived):
            self._ended = not self._core.parts(self)
        else:
            self._error = failure_of_request(outcome)
            if was_open and not self._reopening:  # otherwise whoever opens it decides
                again = _passes(self._error)
                self._ended = not (again and self._core.reopen(self, self._error))
        self._wake()

    def broken(self, error: Exception) -> None:
        """End the iteration with ``error``, as the connection is gone."""
        self._error, self._ended = error, True
        self._wake()

    def refused(self, uri: str, error: Exception) -> None:
        """End the iteration if a new session of the server refuses one of its resources."""
        if uri in self._uris:
            self.broken(error)

    def _add(self, change: Change) -> None:
        if len(self._pending) >= self._core.settings.max_changes:
            del self._pending[next(iter(self._pending))]
        self._pending[change] = None
        self._wake()

    # Opening

    def begun(self, request: RequestId) -> None:
        """Record the request that opens the stream."""
        self._request, self._error, self._acknowledged = request, None, False

    async def opened(self) -> None:
        """Wait until the stream is open or was so briefly.  Raises the error that prevented it."""
        while not self._acknowledged and self._request is not None:
            await self._wait()
        if not self._acknowledged:
            raise self._error or InvalidResponse(LISTEN, "it ended without an acknowledgement")

    async def reopen(self, attempts: int, delay: float, longest: float) -> None:
        """Open a broken stream again, in at most ``attempts`` attempts in a row.

        The delay doubles from ``delay`` up to ``longest`` seconds and varies randomly, so that not
        all clients of a restarted server come back at once.
        """
        logger.info("a listen stream broke: %s", printable(str(self._error), LONGEST_REASON))
        self._reopening = True
        try:
            while self._tries < attempts:
                self._tries += 1
                pause = grown(delay, 2, self._tries, longest)
                await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                if self.over():
                    return
                try:
                    await self._core.open_stream(self, self.wanted)
                except Exception as error:  # a middleware may raise anything
                    if self.over():
                        return
                    self._error = error
                    if not _passes(error):
                        break
                else:
                    self.missed()
                    if self._error is None:
                        return
                    if not _passes(self._error):  # the new stream ended at once
                        break
        finally:
            self._reopening = False
        if not self.over():
            self.broken(self._error or ConnectionClosed(LISTEN, "it cannot be opened again"))

    async def part(self, lost: anyio.Event, patience: float, again: Pace) -> None:
        """Wait ``patience`` seconds for a loss of the connection; end the iteration without."""
        with anyio.move_on_after(patience):
            await lost.wait()
        if lost.is_set() and not self.over():
            await self.reopen(*again)
        else:
            self._ended = True
            self._wake()

    def over(self) -> bool:
        """Return True if the iteration has ended; asked again after every wait."""
        return self._ended

    def missed(self) -> None:
        """Report all that may have changed unnoticed while the stream was broken."""
        self.reopened += 1
        uris, task_ids = self.filter.resource_subscriptions or (), self.filter.task_ids or ()
        changes = [
            Change(method, missed=True)
            for method, (member, _) in LIST_CHANGES.items()
            if getattr(self.filter, member) is True
        ]
        changes += [Change(RESOURCE_UPDATED, uri=uri, missed=True) for uri in uris]
        changes += [Change(TASK_CHANGED, task_id=task_id, missed=True) for task_id in task_ids]
        for change in changes:
            self._add(change)
            self._core.assume(change)

    async def _subscribe(self) -> None:
        wanted, offered = self.wanted, self._core.capabilities
        honoured = SubscriptionFilter()
        for member, capability in LIST_CHANGES.values():
            if getattr(wanted, member) is True and declares(offered, capability):
                setattr(honoured, member, True)
        if wanted.resource_subscriptions and declares(offered, "resources.subscribe"):
            honoured.resource_subscriptions = wanted.resource_subscriptions
        if wanted.task_ids and declares(offered, "tasks"):
            honoured.task_ids = wanted.task_ids
        self.filter = honoured
        self._core.listeners.append(self)
        for uri in honoured.resource_subscriptions or ():
            shared = self._shared(uri)
            self._uris.append(uri)
            if not shared:
                await self._core.request("resources/subscribe", {"uri": uri})

    def _shared(self, uri: str) -> bool:
        """Return True if a listener has subscribed to a resource already."""
        return any(uri in listener._uris for listener in self._core.listeners)

    async def _leave(self) -> None:
        while self._uris:
            uri = self._uris.pop(0)
            if uri in self._uris or self._shared(uri):
                continue
            if self._core.away:  # the next session does not have the subscription
                self._core.subscribed.pop(uri, None)
                continue
            with suppress(McpError, LocalError):
                await self._core.request("resources/unsubscribe", {"uri": uri})

    async def _wait(self) -> None:  # overridden where there is no event loop
        await self._news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


def _passes(error: Exception) -> bool:
    """Return True if another attempt may succeed."""
    if isinstance(error, PeerError):
        row = ERRORS.get(error.code)
        return row is not None and row.retryable
    if isinstance(error, CallUnauthorized):  # a person who said no is not asked again
        return error.fault is not None and error.fault.passing
    return isinstance(error, CallFailed) and not isinstance(error, InvalidResponse)


def _wants(filter: SubscriptionFilter, change: Change) -> bool | None:
    """Return True if ``filter`` includes a change; None for a kind that has no filter."""
    if change.uri is not None:
        # A server may report a part of the resource that was subscribed to.
        return bool(filter.resource_subscriptions)
    if change.task_id is not None:
        return change.task_id in filter.task_ids
    row = LIST_CHANGES.get(change.method)
    return None if row is None else bool(getattr(filter, row[0]))
