"""Every behaviour on every binding, in both eras, on both event loops."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import anyio
import pytest

from tests.bindings import (
    cancelling,
    client_alone,
    client_asked,
    ends,
    features,
    loads,
    server_alone,
)
from tests.bindings.inbox import PATIENCE
from tests.bindings.places import BINDINGS, House
from tests.bindings.table import BEHAVIOURS, Behaviour, Bench

MODULES = (features, cancelling, loads, ends, server_alone, client_alone, client_asked)
"""They fill the table when they are imported."""


BACKENDS = ("asyncio", "trio")


def _rows() -> Iterator[Any]:
    """Every cell; of each behaviour on each binding a quarter is tried first, the rest later."""
    for number, row in enumerate(BEHAVIOURS.values()):
        for era, binding, backend in product(row.eras, BINDINGS.values(), BACKENDS):
            cell = row.eras.index(era) + len(row.eras) * BACKENDS.index(backend)
            chosen = cell == number % (len(row.eras) * len(BACKENDS))
            marks = [] if chosen and not row.long else [pytest.mark.long]
            if reason := row.reason_to_skip(binding, era):
                marks.append(pytest.mark.skip(reason=reason))
            name = f"{row.name}-{binding.name}-{era}-{backend}"
            yield pytest.param(row, binding.name, era, backend, id=name, marks=marks)


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "binding", "era", "anyio_backend"), list(_rows()))
async def test_behaviour(
    row: Behaviour,
    binding: str,
    era: str,
    anyio_backend_name: str,
    houses: dict[str, House],
) -> None:
    bench = Bench(houses[anyio_backend_name], BINDINGS[binding], era)
    with anyio.fail_after(3 * PATIENCE):
        await row.run(bench)


def test_there_are_enough_of_them() -> None:
    assert len(BEHAVIOURS) >= 120


def test_every_gap_has_its_reason() -> None:
    for row in BEHAVIOURS.values():
        assert all(len(reason) > 20 for reason in row.skips.values()), row.name
