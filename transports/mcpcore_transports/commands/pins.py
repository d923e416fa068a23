"""Commands `mcpcore pins list`, `diff` and `approve`."""

import shlex
from pathlib import Path

from mcpcore.errors import BadConfig
from mcpcore.policy.differences import Difference, ServerDescription, compare_servers
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.pins import read_description, read_pins, write_pins
from mcpcore_transports.commands import output
from mcpcore_transports.commands.options import (
    CallOptions,
    PinsListOptions,
    PinsOptions,
    QueryOptions,
)
from mcpcore_transports.commands.target import converse, pins_path, split_target


def list_pins(options: PinsListOptions) -> int:
    """List the servers of a pins file; return the exit status.  Raises Failure."""
    path = pins_path(options.config, options.pins)
    kinds = ("tools", "prompts", "resource_templates", "skills")
    rows = [
        (name, *(len(getattr(each, kind)) for kind in kinds)) for name, each in _known(path).items()
    ]
    columns = ("server", "tools", "prompts", "templates", "skills")
    if options.as_json:
        servers = [dict(zip(columns, row, strict=True)) for row in rows]
        output.print_json({"file": str(path), "servers": servers})
    else:
        shown = [tuple(map(str, row)) for row in rows]
        output.print_table(f"pins in {path} ({len(rows)})", columns, shown)
    return output.Exit.OK


def diff(options: PinsOptions) -> int:
    """Show how a server differs from its pins; return the exit status.  Raises Failure."""
    name, found = _described(options)
    pins = _known(pins_path(options.config, options.pins)).get(name)
    if pins is None:
        raise output.Failure(
            f"there are no pins of {name!r}; `mcpcore pins approve` makes them", output.Exit.REFUSED
        )
    differences = compare_servers(pins, found)
    _show(name, differences, options)
    return output.Exit.REFUSED if differences else output.Exit.OK


def approve(options: PinsOptions) -> int:
    """Pin what a server says now; return the exit status.  Raises Failure."""
    name, found = _described(options)
    path = pins_path(options.config, options.pins)
    before = _known(path).get(name, ServerDescription())
    try:
        write_pins(path, name, found)
    except BadConfig as error:
        raise output.wrong(str(error)) from error
    _show(name, compare_servers(before, found), options)
    return output.Exit.OK


async def warn_of_changes(client: Client, options: CallOptions | QueryOptions) -> None:
    """Print a warning if the server is not as approved.  Raises Failure."""
    name = _named(options)
    pins = _known(pins_path(options.config)).get(name)
    if pins is None:
        return
    found = compare_servers(pins, await read_description(client))
    if found:
        first = f"{found[0].kind.value} {found[0].place}: {found[0].text}"
        more = f"and {len(found) - 1} more: " if len(found) > 1 else ""
        told = f"{name} is not as approved: {first} ({more}mcpcore pins diff)"
        output.print_warning(output.escaped(told))


def _named(options: CallOptions | QueryOptions) -> str:
    """Return the name in a pins file of the server that the words mean."""
    if options.command is not None:
        return shlex.join(options.command)
    word = options.words[-1]
    return shown_url(word) if "://" in word else word


def _described(options: PinsOptions) -> tuple[str, ServerDescription]:
    """Return the name of the server that the words mean, and what it says about itself."""
    rest, target = split_target(options.words, options)
    if rest:
        raise output.wrong(f"{rest[0]!r} was not expected; give one server")
    return _named(options), converse(target, options, read_description)


def _show(name: str, differences: list[Difference], options: PinsOptions) -> None:
    if options.as_json:
        output.print_json({"server": name, "differences": differences})
        return
    rows = [(each.kind.value, ascii(each.place)[1:-1], each.text) for each in differences]
    output.print_table(f"{name} ({len(rows)})", ("kind", "place", "difference"), rows)


def _known(path: Path) -> dict[str, ServerDescription]:
    try:
        return read_pins(path)
    except BadConfig as error:
        raise output.wrong(str(error)) from error
