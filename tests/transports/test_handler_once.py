"""A handler that asks the client is written once: it comes out alike in every revision, anywhere.

The handlers are those of :func:`tests.transports.offers.questions`.
"""

from collections import Counter
from typing import Any

import anyio
import pytest

from mcpcore.errors import PeerError
from mcpcore.spec.revisions import REVISIONS
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
)
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from tests.transports.offers import EVERY_TRANSPORT, offered

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

NAMES = [row.name for row in REVISIONS]
WITHOUT_ELICITATION = {"2024-11-05", "2025-03-26"}
ROOT = "file:///work"
MODEL = "said Hello!"
ADA = "Person(name='Ada', age=30)"
ANSWERS = {
    "elicit": f"accept {ADA}",
    "sample": MODEL,
    "roots": ROOT,
    "combined": f"said Summarize {ROOT}! accept Ada",
    "gathered": f"{MODEL} {ROOT} Ada",
    "in_tasks": f"{MODEL} {ROOT}",
}
SHORTER = {"combined": f"said Summarize {ROOT}!", "gathered": f"{MODEL} {ROOT}"}
"""What they say where there is no elicitation."""
QUESTIONS = {
    "elicit": {"elicitation": 1},
    "sample": {"sampling": 1},
    "roots": {"roots": 1},
    "combined": {"roots": 1, "sampling": 1, "elicitation": 1},
    "gathered": {"roots": 1, "sampling": 1, "elicitation": 1},
    "in_tasks": {"roots": 1, "sampling": 1},
    "remembered": {"roots": 1, "sampling": 1},
}
"""How often the user, the model and the files are asked for each."""


class User:
    """Answers, slowly or at once, and counts what was asked."""

    def __init__(self, *, slow: bool) -> None:
        self.asked: Counter[str] = Counter()
        self.slow = slow

    def callbacks(self) -> Callbacks:
        if not self.slow:
            return Callbacks(elicitation=self.fill_in, sampling=self.speak, roots=self.show)

        async def fill_in(params: ElicitParams) -> dict[str, Any]:
            await anyio.lowlevel.checkpoint()
            return self.fill_in(params)

        async def speak(params: CreateMessageParams) -> CreateMessageResult:
            await anyio.lowlevel.checkpoint()
            return self.speak(params)

        async def show() -> list[str]:
            await anyio.lowlevel.checkpoint()
            return self.show()

        return Callbacks(elicitation=fill_in, sampling=speak, roots=show)

    def fill_in(self, params: ElicitParams) -> dict[str, Any]:
        self.asked["elicitation"] += 1
        return {"name": "Ada"}

    def speak(self, params: CreateMessageParams) -> CreateMessageResult:
        self.asked["sampling"] += 1
        block = params.messages[0].content
        assert isinstance(block, TextContent)
        text = TextContent(text=f"said {block.text}!")
        return CreateMessageResult(role="assistant", content=text, model="m")

    def show(self) -> list[str]:
        self.asked["roots"] += 1
        return [ROOT]


async def call(client: Client, tool: str) -> str:
    result = await client.call_tool(tool)
    block = result.content[0]
    assert isinstance(block, TextContent)
    assert result.is_error is not True, block.text
    return block.text


@pytest.mark.parametrize(
    ("transport", "slow"),
    [*((each, False) for each in EVERY_TRANSPORT), ("memory", True), ("http", True)],
)
@pytest.mark.parametrize("revision", NAMES)
async def test_handlers_written_once(revision: str, transport: str, slow: bool) -> None:
    user = User(slow=slow)
    asks_users = revision not in WITHOUT_ELICITATION
    expected = ANSWERS if asks_users else {**ANSWERS, **SHORTER}
    async with (
        offered(transport, "questions") as target,
        connect(target, revision=revision, callbacks=user.callbacks()) as client,
    ):
        assert client.revision.name == revision
        for tool, questions in QUESTIONS.items():
            if tool == "elicit" and not asks_users:
                continue
            user.asked.clear()
            said = await call(client, tool)
            if tool == "remembered":
                first, second, again = said.split()
                assert (first, int(second)) == (again, int(first) + 1)
            else:
                assert said == expected[tool]
            if not asks_users:
                questions = {key: count for key, count in questions.items() if key != "elicitation"}
            assert user.asked == questions, tool


@pytest.mark.parametrize("transport", EVERY_TRANSPORT)
@pytest.mark.parametrize("revision", NAMES)
async def test_many_at_once(revision: str, transport: str) -> None:
    """Answers never go to another call, on one connection or on several."""
    user = User(slow=True)
    results: Counter[str] = Counter()
    async with (
        offered(transport, "questions") as target,
        connect(target, revision=revision, callbacks=user.callbacks()) as client,
    ):

        async def several(tool: str) -> None:
            for _ in range(3):
                results[await call(client, tool)] += 1

        async with anyio.create_task_group() as group:
            for tool in ("sample", "roots", "in_tasks", "combined"):
                group.start_soon(several, tool)
    combined = ANSWERS["combined"] if revision not in WITHOUT_ELICITATION else SHORTER["combined"]
    assert results == {MODEL: 3, ROOT: 3, f"{MODEL} {ROOT}": 3, combined: 3}


@pytest.mark.parametrize("transport", ["memory", "http"])
@pytest.mark.parametrize("revision", NAMES)
async def test_a_client_that_offers_nothing_is_not_asked(revision: str, transport: str) -> None:
    async with (
        offered(transport, "questions") as target,
        connect(target, revision=revision) as client,
    ):
        for tool in ("sample", "roots", "combined"):
            if client.revision.modern:
                with pytest.raises(PeerError, match="the client does not support"):
                    await client.call_tool(tool)
            else:
                assert (await client.call_tool(tool)).is_error is True
