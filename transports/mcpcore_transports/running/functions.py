"""Functions of the application: their event loop, tasks and threads, and their exceptions.

A function may end with SystemExit, as with ``sys.exit``, or with another BaseException, and asyncio
gives it the CancelledError of a task cancelled by other code, as if it had been cancelled itself.
Unchanged, these would end the task group, and with it the connection or the whole server, though
only one function has failed; so they become failures of that function (:func:`settled`), and tasks
that it starts are guarded (:func:`guard_tasks`).  Not converted are a requested cancellation,
KeyboardInterrupt, which ends the program, and GeneratorExit where no event loop runs.
"""

import asyncio
import contextvars
import functools
import inspect
import logging
import math
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from mcpcore.errors import HandlerExit, InputNeeded

if TYPE_CHECKING:  # each is imported where it is needed
    from typing_extensions import TypeIs  # in typing from Python 3.13 on

logger = logging.getLogger("mcpcore.application")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound="AtHome")
G = TypeVar("G", bound="Paced")

Work = Callable[[], Coroutine[Any, Any, None]]

_running: set[asyncio.Task[None]] = set()
"""Strong references to running tasks; asyncio itself keeps weak ones only."""


def current_loop() -> object:
    """Return the running event loop: asyncio's loop or trio's token.  Raises RuntimeError."""
    if in_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio.get_running_loop()


@contextmanager
def known_in_callbacks() -> Iterator[None]:
    """Let anyio recognise the event loop in callbacks that are scheduled within the block, too.

    With sniffio, anyio finds asyncio only in tasks, unless it has started the loop itself.
    """
    sniffio = sys.modules.get("sniffio")
    name = None if sniffio is None or in_trio() else sniffio.current_async_library_cvar
    if name is None or name.get() is not None:
        yield
        return
    token = name.set("asyncio")
    try:
        yield
    finally:
        name.reset(token)


def context_of_callbacks() -> contextvars.Context:
    """Return a copy of the context, in which anyio recognises the event loop in callbacks too."""
    with known_in_callbacks():
        return contextvars.copy_context()


def is_over(loop: object) -> bool:
    """Return True if an event loop that has run will certainly not run again."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    return not call_in_loop(loop, lambda: None)  # there is no other way to ask trio


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


def start_background(work: Work, context: contextvars.Context) -> None:
    """Run ``work``, which must not raise, in a task of the event loop, until that ends.

    The task runs in ``context`` and is no child of the caller's task.
    """
    if in_trio():
        sys.modules["trio"].lowlevel.spawn_system_task(work, context=context)
        return
    task = asyncio.get_running_loop().create_task(work(), context=context)
    _running.add(task)
    task.add_done_callback(_running.discard)


class DetachedGroup:
    """Task group that, on asyncio, may end in another task than the one that has begun it.

    A notebook, a fixture and an object with methods for its beginning and end do so.  There, the
    group lives in a task of its own, and a failure of a task cancels the one that has begun the
    group, as long as that runs.  On trio it belongs to the task that begins it, as interrupts of
    the program do.
    """

    def __init__(self) -> None:
        self.group: TaskGroup
        self._task: asyncio.Task[None] | None = None
        self._beginner: asyncio.Task[Any] | None = None
        self._failed = False
        """True if the task that has begun the group was cancelled."""
        self._over = anyio.Event()

    async def begin(self) -> TaskGroup:
        """Open the group, and return it."""
        if in_trio():
            self.group = await anyio.create_task_group().__aenter__()
            return self.group
        begun = anyio.Event()
        self._beginner = asyncio.current_task()
        self._task = asyncio.get_running_loop().create_task(self._live(begun))
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)
        try:
            await begun.wait()
        except BaseException:
            self._task.cancel()
            raise
        return self.group

    async def _live(self, begun: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as self.group:
                begun.set()
                await self._over.wait()
        except BaseExceptionGroup:
            if not self._over.is_set() and self._beginner is not None:
                self._failed = self._beginner.cancel()
            raise

    async def end(self, error: BaseException | None = None) -> bool | None:
        """Wait for the tasks, or cancel them because of ``error``, as a group does in the end.

        ``error`` is a cancellation of the caller.  Return what ``__aexit__`` of a group returns.
        Raises an exception group of what the tasks have raised.
        """
        if self._task is None:
            kind = None if error is None else type(error)
            traceback = None if error is None else error.__traceback__
            return await self.group.__aexit__(kind, error, traceback)
        self._over.set()
        interrupted: BaseException | None = None
        while not self._task.done():
            over = (error or interrupted) is not None
            if over:
                self.group.cancel_scope.cancel()
            try:
                with anyio.CancelScope(shield=over):
                    await asyncio.wait([self._task])
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
        if self._failed and (caller := asyncio.current_task()) is self._beginner and caller:
            caller.uncancel()
        failure = None if self._task.cancelled() else self._task.exception()
        if (raised := failure or interrupted) is not None:
            raise raised
        return None


def in_trio() -> bool:
    """Return True in a task of trio; trio is looked for only if it is imported already."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


_in_handler = contextvars.ContextVar("mcpcore.in_handler", default=False)

_ENDS = (SystemExit, GeneratorExit)


def enter_handler() -> None:
    """Mark this context as that of an application function: tasks started in it are guarded."""
    _in_handler.set(True)


async def called(function: Callable[P, T | Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call an application function, and await its result if that is awaitable."""
    with in_handler():
        value = function(*args, **kwargs)
        if is_awaitable(value):
            awaited: T = await value
            return awaited
        return value


async def let_wait(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may wait for a person, in a thread of its own; return its result.

    Neither a task that is cancelled nor the end of the program waits for it.
    """
    from anyio import from_thread  # late: few wait for a person

    over, loop = anyio.Event(), anyio.lowlevel.current_token()
    results, failures = list[T](), list[BaseException]()

    def work() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            failures.append(error)
        with suppress(anyio.RunFinishedError):
            from_thread.run_sync(over.set, token=loop)

    threading.Thread(target=work, name="mcpcore waits", daemon=True).start()
    await over.wait()
    for error in failures:
        raise error
    return results[0]


def guarded_call(function: Callable[[R], T], argument: R) -> T:
    """Call a plain function of the application, whose tasks are tasks of a handler."""
    token = _in_handler.set(True)
    try:
        return function(argument)
    finally:
        _in_handler.reset(token)


@contextmanager
def in_handler() -> Iterator[None]:
    """Mark a block as that of an application function, in a task that goes on afterwards."""
    token = _in_handler.set(True)
    try:
        yield
    finally:
        _in_handler.reset(token)


def guard_tasks(loop: object) -> None:
    """Guard the tasks of handlers in an event loop of asyncio from now on, by its task factory."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        inner = loop.get_task_factory()
        if not isinstance(inner, _Factory):
            loop.set_task_factory(_Factory(inner))


class _Factory:
    """Task factory that guards tasks of handlers, in front of another one."""

    def __init__(self, inner: Any) -> None:
        self._make = inner or _make

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> "asyncio.Future[Any]":
        made: asyncio.Future[Any]
        made = self._make(loop, _Guarded(coro) if _in_handler.get() else coro, **options)
        return made


def _make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(coro, loop=loop, **options)


class _Guarded(Coroutine[Any, Any, Any]):
    """Coroutine that ends with HandlerExit instead of exceptions that end more than itself."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def send(self, value: Any) -> Any:
        try:
            return self._coro.send(value)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def throw(self, typ: Any, val: object = None, tb: object = None) -> Any:
        try:  # tasks throw exception instances
            return self._coro.throw(typ)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def close(self) -> None:
        self._coro.close()


def settled(error: BaseException) -> BaseException:
    """Return the exception to go on with: an Exception for a failure, else one that is no failure.

    Exceptions that are no failures take precedence in a group; one with an
    :class:`~mcpcore.errors.InputNeeded` is kept.
    """
    if isinstance(error, BaseExceptionGroup):
        passing, failures = error.split(_passes)
        if passing is not None:
            if failures is not None:
                logger.error("a function that was stopped failed besides", exc_info=failures)
            return passing
        if error.subgroup(InputNeeded) is not None:
            return error
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
    if isinstance(error, Exception | InputNeeded) or _passes(error):
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
    return anyio.current_effective_deadline() == -math.inf


def _cancels(error: BaseException) -> bool:
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


class AtHome(Protocol):
    """Object that belongs to an event loop."""

    thread: int
    """Identifier of the event loop's thread."""


class Paced(AtHome, Protocol):
    """Object of an event loop whose output may have to wait."""

    async def room(self) -> None:
        """Wait until there is room for output."""


current = threading.get_ident


def is_awaitable(value: object) -> "TypeIs[Awaitable[Any]]":
    """Return what :func:`inspect.isawaitable` does, which is slow for values that are none."""
    kind: Any = type(value)  # as classes are hashable, whatever their type says
    return inspect.isawaitable(value) if kind is types.GeneratorType else _awaits(kind)


@functools.lru_cache(maxsize=256)
def _awaits(kind: type) -> bool:
    return hasattr(kind, "__await__")


_LOOKUPS = 8
"""Look-ups in a store, by one event loop at a time."""
_lookup_threads = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("mcpcore_lookups")


async def looked_up(call: Callable[..., T], *args: Any) -> T:
    """Look something up in a store, for a request, in a thread that no handler keeps busy."""
    try:
        limiter = _lookup_threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_LOOKUPS)
        _lookup_threads.set(limiter)
    return await in_thread(call, *args, limiter=limiter)


async def in_thread(
    call: Callable[..., T], *args: Any, limiter: anyio.CapacityLimiter | None = None
) -> T:
    """Call an application function in a worker thread, and leave it there when cancelled.

    ``limiter``: limiter of the threads, by default that of the event loop.  A thread keeps its
    place until it has ended; anyio, on asyncio, gives that of an abandoned one away at once.
    """
    places, loop = limiter or anyio.to_thread.current_default_thread_limiter(), current_loop()
    place = threading.Lock()
    """Taken by the thread when it begins, or by the caller that has given up before."""

    def work() -> T:
        if not place.acquire(blocking=False):
            raise RuntimeError("nobody waits for this thread")
        try:
            return call(*args)
        except GeneratorExit as error:  # which would close the awaiting coroutine
            raise HandlerExit(error) from error
        finally:
            call_in_loop(loop, functools.partial(places.release_on_behalf_of, place))

    await places.acquire_on_behalf_of(place)
    try:
        return await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
    finally:
        if place.acquire(blocking=False):
            places.release_on_behalf_of(place)


def with_room(
    method: Callable[Concatenate[G, P], R],
) -> Callable[Concatenate[G, P], R]:
    """Decorate a method as :func:`in_loop` does; a thread also waits for room for its output."""

    @functools.wraps(method)
    def call(context: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)

        async def wait_and_send() -> R:
            await context.room()
            return method(context, *args, **kwargs)

        from anyio import from_thread

        return from_thread.run(wait_and_send)

    return call


def in_loop(method: Callable[Concatenate[F, P], R]) -> Callable[Concatenate[F, P], R]:
    """Decorate a method of a context so that it runs in the event loop's thread."""

    @functools.wraps(method)
    def call(context: F, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)
        from anyio import from_thread

        return from_thread.run_sync(functools.partial(method, context, *args, **kwargs))

    return call
