"""A plain URL leads our client to the HTTP+SSE of both lines of the official SDK, by itself."""

import pytest

from conformance.interop.matrix import LINES, Line
from conformance.interop.talk import SSE, offered
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.absent import absent

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
async def test_the_fallback(line: Line) -> None:
    if not line.installed:
        absent(f"the official SDK {line.version}", "sdk")
    with offered(line.program("server"), SSE) as target:
        assert isinstance(target, str)
        url = target.removeprefix("sse+")
        settings = ClientSettings(eras=EraCache())
        for _ in range(2):
            async with connect(url, settings=settings) as client:
                assert client.revision.name == "2025-11-25"
                block = (await client.call_tool("test_simple_text")).content[0]
                assert isinstance(block, TextContent)
                assert block.text
