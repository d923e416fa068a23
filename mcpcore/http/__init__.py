"""HTTP server and client state machines without sockets, for all revisions of MCP.

A driver moves heads and bodies.  Names are imported at first access: an application that needs one
side, or a type alone, does not load the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore.http.client.call import Recovery as Recovery
    from mcpcore.http.client.call import StreamInterrupted as StreamInterrupted
    from mcpcore.http.client.call import StreamReopened as StreamReopened
    from mcpcore.http.client.challenges import Unauthorized as Unauthorized
    from mcpcore.http.client.client import HttpClient as HttpClient
    from mcpcore.http.messages import HttpAbort as HttpAbort
    from mcpcore.http.messages import HttpChunk as HttpChunk
    from mcpcore.http.messages import HttpEnd as HttpEnd
    from mcpcore.http.messages import HttpHead as HttpHead
    from mcpcore.http.messages import HttpReply as HttpReply
    from mcpcore.http.messages import HttpRequest as HttpRequest
    from mcpcore.http.messages import HttpSend as HttpSend
    from mcpcore.http.principals import Authenticate as Authenticate
    from mcpcore.http.principals import ClientCertificate as ClientCertificate
    from mcpcore.http.principals import Principal as Principal
    from mcpcore.http.principals import Refusal as Refusal
    from mcpcore.http.principals import bearer_token as bearer_token
    from mcpcore.http.server.exchange import ExchangeEnded as ExchangeEnded
    from mcpcore.http.server.server import HttpServer as HttpServer
    from mcpcore.http.server.sessions import SessionClosed as SessionClosed
    from mcpcore.http.server.sessions import SessionOpened as SessionOpened
    from mcpcore.http.settings import HttpClientSettings as HttpClientSettings
    from mcpcore.http.settings import HttpSettings as HttpSettings
    from mcpcore.http.settings import SsePaths as SsePaths
    from mcpcore.http.settings import SseUse as SseUse

_LATER = {
    "client.call": "Recovery StreamInterrupted StreamReopened",
    "client.challenges": "Unauthorized",
    "client.client": "HttpClient",
    "messages": "HttpAbort HttpChunk HttpEnd HttpHead HttpReply HttpRequest HttpSend",
    "principals": "Authenticate ClientCertificate Principal Refusal bearer_token",
    "server.exchange": "ExchangeEnded",
    "server.server": "HttpServer",
    "server.sessions": "SessionClosed SessionOpened",
    "settings": "HttpClientSettings HttpSettings SsePaths SseUse",
}
_HOMES = {name: module for module, names in _LATER.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
