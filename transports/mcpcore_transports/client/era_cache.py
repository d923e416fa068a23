"""Cache of the eras of servers, by their address.

Source: the versioning page of 2026-07-28 ("Backward Compatibility with Initialization-Based
Versions").  A server that is known as legacy is not probed, which saves a timeout if the server
ignores unknown requests.  A server that is known as modern is asked all the same, as its answer
lists its capabilities, but may take its time.  The cache is a hint: a refused handshake is followed
by the probe, on the same connection.
"""

from collections import OrderedDict
from collections.abc import Hashable
from urllib.parse import urlsplit

from mcpcore.engine.config import Negotiation
from mcpcore_transports.targets import (
    CustomTarget,
    HttpTarget,
    StdioTarget,
    Target,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
)


class EraCache:
    """Eras of at most ``limit`` servers, each kept for ``ttl`` seconds.

    Share one between several connections by ``ClientSettings.eras``; the default is :data:`ERAS`.
    """

    def __init__(self, *, limit: int = 1024, ttl: float = 3600.0) -> None:
        self._limit = limit
        self._ttl = ttl
        self._eras: OrderedDict[Hashable, tuple[float, Negotiation, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._eras)

    def get(self, key: Hashable, *, now: float) -> Negotiation:
        """Return MODERN, LEGACY, or AUTO for an unknown server."""
        expiry, era, _ = self._eras.get(key, (now, Negotiation.AUTO, False))
        return era if now < expiry else Negotiation.AUTO

    def uses_sse(self, key: Hashable, *, now: float) -> bool:
        """Return True if a server is known to use HTTP+SSE, the transport of 2024-11-05."""
        expiry, _, sse = self._eras.get(key, (now, Negotiation.AUTO, False))
        return sse and now < expiry

    def learn(self, key: Hashable, era: Negotiation, *, now: float, sse: bool = False) -> None:
        """Remember the era of a server, and whether it uses HTTP+SSE."""
        self._eras.pop(key, None)
        self._eras[key] = now + self._ttl, era, sse
        if len(self._eras) > self._limit:
            self._eras.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Forget a server, after a connection failed with the remembered era."""
        self._eras.pop(key, None)


ERAS = EraCache()
"""Default cache, shared by the connections of this process."""


def place_of(target: Target) -> Hashable:
    """Return the cache key of a server: its address, or the way its process is started.

    None for a server of this process.  Two paths of one origin may lead to different servers, so
    they are kept apart; headers and query do not matter.
    """
    if isinstance(target, HttpTarget | WebSocketTarget):
        parts = urlsplit(target.url)
        return parts.scheme, parts.hostname, parts.port, parts.path
    if isinstance(target, TcpTarget | UnixTarget):
        return target.url
    if isinstance(target, CustomTarget):
        return type(target), target.name
    if isinstance(target, StdioTarget):
        return tuple(target.command), str(target.cwd), frozenset((target.env or {}).items())
    return None
