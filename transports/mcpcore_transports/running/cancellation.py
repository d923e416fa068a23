"""Exceptions of application functions that are no Exception: treated as failures of one function.

A function may end with SystemExit, as with ``sys.exit``, or with another BaseException.  And on
asyncio a function that awaits a task cancelled by other code gets a CancelledError, as if it had
been cancelled itself.  Unchanged, these would end the task group, and with it the connection or the
whole server, though only one function has failed.

Not converted are a requested cancellation, KeyboardInterrupt, which ends the program, and
GeneratorExit where no event loop runs: a coroutine of ours is dropped.
"""

import asyncio
import logging
import math
import sys
import traceback

import anyio

from mcpcore.errors import HandlerExit
from mcpcore_transports.running.background import current_loop

logger = logging.getLogger("mcpcore.application")


class Signal(BaseException):
    """Base of exceptions that leave application functions as signals to us, not failures."""


def settled(error: BaseException) -> BaseException:
    """Return the exception to go on with: an Exception for a failure, else one that is no failure.

    Exceptions that are no failures take precedence in a group; one with a :class:`Signal` is kept.
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
    """Return the Exception for a failed application function; raise one that is no failure."""
    failure = settled(error)
    if isinstance(failure, Exception):
        return failure
    if isinstance(failure, BaseExceptionGroup):
        passes = failure.subgroup(_passes) is not None
    else:
        passes = _passes(failure)
    if passes:
        raise failure
    return HandlerExit(failure)  # a signal that is not expected here


def first_of(error: BaseException) -> BaseException:
    """Return the exception, or the first one in a group of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _passes(error: BaseException) -> bool:
    """Return True if the exception is no failure of the function that ended with it."""
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
    """Return True if a scope cancels the current task."""
    return anyio.current_effective_deadline() == -math.inf


def _cancels(error: BaseException) -> bool:
    """Return True if the exception is one with which an event loop cancels."""
    trio = sys.modules.get("trio")
    return isinstance(error, asyncio.CancelledError) or (
        trio is not None and isinstance(error, trio.Cancelled)
    )


def without_messages(error: BaseException) -> str:
    """Return tracebacks and types of an exception and its causes, without messages (secrets)."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        hidden = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or hidden
    return "followed by\n".join(
        f"{''.join(traceback.format_tb(each.__traceback__))}{type(each).__qualname__}\n"
        for each in reversed(chain)
    ).rstrip()
