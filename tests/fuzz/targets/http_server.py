"""HttpServer: any heads, bodies and acts; a reply to each, however bodies arrive, and no 5xx."""

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
    max_calls=4,
    session_queue=400,
    max_queued=600,
    stall_timeout=5.0,
    replay_events=6,
    replay_bytes=600,
)
_LIMITS = Limits(message_size=700, depth=12, in_flight=4, batch=4, listen_streams=2, queued=600)


def _visit(data: bytes, cut: site.Cut) -> site.Visit:
    bench = Bench(make_server(_SETTINGS, limits=_LIMITS))
    visit = site.Visit([bench], Choices(data), cut, bench.pump)
    site.wander(visit)
    return visit


def TARGET(data: bytes) -> None:
    whole, split = _visit(data, site.whole), _visit(data, site.bytewise)
    assert whole.benches[0].replies == split.benches[0].replies
    assert whole.ids == split.ids
