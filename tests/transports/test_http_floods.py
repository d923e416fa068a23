"""Floods over real sockets: bounded, survived, and over when they are over; nobody else notices.

How fast an honest client is beside each of them, ``python -m benchmarks floods`` tells.
"""

import sys
from collections.abc import Iterator

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

if not sys.platform.startswith("linux"):
    pytest.skip("memory is read from /proc", allow_module_level=True)
pytest.importorskip("rich")

from benchmarks import floods  # noqa: E402 - needs rich

COUNTS = {
    "idle connections": 2_000,
    "event streams": 1_000,
    "unread streams": 100,
    "sessions": 20_000,
    "calls": 1_000,
}
MOST = {
    # A few times the target, as small floods weigh more each.
    "idle connections": 24.0,
    "event streams": 30.0,
    "unread streams": 600.0,
    "sessions": 6.0,
    "calls": 24.0,
}
AFTER = 60_000.0
"""Kilobytes that may stay."""


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Skip where there are too few; put the limit back that the floods raise."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < max(COUNTS.values()) // 10 + floods.SPARE:
        pytest.skip("too few descriptors")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_every_flood_is_tried() -> None:
    assert set(COUNTS) == set(MOST) == set(floods.FLOODS)


@pytest.mark.parametrize("over", [False, True], ids=["short", "over"])
@pytest.mark.parametrize("name", floods.FLOODS)
def test_flood(name: str, over: bool) -> None:
    figures = floods.run(name, COUNTS[name], over=over)
    assert figures.healthy_failures == 0
    if over:
        assert figures.refused > 0 or name == "sessions"
        assert figures.held < figures.count
    else:
        assert figures.refused == 0
        assert figures.held == figures.count
    if figures.held:
        assert figures.each < MOST[name]
    assert figures.memory_after < figures.memory_before + AFTER
    assert figures.blocks < 1.1
