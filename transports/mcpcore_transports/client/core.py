"""Core of the client: handling of the machine's events.

:class:`ClientCore` is the App of a client machine.
:class:`mcpcore_transports.client.client.Client` has the typed methods for the protocol.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

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
from mcpcore.errors import ConnectionClosed, InvalidResponse, PeerError
from mcpcore.http import StreamInterrupted, StreamReopened
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.subscriptions import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import Body, RequestId
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.calls import ClientMachine, Settled
from mcpcore_transports.client.conversation import ClientConversation
from mcpcore_transports.client.listen import LISTEN, Listening
from mcpcore_transports.client.tasks.answers import ClientDesk
from mcpcore_transports.client.tasks.tasks import ClientTasks
from mcpcore_transports.client.url_elicitation import COMPLETE
from mcpcore_transports.client.violation_log import ViolationLog
from mcpcore_transports.link import clock
from mcpcore_transports.running.tasks import TaskHost

logger = logging.getLogger("mcpcore.client")


class ClientCore(ClientConversation):
    """Waiting callers of one connection, and answers to the server's requests."""

    def __init__(
        self,
        machine: ClientMachine,
        callbacks: Callbacks,
        group: TaskGroup,
    ) -> None:
        super().__init__(machine, callbacks, group)
        self.streams: dict[RequestId, Listening] = {}
        """Listeners by the request of their listen stream."""
        self.interest: Counter[str] = Counter()
        """Number of listeners that share the subscription of a resource, by URI (legacy)."""
        self.max_changes = 4096
        """Maximum changes that wait for a listener."""
        self.parting_time = 2.0
        """Maximum seconds for telling the server to end a subscription or a task."""
        self.tasks = ClientTasks(self)
        self._violations = ViolationLog()
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
            Violation: self._on_violation,
        }

    # App

    def handle(self, event: Event) -> None:
        """Handle one event of the machine."""
        handler = self._table.get(type(event))
        if handler is not None:
            handler(event)

    # Requests

    async def open_stream(
        self,
        listening: Listening,
        wanted: SubscriptionFilter,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a listen stream, without a deadline; its events go to ``listening``."""
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
        try:
            await listening.opened()
        except PeerError as error:
            if self.raised is not None:
                self.raised.meet(error)
            raise

    def run_tasks(self, capabilities: ClientCapabilities, settings: TaskSettings) -> None:
        """Let the server have its requests run as tasks, as ``capabilities`` promise."""
        self._answers.desk = ClientDesk(
            TaskHost(settings),
            self.machine,
            self.flush,
            self.callbacks,
            capabilities,
            self.group,
        )

    def notify(self, method: str, params: Body = None) -> bool:
        """Send a notification of the revision or of an extension; return False if not sent."""
        ready = self.ready
        if ready is None or self.away:
            return False
        if method in KNOWN_METHODS and lookup(method, "client", ready.revision) is None:
            return False
        sent = self.machine.notify(method, params)
        self.flush()
        return sent

    def tasks_in_doubt(self) -> None:
        """See :meth:`ClientConversation.tasks_in_doubt`."""
        self.tasks.look_again()

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

    def _announce(self, method: str, params: Raw, *listeners: Listening) -> None:
        if method == COMPLETE and not self.visits.completed(params):
            return
        try:
            for listener in listeners:
                listener.notify(method, params)
            self.tasks.heard(method, params)
        except InvalidResponse as error:
            logger.warning("%s", error)
        self._watched(method)
        self._news.announce(method, params)

    def _on_violation(self, event: Violation) -> None:
        self._violations.tell(event)
        if self.callbacks.violation is not None:
            self._news.tell(self.callbacks.violation, event)

    def _on_acknowledged(self, event: SubscriptionAcknowledged) -> None:
        if stream := self.streams.get(event.request):
            stream.acknowledged(event.filter)
