"""Middleware around the requests that a gateway relays, the same as around those of a server.

A request goes on to the relay where its handler would be called: the answer is what the server
behind the gateway says, and its errors are raised as McpError.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn, cast

import anyio
from msgspec import Raw, Struct

from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import Event, Key, RequestCancelled, RequestReceived, StreamDrained
from mcpcore.errors import InputNeeded, InputUnavailable
from mcpcore.relay.link import UNSENDABLE
from mcpcore.service import Prepared
from mcpcore.service.handlers import shown
from mcpcore.service.tools import error_result
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, Forbidden, McpError
from mcpcore.wire.jsontext import splice
from mcpcore_transports.client.middleware import Outcome
from mcpcore_transports.gateway.route import GatewayRoute, GatewayRuntime
from mcpcore_transports.running.functions import current, is_awaitable
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.failures import about, simplified
from mcpcore_transports.server.logs import without_labels
from mcpcore_transports.server.middleware import guard
from mcpcore_transports.server.settings import RuntimeSettings, ServerMachine

_CALL = "tools/call"
_ASKS_NOTHING = "middleware of a gateway cannot ask the client"


class _RelayReply(Struct, eq=False):
    """Answer of the relay to one request."""

    result: Raw = Raw(b"{}")
    """The whole result object."""
    meta: Mapping[str, Any] | None = None
    send: Callable[..., object] | None = None
    """Function of ``meta`` that sends the result as the relay has given it."""
    error: ErrorData | None = None
    questions: tuple[Any, ...] = ()
    """Questions and state, in place of a result."""
    admitted: bool = False
    """True if the engine has answered, or has opened the stream that was asked for."""


class _RelayWait:
    """Request at the relay; ``reply`` is set with its answer."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.reply = _RelayReply()


class _Relayed(Prepared):
    """Request whose handler is the relay."""

    reply: _RelayReply | None = None

    def __init__(self, runtime: "SurroundedRuntime", event: RequestReceived) -> None:
        super().__init__(event.revision, is_async=True)
        self._runtime, self._event = runtime, event

    async def call(self, context: Any) -> Raw:
        self.reply = reply = await self._runtime.answer(self._event, context)
        if reply.error is not None:
            raise McpError.of(reply.error)
        if reply.questions:
            raise InputNeeded(reply.questions[0])
        return reply.result

    def finish(self, value: Raw) -> Raw:
        self.failed = self._event.method == _CALL and Outcome(value).failed
        reply = self.reply
        self.meta = None if reply is None or reply.meta is None else dict(reply.meta)
        return value

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        if self._event.method == _CALL and not isinstance(error, McpError):
            return error_result(told or shown(error))
        return super().failure(error, told)


class _RelayedContext(Context):
    """Context of middleware at a gateway, which asks the client nothing."""

    async def gather_inputs(self, *wanted: Any, **more: Any) -> NoReturn:
        raise InputUnavailable(_ASKS_NOTHING)

    def _look_up(self, wanted: Any) -> NoReturn:
        raise InputUnavailable(_ASKS_NOTHING)

    async def ping(self, *, timeout: float = 10.0) -> NoReturn:
        raise InputUnavailable(_ASKS_NOTHING)

    def pinger(self) -> Callable[[float], Awaitable[None]]:
        return lambda timeout: self.ping(timeout=timeout)


class SurroundedRuntime(GatewayRuntime):
    """App of one machine of clients whose requests are inside of middleware.

    It takes the relay's answers in the machine's place, and gives the machine those of the
    middleware.  Contexts have it as their runtime.
    """

    lifespan = None
    mounted_lifespans: Mapping[Any, Any] = {}
    keeps_sessions = False

    def __init__(
        self, route: GatewayRoute, machine: ServerMachine, settings: RuntimeSettings
    ) -> None:
        super().__init__(route, machine, settings)
        route.relay.stand_ins[machine] = cast(Any, self)
        self._guard = guard(without_labels(settings.middleware)[1], self.failures)
        self.thread = current()
        """Identifier of the event loop's thread."""
        self._waiting: dict[Key, _RelayWait] = {}
        """Requests at the relay."""
        self._drains: dict[Key, anyio.Event] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.replies, name)

    def relay(self, event: Event) -> None:
        """Hand an event to the relay, a request by way of the middleware."""
        if isinstance(event, RequestReceived):
            context = _RelayedContext(event, cast(Any, self), None)
            work = partial(self._run, event, context)
            context.scope = self._handlers.start(event.key, work, context)
            return
        if isinstance(event, StreamDrained):
            self._wake(event.key)
        super().relay(event)

    def _replies(self, context: Context | None) -> Any:
        return self.replies

    def _release(self, key: Key) -> None:
        self._wake(key)
        super()._release(key)

    async def answer(self, event: RequestReceived, context: Context) -> _RelayReply:
        """Hand a request to the relay; return its answer.

        Raises RuntimeError while it is there: the relay would answer one of the two alone.
        """
        if event.key in self._waiting:
            raise RuntimeError(f"middleware has passed on {event.method} and not got its answer")
        waiting = self._waiting[event.key] = _RelayWait()
        super().relay(event)
        try:
            await waiting.done.wait()
        finally:
            if self._waiting.get(event.key) is waiting:  # the middleware waits no longer
                del self._waiting[event.key]
                super().relay(RequestCancelled(event.key, context.cancel_reason))
        return waiting.reply

    async def _run(self, event: RequestReceived, context: Context) -> None:
        relayed = _Relayed(self, event)
        prepared = self._guard(event.revision, relayed)
        try:
            value = prepared.call(context)
            result = prepared.finish(await value if is_awaitable(value) else value)
            self._respond(event, relayed.reply, result, prepared.meta)
        except BaseException as error:
            self._ended(event, relayed, context, simplified(error))
        finally:
            self._wake(event.key)
            self.flush()

    def _respond(
        self,
        event: RequestReceived,
        reply: _RelayReply | None,
        result: Raw,
        meta: dict[str, Any] | None,
    ) -> None:
        """Answer with a result: as the relay has given it, if it is still the same."""
        if reply is None and event.method in ASKABLE:
            raise RuntimeError(f"middleware can refuse {event.method}, but not answer it")
        if reply is None or not reply.admitted:
            same = reply is not None and reply.result is result and reply.send
            send = same or partial(self.replies.respond, event.key, result)
            send(meta=meta)

    def _ended(
        self,
        event: RequestReceived,
        relayed: _Relayed,
        context: Context,
        error: Exception | InputNeeded,
    ) -> None:
        """Answer with questions, or with an error that the middleware has raised or let through."""
        reply = relayed.reply
        if isinstance(error, InputNeeded):
            try:
                if reply is not None and reply.questions:
                    self.replies.require_input(event.key, *reply.questions)
                    return
                error = InputUnavailable(_ASKS_NOTHING)
            except UNSENDABLE as unfit:  # such as a question that the client cannot be asked
                error = McpError(INTERNAL_ERROR, str(unfit))
        if reply is not None and reply.admitted:  # it comes too late
            self.failures.told(about(event.method, event.params), error)
        else:
            self._fail(event, error, relayed, context)

    def _fail_with(self, event: RequestReceived, error: McpError, replies: Any) -> None:
        if isinstance(error, Forbidden):
            replies = self.machine
            if self._observed is not None:  # a stand-in that forbids nothing itself
                self._observed.end(event.key, error.error)
        super()._fail_with(event, error, replies)

    # What the relay answers with

    def _take(self, key: Key, reply: _RelayReply) -> bool:
        """Keep an answer; nobody has it if the middleware waits no longer."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.reply = reply
            waiting.done.set()
        return waiting is not None

    def respond(
        self,
        key: Key,
        result: Raw,
        *,
        meta: Mapping[str, Any] | None = None,
        members: bytes = b"",
        **more: Any,
    ) -> bool:
        """Answer with a result."""
        whole = Raw(splice(bytes(result), members)) if members else result
        send = partial(self.replies.respond, key, result, members=members, **more)
        return self._take(key, _RelayReply(whole, meta, send))

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error."""
        return self._take(key, _RelayReply(error=error))

    def require_input(self, key: Key, *wanted: Any) -> bool:
        """Answer with questions, which end this round of the request."""
        return self._take(key, _RelayReply(questions=wanted))

    def admit(self, key: Key) -> bool:
        """Let the engine answer, or open the stream that was asked for: at once.

        What the middleware does after its ``yield`` comes too late to change that.
        """
        admitted: bool = key in self._waiting and self.replies.admit(key)
        return self._take(key, _RelayReply(admitted=True)) and admitted
