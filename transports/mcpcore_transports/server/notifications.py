"""Notifications of clients, passed to the functions that a server declares for them."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.abc import TaskGroup

from mcpcore.engine.events import NotificationReceived
from mcpcore.errors import InputUnavailable
from mcpcore.service import Service
from mcpcore.spec.errors import McpError
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore_transports.running.functions import failure_of, in_loop, in_thread
from mcpcore_transports.running.pending import ProgressCallback, SerialCalls
from mcpcore_transports.server.context import L, MessageContext
from mcpcore_transports.server.input_rounds import ask_client, ping

if TYPE_CHECKING:  # late: most servers ask nothing; the runtime imports this module
    from mcpcore_transports.server.elicitation import Input, RootList
    from mcpcore_transports.server.runtime import ServerRuntime

R = TypeVar("R")

logger = logging.getLogger("mcpcore.server")


class NotificationContext(MessageContext[L]):
    """Context of a notification; annotate a parameter of the function with this class to get it.

    ``NotificationContext[Database]`` gives the type of the lifespan's value.  In the legacy era the
    function may send requests to the client.
    """

    __slots__ = ()

    @property
    def revision(self) -> Revision | None:
        """Revision of the session; None in the modern era, where notifications name none."""
        return self._event.revision

    @property
    def session_state(self) -> dict[str, Any]:
        """Values that handlers of requests keep for the session; empty if there are none."""
        return self._runtime.session_states.get(self.session, {})

    async def list_roots(self) -> "RootList":
        """Ask for the directories and files that the client lets us work on; see :meth:`ask`."""
        from mcpcore_transports.server.elicitation import ListRoots  # most servers ask nothing

        return await self.ask(ListRoots())

    async def ask(self, wanted: "Input[R]", *, progress: ProgressCallback | None = None) -> R:
        """Send one request to the client.  Raises InputUnavailable without an answer."""
        revision, name = self._legacy(), wanted.method
        if lookup(name, "server", revision) is None:
            raise InputUnavailable(f"{revision.name} has no {name}")
        heard = {} if progress is None else {name: progress}
        answers = await ask_client(self._runtime, revision, self._event, {name: wanted}, heard)
        answer: R = answers[name]
        return answer

    @in_loop
    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> bool:
        """Send a notification in the session (legacy); return False if the revision has none."""
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
    """Dispatcher of notifications to the declared functions, in order for each client."""

    def __init__(self, server: Service, runtime: "ServerRuntime", group: TaskGroup) -> None:
        self._server = server
        self._runtime = runtime
        self._group = group
        self._queues: dict[tuple[str | None, str | None], SerialCalls] = {}
        """Calls by session and principal: in the modern era there are no sessions."""

    def hear(self, event: NotificationReceived) -> None:
        """Take a notification; one without a function, or that is malformed, is ignored."""
        entry = self._server.listener(event.method)
        told = self._runtime.failures.told
        if entry is None:
            return
        try:
            values = entry.bind(event.params)
        except McpError as error:
            logger.info("a client's %s is malformed: %s", event.method, error)
            return
        except BaseException as error:
            told(f"reading {event.method}", failure_of(error))
            return
        place = event.session, event.principal
        queue = self._queues.get(place)
        if queue is None:
            self._queues = {key: each for key, each in self._queues.items() if not each.idle}
            what, limit = f"hearing {event.method}", self._runtime.settings.notifications
            queue = SerialCalls(self._group, what, limit=limit, failed=told)
            self._queues[place] = queue
        context = NotificationContext(event, self._runtime)
        handler = entry.handler
        if handler.is_async:
            queue.later(lambda: handler.call(context, values))
        elif handler.thread:
            # A thread cannot be stopped: it must not hold up the end.
            queue.later(lambda: in_thread(handler.call, context, values))
        else:
            queue.call(handler.call, context, values)
