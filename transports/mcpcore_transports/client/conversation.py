"""Conversation of a client: its opening, breaks, continuation, and the news of these."""

import logging
from abc import abstractmethod
from collections.abc import Callable

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw

from mcpcore.engine.events import ConnectionEnded, Event, NegotiationFailed, Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ConnectionEvent
from mcpcore.errors import ConnectionClosed, LinkError, NegotiationError, PeerError
from mcpcore.http.answers import INITIALIZE
from mcpcore.http.client import HttpClient
from mcpcore.http.recovery import Recovery, StreamInterrupted, StreamReopened
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore_transports.client.answers import Answers
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.calls import ClientCalls, ClientMachine
from mcpcore_transports.client.errors import failed
from mcpcore_transports.client.list_changes import LIST_CHANGES, Change
from mcpcore_transports.client.listen import LISTEN, Listening
from mcpcore_transports.client.notifications import RESOURCE_UPDATED, News
from mcpcore_transports.client.reconnector import Reconnector
from mcpcore_transports.link import clock

logger = logging.getLogger("mcpcore.client")


class ClientConversation(ClientCalls):
    """State of a client that lasts for the conversation, or for several in succession."""

    def __init__(self, machine: ClientMachine, callbacks: Callbacks, group: TaskGroup) -> None:
        super().__init__(machine, callbacks)
        self.group = group
        self.reconnector: Reconnector | None = None
        """Maker of the next connection when one is lost; None without one, or if HTTP resumes."""
        self.listeners: list[Listening] = []
        """Listeners for the notifications that belong to no listen stream."""
        self.deaf: str | None = None
        """Reason why a legacy server can no longer report changes by itself; None while it can."""
        self._news = News(callbacks, group)
        self._watchers: list[Callable[[str], None]] = []
        self._opened = anyio.Event()
        self._failure: NegotiationFailed | None = None
        self._answers = Answers(machine, callbacks, group, self.flush)

    @abstractmethod
    def handle(self, event: Event) -> None:
        """Handle one event of the machine."""

    # Opening

    async def opened(self) -> Ready:
        """Negotiate and wait for the outcome.  Raises NegotiationError or LinkError."""
        self.machine.start(now=clock())
        self.flush()
        await self._opened.wait()
        if self.ready is not None:
            return self.ready
        if self._failure is not None:
            failure = self._failure
            cause = None
            if failure.fault is not None:
                cause = failed(INITIALIZE, failure.message, failure.fault)
            raise NegotiationError(failure.message, failure.error) from cause
        raise LinkError(self.closed or "the connection ended")

    @property
    def capabilities(self) -> ServerCapabilities:
        """Capabilities that the server has declared."""
        declared = self._negotiated.capabilities
        return declared if isinstance(declared, ServerCapabilities) else ServerCapabilities()

    def _on_ready(self, event: Ready) -> None:
        again = self.ready is not None
        self.ready, self.deaf = event, None
        self._opened.set()
        if self.reconnector is not None:
            self.reconnector.opened(event)
        if again:
            if self.reconnector is not None:
                self._doubt()
            self.group.start_soon(self._renew)

    def _on_negotiation_failed(self, event: NegotiationFailed) -> None:
        if self.ready is not None and self.reconnector is not None:
            self.reconnector.refused(event)
            return
        self._failure = event
        self._opened.set()

    # The next conversation

    def succeed(self, machine: Peer) -> None:
        """Continue the conversation on ``machine``."""
        self.machine = machine
        self._answers.succeed(machine)

    @property
    def away(self) -> bool:
        """True if the connection is lost and there is no other one yet."""
        return self.reconnector is not None and self.reconnector.away

    def tell(self, event: ConnectionEvent) -> None:
        """Pass a connection event to the application's callback."""
        if self.callbacks.connection is not None:
            self._news.tell(self.callbacks.connection, event)

    def _doubt(self) -> None:
        """Assume that all has changed: changes were missed, and the server may be a new process."""
        for method in LIST_CHANGES:
            self.assume(Change(method))
        self._watched(RESOURCE_UPDATED)
        self.tasks_in_doubt()

    @abstractmethod
    def tasks_in_doubt(self) -> None:
        """Update the tasks of the server, of which changes may have been missed."""

    async def _renew(self) -> None:
        """Repeat the subscriptions and the log level for a new session (legacy)."""
        wishes = [("resources/subscribe", {"uri": uri}) for uri in self.subscribed]
        if self.log_level is not None and not self.revision.per_request_log_level:
            wishes.append(("logging/setLevel", {"level": self.log_level}))
        for method, params in wishes:
            try:
                await self.request(method, params)
            except Exception as error:  # a middleware may raise anything
                if self.away or self.closed is not None:
                    return  # this is repeated for the next session
                known = isinstance(error, McpError | LocalError)
                reason = error if known else type(error).__name__
                logger.warning("the server's new session refuses %s: %s", method, reason)
                if not isinstance(error, LocalError) and "uri" in params:
                    for listener in tuple(self.listeners):
                        listener.refused(params["uri"], error)
        for listener in tuple(self.listeners):
            listener.missed()

    # News

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Have ``watcher`` called with the method of every notification."""
        self._watchers.append(watcher)

    def _watched(self, method: str) -> None:
        for watcher in self._watchers:
            watcher(method)

    def assume(self, change: Change) -> None:
        """Treat a change that may have been missed as if the server had reported it."""
        params = Raw(b"{}" if change.uri is None else msgspec.json.encode({"uri": change.uri}))
        self._watched(change.method)
        if change.task_id is None:
            self._news.announce(change.method, params, assumed=True)

    # Ends

    def reopen(self, listening: Listening, error: Exception) -> bool:
        """Open a broken stream again, in the background; return False if that is not possible."""
        if self.closing or self.closed is not None:
            return False
        machine, reconnector = self.machine, self.reconnector
        if isinstance(machine, HttpClient):
            http = machine.settings
            pace = http.max_resumes, http.retry_delay, http.max_retry_delay
        elif reconnector is not None and isinstance(error, PeerError):
            # The engine repairs broken connections; here the server has no capacity yet.
            pace = reconnector.pace
        else:
            return False
        if pace[0] < 1:
            return False
        self.group.start_soon(listening.reopen, *pace)
        return True

    def parts(self, listening: Listening) -> bool:
        """Return True if the end of a stream may be a restart of the server; wait for it then."""
        reconnector = self.reconnector
        if (
            reconnector is None
            or reconnector.attempts < 1
            or self.closing
            or self.closed is not None
        ):
            return False
        patience = reconnector.settings.parting
        self.group.start_soon(listening.part, reconnector.loss, patience, reconnector.pace)
        return True

    def _on_interrupted(self, event: StreamInterrupted) -> None:
        """Report the break of a stream: of a legacy server's changes, or of one answer."""
        what = "the stream of changes" if event.request is None else "the stream of an answer"
        logger.info("%s broke off (%s): %s", what, event.recovery.value, event.reason)
        if self.callbacks.stream_interrupted is not None:
            self._news.tell(self.callbacks.stream_interrupted, event)
        if event.request is None and event.recovery is Recovery.FAIL:
            self.deaf = event.reason
            for listener in self.listeners:
                listener.broken(ConnectionClosed(LISTEN, event.reason))

    def _on_reopened(self, event: StreamReopened) -> None:
        for listener in tuple(self.listeners):
            listener.missed()

    def _on_end(self, event: ConnectionEnded) -> None:
        reason: str | None = event.reason
        if self.reconnector is not None:
            reason = self.reconnector.ended(event)
        if reason is None:
            return
        self.closed = reason
        self._opened.set()
        for listener in self.listeners:
            listener.broken(ConnectionClosed(LISTEN, reason))
