"""What functions of the user's end with that is no Exception, and no affair of anybody else's.

A function may end with SystemExit, as ``sys.exit`` has it, or with another BaseException.  And on
asyncio whoever waits for a task that somebody else cancels gets a CancelledError, as if it had been
cancelled itself.  Taken for what they are, these would end the task group, and with it the
connection or the whole server: they are the failure of one function.

It is different with a cancellation that was asked for, with KeyboardInterrupt, which ends the
program, and with GeneratorExit where no event loop runs: a coroutine of ours is dropped.
"""

import asyncio
import logging
import math
import sys

import anyio

from mcpcore.service import HandlerExit
from transports.background import current_loop

logger = logging.getLogger(__name__)


class Signal(BaseException):
    """Base of what leaves a function of the user's for us to act on, and is no failure of it."""


def settled(error: BaseException) -> BaseException:
    """What to go on with: an Exception if it is a failure, or else what is none.

    Of a group, the only exception in it, if it is the only one.  What is no failure goes before
    what is; a group with a :class:`Signal` stays as it is.
    """
    if isinstance(error, BaseExceptionGroup):
        passing, failures = error.split(_passes)
        if passing is not None:
            if failures is not None:
                logger.error("a function that was stopped failed besides", exc_info=failures)
            return passing
        if error.subgroup(Signal) is not None:
            return error
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
    if isinstance(error, Exception | Signal) or _passes(error):
        return error
    if not _cancels(error):
        return HandlerExit(error)
    failure = RuntimeError("what it waited for was cancelled")
    failure.__cause__ = error
    return failure


def failure_of(error: BaseException) -> Exception:
    """What a function of the user's has failed with; raises what is no failure."""
    failure = settled(error)
    if isinstance(failure, Exception):
        return failure
    if isinstance(failure, BaseExceptionGroup):
        passes = failure.subgroup(_passes) is not None
    else:
        passes = _passes(failure)
    if passes:
        raise failure
    return HandlerExit(failure)  # a signal that nobody waits for


def _passes(error: BaseException) -> bool:
    """Whether it is no failure of the function that ended with it."""
    if isinstance(error, KeyboardInterrupt):
        return True
    try:
        loop = current_loop()
    except RuntimeError:
        return isinstance(error, GeneratorExit)
    if not isinstance(loop, asyncio.AbstractEventLoop):
        return isinstance(error, sys.modules["trio"].Cancelled) and _is_cancelled()
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and (bool(task.cancelling()) or _is_cancelled())


def _is_cancelled() -> bool:
    """Whether a scope cancels the task that asks."""
    return anyio.current_effective_deadline() == -math.inf


def _cancels(error: BaseException) -> bool:
    """Whether it is what an event loop cancels with."""
    trio = sys.modules.get("trio")
    return isinstance(error, asyncio.CancelledError) or (
        trio is not None and isinstance(error, trio.Cancelled)
    )
