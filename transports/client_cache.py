"""Results that a server allowed to be kept for a while (2026-07-28, "Caching").

One cache belongs to one connection, and so to one authorization context: private and public
results may both be kept.
"""

from collections import OrderedDict

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.wire.message import Body

_MADE_STALE_BY: dict[str, frozenset[str]] = {
    "notifications/tools/list_changed": frozenset({"tools/list"}),
    "notifications/prompts/list_changed": frozenset({"prompts/list"}),
    "notifications/resources/list_changed": frozenset(
        {"resources/list", "resources/templates/list"}
    ),
    "notifications/resources/updated": frozenset({"resources/read"}),
}


class _Hints(Struct, rename="camel"):
    ttl_ms: int | UnsetType = UNSET


class ResultCache:
    """Keeps at most ``limit`` results, the least recently used one goes first."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._results: OrderedDict[tuple[str, bytes], tuple[float, Raw]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, method: str, params: Body, *, now: float) -> Raw | None:
        """Return a result that is still fresh, or None."""
        key = _key(method, params)
        kept = self._results.get(key)
        if kept is None:
            return None
        if now >= kept[0]:
            del self._results[key]
            return None
        self._results.move_to_end(key)
        return kept[1]

    def put(self, method: str, params: Body, result: Raw, *, now: float) -> None:
        """Keep a result for as long as it says itself."""
        ttl = msgspec.json.decode(result, type=_Hints).ttl_ms
        if ttl is UNSET or ttl <= 0:
            return
        self._results[_key(method, params)] = (now + ttl / 1000, result)
        if len(self._results) > self._limit:
            self._results.popitem(last=False)

    def notified(self, method: str) -> None:
        """Drop what a change notification makes stale."""
        stale = _MADE_STALE_BY.get(method, frozenset())
        for key in [key for key in self._results if key[0] in stale]:
            del self._results[key]

    def drop(self, method: str) -> None:
        """Drop all results of ``method``, for instance when one of its cursors was refused."""
        for key in [key for key in self._results if key[0] == method]:
            del self._results[key]


def _key(method: str, params: Body) -> tuple[str, bytes]:
    return method, msgspec.json.encode(params, order="sorted")
