"""Bindings, eras and event loops on which a fault is tried, and those of the quick tests."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from tests.bindings.places import (
    BINDINGS,
    ERAS,
    HTTP_WAYS,
    WITHOUT_UVLOOP,
    WSGI,
    revision,
)

BACKENDS = ("asyncio", "trio")


def cells(
    *more: Any, quick: int = 2, only: Callable[[str], bool] = lambda name: True
) -> pytest.MarkDecorator:
    """Bindings, eras and event loops, each with ``more``; one of ``quick`` is quick.

    Where HTTP is among them, so is each other way in which it is served: in the long run; but for
    WSGI, whose server reads the bytes.
    """
    return pytest.mark.parametrize(
        ("binding", "era", "anyio_backend", *(f"arg{number}" for number in range(len(more)))),
        list(_cells(more, quick, only)),
    )


def _cells(more: Any, quick: int, only: Callable[[str], bool]) -> Iterator[Any]:
    for binding, backend, waits in _rows(only):
        for era in ERAS:
            if binding in BINDINGS and not BINDINGS[binding].has(revision(era)):
                continue
            for others in product(*more):
                place = ERAS.index(era) + BACKENDS.index(backend)
                place += sum(list(each).index(one) for each, one in zip(more, others, strict=True))
                marks = waits or ([pytest.mark.long, pytest.mark.repeats] if place % quick else [])
                name = "-".join((binding, era, backend, *map(str, others)))
                yield pytest.param(binding, era, backend, *others, marks=marks, id=name)


def _rows(only: Callable[[str], bool]) -> Iterator[tuple[str, str, list[pytest.MarkDecorator]]]:
    """Bindings and event loops, and the marks of those that are not for the quick tests."""
    for row in BINDINGS.values():
        if row.bytes and only(row.name):
            yield from ((row.name, backend, []) for backend in BACKENDS)
    if not only("http"):
        return
    for name, way in HTTP_WAYS.items():
        if name == WSGI:
            continue
        marks = [pytest.mark.long, pytest.mark.repeats]
        if way.uvloop and WITHOUT_UVLOOP:
            marks.append(pytest.mark.skip(reason=WITHOUT_UVLOOP))
        yield from ((name, backend, marks) for backend in way.backends)
