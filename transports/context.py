"""What a handler sees of its request, and how it talks to the client while it works.

One handler source serves both eras.  ``await context.elicit(...)`` sends a request and waits where
the era allows that.  In the modern era it leaves the handler with :class:`InputNeeded`; the client
retries with the answers, the handler runs again from its beginning, and this time finds them.
What must not be done twice is kept with :meth:`Context.remember`.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

import anyio
import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import Principal
from mcpcore.http.server import HttpServer
from mcpcore.spec.capabilities import declares, requirement
from mcpcore.spec.errors import (
    ERRORS,
    MISSING_CLIENT_CAPABILITY,
    URL_ELICITATION_REQUIRED,
    LocalProtocolError,
    McpError,
)
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, LoggingLevel, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.sampling import CreateMessageResult, SamplingMessage
from mcpcore.wire.message import RequestId
from transports.inputs import Elicit, Elicited, ElicitUrl, Input, ListRoots, RootList, Sample
from transports.link import clock
from transports.progress import ProgressCallback
from transports.questions import (
    InputNeeded,
    InputUnavailable,
    RoundState,
    WireQuestions,
    params_of,
    ping,
    read_answers,
)
from transports.threads import in_loop, with_room

__all__ = ["Context", "InputNeeded", "InputUnavailable", "RoundState"]

if TYPE_CHECKING:
    from transports.runtime import ServerRuntime
    from transports.tasks_calls import TaskCall

T = TypeVar("T")
R = TypeVar("R")


class Context:
    """The request being worked on. Annotate a parameter of a handler with this class to get it.

    ``progress``, ``log`` and its shorthands may be called from any handler, also from one that
    runs in a thread; everything that is awaited only from ``async def`` ones.
    """

    __mcp_context__ = True

    __slots__ = (
        "_counts",
        "_request",
        "_result_meta",
        "_runtime",
        "_state",
        "call",
        "cancel_reason",
        "scope",
    )

    def __init__(
        self,
        request: RequestReceived,
        runtime: "ServerRuntime",
        state: RoundState | None,
        call: "TaskCall | None" = None,
    ) -> None:
        self._request = request
        self._runtime = runtime
        self._state = state
        self._counts: dict[str, int] | None = None
        self._result_meta: dict[str, Any] | None = None
        self.scope: anyio.CancelScope | None = None
        """The scope that is cancelled with the request; None for a plain function."""
        self.call = call
        """The call of a tool that is a task or may become one; None for all other requests."""
        self.cancel_reason: str | None = None
        """Why the client cancelled the request, or what ended it, as far as that was said."""

    # Facts

    @property
    def request_id(self) -> RequestId:
        """The client's id of the request."""
        return self._request.id

    @property
    def method(self) -> str:
        """For instance ``tools/call``."""
        return self._request.method

    @property
    def params(self) -> Raw:
        """The request's params object, as sent."""
        return self._request.params

    @property
    def meta(self) -> RequestMeta:
        """The request's ``_meta``: progress token, ``traceparent`` and so on."""
        return self._request.meta

    @property
    def result_meta(self) -> dict[str, Any]:
        """What goes into the ``_meta`` of the result, whatever the handler returns; to be filled.

        What a result brings along itself wins, and what only the engine says is left out.  Errors
        of the protocol have no ``_meta``.
        """
        if self._result_meta is None:
            self._result_meta = {}
        return self._result_meta

    def take_result_meta(self, own: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what of :attr:`result_meta` was not taken yet, with the result's ``own`` over it.

        For the runtime and its middleware.
        """
        added, self._result_meta = self._result_meta, None
        return {**added, **(own or {})} if added else own

    @property
    def client_info(self) -> Implementation | None:
        """The client's identity, as it says itself."""
        return self._request.client_info

    @property
    def client_capabilities(self) -> ClientCapabilities:
        """What the client declared."""
        return self._request.client_capabilities

    @property
    def revision(self) -> Revision:
        """The revision that the request speaks."""
        return self._request.revision

    @property
    def session(self) -> str | None:
        """The session's id (legacy HTTP)."""
        return self._request.session

    @property
    def principal(self) -> Principal | None:
        """Who was authenticated, if anyone was: a string, with ``scopes`` and ``claims``."""
        principal = self._request.principal
        if principal is None or isinstance(principal, Principal):
            return principal
        return Principal(principal)

    @property
    def thread(self) -> int:
        """The thread of the event loop, by its identifier."""
        return self._runtime.thread

    @property
    def cancelled(self) -> bool:
        """The client no longer wants an answer; in ``async def`` every ``await`` raises now."""
        return self._is_cancelled()

    @in_loop
    def _is_cancelled(self) -> bool:
        return self.scope is not None and self.scope.cancel_called

    def supports(self, capability: str) -> bool:
        """Whether the client declared ``capability``, for instance ``elicitation.url``."""
        return declares(self._request.client_capabilities, capability)

    def require(self, capability: str) -> None:
        """Refuse the request unless the client declared ``capability``.

        Raises McpError -32021 (modern) or InputUnavailable (legacy).
        """
        if self.supports(capability):
            return
        message = f"the client does not support {capability}"
        if self.revision.input_rounds:
            data = {"requiredCapabilities": requirement(capability)}
            raise McpError(MISSING_CLIENT_CAPABILITY, message, data)
        raise InputUnavailable(message)

    # Telling the client

    @with_room
    def progress(
        self,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress, which must increase; False if the client did not ask for it.

        In a task it is also the task's status message.  ``meta``: the notification's ``_meta``.
        """
        task, throttle = self._task, self._runtime.throttle
        if throttle is not None and throttle.drops_progress(self._request, in_task=bool(task)):
            return False
        if task is not None:
            return task.progress(value, total, message, meta)
        machine = self._runtime.machine
        sent = machine.progress(self._request.key, value, total, message, meta=meta)
        if sent:
            self._runtime.flush()
        return sent

    @with_room
    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a log message, any JSON value; False if the client does not want it.

        ``meta``: the notification's ``_meta``.
        """
        task, throttle = self._task, self._runtime.throttle
        if throttle is not None and throttle.drops_log(self._request, level, in_task=bool(task)):
            return False
        if task is not None:
            return task.log(level, data, logger, meta)
        sent = self._runtime.machine.log(self._request.key, level, data, logger, meta=meta)
        if sent:
            self._runtime.flush()
        return sent

    def debug(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """Log at level ``debug``."""
        return self.log("debug", data, logger, meta=meta)

    def info(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """Log at level ``info``."""
        return self.log("info", data, logger, meta=meta)

    def warning(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """Log at level ``warning``."""
        return self.log("warning", data, logger, meta=meta)

    def error(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """Log at level ``error``."""
        return self.log("error", data, logger, meta=meta)

    @with_room
    def notify(self, method: str, params: Struct | Mapping[str, Any] | None = None) -> bool:
        """Send another notification on the request's stream; False if the revision has none such.

        For instance one of an extension, or ``notifications/elicitation/complete`` when the visit
        to a URL has ended.
        """
        own = method not in KNOWN_METHODS
        if self.cancelled or not (own or lookup(method, "server", self.revision)):
            return False
        if (task := self._task) is not None:
            return task.notify(method, params)
        self._runtime.machine.notify(method, params, parent=self._request.key)
        self._runtime.flush()
        return True

    @in_loop
    def close_stream(self, retry: float | None = None) -> bool:
        """Close the connection on which the client waits for this request, which goes on.

        The client comes back after ``retry`` seconds (None: the server's setting) for what it has
        missed; so nothing need be held open while the work takes long.  False where that is not
        possible: only Streamable HTTP of 2025-11-25 has it.
        """
        machine = self._runtime.machine
        if not isinstance(machine, HttpServer):
            return False
        closed = machine.close_stream(self._request.key, retry=retry, now=clock())
        self._runtime.flush()
        return closed

    # Tasks

    @property
    def task_id(self) -> str | None:
        """The id of the task that the call is, None if it is none (yet)."""
        task = self._task
        return None if task is None or task.record is None else task.record.id

    @in_loop
    def start_task(self) -> bool:
        """Go on as a task from here: the client gets its handle and asks for the result later.

        What was asked before was asked in the request, in rounds that end here (modern); what is
        asked later is asked in the task.  False if the client cannot follow tasks, the tool does
        not declare them, or there are too many; the call then goes on as it is.
        """
        return self.call is not None and self.call.begin_if_possible()

    @property
    def _task(self) -> "TaskCall | None":
        call = self.call
        return None if call is None or call.record is None else call

    async def ping(self, *, timeout: float = 10.0) -> None:
        """Ask the client whether it is still there (legacy).  ``timeout`` in seconds.

        Raises InputUnavailable if it does not answer, and in the modern era, which has no such
        request: there the end of the request's stream cancels the handler.
        """
        await ping(self._runtime, self.revision, request=self._request, timeout=timeout)

    def pinger(self) -> Callable[[float], Awaitable[None]]:
        """Return what asks this client, at any later time, whether it is still there (legacy).

        It takes the seconds to wait and raises as :meth:`ping`, also once the session has ended.
        """
        return partial(_ping_later, self._runtime, self.revision, self.session)

    async def drained(self) -> None:
        """Wait until the client has taken what was sent; for handlers that send very much.

        A handler that runs in a thread need not: what it sends waits for room.
        """
        await self._runtime.drained(self._request.key)

    async def room(self) -> None:
        """Wait until so little waits to be sent that nothing would have to make way."""
        if self._runtime.machine.queued(self._request.key) > self._runtime.settings.limits.queued:
            await self.drained()

    # Asking the client

    @overload
    async def elicit(
        self,
        message: str,
        schema: type[T],
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Elicited[T]: ...

    @overload
    async def elicit(
        self,
        message: str,
        schema: Mapping[str, Any],
        *,
        key: str | None = None,
        validate: bool = True,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Elicited[dict[str, Any]]: ...

    async def elicit(
        self,
        message: str,
        schema: Any,
        *,
        key: str | None = None,
        validate: bool = True,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Elicited[Any]:
        """Ask the user to fill in a form; see :class:`transports.inputs.Elicit`.

        ``key`` names the question among those of this request.  Without it the question itself
        does: one that is put differently when the handler runs again is asked again.
        ``progress`` hears how far the client is with it; in the modern era clients report none.
        ``meta``: see :meth:`ask`.
        """
        wanted: Elicit[Any] = Elicit(message, schema, validate=validate)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def elicit_url(
        self,
        message: str,
        url: str,
        *,
        key: str | None = None,
        elicitation_id: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Elicited[None]:
        """Ask the user to visit ``url``, for what must not pass through the client."""
        wanted = ElicitUrl(message, url, elicitation_id=elicitation_id)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def sample(
        self,
        messages: str | Sequence[SamplingMessage | Mapping[str, Any]],
        max_tokens: int,
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> CreateMessageResult:
        """Ask the client's model; ``options`` are members of the request by their wire names."""
        wanted = Sample(messages, max_tokens, options)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def list_roots(
        self,
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> RootList:
        """Ask which directories and files the client lets us work on."""
        return await self.ask(ListRoots(), key=key, progress=progress, meta=meta)

    async def ask(
        self,
        wanted: Input[R],
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> R:
        """Ask one thing.

        ``meta`` goes into the request's ``_meta``, over the trace context of the request that the
        handler works on, which goes along with every question; it takes the place of that of
        ``wanted``.
        """
        if meta is not None:
            wanted.with_meta(meta)
        name = self._automatic_key(wanted) if key is None else key
        heard = {} if progress is None else {name: progress}
        answers = await self.gather_inputs({name: wanted}, progress=heard)
        answer: R = answers[name]
        return answer

    async def gather_inputs(
        self,
        wanted: Mapping[str, Input[Any]],
        *,
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Ask several things at once, each under its key; answers that do not fit are asked again.

        ``progress``: under the same keys, who hears how far the client is (legacy).

        Raises McpError -32021 (modern) or InputUnavailable (legacy) if the client did not declare
        what a question needs, InputUnavailable if it refuses to answer.
        """
        for question in wanted.values():
            for capability in question.needs(self.revision):
                self.require(capability)
        task = self._task
        if self.revision.input_rounds:
            return self._look_up(wanted) if task is None else await task.ask(wanted)
        for question in wanted.values():
            if lookup(question.method, "server", self.revision) is None:
                raise InputUnavailable(f"{self.revision.name} has no {question.method}")
        if task is not None:
            return await task.ask(wanted, progress)
        questions = WireQuestions(self._runtime, self.revision, request=self._request)
        return await questions.ask(wanted, progress)

    def url_elicitation_required(self, *visits: ElicitUrl) -> NoReturn:
        """Refuse the request until the user has made these visits; for any handler of a request.

        The client learns of them as it can: by the error -32042, and tries again when it sees fit
        (2025-11-25), or by a round of input, and the handler runs again until it no longer calls
        this (modern).  Raises InputUnavailable where neither is possible or the user refuses.
        """
        for visit in visits:
            self.require(visit.capability)
        if self.revision.input_rounds and self._task is None:
            self._visit_first(visits)
        wanted = [params_of(visit, self.revision, None, {}) for visit in visits]
        if self.revision not in ERRORS[URL_ELICITATION_REQUIRED].revisions:
            raise InputUnavailable("a task cannot wait for a visit")
        text = "; ".join(visit.message for visit in visits)
        raise McpError(URL_ELICITATION_REQUIRED, text, {"elicitations": wanted})

    def elicitation_completer(self, elicitation_id: str) -> Callable[[], bool]:
        """Return what tells this client, at any later time, that a visit to a URL is over.

        It may be called long after the request; it returns False where the revision has no such
        message or the client's session has ended.
        """
        method, runtime, session = "notifications/elicitation/complete", self._runtime, self.session
        known = lookup(method, "server", self.revision) is not None

        def complete() -> bool:
            return known and runtime.tell(session, method, {"elicitationId": elicitation_id})

        return complete

    @overload
    async def remember(
        self, key: str, factory: Callable[[], Awaitable[T]], type: Any = Any
    ) -> T: ...

    @overload
    async def remember(self, key: str, factory: Callable[[], T], type: Any = Any) -> T: ...

    async def remember(self, key: str, factory: Callable[[], Any], type: Any = Any) -> Any:
        """Return what ``factory`` made the first time, in this and in all later rounds.

        For what must not be done twice, or must not change, when the handler runs again.  The
        value travels through the client: it cannot be altered there, but it can be read.  It is
        JSON, decoded as ``type``, in every round and era.
        """
        kept = self.state.kept
        if key not in kept:
            value = factory()
            if inspect.isawaitable(value):
                value = await value
            kept[key] = Raw(msgspec.json.encode(value))
        return msgspec.json.decode(kept[key], type=type)

    # How it is done

    @property
    def state(self) -> RoundState:
        """What a further round needs to know."""
        if self._state is None:
            self._state = RoundState()
        return self._state

    def _automatic_key(self, wanted: Input[Any]) -> str:
        # Named by what is asked, not by how many questions came before: an answer to one question
        # can never be taken for the answer to another, whatever the handler does the second time.
        name = f"{wanted.method.split('/')[0]}-{wanted.digest()}"
        counts = self._counts = self._counts or {}
        count = counts[name] = counts.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def _visit_first(self, visits: Sequence[ElicitUrl]) -> NoReturn:
        asked = {f"elicitation-{visit.digest()}": visit for visit in visits}
        for key, answer in self._look_up(asked).items():
            if not answer.accepted:
                raise InputUnavailable(f"the user does not visit {asked[key].url}")
        raise InputNeeded({})  # they agreed, but it takes its time

    def _look_up(self, wanted: Mapping[str, Input[Any]]) -> dict[str, Any]:
        row = lookup(self.method, "client", self.revision)
        if row is None or not row.needs_input:
            raise LocalProtocolError(f"a handler of {self.method} cannot ask the client")
        given = self._request.input_responses or {}
        return read_answers(
            wanted, given, self.state.answers, self.revision, self._request.meta.trace
        )


async def _ping_later(
    runtime: "ServerRuntime", revision: Revision, session: str | None, timeout: float
) -> None:
    await ping(runtime, revision, session=session, timeout=timeout)
