"""Cancellations that nobody here has asked for, out of functions of the user's.

On asyncio whoever waits for a task that somebody else cancels gets a CancelledError, as if it had
been cancelled itself.  Taken for that it would end the task group, and with it the connection or
the whole server: it is the failure of one function.
"""

import math
import sys

import anyio


def strayed(error: BaseException) -> Exception | None:
    """What to take a cancellation for that has not been asked for; None for anything else."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not isinstance(error, asyncio.CancelledError) or _is_cancelled(asyncio):
        return None
    failure = RuntimeError("what it waited for was cancelled")
    failure.__cause__ = error
    return failure


def failure_of(error: BaseException) -> Exception:
    """What a function of the user's has failed with; raises ``error`` again if it is no failure."""
    failure = error if isinstance(error, Exception) else strayed(error)
    if failure is None:
        raise error
    return failure


def _is_cancelled(asyncio: object) -> bool:
    """Whether the task that asks is being cancelled, in whichever way."""
    try:
        task = asyncio.current_task()  # type: ignore[attr-defined]
    except RuntimeError:  # another event loop
        return False
    if task is None:
        return False
    return bool(task.cancelling()) or anyio.current_effective_deadline() == -math.inf
