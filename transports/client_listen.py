"""News of changes as one async iterator, in both eras.

In the modern era it is a ``subscriptions/listen`` stream.  In the legacy one the changes arrive on
the connection, and resources are subscribed to one by one.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.events import ErrorReceived, RequestEnded, ResultReceived
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.spec.types.tasks import Task
from mcpcore.wire.message import RequestId
from transports.client_errors import (
    ConnectionClosed,
    InvalidResponse,
    PeerError,
    ended,
    promised,
)
from transports.client_news import RESOURCE_UPDATED, TASK_CHANGED, TASK_STATUS

if TYPE_CHECKING:
    from transports.client_core import ClientCore

LISTEN = "subscriptions/listen"
_UNSUBSCRIBE_TIME = 2.0
_PENDING_LIMIT = 4096

_FLAGS = {
    "notifications/tools/list_changed": ("tools_list_changed", "tools.listChanged"),
    "notifications/prompts/list_changed": ("prompts_list_changed", "prompts.listChanged"),
    "notifications/resources/list_changed": ("resources_list_changed", "resources.listChanged"),
}
"""Notification to the filter's member and the server's capability."""


class Change(Struct, frozen=True):
    """Something changed on the server. ``uri``: which resource; ``task_id``: which task."""

    method: str
    uri: str | None = None
    task_id: str | None = None

    @property
    def kind(self) -> str:
        """``tools``, ``prompts``, ``resources`` (their lists), ``resource`` or ``task`` (one)."""
        return _KINDS.get(self.method) or self.method.split("/")[1]


_KINDS = {RESOURCE_UPDATED: "resource", TASK_CHANGED: "task", TASK_STATUS: "task"}


class _Uri(Struct):
    uri: str | None = None


class Listening:
    """An open stream of changes: ``async with client.listen(...) as changes: async for ...``.

    Changes that wait to be looked at are joined: the same change twice is one, so that a slow
    reader loses nothing that matters.  The iteration ends when the server ends the stream
    gracefully; if it breaks, the iteration raises PeerError, ConnectionClosed or another
    CallFailed.
    """

    def __init__(self, core: "ClientCore", wanted: SubscriptionFilter) -> None:
        self.filter = wanted
        """What was asked for; once open, what the server honours of it."""
        self.tasks: dict[str, Task] = {}
        """The last that was heard of each task; what the extension says is complete."""
        self._core = core
        self._request: RequestId | None = None
        self._uris: list[str] = []
        self._pending: dict[Change, None] = {}
        self._news = anyio.Event()
        self._open = False
        self._ended = False
        self._error: Exception | None = None

    async def __aenter__(self) -> "Listening":
        if self._core.closed is not None:
            raise ConnectionClosed(LISTEN, self._core.closed)
        revision = self._core.revision
        if lookup(LISTEN, "client", revision) is not None:
            await self._open_stream()
        else:
            await self._subscribe()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._request is not None:
            self._core.streams.pop(self._request, None)
            if not self._ended:
                self._core.cancel(self._request)
        elif self in self._core.listeners:
            self._core.listeners.remove(self)
            with anyio.move_on_after(_UNSUBSCRIBE_TIME, shield=True):
                await self._leave()
        self._ended = True

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            await self._wait()
        change = next(iter(self._pending))
        del self._pending[change]
        return change

    # What the core tells

    def acknowledged(self, honoured: SubscriptionFilter) -> None:
        """The server opened the stream."""
        self.filter = honoured
        self._open = True
        self._news.set()

    def notify(self, method: str, params: Raw) -> None:
        """A notification arrived."""
        change, task = Change(method), None
        if method == RESOURCE_UPDATED:
            change = Change(method, promised(params, _Uri, method).uri)
        elif method in (TASK_CHANGED, TASK_STATUS):
            task = promised(params, Task, method)
            change = Change(method, task_id=task.task_id)
        if not self._wants(change):
            return
        if task is not None:
            self.tasks[task.task_id] = task
        if len(self._pending) >= _PENDING_LIMIT:
            del self._pending[next(iter(self._pending))]
        self._pending[change] = None
        self._news.set()

    def carries(self, task_id: str) -> bool:
        """Whether the stream is open and tells of a task."""
        wanted = self.filter.task_ids
        return self._open and not self._ended and wanted is not UNSET and task_id in wanted

    def end(self, outcome: ResultReceived | ErrorReceived | RequestEnded) -> None:
        """The stream is over."""
        if isinstance(outcome, ErrorReceived):
            self._error = PeerError(outcome.method, outcome.error)
        elif isinstance(outcome, RequestEnded):
            self._error = ended(outcome)
        self._ended = True
        self._news.set()

    def broken(self, error: Exception) -> None:
        """The connection is gone."""
        self._error = error
        self._ended = True
        self._news.set()

    # How it opens

    async def _open_stream(self) -> None:
        try:
            await self._core.open_stream(self, self.filter)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def opened(self, request: RequestId) -> None:
        """Wait until the stream that ``request`` asks for is open.  Raises what prevented it."""
        self._request = request
        while not self._open and not self._ended:
            await self._wait()
        if not self._open:
            raise self._error or InvalidResponse(LISTEN, "it ended without an acknowledgement")

    async def _subscribe(self) -> None:
        wanted, offered = self.filter, self._core.capabilities
        honoured = SubscriptionFilter()
        for member, capability in _FLAGS.values():
            if getattr(wanted, member) is True and declares(offered, capability):
                setattr(honoured, member, True)
        if wanted.resource_subscriptions and declares(offered, "resources.subscribe"):
            honoured.resource_subscriptions = wanted.resource_subscriptions
        if wanted.task_ids and declares(offered, "tasks"):
            honoured.task_ids = wanted.task_ids
        self.filter = honoured
        self._core.listeners.append(self)
        interest = self._core.interest
        try:
            for uri in honoured.resource_subscriptions or ():
                self._uris.append(uri)
                interest[uri] += 1
                if interest[uri] == 1:
                    await self._core.request("resources/subscribe", {"uri": uri})
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def _leave(self) -> None:
        interest = self._core.interest
        for uri in self._uris:
            interest[uri] -= 1
            if not interest[uri]:
                del interest[uri]
                with suppress(McpError, LocalError):
                    await self._core.request("resources/unsubscribe", {"uri": uri})

    def _wants(self, change: Change) -> bool:
        if change.uri is not None:
            # A server may report something inside of the resource that was subscribed to.
            return self.filter.resource_subscriptions not in (UNSET, [])
        if change.task_id is not None:
            wanted = self.filter.task_ids
            return wanted is not UNSET and change.task_id in wanted
        flag = _FLAGS.get(change.method)
        if flag is None:  # of an extension, if it came on our own stream
            return self._request is not None
        return getattr(self.filter, flag[0]) is True

    async def _wait(self) -> None:
        self._news = anyio.Event()
        await self._news.wait()
