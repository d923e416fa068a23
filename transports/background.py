"""Event loops that are not the caller's own: which one runs, work for it, tasks of no other task.

Such tasks are owned by an object, and end with it or with the event loop.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, cast

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


@contextmanager
def known_in_callbacks() -> Iterator[None]:
    """Have anyio know of the event loop in callbacks, too, that are asked for within.

    With sniffio installed it finds asyncio by its task alone, unless it has begun the loop itself.
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
    """Tell whether an event loop, once running, will certainly not run again."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    return not call_in_loop(loop, _nothing)  # there is no other way to ask trio


def call_in_loop(loop: object, function: Callable[[], object]) -> bool:
    """Have an event loop call ``function``, which must not raise; from whatever thread.

    ``loop`` is what :func:`current_loop` returned there.  False if it is over.
    """
    soon: Callable[[Callable[[], object]], object]
    if isinstance(loop, asyncio.AbstractEventLoop):
        soon = loop.call_soon_threadsafe
    else:
        soon = cast("Any", loop).run_sync_soon
    try:
        soon(function)
    except RuntimeError:  # both say so that the loop is over
        return False
    return True


def _nothing() -> None:
    """Do nothing."""


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
