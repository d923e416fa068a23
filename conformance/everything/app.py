"""The reference server's Server object; what it offers is declared in the modules beside this."""

from collections.abc import Callable, Mapping
from typing import Any

from mcpcore.service import Server

try:
    from transports.json_schema import compile_schema
except ImportError:

    def compile_schema(schema: Mapping[str, Any]) -> Callable[[Any], list[str]]:
        """Accept everything: without the `schema` extra nothing can be checked."""
        return lambda value: []


server = Server(
    "mcpcore-everything",
    version="0.1.0",
    title="Everything server",
    instructions="Offers every feature of the protocol, for tests and demonstrations.",
    validator=compile_schema,
)
