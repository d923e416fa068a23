"""`mcpcore serve`: offer a server on any number of bindings."""

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from msgspec import structs

from mcpcore.service import Server
from mcpcore.spec.errors import LocalError
from transports.commands.output import Exit, Failure
from transports.commands.target import check_revisions
from transports.request_log import log_incoming
from transports.runtime import RuntimeSettings
from transports.server import ServeSettings, run
from transports.targets import BadTarget

logger = logging.getLogger("mcpcore.cli")

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
    revisions: Sequence[str] | None = None,
    log_requests: bool = False,
    drain: float | None = None,
) -> int:
    """Serve until a signal, or the end of standard input; return the exit status."""
    check_revisions(revisions)
    server = load(service or REFERENCE)
    if not (stdio or http or ws):
        http = [DEFAULT_ADDRESS]
    settings = ServeSettings(
        runtime=RuntimeSettings(middleware=(log_incoming(),) if log_requests else ()),
        allowed_hosts=tuple(allowed_hosts) or None,
        allowed_origins=tuple(allowed_origins) or None,
    )
    if drain is not None:
        settings = _draining(settings, drain)
    try:
        run(
            server,
            stdio=stdio,
            http=http,
            ws=ws,
            settings=settings,
            revisions=revisions,
            on_listening=_announce,
        )
    except BadTarget as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (LocalError, OSError) as error:
        raise Failure(str(error)) from error
    return Exit.OK


def _draining(settings: ServeSettings, seconds: float) -> ServeSettings:
    """The same settings with so much time for running requests when the end comes."""
    pump = structs.replace(settings.stdio.pump, drain=seconds)
    return structs.replace(
        settings,
        stdio=structs.replace(settings.stdio, pump=pump),
        websocket=structs.replace(settings.websocket, pump=pump),
        http_link=structs.replace(settings.http_link, drain_time=seconds),
    )


def load(name: str) -> Server:
    """Import ``MODULE:SERVICE``; without ``:SERVICE`` it is called ``server``.  Raises Failure."""
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise Failure(f"there is no module {module_name!r}", Exit.USAGE) from None
        logger.debug("importing %s", module_name, exc_info=True)
        raise Failure(
            f"{module_name!r} cannot be imported: {type(error).__name__}: {error}", Exit.USAGE
        ) from None
    found = getattr(module, attribute or "server", None)
    if not isinstance(found, Server):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise Failure(f"{name!r} names {kind}, not a Server; expected MODULE:SERVICE", Exit.USAGE)
    return found


def _announce(url: str) -> None:
    sys.stderr.write(f"listening on {url}\n")
    sys.stderr.flush()
