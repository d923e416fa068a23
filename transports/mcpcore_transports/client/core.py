"""Core of the client: its settings, and handling of the machine's events beneath its methods."""

import logging
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw, Struct, field

from mcpcore import errors
from mcpcore.engine import events
from mcpcore.engine.config import DEFAULT_TIMEOUT, Limits, Negotiation
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings, grown
from mcpcore.http.client.call import (
    DownloadProgress,
    Recovery,
    StreamInterrupted,
    StreamReopened,
)
from mcpcore.http.client.challenges import operation_of
from mcpcore.http.client.client import HttpClient
from mcpcore.http.client.state import INITIALIZE
from mcpcore.http.settings import HttpClientSettings
from mcpcore.service.reading import typed
from mcpcore.service.task_settings import TaskSettings
from mcpcore.spec import types
from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.wire.jsontext import Body, to_json
from mcpcore.wire.message import RequestId
from mcpcore.wire.redaction import Discreet, shown_url
from mcpcore_transports.client.answers import (
    COMPLETE,
    Answers,
    ClientDesk,
    Visits,
    answer_questions,
)
from mcpcore_transports.client.cache import EraCache, ResultCache
from mcpcore_transports.client.callbacks import CallbackAnswer, CallbackContext, Callbacks
from mcpcore_transports.client.errors import failed, failure_of_request
from mcpcore_transports.client.listen import (
    LIST_CHANGES,
    LISTEN,
    RESOURCE_UPDATED,
    Change,
    Listening,
)
from mcpcore_transports.client.middleware import ClientMiddleware, Outcome, OutgoingRequest
from mcpcore_transports.client.reconnect import ReconnectingLink, Reconnector
from mcpcore_transports.client.tasks import ClientTasks, TaskOptions
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.audit import LONGEST_REASON, printable
from mcpcore_transports.running.functions import called, failure_of
from mcpcore_transports.running.middleware import Chain
from mcpcore_transports.running.pending import ProgressCallback, SerialCalls, Settled, Waiting
from mcpcore_transports.server.failures import RaisedExceptions
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from mcpcore.auth.authorization import Refused
    from mcpcore_transports.auth.browser import SignIn
    from mcpcore_transports.auth.carrying import Assertions, Signer
    from mcpcore_transports.auth.stores import TokenStore
    from mcpcore_transports.http.client.authorization import RequestAuthorizer
    from mcpcore_transports.tracing.tracing import Trace
    from mcpcore_transports.websocket.settings import WebSocketSettings
else:  # for signatures
    Assertions = SignIn = Signer = TokenStore = Trace = WebSocketSettings = Any

__all__ = ["ClientSettings", "RequestOptions"]  # for applications; the rest is for the client

logger = logging.getLogger("mcpcore.client")

CANCELLED = "cancelled by the caller"
"""Reason of a cancellation that is sent to the server when the caller was cancelled."""

E = TypeVar("E")

_SUBSCRIPTIONS = ("resources/subscribe", "resources/unsubscribe")


_CALLBACKS: dict[str, tuple[str, Any, str]] = {
    "notifications/message": ("log", types.LoggingMessageParams, ""),
    RESOURCE_UPDATED: ("resource_updated", types.ResourceUpdatedParams, "uri"),
    COMPLETE: ("elicitation_complete", types.ElicitationCompleteParams, "elicitation_id"),
    "notifications/tools/list_changed": ("tools_changed", None, ""),
    "notifications/prompts/list_changed": ("prompts_changed", None, ""),
    "notifications/resources/list_changed": ("resources_changed", None, ""),
}
"""Callback for a notification, and its argument: params of a type, or a member of them."""
_SHOWN = 10
"""Violations per stream that are logged; later ones are logged at each power of two."""
_STREAMS = 256
"""Maximum streams whose violations are counted at a time."""


class _UriParams(Struct):
    uri: str


class ClientSettings(Discreet, frozen=True, kw_only=True):
    """Settings of a client; None leaves a setting to the transport's own defaults.

    Raises ValueError.
    """

    info: Implementation = field(
        default_factory=lambda: Implementation(name="mcpcore", version="0.1.0")
    )
    """Name and version of this client, as servers are told."""
    limits: Limits = field(default_factory=lambda: Limits(message_size=64 * 1024 * 1024))
    """Limits of messages (64 MiB, more than at a server) and requests, with ``request_timeout``."""
    negotiation: Negotiation = Negotiation.AUTO
    """Way to find the era of a server; AUTO: ``server/discover``, then ``initialize``."""
    eras: EraCache | None = None
    """Cache of the eras of servers; None is the cache shared by this process."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Members for the ``_meta`` of every request, for instance ``traceparent``."""
    visit_timeout: float = 60.0
    """Seconds to wait for the end of a visit to a URL before a request is retried (2025-11-25).

    In later revisions a request is sent again and again for about as long.
    """
    max_visits: int = 1000
    """Maximum visits under way that are remembered; the oldest are forgotten first."""
    max_changes: int = 4096
    """Maximum different changes that wait for one listener; the oldest are dropped first."""
    parting_time: float = 2.0
    """Maximum seconds for telling the server to end a subscription or a task."""
    cache: ResultCache | bool = True
    """Cache of results (modern), which may be shared with other clients; False for none."""
    max_pages: int = 1000
    """Maximum pages of one list."""
    look_up_tools: bool = True
    """True to list the tools, once, before the structured result of an unlisted tool is checked."""
    check_output: bool = True
    """True to check structured results against the tool's schema; needs the extra `schema`."""
    tasks: TaskOptions | None = None
    """Options for calls that the server runs as tasks; None declares no support for tasks."""
    reconnect: ReconnectSettings = field(default_factory=ReconnectSettings)
    """Reconnection after a lost connection, on all bindings but Streamable HTTP (see ``http``)."""
    http: HttpClientSettings | None = None
    """Settings of Streamable HTTP and HTTP+SSE."""
    http_link: HttpClientLinkSettings | None = None
    """Limits of HTTP connections."""
    ssl_context: ssl.SSLContext | None = None
    """TLS context for https, wss and tls; see :func:`mcpcore_transports.tls.client_tls`."""
    proxy: Proxy | str | None = ENVIRONMENT
    """Proxy or its URL for HTTP and WebSocket, None for no proxy.

    The default is that of the environment, which never concerns connections to this machine itself.
    """
    tokens: "TokenStore | None" = None
    """Store of tokens for ``auth``; None: they are kept for as long as the connection."""
    sign_in: "SignIn | None" = None
    """Way in which a person signs in for ``auth``; None: the one that fits this machine."""
    signing_keys: "Mapping[str, Signer]" = field(default_factory=dict)
    """Private keys for ``auth``, by the name in :class:`~mcpcore.auth.grants.SigningKey`."""
    assertions: "Assertions | None" = None
    """Function that returns an assertion for an issuer, for grants of ``auth`` that need one."""
    process: ProcessSettings | None = None
    """Settings of a server that is started as a process."""
    websocket: "WebSocketSettings | None" = None
    """Settings of WebSocket."""
    socket: SocketSettings | None = None
    """Settings of TCP and Unix sockets."""
    trace: "Trace | None" = None
    """Recorder of the whole traffic of the connection; its owner closes it."""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self, "visit_timeout", "parting_time")

    def __shown__(self) -> Mapping[str, object]:
        proxy = self.proxy
        return {"proxy": shown_url(proxy) if isinstance(proxy, str) else proxy}


class RequestOptions(TypedDict, total=False):
    """Options of a request of the client."""

    timeout: float | None
    """Timeout in seconds; None means no limit, and the default is that of the settings."""
    progress: ProgressCallback | None
    meta: Mapping[str, Any] | None
    """Members for the request's ``_meta``."""
    repeat: bool | None
    """True if the request may be sent again when the connection breaks before the answer.

    The server may see it twice then; by default only requests that read or set up.
    """


class ClientCore:
    """Waiting callers of one connection, and answers to the server's requests."""

    def __init__(
        self,
        machine: Peer | HttpClient,
        callbacks: Callbacks,
        group: TaskGroup,
        *,
        settings: ClientSettings | None = None,
        middleware: Sequence[ClientMiddleware] = (),
        raised: RaisedExceptions | None = None,
        repeatable_tools: Collection[str] = (),
        authorizer: "RequestAuthorizer | None" = None,
    ) -> None:
        self.machine = machine
        self.callbacks = copy(callbacks)
        """Callbacks of this connection alone, which may set other roots."""
        self.settings = settings or ClientSettings()
        self.link: Link | ReconnectingLink | None = None
        self.ready: events.Ready | None = None
        self.closed: str | None = None
        """Reason for the end of the connection, once it has ended."""
        self.closing = False
        """True if this side is about to end the connection."""
        self.lost = False
        """True if the connection has ended before this side wanted it to."""
        self.log_level: types.LoggingLevel | None = None
        self.subscribed: dict[str, None] = {}
        """URIs of the resources to which this session is subscribed (legacy)."""
        self.raised = raised
        """Exceptions of a server in this process, for its callers to raise."""
        self._visits = Visits(self)
        self._chain = Chain(middleware) if middleware else None
        introducing = (getattr(each, "introduced", None) for each in middleware)
        self._introducing = tuple(each for each in introducing if each is not None)
        hearing = (getattr(each, "heard", None) for each in middleware)
        self._hearing = tuple(each for each in hearing if each is not None)
        self._repeatable_tools = repeatable_tools
        self._authorizer = authorizer
        self._generation = 0
        """Generation of the token that the connection was opened with."""
        self._waiting = Waiting()
        self.idle = self._waiting.idle
        """Wait until no request is under way."""
        self.progress: dict[RequestId, ProgressCallback] = {}
        """Progress callbacks of requests, and of tasks by the request that began them."""
        self.group = group
        self.reconnector: Reconnector | None = None
        """Maker of the next connection when one is lost; None without one, or if HTTP resumes."""
        self.listeners: list[Listening] = []
        """Listeners for the notifications that belong to no listen stream."""
        self.deaf: str | None = None
        """Reason why a legacy server can no longer report changes by itself; None while it can."""
        self._calls = SerialCalls(
            group,
            "a callback",
            limit=callbacks.waiting,
            failed=lambda what, error: logger.error("%s failed", what, exc_info=error),
        )
        self.tell = self._calls.call
        """Call a callback of the application, now or after the earlier ones have ended."""
        self._watchers: list[Callable[[str], None]] = []
        self._opened = anyio.Event()
        self._failure: events.NegotiationFailed | None = None
        self._answers = Answers(self)
        self.streams: dict[RequestId, Listening] = {}
        """Listeners by the request of their listen stream."""
        self.tasks = ClientTasks(self)
        self._violations = ViolationLog()
        self._noise = ""
        """Beginning of the first line that was no message, for the error if there is no answer."""
        self._table: dict[type[events.Event], Callable[[Any], None]] = {
            events.ResultReceived: self._settle,
            events.ErrorReceived: self._settle,
            events.InputRequired: self._settle,
            events.RequestEnded: self._settle,
            events.ProgressReceived: self._on_progress,
            events.RequestReceived: self._on_request,
            events.RequestCancelled: self._answers.cancel,
            events.NotificationReceived: self._on_notification,
            events.SubscriptionNotification: self._on_notification,
            events.SubscriptionAcknowledged: self._on_acknowledged,
            events.Ready: self._on_ready,
            events.NegotiationFailed: self._on_negotiation_failed,
            events.ConnectionEnded: self._on_end,
            DownloadProgress: lambda event: self.report(self.callbacks.download, event),
            StreamInterrupted: self._on_interrupted,
            StreamReopened: lambda event: self._missed(),
            events.Violation: self._on_violation,
        }

    # App

    def handle(self, event: events.Event) -> None:
        """Handle one event of the machine."""
        handler = self._table.get(type(event))
        if handler is not None:
            handler(event)

    @property
    def expires_in(self) -> float | None:
        """Seconds until the current token expires; None without one, or if nobody knows."""
        return None if self._authorizer is None else self._authorizer.expires_in()

    # Requests

    @property
    def revision(self) -> Revision:
        """The negotiated revision."""
        if self.ready is None:
            raise errors.LocalProtocolError("the connection is not open yet")
        return self.ready.revision

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """Capabilities that the server has declared."""
        declared = None if self.ready is None else self.ready.capabilities
        if isinstance(declared, types.ServerCapabilities):
            return declared
        return types.ServerCapabilities()

    def flush(self) -> None:
        """Flush the machine's output to the link; needed after each call of the machine."""
        if self.link is not None:
            self.link.flush_soon()

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
        """Send a request through the middleware; serve its input rounds and visits.

        The parameters are :class:`RequestOptions`.  Raises PeerError or a CallFailed.
        """
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.settings.limits.request_timeout
        outgoing = OutgoingRequest(
            method=method,
            revision=self.revision.name,
            params=params,
            meta={**self.settings.meta, **(meta or {})},
            timeout=timeout,
            progress=progress,
            repeat=repeat,
            repeatable_tools=self._repeatable_tools,
        )
        if self._chain is None:
            return await self._exchange(outgoing)
        return await self._guarded(self._chain, outgoing, self._exchange)

    async def _guarded(
        self,
        chain: Chain[OutgoingRequest, Outcome],
        outgoing: OutgoingRequest,
        send: Callable[[OutgoingRequest], Awaitable[Outcome]],
    ) -> Outcome:
        try:
            return await called(chain.run, outgoing, send)
        except BaseException as error:
            raise failure_of(error)  # noqa: B904 - the same exception, or one that has its cause

    async def _exchange(self, outgoing: OutgoingRequest) -> Outcome:
        method, progress = outgoing.method, outgoing.progress
        request: RequestId | None = None
        tries = rounds = 0
        refused = None
        while True:
            if request is None:
                if self.closed is not None:
                    raise errors.ConnectionClosed(method, self.closed)
                machine = self.machine
                generation = 0 if self._authorizer is None else self._authorizer.generation
                request = machine.request(
                    method,
                    outgoing.params,
                    now=clock(),
                    timeout=outgoing.timeout,
                    progress=progress is not None,
                    meta=outgoing.meta or None,
                    log_level=self.log_level if self.revision.per_request_log_level else None,
                    force=method not in KNOWN_METHODS,
                    repeat=outgoing.repeat,
                )
            self._note_sent(outgoing, request)
            self._waiting.expect(request)
            if progress is not None:
                self.progress[request] = progress
            self.flush()
            try:
                outcome = await self._waiting.outcome(request)
            except anyio.get_cancelled_exc_class():
                self.machine.abandon(request)  # in case the server has just asked for input
                self.cancel(request, CANCELLED)
                raise
            finally:
                if progress is not None:
                    self.progress.pop(request, None)
            if isinstance(outcome, events.InputRequired):
                rounds += 1
                outgoing.tell_round("input_required")
                request = await self._answer_round(outcome, outgoing.timeout)
                outgoing.tell_round("input_sent")
                continue
            if self.raised is not None:
                self.raised.raise_for(outcome)
            if isinstance(outcome, events.ResultReceived):
                if method in _SUBSCRIPTIONS:
                    self._note_subscription(method, outgoing.params)
                if refused is not None and self._authorizer is not None:
                    self._authorizer.accepted(refused.operation)
                return Outcome(outcome.result, rounds > 0, request)
            error = failure_of_request(outcome)
            tries += 1
            if not isinstance(error, errors.PeerError) or tries > self.settings.limits.input_rounds:
                raise error
            if not await self._visits.make(error):
                refused = await self._step_up(error, outgoing.params, machine, generation, refused)
            request, rounds = None, 0

    def _note_sent(self, outgoing: OutgoingRequest, request: RequestId) -> None:
        machine = self.machine
        outgoing.id = request
        outgoing.session = machine.session if isinstance(machine, HttpClient) else None

    async def _step_up(
        self,
        error: errors.PeerError,
        params: Body,
        machine: Peer | HttpClient,
        generation: int,
        before: "Refused | None",
    ) -> "Refused":
        """Authorize for the scopes that an error names, so that its request can be sent again.

        ``machine`` and ``generation``: the conversation, and the token, that the request was sent
        with; ``before``: its last refusal that was authorized for.  Raises ``error`` if no
        authorization helps, CallUnauthorized if it does not succeed.
        """
        authorizer = self._authorizer
        if authorizer is None:
            raise error
        from mcpcore.auth.authorization import Refused, Remedy  # late: few authorize
        from mcpcore.auth.endpoints import Unreachable
        from mcpcore.auth.scopes import challenge_in

        challenge, link = challenge_in(error.error), self.reconnector
        bound = isinstance(link, ReconnectingLink)  # the token belongs to the connection
        if challenge is None or (bound and self.machine.reconnects is None):
            raise error
        if bound:  # the request may have been made before the connection that it was sent on
            generation = self._generation if machine is self.machine else 0
        refused = Refused(
            status=403,
            lines=(challenge,),
            generation=generation,
            operation=operation_of(error.method, b'{"params":' + to_json(params) + b"}"),
            remedy=None if before is None else Remedy.AUTHORIZE,
        )
        try:
            if authorizer.remedy(refused) is Remedy.AUTHORIZE:
                await authorizer.refused(refused)
        except errors.AuthorizationError as failure:
            passing = isinstance(failure, Unreachable)
            fault = events.Fault(events.FaultKind.AUTHORIZATION, 403, passing=passing)
            raise failed(error.method, f"{error}; {failure}", fault) from error
        if isinstance(link, ReconnectingLink) and not await link.replace(machine):
            raise error
        return refused

    async def _answer_round(self, asked: events.InputRequired, timeout: float | None) -> RequestId:
        try:
            answers: dict[str, CallbackAnswer] = {}
            if asked.requests:
                answers = await answer_questions(asked.requests, asked.method, self)
            else:  # the server waits for something outside of this conversation
                longest = max(2.0, self.settings.visit_timeout / 4)  # a user may be elsewhere
                await anyio.sleep(grown(0.1, 2, asked.round, longest))
            if self.closed is not None:
                raise errors.ConnectionClosed(asked.method, self.closed)
        except BaseException:
            self.machine.abandon(asked.request)
            raise
        return self.machine.retry(asked.request, answers, now=clock(), timeout=timeout)

    def _note_subscription(self, method: str, params: Body) -> None:
        """Record a change of the session's subscriptions, to repeat them in the next session."""
        try:
            uri = msgspec.json.decode(to_json(params), type=_UriParams).uri
        except msgspec.MsgspecError:
            return
        if method == _SUBSCRIPTIONS[0]:
            self.subscribed[uri] = None
        else:
            self.subscribed.pop(uri, None)

    def cancel(self, request: RequestId, reason: str) -> None:
        """Cancel a request with a reason; its outcome, if any, is dropped."""
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()

    async def open_stream(self, listening: Listening, wanted: types.SubscriptionFilter) -> None:
        """Open a listen stream, without a deadline; its events go to ``listening``."""
        params = types.SubscriptionsListenParams(notifications=wanted)
        outgoing = OutgoingRequest(
            method=LISTEN,
            revision=self.revision.name,
            params=params,
            meta={**self.settings.meta},
            timeout=None,
        )

        async def send(outgoing: OutgoingRequest) -> Outcome:
            tries = 0
            refused = None
            while True:
                if self.closed is not None:
                    raise errors.ConnectionClosed(LISTEN, self.closed)
                if listening.over():  # left while middleware waited
                    raise errors.ConnectionClosed(LISTEN, "nobody listens any more")
                meta, machine = outgoing.meta or None, self.machine
                generation = 0 if self._authorizer is None else self._authorizer.generation
                request = machine.request(LISTEN, params, now=clock(), timeout=None, meta=meta)
                self._note_sent(outgoing, request)
                self.streams[request] = listening
                listening.begun(request)
                self.flush()
                try:
                    await listening.opened()
                except errors.PeerError as error:
                    if self.raised is not None:
                        self.raised.raise_for(error)
                    tries += 1
                    if tries > self.settings.limits.input_rounds:
                        raise
                    refused = await self._step_up(error, params, machine, generation, refused)
                    if listening.over():
                        raise
                else:
                    break
            if refused is not None and self._authorizer is not None:
                self._authorizer.accepted(refused.operation)
            return Outcome(Raw(msgspec.json.encode({"notifications": listening.filter})))

        if self._chain is None:
            await send(outgoing)
        else:
            await self._guarded(self._chain, outgoing, send)

    def run_tasks(self, capabilities: types.ClientCapabilities, settings: TaskSettings) -> None:
        """Let the server have its requests run as tasks, as ``capabilities`` promise."""
        self._answers.desk = ClientDesk(self, capabilities, settings)

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

    def _settle(self, outcome: Settled) -> None:
        if self._waiting.settle(outcome):
            return
        stream = self.streams.pop(outcome.request, None)
        if isinstance(outcome, events.InputRequired):
            self.machine.abandon(outcome.request)
        elif stream is not None:
            stream.end(outcome)

    def _on_request(self, event: events.RequestReceived) -> None:
        self._visits.asked(event)
        self._answers.begin(event)

    def answer(
        self, params: Raw, context: CallbackContext
    ) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Answer a question of the server, as the middleware lets it be heard.

        Raises McpError, TypeError, ValueError.
        """
        for hear in self._hearing:
            params = hear(context.method, params)
        return self.callbacks.answer(params, context)

    def _on_progress(self, event: events.ProgressReceived) -> None:
        callback = self.progress.get(event.request)
        if callback is not None:
            self.tell(callback, event.progress, event.total, event.message)

    # Conversation

    async def opened(self) -> events.Ready:
        """Negotiate and wait for the outcome.  Raises NegotiationError or LinkError."""
        self.machine.start(now=clock())
        self.flush()
        await self._opened.wait()
        if self.ready is not None:
            return self.ready
        if (failure := self._failure) is not None:
            fault = failure.fault
            cause = None if fault is None else failed(INITIALIZE, failure.message, fault)
            if isinstance(cause, errors.AuthorizationError):
                raise cause
            raise errors.NegotiationError(failure.message + self._noise, failure.error) from cause
        raise errors.LinkError((self.closed or "the connection ended") + self._noise)

    def _on_ready(self, event: events.Ready) -> None:
        again = self.ready is not None
        self.ready, self.deaf = event, None
        if self._authorizer is not None:
            self._generation = self._authorizer.generation
        self._opened.set()
        if self.reconnector is not None:
            self.reconnector.opened(event)
        if again:
            if self.reconnector is not None:
                # Changes were missed, and the server may be a new process.
                for method in LIST_CHANGES:
                    self.assume(Change(method))
                self._watched(RESOURCE_UPDATED)
                self.tasks.look_again()
            self.group.start_soon(self._renew)

    def _on_negotiation_failed(self, event: events.NegotiationFailed) -> None:
        if self.ready is None:
            self._failure = event
            self._opened.set()
        elif self.reconnector is not None:
            self.reconnector.refused(event)
        else:  # of a session in place of a lost one
            self._over(event.message)

    # The next conversation

    def succeed(self, machine: Peer) -> None:
        """Continue on ``machine``, with the keys of requests; the server's were cancelled."""
        self.machine = machine
        if self._answers.desk is not None:
            self._answers.desk.machine = machine

    @property
    def away(self) -> bool:
        """True if the connection is lost and there is no other one yet."""
        return self.reconnector is not None and self.reconnector.away

    def report(self, callback: Callable[[E], object] | None, event: E) -> None:
        """Pass an event to a callback of the application, if there is one."""
        if callback is not None:
            self.tell(callback, event)

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
                known = isinstance(error, errors.McpError | errors.LocalError)
                reason = printable(str(error) if known else type(error).__name__, LONGEST_REASON)
                logger.warning("the server's new session refuses %s: %s", method, reason)
                if not isinstance(error, errors.LocalError) and "uri" in params:
                    for listener in tuple(self.listeners):
                        listener.refused(params["uri"], error)
        self._missed()

    def _missed(self) -> None:
        for listener in tuple(self.listeners):
            listener.missed()

    # Watchers

    def introduced(self, instructions: str | None) -> str | None:
        """Return the server's instructions as the middleware has the application get them."""
        for each in self._introducing:
            instructions = each(instructions)
        return instructions

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Call ``watcher`` with the method of every notification from now on."""
        self._watchers.append(watcher)

    def _watched(self, method: str) -> None:
        for watcher in self._watchers:
            watcher(method)

    def assume(self, change: Change) -> None:
        """Treat a change that may have been missed as if the server had reported it."""
        params = Raw(b"{}" if change.uri is None else msgspec.json.encode({"uri": change.uri}))
        self._watched(change.method)
        if change.task_id is None:
            self._announce(change.method, params)

    # Ends

    def reopen(self, listening: Listening, error: Exception) -> bool:
        """Open a broken stream again, in the background; return False if that is not possible."""
        machine, reconnector = self.machine, self.reconnector
        pace = 0, 0.0, 0.0
        if isinstance(machine, HttpClient):
            http = machine.settings
            pace = http.max_resumes, http.retry_delay, http.max_retry_delay
        elif reconnector is not None and isinstance(error, errors.PeerError):
            # The engine repairs broken connections; here the server has no capacity yet.
            pace = reconnector.pace
        if pace[0] < 1 or self.closing or self.closed is not None:
            return False
        self.group.start_soon(listening.reopen, *pace)
        return True

    def parts(self, listening: Listening) -> bool:
        """Return True if the end of a stream may be a restart of the server; wait for it then."""
        reconnector = self.reconnector
        if reconnector is None or reconnector.attempts < 1 or self.closing or self.closed:
            return False
        patience = reconnector.settings.parting
        self.group.start_soon(listening.part, reconnector.loss, patience, reconnector.pace)
        return True

    def _on_interrupted(self, event: StreamInterrupted) -> None:
        """Report the break of a stream: of a legacy server's changes, or of one answer."""
        what = "the stream of changes" if event.request is None else "the stream of an answer"
        reason = printable(event.reason, LONGEST_REASON)
        logger.info("%s broke off (%s): %s", what, event.recovery.value, reason)
        self.report(self.callbacks.stream_interrupted, event)
        if event.request is None and event.recovery is Recovery.FAIL:
            self.deaf = event.reason
            for listener in self.listeners:
                listener.broken(errors.ConnectionClosed(LISTEN, event.reason))

    def _on_end(self, event: events.ConnectionEnded) -> None:
        reconnector = self.reconnector
        reason = event.reason if reconnector is None else reconnector.ended(event)
        if reason is not None:
            self._over(reason)

    def _over(self, reason: str) -> None:
        self.closed, self.lost = reason, not self.closing
        self._opened.set()
        for listener in self.listeners:
            listener.broken(errors.ConnectionClosed(LISTEN, reason))

    # Notifications

    def _on_notification(
        self, event: events.NotificationReceived | events.SubscriptionNotification
    ) -> None:
        method, params, listeners = event.method, event.params, self.listeners
        if isinstance(event, events.SubscriptionNotification):
            stream = self.streams.get(event.request)
            listeners = [] if stream is None else [stream]
        if method == COMPLETE and not self._visits.completed(params):
            return
        try:
            for listener in listeners:
                listener.notify(method, params)
            self.tasks.heard(method, params)
        except errors.InvalidResponse as error:
            logger.warning("%s", error)
        self._watched(method)
        self._announce(method, params)
        if self.callbacks.notification is not None:
            self.tell(self.callbacks.notification, method, params)

    def _announce(self, method: str, params: Raw) -> None:
        """Pass a notification to the callback for its method."""
        name, kind, member = _CALLBACKS.get(method, ("", None, ""))
        callback = getattr(self.callbacks, name, None)
        if callback is None:
            return
        if kind is None:
            self.tell(callback)
            return
        try:
            told = typed(params, kind)
        except errors.Malformed as error:
            logger.warning("the server's %s is malformed: %s", method, error)
        else:
            self.tell(callback, getattr(told, member) if member else told)

    def _on_violation(self, event: events.Violation) -> None:
        self._violations.tell(event)
        if event.excerpt and not self._noise:
            self._noise = f"; it has sent what is no message: {event.excerpt!r}"
        self.report(self.callbacks.violation, event)

    def _on_acknowledged(self, event: events.SubscriptionAcknowledged) -> None:
        if stream := self.streams.get(event.request):
            stream.acknowledged(event.filter)


class ViolationLog:
    """Log of violations: the first few of a stream, then ever fewer, with their number."""

    def __init__(self) -> None:
        self._counts: dict[events.Route, int] = {}

    def tell(self, event: events.Violation) -> None:
        """Count a violation; log it if it is among the first of its stream or at a power of two."""
        count = self._counts.pop(event.route, 0) + 1
        self._counts[event.route] = count
        if len(self._counts) > _STREAMS:
            del self._counts[next(iter(self._counts))]
        what = f"{event.message}: {event.excerpt!r}" if event.excerpt else event.message
        what = printable(what, LONGEST_REASON)
        if count <= _SHOWN:
            logger.warning("the server broke a rule: %s", what)
        elif count.bit_count() == 1:
            logger.warning("the server broke a rule, %d times by now: %s", count, what)
