"""Tasks that belong to no other task: owned by an object, ended with it or with the event loop."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]

_running: set[asyncio.Task[None]] = set()
"""asyncio itself keeps weak references only."""


def current_loop() -> object:
    """Return what stands for the event loop that is running: asyncio's loop or trio's token.

    Raises RuntimeError outside of both.
    """
    if _in_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def is_over(loop: object) -> bool:
    """Tell whether an event loop, once running, will certainly not run again.

    trio ends every task before its loop goes, so that those of trio need not be asked.
    """
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()


def start_background(work: Work, context: Context) -> None:
    """Run ``work``, which must not raise, in a task of the event loop that is running.

    The task sees ``context`` and not the caller's, is no child of the caller's task, and is
    cancelled when the loop ends.
    """
    if _in_trio():
        sys.modules["trio"].lowlevel.spawn_system_task(work, context=context)
        return
    task = asyncio.get_running_loop().create_task(work(), context=context)
    _running.add(task)
    task.add_done_callback(_running.discard)


def _in_trio() -> bool:
    """Look whether trio runs us; it is there only if somebody has imported it."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
