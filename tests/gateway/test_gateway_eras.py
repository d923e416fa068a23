"""Servers behind a gateway that come back in another era, over HTTP and as commands."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcpcore import Client, PeerError, connect
from mcpcore_transports.targets import StdioTarget, parse_target
from tests.clock import patience
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, LEGACY, MODERN, PROGRAM, ROOT, gateway, text
from tests.transports.served import ANY_PORT, served
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]
CHANGES = [(LEGACY, MODERN), (MODERN, LEGACY)]


async def echoed(client: Client) -> str:
    return text(await client.call_tool("echo", {"text": "hi"}))


@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_a_server_that_comes_back_at_its_url_in_another_era(
    client: str, before: str, after: str
) -> None:
    """Its refusal shows that it has not carried out the call, which is sent again."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(backend(), revisions=[before]))
        targets = {"only": parse_target(first.url)}
        front = await stack.enter_async_context(gateway(targets, http=ANY_PORT))
        one = await stack.enter_async_context(connect(front.url, revision=client))
        assert await echoed(one) == "backend: hi"
        first.stop.set()
        await first.ended.wait()
        address = first.url.removeprefix("http://").removesuffix("/mcp")
        await stack.enter_async_context(served(backend(), revisions=[after], http=address))
        assert await echoed(one) == "backend: hi"
        other = await stack.enter_async_context(connect(front.url, revision=client))
        assert await echoed(other) == "backend: hi"


@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_a_command_that_starts_again_in_another_era(
    tmp_path: Path, client: str, before: str, after: str
) -> None:
    era = tmp_path / "era"
    era.write_text(before)
    words = ["sh", "-c", 'exec "$@" $(cat "$0")', str(era), *PYTHON, PROGRAM, "backend"]
    target = StdioTarget(tuple(words), env={"PYTHONPATH": ROOT})
    async with (
        gateway({"only": target}, http=ANY_PORT) as front,
        connect(front.url, revision=client) as connected,
    ):
        assert await echoed(connected) == "backend: hi"
        era.write_text(after)
        with pytest.raises(PeerError, match="exited with code 3"):
            await connected.call_tool("crash")
        with patience():
            assert await echoed(connected) == "backend: hi"
