"""One conversation of a client on the core: a Peer, and the strands that wait for what it tells.

What :class:`mcpcore_transports.client.core.ClientCore` is on an event loop, as far as a client that
is tested needs it; :class:`~mcpcore_transports.client.client.Client` stands on either.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw

from mcpcore import Peer, events
from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import Key, Ready
from mcpcore.errors import ConnectionClosed, InvalidResponse, LinkError, NegotiationError
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, McpError
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import LoggingLevel
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import RequestId
from mcpcore_conformance.kit.hosts.core import End
from mcpcore_conformance.subjects.strands import Bell, Cancelled, Strand, Strands, Work
from mcpcore_transports.client.answers import answer_input
from mcpcore_transports.client.callbacks import (
    CallbackAnswer,
    CallbackContext,
    Callbacks,
    ProgressCallback,
)
from mcpcore_transports.client.core import CANCELLED, ClientSettings
from mcpcore_transports.client.errors import failure_of_request
from mcpcore_transports.client.listen import LISTEN, Listening
from mcpcore_transports.client.middleware import Outcome
from mcpcore_transports.client.tasks import ClientTasks
from mcpcore_transports.running.pending import Settled

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore


class _Waiter:
    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.outcome: Settled | None = None


class Conversation:
    """A Peer in the client's role, with all that is asked of it by the typed calls above it.

    Whoever has called it lets the strands run and the Peer speak: :meth:`turn`.
    """

    settings = ClientSettings()
    deaf: str | None = None
    listeners: tuple[Listening, ...] = ()
    """Only streams are listened to."""

    def __init__(self, peer: Peer, callbacks: Callbacks, strands: Strands) -> None:
        self.peer = peer
        self.callbacks = callbacks
        self.strands = strands
        self.server: End | None = None
        """What hears what is said; None: not connected yet."""
        self.ready: Ready | None = None
        self.closed: str | None = None
        self.log_level: LoggingLevel | None = None
        self.streams: dict[RequestId, Listening] = {}
        self.tasks = ClientTasks(self.as_core())
        self._opened = strands.event()
        self._failure: events.NegotiationFailed | None = None
        self._waiting: dict[RequestId, _Waiter] = {}
        self._progress: dict[RequestId, ProgressCallback] = {}
        self._answering: dict[Key, Strand] = {}
        self._watchers: list[Callable[[str], None]] = []

    def as_core(self) -> "ClientCore":
        """For what is made to stand on the one of an event loop, and asks nothing else of it."""
        return cast("ClientCore", self)

    @property
    def revision(self) -> Revision:
        """What was negotiated."""
        assert self.ready is not None
        return self.ready.revision

    @property
    def capabilities(self) -> ServerCapabilities:
        """What the server declared."""
        assert self.ready is not None
        declared = self.ready.capabilities
        return declared if isinstance(declared, ServerCapabilities) else ServerCapabilities()

    # The connection

    def receive(self, data: bytes) -> None:
        """See :class:`~mcpcore_conformance.kit.hosts.core.End`."""
        self.peer.receive_data(data, now=self.strands.now)

    def lost(self) -> None:
        """The server has closed the connection."""
        self.server = None
        self.peer.receive_eof(now=self.strands.now)

    def leave(self) -> None:
        """End the conversation from this side, in good order."""
        if self.closed is not None:
            return
        self.peer.close(now=self.strands.now)
        self.turn()
        if self.server is not None:
            self.server.close()
        self.server = None
        self.peer.end(now=self.strands.now)
        self.turn()

    def turn(self) -> bool:
        """Handle what the Peer has to tell, and say what it has to say; whether there was any."""
        busy = False
        while (event := self.peer.next_event()) is not None:
            busy = True
            self._handle(event)
        data = self.peer.lines_to_send()
        if data and self.server is not None:
            self.server.receive(data)
        return busy or bool(data)

    async def open(self) -> Ready:
        """Negotiate.  Raises NegotiationError or LinkError."""
        self.peer.start(now=self.strands.now)
        await self._opened
        if self.ready is not None:
            return self.ready
        if self._failure is not None:
            raise NegotiationError(self._failure.message, self._failure.error)
        raise LinkError(self.closed or "the connection ended")

    # Requests of ours

    async def request(
        self,
        method: str,
        params: Body = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> Outcome:
        """See ``request``; without visits to URLs."""
        self._check_open(method)
        request = self.peer.request(
            method,
            params,
            now=self.strands.now,
            timeout=timeout,
            progress=progress is not None,
            meta=meta,
            log_level=self.log_level if self.revision.per_request_log_level else None,
            force=method not in KNOWN_METHODS,
            repeat=repeat,
        )
        rounds = 0
        while True:
            outcome = await self._outcome(request, progress)
            if isinstance(outcome, events.ResultReceived):
                return Outcome(outcome.result, rounds > 0, request)
            if not isinstance(outcome, events.InputRequired):
                raise failure_of_request(outcome)
            rounds += 1
            request = await self._answer_round(outcome, timeout)

    def cancel(self, request: RequestId, reason: str) -> None:
        """Withdraw a request, saying why."""
        self.peer.cancel(request, now=self.strands.now, reason=reason)

    def notify(self, method: str, params: Body = None) -> bool:
        """Send a notification of the negotiated revision or of an extension; False: not sent."""
        known = lookup(method, "client", self.revision) is not None
        return (known or method not in KNOWN_METHODS) and self.peer.notify(method, params)

    def _check_open(self, method: str) -> None:
        if self.closed is not None:
            raise ConnectionClosed(method, self.closed)

    async def _outcome(self, request: RequestId, progress: ProgressCallback | None) -> Settled:
        waiter = self._waiting[request] = _Waiter(self.strands.event())
        if progress is not None:
            self._progress[request] = progress
        try:
            await waiter.bell
        except Cancelled:
            self.peer.abandon(request)
            self.cancel(request, CANCELLED)
            raise
        finally:
            self._waiting.pop(request, None)
            self._progress.pop(request, None)
        assert waiter.outcome is not None
        return waiter.outcome

    def answer(
        self, params: Raw, context: CallbackContext
    ) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Answer a question of the server."""
        return self.callbacks.answer(params, context)

    async def _answer_round(self, asked: events.InputRequired, timeout: float | None) -> RequestId:
        answers: dict[str, CallbackAnswer] = {}

        def answering(key: str, question: Raw) -> Work:
            async def answer() -> None:
                answers[key] = await answer_input(question, key, asked.method, self.as_core())

            return answer

        try:
            if asked.requests:
                works = [answering(key, each) for key, each in asked.requests.items()]
                await self.strands.together(works)
            else:
                # only state came back: the server waits for something elsewhere
                await self.strands.sleep(min(0.05 * 2**asked.round, 2.0))
            self._check_open(asked.method)
        except BaseException:
            self.peer.abandon(asked.request)
            raise
        return self.peer.retry(asked.request, answers, now=self.strands.now, timeout=timeout)

    # Listen streams

    async def open_stream(self, listening: Listening, wanted: SubscriptionFilter) -> None:
        """See :meth:`mcpcore_transports.client.core.ClientCore.open_stream`."""
        self._check_open(LISTEN)
        params = SubscriptionsListenParams(notifications=wanted)
        request = self.peer.request(LISTEN, params, now=self.strands.now, timeout=None)
        self.streams[request] = listening
        listening.begun(request)
        await listening.opened()

    def parts(self, listening: Listening) -> bool:
        """No connection follows this one."""
        return False

    def reopen(self, listening: Listening, error: Exception) -> bool:
        """A stream that broke is not opened anew."""
        return False

    # What the Peer tells

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Have ``watcher`` called with the method of every notification."""
        self._watchers.append(watcher)

    def _handle(self, event: events.Event) -> None:
        match event:
            case (
                events.ResultReceived()
                | events.ErrorReceived()
                | events.InputRequired()
                | events.RequestEnded()
            ):
                self._settle(event)
            case events.ProgressReceived(request=request):
                if (told := self._progress.get(request)) is not None:
                    told(event.progress, event.total, event.message)
            case events.RequestReceived():
                self._answering[event.key] = self.strands.start(self._answer(event))
            case events.RequestCancelled(key=key):
                if (strand := self._answering.pop(key, None)) is not None:
                    strand.cancel()
            case events.NotificationReceived():
                self._announce(event.method, event.params, None)
            case events.SubscriptionNotification(request=request):
                self._announce(event.method, event.params, self.streams.get(request))
            case events.SubscriptionAcknowledged(request=request):
                if (stream := self.streams.get(request)) is not None:
                    stream.acknowledged(event.filter)
            case events.Ready():
                self.ready = event
                self._opened.set()
            case events.NegotiationFailed():
                self._failure = event
                self._opened.set()
            case events.ConnectionEnded():
                self.closed = event.reason
                self._opened.set()

    def _settle(self, outcome: Settled) -> None:
        waiter = self._waiting.get(outcome.request)
        if waiter is not None:
            waiter.outcome = outcome
            waiter.bell.set()
            return
        stream = self.streams.pop(outcome.request, None)
        if isinstance(outcome, events.InputRequired):
            self.peer.abandon(outcome.request)
        elif stream is not None:
            stream.end(outcome)

    def _announce(self, method: str, params: Raw, listening: Listening | None) -> None:
        if listening is not None:
            with suppress(InvalidResponse):
                listening.notify(method, params)
        for watcher in self._watchers:
            watcher(method)
        if self.callbacks.notification is not None:
            self.callbacks.notification(method, params)

    async def _answer(self, event: events.RequestReceived) -> None:
        key = event.key
        context = CallbackContext(event.method, event.revision, event.meta, request_id=event.id)
        try:
            answer = self.callbacks.answer(event.params, context)
            self.peer.respond(key, await answer if inspect.isawaitable(answer) else answer)
        except Cancelled:
            self.peer.release(key)
        except McpError as error:
            self.peer.fail(key, error.error)
        except Exception:
            self.peer.fail(key, ErrorData(INTERNAL_ERROR, "the client failed to answer"))
