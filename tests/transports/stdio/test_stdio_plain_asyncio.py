"""On event loops that asyncio has started, where anyio knows of none in callbacks of the loop."""

import asyncio
import sys

import pytest

from mcpcore import Callbacks, connect
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.client_features import ElicitParams
from mcpcore.spec.types.content import TextContent

SIZE = 1_000_000
PROGRAM = """
import asyncio
from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from mcpcore_transports.serve.serve import serve

server = Server("plain", version="1")

@server.tool
def twice(text: str) -> str:
    return text + text

@server.tool
async def ask(context: Context) -> str:
    await asyncio.sleep(0)
    answer = await context.elicit("How many?", {"type": "object", "properties": {}})
    return answer.action

asyncio.run(serve(server, stdio=True))
"""


async def _elicited(form: ElicitParams) -> dict[str, str | int | float | bool | list[str]]:
    await asyncio.sleep(0)
    return {}


async def _call(revision: str) -> tuple[int, str]:
    callbacks = Callbacks(elicitation=_elicited)
    program = [sys.executable, "-c", PROGRAM]
    async with connect(program, revision=revision, callbacks=callbacks) as client:
        (long,) = (await client.call_tool("twice", {"text": "x" * SIZE})).content
        (action,) = (await client.call_tool("ask")).content
    assert isinstance(long, TextContent)
    assert isinstance(action, TextContent)
    return len(long.text), action.text


@pytest.mark.parametrize("revision", [LATEST_LEGACY.name, LATEST.name])
def test_more_than_a_pipe_holds_goes_through_it_and_both_sides_ask(revision: str) -> None:
    said = asyncio.run(asyncio.wait_for(_call(revision), 40))
    assert said == (2 * SIZE, "accept")
