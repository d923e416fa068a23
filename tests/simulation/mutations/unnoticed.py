"""Bugs that disturb no conversation: what is kept for ever, said again, or not said in time."""

import math
from typing import Any

from mcpcore.engine import peer
from mcpcore.engine.state import PeerState
from mcpcore.http.server import router
from mcpcore.http.server.exchange import Exchange, ExchangeState
from mcpcore.http.server.router import Router
from mcpcore.http.server.server import HttpServer
from mcpcore.http.server.sessions import SessionTable
from tests.simulation.mutations.model import Mutation, wrapped

_UPDATED = "notifications/resources/updated"


def _routes_kept() -> None:
    """A server knows every exchange that there ever was."""

    def make(open: Any) -> Any:
        def mutant(self: Any, exchange: Any, *rest: Any, **more: Any) -> Any:
            vars(self).setdefault("_seen", {})[exchange] = None
            return open(self, exchange, *rest, **more)

        return mutant

    wrapped(HttpServer, "open", make)


def _uses_kept() -> None:
    """A server knows all times at which a session was used, for as long as there is one."""

    def make(touch: Any) -> Any:
        def mutant(self: Any, session: Any, now: float) -> None:
            touch(self, session, now)
            vars(self).setdefault("_uses", []).append(now)

        return mutant

    def make_remove(remove: Any) -> Any:
        def mutant(self: Any, session: Any) -> None:
            remove(self, session)
            if len(self) == 0:
                vars(self).pop("_uses", None)

        return mutant

    wrapped(SessionTable, "touch", make)
    wrapped(SessionTable, "remove", make_remove)


def _said_twice() -> None:
    """A change of a resource is told twice to whoever has subscribed to it."""

    def make(send: Any) -> Any:
        def mutant(self: Any, method: str, *rest: Any, **options: Any) -> None:
            for _ in range(2 if method == _UPDATED and "members" in options else 1):
                send(self, method, *rest, **options)

        return mutant

    wrapped(PeerState, "send_notification", make)


def _streamed_twice() -> None:
    """A change is told twice on each listen stream that it is for."""
    tell = peer._tell

    def mutant(*change: Any) -> bool:
        tell(*change)
        return tell(*change)

    vars(peer)["_tell"] = mutant


def _no_heartbeat() -> None:
    """A stream on which there is nothing to say is silent."""

    def mutant(self: Any) -> None:
        return None

    Exchange.heartbeat = mutant  # type: ignore[method-assign]


def _never_slow() -> None:
    """However slow an answer is, it is waited for."""

    def make(wait: Any) -> Any:
        def mutant(self: Any, record: Any, now: float) -> None:
            wait(self, record, now)
            record.slow_at = math.inf

        return mutant

    wrapped(Router, "wait", make)


def _slow_later() -> None:
    """Where nothing is waited for, an answer is until its stream is looked at."""

    def make(watch: Any) -> Any:
        def mutant(self: Any, record: Any, now: float) -> None:
            watch(self, record, now)
            if record.state is ExchangeState.WAITING and record.slow_at <= now:
                self.deadlines.set(record, now + self.interval)

        return mutant

    wrapped(Router, "watch", make)


def _stalled_for_ever() -> None:
    """A stream that nobody reads is kept, whatever waits on it."""

    def make(look_at: Any) -> Any:
        def mutant(self: Any, record: Any, now: float) -> None:
            record.over_since = None
            look_at(self, record, now)

        return mutant

    wrapped(Router, "look_at", make)


def _rounded() -> None:
    """A stream is given up when sums of times say to the last bit that it has been full so long."""
    router._ROUNDING = 0.0


MUTATIONS = [
    Mutation("routes kept", "http", _routes_kept),
    Mutation("uses kept", "http", _uses_kept),
    Mutation("said twice", "lines", _said_twice),
    Mutation("streamed twice", "http", _streamed_twice),
    Mutation("no heartbeat", "http", _no_heartbeat),
    Mutation("never slow", "http", _never_slow),
    Mutation("slow later", "http", _slow_later),
    Mutation("rounded", "sse", _rounded, within=0),
    Mutation("stalled for ever", "sse", _stalled_for_ever, only="deaf", first=230),
]
