"""Requests of the server that the client runs as tasks (2025-11-25).

Sampling and elicitation may take long because they involve a person.  With tasks the server does
not have to keep a request open meanwhile.
"""

import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, field

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.errors import Malformed
from mcpcore.service.task_settings import TaskForm, TaskSettings
from mcpcore.service.tasks import TableFull, TaskRecord, describe, related
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ErrorData,
    McpError,
    busy_code,
)
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.base import META_RELATED_TASK
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tasks import TaskMetadata
from mcpcore.wire.message import to_json
from mcpcore_transports.client.callbacks import CallbackContext
from mcpcore_transports.running.cancellation import failure_of
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.pending import Handlers, Run
from mcpcore_transports.running.tasks import TaskHost
from mcpcore_transports.server.settings import error_id
from mcpcore_transports.server.tasks.requests import TaskDesk

if TYPE_CHECKING:  # the core makes use of this module
    from mcpcore_transports.client.core import ClientCore

logger = logging.getLogger("mcpcore.client")


class _Wanted(Struct):
    task: Maybe[TaskMetadata] = None


class ClientDesk(TaskDesk):
    """Desk of a client: runs requests of its server as tasks, and answers requests about them.

    ``capabilities`` tells which requests may run as tasks.
    """

    def __init__(
        self, core: "ClientCore", capabilities: ClientCapabilities, settings: TaskSettings
    ) -> None:
        super().__init__(TaskHost(settings), core.machine, core.flush)
        self._core = core
        self._capabilities = capabilities
        self._handlers: Handlers | None = None

    def takes(self, event: RequestReceived) -> bool:
        """Run a request as a task if the server asks for that; return False if it does not."""
        row = lookup(event.method, "server", event.revision)
        if row is None or row.task_capability is None:
            return False
        if not declares(self._capabilities, row.task_capability):
            return False
        try:
            task = typed(event.params, _Wanted).task
            if task is None:
                return False
            ttl = self.host.table.granted(task.ttl)
            record = self.host.create(self.owner(event), ttl=ttl)
        except McpError as error:
            self.machine.fail(event.key, error.error)
        except Malformed as error:
            self.machine.fail(event.key, ErrorData(INVALID_PARAMS, f"invalid params: {error}"))
        except TableFull as full:
            self.machine.fail(event.key, ErrorData(busy_code(event.revision), str(full)))
        else:
            self._start(event, record)
        return True

    def _start(self, event: RequestReceived, record: TaskRecord) -> None:
        if self._handlers is None:
            self._handlers = Handlers(self.host.begin(self._core.group), self._nothing)
        view = {"task": describe(record, TaskForm.EXPERIMENTAL)}
        self.machine.respond(event.key, view, meta=related(record.id))
        self.follow(record, None)
        worker = _Worker()
        self.host.employ(record, worker)
        context = CallbackContext(
            event.method,
            event.revision,
            event.meta,
            request_id=event.id,
            report=partial(self._report, event, record),
        )

        async def work() -> None:
            try:
                await self._work(event, record, context)
            finally:
                worker.scope = None
                self.host.dismiss(record)

        context.scope = worker.scope = self._handlers.start(event.key, work, context)

    def _report(
        self,
        event: RequestReceived,
        record: TaskRecord,
        value: float,
        total: float | None,
        message: str | None,
    ) -> bool:
        """Report the progress of a task under the progress token of the request that created it."""
        token = event.meta.progress_token
        if token is None or record.ended:
            return False
        params: dict[str, Any] = {"progressToken": token, "progress": value}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        self.tell("notifications/progress", params, session=None, meta=related(record.id))
        return True

    async def _work(
        self, event: RequestReceived, record: TaskRecord, context: CallbackContext
    ) -> None:
        try:
            answer = self._core.callbacks.answer(event.params, context)
            if inspect.isawaitable(answer):
                answer = await answer
            self.host.complete(record, Raw(to_json(answer)))
        except BaseException as error:
            self.host.fail(record, masked_error(event.method, failure_of(error)))

    def _nothing(self, key: Key) -> None:
        """Do nothing: the request itself was answered when its task was created."""


class _Worker:
    def __init__(self) -> None:
        self.scope: Run | None = None

    def stop(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    def deliver(self, key: str, answer: Raw) -> None:
        """Do nothing: a task of a client asks no questions."""


def masked_error(method: str, error: Exception) -> ErrorData:
    """Return the error for a failed callback as the server sees it; log an unexpected exception."""
    if isinstance(error, McpError):
        return error.error
    made = error_id()
    logger.error("the callback for %s failed (error id %s)", method, made, exc_info=error)
    return ErrorData(INTERNAL_ERROR, f"the client failed to answer (error id {made})")


class _Related(Struct):
    task: Maybe[Raw] = field(default=None, name=META_RELATED_TASK)


class _Tied(Struct):
    meta: Maybe[_Related] = field(default=None, name="_meta")


_tied = msgspec.json.Decoder(_Tied)


def related_meta(params: Raw) -> dict[str, Any] | None:
    """Return the ``_meta`` for the answer to a request that belongs to a task of the server."""
    text = bytes(params)
    if not (b"related-task" in text or b"\\u" in text):  # escapes could hide the name
        return None
    meta = _tied.decode(text).meta
    return None if meta is None or meta.task is None else {META_RELATED_TASK: meta.task}
