"""HttpServer: any heads, bodies and acts; a reply to each, however bodies arrive, and no 5xx."""

from msgspec import structs

from mcpcore.engine import Limits
from mcpcore.http.settings import HttpSettings
from tests.fuzz import site
from tests.fuzz.choices import Choices
from tests.http.support import Bench, make_server

TOKENS = site.TOKENS
_SETTINGS = HttpSettings(
    max_body=700,
    max_sessions=3,
    session_streams=2,
    session_queue=400,
    max_queued=600,
    stall_timeout=5.0,
    replay_events=6,
    replay_bytes=600,
)
_CALLS = (4, 2, 1)
"""Of which one is the limit: in most conversations few are open at a time."""
_LIMITS = Limits(message_size=700, depth=12, in_flight=4, batch=4, listen_streams=2, queued=600)


def _visit(data: bytes, cut: site.Cut) -> site.Visit:
    c = Choices(data)
    settings = structs.replace(_SETTINGS, max_calls=c.pick(_CALLS))
    bench = Bench(make_server(settings, limits=_LIMITS))
    visit = site.Visit([bench], c, cut, bench.pump, settings=settings, limits=_LIMITS)
    site.wander(visit)
    return visit


def TARGET(data: bytes) -> int:
    whole, split = _visit(data, site.whole), _visit(data, site.bytewise)
    assert whole.benches[0].replies == split.benches[0].replies
    assert whole.ids == split.ids
    return whole.delivered
