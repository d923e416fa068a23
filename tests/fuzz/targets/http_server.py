"""HttpServer: any heads, bodies and acts; a reply to each, however bodies arrive, and no 5xx."""

from msgspec import structs

from mcpcore import HttpSettings, Limits
from tests.fuzz import site
from tests.fuzz.choices import Choices
from tests.http.support import Bench, make_server

TOKENS = site.TOKENS
_SETTINGS = HttpSettings(
    max_sessions=3,
    session_streams=2,
    session_queue=400,
    max_queued=600,
    stall_timeout=5.0,
    replay_events=6,
    replay_bytes=600,
)
_CALLS = ((4, 700), (2, 700), (1, 700))
"""Limits of calls, of which few are open at a time in most conversations, and of bodies."""
_ROOMY = ((4, 6_000),)
_LIMITS = Limits(depth=12, in_flight=4, batch=4, listen_streams=2, queued=600)


def _visit(data: bytes, cut: site.Cut) -> site.Visit:
    c = Choices(data)
    calls, size = c.seldom(_CALLS, _ROOMY)
    settings = structs.replace(_SETTINGS, max_calls=calls, max_body=size)
    limits = structs.replace(_LIMITS, message_size=size)
    bench = Bench(make_server(settings, limits=limits))
    visit = site.Visit([bench], c, cut, bench.pump, settings=settings, limits=limits)
    site.wander(visit)
    return visit


def TARGET(data: bytes) -> int:
    whole, split = _visit(data, site.whole), _visit(data, site.bytewise)
    assert whole.benches[0].replies == split.benches[0].replies
    assert whole.ids == split.ids
    return whole.delivered
