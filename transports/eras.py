"""What a client remembers of the eras of servers, by where they are found.

Source: the versioning page of 2026-07-28 ("Backward Compatibility with Initialization-Based
Versions").  A server that is known as legacy is not probed, which saves the time-out of one that
leaves unknown requests unanswered.  One that is known as modern is asked all the same, as its
answer says what it offers, but may take its time.  What is remembered is a hint: a handshake that
is refused is followed by the probe, on the same connection.
"""

from collections import OrderedDict
from collections.abc import Hashable
from urllib.parse import urlsplit

from mcpcore.engine.config import Negotiation
from transports.targets import (
    CustomTarget,
    HttpTarget,
    StdioTarget,
    Target,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
)


class EraCache:
    """Remembers the eras of at most ``limit`` servers, for ``ttl`` seconds.

    Hand one to several connections (``ClientSettings.eras``); those that have none share
    :data:`ERAS`.
    """

    def __init__(self, *, limit: int = 1024, ttl: float = 3600.0) -> None:
        self._limit = limit
        self._ttl = ttl
        self._eras: OrderedDict[Hashable, tuple[float, Negotiation, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._eras)

    def get(self, key: Hashable, *, now: float) -> Negotiation:
        """Return MODERN, LEGACY, or AUTO for a server that is unknown."""
        expiry, era, _ = self._eras.get(key, (now, Negotiation.AUTO, False))
        return era if now < expiry else Negotiation.AUTO

    def uses_sse(self, key: Hashable, *, now: float) -> bool:
        """Return whether a server is known to speak HTTP+SSE, the transport of 2024-11-05."""
        expiry, _, sse = self._eras.get(key, (now, Negotiation.AUTO, False))
        return sse and now < expiry

    def learn(self, key: Hashable, era: Negotiation, *, now: float, sse: bool = False) -> None:
        """Remember the era of a server, and whether it was found to speak HTTP+SSE."""
        self._eras.pop(key, None)
        self._eras[key] = now + self._ttl, era, sse
        if len(self._eras) > self._limit:
            self._eras.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Forget a server, as what was remembered has led to nothing."""
        self._eras.pop(key, None)


def both_failures(first: str, second: str) -> str:
    """Say why a connection failed that was tried with the era probe and without."""
    if first == second:
        return f"{second}\n(so it was twice: after server/discover, and with the handshake first)"
    return f"{second}\n(with the handshake first; before, after server/discover: {first})"


ERAS = EraCache()
"""What the connections of this process share, unless they are given a cache of their own."""


def place_of(target: Target) -> Hashable:
    """What a server is remembered by: its address, or how its process is started.

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
