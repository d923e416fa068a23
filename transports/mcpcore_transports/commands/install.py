"""`mcpcore install`: the entry of a server in the configuration file of a program that uses it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, structs

from mcpcore.errors import BadConfig, BadTarget
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.config import add_server
from mcpcore_transports.commands.options import ClientName, ConnectOptions, InstallOptions
from mcpcore_transports.commands.output import Exit, errors, print_json
from mcpcore_transports.commands.target import converse, fitted
from mcpcore_transports.targets import HttpTarget, SseTarget, StdioTarget, parse_target


class _File(Struct, frozen=True):
    """Configuration file of a program that uses servers."""

    program: str
    paths: Mapping[str, str]
    """Path of the file by ``sys.platform``; "" for all other platforms."""
    table: str = "mcpServers"
    """Name of the JSON object with the servers."""
    typed: bool = False
    """True if each entry has a ``type``."""
    urls: bool = True
    """True if servers may be given by URL, as they run elsewhere."""

    @property
    def path(self) -> Path:
        """Path of the file here.  Raises BadTarget for a user without a home directory."""
        named = os.path.expandvars(self.paths.get(sys.platform, self.paths[""]))
        found = os.path.expanduser(named)
        if found.startswith("~"):
            raise BadTarget(f"there is no home directory, as in {named}; --file names the file")
        return Path(found)


def _of_user(path: str) -> Mapping[str, str]:
    return {
        "darwin": f"~/Library/Application Support/{path}",
        "win32": f"${{APPDATA}}/{path}",
        "": f"~/.config/{path}",
    }


_FILES: Mapping[tuple[ClientName, bool], _File] = {
    ("claude", False): _File(
        "Claude Desktop", _of_user("Claude/claude_desktop_config.json"), urls=False
    ),
    ("claude", True): _File("Claude Code", {"": ".mcp.json"}, typed=True),
    ("cursor", False): _File("Cursor", {"": "~/.cursor/mcp.json"}),
    ("cursor", True): _File("Cursor", {"": ".cursor/mcp.json"}),
    ("vscode", False): _File("VS Code", _of_user("Code/User/mcp.json"), "servers", typed=True),
    ("vscode", True): _File("VS Code", {"": ".vscode/mcp.json"}, "servers", typed=True),
}
"""Configuration files by client and kind: True for that of a project, False for the user's."""
_OF_PROJECTS = frozenset({"vscode"})
"""Clients whose default file is that of a project."""
_DONE = {"added": "added to", "replaced": "replaced in"}
_UNCHANGED = (
    "nothing is changed: --force replaces a server, and without --write the entry is printed, to"
    " be put there by hand"
)


def install(server: str, client: ClientName, options: InstallOptions) -> int:
    """Print the entry of a server, or write it; return the exit status.  Raises BadTarget."""
    of_project = client in _OF_PROJECTS if options.project is None else options.project
    known = _FILES[client, of_project]
    path = known.path if options.file is None else Path(os.path.expanduser(options.file))
    given = ConnectOptions(env=options.env, headers=options.headers, cwd=options.cwd)
    if "://" in server:
        usual, entry = _of_url(server, given, known)
    else:
        usual, entry = _of_module(server, given, known)
    name = usual if options.name is None else options.name
    if not name.strip() or not name.isprintable():
        raise BadTarget(f"--name: expected a name that can be seen, not {name!r}")
    if not options.write:
        print_json({known.table: {name: entry}})
        errors.print(f"for {path} ({known.program}); --write puts it there", markup=False)
        return Exit.OK
    try:
        changed = add_server(path, known.table, name, entry, replace=options.force)
    except BadConfig as error:
        raise BadConfig(f"{error}; {_UNCHANGED}") from None
    done = f"in {path} already"
    if changed:
        done = f"{_DONE[changed]} {path}; start {known.program} anew"
    errors.print(f"{name} is {done}", markup=False)
    return Exit.OK


def _of_module(server: str, given: ConnectOptions, known: _File) -> tuple[str, dict[str, Any]]:
    """Start a server once; return its name and its entry, which works from any folder."""
    folder = Path(os.path.expanduser(given.cwd or ".")).resolve()
    if not folder.is_dir():
        raise BadTarget(f"--cwd: there is no directory {folder}")
    words = ["-P", "-m", "mcpcore_transports.commands.main"]
    words += ["serve", server, "--stdio", "--cwd", str(folder)]
    alone = StdioTarget((sys.executable, *words), cwd=folder.anchor)
    target = fitted(alone, structs.replace(given, cwd=None))
    assert isinstance(target, StdioTarget)  # noqa: S101 - made above

    async def talk(client: Client) -> str | None:
        return None if client.server_info is None else client.server_info.name

    usual = converse(target, ConnectOptions(), talk)
    entry: dict[str, Any] = {"type": "stdio"} if known.typed else {}
    entry |= {"command": sys.executable, "args": words}
    if target.env:
        entry["env"] = dict(target.env)
    return usual or server.partition(":")[0], entry


def _of_url(server: str, given: ConnectOptions, known: _File) -> tuple[str, dict[str, Any]]:
    """Return the name and the entry of a server that runs elsewhere."""
    target = fitted(parse_target(server), given)
    if not isinstance(target, HttpTarget | SseTarget):
        raise BadTarget(f"{known.program} reaches servers by http, https and sse alone")
    if not known.urls:
        raise BadTarget(
            f"{known.program} has servers that run elsewhere in its settings, and none in this"
            " file; --project is for that of Claude Code"
        )
    sse = isinstance(target, SseTarget)
    entry: dict[str, Any] = {"type": "sse" if sse else "http"} if known.typed else {}
    entry["url"] = target.url
    if target.headers:
        assert not callable(target.headers)  # noqa: S101 - made from words
        entry["headers"] = dict(target.headers)
    return urlsplit(target.url).hostname or "", entry
