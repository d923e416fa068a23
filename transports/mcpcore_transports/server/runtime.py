"""Runtime of a server: runs its handlers for one connection or HTTP endpoint."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore import errors
from mcpcore.engine import events
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import Event, Key, RequestCancelled, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.service import Prepared, Service
from mcpcore.service.reading import typed
from mcpcore.spec.capabilities import requirement
from mcpcore.spec.errors import MISSING_CLIENT_CAPABILITY
from mcpcore.spec.types.lifecycle import SubscriptionsListenParams
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import RequestId
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running import functions, pending
from mcpcore_transports.server.answering import Answering, Replies
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.failures import Failures, simplified, subject
from mcpcore_transports.server.input_rounds import Rounds, RoundState
from mcpcore_transports.server.notifications import NotificationDispatcher
from mcpcore_transports.server.settings import RuntimeSettings, ServerMachine
from mcpcore_transports.server.violations import ClientViolations

# Imported by servers that have them, as that takes time.
if TYPE_CHECKING:
    from mcpcore.http.server.sessions import SessionClosed
    from mcpcore.http.storing import SessionForgotten, SessionRestored
    from mcpcore_transports.running.tasks import TaskHost
    from mcpcore_transports.server.middleware import Guard
    from mcpcore_transports.server.rate_limits import Throttle
    from mcpcore_transports.server.tasks.tasks import ServerTasks

__all__ = ["ServerRuntime"]

_SUBSCRIBING = frozenset({"resources/subscribe", "subscriptions/listen"})


def asked_first(server: Service, settings: RuntimeSettings) -> frozenset[str]:
    """Return the methods that the runtime lets through before the engine answers them."""
    if settings.middleware or settings.limiter is not None:
        return ASKABLE
    resources = server.capabilities().resources
    subscribing = resources is not None and resources.subscribe
    return server.overheard | (_SUBSCRIBING if subscribing else frozenset())


def begin(prepared: Prepared, context: Context) -> Any:
    """Call a handler; return its value or an awaitable for it.

    The thread of a cancelled request runs on; its result is dropped.
    """
    if prepared.timeout is not None:
        return _in_time(prepared, context, prepared.timeout)
    if prepared.thread:
        return functions.in_thread(prepared.call, context)
    return prepared.call(context)


async def _in_time(prepared: Prepared, context: Context, seconds: float) -> Any:
    """Run a tool, and cancel it when its time is over.  Raises ToolError then."""
    with anyio.move_on_after(seconds):
        if prepared.thread:
            return await functions.in_thread(prepared.call, context)
        return await prepared.call(context)
    context.late = True  # a thread, which runs on, sees by it that nobody waits
    name = subject(context.method, context.params)
    raise errors.ToolError(f"the tool {name!r} did not end within {seconds:g} seconds")


class ServerRuntime(Answering):
    """App of one machine that answers its requests with the handlers of a server.

    Set ``link``, then :meth:`run` the link.  Plain functions run inline, ``async`` handlers in a
    task each, in a group that ends with the link.
    """

    def __init__(
        self,
        server: Service,
        machine: ServerMachine,
        settings: RuntimeSettings | None = None,
        *,
        tasks: "TaskHost | None" = None,
    ) -> None:
        self.machine = machine
        self._give = machine.respond  # bound once, as an HttpServer's is found slowly by a call
        self.settings = settings or RuntimeSettings()
        self.link: Link | None = None
        self.waiting = pending.Waiting()
        """Requests whose answers from a legacy client handlers wait for."""
        self.progress: pending.Progress
        """Callbacks for the progress of requests to the client."""
        self._drains: dict[Key, anyio.Event] = {}
        self.thread = functions.current()
        """Identifier of the event loop's thread."""
        self._loop: object | None = None
        """Event loop, while changes are published."""
        self.failures = Failures(self.settings)
        self._server = server
        self.has_tool = server.has_tool
        """Function that returns True if a tool exists for a principal."""
        self.lifespan: Any = None
        """Value yielded by the lifespan of the server, once it was entered."""
        self.mounted_lifespans: Mapping[Service, Any] = {}
        """Values yielded by the lifespans of mounted servers."""
        self.session_states: dict[str | None, dict[str, Any]] = {}
        """Values that handlers keep, by session; those of a connection under None."""
        self._forgotten: dict[str | None, dict[str, Any]] = {}
        """Values of sessions that this worker has forgotten and may have again, the latest last."""
        self.keeps_sessions = isinstance(machine, Peer) or machine.settings.sessions
        """False if each legacy request has a session of its own."""
        self._asked = asked_first(server, self.settings)
        """Methods that the engine answers once scopes, roles and middleware let them through."""
        self._guard: Guard | None = None
        if self.settings.middleware:
            from mcpcore_transports.server.middleware import guard  # late: few have middleware

            self._guard = guard(self.settings.middleware, self.failures)
        self._rounds = Rounds(self.settings)
        self._handlers: pending.Handlers
        self._notifications: NotificationDispatcher
        self._tasks: ServerTasks | None = None
        self._table: dict[type[Event], Callable[[Any], object]] = {
            RequestReceived: self._on_request,
            RequestCancelled: self._on_cancelled,
            events.ResultReceived: self._settle,
            events.ErrorReceived: self._settle,
            events.RequestEnded: self._settle,
            events.StreamDrained: lambda event: self._wake(event.key),
            events.NotificationReceived: lambda event: self._notifications.hear(event),
            events.ProgressReceived: lambda event: self.progress.hear(event),
            events.Violation: ClientViolations(self.settings.suspicion).hear,
        }
        self.throttle: Throttle | None = None
        if self.settings.limiter is not None:
            from mcpcore_transports.server import rate_limits  # late: few limit rates

            self.throttle = rate_limits.Throttle(self.settings, machine, self.failures)
            self._table[RequestReceived] = partial(self._limit, self.throttle)
        if not isinstance(machine, Peer):
            from mcpcore.http.server.sessions import SessionClosed  # late: for HTTP alone

            self._table[SessionClosed] = self._on_session_closed
            if machine.worker:
                from mcpcore.http import storing  # late: few have a store

                forget = partial(self._on_session_forgotten, machine.settings.max_sessions)
                self._table[storing.SessionForgotten] = forget
                self._table[storing.SessionRestored] = self._on_session_restored
        if tasks is not None or server.capabilities().tasks is not None:
            from mcpcore_transports.running.tasks import TaskHost  # late: few offer tasks
            from mcpcore_transports.server.tasks import tasks as server_tasks

            host = tasks or TaskHost(self.settings.tasks)
            desk = server_tasks.ServerTasks
            if host.shared:
                from mcpcore_transports.server.tasks.stored import StoredDesk  # late: few do

                desk = StoredDesk
            self._tasks = desk(self, host)
            self._table[events.SubscriptionOpened] = self._tasks.opened
            self._table[events.SubscriptionClosed] = self._tasks.closed

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the link to its end, within the lifespan; then cancel the handlers."""
        if self._server.lifespan is None:
            await self._serve(link_run)
            return
        from mcpcore_transports.server import lifespan  # late: few have a lifespan

        async def serve(value: Any) -> None:
            self.lifespan = value
            self.mounted_lifespans = lifespan.mounted_values(self._server)
            await self._serve(link_run)

        await lifespan.within(self._server, self.settings, serve)

    async def _serve(self, link_run: Callable[[], Awaitable[object]]) -> None:
        self.thread = functions.current()
        async with anyio.create_task_group() as group:
            self._loop = functions.current_loop()
            functions.guard_tasks(self._loop)
            self._handlers = pending.Handlers(group, self._release, self._loop)
            if self._tasks is not None:
                self._tasks.begin(group)
            self.progress = pending.Progress(
                group, limit=self.settings.reports, failed=self.failures.told
            )
            self._notifications = NotificationDispatcher(self._server, self, group)
            self._server.watch(self._publish)
            if not isinstance(self.machine, Peer) and self._server.health_checks:
                from mcpcore_transports.server.health import watch_health  # late: few have checks

                group.start_soon(watch_health, self, self.machine, self._server.health_checks)
            try:
                await link_run()
            finally:
                self._server.unwatch(self._publish)
                self._loop = None
                if self._tasks is not None:
                    self._tasks.close()
                self._handlers.stop()
                group.cancel_scope.cancel()

    def handle(self, event: Event) -> None:
        """Take one event of the machine."""
        handler = self._table.get(type(event))
        if handler is not None:
            handler(event)

    async def idle(self) -> None:
        """Wait until no ``async`` handler runs."""
        await self._handlers.idle()

    # Requests

    def _on_request(self, event: RequestReceived) -> None:
        guard, tasks, state = self._guard, self._tasks, None
        try:
            prepared: Prepared | None
            if event.method in self._asked:
                if self._server.guards_reading:
                    self._demand_subscription(event)
                prepared = None
                if event.method not in self._server.overheard:
                    if guard is None:
                        self.machine.admit(event.key)
                        return
                    prepared = Prepared(event.revision, result=Raw(b"{}"))
            else:
                prepared = None if tasks is None else tasks.prepare(event)
            if prepared is None:
                state = None if event.request_state is None else self._rounds.open(event)
                prepared = self._server.prepare(
                    event.method,
                    event.params,
                    event.revision,
                    event.principal,
                    event.skim,
                    event.client_capabilities,
                )
            if guard is not None:
                prepared = guard(event.revision, prepared)
            if tasks is not None and tasks.takes(event, prepared, state):
                return
        except BaseException as error:
            self._refuse(event, functions.failure_of(error))
        else:
            self._run(event, prepared, state)

    def _refuse(self, event: RequestReceived, error: Exception) -> None:
        """Answer with an error; middleware sees it as it sees those of handlers."""
        if self._guard is not None:
            self._run(event, self._guard(event.revision, error), None)
        else:
            super()._refuse(event, error)

    def _demand_subscription(self, event: RequestReceived) -> None:
        """Raise Forbidden for a subscription to a resource that the sender may not read."""
        uris: Sequence[str] = ()
        try:
            if event.method == "resources/subscribe":
                from mcpcore.spec.types.resources import SubscribeParams  # with resources alone

                uris = (typed(event.params, SubscribeParams).uri,)
            elif event.method == "subscriptions/listen":
                wanted = typed(event.params, SubscriptionsListenParams).notifications
                uris = wanted.resource_subscriptions
        except errors.Malformed:
            return  # the engine refuses it
        if len(uris) <= self.settings.limits.subscriptions:  # of more, the engine refuses it
            most = self._server.max_uri
            self._server.demand_reading([u for u in uris if len(u) <= most], event.principal)

    def _run(self, event: RequestReceived, prepared: Prepared, state: RoundState | None) -> None:
        if prepared.result is not None:
            self.machine.respond(event.key, prepared.result, bare=prepared.bare)
            return
        if prepared.is_async or prepared.thread:
            self._start(event, prepared, Context(event, self, state, prepared.home))
            return
        context = Context(event, self, state, prepared.home) if prepared.takes_context else None
        try:
            value = functions.guarded_call(prepared.call, context)
            if functions.is_awaitable(value):  # as a plain function may return one
                context = context or Context(event, self, state, prepared.home)
                self._start(event, prepared, context, value)
            else:
                self._respond(event, prepared, value, context)
        except errors.InputNeeded as needed:
            self._require_input(event, context or Context(event, self, state), needed)
        except BaseException as error:
            self._fail(event, functions.failure_of(error), prepared, context)

    def _start(
        self,
        event: RequestReceived,
        prepared: Prepared,
        context: Context,
        begun: Awaitable[Any] | None = None,
    ) -> None:
        work = partial(self.work, event, prepared, context, begun)
        context.scope = self._handlers.start(event.key, work, context)

    async def work(
        self,
        event: RequestReceived,
        prepared: Prepared,
        context: Context,
        begun: Awaitable[Any] | None = None,
    ) -> None:
        """Run a handler to its end, and answer with its result."""
        try:
            value = begin(prepared, context) if begun is None else begun
            if functions.is_awaitable(value):
                value = await value
            self._respond(event, prepared, value, context)
        except BaseException as error:
            only = simplified(error)
            if isinstance(only, errors.InputNeeded):
                self._require_input(event, context, only)
            else:
                self._fail(event, only, prepared, context)
        finally:
            self._wake(event.key)
            self.flush()

    def _respond(
        self, event: RequestReceived, prepared: Prepared, value: Any, context: Context | None
    ) -> None:
        result = prepared.finish(value)
        if event.method in self._asked:
            if prepared.error is not None:  # refused on the way: no answer of middleware grants it
                raise prepared.error
            if not prepared.reached:  # as of one that has refused it, within one that forgives
                raise RuntimeError(f"middleware can refuse {event.method}, but not answer it")
            self.machine.admit(event.key)
            return
        if context is None:
            give = self._give
            give(event.key, result, meta=prepared.meta, bare=prepared.bare)
            return
        meta = context.take_result_meta(prepared.meta)
        self._replies(context).respond(event.key, result, meta=meta, bare=prepared.bare)

    def _replies(self, context: Context | None) -> Replies:
        return self.machine if context is None or context.call is None else context.call

    def _on_cancelled(self, event: RequestCancelled) -> None:
        if self._tasks is None or not self._tasks.cancelled(event.key, event.reason):
            self._handlers.cancel(event.key, event.reason)

    def _on_session_closed(self, event: "SessionClosed") -> None:
        self.session_states.pop(event.session, None)
        self._forgotten.pop(event.session, None)
        if self._tasks is not None:
            self._tasks.session_closed(event)

    def _on_session_forgotten(self, most: int, event: "SessionForgotten") -> None:
        """Keep the values of the session for a while: nobody tells this worker of its end."""
        if (values := self.session_states.pop(event.session, None)) is not None:
            self._forgotten[event.session] = values
            if len(self._forgotten) > most:
                del self._forgotten[next(iter(self._forgotten))]

    def _on_session_restored(self, event: "SessionRestored") -> None:
        if (values := self._forgotten.pop(event.session, None)) is not None:
            self.session_states[event.session] = values

    def _settle(self, outcome: pending.Settled) -> None:
        if self._tasks is None or not self._tasks.settle(outcome):
            self.waiting.settle(outcome)

    def _release(self, key: Key) -> None:
        self._wake(key)
        self.machine.release(key)
        self.flush()

    # Input rounds (modern)

    def _require_input(
        self, event: RequestReceived, context: Context, needed: errors.InputNeeded
    ) -> None:
        replies = self._replies(context)
        try:
            state = self._rounds.close(event, context.state)
            replies.require_input(event.key, needed.requests, state)
        except errors.McpError as error:
            replies.fail(event.key, error.error)
        except errors.CapabilityMissing as missing:
            data = {"requiredCapabilities": requirement(missing.capability)}
            replies.fail(
                event.key, errors.McpError(MISSING_CLIENT_CAPABILITY, str(missing), data).error
            )
        except BaseException as error:  # not JSON; and seals and clocks are the application's
            self._fail(event, functions.failure_of(error), context=context)

    # Change notifications

    def _publish(self, method: str, params: Struct | None) -> None:
        """Notify clients of a change, which may have been made in any thread."""
        loop = self._loop
        if functions.current() == self.thread:
            self._tell_all(method, params)
        elif loop is not None:
            functions.call_in_loop(loop, partial(self._tell_all, method, params))

    def _tell_all(self, method: str, params: Struct | None) -> None:
        if self._loop is not None:  # else the change came while this ended
            self.machine.notify(method, params)
            self.flush()

    # Requests and notifications to clients, on behalf of handlers

    def send_request(
        self,
        method: str,
        params: Body,
        *,
        request: RequestReceived | None = None,
        session: str | None = None,
        timeout: float | UnsetType | None = UNSET,
        progress: pending.ProgressCallback | None = None,
    ) -> RequestId:
        """Send a request to a legacy client, on the stream of ``request`` or in ``session``.

        The outcome is kept for ``waiting.outcome``.  ``timeout``: by default that of questions.
        Raises LocalProtocolError, also for a capability that the client did not declare.
        """
        wait = self.settings.input_timeout if timeout is UNSET else timeout
        parent = None if request is None else request.key
        sent = self.machine.request(
            method,
            params,
            now=clock(),
            timeout=wait,
            parent=parent,
            progress=progress is not None,
            **self.in_session(session if parent is None else None),
        )
        self.waiting.expect(sent)
        if progress is not None:
            self.progress.expect(sent, progress)
        self.flush()
        return sent

    def withdraw(self, request: RequestId, reason: str) -> None:
        """Cancel a request to a legacy client, and send it the reason."""
        self.waiting.forget(request)
        self.progress.forget(request)
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()
