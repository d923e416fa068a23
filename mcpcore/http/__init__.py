"""HTTP server and client state machines without sockets, for all revisions of MCP.

A driver moves heads and bodies.  Names are imported at first access: an application that needs one
side, or a type alone, does not load the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore.http.certificates import ClientCertificate
    from mcpcore.http.client.call import Recovery, StreamInterrupted, StreamReopened
    from mcpcore.http.client.challenges import Unauthorized
    from mcpcore.http.client.client import HttpClient
    from mcpcore.http.messages import (
        HttpAbort,
        HttpChunk,
        HttpEnd,
        HttpHead,
        HttpReply,
        HttpRequest,
        HttpSend,
    )
    from mcpcore.http.principals import Authenticate, Principal, Refusal, bearer_token
    from mcpcore.http.server.exchange import ExchangeEnded
    from mcpcore.http.server.server import HttpServer
    from mcpcore.http.server.sessions import SessionClosed, SessionOpened
    from mcpcore.http.settings import HttpClientSettings, HttpSettings, SsePaths, SseUse

__all__ = [
    "Authenticate",
    "ClientCertificate",
    "ExchangeEnded",
    "HttpAbort",
    "HttpChunk",
    "HttpClient",
    "HttpClientSettings",
    "HttpEnd",
    "HttpHead",
    "HttpReply",
    "HttpRequest",
    "HttpSend",
    "HttpServer",
    "HttpSettings",
    "Principal",
    "Recovery",
    "Refusal",
    "SessionClosed",
    "SessionOpened",
    "SsePaths",
    "SseUse",
    "StreamInterrupted",
    "StreamReopened",
    "Unauthorized",
    "bearer_token",
]

_LATER = {
    "certificates": "ClientCertificate",
    "client.call": "Recovery StreamInterrupted StreamReopened",
    "client.challenges": "Unauthorized",
    "client.client": "HttpClient",
    "messages": "HttpAbort HttpChunk HttpEnd HttpHead HttpReply HttpRequest HttpSend",
    "principals": "Authenticate Principal Refusal bearer_token",
    "server.exchange": "ExchangeEnded",
    "server.server": "HttpServer",
    "server.sessions": "SessionClosed SessionOpened",
    "settings": "HttpClientSettings HttpSettings SsePaths SseUse",
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
