"""Tasks on the client: calls are followed to the end of their tasks.

``call_tool`` returns the result whether the server answered at once or made a task of the call.  In
the second case the client polls the task, answers its questions, and cancels it if the caller stops
waiting.  :class:`ClientTasks` (``client.tasks``) is for applications that keep the id of a task and
come back later.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Raw, Struct

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.errors import CallFailed, InputFailed, PeerError, RequestTimeout, TaskCancelled
from mcpcore.service.task_settings import TaskForm, task_form
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tasks import ListTasksResult, Task, TaskResult
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import Answer, ProgressCallback
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.notifications import TASK_CHANGED, TASK_STATUS
from mcpcore_transports.client.tasks.follower import (
    CALL,
    Follower,
    SentTaskState,
    TaskOptions,
    TaskState,
)

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore

__all__ = ["ClientTasks", "TaskCancelled", "TaskOptions"]


class _Created(Struct):
    task: Maybe[SentTaskState] = None


class _Kind(Struct, rename="camel"):
    result_type: Any = None


class ClientTasks:
    """Tasks of the server: ``client.tasks``.

    The available methods depend on the revision; the others raise LocalProtocolError.  All raise
    PeerError and :class:`~mcpcore_transports.client.errors.CallFailed` as the methods of the client
    do.
    """

    def __init__(self, core: "ClientCore") -> None:
        self.options: TaskOptions | None = None
        """Options for following tasks; None if this client does not follow tasks."""
        self._core = core
        self._followed: dict[str, set[Follower]] = {}

    # Operations on one task

    async def get(self, task_id: str) -> TaskResult:
        """Get the state of a task; in the extension with its result, its error or its questions."""
        outcome = await self._core.request("tasks/get", {"taskId": task_id})
        return promised(outcome.result, TaskResult, "tasks/get")

    async def update(self, task_id: str, answers: Mapping[str, Answer]) -> None:
        """Answer questions of a task, all of them or a part (extension)."""
        params = {"taskId": task_id, "inputResponses": dict(answers)}
        await self._core.request("tasks/update", params)

    async def cancel(self, task_id: str) -> None:
        """Request the cancellation of a task; in the extension the server may ignore it."""
        await self._core.request("tasks/cancel", {"taskId": task_id})

    async def list(self, cursor: str | None = None) -> ListTasksResult:
        """Return one page of tasks (2025-11-25)."""
        params = None if cursor is None else {"cursor": cursor}
        outcome = await self._core.request("tasks/list", params)
        return promised(outcome.result, ListTasksResult, "tasks/list")

    async def result(self, task_id: str) -> CallToolResult:
        """Wait for the result of a task, and answer its questions (2025-11-25)."""
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
        """Call a tool as a task if that is possible, without waiting for its end.

        ``ttl``: seconds to keep the task (2025-11-25).  Returns the task, or the result if the
        server gave it at once.
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
        """Follow a task of any connection to its end; a cancelled caller does not cancel the task.

        ``timeout`` in seconds; by default there is none.  Raises TaskCancelled.
        """
        task_id = task if isinstance(task, str) else task.task_id
        outcome = await self._core.request("tasks/get", {"taskId": task_id})
        state = promised(outcome.result, TaskState, "tasks/get")
        result = await self._follow(state, timeout=timeout, abandon=False)
        return promised(result, CallToolResult, CALL)

    # Tool calls

    @property
    def experimental(self) -> bool:
        """True if the server allows tool calls as experimental tasks."""
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
        repeat: bool | None = None,
    ) -> CallToolResult:
        """Call a tool and return its result, also if the call became a task.

        ``support``: the task support that the tool declared, as far as it is known.
        """
        if support in ("optional", "required") and self.experimental:
            params = {**params, "task": self._terms(None)}
        outcome = await self._core.request(
            CALL, params, timeout=timeout, progress=progress, meta=meta, repeat=repeat
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
        """Pass a notification about a task to the followers of that task."""
        if not self._followed or method not in (TASK_CHANGED, TASK_STATUS):
            return
        state = promised(params, TaskState, method)
        for follower in self._followed.get(state.task_id, ()):
            follower.hear(state)

    def look_again(self) -> None:
        """Look at every followed task, because changes may have gone unreported."""
        for followers in self._followed.values():
            for follower in followers:
                follower.look()

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
            if promised(result, _Kind, CALL).result_type != "task":
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
        limit = self._core.parting_time
        with anyio.move_on_after(limit, shield=True), suppress(McpError, LocalError):
            await self.cancel(task_id)
