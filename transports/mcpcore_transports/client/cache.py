"""Cache of results that a server allows to be kept for a while (2026-07-28, "Caching").

A :class:`ResultCache` may serve several connections.  ``public`` results are shared by all
connections to the same server, ``private`` ones only within one authorization context: the same
server, reached with the same headers.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.message import Body
from mcpcore_transports.targets import HttpTarget, Target, WebSocketTarget

_MADE_STALE_BY: dict[str, tuple[str, ...]] = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", "resources/templates/list"),
    "notifications/resources/updated": ("resources/read",),
}

_PUBLIC = ""

_Key = tuple[str, str, str, bytes]
"""Key of a result: server, authorization context (empty: any), method, params."""


class _Hints(Struct, rename="camel"):
    ttl_ms: Maybe[int | float] = None
    cache_scope: Maybe[str] = None


class _Kept(Struct):
    stale_at: float
    result: Raw


class ResultCache:
    """Cache of at most ``limit`` results of ``size`` bytes in total; the least used go first.

    ``longest`` is the maximum number of seconds for which a result is fresh, whatever the server
    says.
    """

    def __init__(
        self,
        *,
        limit: int = 1024,
        size: int = 64 * 1024 * 1024,
        longest: float = 24 * 3600.0,
    ) -> None:
        if limit < 1 or size < 1 or longest < 0:
            raise ValueError("a cache needs room for one result at least, and no negative time")
        self._limit = limit
        self._size = size
        self._longest = longest
        self._used = 0
        self._connections = 0
        self._results: OrderedDict[_Key, _Kept] = OrderedDict()
        self._drops = 0
        self._changes: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Number of the last drop by server and method, for at most ``limit`` of them."""
        self._older = 0
        """Number of the last drop that was forgotten; results under way before it are stale."""

    def __len__(self) -> int:
        return len(self._results)

    def connect(
        self, target: Target, headers: Mapping[str, str], revision: Revision
    ) -> "ServerCache":
        """Return the view of one connection on the cache.

        A server without a URL has no other clients, so that its results are not shared.
        """
        if isinstance(target, HttpTarget | WebSocketTarget):
            server = f"{revision.name} {target.url}"
        else:
            self._connections += 1
            server = f"connection {self._connections}"
        sent = sorted((name.lower(), value) for name, value in headers.items())
        context = hashlib.sha256(msgspec.json.encode(sent)).hexdigest()
        return ServerCache(self, server, context)

    def find(self, key: _Key, now: float) -> Raw | None:
        """Return a result that is still fresh, or None."""
        kept = self._results.get(key)
        if kept is None:
            return None
        if now >= kept.stale_at:
            self._forget(key)
            return None
        self._results.move_to_end(key)
        return kept.result

    def seconds(self, ttl_ms: float) -> float:
        """Return a server's TTL in seconds, however large its number is."""
        return max(0, min(ttl_ms, self._longest * 1000)) / 1000

    def keep(self, key: _Key, result: Raw, ttl: float, now: float) -> None:
        """Keep a result for ``ttl`` seconds."""
        if key in self._results:
            self._forget(key)
        copy = Raw(bytes(result))  # a slice would keep the whole receive buffer alive
        if ttl <= 0 or len(copy) > self._size:
            return
        self._results[key] = _Kept(now + min(ttl, self._longest), copy)
        self._used += len(copy)
        while len(self._results) > self._limit or self._used > self._size:
            self._forget(next(iter(self._results)))

    def drop(self, server: str, method: str) -> None:
        """Drop all results of a method, in every authorization context."""
        self._drops += 1
        self._changes[server, method] = self._drops
        self._changes.move_to_end((server, method))
        if len(self._changes) > self._limit:
            _, self._older = self._changes.popitem(last=False)
        for key in [key for key in self._results if (key[0], key[2]) == (server, method)]:
            self._forget(key)

    def changes(self, server: str, method: str) -> int:
        """Return a number that changes whenever results of a method are dropped."""
        return self._changes.get((server, method), self._older)

    def _forget(self, key: _Key) -> None:
        self._used -= len(self._results.pop(key).result)


class ServerCache:
    """Results of one connection in the cache."""

    def __init__(self, cache: ResultCache, server: str, context: str) -> None:
        self._cache = cache
        self._server = server
        self._context = context

    def get(self, method: str, params: Body, *, now: float) -> Raw | None:
        """Return a result that is still fresh, or None."""
        encoded = _encode(params)
        for context in (self._context, _PUBLIC):
            found = self._cache.find((self._server, context, method, encoded), now)
            if found is not None:
                return found
        return None

    def mark(self, method: str) -> int:
        """Return a mark for :meth:`put`, to be taken when the request leaves."""
        return self._cache.changes(self._server, method)

    def put(self, method: str, params: Body, result: Raw, mark: int, *, now: float) -> None:
        """Keep a result for the TTL in it, unless it became stale since ``mark`` was taken."""
        if mark != self.mark(method):
            return
        try:
            hints = msgspec.json.decode(result, type=_Hints)
        except msgspec.ValidationError:
            return
        ttl = 0.0 if hints.ttl_ms is None else self._cache.seconds(hints.ttl_ms)
        encoded = _encode(params)
        public = hints.cache_scope == "public"
        context = _PUBLIC if public else self._context
        self._cache.keep((self._server, context, method, encoded), result, ttl, now)

    def notified(self, method: str) -> None:
        """Drop the results that a change notification makes stale."""
        for stale in _MADE_STALE_BY.get(method, ()):
            self.drop(stale)

    def drop(self, method: str) -> None:
        """Drop all results of ``method``, for instance when one of its cursors was refused."""
        self._cache.drop(self._server, method)


def _encode(params: Body) -> bytes:
    return msgspec.json.encode(params, order="sorted")
