"""Bugs of the engine and of the wire beneath it."""

from typing import Any

from mcpcore import EndReason, FrameKind, Peer
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.inbound import ANSWERED_HERE
from mcpcore.engine.lifecycle import RequestState
from mcpcore.engine.outbound import Sender
from mcpcore.engine.reconnection import Handover
from mcpcore.engine.state import Batch, Endpoint, PeerState
from mcpcore.engine.subscriptions import Interest
from mcpcore.engine.transmit import Outbox
from mcpcore.wire.framing import LineReader
from tests.simulation.mutations.model import Mutation, wrapped


def _lost_end() -> None:
    """A request whose connection is lost has no terminal event."""

    def make(abort: Any) -> Any:
        def mutant(
            self: Any, request: Any, signal: Any, reason: Any, message: Any, fault: Any = None
        ) -> None:
            if reason is EndReason.CLOSED:
                self.conclude(request, signal)
            else:
                abort(self, request, signal, reason, message, fault)

        return mutant

    wrapped(PeerState, "abort", make)


def _two_ends() -> None:
    """A request that has timed out stays in the table, so that its late answer counts."""

    def make(conclude: Any) -> Any:
        def mutant(self: Any, request: Any, signal: Any) -> bool:
            done: bool = conclude(self, request, signal)
            if signal.value == "timed out":
                self.pending[request.id] = request
                request.state = RequestState.ACTIVE
            return done

        return mutant

    wrapped(PeerState, "conclude", make)


def _answered_twice() -> None:
    """A result is sent twice."""

    def make(push: Any) -> Any:
        def mutant(self: Any, frame: Any) -> None:
            push(self, frame)
            if frame.kind is FrameKind.RESULT and frame.route == 0:
                push(self, frame)

        return mutant

    wrapped(Outbox, "push", make)


def _cancelled_answered() -> None:
    """A cancelled request is answered all the same."""

    def make(finish: Any) -> Any:
        def mutant(self: Any, record: Any, signal: Any) -> bool:
            answered = signal.value == "answered"
            done: bool = finish(self, record, signal)
            return done or answered

        return mutant

    wrapped(PeerState, "finish", make)


def _not_withdrawn() -> None:
    """What waits for a cancelled request is sent all the same, and more is taken."""

    def make(step: Any) -> Any:
        return lambda self, record: None

    wrapped(PeerState, "withdraw", make)


def _log_overtakes() -> None:
    """A log message goes in front of what was made before it."""

    def make(take: Any) -> Any:
        def mutant(self: Any, limit: Any = None) -> Any:
            frames = take(self, limit)
            return sorted(frames, key=lambda frame: frame.method != "notifications/message")

        return mutant

    wrapped(Endpoint, "data_to_send", make)


def _never_due() -> None:
    """Progress takes the deadline of a request away instead of moving it."""

    def mutant(self: Any, request: Any, now: float) -> None:
        self._endpoint.deadlines.set(request, None)

    Sender.extend = mutant  # type: ignore[method-assign]


def _heap_forgotten() -> None:
    """Of the deadlines only those are seen that came in order."""

    def mutant(self: Any) -> Any:
        queue = self._queue
        while queue and queue[0][1].deadline != queue[0][0]:
            queue.popleft()
        return queue[0][0] if queue else None

    Deadlines.next = mutant  # type: ignore[method-assign]


def _never_crowded() -> None:
    """Output has no bound."""

    def mutant(self: Any, record: Any) -> bool:
        return False

    PeerState.crowded = mutant  # type: ignore[method-assign]


def _heir_forgets() -> None:
    """What was held for the next connection is not given to it."""

    def make(succeed: Any) -> Any:
        def mutant(self: Any) -> Any:
            successor = succeed(self)
            successor._state.held.clear()
            successor._state.pending.clear()
            return successor

        return mutant

    wrapped(Peer, "succeed", make)


def _repeats_all() -> None:
    """Every request is sent again on the next connection, whatever its effects."""

    def make(outlives: Any) -> Any:
        def mutant(self: Any, request: Any, unsent: Any) -> bool:
            request.repeat = True
            kept: bool = outlives(self, request, unsent)
            return kept

        return mutant

    wrapped(Handover, "keeps", make)


def _newline_lost() -> None:
    """A piece that is nothing but the end of a line is dropped."""

    def make(receive: Any) -> Any:
        def mutant(self: Any, data: bytes) -> None:
            if data != b"\n":
                receive(self, data)

        return mutant

    wrapped(LineReader, "receive", make)


def _extended_too_far() -> None:
    """Progress begins the time of a request anew, and gives it twice as much."""

    def make(extend: Any) -> Any:
        def mutant(self: Any, request: Any, now: float) -> None:
            kept = request.timeout
            request.timeout = kept and 2 * kept
            extend(self, request, now)
            request.timeout = kept

        return mutant

    wrapped(Sender, "extend", make)


class _Everything:
    """Holds whatever it is asked for."""

    def __contains__(self, uri: object) -> bool:
        return True


def _updates_to_all() -> None:
    """Every session hears of changes of every resource."""

    def make(publish: Any) -> Any:
        def mutant(self: Any, change: Any, body: Any, meta: Any) -> bool:
            state = self._state
            kept, state.uris = state.uris, _Everything()
            told: bool = publish(self, change, body, meta)
            state.uris = kept
            return told

        return mutant

    wrapped(Peer, "_publish", make)


def _subscribed_for_ever() -> None:
    """A session that has unsubscribed hears of the resource all the same."""

    def make(unsubscribe: Any) -> Any:
        def mutant(state: Any, arrival: Any) -> Any:
            kept = set(state.uris)
            error = unsubscribe(state, arrival)
            state.uris.update(kept)
            return error

        return mutant

    ANSWERED_HERE["resources/unsubscribe"] = make(ANSWERED_HERE["resources/unsubscribe"])


def _unfiltered() -> None:
    """A listen stream carries the changes of all resources."""

    def make(wants: Any) -> Any:
        def mutant(self: Any, change: Any) -> bool:
            wanted: bool = wants(self, change)
            return wanted or change.topic.subject is not None

        return mutant

    wrapped(Interest, "wants", make)


def _no_maximum() -> None:
    """Progress puts off the end of a request for ever."""

    def mutant(self: Any, request: Any, now: float) -> None:
        if request.timeout is not None and request.deadline is not None:
            self._endpoint.deadlines.set(request, now + request.timeout)

    Sender.extend = mutant  # type: ignore[method-assign]


def _miscounted() -> None:
    """What was due counts as due for ever."""

    def make(due: Any) -> Any:
        def mutant(self: Any, now: float) -> Any:
            expired = due(self, now)
            self.live += len(expired)
            return expired

        return mutant

    wrapped(Deadlines, "due", make)


def _batch_apart() -> None:
    """Each answer to a batch leaves by itself."""

    def mutant(self: Any, answer: bytes | None = None) -> None:
        if answer is not None:
            self.peer.send_last(self.route, FrameKind.RESULT, answer, revision=self.revision)

    Batch.settle = mutant  # type: ignore[method-assign]


def _batch_incomplete() -> None:
    """The first answer to a batch is lost where there are more."""

    def make(settle: Any) -> Any:
        def mutant(self: Any, answer: bytes | None = None) -> None:
            if self._open == 1 and answer is not None:
                del self._parts[:1]
            settle(self, answer)

        return mutant

    wrapped(Batch, "settle", make)


MUTATIONS = [
    Mutation("lost end", "lines", _lost_end),
    Mutation("two ends", "lines", _two_ends),
    Mutation("answered twice", "lines", _answered_twice),
    Mutation("cancelled answered", "lines", _cancelled_answered),
    Mutation("not withdrawn", "lines", within=2000, change=_not_withdrawn),
    Mutation("log overtakes", "lines", _log_overtakes),
    Mutation("never due", "lines", _never_due),
    Mutation("heap forgotten", "lines", _heap_forgotten),
    Mutation("never crowded", "lines", _never_crowded),
    Mutation("successor forgets", "lines", _heir_forgets),
    Mutation("repeats all", "lines", _repeats_all),
    Mutation("newline lost", "lines", _newline_lost),
    Mutation("updates to all", "lines", _updates_to_all),
    Mutation("subscribed for ever", "lines", _subscribed_for_ever),
    Mutation("unfiltered", "lines", _unfiltered),
    Mutation("no maximum", "lines", _no_maximum),
    Mutation("batch apart", "lines", _batch_apart),
    Mutation("batch incomplete", "lines", _batch_incomplete, within=2000),
    Mutation("miscounted", "lines", _miscounted),
    Mutation("extended too far", "lines", _extended_too_far),
]
