"""HttpServer with a store: two workers that share a store, under anything that clients may send.

However bodies arrive they answer alike, as their sessions have the same ids.
"""

from mcpcore import HttpSettings, Limits
from mcpcore_transports.stores.base import SECRET_SIZE, StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.fuzz import site
from tests.fuzz.choices import Choices
from tests.http.stored.storebench import StoreBench, settle

TOKENS = site.TOKENS
_SETTINGS = HttpSettings(max_body=700, max_sessions=3, session_streams=2, max_calls=4)
_LIMITS = Limits(message_size=700, depth=12, in_flight=4, batch=4, listen_streams=2)


class _Store(MemoryStore):
    """Its secret, out of which ids are made, is the same every time."""

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        return bytes(range(SECRET_SIZE))


def _visit(data: bytes, cut: site.Cut) -> site.Visit:
    c = Choices(data)
    benches: list[StoreBench] = []
    store = _Store(StoreSettings(lease=1e9), clock=lambda: benches[0].now if benches else 0.0)
    benches += [StoreBench(store, name, _SETTINGS, limits=_LIMITS) for name in ("w1", "w2")]
    failing = c.flag(8)
    if failing:
        benches[0].failing("SessionLoad", "EventAppend", done=c.flag())
    visit = site.Visit(
        [*benches],
        c,
        cut,
        lambda: settle(*benches),
        settings=_SETTINGS,
        limits=_LIMITS,
        failing=failing,
    )
    site.wander(visit)
    return visit


def TARGET(data: bytes) -> int:
    whole, split = _visit(data, site.whole), _visit(data, site.bytewise)
    for one, other in zip(whole.benches, split.benches, strict=True):
        assert one.replies == other.replies
    assert whole.ids == split.ids
    return whole.delivered
