"""Tasks on the client: calls are followed to the end of their tasks.

The client polls the task or has the server report changes, answers its questions, and cancels it if
the caller stops waiting.  ``client.tasks`` is for applications that come back to a task later.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from msgspec import Raw, Struct, field, structs

from mcpcore import errors
from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.service.task_settings import TaskForm, TaskSettings, task_form
from mcpcore.spec import types
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares
from mcpcore.spec.types.model import Maybe, as_sent
from mcpcore.wire.jsontext import Body
from mcpcore_transports.client.answers import answer_input
from mcpcore_transports.client.callbacks import CallbackAnswer
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.listen import TASK_CHANGED, TASK_STATUS, Listening
from mcpcore_transports.client.middleware import Outcome

if TYPE_CHECKING:  # a type alone: the core makes use of this module
    from mcpcore_transports.client.core import ClientCore, RequestOptions

__all__ = ["ClientTasks", "TaskOptions"]

T = TypeVar("T")

CALL = "tools/call"


class TaskOptions(Struct, frozen=True, kw_only=True):
    """Options for following tasks on a client.  Times are in seconds.  Raises ValueError.

    Options in ``ClientSettings(tasks=TaskOptions())`` declare the extension; in 2025-11-25 they
    have tools called as tasks where the tools allow it.
    """

    poll: float = 1.0
    """Seconds between two polls if the server names no interval."""
    min_poll: float = 0.05
    """Minimum seconds between two polls, whatever interval the server names."""
    max_poll: float = 30.0
    """Bounds in seconds for the poll interval that the server names."""
    listen: bool = False
    """True to have the server report changes on a listen stream, and poll rarely (extension)."""
    ttl: float | None = None
    """Seconds for which the server is asked to keep a task (2025-11-25); None: unspecified."""
    questions: int = 100
    """Maximum number of questions of one task that are answered."""
    failures: int = 3
    """Number of failed polls of a task in a row that ends the call."""
    own: TaskSettings = field(default_factory=TaskSettings)
    """Settings for requests of the server that the client runs as tasks (2025-11-25)."""

    def __post_init__(self) -> None:
        check_numbers(self, "poll", "min_poll", "max_poll", "ttl", "questions")

    def declare(self, capabilities: types.ClientCapabilities) -> types.ClientCapabilities:
        """Return ``capabilities`` with those added that go with tasks."""
        requests = types.TaskRequests()
        if capabilities.sampling is not None:
            requests.sampling = types.SamplingTasks(create_message={})
        if capabilities.elicitation is not None:
            requests.elicitation = types.ElicitationTasks(create={})
        extensions = capabilities.extensions or {}
        declared = structs.replace(capabilities, extensions={TASKS_EXTENSION: {}, **extensions})
        if requests != types.TaskRequests():
            declared.tasks = types.TasksCapability(list={}, cancel={}, requests=requests)
        return declared


class TaskState(types.TaskResult, kw_only=True):
    """State of a task, with its input requests and its result left undecoded."""

    input_requests: Maybe[dict[str, Raw]] = None  # type: ignore[assignment]
    result: Maybe[Raw] = None  # type: ignore[assignment]
    error: Maybe[errors.ErrorData] = None  # type: ignore[assignment]


class Follower:
    """Caller that waits for one task."""

    def __init__(self, core: "ClientCore", options: TaskOptions, state: TaskState) -> None:
        self._core = core
        self._options = options
        self._state = state
        self._experimental = task_form(core.revision) is TaskForm.EXPERIMENTAL
        self._listening: Listening | None = None
        self._heard: TaskState | None = None
        self._changed = anyio.Event()
        self._answered: set[str] = set()
        self._failures = 0

    def wake(self, state: TaskState | None = None) -> None:
        """Take a state that the server reported; without one the task may have changed."""
        self._heard = state or self._heard
        self._changed.set()

    async def run(self) -> Raw:
        """Follow the task to its end; return the result of the call."""
        async with AsyncExitStack() as stack:
            if self._options.listen and not self._experimental:
                wanted = types.SubscriptionFilter(task_ids=[self._state.task_id])
                with suppress(errors.PeerError, errors.CallFailed):
                    listening = Listening(self._core, wanted)
                    self._listening = await stack.enter_async_context(listening)
                if self._listening is not None:
                    await self._look()  # it may have changed before the stream was open
            while True:
                state = self._state
                if state.status == "cancelled":
                    raise errors.TaskCancelled(state)
                if self._experimental:
                    # Its questions come on the stream of the request for its result.
                    if state.status != "working" and (result := await self._fetch()) is not None:
                        return result
                elif state.status in types.TERMINAL:
                    if self._core.raised is not None:
                        self._core.raised.raise_for(state)
                    return _outcome(state)
                elif state.status == "input_required":
                    await self._answer(state)
                await self._change()

    async def _change(self) -> None:
        """Wait until the task may have changed, and update its state."""
        with anyio.move_on_after(self._pause()):
            await self._changed.wait()
        self._changed = anyio.Event()
        if self._heard is None:
            await self._look()
        else:
            self._state, self._heard = self._heard, None

    def _pause(self) -> float:
        options, state = self._options, self._state
        if self._listening is not None and self._listening.carries(state.task_id):
            return options.max_poll
        named = state.poll_interval if self._experimental else state.poll_interval_ms
        if named is None:
            return min(max(options.poll, options.min_poll), options.max_poll)
        # Compared in milliseconds: the server may name a number that is larger than any float.
        return min(max(named, options.min_poll * 1000), options.max_poll * 1000) / 1000

    async def _look(self) -> None:
        params = {"taskId": self._state.task_id}
        while True:
            try:
                outcome = await self._core.request("tasks/get", params)
            except errors.CapabilityMissing:
                text = "the server made a task of the call and has no tasks"
                raise errors.InvalidResponse(CALL, text) from None
            except (errors.RequestTimeout, errors.ConnectionClosed):
                if self._core.closed is not None or self._gives_up():
                    raise
            else:
                self._failures = 0
                self._state = promised(outcome.result, TaskState, "tasks/get")
                return

    async def _fetch(self) -> Raw | None:
        """Request the result; return None if the request was lost."""
        params = {"taskId": self._state.task_id}
        try:
            outcome = await self._core.request("tasks/result", params, timeout=None)
        except errors.PeerError:
            with suppress(errors.PeerError, errors.CallFailed):
                await self._look()
            if self._state.status == "cancelled":
                raise errors.TaskCancelled(self._state) from None
            raise
        except errors.CallFailed:
            if self._core.closed is not None or self._gives_up():
                raise
            return None
        return outcome.result

    def _gives_up(self) -> bool:
        """Count a failure; return True if there were too many in a row."""
        self._failures += 1
        return self._failures >= self._options.failures

    async def _answer(self, state: TaskState) -> None:
        core, answers = self._core, {}
        for key, question in (state.input_requests or {}).items():
            if key in self._answered:
                continue  # answered before; the server has not processed that yet
            if len(self._answered) >= self._options.questions:
                limit = self._options.questions
                raise errors.InputFailed(CALL, f"the task asked more than {limit} questions")
            self._answered.add(key)
            answers[key] = await answer_input(question, key, CALL, core)
        if answers:
            params = {"taskId": state.task_id, "inputResponses": answers}
            # Repeating is safe: a server ignores answers to questions that are no longer open.
            await core.request("tasks/update", params, repeat=True)


def _outcome(state: TaskState) -> Raw:
    """Return the result of an ended task of the extension.  Raises PeerError, InvalidResponse."""
    if state.error is not None and state.status == "failed":
        raise errors.PeerError(CALL, state.error)
    if state.result is None or state.status != "completed":
        raise errors.InvalidResponse(
            CALL, f"the task {state.task_id} is {state.status}, without outcome"
        )
    return state.result


class _Created(Struct):
    task: Maybe[as_sent(TaskState, "ttl", "ttl_ms")] = None  # type: ignore[valid-type]


class _ResultKind(Struct, rename="camel"):
    result_type: Any = None


class ClientTasks:
    """Tasks of the server: ``client.tasks``; the methods depend on the revision."""

    def __init__(self, core: "ClientCore") -> None:
        self.options: TaskOptions | None = core.settings.tasks
        """Options for following tasks; None if this client does not follow tasks."""
        self._core = core
        self._followed: dict[str, set[Follower]] = {}

    # Operations on one task

    async def get(self, task_id: str) -> types.TaskResult:
        """Get the state of a task; in the extension with its result, its error or its questions."""
        return await self._ask("tasks/get", {"taskId": task_id}, types.TaskResult)

    async def update(self, task_id: str, answers: Mapping[str, CallbackAnswer]) -> None:
        """Answer questions of a task, all of them or a part (extension)."""
        params = {"taskId": task_id, "inputResponses": dict(answers)}
        await self._core.request("tasks/update", params)

    async def cancel(self, task_id: str) -> None:
        """Request the cancellation of a task; in the extension the server may ignore it."""
        await self._core.request("tasks/cancel", {"taskId": task_id})

    async def list(self, cursor: str | None = None) -> types.ListTasksResult:
        """Return one page of tasks (2025-11-25)."""
        params = None if cursor is None else {"cursor": cursor}
        return await self._ask("tasks/list", params, types.ListTasksResult)

    async def result(self, task_id: str) -> types.CallToolResult:
        """Wait for the result of a task, and answer its questions (2025-11-25)."""
        params = {"taskId": task_id}
        return await self._ask("tasks/result", params, types.CallToolResult, timeout=None)

    async def start(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        ttl: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> types.Task | types.CallToolResult:
        """Call a tool as a task; return that without waiting, or the result if given at once.

        ``ttl``: seconds to keep the task (2025-11-25).
        """
        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = arguments
        if self.experimental:
            params["task"] = self._terms(ttl)
        outcome = await self._core.request(CALL, params, meta=meta)
        task = self._task_of(outcome.result)
        return task if task is not None else promised(outcome.result, types.CallToolResult, CALL)

    async def wait(
        self, task: types.Task | str, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> types.CallToolResult:
        """Follow a task to its end; a cancelled caller does not cancel it.  Raises TaskCancelled.

        ``timeout`` in seconds; by default there is none.
        """
        task_id = task if isinstance(task, str) else task.task_id
        state = await self._ask("tasks/get", {"taskId": task_id}, TaskState)
        result = await self._follow(state, timeout=timeout, abandon=False)
        return promised(result, types.CallToolResult, CALL)

    async def _ask(self, method: str, params: Body, expected: type[T], **options: Any) -> T:
        outcome = await self._core.request(method, params, **options)
        return promised(outcome.result, expected, method)

    # Tool calls

    @property
    def experimental(self) -> bool:
        """True if the server allows tool calls as experimental tasks."""
        return self._form is TaskForm.EXPERIMENTAL and declares(
            self._core.capabilities, "tasks.requests.tools.call"
        )

    def add_terms(self, params: dict[str, Any], support: str | None) -> None:
        """Ask for a task in the params of a call, if the tool has declared ``support`` for it."""
        params.pop("task", None)
        if support in ("optional", "required") and self.experimental:
            params["task"] = self._terms(None)

    async def result_of(self, outcome: Outcome, options: "RequestOptions") -> Raw:
        """Return the result of a tool call, also if the call became a task."""
        task = self._task_of(outcome.result)
        if task is None:
            return outcome.result
        request, progress = outcome.request, options.get("progress")
        if progress is not None and request is not None:
            self._core.progress[request] = progress
        try:
            timeout = options.get("timeout", DEFAULT_TIMEOUT)
            return await self._follow(task, timeout=timeout, abandon=True)
        finally:
            if request is not None:
                self._core.progress.pop(request, None)

    def heard(self, method: str, params: Raw) -> None:
        """Pass a notification about a task to the followers of that task."""
        if not self._followed or method not in (TASK_CHANGED, TASK_STATUS):
            return
        state = promised(params, TaskState, method)
        for follower in self._followed.get(state.task_id, ()):
            follower.wake(state)

    def look_again(self) -> None:
        """Look at every followed task, because changes may have gone unreported."""
        for followers in self._followed.values():
            for follower in followers:
                follower.wake()

    @property
    def _form(self) -> TaskForm | None:
        return None if self.options is None else task_form(self._core.revision)

    def _terms(self, ttl: float | None) -> dict[str, int]:
        options = self.options or TaskOptions()
        wanted = options.ttl if ttl is None else ttl
        return {} if wanted is None else {"ttl": max(1, round(wanted * 1000))}

    def _task_of(self, result: Raw) -> TaskState | None:
        """Return the task that a call became, or None if ``result`` is its result."""
        form = self._form
        text = bytes(result)
        # Escapes could hide the name.
        if form is None or not (b'"task' in text or b"\\u" in text):
            return None
        if form is TaskForm.EXTENSION:
            if promised(result, _ResultKind, CALL).result_type != "task":
                return None
            return promised(result, TaskState, CALL)
        return promised(result, _Created, CALL).task

    async def _follow(self, state: TaskState, *, timeout: float | None, abandon: bool) -> Raw:
        follower = Follower(self._core, self.options or TaskOptions(), state)
        followers = self._followed.setdefault(state.task_id, set())
        followers.add(follower)
        limit = None if timeout is DEFAULT_TIMEOUT else timeout
        try:
            with anyio.move_on_after(limit):
                try:
                    return await follower.run()
                except BaseException as error:
                    told = isinstance(error, errors.PeerError | errors.CallFailed)
                    if abandon and (not told or isinstance(error, errors.InputFailed)):
                        patience = self._core.settings.parting_time
                        with anyio.move_on_after(patience, shield=True):
                            with suppress(errors.McpError, errors.LocalError):
                                await self.cancel(state.task_id)
                    raise
        finally:
            followers.remove(follower)
            if not followers:
                del self._followed[state.task_id]
        raise errors.RequestTimeout(
            CALL, f"the task {state.task_id} did not end within {timeout} s"
        )
