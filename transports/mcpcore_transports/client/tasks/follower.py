"""Following of one task of the server by the client, from its creation to its end.

A follower polls the task or has the server report changes, answers the questions of the task, and
returns the result of the call.
"""

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio
from msgspec import Raw, Struct, field, structs

from mcpcore.errors import (
    CallFailed,
    ConnectionClosed,
    InputFailed,
    InvalidResponse,
    PeerError,
    RequestTimeout,
    TaskCancelled,
)
from mcpcore.service.task_settings import TaskForm, TaskSettings, task_form
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import CapabilityMissing, ErrorData
from mcpcore.spec.types.capabilities import (
    ClientCapabilities,
    ElicitationTasks,
    SamplingTasks,
    TaskRequests,
    TasksCapability,
)
from mcpcore.spec.types.model import Maybe, as_sent
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.spec.types.tasks import TERMINAL, TaskResult
from mcpcore_transports.client.answers import answer_input
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.listen import Listening

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore

CALL = "tools/call"


class TaskOptions(Struct, frozen=True, kw_only=True):
    """Options for following tasks on a client.  Times are in seconds.

    Options in ``ClientSettings(tasks=TaskOptions())`` declare the extension; in 2025-11-25 they
    have tools called as tasks where the tools allow it.
    """

    poll: float = 1.0
    """Seconds between two polls if the server names no interval."""
    min_poll: float = 0.05
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

    def declare(self, capabilities: ClientCapabilities) -> ClientCapabilities:
        """Return ``capabilities`` with those added that go with tasks."""
        requests = TaskRequests()
        if capabilities.sampling is not None:
            requests.sampling = SamplingTasks(create_message={})
        if capabilities.elicitation is not None:
            requests.elicitation = ElicitationTasks(create={})
        extensions = capabilities.extensions or {}
        declared = structs.replace(capabilities, extensions={TASKS_EXTENSION: {}, **extensions})
        if requests != TaskRequests():
            declared.tasks = TasksCapability(list={}, cancel={}, requests=requests)
        return declared


class TaskState(TaskResult, kw_only=True):
    """State of a task, with its input requests and its result left undecoded."""

    input_requests: Maybe[dict[str, Raw]] = None  # type: ignore[assignment]
    result: Maybe[Raw] = None  # type: ignore[assignment]
    error: Maybe[ErrorData] = None  # type: ignore[assignment]


if TYPE_CHECKING:
    SentTaskState = TaskState
else:
    SentTaskState = as_sent(TaskState, "ttl", "ttl_ms")


class Follower:
    """Caller that waits for one task."""

    def __init__(self, core: "ClientCore", options: TaskOptions, state: TaskState) -> None:
        self._core = core
        self._options = options
        self._state = state
        self._experimental = task_form(core.revision) is TaskForm.EXPERIMENTAL
        self._listening: Listening | None = None
        self._heard: TaskState | None = None
        self._news = anyio.Event()
        self._answered: set[str] = set()
        self._failures = 0

    def hear(self, state: TaskState) -> None:
        """Take a state that the server reported."""
        self._heard = state
        self._news.set()

    def look(self) -> None:
        """Wake the follower, because the task may have changed without a report."""
        self._news.set()

    async def run(self) -> Raw:
        """Follow the task to its end; return the result of the call."""
        async with AsyncExitStack() as stack:
            if self._options.listen and not self._experimental:
                wanted = SubscriptionFilter(task_ids=[self._state.task_id])
                with suppress(PeerError, CallFailed):
                    listening = Listening(self._core, wanted)
                    self._listening = await stack.enter_async_context(listening)
                if self._listening is not None:
                    await self._look()  # it may have changed before the stream was open
            return await self._to_the_end()

    async def _to_the_end(self) -> Raw:
        while True:
            state = self._state
            if state.status == "cancelled":
                raise TaskCancelled(state)
            if self._experimental:
                # Its questions come on the stream of the request for its result.
                if state.status != "working" and (result := await self._fetch()) is not None:
                    return result
            elif state.status in TERMINAL:
                if self._core.raised is not None:
                    self._core.raised.meet(state)
                return _outcome(state)
            elif state.status == "input_required":
                await self._answer(state)
            await self._change()

    async def _change(self) -> None:
        """Wait until the task may have changed, and update its state."""
        with anyio.move_on_after(self._pause()):
            await self._news.wait()
        self._news = anyio.Event()
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
            except CapabilityMissing:
                text = "the server made a task of the call and has no tasks"
                raise InvalidResponse(CALL, text) from None
            except (RequestTimeout, ConnectionClosed):
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
        """Count a failure; return True if there were too many in a row."""
        self._failures += 1
        return self._failures >= self._options.failures

    async def _answer(self, state: TaskState) -> None:
        asked = state.input_requests or {}
        answers = {}
        for key, question in asked.items():
            if key in self._answered:
                continue  # answered before; the server has not processed that yet
            if len(self._answered) >= self._options.questions:
                limit = self._options.questions
                raise InputFailed(CALL, f"the task asked more than {limit} questions")
            self._answered.add(key)
            core = self._core
            answers[key] = await answer_input(question, key, CALL, core.callbacks, core.revision)
        if answers:
            params = {"taskId": state.task_id, "inputResponses": answers}
            # Repeating is safe: a server ignores answers to questions that are no longer open.
            await self._core.request("tasks/update", params, repeat=True)


def _outcome(state: TaskState) -> Raw:
    """Return the result of an ended task of the extension.  Raises PeerError, InvalidResponse."""
    if state.error is not None and state.status == "failed":
        raise PeerError(CALL, state.error)
    if state.result is None or state.status != "completed":
        raise InvalidResponse(CALL, f"the task {state.task_id} is {state.status}, without outcome")
    return state.result
