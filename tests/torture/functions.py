"""Functions of the user's, which fail before they have done anything, or when they have done it."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import sniffio

from tests.torture.points import Watch

F = TypeVar("F", bound=Callable[..., Any])


class Failed(RuntimeError):
    """What a function of the user's raises."""


def _perhaps(name: str, kinds: tuple[str, ...]) -> str | None:
    watch = Watch.current
    return None if watch is None else watch.visit("user", name, kinds)


def _raise(kind: str) -> None:
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise Failed(f"it fails {kind}")


def _kinds(*, waits: bool) -> tuple[str, ...]:
    """On asyncio it may have waited for a task that somebody has cancelled."""
    if waits and sniffio.current_async_library_cvar.get() != "trio" and _on_asyncio():
        return ("before", "after", "cancelled")
    return ("before", "after")


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def fallible(function: F, name: str = "") -> F:
    """Let each call of a function be a point."""
    name = name or function.__qualname__.rpartition(".")[2]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waits(*args: Any, **options: Any) -> Any:
            kind = _perhaps(name, _kinds(waits=True))
            if kind in ("before", "cancelled"):
                _raise(kind)
            found = await function(*args, **options)
            if kind == "after":
                _raise(kind)
            return found

        return waits  # type: ignore[return-value]

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def steps(*args: Any, **options: Any) -> Any:
            kind = _perhaps(name, _kinds(waits=False))
            if kind == "before":
                _raise(kind)
            found = yield from function(*args, **options)
            if kind == "after":
                _raise(kind)
            return found

        return steps  # type: ignore[return-value]

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        kind = _perhaps(name, _kinds(waits=False))
        if kind == "before":
            _raise(kind)
        found = function(*args, **options)
        if kind == "after":
            _raise(kind)
        return found

    return call  # type: ignore[return-value]


class Fallible:
    """An object of the user's, such as a store, each method of which may fail."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner, self._name = inner, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return fallible(found, f"{self._name}.{name}") if inspect.ismethod(found) else found
