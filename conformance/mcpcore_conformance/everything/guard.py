"""Protection of the reference server, by the authorization server that its environment tells of.

The kit sets these variables for a server under test; without them the server lets everybody in.
"""

import os
from collections.abc import Mapping

from mcpcore import Dpop, Issuer, ResourceServer
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.kit.tokens import (
    BROAD_SCOPE_VARIABLE,
    ISSUER_VARIABLE,
    JWKS_VARIABLE,
    RESOURCE_VARIABLE,
    SCOPE_VARIABLE,
    SCOPED_TOOL,
    TOOL_SCOPE_VARIABLE,
)


def guard_of(environment: Mapping[str, str]) -> ResourceServer:
    """Return the guard that the environment describes."""
    scope, tool_scope = environment[SCOPE_VARIABLE], environment[TOOL_SCOPE_VARIABLE]
    return ResourceServer(
        environment[RESOURCE_VARIABLE],
        [Issuer(issuer=environment[ISSUER_VARIABLE], jwks_url=environment[JWKS_VARIABLE])],
        required={scope},
        scope_tree={environment[BROAD_SCOPE_VARIABLE]: (scope, tool_scope)},
        scopes_supported=(scope, tool_scope),
        dpop=Dpop.ALLOWED,
        nonces=True,
        certificate_bound=True,
        max_failures=None,
    )


@server.tool(name=SCOPED_TOOL, scopes={os.environ[TOOL_SCOPE_VARIABLE]})
def needs_scope() -> str:
    """Needs a scope of its own."""
    return "the scope is there"
