"""The reference server's Server object; what it offers is declared in the modules beside this."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from mcpcore.service import Server, Validator

PAGE_SIZE = "MCP_CONFORMANCE_PAGE_SIZE"
"""Names the variable of the environment that makes pages smaller."""


def accept_all(schema: Mapping[str, Any]) -> Callable[[Any], list[str]]:
    """Find nothing wrong with any value: without the `schema` extra nothing can be checked."""
    return lambda value: []


def validator() -> Validator:
    """What checks values against schemas written by hand, as far as it is installed."""
    try:
        from transports.json_schema import compile_schema
    except ImportError:
        return accept_all
    return compile_schema


server = Server(
    "mcpcore-everything",
    version="0.1.0",
    title="Everything server",
    instructions="Offers every feature of the protocol, for tests and demonstrations.",
    validator=validator(),
    page_size=int(os.environ.get(PAGE_SIZE, "500")),
)
