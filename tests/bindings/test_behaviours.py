"""Every behaviour on every binding, in both eras, on both event loops."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.bindings import cancelling, client_alone, ends, features, loads, server_alone
from tests.bindings.inbox import PATIENCE
from tests.bindings.places import BINDINGS, House
from tests.bindings.table import BEHAVIOURS, Behaviour, Bench

MODULES = (features, cancelling, loads, ends, server_alone, client_alone)
"""They fill the table when they are imported."""


def _rows() -> Iterator[Any]:
    for row in BEHAVIOURS.values():
        for era in row.eras:
            for binding in BINDINGS.values():
                marks = [pytest.mark.long] if row.long else []
                if reason := row.reason_to_skip(binding, era):
                    marks.append(pytest.mark.skip(reason=reason))
                name = f"{row.name}-{binding.name}-{era}"
                yield pytest.param(row, binding.name, era, id=name, marks=marks)


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "binding", "era"), list(_rows()))
async def test_behaviour(
    row: Behaviour,
    binding: str,
    era: str,
    houses: dict[str, House],
    anyio_backend_name: str,
) -> None:
    bench = Bench(houses[anyio_backend_name], BINDINGS[binding], era)
    with anyio.fail_after(3 * PATIENCE):
        await row.run(bench)


def test_every_gap_has_its_reason() -> None:
    for row in BEHAVIOURS.values():
        assert all(len(reason) > 20 for reason in row.skips.values()), row.name
