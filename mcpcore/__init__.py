"""Engine for JSON-RPC and the Model Context Protocol: bytes in, events and bytes out.

Everything that a server, a client or an embedding needs has its name here.  The engine
(:class:`Peer`, :class:`Config`, ``events``) is imported at once, all else when it is first asked
for: ``import mcpcore`` loads msgspec, and no event loop or socket.  Types of content and
capabilities: :mod:`mcpcore.types`; exceptions: :mod:`mcpcore.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from mcpcore.engine.reconnection import (
        ConnectionEvent,
        ConnectionLost,
        Reconnected,
        Reconnecting,
        ReconnectingGivenUp,
        ReconnectSettings,
    )
    from mcpcore.errors import (
        CallFailed,
        ConnectionClosed,
        InputUnavailable,
        LifespanError,
        LinkError,
        NegotiationError,
        PeerError,
        PromptError,
        RequestTimeout,
        ResourceNotFound,
        ToolError,
    )
    from mcpcore.http import HttpClient, HttpServer
    from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
    from mcpcore.http.principals import Principal, Refusal, bearer_token
    from mcpcore.http.settings import HttpSettings, SsePaths
    from mcpcore.service import Audio, Embedded, Image, Server, assistant, mirrored, user
    from mcpcore.service.rate import Activity, Rate, RateLimits
    from mcpcore_transports.client.cache import EraCache, ResultCache
    from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
    from mcpcore_transports.client.client import Client, connect
    from mcpcore_transports.client.config import load_targets
    from mcpcore_transports.client.core import ClientSettings
    from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
    from mcpcore_transports.client.tasks import TaskOptions
    from mcpcore_transports.http.client.proxies import parse_proxy
    from mcpcore_transports.http.server.asgi import asgi_app
    from mcpcore_transports.http.server.endpoint import HttpEndpoint, http_request
    from mcpcore_transports.http.settings import HttpServerSettings
    from mcpcore_transports.running.middleware import AnsweringSteps, CallNext, Steps
    from mcpcore_transports.schema import SchemaLimits, compile_schema
    from mcpcore_transports.serve.serve import ServeSettings, run, serve
    from mcpcore_transports.server.context import Context
    from mcpcore_transports.server.inputs import ElicitUrl
    from mcpcore_transports.server.middleware import Answer
    from mcpcore_transports.server.notifications import NotificationContext
    from mcpcore_transports.server.request_log import log_incoming, log_outgoing
    from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal
    from mcpcore_transports.server.settings import RuntimeSettings
    from mcpcore_transports.sockets.settings import Caller, SocketSettings
    from mcpcore_transports.stdio.settings import ProcessSettings, StdioSettings
    from mcpcore_transports.stores.base import Store, StoreSettings
    from mcpcore_transports.stores.memory import MemoryStore
    from mcpcore_transports.stores.open import open_store
    from mcpcore_transports.stream.settings import PumpSettings
    from mcpcore_transports.targets import (
        CustomTarget,
        HttpTarget,
        MemoryTarget,
        SseTarget,
        StdioTarget,
        TcpTarget,
        UnixTarget,
        WebSocketTarget,
        parse_target,
    )
    from mcpcore_transports.tls import client_tls, server_tls
    from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings

__all__ = [
    "MAIN",
    "Activity",
    "Answer",
    "AnsweringSteps",
    "Audio",
    "CallFailed",
    "CallNext",
    "CallbackContext",
    "Callbacks",
    "Caller",
    "CapabilityMissing",
    "Client",
    "ClientCapabilities",
    "ClientSettings",
    "Config",
    "ConnectionClosed",
    "ConnectionEvent",
    "ConnectionLost",
    "Context",
    "CustomTarget",
    "DeflateSettings",
    "ElicitUrl",
    "Embedded",
    "EndReason",
    "Endpoint",
    "EraCache",
    "ErrorData",
    "Fault",
    "FaultKind",
    "FrameKind",
    "HttpChunk",
    "HttpClient",
    "HttpEnd",
    "HttpEndpoint",
    "HttpHead",
    "HttpRequest",
    "HttpServer",
    "HttpServerSettings",
    "HttpSettings",
    "HttpTarget",
    "Image",
    "Implementation",
    "InputRequest",
    "InputUnavailable",
    "LifespanError",
    "Limits",
    "LinkError",
    "LocalError",
    "LocalProtocolError",
    "McpError",
    "MemoryStore",
    "MemoryTarget",
    "Mirror",
    "Negotiation",
    "NegotiationError",
    "NotificationContext",
    "Outcome",
    "OutgoingRequest",
    "Peer",
    "PeerError",
    "Principal",
    "ProcessSettings",
    "PromptError",
    "PumpSettings",
    "Rate",
    "RateLimits",
    "ReconnectSettings",
    "Reconnected",
    "Reconnecting",
    "ReconnectingGivenUp",
    "Refusal",
    "RequestTimeout",
    "ResourceNotFound",
    "ResultCache",
    "Role",
    "RuntimeSettings",
    "SchemaLimits",
    "SealKey",
    "SealSettings",
    "ServeSettings",
    "Server",
    "ServerCapabilities",
    "SocketSettings",
    "SsePaths",
    "SseTarget",
    "StdioSettings",
    "StdioTarget",
    "Steps",
    "Store",
    "StoreSettings",
    "TaskOptions",
    "TcpTarget",
    "ToolError",
    "ToolFailed",
    "Transmit",
    "UnixTarget",
    "WebSocketSettings",
    "WebSocketTarget",
    "asgi_app",
    "assistant",
    "bearer_token",
    "client_tls",
    "compile_schema",
    "connect",
    "events",
    "http_request",
    "load_targets",
    "log_incoming",
    "log_outgoing",
    "make_seal",
    "mirrored",
    "open_store",
    "parse_proxy",
    "parse_target",
    "run",
    "serve",
    "server_tls",
    "user",
]

_LATER = {
    "mcpcore.engine.reconnection": (
        "ConnectionEvent ConnectionLost ReconnectSettings Reconnected Reconnecting"
        " ReconnectingGivenUp"
    ),
    "mcpcore.errors": (
        "CallFailed ConnectionClosed InputUnavailable LifespanError LinkError"
        " NegotiationError PeerError PromptError RequestTimeout ResourceNotFound ToolError"
    ),
    "mcpcore.http": "HttpClient HttpServer",
    "mcpcore.http.messages": "HttpChunk HttpEnd HttpHead HttpRequest",
    "mcpcore.http.principals": "Principal Refusal bearer_token",
    "mcpcore.http.settings": "HttpSettings SsePaths",
    "mcpcore.service": "Audio Embedded Image Server assistant mirrored user",
    "mcpcore.service.rate": "Activity Rate RateLimits",
    "mcpcore_transports.client.cache": "EraCache ResultCache",
    "mcpcore_transports.client.callbacks": "CallbackContext Callbacks",
    "mcpcore_transports.client.client": "Client connect",
    "mcpcore_transports.client.config": "load_targets",
    "mcpcore_transports.client.middleware": "Outcome OutgoingRequest",
    "mcpcore_transports.client.core": "ClientSettings",
    "mcpcore_transports.client.tasks": "TaskOptions",
    "mcpcore_transports.http.client.proxies": "parse_proxy",
    "mcpcore_transports.http.server.asgi": "asgi_app",
    "mcpcore_transports.http.server.endpoint": "HttpEndpoint http_request",
    "mcpcore_transports.http.settings": "HttpServerSettings",
    "mcpcore_transports.running.middleware": "AnsweringSteps CallNext Steps",
    "mcpcore_transports.schema": "SchemaLimits compile_schema",
    "mcpcore_transports.serve.serve": "ServeSettings run serve",
    "mcpcore_transports.server.context": "Context",
    "mcpcore_transports.server.inputs": "ElicitUrl",
    "mcpcore_transports.server.middleware": "Answer",
    "mcpcore_transports.server.notifications": "NotificationContext",
    "mcpcore_transports.server.request_log": "log_incoming log_outgoing",
    "mcpcore_transports.server.seal": "SealKey SealSettings make_seal",
    "mcpcore_transports.server.settings": "RuntimeSettings",
    "mcpcore_transports.sockets.settings": "Caller SocketSettings",
    "mcpcore_transports.stdio.settings": "ProcessSettings StdioSettings",
    "mcpcore_transports.stores.base": "Store StoreSettings",
    "mcpcore_transports.stores.memory": "MemoryStore",
    "mcpcore_transports.stores.open": "open_store",
    "mcpcore_transports.stream.settings": "PumpSettings",
    "mcpcore_transports.targets": (
        "CustomTarget HttpTarget MemoryTarget SseTarget StdioTarget TcpTarget UnixTarget"
        " WebSocketTarget parse_target"
    ),
    "mcpcore_transports.tls": "client_tls server_tls",
    "mcpcore_transports.websocket.settings": "DeflateSettings WebSocketSettings",
}
"""Modules that are imported when one of their names is first asked for."""
_HOMES = {name: module for module, names in _LATER.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'mcpcore' has no attribute {name!r}")
        try:
            found = getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"mcpcore.{name} needs {error.name}, which is not installed: pip install mcpcore"
            ) from error
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return __all__
