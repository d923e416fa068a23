"""Start of a conversation: ``initialize`` (legacy) and ``server/discover`` (modern).

Source: the lifecycle page of the legacy revisions, the discovery page of 2026-07-28.
"""

from mcpcore.spec.types.base import CacheableResult, Implementation, RequestParams, Result
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.model import Maybe

__all__ = [
    "ClientCapabilities",
    "DiscoverResult",
    "InitializeParams",
    "InitializeResult",
    "ServerCapabilities",
]


class InitializeParams(RequestParams, kw_only=True):
    """Params of ``initialize``: the client's newest revision, its capabilities and identity."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class InitializeResult(Result, kw_only=True):
    """Result of ``initialize``: the chosen revision, the server's capabilities and identity."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: Maybe[str] = None


class DiscoverResult(CacheableResult, kw_only=True):
    """Result of ``server/discover``: the server's revisions and its capabilities."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: Maybe[str] = None
