"""An address at which nobody can listen is told in the same words, whatever is to be served."""

from typing import Any

import pytest

from mcpcore.errors import LinkError
from mcpcore.service import Server
from mcpcore_transports.serve.serve import serve
from mcpcore_transports.serve.workers import reserved
from tests.clock import patience

pytestmark = pytest.mark.anyio
HOSTS = ["a..b", "nowhere.invalid", "x" * 70]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("binding", ["http", "ws", "tcp"])
async def test_a_host_that_is_none(host: str, binding: str) -> None:
    at: dict[str, Any] = {binding: f"{host}:8123"}
    with patience(), pytest.raises((OSError, LinkError)) as caught:
        await serve(Server("s"), **at)
    assert str(caught.value) == f"cannot listen on {host}:8123: unknown host"


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_none_for_workers(host: str) -> None:
    words = f"^cannot listen on {host}:8123: unknown host$"
    with pytest.raises(OSError, match=words), reserved(host, 8123):
        pass
