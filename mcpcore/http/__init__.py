"""Many conversations behind one HTTP endpoint, and one conversation with one URL, without sockets.

:class:`HttpServer` and :class:`HttpClient` know methods, headers, statuses and streams; a driver
moves their heads and bodies.
"""

from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.client import HttpClient
from mcpcore.http.messages import HttpAbort, HttpChunk, HttpEnd, HttpHead, HttpRequest, HttpSend
from mcpcore.http.principals import Authenticate, Principal, Refusal, bearer_token
from mcpcore.http.recovery import Recovery, StreamInterrupted, StreamReopened
from mcpcore.http.reports import ExchangeEnded
from mcpcore.http.server import HttpServer
from mcpcore.http.sessions import SessionClosed, SessionOpened
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
    "bearer_token",
]
