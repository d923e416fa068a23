"""How a conversation begins: ``initialize`` (legacy) and ``server/discover`` (modern).

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
    """``initialize``: the newest revision the client speaks, and who it is."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class InitializeResult(Result, kw_only=True):
    """The revision the server chose, and who it is."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: Maybe[str] = None


class DiscoverResult(CacheableResult, kw_only=True):
    """``server/discover``: the revisions the server speaks and what it offers."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: Maybe[str] = None
