"""Every behaviour on every binding, in both eras, on both event loops."""

import sys
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
    exits,
    features,
    loads,
    server_alone,
)
from tests.bindings.network_ways import options_of
from tests.bindings.places import BINDINGS, HTTP_WAYS, WITHOUT_UVLOOP, House
from tests.bindings.table import BEHAVIOURS, Behaviour, Bench
from tests.clock import PATIENCE

MODULES = (features, cancelling, loads, ends, server_alone, client_alone, client_asked, exits)
"""They fill the table when they are imported."""


_WITHOUT = {client_alone.__name__, client_asked.__name__}
"""In them the server is spoken by hand."""
BACKENDS = ("asyncio", "trio")


def _rows() -> Iterator[Any]:
    """Every cell; of each behaviour on each binding a quarter is tried first, the rest later."""
    for number, row in enumerate(BEHAVIOURS.values()):
        for era, binding, backend in product(row.eras, BINDINGS.values(), BACKENDS):
            cell = row.eras.index(era) + len(row.eras) * BACKENDS.index(backend)
            chosen = cell == number % (len(row.eras) * len(BACKENDS))
            again = [pytest.mark.long, *([] if chosen else [pytest.mark.repeats])]
            marks = [] if chosen and not row.long else again
            if reason := row.reason_to_skip(binding, era):
                marks.append(pytest.mark.skip(reason=reason))
            name = f"{row.name}-{binding.name}-{era}-{backend}"
            yield pytest.param(row, binding.name, era, backend, id=name, marks=marks)


def _ways() -> Iterator[Any]:
    """The same over HTTP in all ways in which it can be served, where a server of ours is in it;
    where that is on uvloop, so is the client."""
    http = BINDINGS["http"]
    rows = [row for row in BEHAVIOURS.values() if row.run.__module__ not in _WITHOUT]
    for row, (way, served) in product(rows, HTTP_WAYS.items()):
        absent = WITHOUT_UVLOOP if served.uvloop else ""
        reason = absent or served.skips.get(row.name)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        options = options_of("uvloop") if served.uvloop and not absent else {}
        for era, backend in product(row.eras, served.backends):
            if row.reason_to_skip(http, era) is None:
                name = f"{row.name}-{way}-{era}-{backend}"
                yield pytest.param(row, way, era, (backend, options), id=name, marks=marks)


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.anyio
@pytest.mark.parametrize(("row", "way", "era", "anyio_backend"), list(_ways()))
async def test_behaviour_however_http_is_served(
    row: Behaviour,
    way: str,
    era: str,
    anyio_backend_name: str,
    houses: dict[str, House],
) -> None:
    bench = Bench(houses[anyio_backend_name], BINDINGS["http"], era, way)
    with anyio.fail_after(3 * PATIENCE):
        await row.run(bench)


@pytest.mark.share(3)
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


def test_http_is_tried_on_every_driver_parser_and_loop() -> None:
    ways = HTTP_WAYS.values()
    pairs = set(product(("anyio", "asyncio"), ("h11", "httptools")))
    assert {(way.driver, way.parser) for way in ways if way.parsed} == pairs
    assert {way.parser for way in ways if not way.parsed} >= {"h11", "httptools"}
    assert {way.uvloop for way in ways} == {False, True}
    assert not WITHOUT_UVLOOP or sys.platform == "win32", "what develops this has the extra speed"


def test_there_are_enough_of_them() -> None:
    assert len(BEHAVIOURS) >= 120


def test_every_gap_has_its_reason() -> None:
    for row in BEHAVIOURS.values():
        assert all(len(reason) > 20 for reason in row.skips.values()), row.name
