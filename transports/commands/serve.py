"""`mcpcore serve`: offer a server on any number of bindings."""

import importlib
import os
import sys
from collections.abc import Sequence

from mcpcore.service import Server
from mcpcore.spec.errors import LocalError
from transports.commands.output import Exit, Failure
from transports.server import ServeSettings, run

REFERENCE = "conformance.everything.server:server"
"""What is served when nothing is named: loaded by name, as nothing here may depend on it."""
DEFAULT_ADDRESS = "127.0.0.1:8000"


def serve(
    service: str | None,
    *,
    stdio: bool,
    http: Sequence[str],
    ws: Sequence[str],
    allowed_hosts: Sequence[str],
    allowed_origins: Sequence[str],
) -> int:
    """Serve until a signal, or the end of standard input; return the exit status."""
    server = load(service or REFERENCE)
    if not (stdio or http or ws):
        http = [DEFAULT_ADDRESS]
    settings = ServeSettings(
        allowed_hosts=tuple(allowed_hosts) or None, allowed_origins=tuple(allowed_origins) or None
    )
    try:
        run(server, stdio=stdio, http=http, ws=ws, settings=settings, on_listening=_announce)
    except (LocalError, OSError, ValueError) as error:
        raise Failure(str(error)) from error
    return Exit.OK


def load(name: str) -> Server:
    """Import ``MODULE:SERVICE``; without ``:SERVICE`` it is called ``server``.  Raises Failure."""
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there, but lacks something itself
        raise Failure(f"there is no module {module_name!r}", Exit.USAGE) from None
    except ValueError:
        raise Failure(f"{name!r} is no MODULE:SERVICE", Exit.USAGE) from None
    found = getattr(module, attribute or "server", None)
    if not isinstance(found, Server):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise Failure(f"{name!r} names {kind}, not a Server; expected MODULE:SERVICE", Exit.USAGE)
    return found


def _announce(url: str) -> None:
    sys.stderr.write(f"listening on {url}\n")
    sys.stderr.flush()
