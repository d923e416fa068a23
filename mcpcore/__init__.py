"""mcpcore: a sans-IO engine for JSON-RPC and the Model Context Protocol.

Bytes in, events and bytes out: no sockets, no clock, no event loop.  Start with
:class:`mcpcore.Peer` (one conversation), :class:`mcpcore.http.server.HttpServer` and
:class:`mcpcore.http.client.HttpClient` (many conversations behind one endpoint) or
:class:`mcpcore.service.Server` (what a server offers, declared).
"""

from mcpcore.engine import (
    MAIN,
    Config,
    Endpoint,
    EndReason,
    Fault,
    FaultKind,
    FrameKind,
    InputRequest,
    Limits,
    Mirror,
    Negotiation,
    Peer,
    Role,
    Transmit,
)
from mcpcore.engine import events as events
from mcpcore.spec.errors import (
    CapabilityMissing,
    ErrorData,
    LocalError,
    LocalProtocolError,
    McpError,
    ToolFailed,
)
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

__all__ = [
    "MAIN",
    "CapabilityMissing",
    "ClientCapabilities",
    "Config",
    "EndReason",
    "Endpoint",
    "ErrorData",
    "Fault",
    "FaultKind",
    "FrameKind",
    "Implementation",
    "InputRequest",
    "Limits",
    "LocalError",
    "LocalProtocolError",
    "McpError",
    "Mirror",
    "Negotiation",
    "Peer",
    "Role",
    "ServerCapabilities",
    "ToolFailed",
    "Transmit",
    "events",
]
