"""The processes that serve the workbench, shared by all behaviours."""

from collections.abc import Iterator

import pytest

from tests.bindings.places import House


@pytest.fixture(scope="session")
def houses() -> Iterator[dict[str, House]]:
    """One house for each event loop."""
    houses = {backend: House(backend) for backend in ("asyncio", "trio")}
    yield houses
    for house in houses.values():
        house.close()
