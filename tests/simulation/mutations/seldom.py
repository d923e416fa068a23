"""Bugs that show where much happens at once, or the same for the second time."""

from typing import Any

from msgspec import structs

from mcpcore.engine import deadlines
from mcpcore.engine.state import PeerState
from mcpcore.http.client.client import HttpClient
from mcpcore.http.client.state import ClientState
from mcpcore.http.server.exchange import Exchange
from mcpcore.http.server.router import Router
from mcpcore.http.server.sessions import Session, SessionTable
from tests.simulation.mutations.model import Mutation, wrapped


def _no_heap() -> None:
    """What is left of the deadlines when the dead ones are cleared away is no heap."""

    vars(deadlines)["heapify"] = lambda heap: None


def _unread_goes_on() -> None:
    """A modern call goes on after its stream was given up, as nobody read it."""

    def make(give_up: Any) -> Any:
        def mutant(self: Any, record: Any, now: float) -> None:
            record.modern, kept = False, record.modern
            give_up(self, record, now)
            record.modern = kept

        return mutant

    wrapped(Router, "give_up", make)


def _backlog_unbounded() -> None:
    """What waits for a stream of a session has no bound."""

    def make(place: Any) -> Any:
        def mutant(self: Any, frame: Any, now: float) -> None:
            kept = self.settings
            self.settings = structs.replace(kept, session_queue=1 << 40)
            place(self, frame, now)
            self.settings = kept

        return mutant

    wrapped(Session, "place", make)


def _backlog_miscounted() -> None:
    """What waited for a stream counts as waiting after it was given to one."""

    def mutant(self: Any, exchange: Any) -> None:
        while self.backlog:
            exchange.push(self.backlog.popleft())

    Session._serve_backlog = mutant  # type: ignore[method-assign]


def _place_forgotten() -> None:
    """A stream that breaks again before it brought an event is not picked up where it was."""

    def make(begin: Any) -> Any:
        def mutant(self: Any, call: Any, kind: Any, now: float) -> None:
            begin(self, call, kind, now)
            if call.decoder is not None:
                call.decoder.last_event_id = ""

        return mutant

    wrapped(HttpClient, "_begin", make)


def _rest_unnoticed() -> None:
    """A session counts as used when its last stream began, not when that ended."""

    def mutant(self: Any, session: Any, now: float) -> None:
        return None

    SessionTable.rest = mutant  # type: ignore[method-assign]


def _earlier_questions() -> None:
    """Of a request that was given up, questions stay that came before its stream was picked up."""

    def make(take_back: Any) -> Any:
        def mutant(self: Any, call: Any) -> None:
            call.earlier = []
            take_back(self, call)

        return mutant

    wrapped(ClientState, "take_back", make)


def _foreign_news() -> None:
    """Where much waits, newer news takes the place of what another request has to tell."""

    def mutant(self: Any, record: Any, subject: Any, data: bytes) -> bool:
        same = [frame for (_, what), frame in self.replaceable.items() if what == subject]
        if not same:
            return False
        growth = self.endpoint.outbox.replace(same[0], (data,))
        if record is not None:
            record.queued += growth
        return True

    PeerState.renew = mutant  # type: ignore[method-assign]


def _poll_unsettled() -> None:
    """What waits when a stream is closed for its client to come back has no id."""

    def make(hang_up: Any) -> Any:
        def mutant(self: Any, stream: Any, retry: float) -> Any:
            kept = Exchange.settle
            Exchange.settle = lambda self: None  # type: ignore[method-assign]
            done = hang_up(self, stream, retry)
            Exchange.settle = kept  # type: ignore[method-assign]
            return done

        return mutant

    wrapped(Session, "hang_up", make)


MUTATIONS = [
    Mutation("no heap", "http", _no_heap, within=2000, first=500),
    Mutation("unread goes on", "http", _unread_goes_on),
    Mutation("backlog unbounded", "http", _backlog_unbounded),
    Mutation("backlog miscounted", "http", _backlog_miscounted),
    Mutation("place forgotten", "http", _place_forgotten, only="drop,delay,split"),
    Mutation("rest unnoticed", "http", _rest_unnoticed, only="mute", within=2000, first=350),
    Mutation("earlier questions", "http", _earlier_questions),
    Mutation("foreign news", "http", _foreign_news),
    Mutation("poll unsettled", "http", _poll_unsettled, first=340),
]
