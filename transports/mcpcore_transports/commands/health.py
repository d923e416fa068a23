"""Health check of a server over HTTP, for containers without curl: ``mcpcore probe --health``."""

import json
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from mcpcore.errors import BadTarget
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Exit, Failure, escaped, say
from mcpcore_transports.link import system_reason
from mcpcore_transports.targets import HttpTarget, SseTarget, Target
from mcpcore_transports.tls import client_tls

_SECONDS = 5.0
"""Time to connect and for the answer, without --timeout."""
_MOST = 65_536
"""Maximum bytes of the answer that are shown."""


def ask_health(target: Target, options: ConnectOptions) -> int:
    """Ask ``/health`` at the server's address and print the answer; return the exit status.

    Raises Failure if nobody answers, BadTarget for a server that is not reached over HTTP.
    """
    if not isinstance(target, HttpTarget | SseTarget):
        raise BadTarget("--health is for servers over http and https")
    parts, timeout = urlsplit(target.url), options.timeout or _SECONDS
    host = parts.hostname or ""
    connection = HTTPConnection(host, parts.port, timeout=timeout)
    if parts.scheme == "https":
        context = client_tls(ca=options.ca, cert=options.cert, key=options.key)
        connection = HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    try:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        text = reply.read(_MOST).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        reason = system_reason(error) or error
        raise Failure(f"{parts.scheme}://{parts.netloc}/health: {reason}") from error
    finally:
        connection.close()
    sys.stdout.write(f"{escaped(text, lines=True)}\n")
    if reply.status != 200:
        say(f"/health answers {reply.status}")
        return Exit.REFUSED
    if not _is_well(text):  # another server may have a page there, and show it for any path
        say('/health answers no JSON with "status": "ok"')
        return Exit.REFUSED
    return Exit.OK


def _is_well(text: str) -> bool:
    try:
        return bool(json.loads(text)["status"] == "ok")
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
