"""Every kind of call that a client makes, one of each; every answer is compared.

Each works in both eras on any binding against :func:`tests.soak.tools.make_server`, and leaves
nothing behind: so a client can make them again and again (:mod:`tests.soak.residents`).
"""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from mcpcore.errors import RequestTimeout
from mcpcore.spec.errors import McpError
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from tests.bindings.workbench import COUNTER, SUM
from tests.soak.tools import COUNTED

Kind = Callable[[Client], Coroutine[Any, Any, None]]
WAITED = 0.02
"""Seconds after which a call is given up."""


def answering() -> Callbacks:
    """A client that answers all that a server can ask."""
    return Callbacks(
        elicitation=lambda form: {"x": 1, "y": 2},
        sampling=lambda params: {
            "role": "assistant",
            "content": {"type": "text", "text": "sampled"},
            "model": "none",
        },
        roots=["file:///here"],
        log=lambda params: None,
    )


def said(result: Any) -> str:
    """The text of a result that is no error."""
    assert not result.is_error, result
    text = result.content[0].text
    assert isinstance(text, str)
    return text


async def _plain(client: Client) -> None:
    assert said(await client.call_tool("echo", {"text": "hello"})) == "hello"
    assert said(await client.call_tool("echo_later", {"text": "later"})) == "later"


async def _structured(client: Client) -> None:
    result = await client.call_tool("point", {"x": 1, "y": 2})
    assert result.structured_content == {"x": 1, "y": 2}


async def _refused(client: Client) -> None:
    assert (await client.call_tool("fail", {"message": "no"})).is_error


async def _unknown(client: Client) -> None:
    try:
        await client.read_resource("text://nowhere")
    except McpError:
        return
    raise AssertionError("what is not there was read")


async def _listing(client: Client) -> None:
    assert len((await client.list_prompts()).prompts) == 20
    assert len((await client.list_tools()).tools) == 20
    assert (await client.list_resources()).resources
    assert (await client.list_resource_templates()).resource_templates


async def _reading(client: Client) -> None:
    assert (await client.read_resource("text://plain")).contents[0].text == "plain text"
    [message] = (await client.get_prompt("greet", {"name": "Ada"})).messages
    assert message.content == TextContent(text="Hello, Ada!")
    found = await client.complete(PromptReference(name="greet"), "name", "A")
    assert found.completion.values == ["Ada", "Alan"]


async def _ping(client: Client) -> None:
    await client.ping()


async def _extension(client: Client) -> None:
    assert (await client.request(SUM, {"values": [1, 2]}, dict[str, Any]))["sum"] == 3


async def _cancelled(client: Client) -> None:
    with anyio.CancelScope() as scope:
        await client.call_tool("stay", {"case": "x"}, progress=lambda *_: scope.cancel())
    assert scope.cancelled_caught


async def _too_late(client: Client) -> None:
    try:
        await client.call_tool("stay", {"case": "x"}, timeout=WAITED)
    except RequestTimeout:
        return
    raise AssertionError("what stays has answered")


async def _progress(client: Client) -> None:
    heard: list[float] = []
    await client.call_tool("steps", {"count": 3}, progress=lambda value, *_: heard.append(value))
    assert heard[-1] == 3


async def _logging(client: Client) -> None:
    assert said(await client.call_tool("say", {"levels": ["error", "debug"]})).isdigit()


async def _question(client: Client) -> None:
    assert said(await client.call_tool("ask_user")) == "accept Point(x=1, y=2)"


async def _questions(client: Client) -> None:
    assert said(await client.call_tool("ask_all")) == "Point(x=1, y=2) sampled file:///here"


async def _note(client: Client) -> None:
    assert client.notify(COUNTED, {"case": "x"})


KINDS: tuple[Kind, ...] = (
    *(_plain, _structured, _refused, _unknown, _listing, _reading, _ping, _extension),
    *(_cancelled, _too_late, _progress, _logging, _question, _questions, _note),
)
"""What can be done at the same time by one client."""


async def subscription(client: Client) -> None:
    """Hear of a change; of the same resource only one does so at a time."""
    async with client.listen(tools=True, uris=[f"{COUNTER}x"]) as changes:
        await client.call_tool("count", {"name": "x"})
        async for change in changes:
            if change.kind == "resource":
                return
