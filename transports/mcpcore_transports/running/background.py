"""Event loops of other callers: finding the running one, calling into it, background tasks.

A background task is owned by an object, not by a task.  It ends with its owner or the event loop.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, cast

Work = Callable[[], Coroutine[Any, Any, None]]

_running: set[asyncio.Task[None]] = set()
"""Strong references to running tasks; asyncio itself keeps weak ones only."""


def current_loop() -> object:
    """Return the running event loop: asyncio's loop or trio's token.  Raises RuntimeError."""
    if _in_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio.get_running_loop()


@contextmanager
def known_in_callbacks() -> Iterator[None]:
    """Let anyio recognise the event loop in callbacks that are scheduled within the block, too.

    With sniffio, anyio finds asyncio only in tasks, unless it has started the loop itself.
    """
    sniffio = sys.modules.get("sniffio")
    name = None if sniffio is None or _in_trio() else sniffio.current_async_library_cvar
    if name is None or name.get() is not None:
        yield
        return
    token = name.set("asyncio")
    try:
        yield
    finally:
        name.reset(token)


def is_over(loop: object) -> bool:
    """Return True if an event loop that has run will certainly not run again."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    return not call_in_loop(loop, _nothing)  # there is no other way to ask trio


def call_in_loop(loop: object, function: Callable[[], object]) -> bool:
    """Schedule a call of ``function``, which must not raise; return False if the loop is over.

    ``loop`` is what :func:`current_loop` has returned there.  Works in any thread.
    """
    soon: Callable[[Callable[[], object]], object]
    if isinstance(loop, asyncio.AbstractEventLoop):
        soon = loop.call_soon_threadsafe
    else:
        soon = cast("Any", loop).run_sync_soon
    try:
        soon(function)
    except RuntimeError:  # both libraries raise it if the loop is over
        return False
    return True


def _nothing() -> None:
    """Do nothing."""


def start_background(work: Work, context: Context) -> None:
    """Run ``work``, which must not raise, in a task of the event loop, until that ends.

    The task runs in ``context`` and is no child of the caller's task.
    """
    if _in_trio():
        sys.modules["trio"].lowlevel.spawn_system_task(work, context=context)
        return
    task = asyncio.get_running_loop().create_task(work(), context=context)
    _running.add(task)
    task.add_done_callback(_running.discard)


def _in_trio() -> bool:
    """Return True in a task of trio; trio is looked for only if it is imported already."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
