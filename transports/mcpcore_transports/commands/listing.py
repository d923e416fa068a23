"""`mcpcore list`, what a server offers, and `mcpcore servers`, those in a configuration file."""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from mcpcore.spec.types.prompts import Prompt
from mcpcore.spec.types.resources import Resource, ResourceTemplate
from mcpcore.spec.types.tools import Tool
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.config.file import ConfiguredServer, read_config
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import (
    Exit,
    Failure,
    first_line,
    print_json,
    print_table,
    print_warning,
)
from mcpcore_transports.commands.target import config_path, converse, split_target

_TYPES = {"https": "http", "wss": "ws", "sse+http": "sse", "sse+https": "sse"}
"""Types of servers in a configuration file by the scheme of their URL, where they differ."""


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


def list_offers(words: Sequence[str], options: ConnectOptions, *, as_json: bool) -> int:
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


def list_servers(config: str | None, *, as_json: bool) -> int:
    """List the servers of the file; return the exit status.  Raises BadConfig."""
    path = config_path(config)
    servers = read_config(path)
    if as_json:
        facts = [
            {
                "name": each.name,
                "type": _type(each),
                "target": _written(each),
                "disabled": each.disabled,
                "problem": each.problem,
            }
            for each in servers.values()
        ]
        print_json({"file": str(path), "servers": facts})
        return Exit.OK
    rows = [
        (each.name, _type(each), _written(each), each.problem or "") for each in servers.values()
    ]
    print_table(f"servers in {path} ({len(rows)})", ("name", "type", "target", "problem"), rows)
    for server in servers.values():
        for doubt in server.doubts:
            print_warning(f"{server}: {doubt}")
    return Exit.OK


def _type(server: ConfiguredServer) -> str:
    scheme = (server.url or "").partition(":")[0].lower()
    return server.type or _TYPES.get(scheme, scheme)


def _written(server: ConfiguredServer) -> str:
    # As it is written: variables are not replaced, as there may be secrets in them.
    url = server.url and shown_url(server.url)
    text = url or shlex.join([server.command or "", *server.args])
    # A terminal would obey some characters.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
