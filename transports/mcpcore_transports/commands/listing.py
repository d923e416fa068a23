"""`mcpcore list`: the tools, resources, resource templates and prompts of a server."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from mcpcore.spec.types.prompts import Prompt
from mcpcore.spec.types.resources import Resource, ResourceTemplate
from mcpcore.spec.types.tools import Tool
from mcpcore_transports.client.client import Client
from mcpcore_transports.commands.common import Options
from mcpcore_transports.commands.output import Exit, Failure, first_line, print_json, print_table
from mcpcore_transports.commands.target import converse, split_target


class Listing(Struct, frozen=True):
    """Kind of object that can be listed."""

    member: str
    """Member of the JSON output with the objects."""
    capability: str
    fetch: Callable[[Client], Awaitable[list[Any]]]
    columns: tuple[str, ...]
    row: Callable[[Any], tuple[str, ...]]


def _tool_row(tool: Tool) -> tuple[str, ...]:
    required = tool.input_schema.get("required", [])
    names = [
        name if name in required else f"[{name}]"
        for name in tool.input_schema.get("properties", {})
    ]
    return tool.name, " ".join(names), first_line(tool.description)


def _resource_row(resource: Resource) -> tuple[str, ...]:
    mime_type = resource.mime_type or ""
    return resource.uri, resource.name, mime_type, first_line(resource.description)


def _template_row(template: ResourceTemplate) -> tuple[str, ...]:
    mime_type = template.mime_type or ""
    return template.uri_template, template.name, mime_type, first_line(template.description)


def _prompt_row(prompt: Prompt) -> tuple[str, ...]:
    names = [each.name if each.required else f"[{each.name}]" for each in prompt.arguments]
    return prompt.name, " ".join(names), first_line(prompt.description)


KINDS: dict[str, Listing] = {
    "tools": Listing(
        "tools", "tools", Client.tools, ("name", "arguments", "description"), _tool_row
    ),
    "resources": Listing(
        "resources",
        "resources",
        Client.resources,
        ("uri", "name", "type", "description"),
        _resource_row,
    ),
    "templates": Listing(
        "resourceTemplates",
        "resources",
        Client.resource_templates,
        ("template", "name", "type", "description"),
        _template_row,
    ),
    "prompts": Listing(
        "prompts", "prompts", Client.prompts, ("name", "arguments", "description"), _prompt_row
    ),
}


def list_offers(words: Sequence[str], options: Options, *, as_json: bool) -> int:
    """List the kinds that ``words`` name, all by default; return the exit status."""
    rest, target = split_target(words, options)
    unknown = [word for word in rest if word not in KINDS]
    if unknown:
        raise Failure(
            f"{unknown[0]!r} cannot be listed; expected {', '.join(KINDS)}, and the server last",
            Exit.USAGE,
        )

    async def talk(client: Client) -> dict[str, list[Any]]:
        found = {}
        for kind in rest or KINDS:
            listing = KINDS[kind]
            if rest or getattr(client.capabilities, listing.capability) is not None:
                found[kind] = await listing.fetch(client)
        return found

    found = converse(target, options, talk)
    if as_json:
        print_json({KINDS[kind].member: items for kind, items in found.items()})
        return Exit.OK
    for kind, items in found.items():
        listing = KINDS[kind]
        print_table(f"{kind} ({len(items)})", listing.columns, map(listing.row, items))
    return Exit.OK
