"""StoredHttpServer: two workers that share a store, under anything that clients may send."""

from mcpcore.engine import Limits
from mcpcore.http.settings import HttpSettings
from tests.fuzz import site
from tests.fuzz.choices import Choices
from tests.http.storebench import party, settle

TOKENS = site.TOKENS
_SETTINGS = HttpSettings(max_body=700, max_sessions=3, session_streams=2, max_calls=4)
_LIMITS = Limits(message_size=700, depth=12, in_flight=4, batch=4, listen_streams=2)


def TARGET(data: bytes) -> int:
    c = Choices(data)
    benches = party("w1", "w2", settings=_SETTINGS, limits=_LIMITS)
    failing = c.flag(8)
    if failing:
        benches[0].failing("SessionLoad", "EventAppend", done=c.flag())
    visit = site.Visit(
        [*benches],
        c,
        site.whole,
        lambda: settle(*benches),
        settings=_SETTINGS,
        limits=_LIMITS,
        failing=failing,
    )
    site.wander(visit)
    return visit.delivered
