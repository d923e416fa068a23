"""Contents of the ``data`` member of errors.

Source: the base protocol page of 2026-07-28; the elicitation page of 2025-11-25.
"""

from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.elicitation import ElicitUrlParams
from mcpcore.spec.types.model import Model


class UnsupportedProtocolVersionData(Model, kw_only=True):
    """Data of -32022: the requested version and the supported ones."""

    supported: list[str]
    requested: str


class MissingRequiredClientCapabilityData(Model, kw_only=True):
    """Data of -32021: the capabilities that the client would have to declare."""

    required_capabilities: ClientCapabilities


class UrlElicitationRequiredData(Model, kw_only=True):
    """Data of -32042 (2025-11-25): URLs to visit before the request can succeed."""

    elicitations: list[ElicitUrlParams]
