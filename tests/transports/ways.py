"""The ways in which HTTP can be served: driver, parser and event loop.

Behaviour is the same on all of them, so that a module of tests that serves HTTP runs on all::

    from tests.transports.ways import anyio_backend as anyio_backend
"""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct, structs

from mcpcore_transports.http1.settings import DriverName, HttpServerSettings, ParserName
from tests.clock import new_uvloop


class Way(Struct, frozen=True):
    """One of them."""

    backend: str
    driver: DriverName
    parser: ParserName
    uvloop: bool = False
    parsed: bool = False
    """The parser reads usual heads, too."""


WAYS = {
    "trio": Way("trio", "anyio", "h11"),
    "protocol": Way("asyncio", "asyncio", "h11"),
    "speed": Way("asyncio", "asyncio", "httptools", uvloop=True),
}
"""What serves on trio, and on asyncio without and with the extra ``speed``."""
MORE = {
    "asyncio": Way("asyncio", "anyio", "h11", parsed=True),
    "asyncio-httptools": Way("asyncio", "anyio", "httptools"),
    "trio-httptools": Way("trio", "anyio", "httptools", parsed=True),
    "protocol-httptools": Way("asyncio", "asyncio", "httptools", parsed=True),
    "uvloop-h11": Way("asyncio", "asyncio", "h11", uvloop=True, parsed=True),
    "uvloop-anyio": Way("asyncio", "anyio", "h11", uvloop=True),
}
"""The other combinations, for the long run."""

_now: list[Way] = []


def on_this_way(settings: HttpServerSettings | None) -> HttpServerSettings:
    """The settings of a test, with the driver and the parser that it is about, if any."""
    settings = settings or HttpServerSettings()
    if not _now or settings.driver != "auto" or settings.parser != "auto":
        return settings
    way = _now[-1]
    return structs.replace(
        settings,
        driver=way.driver,
        parser=way.parser,
        usual_heads="parsed" if way.parsed else "plainly",
    )


def backend_options(way: Way) -> dict[str, Any]:
    """What anyio is told of the event loop."""
    if not way.uvloop:
        return {}
    return {"loop_factory": new_uvloop}


@pytest.fixture(
    params=[
        *WAYS,
        *(pytest.param(name, marks=[pytest.mark.long, pytest.mark.repeats]) for name in MORE),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run each test marked ``anyio`` on each way."""
    way = (WAYS | MORE)[request.param]
    options = backend_options(way)
    _now.append(way)
    try:
        yield way.backend, options
    finally:
        _now.pop()
