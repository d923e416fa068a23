"""The processes that serve the workbench, shared by all behaviours."""

from collections.abc import Iterator

import pytest

from tests.bindings.places import House
from tests.bindings.stories import Ledger


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of faults, those on the second event loop are for the long run."""
    for item in items:
        if item.path.name == "test_faults.py" and "trio" in item.name:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.repeats)


@pytest.fixture(scope="session")
def houses() -> Iterator[dict[str, House]]:
    """One house for each event loop."""
    houses = {backend: House(backend) for backend in ("asyncio", "trio")}
    yield houses
    for house in houses.values():
        house.close()


@pytest.fixture
def house(houses: dict[str, House], anyio_backend_name: str) -> House:
    """The house of the event loop of the test."""
    return houses[anyio_backend_name]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Show that each request of each client in the test ends, and once."""
    ledger = Ledger(monkeypatch)
    yield ledger
    ledger.check()
