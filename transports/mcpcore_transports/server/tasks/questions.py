"""Questions that a client runs as tasks of its own (2025-11-25), seen from the server."""

from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import (
    EndReason,
    NotificationReceived,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.errors import Malformed
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import LocalError, LocalProtocolError
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tasks import TERMINAL, Task
from mcpcore_transports.link import clock
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.pending import Settled
from mcpcore_transports.server.elicitation import GIVEN_UP, Asker

if TYPE_CHECKING:
    from mcpcore_transports.server.runtime import ServerRuntime

_PAUSE = 1.0
"""Seconds between two polls if the client names no interval."""
_MIN_PAUSE, _MAX_PAUSE = 0.05, 30.0


class _Created(Struct):
    task: Maybe[Task] = None


def runs_tasks(method: str, asker: Asker) -> bool:
    """Return True if the client that sent ``asker`` can run a question as a task."""
    if asker.revision is None or asker.client_capabilities is None:
        return False
    row = lookup(method, "server", asker.revision)
    if row is None or row.task_capability is None:
        return False
    return declares(asker.client_capabilities, row.task_capability)


async def task_outcome(
    runtime: "ServerRuntime",
    asker: Asker,
    answered: ResultReceived,
    *,
    over: bool = False,
) -> Settled:
    """Return the outcome of a question that the client may have made a task of.

    If ``asker`` is no request of the client, or if it is ``over`` as that of a task is, the client
    is asked in its session.  If the caller stops waiting, the task is cancelled.
    """
    parent = None if over or isinstance(asker, NotificationReceived) else asker
    try:
        task = typed(answered.result, _Created).task
    except Malformed:
        return answered  # the reader of the answer reports the fault
    if task is None:
        return answered
    about = {"taskId": task.task_id}
    try:
        with anyio.move_on_after(runtime.settings.input_timeout):
            while task.status not in TERMINAL:
                await anyio.sleep(_pause(task))
                outcome = await _ask(runtime, parent, asker.session, "tasks/get", about)
                if not isinstance(outcome, ResultReceived):
                    return outcome
                task = typed(outcome.result, Task)
            return await _ask(runtime, parent, asker.session, "tasks/result", about)
        return _ended(answered, EndReason.TIMED_OUT, "its task did not end in time")
    except Malformed as error:
        return _ended(answered, EndReason.INVALID, f"its task is malformed: {error}")
    except LocalProtocolError as error:
        return _ended(answered, EndReason.CLOSED, str(error))
    finally:
        if task.status not in TERMINAL:
            _cancel(runtime, asker.session, about)


def _ended(answered: ResultReceived, reason: EndReason, message: str) -> RequestEnded:
    return RequestEnded(
        request=answered.request, method=answered.method, reason=reason, message=message
    )


def _pause(task: Task) -> float:
    if task.poll_interval is None:
        return _PAUSE
    # Compared in milliseconds: a client may name a number that is larger than any float.
    return min(max(task.poll_interval, _MIN_PAUSE * 1000), _MAX_PAUSE * 1000) / 1000


async def _ask(
    runtime: "ServerRuntime",
    parent: RequestReceived | None,
    session: str | None,
    method: str,
    params: dict[str, Any],
) -> Settled:
    request = runtime.send_request(
        method, params, request=parent, session=session, timeout=DEFAULT_TIMEOUT
    )
    try:
        return await runtime.waiting.outcome(request)
    except anyio.get_cancelled_exc_class():
        runtime.withdraw(request, GIVEN_UP)
        raise


def _cancel(runtime: "ServerRuntime", session: str | None, params: dict[str, Any]) -> None:
    machine = runtime.machine
    try:
        if not isinstance(machine, Peer):
            machine.request("tasks/cancel", params, now=clock(), session=session)
        else:
            machine.request("tasks/cancel", params, now=clock())
    except LocalError:
        return  # the client cannot be told, or has gone
    runtime.flush()
