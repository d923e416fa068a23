"""`mcpcore servers`: the servers in a configuration file."""

import shlex

from mcpcore.wire.redaction import shown_url
from mcpcore_transports.client.config.file import ConfiguredServer, read_config
from mcpcore_transports.commands.output import Exit, print_json, print_table, print_warning
from mcpcore_transports.commands.target import config_path

_TYPES = {"https": "http", "wss": "ws", "sse+http": "sse", "sse+https": "sse"}


def list_servers(config: str | None, *, as_json: bool) -> int:
    """List the servers of the file; return the exit status.  Raises BadConfig."""
    path = config_path(config)
    servers = read_config(path)
    if as_json:
        print_json({"file": str(path), "servers": [_facts(each) for each in servers.values()]})
        return Exit.OK
    rows = [_row(each) for each in servers.values()]
    print_table(f"servers in {path} ({len(rows)})", ("name", "type", "target", "problem"), rows)
    for server in servers.values():
        for doubt in server.doubts:
            print_warning(f"{server}: {doubt}")
    return Exit.OK


def _row(server: ConfiguredServer) -> tuple[str, ...]:
    # As it is written: variables are not replaced, as there may be secrets in them.
    return server.name, _type(server), _written(server), server.problem or ""


def _facts(server: ConfiguredServer) -> dict[str, object]:
    return {
        "name": server.name,
        "type": _type(server),
        "target": _written(server),
        "disabled": server.disabled,
        "problem": server.problem,
    }


def _type(server: ConfiguredServer) -> str:
    scheme = (server.url or "").partition(":")[0].lower()
    return server.type or _TYPES.get(scheme, scheme)


def _written(server: ConfiguredServer) -> str:
    url = server.url and shown_url(server.url)
    text = url or shlex.join([server.command or "", *server.args])
    # A terminal would obey some characters.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
