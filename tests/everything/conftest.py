"""The reference server on every transport."""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpcore_conformance.everything.server import server
from mcpcore_conformance.launch import serving
from tests.warm import PYTHON

COMMAND = (*PYTHON, "-m", "mcpcore_conformance.everything.server")


@pytest.fixture(scope="module")
def urls(warm_programs: None) -> Iterator[list[str]]:
    """A process that serves on HTTP and on WebSocket."""
    with serving((*COMMAND, "--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"), addresses=2) as found:
        yield found


@pytest.fixture(params=["memory", "stdio", "http", "ws"])
def target(request: pytest.FixtureRequest, urls: list[str]) -> Any:
    """What a client connects to, on each transport."""
    targets = {
        "memory": server,
        "stdio": [*COMMAND, "--stdio"],
        "http": urls[0],
        "ws": urls[1],
    }
    return targets[request.param]


@pytest.fixture(params=["2025-11-25", "2026-07-28"])
def revision(request: pytest.FixtureRequest) -> str:
    """The last of each era."""
    return str(request.param)
