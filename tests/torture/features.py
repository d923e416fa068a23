"""An act with everything that a client can do, and that it can be asked to do."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.prompts import PromptReference, ResourceTemplateReference
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import Client
from tests.torture.acts import Act, said
from tests.torture.features_server import NOTE, SIGN_IN, SUM
from tests.torture.functions import fallible
from tests.torture.story import Story, connected
from tests.torture.users import fallible_settings

ROOT = "file:///home"


class _User:
    """Who answers, as one does who has to think about it."""

    def __init__(self) -> None:
        self.visiting = anyio.Event()
        """The page for signing in is being visited."""

    async def fill_in(self, form: ElicitParams, context: CallbackContext) -> Any:
        await anyio.lowlevel.checkpoint()
        context.progress(1)
        return {"x": 1}

    async def visit(self, params: ElicitParams) -> ElicitResult:
        await anyio.lowlevel.checkpoint()
        if params.elicitation_id == SIGN_IN:
            self.visiting.set()
        return ElicitResult(action="accept")

    async def answer_as_a_model(
        self, params: CreateMessageParams, context: CallbackContext
    ) -> CreateMessageResult:
        await anyio.lowlevel.checkpoint()
        return CreateMessageResult(
            role="assistant", content=TextContent(text="Hello"), model="a model"
        )

    async def have_roots(self) -> list[str]:
        await anyio.lowlevel.checkpoint()
        return [ROOT]

    async def hear(self, *anything: object) -> None:
        await anyio.lowlevel.checkpoint()

    def note(self, *anything: object) -> None:
        logging.getLogger("tests").debug("heard")


_USERS: WeakKeyDictionary[Client, _User] = WeakKeyDictionary()


@asynccontextmanager
async def _with_a_user(story: Story, target: Any, era: str) -> AsyncIterator[Client]:
    user = _User()
    callbacks = Callbacks(
        elicitation=user.fill_in,
        elicitation_url=user.visit,
        sampling=user.answer_as_a_model,
        roots=user.have_roots,
        log=user.note,
        tools_changed=user.hear,
        prompts_changed=user.hear,
        resources_changed=user.hear,
        resource_updated=user.hear,
        elicitation_complete=user.note,
        notification=user.note,
        stream_interrupted=user.note,
        connection=user.note,
        violation=user.note,
    )
    callbacks = fallible_settings(callbacks, "callbacks.")
    async with connected(story, target, era, callbacks) as client:
        _USERS[client] = user
        await client.set_log_level("debug")
        yield client


async def _lists(client: Client) -> str:
    resources = [each.uri for each in await client.resources()]
    templates = [each.uri_template for each in await client.resource_templates()]
    prompts = [each.name for each in await client.prompts() if each.name == "greet"]
    return f"{resources[0]} {templates[0]} {prompts[0]}"


async def _total(client: Client) -> str:
    """Call a tool that was never listed, whose structured result is checked."""
    result = await client.call_tool("total", {"values": [1, 2]})
    said(result)
    return str(result.structured_content)


async def _reads(client: Client) -> str:
    found = []
    for uri in ("text://plain", "items://one"):
        result = await client.read_resource(uri, progress=_progressed)
        found.append(str(result.contents[0].text))
    return " ".join(found)


async def _gets_a_prompt(client: Client) -> str:
    result = await client.get_prompt("greet", {"name": "Ada"})
    return str(result.messages[0].content.text)  # type: ignore[union-attr]


async def _threaded(client: Client) -> str:
    return said(await client.call_tool("threaded", progress=_progressed))


async def _shown(client: Client) -> str:
    return said(await client.call_tool("shown"))


async def _asks(client: Client) -> str:
    return said(await client.call_tool("asks"))


async def _asks_singly(client: Client) -> str:
    return said(await client.call_tool("asks_singly"))


async def _signs_in(client: Client) -> str:
    failure: Exception | None = None
    found = ""
    async with anyio.create_task_group() as group:
        group.start_soon(_visit, client)
        try:
            found = said(await client.call_tool("sign_in"))
        except Exception as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return found


async def _visit(client: Client) -> None:
    """Tell the server that the visit is over, as the page that is visited would."""
    await _USERS[client].visiting.wait()
    with suppress(McpError, LocalError, RuntimeError):  # which is what functions of users raise
        await client.call_tool("visited")


async def _much(client: Client) -> str:
    return said(await client.call_tool("much", progress=_progressed))


async def _pings(client: Client) -> str:
    await client.ping()
    if not client.revision.server_requests:
        await client.discover()
    return said(await client.call_tool("pings"))


async def _completes(client: Client) -> str:
    names = await client.complete(PromptReference(name="greet"), "name", "A")
    template = ResourceTemplateReference(uri="items://{name}")
    items = await client.complete(template, "name", "o")
    return " ".join([*names.completion.values, *items.completion.values])


async def _extends(client: Client) -> str:
    return bytes(await client.request(SUM, {"values": [1, 2]})).decode().partition('"sum":')[2][:1]


async def _notes(client: Client) -> str:
    client.notify(NOTE, {"value": 1})
    client.notify("notifications/roots/list_changed")
    return "noted"


async def _composes(client: Client) -> str:
    return said(await client.call_tool("composed", {"value": 3}))


async def _learns(client: Client) -> str:
    """Load a skill, where there are any (in the modern era), and the document of an app."""
    await client.read_resource("ui://page")
    if client.revision.server_requests:
        return "Kindly."
    [skill] = await client.skills()
    loaded = await client.load_skill(skill.uri)
    await client.read_directory("skill://refunds")
    return (await loaded.read("note.md")).decode()


async def _watches(client: Client) -> str:
    async with client.listen(tools=True, prompts=True, uris=["text://plain"]) as changes:
        said(await client.call_tool("touch"))
        said(await client.call_tool("move"))
        async for change in changes:
            if change.kind == "resource":
                return str(change.uri)
    return "ended"


async def _subscribes(client: Client) -> str:
    if client.revision.server_requests:
        await client.subscribe("items://one")
        await client.unsubscribe("items://one")
    return "subscribed"


async def _echo_once_more(client: Client) -> str:
    return said(await client.call_tool("echo", {"text": "again"}))


@fallible
def _progressed(*values: object) -> None:
    pass


FEATURES = Act(
    meet=_with_a_user,
    calls={
        _lists: "text://plain items://{name} greet",
        _total: "{'sum': 3}",
        _reads: "plain text item one",
        _threaded: "threaded",
        _shown: "shown",
        _asks: f"1 1 Hello {ROOT}",
        _asks_singly: f"accept Hello {ROOT}",
        _signs_in: "signed in",
        _much: "sent",
        _gets_a_prompt: "Hello, Ada!",
        _pings: "pinged",
        _completes: "Ada Alan one",
        _extends: "3",
        _notes: "noted",
        _composes: "squared",
        _learns: "Kindly.",
        _watches: "text://plain",
        _subscribes: "subscribed",
    },
    last=(_echo_once_more, "again"),
    hears=frozenset({"_watches", "_signs_in"}),
)
"""One of everything."""
