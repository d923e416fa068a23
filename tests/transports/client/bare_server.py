"""A server that says as little as the protocol allows: ``bare_server.py``, or :data:`server`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from msgspec import UNSET, Struct

from mcpcore.errors import ToolError
from mcpcore.service import Server
from mcpcore.spec.errors import McpError
from mcpcore_transports.serve.serve import run
from mcpcore_transports.server.context import Context

server = Server("bare", version="1")


def unset_in(value: Any, where: str = "") -> Iterator[str]:
    """Where a program that reads all members of a value meets UNSET."""
    if value is UNSET:
        yield where
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from unset_in(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from unset_in(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from unset_in(inner, f"{where}[{index}]")


@server.tool
def greet() -> str:
    return "hello"


@server.tool
def fail() -> str:
    raise ToolError("no")


@server.tool
def refuse() -> str:
    raise McpError(-1, "never")


@server.tool
async def ask(context: Context) -> list[str]:
    form = {"type": "object", "properties": {}}
    said = await context.sample("?", 1)
    found = {
        "capabilities": context.client_capabilities,
        "info": context.client_info,
        "meta": context.meta,
        "elicited": await context.elicit("?", form),
        "sampled": said,
        "roots": list(await context.list_roots()),
    }
    return list(unset_in(found))


@server.prompt
def prompt(word: str) -> str:
    return word


@server.resource("bare://one")
def one() -> str:
    return "1"


@server.resource("bare://{word}/of")
def of(word: str) -> str:
    return word


@server.completion(prompt="prompt", argument="word")
def words(value: str) -> list[str]:
    return ["a"]


if __name__ == "__main__":
    run(server)
