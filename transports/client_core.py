"""The client's engine room: what its machine tells, and who is to hear of it.

:class:`ClientCore` is the App of a client machine.  What the protocol offers, as typed methods, is
:class:`transports.client.Client`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw

from mcpcore.engine.events import (
    ConnectionEnded,
    ErrorReceived,
    Event,
    InputRequired,
    NegotiationFailed,
    NotificationReceived,
    ProgressReceived,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionNotification,
    Violation,
)
from mcpcore.http.answers import INITIALIZE
from mcpcore.http.client import HttpClient
from mcpcore.http.recovery import Recovery, StreamInterrupted, StreamReopened
from mcpcore.service.tasks import TaskSettings
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.subscriptions import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import Body, RequestId
from transports.callbacks import Callbacks
from transports.client_answers import Answers
from transports.client_calls import ClientCalls, ClientMachine, Settled
from transports.client_changes import Change
from transports.client_errors import (
    ConnectionClosed,
    InvalidResponse,
    NegotiationError,
    failed,
)
from transports.client_listen import LISTEN, Listening
from transports.client_news import News
from transports.client_violations import ViolationLog
from transports.client_visits import COMPLETE
from transports.link import clock
from transports.link_errors import LinkError
from transports.tasks_answers import ClientDesk
from transports.tasks_client import ClientTasks
from transports.tasks_host import TaskHost

logger = logging.getLogger("mcpcore.client")


class ClientCore(ClientCalls):
    """Owns the waiting callers of one connection and answers what its server asks."""

    def __init__(
        self,
        machine: ClientMachine,
        callbacks: Callbacks,
        group: TaskGroup,
    ) -> None:
        super().__init__(machine, callbacks)
        self.listeners: list[Listening] = []
        """They take the notifications that belong to no listen stream."""
        self.streams: dict[RequestId, Listening] = {}
        """They take what arrives on a listen stream of ours."""
        self.interest: Counter[str] = Counter()
        """How many listeners share the subscription of a resource (legacy)."""
        self.deaf: str | None = None
        """Why a legacy server can no longer tell of changes by itself, once that is so."""
        self._group = group
        self._news = News(callbacks, group)
        self._watchers: list[Callable[[str], None]] = []
        self._opened = anyio.Event()
        self._failure: NegotiationFailed | None = None
        self._answers = Answers(machine, callbacks, group, self.flush)
        self.tasks = ClientTasks(self)
        self._table: dict[type[Event], Callable[[Any], None]] = {
            ResultReceived: self._settle,
            ErrorReceived: self._settle,
            InputRequired: self._settle,
            RequestEnded: self._settle,
            ProgressReceived: self._on_progress,
            RequestReceived: self._on_request,
            RequestCancelled: self._answers.cancel,
            NotificationReceived: self._on_notification,
            SubscriptionNotification: self._on_stream_notification,
            SubscriptionAcknowledged: self._on_acknowledged,
            Ready: self._on_ready,
            NegotiationFailed: self._on_negotiation_failed,
            ConnectionEnded: self._on_end,
            StreamInterrupted: self._on_interrupted,
            StreamReopened: self._on_reopened,
            Violation: ViolationLog().tell,
        }

    # App

    def handle(self, event: Event) -> None:
        """Take one event of the machine."""
        handler = self._table.get(type(event))
        if handler is not None:
            handler(event)

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
        """What the server declared."""
        declared = self._negotiated.capabilities
        return declared if isinstance(declared, ServerCapabilities) else ServerCapabilities()

    async def open_stream(
        self,
        listening: Listening,
        wanted: SubscriptionFilter,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a listen stream, without a deadline; what happens on it is told to ``listening``."""
        if self.closed is not None:
            raise ConnectionClosed(LISTEN, self.closed)
        params = SubscriptionsListenParams(notifications=wanted)
        request = self.machine.request(
            LISTEN,
            params,
            now=clock(),
            timeout=None,
            meta={**self.meta, **(meta or {})} or None,
        )
        self.streams[request] = listening
        listening.begun(request)
        self.flush()
        await listening.opened()

    def run_tasks(self, capabilities: ClientCapabilities, settings: TaskSettings) -> None:
        """Let the server have its requests run as tasks, as ``capabilities`` promise."""
        self._answers.desk = ClientDesk(
            TaskHost(settings),
            self.machine,
            self.flush,
            self.callbacks,
            capabilities,
            self._group,
        )

    def notify(self, method: str, params: Body = None) -> bool:
        """Send a notification of the negotiated revision or of an extension; False: not sent."""
        ready = self.ready
        if ready is None:
            return False
        if method in KNOWN_METHODS and lookup(method, "client", ready.revision) is None:
            return False
        sent = self.machine.notify(method, params)
        self.flush()
        return sent

    def _settle(self, outcome: Settled) -> None:
        if self._waiting.settle(outcome):
            return
        stream = self.streams.pop(outcome.request, None)
        if isinstance(outcome, InputRequired):
            self.machine.abandon(outcome.request)
        elif stream is not None:
            stream.end(outcome)

    def _on_request(self, event: RequestReceived) -> None:
        self.visits.asked(event)
        self._answers.begin(event)

    def _on_progress(self, event: ProgressReceived) -> None:
        callback = self._progress.get(event.request)
        if callback is not None:
            self._news.tell(callback, event.progress, event.total, event.message)

    # News

    def _on_notification(self, event: NotificationReceived) -> None:
        self._announce(event.method, event.params, *self.listeners)

    def _on_stream_notification(self, event: SubscriptionNotification) -> None:
        stream = self.streams.get(event.request)
        self._announce(event.method, event.params, *([stream] if stream else []))

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Have ``watcher`` called with the method of every notification."""
        self._watchers.append(watcher)

    def _announce(self, method: str, params: Raw, *listeners: Listening) -> None:
        if method == COMPLETE and not self.visits.completed(params):
            return
        try:
            for listener in listeners:
                listener.notify(method, params)
            self.tasks.heard(method, params)
        except InvalidResponse as error:
            logger.warning("%s", error)
        for watcher in self._watchers:
            watcher(method)
        self._news.announce(method, params)

    def _on_acknowledged(self, event: SubscriptionAcknowledged) -> None:
        if stream := self.streams.get(event.request):
            stream.acknowledged(event.filter)

    def assume(self, change: Change) -> None:
        """A change may have been missed: treat it as if the server had told of it."""
        params = Raw(b"{}" if change.uri is None else msgspec.json.encode({"uri": change.uri}))
        for watcher in self._watchers:
            watcher(change.method)
        if change.task_id is None:
            self._news.announce(change.method, params, assumed=True)

    def reopen(self, listening: Listening) -> bool:
        """Open a broken stream anew, in the background; False if there is no way to do that."""
        if self.closing or self.closed is not None or not isinstance(self.machine, HttpClient):
            return False
        http = self.machine.settings
        if http.max_resumes < 1:
            return False
        self._group.start_soon(
            listening.reopen, http.max_resumes, http.retry_delay, http.max_retry_delay
        )
        return True

    # The conversation

    def _on_ready(self, event: Ready) -> None:
        again = self.ready is not None
        self.ready, self.deaf = event, None
        self._opened.set()
        if again:
            self._group.start_soon(self._renew)

    async def _renew(self) -> None:
        """Tell a new session of a server that lost the old one (legacy HTTP) what that one knew."""
        wishes = [("resources/subscribe", {"uri": uri}) for uri in self.interest]
        if self.log_level is not None:
            wishes.append(("logging/setLevel", {"level": self.log_level}))
        for method, params in wishes:
            try:
                await self.request(method, params)
            except (McpError, LocalError) as error:
                logger.warning("the server's new session refuses %s: %s", method, error)
        for listener in tuple(self.listeners):
            listener.missed()

    def _on_interrupted(self, event: StreamInterrupted) -> None:
        """The stream on which a legacy server tells of changes, or that of an answer, broke off."""
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

    def _on_negotiation_failed(self, event: NegotiationFailed) -> None:
        self._failure = event
        self._opened.set()

    def _on_end(self, event: ConnectionEnded) -> None:
        self.closed = event.reason
        self._opened.set()
        for listener in self.listeners:
            listener.broken(ConnectionClosed(LISTEN, event.reason))
