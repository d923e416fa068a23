"""Which bindings, eras and event loops a fault is tried on, and which in the quick tests."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from tests.bindings.places import BINDINGS, ERAS, revision

BACKENDS = ("asyncio", "trio")


def cells(
    *more: Any, quick: int = 2, only: Callable[[str], bool] = lambda name: True
) -> pytest.MarkDecorator:
    """Bindings, eras and event loops, each with ``more``; one of ``quick`` is quick."""
    return pytest.mark.parametrize(
        ("binding", "era", "anyio_backend", *(f"arg{number}" for number in range(len(more)))),
        list(_cells(more, quick, only)),
    )


def _cells(more: Any, quick: int, only: Callable[[str], bool]) -> Iterator[Any]:
    rows = [row.name for row in BINDINGS.values() if row.bytes and only(row.name)]
    for binding, era, backend in product(rows, ERAS, BACKENDS):
        if not BINDINGS[binding].has(revision(era)):
            continue
        for others in product(*more):
            place = ERAS.index(era) + BACKENDS.index(backend)
            place += sum(list(each).index(one) for each, one in zip(more, others, strict=True))
            marks = [pytest.mark.long] if place % quick else []
            name = "-".join((binding, era, backend, *map(str, others)))
            yield pytest.param(binding, era, backend, *others, marks=marks, id=name)
