"""Servers written with other SDKs, served as they are: the official Python SDK, fastmcp.

::

    run(adapt(mcp), http="127.0.0.1:8000")      # mcp is a FastMCP or MCPServer, or a low-level one

``mcpcore serve MODULE:NAME`` does it by itself.  The package of the object is imported by name and
only here, so that nothing else needs it.
"""

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.errors import BadTarget

if TYPE_CHECKING:  # late: most servers are our own
    from mcpcore_transports.adapters.server import AdaptedServer

__all__ = ["adapt"]


class _Adapted(Struct, frozen=True):
    """Class of server objects."""

    low: str = ""
    """Attribute that holds the low-level server; empty: it is one itself."""
    auth: str = ""
    """Path of the attribute that is not None if its own HTTP transport asks for authorization."""


_KINDS = {
    "mcp.server.lowlevel.server.Server": _Adapted(),
    "mcp.server.fastmcp.server.FastMCP": _Adapted("_mcp_server", "settings.auth"),
    "mcp.server.mcpserver.server.MCPServer": _Adapted("_lowlevel_server", "settings.auth"),
    "fastmcp.server.server.FastMCP": _Adapted("_mcp_server", "auth"),
}
"""Server objects by the full name of their class, or of one that they inherit from."""


def known(found: object) -> str | None:
    """Return the name of the class by which :func:`adapt` takes an object, None for any other."""
    names = (f"{each.__module__}.{each.__qualname__}" for each in type(found).__mro__)
    return next((name for name in names if name in _KINDS), None)


def adapt(found: Any, what: str = "the server object") -> "AdaptedServer":
    """Return the service of a server object of another SDK; ``what`` names it in errors.

    Raises BadTarget for one that is not known, for one that has authorization of its own, as
    nothing here would ask for it, and for one that declares what cannot be served.
    """
    name = known(found)
    if name is None:
        other = type(found).__name__
        article = "an" if other[0] in "aeiou" else "a"
        raise BadTarget(f"{what} is {article} {other}, not a Server")
    kind = _KINDS[name]
    if kind.auth and attrgetter(kind.auth)(found) is not None:
        raise BadTarget(
            f"{what} has authorization of its own (auth=), which is not asked for here: leave it "
            "out, and give the options of mcpcore's authorization"
        )
    # late: each line of the SDK needs its own
    from mcpcore_transports.adapters.sdk1 import Sdk1
    from mcpcore_transports.adapters.sdk2 import Sdk2
    from mcpcore_transports.adapters.server import AdaptedServer

    low = attrgetter(kind.low)(found) if kind.low else found
    prepare = _enter_fastmcp if name.startswith("fastmcp.") else None
    try:
        sdk = Sdk1(low) if hasattr(low, "request_handlers") else Sdk2(low, prepare)
        return AdaptedServer(found, sdk)
    except ValueError as error:
        raise BadTarget(f"{what} cannot be served: {error}") from None


def _enter_fastmcp() -> None:
    """Name the transport to fastmcp, which trusts callers without a name, as if all were local."""
    import_module("fastmcp.server.context").set_transport("streamable-http")
