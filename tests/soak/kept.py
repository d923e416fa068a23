"""What this process keeps: the members of all tables of ours, and how many objects there are.

What is only remembered to be used again, up to a bound, is in :data:`MAY_GROW`.
"""

import gc
from collections import Counter
from functools import lru_cache

from mcpcore.engine.deadlines import Deadlines
from mcpcore_transports.http1 import heads
from tests.soak.allocated import give_back
from tests.torture.tables import KEEPERS, REMEMBERED, living, modules, package, tables

MAY_GROW = {
    **REMEMBERED,
    "NoteQueue._heard": "10,000 announcements of others",
    "Profile.offered": "those of the profiles, which are counted by themselves",
    "Profile.ours": "those of the profiles",
    "Profile.theirs": "those of the profiles",
    "ResultCache._changes": "as many as there are results",
    "database: once": "1,000 announcements of each session",
    "objects: mcpcore_transports _Array": "those of 32 forms",
    "objects: mcpcore_transports _Check": "those of the tools",
    "objects: mcpcore_transports _Object": "those of 32 forms",
    "redis: all": "10,000 notes to all workers",
    "redis: held": "the sessions that each worker had, for as long as one may last",
    "redis: inbox": "10,000 notes to each worker",
    "redis: t": "4,096 streams of each session; those that are over go when room is wanted",
    "redis: u": "1,000 announcements of each session",
    "mcpcore_transports.websocket.connection._xor": "256 bytes",
}
"""What is kept to be used again, and how much of it at most.  Functions that remember so many
answers at most are not among them, as they are not counted."""
_CACHED = type(lru_cache(len))


def forget() -> int:
    """Let go of garbage, of HTTP/1 heads, which are remembered up to bounds that a short soak does
    not come to, and of free memory; gives the most heads that one parser of requests had."""
    heads._RESPONSES.clear()
    gc.collect()
    most = 0
    for each in gc.get_objects():
        if type(each) is heads.RequestParser:
            most = max(most, len(each._known), len(each._kinds))
            each._known.clear()
            each._lengths.clear()
            each._kinds.clear()
    give_back()
    return most


def overdue_gone() -> None:
    """Let go of deadlines that were over before their time: what waits for one would be taken for
    what is kept of its call.  How much of that there is, is counted when nobody has let go of it
    (:func:`tests.soak.sampling.sample`)."""
    for each in gc.get_objects():
        if type(each) is Deadlines:
            each._compact()


def kept() -> Counter[str]:
    """What tables have how much, and how many objects of ours there are of which class."""
    overdue_gone()
    forget()
    there = living(KEEPERS)
    kinds = Counter(f"objects: {package(type(each))} {type(each).__qualname__}" for each in there)
    found = tables([*there, *modules()])
    for name in _bounded():
        del found[name]
    return found + kinds


def _bounded() -> set[str]:
    """The functions of our modules that remember so many answers at most."""
    return {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, _CACHED) and value.cache_parameters()["maxsize"] is not None
    }
