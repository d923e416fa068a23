"""Notifications of clients, passed to the functions that a server declares for them."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio.abc import TaskGroup
from msgspec import Raw

from mcpcore.engine.events import NotificationReceived
from mcpcore.errors import InputUnavailable
from mcpcore.service import Server
from mcpcore.spec.errors import McpError
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore_transports.running.functions import failure_of, in_loop, in_thread
from mcpcore_transports.running.pending import ProgressCallback, SerialCalls
from mcpcore_transports.server.context import L
from mcpcore_transports.server.elicitation import ask_client, ping

if TYPE_CHECKING:
    from mcpcore_transports.server.inputs import Input, RootList
    from mcpcore_transports.server.runtime import ServerRuntime

R = TypeVar("R")

logger = logging.getLogger("mcpcore.server")


class NotificationContext(Generic[L]):
    """Context of a notification; annotate a parameter of the function with this class to get it.

    ``NotificationContext[Database]`` declares the type of the value that the server's lifespan
    yields.

    In the legacy era the function may send requests to the client, for instance for its roots after
    ``notifications/roots/list_changed``.
    """

    __mcp_context__ = True

    __slots__ = ("_event", "_runtime", "thread")

    def __init__(self, event: NotificationReceived, runtime: "ServerRuntime") -> None:
        self._event = event
        self._runtime = runtime
        self.thread = runtime.thread
        """Identifier of the event loop's thread."""

    @property
    def lifespan(self) -> L:
        """Value yielded by the lifespan of the server; None if it has none."""
        value: L = self._runtime.lifespan
        return value

    @property
    def method(self) -> str:
        """Method, for instance ``notifications/roots/list_changed``."""
        return self._event.method

    @property
    def params(self) -> Raw:
        """Params object of the notification, as sent."""
        return self._event.params

    @property
    def revision(self) -> Revision | None:
        """Revision of the session; None in the modern era, where notifications name none."""
        return self._event.revision

    @property
    def session(self) -> str | None:
        """Id of the session (legacy HTTP)."""
        return self._event.session

    async def list_roots(self) -> "RootList":
        """Request the directories and files that the client lets us work on; see :meth:`ask`."""
        from mcpcore_transports.server.inputs import ListRoots  # most servers ask nothing

        return await self.ask(ListRoots())

    async def ask(self, wanted: "Input[R]", *, progress: ProgressCallback | None = None) -> R:
        """Send one request to the client; ``progress`` is called for the progress that it reports.

        Raises InputUnavailable if the client cannot be asked, refuses, or does not answer.
        """
        revision = self._legacy()
        if lookup(wanted.method, "server", revision) is None:
            raise InputUnavailable(f"{revision.name} has no {wanted.method}")
        name = wanted.method
        heard = {} if progress is None else {name: progress}
        answers = await ask_client(self._runtime, revision, self._event, {name: wanted}, heard)
        answer: R = answers[name]
        return answer

    @in_loop
    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> bool:
        """Send a notification to the client (legacy); return False if it has no such notification.

        Over HTTP it is sent on the session's GET stream.
        """
        revision = self.revision
        if revision is None or not revision.server_requests:
            return False
        if method in KNOWN_METHODS and lookup(method, "server", revision) is None:
            return False
        return self._runtime.tell(self.session, method, params or {})

    async def ping(self, *, timeout: float = 10.0) -> None:
        """Check that the client is still there.  Raises InputUnavailable if it is not."""
        await ping(self._runtime, self._legacy(), timeout, session=self.session)

    def _legacy(self) -> Revision:
        if self.revision is None or not self.revision.server_requests:
            raise InputUnavailable("in this era nothing is asked outside of a client's request")
        return self.revision


class NotificationDispatcher:
    """Dispatcher of notifications to the declared functions, in order within a session."""

    def __init__(self, server: Server, runtime: "ServerRuntime", group: TaskGroup) -> None:
        self._server = server
        self._runtime = runtime
        self._group = group
        self._sessions: dict[str | None, SerialCalls] = {}

    def hear(self, event: NotificationReceived) -> None:
        """Take a notification; one without a function, or that is malformed, is ignored."""
        entry, failures = self._server.listener(event.method), self._runtime.failures
        if entry is None:
            return
        try:
            values = entry.bind(event.params)
        except McpError as error:
            logger.info("a client's %s is malformed: %s", event.method, error)
            return
        except BaseException as error:
            failures.told(f"reading {event.method}", failure_of(error))
            return
        queue = self._sessions.get(event.session)
        if queue is None:
            self._sessions = {key: each for key, each in self._sessions.items() if not each.idle}
            limit = self._runtime.settings.notifications
            what = f"hearing {event.method}"
            queue = SerialCalls(self._group, what, limit=limit, failed=failures.told)
            self._sessions[event.session] = queue
        context = NotificationContext(event, self._runtime)
        handler = entry.handler
        if handler.is_async:
            queue.later(lambda: handler.call(context, values))
        elif handler.thread:
            # A thread cannot be stopped: it must not hold up the end.
            queue.later(lambda: in_thread(handler.call, context, values))
        else:
            queue.call(handler.call, context, values)
