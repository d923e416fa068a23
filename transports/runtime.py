"""The server's runtime: runs the handlers of a server for one connection or HTTP endpoint."""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Literal

import anyio
from msgspec import UNSET, Raw, Struct, UnsetType, field

from mcpcore.engine.config import ASKABLE, Limits
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    Key,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    StreamDrained,
    SubscriptionClosed,
    SubscriptionOpened,
    Violation,
)
from mcpcore.engine.peer import Peer
from mcpcore.engine.seal import Seal
from mcpcore.http.server import HttpServer
from mcpcore.http.sessions import SessionClosed
from mcpcore.service import Prepared, Server
from mcpcore.service.rate import RateLimiter
from mcpcore.service.tasks import TaskSettings
from mcpcore.spec.capabilities import requirement
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    MISSING_CLIENT_CAPABILITY,
    CapabilityMissing,
    LocalProtocolError,
    McpError,
)
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.wire.message import Body, RequestId
from transports.context import Context, InputNeeded, RoundState
from transports.failures import report, simplified
from transports.link import Link, clock
from transports.notices import Notices
from transports.progress import Progress, ProgressCallback
from transports.rate_limits import Throttle
from transports.rounds import Rounds
from transports.running import Handlers, Outcome, Waiting
from transports.seal import make_seal
from transports.server_middleware import Guard, ServerMiddleware
from transports.tasks_calls import TaskCall
from transports.tasks_host import TaskHost
from transports.tasks_server import ServerTasks
from transports.threads import begin, current

logger = logging.getLogger("mcpcore.server")

ServerMachine = Peer | HttpServer
Replies = ServerMachine | TaskCall
"""What a request is answered with: the machine, or what stands between in a call with tasks."""


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """How a server runs its handlers. Times in seconds."""

    revisions: tuple[Revision, ...] = REVISIONS
    limits: Limits = field(default_factory=Limits)
    seal: Seal | None = None
    """Seals ``requestState``; workers that serve the same clients share its keys.  None: one with
    a key of its own or, with a store, of the store's."""
    wall: Callable[[], float] = time.time
    """The clock of what outlives the process, such as a seal's expiry: seconds since the epoch."""
    input_timeout: float | None = 600.0
    """How long a legacy client may take to answer a question: there may be a person behind it."""
    input_rounds: int = 50
    """Rounds of input that one request may take (modern)."""
    middleware: tuple[ServerMiddleware, ...] = ()
    """Around every request but those that the engine answers alone, the first outermost."""
    limiter: RateLimiter | None = None
    """Bounds the rates of tool calls, completions, requests about tasks, log messages, progress."""
    limiter_failure: Literal["refuse", "admit"] = "refuse"
    """What becomes of what a limiter was to decide on that raised an exception."""
    tasks: TaskSettings = field(default_factory=TaskSettings)
    """Tasks of tools that declare them."""


class ServerRuntime:
    """Answers the requests of one machine with the handlers of a server: the machine's App.

    Set ``link``, then :meth:`run` the link.  Plain functions run inline, without a task; ``async``
    handlers have one each, in a task group that ends with the link.
    """

    def __init__(
        self,
        server: Server,
        machine: ServerMachine,
        settings: RuntimeSettings | None = None,
        *,
        tasks: TaskHost | None = None,
    ) -> None:
        self.machine = machine
        self.settings = settings or RuntimeSettings()
        self.link: Link | None = None
        self.thread = current()
        """The thread of the event loop, by its identifier."""
        self.waiting = Waiting()
        """The handlers that wait for an answer of a legacy client."""
        self._server = server
        self._asked: frozenset[str] = ASKABLE if self.settings.middleware else frozenset()
        """Requests that the engine answers once middleware has let them through."""
        guard = self._guard = Guard(self.settings.middleware)
        self._prepare = guard.around(server.prepare) if self.settings.middleware else server.prepare
        self._rounds = Rounds(
            self.settings.seal or make_seal(), self.settings.wall, self.settings.input_rounds
        )
        self.progress: Progress
        """Who hears of the progress of our questions."""
        self._handlers: Handlers
        self._notices: Notices
        self._drains: dict[Key, anyio.Event] = {}
        self._tasks: ServerTasks | None = None
        if tasks is not None or server.capabilities().tasks is not UNSET:
            self._tasks = ServerTasks(self, tasks or TaskHost(self.settings.tasks))
        self._table: dict[type[Event], Callable[[Any], object]] = {
            RequestReceived: self._on_request,
            RequestCancelled: self._on_cancelled,
            ResultReceived: self._settle,
            ErrorReceived: self._settle,
            RequestEnded: self._settle,
            StreamDrained: self._on_drained,
            NotificationReceived: lambda event: self._notices.hear(event),
            ProgressReceived: lambda event: self.progress.hear(event),
            Violation: lambda event: logger.info("a client broke a rule: %s", event.message),
        }
        self.throttle: Throttle | None = None
        if self.settings.limiter is not None:
            admits = self.settings.limiter_failure == "admit"
            self.throttle = Throttle(self.settings.limiter, machine, admits=admits)
            self._table[RequestReceived] = self._on_limited_request
        if self._tasks is not None:
            self._table[SubscriptionOpened] = self._tasks.opened
            self._table[SubscriptionClosed] = self._tasks.closed
            self._table[SessionClosed] = self._tasks.session_closed

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the link to its end; what handlers are still at work then is cancelled."""
        self.thread = current()
        async with anyio.create_task_group() as group:
            self._handlers = Handlers(group, self._release)
            if self._tasks is not None:
                self._tasks.begin(group)
            self.progress = Progress(group)
            self._notices = Notices(self._server, self, group)
            self._server.watch(self._publish)
            try:
                await link_run()
            finally:
                self._server.unwatch(self._publish)
                if self._tasks is not None:
                    self._tasks.close()
                group.cancel_scope.cancel()

    def handle(self, event: Event) -> None:
        """Take one event of the machine."""
        handler = self._table.get(type(event))
        if handler is not None:
            handler(event)

    def flush(self) -> None:
        """The machine was called: have the link write what it has to send."""
        if self.link is not None:
            self.link.flush_soon()

    async def idle(self) -> None:
        """Wait until no ``async`` handler runs."""
        await self._handlers.idle()

    # For contexts

    def send_request(
        self,
        method: str,
        params: Body,
        *,
        request: RequestReceived | None = None,
        session: str | None = None,
        timeout: float | UnsetType | None = UNSET,
        progress: ProgressCallback | None = None,
    ) -> RequestId:
        """Ask a legacy client: on the stream of its ``request``, or in its ``session``.

        The outcome is kept for ``waiting.outcome``.  ``timeout``: by default that of questions.
        ``progress`` hears how far the client is, until it is forgotten.
        Raises LocalProtocolError, also for a capability that the client did not declare.
        """
        wait = self.settings.input_timeout if timeout is UNSET else timeout
        parent = None if request is None else request.key
        ask: Callable[..., RequestId] = self.machine.request
        if isinstance(self.machine, HttpServer):
            ask = partial(ask, session=session if parent is None else None)
        sent = ask(
            method,
            params,
            now=clock(),
            timeout=wait,
            parent=parent,
            progress=progress is not None,
        )
        self.waiting.expect(sent)
        if progress is not None:
            self.progress.expect(sent, progress)
        self.flush()
        return sent

    def withdraw(self, request: RequestId, reason: str) -> None:
        """Give up a question to a legacy client, and tell it why."""
        self.waiting.forget(request)
        self.progress.forget(request)
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()

    async def drained(self, key: Key) -> None:
        """Wait until what was sent for a request has been taken."""
        while self.machine.queued(key):
            event = self._drains.setdefault(key, anyio.Event())
            await event.wait()

    def tell(self, session: str | None, method: str, params: Mapping[str, Any]) -> bool:
        """Notify the client of a session, or of the connection; False if it is gone."""
        try:
            if isinstance(self.machine, HttpServer):
                self.machine.notify(method, params, session=session)
            else:
                self.machine.notify(method, params)
        except LocalProtocolError:
            return False
        self.flush()
        return True

    # Requests

    def _on_limited_request(self, event: RequestReceived) -> None:
        refusal = None if self.throttle is None else self.throttle.refusal(event)
        if refusal is None:
            self._on_request(event)
        else:
            self._refuse(event, McpError.of(refusal))

    def _on_request(self, event: RequestReceived) -> None:
        tasks = self._tasks
        if event.method in self._asked:
            admitted = Prepared(event.revision, result=Raw(b"{}"))
            self._run(event, self._guard(event.revision, admitted), None)
            return
        try:
            about_tasks = None if tasks is None else tasks.prepare(event)
            if about_tasks is not None:
                self._run(event, self._guard(event.revision, about_tasks), None)
                return
            state = self._rounds.open(event)
            prepared = self._prepare(event.method, event.params, event.revision, event.principal)
            if tasks is not None and tasks.takes(event, prepared, state):
                return
        except McpError as error:
            self._refuse(event, error)
        except Exception as error:
            self._fail(event, error)
        else:
            self._run(event, prepared, state)

    def _refuse(self, event: RequestReceived, error: McpError) -> None:
        """Answer with an error; middleware sees it as it sees those of the service."""
        if self.settings.middleware:
            self._run(event, self._guard(event.revision, error), None)
        else:
            self.machine.fail(event.key, error.error)

    def _run(self, event: RequestReceived, prepared: Prepared, state: RoundState | None) -> None:
        if prepared.result is not None:
            self.machine.respond(event.key, prepared.result)
        elif prepared.is_async or prepared.thread:
            context = Context(event, self, state)
            work = partial(self.work, event, prepared, context)
            context.scope = self._handlers.start(event.key, work, context)
        else:
            self._run_sync(event, prepared, Context(event, self, state))

    def _run_sync(self, event: RequestReceived, prepared: Prepared, context: Context) -> None:
        try:
            value = prepared.call(context)
            if inspect.isawaitable(value):  # a plain function that returns an awaitable
                context.scope = self._handlers.start(
                    event.key, lambda: self.work(event, prepared, context, value), context
                )
                return
            result = prepared.finish(value)
            self._respond(event, result, context.take_result_meta(prepared.meta), self.machine)
        except InputNeeded as needed:
            self._require_input(event, context, needed)
        except Exception as error:
            self._fail(event, error, prepared, context)

    async def work(
        self,
        event: RequestReceived,
        prepared: Prepared,
        context: Context,
        begun: Awaitable[Any] | None = None,
    ) -> None:
        """Run a handler to its end, and answer with what comes of it."""
        replies = context.call or self.machine
        try:
            value = begin(prepared, context) if begun is None else begun
            if inspect.isawaitable(value):
                value = await value
            result = prepared.finish(value)
            self._respond(event, result, context.take_result_meta(prepared.meta), replies)
        except BaseException as error:
            only = simplified(error)
            if isinstance(only, InputNeeded):
                self._require_input(event, context, only)
            elif isinstance(only, Exception):
                self._fail(event, only, prepared, context)
            else:
                raise
        finally:
            self._wake(event.key)
            self.flush()

    def _respond(
        self, event: RequestReceived, result: Raw, meta: dict[str, Any] | None, replies: Replies
    ) -> None:
        if event.method in self._asked:
            self.machine.admit(event.key)
        else:
            replies.respond(event.key, result, meta=meta)

    def _fail(
        self,
        event: RequestReceived,
        error: Exception,
        prepared: Prepared | None = None,
        context: Context | None = None,
    ) -> None:
        replies: Replies = (context and context.call) or self.machine
        report(event.method, event.params, error)
        try:
            if prepared is None:
                raise McpError(INTERNAL_ERROR, "Internal error")
            result = prepared.failure(error)
            meta = None if context is None else context.take_result_meta(None)
            try:
                replies.respond(event.key, result, meta=meta)
            except (TypeError, ValueError) as unfit:
                report(event.method, event.params, unfit)
                replies.respond(event.key, result)
        except McpError as shown:
            replies.fail(event.key, shown.error)

    def _on_cancelled(self, event: RequestCancelled) -> None:
        if self._tasks is None or not self._tasks.cancelled(event.key, event.reason):
            self._handlers.cancel(event.key, event.reason)

    def _settle(self, outcome: Outcome) -> None:
        if self._tasks is None or not self._tasks.settle(outcome):
            self.waiting.settle(outcome)

    def _release(self, key: Key) -> None:
        self._wake(key)
        self.machine.release(key)
        self.flush()

    def _on_drained(self, event: StreamDrained) -> None:
        self._wake(event.key)

    def _wake(self, key: Key) -> None:
        """Nothing waits to be sent for a request, or nothing will be sent any more."""
        waiting = self._drains.pop(key, None)
        if waiting is not None:
            waiting.set()

    # Input rounds (modern)

    def _require_input(self, event: RequestReceived, context: Context, needed: InputNeeded) -> None:
        replies = context.call or self.machine
        try:
            state = self._rounds.close(event, context.state)
            replies.require_input(event.key, needed.requests, state)
        except McpError as error:
            replies.fail(event.key, error.error)
        except CapabilityMissing as missing:
            data = {"requiredCapabilities": requirement(missing.capability)}
            replies.fail(event.key, McpError(MISSING_CLIENT_CAPABILITY, str(missing), data).error)
        except (ValueError, TypeError, LocalProtocolError) as error:
            self._fail(event, error, context=context)

    # Changes

    def _publish(self, method: str, params: Struct | None) -> None:
        self.machine.notify(method, params)
        self.flush()
