"""Invariants of the machines, after every turn and in the end.

They are looked into for nothing but the sizes of their tables, and the states they are in.
"""

import math
from typing import Any

from mcpcore import HttpClient, HttpServer, HttpSettings, Peer
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import Route
from mcpcore.engine.lifecycle import RequestState, SessionState
from mcpcore.http.server.exchange import HARD_FACTOR, Exchange, ExchangeState
from mcpcore.http.server.stored.replica import SessionReplica
from tests.faults.holdings import empty
from tests.simulation.rules import demand
from tests.simulation.world import World

_SLACK = 1 << 15
"""Bytes: the longest message that the applications make, several times over."""
_MOMENT = 0.01
_UNREAD = "a stream that nobody reads is given up"
_COUNTED = "what waits for the store is counted right"
_STORED = "what waits for the store is bounded"
_MOST_WAITING = 64
"""Frames and exchanges at a time, whatever happens: clients ask for less."""

_LEADS = {
    SessionState.NEW: {
        SessionState.PROBING,
        SessionState.OPENING,
        SessionState.CLOSED,
        SessionState.CLOSING,
    },
    SessionState.PROBING: {
        SessionState.OPEN,
        SessionState.OPENING,
        SessionState.CLOSED,
        SessionState.CLOSING,
    },
    SessionState.OPENING: {
        SessionState.OPEN,
        SessionState.PROBING,
        SessionState.NEW,
        SessionState.CLOSED,
        SessionState.CLOSING,
    },
    SessionState.OPEN: {
        SessionState.NEW,
        SessionState.OPENING,
        SessionState.CLOSING,
        SessionState.CLOSED,
    },
    SessionState.CLOSING: {SessionState.CLOSED},
    SessionState.CLOSED: set(),
}
"""By state: what may follow, as the lifecycle pages have it."""
_REACHED: dict[SessionState, set[SessionState]] = {}
for _state in SessionState:
    _found, _new = {_state}, {_state}
    while _new:
        _new = {after for before in _new for after in _LEADS[before]} - _found
        _found |= _new
    _REACHED[_state] = _found


class Watch:
    """Looks at machines, and remembers the state in which it saw each last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: dict[Any, SessionState] = {}
        self._most: dict[Deadlines[Any], int] = {}
        """The most that were alive at a time."""
        self._over: dict[HttpServer, dict[Route, tuple[float, int]]] = {}
        """Streams with more than may wait: since when, or since when some of it left that brings
        answers, and how much."""

    def look(self, machine: Any) -> None:
        """Demand what holds after every turn."""
        if isinstance(machine, HttpServer):
            self._server(machine)
        elif isinstance(machine, HttpClient):
            self._client(machine)
        else:
            self._peer(machine)
            self._endpoint(machine._endpoint, machine.config.limits)

    def _peer(self, peer: Peer) -> None:
        before = self._states.get(peer, SessionState.NEW)
        state = peer.state
        if state is not before:
            demand(state in _REACHED[before], "a session goes on as it may", before, state)
            self._states[peer] = state
        limits = peer.config.limits
        most = limits.in_flight + limits.listen_streams
        demand(peer.in_flight <= most, "requests in flight are bounded", peer.in_flight)
        demand(peer.pending <= _MOST_WAITING, "requests of ours are bounded", peer.pending)
        demand(len(peer._state.replaceable) <= _MOST_WAITING, "what may be replaced is bounded")
        for record in peer._state.in_flight_by_id.values():
            known = record.state is RequestState.ACTIVE or record.state is RequestState.CANCELLED
            demand(known, "what is in flight is not done", record.id, record.state)
            demand(record.queued >= 0, "what waits is counted right", record.queued)

    def _endpoint(self, endpoint: Any, limits: Any) -> None:
        demand(not endpoint.inbox and not endpoint.events, "what has arrived is looked at")
        demand(
            endpoint.outbox.size <= limits.queued + _SLACK,
            "output is bounded",
            endpoint.outbox.size,
        )
        demand(endpoint.outbox.size >= 0, "output is counted right", endpoint.outbox.size)
        self._deadlines(endpoint.deadlines)

    def _deadlines(self, deadlines: Deadlines[Any]) -> None:
        heap = deadlines._heap
        if not heap:
            demand(not deadlines.live, "deadlines are counted right", deadlines.live)
            return
        alive, first = set(), math.inf
        for when, _, item in heap:
            if item.deadline == when:
                alive.add(id(item))
                first = min(first, when)
        live, size = len(alive), len(heap)
        # Cleared away is when one is set: as many may stay as there were allowed before.
        most = self._most[deadlines] = max(live, self._most.get(deadlines, 0))
        demand(size <= 65 + 4 * most, "deadlines are bounded", size, live)
        demand(deadlines.live == live, "deadlines are counted right", deadlines.live, live)
        found = _earliest(deadlines)
        demand(found == first, "the earliest deadline is found", found, first)
        heaped = all(heap[(place - 1) >> 1] < heap[place] for place in range(1, len(heap)))
        demand(heaped, "the deadlines after it are found in order")

    def _server(self, server: HttpServer) -> None:
        settings = server.settings
        self._endpoint(server._endpoint, server._router.session_config.limits)
        self._deadlines(server._router.deadlines)
        demand(server.sessions <= settings.max_sessions, "sessions are bounded", server.sessions)
        demand(server._log.size <= settings.replay_total, "events are bounded", server._log.size)
        most = HARD_FACTOR * settings.max_queued + _SLACK
        stuffed = []
        for exchange in server._exchanges.values():
            demand(0 <= exchange.size <= most, "a stream is bounded", exchange.size)
            if exchange.size > settings.max_queued and exchange.state is ExchangeState.STREAMING:
                stuffed.append(exchange)
        if stuffed or server in self._over:
            self._stalled(server, stuffed)
        self._peer(server._modern)
        if server._stored is not None:
            steps = server._stored.steps
            few = len(steps) <= 4 * _MOST_WAITING
            demand(few, "what the store was asked is bounded", len(steps))
            few = len(steps._due) <= 66 + 2 * 4 * _MOST_WAITING
            demand(few, "deadlines are bounded", len(steps._due))
        for session in server._router.sessions:
            self._peer(session.peer)
            waiting = sum(frame.size for frame in session.backlog)
            demand(waiting == session.backlog_size, "what waits for a stream is counted right")
            full = waiting <= settings.session_queue
            demand(full, "what waits for a stream is bounded", waiting)
            if isinstance(session, SessionReplica):
                self._replica(session, most)
                continue
            demand(len(session.gets) <= settings.session_streams, "GET streams are bounded")
            known = all(
                stream.number in session.log.streams for stream in session.log.posts.values()
            )
            demand(known, "no route is stale")
            open_ones = all(route in server._exchanges for route in session.exchanges)
            demand(open_ones, "no exchange is stale", [*session.exchanges])

    def _replica(self, replica: SessionReplica, most: int) -> None:
        """What is on its way to the store, or has come from there."""
        for writer in replica.writers.values():
            waiting = sum(frame.size for frame in writer._frames)
            demand(writer._size == waiting, _COUNTED, writer._size, waiting)
            given = sum(len(event.data) for event in writer._given)
            demand(max(waiting, given) <= most, _STORED, waiting, given)
        for reader in replica.readers.values():
            unsent = sum(size for _, size in reader._unsent)
            demand(reader._named or reader._unsent_size == unsent, _COUNTED, unsent)
            demand(unsent <= most, _STORED, unsent)
        queue = replica.queue
        waiting = sum(len(each.data) for each in (*queue._items, *queue._failed))
        demand(queue._size == waiting, _COUNTED, queue._size, waiting)
        demand(waiting <= replica.settings.session_queue, _STORED, waiting)

    def _stalled(self, server: HttpServer, stuffed: list[Exchange]) -> None:
        """A stream on which too much waits for too long is given up."""
        before, now = self._over.pop(server, {}), self._world.time
        over = {}
        for exchange in stuffed:
            since, size = before.get(exchange.route, (now, exchange.size))
            answers = exchange.session is not None and exchange.session.over_sse
            if answers and exchange.size < size:
                since = now
            demand(now <= since + _patience(server.settings), _UNREAD, exchange.size, since, now)
            over[exchange.route] = since, exchange.size
        if over:
            self._over[server] = over

    def _client(self, client: HttpClient) -> None:
        peer = client._state.peer
        self._peer(peer)
        endpoint = peer._endpoint
        self._endpoint(endpoint, peer.config.limits)
        self._deadlines(client._state.deadlines)
        demand(client.exchanges <= 4 * _MOST_WAITING, "exchanges are bounded", client.exchanges)
        stale = [id for id in client._state.by_request if id not in endpoint.outbound]
        demand(not stale, "no exchange waits for what has ended", stale)
        for what in (client._state._saved, client._state.waiting, client._state.turns):
            demand(len(what) <= _MOST_WAITING, "what waits is bounded", len(what))


def _patience(settings: HttpSettings) -> float:
    """Seconds that a stream with too much may stay: it is looked at once in so many."""
    look = settings.heartbeat or settings.stall_timeout
    return look * (1 + math.ceil(settings.stall_timeout / look)) + _MOMENT


def _earliest(deadlines: Deadlines[Any]) -> float:
    """What ``next()`` would find, without that it clears anything away."""
    copy: Deadlines[Any] = Deadlines()
    copy._heap = deadlines._heap.copy()
    found = copy.next()
    return math.inf if found is None else found


def rested(machine: Any, name: str) -> None:
    """Demand that a machine that has ended holds nothing any more, and waits for nothing."""
    empty(machine, name)
    demand(machine.deadline() is None, "nothing is due in the end", name, machine.deadline())
