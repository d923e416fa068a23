"""Tasks on the client: calls are followed to their end, whenever that is.

``call_tool`` returns the result whether the server answered at once or made a task of the call; in
between it looks after the task, answers what it asks, and cancels it if nobody waits any more.
:class:`ClientTasks` (``client.tasks``) is for those who keep a task's id and come back later.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import UNSET, Raw, Struct, UnsetType, field, structs

from mcpcore.engine.peer import DEFAULT_TIMEOUT
from mcpcore.service.task_views import TaskForm, task_form
from mcpcore.service.tasks import TaskSettings
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalError, McpError
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    ElicitationTasks,
    SamplingTasks,
    TaskRequests,
    TasksCapability,
)
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.spec.types.tasks import (
    TERMINAL,
    ListTasksResult,
    Task,
    TaskResult,
)
from mcpcore.spec.types.tools import CallToolResult
from transports.callbacks import Answer, ProgressCallback
from transports.client_answers import answer_input
from transports.client_errors import (
    CallFailed,
    InputFailed,
    InvalidResponse,
    PeerError,
    RequestTimeout,
    promised,
)
from transports.client_listen import Listening
from transports.client_news import TASK_CHANGED, TASK_STATUS

if TYPE_CHECKING:
    from transports.client_core import ClientCore

CALL = "tools/call"
_CANCEL_TIME = 2.0
"""Seconds that telling the server of a cancellation may take."""
_FAILURES = 3
"""So many looks at a task in a row may stay unanswered."""


class TaskOptions(Struct, frozen=True, kw_only=True):
    """How a client follows tasks. Times in seconds.

    To have any (``ClientSettings(tasks=TaskOptions())``) is to declare the extension, and in
    2025-11-25 to call tools as tasks where they allow it.
    """

    poll: float = 1.0
    """Between two looks, if the server names no interval."""
    min_poll: float = 0.05
    max_poll: float = 30.0
    """Bounds of what the server names."""
    listen: bool = False
    """Have the server report changes on a listen stream, and look rarely then (extension)."""
    ttl: float | None = None
    """How long the server is asked to keep a task (2025-11-25); None: as it likes."""
    questions: int = 100
    """So many questions of one task are answered."""
    own: TaskSettings = field(default_factory=TaskSettings)
    """Requests of the server that it has us run as tasks (2025-11-25)."""

    def declare(self, capabilities: ClientCapabilities) -> ClientCapabilities:
        """Return capabilities that promise what goes with tasks."""
        requests = TaskRequests()
        if capabilities.sampling is not UNSET:
            requests.sampling = SamplingTasks(create_message={})
        if capabilities.elicitation is not UNSET:
            requests.elicitation = ElicitationTasks(create={})
        extensions = {} if capabilities.extensions is UNSET else capabilities.extensions
        declared = structs.replace(capabilities, extensions={TASKS_EXTENSION: {}, **extensions})
        if requests != TaskRequests():
            declared.tasks = TasksCapability(list={}, cancel={}, requests=requests)
        return declared


class TaskCancelled(CallFailed):
    """The task was cancelled by somebody else; ``task`` is its last state."""

    def __init__(self, task: Task) -> None:
        reason = "" if task.status_message is UNSET else f": {task.status_message}"
        super().__init__(CALL, f"the task {task.task_id} was cancelled{reason}")
        self.task = task


class _State(TaskResult, kw_only=True):
    """A task with what it brings along left as it came."""

    input_requests: dict[str, Raw] | UnsetType = UNSET  # type: ignore[assignment]
    result: Raw | UnsetType = UNSET  # type: ignore[assignment]
    error: ErrorData | UnsetType = UNSET  # type: ignore[assignment]


class _Created(Struct):
    task: _State | UnsetType = UNSET


class _Kind(Struct, rename="camel"):
    result_type: Any = UNSET


class ClientTasks:
    """Tasks of the server: ``client.tasks``.

    Which methods there are depends on the revision; the others raise LocalProtocolError.  All
    raise PeerError and :class:`~transports.client_errors.CallFailed` as the client's do.
    """

    def __init__(self, core: "ClientCore") -> None:
        self.options: TaskOptions | None = None
        """None: this client does not follow tasks."""
        self._core = core
        self._followed: dict[str, set[_Follower]] = {}

    # One by one

    async def get(self, task_id: str) -> TaskResult:
        """Look at a task; in the extension with its result, its error or what it asks."""
        outcome = await self._core.request("tasks/get", {"taskId": task_id})
        return promised(outcome.result, TaskResult, "tasks/get")

    async def update(self, task_id: str, answers: Mapping[str, Answer]) -> None:
        """Answer what a task asks, all of it or a part (extension)."""
        params = {"taskId": task_id, "inputResponses": dict(answers)}
        await self._core.request("tasks/update", params)

    async def cancel(self, task_id: str) -> None:
        """Have a task cancelled; in the extension the server may ignore it."""
        await self._core.request("tasks/cancel", {"taskId": task_id})

    async def list(self, cursor: str | None = None) -> ListTasksResult:
        """Return one page of tasks (2025-11-25)."""
        params = None if cursor is None else {"cursor": cursor}
        outcome = await self._core.request("tasks/list", params)
        return promised(outcome.result, ListTasksResult, "tasks/list")

    async def result(self, task_id: str) -> CallToolResult:
        """Wait for the result of a task, answering what it asks (2025-11-25)."""
        outcome = await self._core.request("tasks/result", {"taskId": task_id}, timeout=None)
        return promised(outcome.result, CallToolResult, "tasks/result")

    async def start(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        ttl: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Task | CallToolResult:
        """Call a tool as a task if that is possible, and do not wait for its end.

        ``ttl``: seconds to keep it (2025-11-25).  Returns the task, or the result if the server
        gave that at once.
        """
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments
        if self.experimental:
            params["task"] = self._terms(ttl)
        outcome = await self._core.request(CALL, params, meta=meta)
        task = self._task_of(outcome.result)
        return task if task is not None else promised(outcome.result, CallToolResult, CALL)

    async def wait(
        self, task: Task | str, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> CallToolResult:
        """Follow a task of any connection to its end; cancelling the caller leaves it alone.

        ``timeout`` in seconds; by default there is none.  Raises TaskCancelled.
        """
        task_id = task if isinstance(task, str) else task.task_id
        outcome = await self._core.request("tasks/get", {"taskId": task_id})
        state = promised(outcome.result, _State, "tasks/get")
        result = await self._follow(state, timeout=timeout, abandon=False)
        return promised(result, CallToolResult, CALL)

    # Calls of tools

    @property
    def experimental(self) -> bool:
        """Whether the server lets us call tools as experimental tasks."""
        return self._form is TaskForm.EXPERIMENTAL and declares(
            self._core.capabilities, "tasks.requests.tools.call"
        )

    async def call(
        self,
        params: dict[str, Any],
        *,
        support: str | None,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> CallToolResult:
        """Call a tool and return its result, also if it became a task.

        ``support``: what the tool declared, as far as it is known.
        """
        if support in ("optional", "required") and self.experimental:
            params = {**params, "task": self._terms(None)}
        outcome = await self._core.request(
            CALL, params, timeout=timeout, progress=progress, meta=meta
        )
        result = outcome.result
        task = self._task_of(result)
        if task is not None:
            request = outcome.request
            if progress is not None and request is not None:
                self._core.keep_progress(request, progress)
            try:
                result = await self._follow(task, timeout=timeout, abandon=True)
            finally:
                if request is not None:
                    self._core.drop_progress(request)
        return promised(result, CallToolResult, CALL)

    def heard(self, method: str, params: Raw) -> None:
        """A notification arrived: it may tell of a task that is being followed."""
        if not self._followed or method not in (TASK_CHANGED, TASK_STATUS):
            return
        state = promised(params, _State, method)
        for follower in self._followed.get(state.task_id, ()):
            follower.hear(state)

    @property
    def _form(self) -> TaskForm | None:
        return None if self.options is None else task_form(self._core.revision)

    def _terms(self, ttl: float | None) -> dict[str, int]:
        options = self.options or TaskOptions()
        wanted = options.ttl if ttl is None else ttl
        return {} if wanted is None else {"ttl": max(1, round(wanted * 1000))}

    def _task_of(self, result: Raw) -> "_State | None":
        """The task that a call became, None if this is its result."""
        form = self._form
        if form is None or b'"task' not in bytes(result):
            return None
        if form is TaskForm.EXTENSION:
            if promised(result, _Kind, CALL).result_type != "task":
                return None
            return promised(result, _State, CALL)
        task = promised(result, _Created, CALL).task
        return None if task is UNSET else task

    async def _follow(self, state: "_State", *, timeout: float | None, abandon: bool) -> Raw:
        follower = _Follower(self._core, self.options or TaskOptions(), state)
        followers = self._followed.setdefault(state.task_id, set())
        followers.add(follower)
        limit = None if timeout is DEFAULT_TIMEOUT else timeout
        try:
            with anyio.move_on_after(limit):
                try:
                    return await follower.run()
                except BaseException as error:
                    told = isinstance(error, PeerError | CallFailed)
                    if abandon and (not told or isinstance(error, InputFailed)):
                        await self._abandon(state.task_id)
                    raise
        finally:
            followers.remove(follower)
            if not followers:
                del self._followed[state.task_id]
        raise RequestTimeout(CALL, f"the task {state.task_id} did not end within {timeout} s")

    async def _abandon(self, task_id: str) -> None:
        with anyio.move_on_after(_CANCEL_TIME, shield=True), suppress(McpError, LocalError):
            await self.cancel(task_id)


class _Follower:
    """One caller that waits for one task."""

    def __init__(self, core: "ClientCore", options: TaskOptions, state: _State) -> None:
        self._core = core
        self._options = options
        self._state = state
        self._experimental = task_form(core.revision) is TaskForm.EXPERIMENTAL
        self._listening: Listening | None = None
        self._heard: _State | None = None
        self._news = anyio.Event()
        self._answered: set[str] = set()
        self._failures = 0

    def hear(self, state: _State) -> None:
        """The server reported a change."""
        self._heard = state
        self._news.set()

    async def run(self) -> Raw:
        """Look after the task until it has ended; return the result of the call."""
        async with AsyncExitStack() as stack:
            if self._options.listen and not self._experimental:
                wanted = SubscriptionFilter(task_ids=[self._state.task_id])
                with suppress(PeerError, CallFailed):
                    listening = Listening(self._core, wanted)
                    self._listening = await stack.enter_async_context(listening)
                    await self._look()  # it may have changed before anybody listened
            return await self._to_the_end()

    async def _to_the_end(self) -> Raw:
        while True:
            state = self._state
            if state.status == "cancelled":
                raise TaskCancelled(state)
            if self._experimental:
                # What it asks travels on the stream of the request for its result.
                if state.status != "working" and (result := await self._fetch()) is not None:
                    return result
            elif state.status in TERMINAL:
                return _outcome(state)
            elif state.status == "input_required":
                await self._answer(state)
            await self._change()

    async def _change(self) -> None:
        """Wait until the task may have changed, and find out how it stands."""
        with anyio.move_on_after(self._pause()):
            await self._news.wait()
        if self._heard is None:
            await self._look()
        else:
            self._state, self._heard = self._heard, None
            self._news = anyio.Event()

    def _pause(self) -> float:
        options, state = self._options, self._state
        if self._listening is not None and self._listening.carries(state.task_id):
            return options.max_poll
        named = state.poll_interval if self._experimental else state.poll_interval_ms
        wanted = options.poll if named is UNSET else named / 1000
        return min(max(wanted, options.min_poll), options.max_poll)

    async def _look(self) -> None:
        params = {"taskId": self._state.task_id}
        while True:
            try:
                outcome = await self._core.request("tasks/get", params)
            except CapabilityMissing:
                text = "the server made a task of the call and has no tasks"
                raise InvalidResponse(CALL, text) from None
            except RequestTimeout:
                if self._gives_up():
                    raise
            else:
                self._failures = 0
                self._state = promised(outcome.result, _State, "tasks/get")
                return

    async def _fetch(self) -> Raw | None:
        """The result; None if the request for it got lost."""
        params = {"taskId": self._state.task_id}
        try:
            outcome = await self._core.request("tasks/result", params, timeout=None)
        except PeerError:
            with suppress(PeerError, CallFailed):
                await self._look()
            if self._state.status == "cancelled":
                raise TaskCancelled(self._state) from None
            raise
        except CallFailed:
            if self._core.closed is not None or self._gives_up():
                raise
            return None
        return outcome.result

    def _gives_up(self) -> bool:
        """Count a failure; True if there were too many in a row."""
        self._failures += 1
        return self._failures >= _FAILURES

    async def _answer(self, state: _State) -> None:
        asked = {} if state.input_requests is UNSET else state.input_requests
        answers = {}
        for key, question in asked.items():
            if key in self._answered:
                continue  # answered before; the server has not got that far yet
            if len(self._answered) >= self._options.questions:
                limit = self._options.questions
                raise InputFailed(CALL, f"the task asked more than {limit} questions")
            self._answered.add(key)
            core = self._core
            answers[key] = await answer_input(question, key, CALL, core.callbacks, core.revision)
        if answers:
            params = {"taskId": state.task_id, "inputResponses": answers}
            await self._core.request("tasks/update", params)


def _outcome(state: _State) -> Raw:
    """What a task of the extension ended with."""
    if state.error is not UNSET and state.status == "failed":
        raise PeerError(CALL, state.error)
    if state.result is UNSET or state.status != "completed":
        raise InvalidResponse(CALL, f"the task {state.task_id} is {state.status}, without outcome")
    return state.result
