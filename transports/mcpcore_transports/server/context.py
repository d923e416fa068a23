"""Context of a request for its handler: facts, messages and questions to the client.

The same handler code serves both eras, see :mod:`mcpcore_transports.server.input_rounds`.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypedDict, Unpack, overload

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.events import NotificationReceived, RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.peer import Peer
from mcpcore.errors import InputNeeded, InputUnavailable, InvalidValue, LocalProtocolError, McpError
from mcpcore.http.principals import Principal
from mcpcore.service import Service
from mcpcore.service.custom_types import read_by_pydantic, read_custom
from mcpcore.spec.capabilities import declares, requirement
from mcpcore.spec.errors import ERRORS, MISSING_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED
from mcpcore.spec.methods import KNOWN_METHODS, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, LoggingLevel, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.jsontext import encodable
from mcpcore.wire.message import RequestId
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import current, in_loop, is_awaitable, with_room
from mcpcore_transports.running.pending import ProgressCallback, Run
from mcpcore_transports.server import input_rounds
from mcpcore_transports.server.input_rounds import RoundState

# Questions and tasks are imported with the first one, as that takes time; the runtime imports this.
if TYPE_CHECKING:
    from typing_extensions import TypeForm, TypeVar  # in typing from Python 3.15 and 3.13 on

    from mcpcore.spec.types.client_features import CreateMessageResult, SamplingMessage
    from mcpcore_transports.server.elicitation import Elicited, ElicitUrl, Input, RootList
    from mcpcore_transports.server.runtime import ServerRuntime
    from mcpcore_transports.server.tasks.tasks import TaskCall

    L = TypeVar("L", default=Any)
else:
    from typing import TypeVar

    L = TypeVar("L")
"""Type of the value that the lifespan of a server yields; anything by default."""
T = TypeVar("T")
R = TypeVar("R")


class AskOptions(TypedDict, total=False):
    """Options of a question to the client."""

    key: str | None
    """Name of the question among those of this request.

    Without it the question's content is its name: a question that is worded differently when the
    handler runs again is asked again.
    """
    progress: ProgressCallback | None
    """Callback for the client's progress; in the modern era clients report none."""
    meta: Mapping[str, Any] | None
    """Members for the question's ``_meta``, in place of those it has.

    The trace context of the handler's request goes into every question; ``meta`` overrides it.
    """


class MessageContext(Generic[L]):
    """Context of a message of the client."""

    __mcp_context__ = True
    __slots__ = ("_event", "_runtime", "thread")

    def __init__(
        self, event: RequestReceived | NotificationReceived, runtime: "ServerRuntime"
    ) -> None:
        self._event = event
        self._runtime = runtime
        self.thread = runtime.thread
        """Identifier of the event loop's thread."""

    @property
    def method(self) -> str:
        """The method, for instance ``tools/call``."""
        return self._event.method

    @property
    def params(self) -> Raw:
        """The params object, as sent."""
        return self._event.params

    @property
    def session(self) -> str | None:
        """The session's id (legacy HTTP)."""
        return self._event.session

    @property
    def principal(self) -> Principal | None:
        """The authenticated user, or None: a string, with ``scopes`` and ``claims``."""
        principal = self._event.principal
        if principal is None or isinstance(principal, Principal):
            return principal
        return Principal(principal)

    @property
    def lifespan(self) -> L:
        """Value that the lifespan of the server has yielded; None without a lifespan."""
        value: L = self._runtime.lifespan
        return value


class Context(MessageContext[L]):
    """The current request of a handler, which gets it by annotating a parameter with this class.

    ``Context[Database]`` gives the type of the lifespan's value.  Handlers that run in a thread may
    call ``progress``, ``log`` and its shorthands too; awaitable methods are for ``async def``.
    """

    __slots__ = (
        "_counts",
        "_home",
        "_result_meta",
        "_state",
        "call",
        "cancel_reason",
        "late",
        "scope",
    )

    _event: RequestReceived

    def __init__(
        self,
        request: RequestReceived,
        runtime: "ServerRuntime",
        state: RoundState | None,
        home: Service | None = None,
        call: "TaskCall | None" = None,
    ) -> None:
        self._event = request  # as in the class above, without a call: each request has a context
        self._runtime = runtime
        self.thread = runtime.thread
        self._home = home
        self._state = state
        self._counts: dict[str, int] | None = None
        self._result_meta: dict[str, Any] | None = None
        self.scope: Run | None = None
        """Scope that is cancelled with the request; None for a plain function."""
        self.late = False
        """True once the ``timeout`` of its tool is over."""
        self.call = call
        """The tool call that is a task or may become one; None for all other requests."""
        self.cancel_reason: str | None = None
        """Reason for the client's cancellation or another end of the request, if it is known."""

    @property
    def lifespan(self) -> L:
        """Value that the lifespan of the handler's server has yielded; None without a lifespan."""
        if self._home is None:
            return super().lifespan
        value: Any = self._runtime.mounted_lifespans.get(self._home)
        return value  # type: ignore[no-any-return]

    @property
    def request_id(self) -> RequestId:
        """The client's id of the request."""
        return self._event.id

    @property
    def meta(self) -> RequestMeta:
        """The request's ``_meta``: progress token, ``traceparent`` and so on."""
        return self._event.meta

    @property
    def event(self) -> RequestReceived:
        """The request as the engine has told of it."""
        return self._event

    @property
    def result_meta(self) -> dict[str, Any]:
        """Members for the ``_meta`` of the result, to be filled; those of a result take precedence.

        Members reserved for the engine are left out.  Errors of the protocol have no ``_meta``.
        """
        if self._result_meta is None:
            self._result_meta = {}
        return self._result_meta

    def take_result_meta(self, own: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the rest of :attr:`result_meta`, overridden by ``own``, that of the result."""
        added, self._result_meta = self._result_meta, None
        return {**added, **(own or {})} if added else own

    @property
    def client_info(self) -> Implementation | None:
        """The client's name and version according to itself."""
        return self._event.client_info

    @property
    def client_capabilities(self) -> ClientCapabilities:
        """Capabilities that the client has declared."""
        return self._event.client_capabilities

    @property
    def revision(self) -> Revision:
        """Revision of the request."""
        return self._event.revision

    @property
    def cancelled(self) -> bool:
        """True if no answer is wanted any more; in ``async def`` every ``await`` raises.

        The client has cancelled the request or, in a tool's thread, its ``timeout`` is over.
        """
        return self._unwanted(current())

    @in_loop
    def _unwanted(self, thread: int) -> bool:
        """Return :attr:`cancelled`, as a thread sees it: middleware goes on after a timeout."""
        if self.late and thread != self.thread:
            return True
        return self.scope is not None and self.scope.cancel_called

    @property
    def session_state(self) -> dict[str, Any]:
        """Values that handlers keep for the session or the connection (legacy), until its end.

        They stay in this process, which with a store keeps those of at most
        :attr:`HttpSettings.max_sessions` sessions that it has not heard of for long.  Without
        sessions, and in the modern era, each request gets an empty dict.
        """
        return self._kept(current())

    @in_loop
    def _kept(self, thread: int) -> dict[str, Any]:
        runtime = self._runtime
        kept = self.revision.handshake and runtime.keeps_sessions
        if not kept or self._unwanted(thread):  # the session may be gone
            return {}
        return runtime.session_states.setdefault(self.session, {})

    def supports(self, capability: str) -> bool:
        """Return True if the client declared ``capability``, for instance ``elicitation.url``."""
        return declares(self._event.client_capabilities, capability)

    def require(self, capability: str) -> None:
        """Raise McpError -32021, in legacy InputUnavailable, unless a capability was declared."""
        if self.supports(capability):
            return
        message = f"the client does not support {capability}"
        if self.revision.input_rounds:
            data = {"requiredCapabilities": requirement(capability)}
            raise McpError(MISSING_CLIENT_CAPABILITY, message, data)
        raise InputUnavailable(message)

    # The task of a tool call

    @property
    def task_id(self) -> str | None:
        """Id of the task that the call has become, None if it is none (yet)."""
        task = self._task
        return None if task is None or task.record is None else task.record.id

    @in_loop
    def start_task(self) -> bool:
        """Continue as a task: the client gets the task's handle and asks for the result later.

        Later questions belong to the task.  Returns False if the client cannot follow tasks, the
        tool does not declare them, or there are too many; the call then continues as it is.
        """
        return self.call is not None and self.call.begin_if_possible()

    @property
    def _task(self) -> "TaskCall | None":
        call = self.call
        return None if call is None or call.record is None else call

    # State of earlier rounds

    @property
    def state(self) -> RoundState:
        """State for a further input round."""
        if self._state is None:
            self._state = RoundState()
        return self._state

    @property
    def lifespan_context(self) -> L:
        """Same as :attr:`lifespan`, under the name that other libraries use."""
        return self.lifespan

    @property
    def request_context(self) -> Self:
        """This context; other libraries have a separate object for the facts of a request."""
        return self

    @overload
    async def remember(
        self, key: str, factory: Callable[[], Awaitable[T]], type: Any = Any
    ) -> T: ...

    @overload
    async def remember(self, key: str, factory: Callable[[], T], type: Any = Any) -> T: ...

    async def remember(self, key: str, factory: Callable[[], Any], type: Any = Any) -> Any:
        """Return the value of ``factory`` from its first call, in this and in all later rounds.

        For work that must not be repeated when the handler runs again.  The value is JSON, decoded
        as ``type``; it travels through the client, which can read it but not alter it.
        """
        kept = self.state.kept
        if key not in kept:
            value = factory()
            if is_awaitable(value):
                value = await value
            kept[key] = Raw(msgspec.json.encode(value, enc_hook=encodable))
        foreign = read_by_pydantic(type)
        if foreign is not None:
            return foreign.read(kept[key], key)
        return msgspec.json.decode(kept[key], type=type, dec_hook=read_custom)

    # Messages to the client, on the stream of the request; those of a task go with the task

    def progress(
        self,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress, which must increase; return False if the client did not ask for it.

        In a task it is also the status message.  ``meta`` is the notification's ``_meta``.
        """
        if current() != self.thread:  # in place of the decorator: there may be many reports
            return with_room(Context.progress)(self, value, total, message, meta=meta)
        runtime = self._runtime
        task, throttle = None if self.call is None else self._task, runtime.throttle
        if throttle is not None and throttle.drops_progress(self._event, in_task=bool(task)):
            return False
        if task is not None:
            return task.progress(value, total, message, meta)
        key, machine = self._event.key, runtime.machine
        report = machine.progress  # an attribute of HttpServer, which a call finds more slowly
        waits = machine.waits(key)
        sent = report(key, value, total, message, meta=meta)
        if sent and not waits:  # waiting output is flushed by its own writer, and this with it
            runtime.flush()
        return sent

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress like :meth:`progress`, and wait until there is room for more."""
        self.progress(progress, total, message)
        await self.room()

    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> "Sent":
        """Send a log message, any JSON value; return False if the client does not want it."""
        return Sent(self._log(level, data, logger, meta), self)

    @with_room
    def _log(
        self, level: LoggingLevel, data: Any, logger: str | None, meta: Mapping[str, Any] | None
    ) -> bool:
        task, throttle = self._task, self._runtime.throttle
        if throttle is not None and throttle.drops_log(self._event, level, in_task=bool(task)):
            return False
        if task is not None:
            return task.log(level, data, logger, meta)
        key, machine = self._event.key, self._runtime.machine
        waits = machine.waits(key)
        sent = machine.log(key, level, data, logger, meta=meta)
        if sent and not waits:  # as in progress()
            self._runtime.flush()
        return sent

    def debug(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``debug``."""
        return self.log("debug", data, logger, meta=meta)

    def info(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``info``."""
        return self.log("info", data, logger, meta=meta)

    def warning(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``warning``."""
        return self.log("warning", data, logger, meta=meta)

    def error(
        self, data: Any, logger: str | None = None, *, meta: Mapping[str, Any] | None = None
    ) -> "Sent":
        """Log at level ``error``."""
        return self.log("error", data, logger, meta=meta)

    def notify(self, method: str, params: Struct | Mapping[str, Any] | None = None) -> bool:
        """Send another notification on the request's stream; return False if the revision has none.

        For instance one of an extension.
        """
        return self._notify(method, params, current())

    @with_room
    def _notify(self, method: str, params: Struct | Mapping[str, Any] | None, thread: int) -> bool:
        own = method not in KNOWN_METHODS
        if self._unwanted(thread) or not (own or lookup(method, "server", self.revision)):
            return False
        if (task := self._task) is not None:
            return task.notify(method, params)
        self._runtime.machine.notify(method, params, parent=self._event.key)
        self._runtime.flush()
        return True

    @in_loop
    def close_stream(self, retry: float | None = None) -> bool:
        """Close the connection on which the client waits for this request, which continues.

        The client reconnects after ``retry`` seconds (None: the server's setting) for the events
        that it has missed.  Returns False except on Streamable HTTP of 2025-11-25.
        """
        machine = self._runtime.machine
        if isinstance(machine, Peer):
            return False
        closed = machine.close_stream(self._event.key, retry=retry, now=clock())
        self._runtime.flush()
        return closed

    async def ping(self, *, timeout: float = 10.0) -> None:
        """Check that the client is still there (legacy); ``timeout`` in seconds.

        Raises InputUnavailable if it does not answer, and in the modern era.
        """
        await input_rounds.ping(self._runtime, self.revision, timeout, request=self._event)

    def pinger(self) -> Callable[[float], Awaitable[None]]:
        """Return :meth:`ping` as a function of the timeout, for any later time (legacy)."""
        return partial(input_rounds.ping, self._runtime, self.revision, session=self.session)

    def drained(self) -> Awaitable[None]:
        """Wait until the client has taken all sent messages; for handlers that send very much.

        If nothing waits, only every eighth call lets other tasks run.
        """
        return self._runtime.drained(self._event.key)

    async def room(self) -> None:
        """Wait until the queue of messages is short enough that none would have to be dropped."""
        if self._runtime.machine.queued(self._event.key) > self._runtime.settings.limits.queued:
            await self.drained()

    # Questions to the client: requests, parts of a task, or rounds of input

    @overload
    async def elicit(
        self, message: str, schema: type[T], **options: Unpack[AskOptions]
    ) -> "Elicited[T]": ...

    @overload
    async def elicit(
        self, message: str, schema: "TypeForm[T]", **options: Unpack[AskOptions]
    ) -> "Elicited[T]": ...

    @overload
    async def elicit(
        self,
        message: str,
        schema: Mapping[str, Any],
        *,
        validate: bool = True,
        **options: Unpack[AskOptions],
    ) -> "Elicited[dict[str, Any]]": ...

    async def elicit(
        self, message: str, schema: Any, *, validate: bool = True, **options: Unpack[AskOptions]
    ) -> "Elicited[Any]":
        """Ask the user to fill in a form, or for one value; see :class:`mcpcore.Elicit`."""
        from mcpcore_transports.server.elicitation import Elicit  # late: most servers ask nothing

        wanted: Elicit[Any] = Elicit(message, schema, validate=validate)
        return await self.ask(wanted, **options)

    async def elicit_url(
        self,
        message: str,
        url: str,
        *,
        elicitation_id: str | None = None,
        **options: Unpack[AskOptions],
    ) -> "Elicited[None]":
        """Ask the user to visit ``url``, for data that must not pass through the client."""
        from mcpcore_transports.server.elicitation import ElicitUrl  # late: as above

        return await self.ask(ElicitUrl(message, url, elicitation_id=elicitation_id), **options)

    async def sample(
        self,
        messages: "str | Sequence[SamplingMessage | Mapping[str, Any]]",
        max_tokens: int,
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "CreateMessageResult":
        """Ask the client's model; ``options`` are members of the request by their wire names."""
        from mcpcore_transports.server.elicitation import Sample  # late: as above

        wanted = Sample(messages, max_tokens, options)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def list_roots(self, **options: Unpack[AskOptions]) -> "RootList":
        """Ask for the directories and files that the client lets the server work on."""
        from mcpcore_transports.server.elicitation import ListRoots  # late: as above

        return await self.ask(ListRoots(), **options)

    async def ask(self, wanted: "Input[R]", **options: Unpack[AskOptions]) -> R:
        """Ask one question; see :class:`AskOptions`."""
        if (meta := options.get("meta")) is not None:
            wanted.with_meta(meta)
        if (key := options.get("key")) is None:
            # Named by content, not by position: the answer to one question can never be taken for
            # that of another, whatever the handler asks the second time.
            key = f"{wanted.method.split('/')[0]}-{wanted.digest()}"
            counts = self._counts = self._counts or {}
            count = counts[key] = counts.get(key, 0) + 1
            key = key if count == 1 else f"{key}-{count}"
        progress = options.get("progress")
        heard = {} if progress is None else {key: progress}
        answer: R = (await self.gather_inputs({key: wanted}, progress=heard))[key]
        return answer

    async def gather_inputs(
        self,
        wanted: "Mapping[str, Input[Any]]",
        *,
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Ask several questions at once, each under its key; a bad answer is asked for again.

        ``progress`` has the progress callbacks under the same keys (legacy).  Raises as
        :meth:`require` for a capability that a question needs, InputUnavailable if the client
        refuses to answer.
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
        return await input_rounds.ask_client(
            self._runtime, self.revision, self._event, wanted, progress
        )

    def url_elicitation_required(self, *visits: "ElicitUrl") -> NoReturn:
        """Refuse the request until the user has made these visits; for any handler of a request.

        The client gets the error -32042 (2025-11-25), or a round of input (modern).  Raises
        InputUnavailable if neither is possible or the user refuses.
        """
        for visit in visits:
            self.require(visit.capability)
        if self.revision.input_rounds and self._task is None:
            asked = {f"elicitation-{visit.digest()}": visit for visit in visits}
            for key, answer in self._look_up(asked).items():
                if not answer.accepted:
                    raise InputUnavailable(f"the user does not visit {asked[key].url}")
            raise InputNeeded({})  # the user agreed, but the visit is not over yet
        wanted = [input_rounds.params_of(visit, self.revision, None, {}) for visit in visits]
        if self.revision not in ERRORS[URL_ELICITATION_REQUIRED].revisions:
            raise InputUnavailable("a task cannot wait for a visit")
        text = "; ".join(visit.message for visit in visits)
        raise McpError(URL_ELICITATION_REQUIRED, text, {"elicitations": wanted})

    def elicitation_completer(self, elicitation_id: str) -> Callable[[], bool]:
        """Return a function that notifies this client, at any later time, that a visit is over.

        It returns False if the revision has no such notification or the session has ended.
        """
        method, tell = "notifications/elicitation/complete", self.teller()
        return lambda: tell(method, {"elicitationId": elicitation_id})

    def teller(self) -> Callable[[str, Mapping[str, Any] | None], bool]:
        """Return a function of method and params that notifies this client, at any later time.

        Outside of requests, in the legacy era.  The function returns False if the revision has no
        such notification, or the session has ended.
        """
        runtime, revision, session = self._runtime, self.revision, self.session

        def tell(method: str, params: Mapping[str, Any] | None = None) -> bool:
            own = method not in KNOWN_METHODS
            known = revision.handshake and (own or lookup(method, "server", revision) is not None)
            return known and runtime.tell(session, method, params)

        return tell

    def _look_up(self, wanted: "Mapping[str, Input[Any]]") -> dict[str, Any]:
        """Find the answers of this round or earlier ones.  Raises InputNeeded for the others."""
        row = lookup(self.method, "client", self.revision)
        if row is None or not row.needs_input:
            raise LocalProtocolError(f"a handler of {self.method} cannot ask the client")
        given, used = self._event.input_responses or {}, self.state.answers
        answers: dict[str, Any] = {}
        missing: dict[str, InputRequest] = {}
        for key, question in wanted.items():
            problem = None
            if (answer := used.get(key, given.get(key))) is not None:
                try:
                    answers[key] = question.parse(answer)
                    used[key] = answer
                    continue
                except InvalidValue as error:
                    problem = str(error)
            params = input_rounds.params_of(
                question, self.revision, problem, self._event.meta.trace
            )
            missing[key] = InputRequest(question.method, params)
        if missing:
            raise InputNeeded(missing)
        return answers


class Sent(int):
    """True if a message was sent, else False.  It may be awaited, for room for more."""

    _context: Context[Any]

    def __new__(cls, sent: bool, context: Context[Any]) -> "Sent":
        """Make the return value for a message of a handler."""
        made = super().__new__(cls, sent)
        made._context = context
        return made

    def __await__(self) -> Generator[Any, None, bool]:
        yield from self._context.room().__await__()
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))
