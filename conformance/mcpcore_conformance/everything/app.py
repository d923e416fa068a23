"""The reference server's Server object; what it offers is declared in the modules beside this."""

import os

from mcpcore import Server, compile_schema

PAGE_SIZE = "MCP_CONFORMANCE_PAGE_SIZE"
"""Names the variable of the environment that makes pages smaller."""


server = Server(
    "mcpcore-everything",
    version="0.1.0",
    title="Everything server",
    instructions="Offers every feature of the protocol, for tests and demonstrations.",
    validator=compile_schema,
    page_size=int(os.environ.get(PAGE_SIZE, "500")),
)
