"""Clients report progress of what they are asked, and learn why it is taken back; both eras."""

import json
from typing import Any

import anyio
import pytest
from msgspec import Raw

from mcpcore import CallbackContext, Callbacks, McpError, RequestTimeout, connect
from mcpcore.spec.revisions import REVISIONS
from mcpcore.spec.types.base import RequestMeta
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
)
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from tests.clock import PATIENCE, patience
from tests.more_time import with_more_time
from tests.transports.offers import TRANSPORTS, offered

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

LEGACY = [row.name for row in REVISIONS if row.handshake]
NAMES = [row.name for row in REVISIONS]

over_all = pytest.mark.parametrize("transport", TRANSPORTS)
in_all = pytest.mark.parametrize("name", NAMES)


def found(result: CallToolResult) -> Any:
    """What a tool returned, which is JSON."""
    return json.loads(result.text)


def said(text: str) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text=text), model="m")


class Answering:
    """Callbacks that report progress, and keep what they know of the request.

    With ``wait`` until the server says that a coroutine function of its has heard.
    """

    def __init__(self) -> None:
        self.seen: dict[str, CallbackContext] = {}
        self.told: list[bool] = []
        self._heard = anyio.Event()

    async def _tell(self, context: CallbackContext, *report: Any, wait: bool = False) -> None:
        self.seen[context.method] = context
        self._heard = heard = anyio.Event()
        self.told.append(context.progress(*report))
        if wait and self.told[-1]:
            await heard.wait()

    def _hear(self, method: str, params: Raw) -> None:
        if method == "notifications/acme/heard":
            self._heard.set()

    async def sample(
        self, params: CreateMessageParams, context: CallbackContext
    ) -> CreateMessageResult:
        for value in (1, 1, 0.5, 2):
            await self._tell(context, value, 2, "model")
        return said("Hi")

    async def elicit(self, params: ElicitParams, context: CallbackContext) -> dict[str, Any]:
        await self._tell(context, 1, None, "form")
        return {"name": "Ada"}

    async def roots(self, context: CallbackContext) -> list[str]:
        await self._tell(context, 1, wait=True)
        await self._tell(context, 3, None, "last", wait=True)
        return ["file:///r"]

    @property
    def callbacks(self) -> Callbacks:
        return Callbacks(
            elicitation=self.elicit,
            sampling=self.sample,
            roots=self.roots,
            notification=self._hear,
        )


@pytest.mark.turns("name")
@over_all
@in_all
async def test_the_progress_of_questions(transport: str, name: str) -> None:
    answering = Answering()
    async with (
        offered(transport, "questions") as target,
        connect(target, revision=name, callbacks=answering.callbacks) as client,
    ):
        legacy = not client.revision.modern
        heard = found(await client.call_tool("reported", timeout=PATIENCE))
    model = [[1, 2, "model"], [2, 2, "model"]]
    form = [[1, None, "form"]] if "elicitation/create" in answering.seen else []
    roots = [[1, None, None], [3, None, "last"]]
    assert heard == ([*model, *form, *roots] if legacy else [])
    assert len(answering.seen) == (3 if form or not legacy else 2)
    assert answering.told[:4] == ([True, False, False, True] if legacy else [False] * 4)
    for context in answering.seen.values():
        assert context.revision is client.revision
        assert (context.request_id is not None) is legacy
        assert (context.meta != RequestMeta()) is legacy  # the progress token
        assert not context.cancelled


@pytest.mark.turns("name")
@over_all
@pytest.mark.parametrize("name", LEGACY)
async def test_the_progress_of_what_a_notification_makes_the_server_ask(
    transport: str, name: str
) -> None:
    answering = Answering()
    async with (
        offered(transport, "listening") as target,
        connect(target, revision=name, callbacks=answering.callbacks) as client,
    ):
        client.notify("notifications/acme/look")
        heard = found(await client.call_tool("heard", {"count": 1}, timeout=PATIENCE))
    assert heard == [["progress", 1, 3]]


@pytest.mark.turns("name")
@over_all
@in_all
async def test_handlers_learn_why_their_request_was_cancelled(transport: str, name: str) -> None:
    async def attempt(seconds: float) -> None:
        async with (
            offered(transport, "listening") as target,
            connect(target, revision=name) as client,
        ):
            with anyio.CancelScope() as scope:
                await client.call_tool("stuck", progress=lambda *_: scope.cancel())
            await client.call_tool("heard", {"count": 1})
            with pytest.raises(RequestTimeout, match=rf"no answer within {seconds:g} seconds$"):
                await client.call_tool("stuck", timeout=seconds)
            endings = found(await client.call_tool("endings", {"count": 2}, timeout=PATIENCE))
            by_stream = client.revision.modern and transport == "http"
        told = ["cancelled by the caller", "timed out"]
        reasons = ["the client disconnected"] * 2 if by_stream else told
        assert endings == [[True, reason] for reason in reasons]

    await with_more_time(attempt, 0.05, 8.0)  # the handler has to begin in it


@pytest.mark.turns("name")
@over_all
@pytest.mark.parametrize("name", LEGACY)
async def test_callbacks_learn_why_the_server_takes_its_request_back(
    transport: str, name: str
) -> None:
    contexts: list[CallbackContext] = []
    begun, over = anyio.Event(), anyio.Event()

    async def sample(params: CreateMessageParams) -> CreateMessageResult:
        await begun.wait()
        raise McpError(1, "not now")

    async def roots(context: CallbackContext) -> list[str]:
        contexts.append(context)
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            over.set()
        return []

    callbacks = Callbacks(sampling=sample, roots=roots)
    async with (
        offered(transport, "listening") as target,
        connect(target, revision=name, callbacks=callbacks) as client,
    ):
        result = await client.call_tool("impatient", timeout=PATIENCE)
        with patience():
            await over.wait()
    assert "not now" in str(result.content)
    [context] = contexts
    assert context.cancelled
    assert context.cancel_reason == "another question of the same request failed"
    assert context.progress(1) is False
