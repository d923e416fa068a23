"""Messages of a handler to the client: progress, log messages, other notifications.

They are sent on the stream of the request; messages of a task are delivered with the task.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.engine.peer import Peer
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import LoggingLevel
from mcpcore_transports.link import clock
from mcpcore_transports.running.threads import current, in_loop, when_there_is_room, with_room
from mcpcore_transports.server.context_facts import RequestFacts
from mcpcore_transports.server.elicitation import ping

if TYPE_CHECKING:
    from mcpcore_transports.server.runtime import ServerRuntime


class Telling(RequestFacts):
    """Messages to the client that need no answer, and control of the stream that carries them."""

    __slots__ = ()

    def progress(
        self,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress, which must increase; return False if the client did not ask for it.

        In a task it is also the task's status message.  ``meta`` is the notification's ``_meta``.
        """
        if current() != self.thread:  # with_room written out: it may be called very often
            again = partial(self.progress, value, total, message, meta=meta)
            return when_there_is_room(self, again)
        task = None if self.call is None else self._task
        runtime = self._runtime
        throttle = runtime.throttle
        if throttle is not None and throttle.drops_progress(self._request, in_task=bool(task)):
            return False
        if task is not None:
            return task.progress(value, total, message, meta)
        key = self._request.key
        teller = runtime.teller
        waits = teller.waits(key)
        sent = teller.progress(key, value, total, message, meta=meta)
        if sent and not waits:  # waiting output is flushed by its own writer, and this with it
            runtime.flush()
        return sent

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress like :meth:`progress`, and wait until there is room for more."""
        self.progress(progress, total, message)
        await self.room()

    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> "Sent":
        """Send a log message, any JSON value; return False if the client does not want it.

        ``meta`` is the notification's ``_meta``.
        """
        return Sent.of(self._log(level, data, logger, meta), self)

    @with_room
    def _log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None,
        meta: Mapping[str, Any] | None,
    ) -> bool:
        task, throttle = self._task, self._runtime.throttle
        if throttle is not None and throttle.drops_log(self._request, level, in_task=bool(task)):
            return False
        if task is not None:
            return task.log(level, data, logger, meta)
        key, machine = self._request.key, self._runtime.machine
        waits = machine.waits(key)
        sent = machine.log(key, level, data, logger, meta=meta)
        if sent and not waits:
            self._runtime.flush()
        return sent

    def debug(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``debug``."""
        return self.log("debug", data, logger, meta=meta)

    def info(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``info``."""
        return self.log("info", data, logger, meta=meta)

    def warning(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``warning``."""
        return self.log("warning", data, logger, meta=meta)

    def error(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``error``."""
        return self.log("error", data, logger, meta=meta)

    @with_room
    def notify(self, method: str, params: Struct | Mapping[str, Any] | None = None) -> bool:
        """Send another notification on the request's stream; return False if the revision has none.

        For instance one of an extension, or ``notifications/elicitation/complete`` when the visit
        to a URL has ended.
        """
        own = method not in KNOWN_METHODS
        if self.cancelled or not (own or lookup(method, "server", self.revision)):
            return False
        if (task := self._task) is not None:
            return task.notify(method, params)
        self._runtime.machine.notify(method, params, parent=self._request.key)
        self._runtime.flush()
        return True

    @in_loop
    def close_stream(self, retry: float | None = None) -> bool:
        """Close the connection on which the client waits for this request, which continues.

        The client reconnects after ``retry`` seconds (None: the server's setting) for the events
        that it has missed.  So no connection need stay open during long work.  Returns False if
        this is not possible: only Streamable HTTP of 2025-11-25 has it.
        """
        machine = self._runtime.machine
        if isinstance(machine, Peer):
            return False
        closed = machine.close_stream(self._request.key, retry=retry, now=clock())
        self._runtime.flush()
        return closed

    async def ping(self, *, timeout: float = 10.0) -> None:
        """Check that the client is still there (legacy).  ``timeout`` is in seconds.

        Raises InputUnavailable if it does not answer, and in the modern era, which has no such
        request: there the end of the request's stream cancels the handler.
        """
        await ping(self._runtime, self.revision, request=self._request, timeout=timeout)

    def pinger(self) -> Callable[[float], Awaitable[None]]:
        """Return a function that checks, at any later time, that the client is there (legacy).

        It takes the timeout in seconds and raises as :meth:`ping`, also once the session has ended.
        """
        return partial(_ping_later, self._runtime, self.revision, self.session)

    def drained(self) -> Awaitable[None]:
        """Wait until the client has taken all sent messages; for handlers that send very much.

        If nothing waits, only every eighth call lets other tasks run.  A handler that runs in a
        thread does not need this: its messages wait for room.
        """
        return self._runtime.drained(self._request.key)

    async def room(self) -> None:
        """Wait until the queue of messages is short enough that none would have to be dropped."""
        if self._runtime.machine.queued(self._request.key) > self._runtime.settings.limits.queued:
            await self.drained()


class Sent(int):
    """True if a message was sent, else False.  Awaiting it waits until there is room for more.

    A handler need not await it.
    """

    _telling: Telling

    @classmethod
    def of(cls, sent: bool, telling: Telling) -> "Sent":
        """Make the return value for a message of a handler."""
        made = cls(sent)
        made._telling = telling
        return made

    def __await__(self) -> Generator[Any, None, bool]:
        yield from self._telling.room().__await__()
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


async def _ping_later(
    runtime: "ServerRuntime", revision: Revision, session: str | None, timeout: float
) -> None:
    await ping(runtime, revision, session=session, timeout=timeout)
