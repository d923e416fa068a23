"""Answers of handlers, for the runtimes of servers and gateways: rates, failures, what is sent."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from mcpcore import errors
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore.wire.jsontext import Body
from mcpcore_transports.link import Link
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.running.pending import Handlers
from mcpcore_transports.server.failures import Failures, about
from mcpcore_transports.server.settings import ServerMachine

if TYPE_CHECKING:  # types alone: few servers limit rates or have tasks
    from mcpcore.service import Prepared
    from mcpcore_transports.server.context import Context
    from mcpcore_transports.server.rate_limits import Throttle
    from mcpcore_transports.server.tasks.tasks import TaskCall

Replies: TypeAlias = "ServerMachine | TaskCall"
"""Destination of responses: the machine, or the call object of a call that may become a task."""

_TURN = 8
"""Number of sends without waiting after which a handler lets other tasks run."""


class Answering(ABC):
    """Part of a runtime that lets requests begin, serves their contexts, and answers for failures.

    Subclasses set the attributes.
    """

    link: Link | None
    machine: ServerMachine
    failures: Failures
    _handlers: Handlers
    _drains: dict[Key, anyio.Event]
    """Events that are set once the output for a request has been taken."""
    _unyielding = 0

    @abstractmethod
    def _on_request(self, event: RequestReceived) -> None:
        """Begin a request, which the rate limiter has let through."""

    def _limit(self, throttle: "Throttle", event: RequestReceived) -> None:
        """Begin a request if the rate limiter lets it."""
        try:
            later = throttle.check(event)
        except BaseException as error:
            self._refuse(event, failure_of(error))
            return
        if later is None:
            self._on_request(event)
        else:
            self._handlers.start(event.key, partial(self._begin_later, event, later))

    async def _begin_later(self, event: RequestReceived, later: Awaitable[None]) -> None:
        """Begin a request when the rate limiter has decided."""
        try:
            await later
            await anyio.lowlevel.checkpoint_if_cancelled()  # the limiter has decided meanwhile
        except BaseException as error:
            self._refuse(event, failure_of(error))
        else:
            self._on_request(event)
        self.flush()

    def _refuse(self, event: RequestReceived, error: Exception) -> None:
        """Answer with an error a request that does not begin."""
        if isinstance(error, errors.McpError):
            self._fail_with(event, error, self.machine)
        else:
            self._fail(event, error)

    def flush(self) -> None:
        """Make the link write the machine's output."""
        if self.link is not None:
            self.link.flush_soon()

    async def drained(self, key: Key) -> None:
        """Wait until the output for a request has been taken; let other tasks run now and then."""
        if self.link is not None:
            self.link.write_now()
        queued = self.machine.queued
        if queued(key):
            while queued(key):
                event = self._drains.setdefault(key, anyio.Event())
                await event.wait()
            return
        # A turn of the event loop takes as long as an event.  But a handler that sends without end
        # would leave none to others, once its client is gone or as long as it keeps up.
        self._unyielding += 1
        if self._unyielding >= _TURN:
            self._unyielding = 0
            await anyio.lowlevel.checkpoint()

    def tell(
        self,
        session: str | None,
        method: str,
        params: Body,
        *,
        parent: Key | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Notify the client of a session, or of the connection; return False if it is gone.

        ``parent``: the request on whose stream the notification is sent.
        """
        where = self.in_session(session)
        try:
            self.machine.notify(method, params, parent=parent, meta=meta, **where)
        except errors.LocalError:
            return False
        self.flush()
        return True

    def in_session(self, session: str | None) -> dict[str, Any]:
        """Return the argument that names a session: a connection has no others than its own."""
        return {} if isinstance(self.machine, Peer) else {"session": session}

    def _wake(self, key: Key) -> None:
        """Wake the handler that waits for the output of a request: it is taken, or was dropped."""
        waiting = self._drains.pop(key, None)
        if waiting is not None:
            waiting.set()

    def _replies(self, context: "Context | None") -> Replies:
        """Return where the answer to the request of a context goes."""
        return self.machine

    def _fail(
        self,
        event: RequestReceived,
        error: Exception,
        prepared: "Prepared | None" = None,
        context: "Context | None" = None,
    ) -> None:
        """Answer a request whose handler has failed."""
        replies = self._replies(context)
        handler = about(event.method, event.params)
        told = self.failures.told(handler, error)
        try:
            if prepared is None:
                raise errors.McpError(INTERNAL_ERROR, told)
            result = prepared.failure(error, told)
            meta = None if context is None else context.take_result_meta(None)
            try:
                replies.respond(event.key, result, meta=meta)
            except (TypeError, ValueError) as unfit:  # of the metadata
                self.failures.told(handler, unfit)
                replies.respond(event.key, result)
        except errors.McpError as shown:
            self._fail_with(event, shown, replies)

    def _fail_with(self, event: RequestReceived, error: errors.McpError, replies: Replies) -> None:
        """Answer with an error of the protocol; over HTTP a Forbidden is a 403 with a challenge."""
        if isinstance(error, errors.Forbidden):
            from mcpcore_transports.server.forbidding import forbid  # few requests are forbidden

            forbid(replies, event, error)
        else:
            replies.fail(event.key, error.error)
