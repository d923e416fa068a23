"""Commands `mcpcore registry search`, `show`, `vet` and `add`."""

import json
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from mcpcore.errors import BadConfig, RegistryError, UrlRefused
from mcpcore.policy.screening import screen_value
from mcpcore_transports.client.config import PLACES, add_server, find_config, find_server
from mcpcore_transports.client.pins import read_description
from mcpcore_transports.client.registry import (
    OFFICIAL,
    Registry,
    RegistryEntry,
    RegistryRecord,
    doubts,
    make_entry,
)
from mcpcore_transports.commands.options import (
    ConnectOptions,
    RegistryAddOptions,
    RegistryOptions,
    RegistrySearchOptions,
    RegistryServerOptions,
    RegistryVetOptions,
)
from mcpcore_transports.commands.output import (
    Exit,
    Failure,
    escaped,
    first_line,
    print_facts,
    print_json,
    print_table,
    print_warning,
    say,
    wrong,
)
from mcpcore_transports.commands.target import converse, fitted, interruptible

T = TypeVar("T")


def search(text: str, options: RegistrySearchOptions) -> int:
    """List the servers whose name contains a text; return the exit status.  Raises Failure."""
    found, unreadable = _ask(options, lambda registry: registry.search(text, most=options.limit))
    if unreadable:
        print_warning(f"{unreadable} records of the registry cannot be read")
    if options.as_json:
        print_json([each.server for each in found])
        return Exit.OK
    rows = [(each.server.name, each.server.version, each.server.description) for each in found]
    shown = [tuple(escaped(first_line(word)) for word in row) for row in rows]
    print_table(f"servers with {text!r} ({len(rows)})", ("name", "version", "description"), shown)
    return Exit.OK


def show(name: str, options: RegistryServerOptions) -> int:
    """Show one version of a server; return the exit status.  Raises Failure."""
    record = _record(name, options)
    server = record.server
    if options.as_json:
        print_json(record)
        return Exit.OK
    facts = {
        "name": server.name,
        "version": server.version,
        "status": record.status,
        "title": server.title,
        "description": server.description,
        "source": str(server.repository.get("url", "")),
        "website": server.website_url,
        "remotes": ", ".join(f"{each.url} ({each.type})" for each in server.remotes),
        "packages": ", ".join(
            f"{each.registry_type} {each.identifier} {each.version}" for each in server.packages
        ),
    }
    print_facts((name, escaped(text)) for name, text in facts.items() if text)
    return Exit.OK


def vet(name: str, options: RegistryVetOptions) -> int:
    """Print the doubts about a server; return the exit status, 1 with doubts.  Raises Failure."""
    record = _record(name, options)
    found = doubts(record, options.package)
    if options.connect:
        found += _said_by(record, options)
    if options.as_json:
        print_json({"name": name, "version": record.server.version, "doubts": found})
    else:
        title = f"doubts about {name} {record.server.version} ({len(found)})"
        print_table(escaped(title), ("doubt",), [(escaped(each),) for each in found])
        if not options.connect:
            say("not looked at: what the server says about itself; --connect does (and runs it)")
    return Exit.REFUSED if found else Exit.OK


def add(name: str, options: RegistryAddOptions) -> int:
    """Write the entry of a server into a configuration file; return the exit status.

    Raises Failure.
    """
    record = _record(name, options)
    made = _made(record, options)
    path = Path(options.config) if options.config is not None else find_config() or Path(PLACES[0])
    key = options.known_as or name.rpartition("/")[2]
    table = "servers" if path.parent.name == ".vscode" else "mcpServers"
    try:
        changed = add_server(path, table, key, made.members, replace=options.force)
    except BadConfig as error:
        raise wrong(f"{error}; nothing is changed: --force replaces a server") from error
    for each in doubts(record, options.package):
        print_warning(escaped(each))
    if options.as_json:
        print_json({"file": str(path), "name": key, "entry": made.members, "needs": made.needs})
        return Exit.OK
    done = f"{changed} in {path}" if changed else f"in {path} already"
    say(escaped(f"{key} ({name} {record.server.version}) is {done}"))
    for variable, meaning in made.needs.items():
        say(escaped(f"  set {variable}{f': {meaning}' if meaning else ''}"))
    if made.needs:
        say("  a secret can be in the keyring: ${keyring:SERVICE/NAME} in the file reads it")
    say(f"`mcpcore pins approve {key}` keeps what it says about itself")
    return Exit.OK


def _said_by(record: RegistryRecord, options: RegistryVetOptions) -> list[str]:
    """Connect to a server, or start it, and screen what it says about itself."""
    made = _made(record, options)
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        file = Path(folder, "mcp.json")
        file.write_text(json.dumps({"mcpServers": {"server": made.members}}), "utf-8")
        try:
            target = find_server("server", file).target()
        except BadConfig as error:
            text = str(error).removeprefix(f"{file}: ")
            raise wrong(f"{record.server.name}: {text}") from error
        described = converse(fitted(target, ConnectOptions()), ConnectOptions(), read_description)
    alarms = screen_value(msgspec.to_builtins(described))
    return sorted({f"what it says: {each.rule}: {each.excerpt}" for each in alarms})


def _made(
    record: RegistryRecord, options: RegistryVetOptions | RegistryAddOptions
) -> RegistryEntry:
    try:
        return make_entry(record.server, options.package)
    except RegistryError as error:
        raise Failure(str(error), Exit.REFUSED) from error


def _record(name: str, options: RegistryServerOptions) -> RegistryRecord:
    return _ask(options, lambda registry: registry.version(name, options.version))


async def _asked(ask: Callable[[Registry], Awaitable[T]], registry: Registry) -> T:
    return await ask(registry)


def _ask(options: RegistryOptions, ask: Callable[[Registry], Awaitable[T]]) -> T:
    """Ask the registry.  Raises Failure."""
    try:
        registry = Registry(options.registry or OFFICIAL, timeout=options.timeout or 30.0)
        return interruptible(partial(_asked, ask, registry))
    except UrlRefused as error:
        raise wrong(f"--registry: {error}") from error
    except RegistryError as error:
        raise Failure(str(error)) from error
