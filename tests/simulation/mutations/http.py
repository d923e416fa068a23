"""Bugs of the HTTP machines, and of event streams."""

from typing import Any

from mcpcore.http.client.state import ClientState
from mcpcore.http.server.event_log import EventIds, EventStream, SessionLog
from mcpcore.http.server.router import Router
from mcpcore.http.server.sessions import Session, SessionTable
from mcpcore.http.server.stored.replica import StoreSteps
from mcpcore.http.server.stored.streams import StreamWriter
from mcpcore.http.storing import StreamRead
from mcpcore.wire.sse import SseDecoder
from tests.simulation.mutations.model import Mutation, wrapped


def _wrong_stream() -> None:
    """A client that comes back is sent what followed on another stream."""

    def make(read: Any) -> Any:
        def mutant(self: Any, session: str, id: str) -> Any:
            place = read(self, session, id)
            return None if place is None else (max(1, place[0] - 1), 0)

        return mutant

    wrapped(EventIds, "read", make)


def _replay_again() -> None:
    """A client that comes back is sent its last event once more."""

    def make(read: Any) -> Any:
        def mutant(self: Any, session: str, id: str) -> Any:
            place = read(self, session, id)
            return None if place is None else (place[0], max(0, place[1] - 1))

        return mutant

    wrapped(EventIds, "read", make)


def _stale_route() -> None:
    """The stream of a request is known by its exchange after the answer."""

    def make(end: Any) -> Any:
        def mutant(self: Any, stream: Any) -> None:
            stream.ended = True
            self.tidy(stream)

        return mutant

    wrapped(SessionLog, "end", make)


def _session_stays() -> None:
    """A session that has ended counts for its owner."""

    def make(remove: Any) -> Any:
        def mutant(self: Any, session: Any) -> None:
            if session.id in self._sessions:
                del self._sessions[session.id]
                del self._all[session.usage][session]

        return mutant

    wrapped(SessionTable, "remove", make)


def _foreign_session() -> None:
    """Whatever session a request names, it gets the newest."""

    def make(find: Any) -> Any:
        def mutant(self: Any, id: str, principal: Any) -> Any:
            newest = next(reversed(self._sessions), id)
            return find(self, newest, principal)

        return mutant

    wrapped(SessionTable, "find", make)


def _leaves_streams() -> None:
    """A client that comes back misses the first event that followed."""

    def make(after: Any) -> Any:
        def mutant(self: Any, position: int) -> Any:
            entries = after(self, position)
            return None if entries is None else entries[1:]

        return mutant

    wrapped(EventStream, "after", make)


def _no_disconnect() -> None:
    """An exchange of a client that has left is kept."""

    def make(forget: Any) -> Any:
        def mutant(self: Any, record: Any) -> None:
            complete = record.complete
            forget(self, record)
            if not complete:
                self.exchanges[record.route] = record

        return mutant

    wrapped(Router, "forget", make)


def _split_characters() -> None:
    """Each piece of an event stream is read as text of its own."""

    def make(receive: Any) -> Any:
        def mutant(self: Any, data: Any) -> Any:
            return receive(self, bytes(data).decode("utf-8", "replace").encode())

        return mutant

    wrapped(SseDecoder, "receive", make)


def _split_line_ends() -> None:
    """A piece that begins with LF is taken for the second one of a CRLF."""

    def make(receive: Any) -> Any:
        def mutant(self: Any, data: Any) -> Any:
            return receive(self, bytes(data).removeprefix(b"\n"))

        return mutant

    wrapped(SseDecoder, "receive", make)


def _late_handshake() -> None:
    """A session that was asked for in vain is used in the modern era (once was so)."""

    def mutant(self: Any, latest: Any = None) -> None:
        return None

    ClientState.forget_handshake = mutant  # type: ignore[method-assign]
    ClientState._drop_handshakes = mutant  # type: ignore[method-assign]


def _old_progress() -> None:
    """Progress of a request that is made again goes on from where it was (once was so)."""

    def make(save: Any) -> Any:
        def mutant(self: Any, call: Any, frame: Any, message: str, now: float) -> None:
            record = self.endpoint.outbound.get(call.request)
            before = None if record is None else record.progress
            save(self, call, frame, message, now)
            if record is not None:
                record.progress = before

        return mutant

    wrapped(ClientState, "save", make)


def _read_again() -> None:
    """A stream in a store is read from one event too early."""

    def make(ask: Any) -> Any:
        def mutant(self: Any, kind: Any, session: str, then: Any, **members: Any) -> None:
            if kind is StreamRead and members["after"] > 1:
                members["after"] -= 1
            ask(self, kind, session, then, **members)

        return mutant

    wrapped(StoreSteps, "ask", make)


def _no_patience() -> None:
    """What a store has failed to do is not tried again."""

    def mutant(self: Any, what: Any) -> None:
        return None

    StoreSteps.retry = mutant  # type: ignore[method-assign]


def _unwritten_end() -> None:
    """The end of a stream in a store with nothing on it is never settled (once was so)."""

    def make(settle: Any) -> Any:
        def mutant(self: Any) -> None:
            if self._given and self._given[0].position != 0:
                settle(self)

        return mutant

    wrapped(StreamWriter, "_settle", make)


def _over_a_gap() -> None:
    """A client that comes back after events were given up goes on as if nothing were missing."""

    def make(after: Any) -> Any:
        def mutant(self: Any, position: int) -> Any:
            entries = after(self, position)
            return after(self, position + 1) if entries is None else entries

        return mutant

    wrapped(EventStream, "after", make)


def _unsent_lost() -> None:
    """What a stream of a session has not sent is dropped when its connection breaks."""

    def make(let_go: Any) -> Any:
        def mutant(self: Any, exchange: Any, now: float) -> None:
            if exchange.stream is not None and exchange.stream.route is None:
                exchange.drop_queued()
            let_go(self, exchange, now)

        return mutant

    wrapped(Session, "let_go", make)


def _report_overtaken() -> None:
    """An answer does not wait for the report of progress before it."""

    def mutant(self: Any) -> None:
        for key, (_, waiting) in list(self.turns.items()):
            del self.turns[key]
            for frame in waiting:
                self.say(frame)

    ClientState.go_on = mutant  # type: ignore[method-assign]


def _ready_once() -> None:
    """``notifications/initialized`` counts as said though it was refused (once was so)."""

    def mutant(self: Any, call: Any, message: str, fault: Any, now: float) -> None:
        self.violation(call, message)
        self.confirmed()

    ClientState.unconfirmed = mutant  # type: ignore[method-assign]


def _half_open() -> None:
    """A session that the server never hears of as ready is neither used nor ended."""

    def mutant(self: Any, message: str, fault: Any, now: float) -> None:
        return None

    ClientState._end_unopened = mutant  # type: ignore[method-assign]


MUTATIONS = [
    Mutation("wrong stream", "http", _wrong_stream),
    Mutation("replay again", "http", _replay_again),
    Mutation("stale route", "http", _stale_route),
    Mutation("session stays", "http", _session_stays),
    Mutation("foreign session", "http", _foreign_session),
    Mutation("events lost", "http", within=2000, change=_leaves_streams),
    Mutation("exchange stays", "http", _no_disconnect),
    Mutation("split characters", "http", _split_characters),
    Mutation("split line ends", "http", _split_line_ends),
    Mutation("late handshake", "http", only="delay", change=_late_handshake),
    Mutation("old progress", "http", only="crash_server", change=_old_progress),
    Mutation("over a gap", "http", _over_a_gap, within=2000, first=660),
    Mutation("unsent lost", "http", _unsent_lost, only="drop,mute,deaf,narrow"),
    Mutation("report overtaken", "http", _report_overtaken),
    Mutation("ready once", "http", _ready_once, only="refuse,mute,drop"),
    Mutation("half open", "http", _half_open, only="refuse", within=2000),
    Mutation("ready once, with a store", "store", _ready_once, only="store_fail"),
    Mutation("read again", "store", _read_again),
    Mutation("no patience", "store", _no_patience),
    Mutation("unwritten end", "store", _unwritten_end, only="crash_client", within=2000, first=700),
]
