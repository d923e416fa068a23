"""Bugs by which something does not arrive, not in time, or again and again."""

from typing import Any

from msgspec import structs

from mcpcore import HttpClient, Peer, Role
from mcpcore.engine import peer
from mcpcore.engine.lifecycle import RequestSignal
from mcpcore.engine.outbound import Sender
from mcpcore.engine.reconnection import Handover
from mcpcore.engine.state import PeerState
from mcpcore.engine.subscriptions import Interest
from mcpcore.http.client.call import CallPurpose, Recovery
from mcpcore.http.client.state import ClientState
from mcpcore.http.server.sessions import SessionTable
from mcpcore.http.server.stored import sessions as stored
from tests.simulation.mutations.model import Mutation, wrapped


def _deaf_to(signal: RequestSignal, *, scoped: bool | None = None) -> None:
    """A server does not hear that a call is over."""

    def make(drop: Any) -> Any:
        def mutant(self: Any, record: Any, told: Any, reason: Any) -> None:
            call = self.role is Role.SERVER and record.stream is None
            where = scoped is None or (self.scoped == scoped and self.session is None)
            if not (call and where and told is signal):
                drop(self, record, told, reason)

        return mutant

    wrapped(PeerState, "drop", make)


def _call_goes_on() -> None:
    """A server ignores the cancellation of calls."""
    _deaf_to(RequestSignal.CANCEL)


def _left_exchange() -> None:
    """Who leaves the exchange of a call, in the modern era, does not end it."""
    _deaf_to(RequestSignal.END, scoped=True)


def _left_connection() -> None:
    """The end of a connection ends no call."""
    _deaf_to(RequestSignal.END, scoped=False)


def _given_up_silently() -> None:
    """A client does not say that it has given up a call."""

    def make(send: Any) -> Any:
        def mutant(self: Any, request: Any, reason: Any) -> None:
            if request.stream is not None:
                send(self, request, reason)

        return mutant

    wrapped(Sender, "send_cancelled", make)


def _answers_lost() -> None:
    """Every second answer of a client is lost."""
    finish, count = peer._finish, [0]

    def mutant(record: Any, kind: Any, data: Any, code: Any = None) -> bool:
        if record.peer.role is Role.CLIENT:
            count[0] += 1
            if count[0] % 2:
                done: bool = record.peer.finish(record, RequestSignal.ANSWER)
                return done
        return finish(record, kind, data, code)

    peer._finish = mutant


def _changes_untold() -> None:
    """No change is told in sessions."""

    def mutant(self: Any, change: Any, body: Any, meta: Any) -> bool:
        return False

    Peer._publish = mutant  # type: ignore[method-assign]


def _lists_untold() -> None:
    """In sessions no change of a list is told, of which there is one of each kind."""

    def make(publish: Any) -> Any:
        def mutant(self: Any, change: Any, body: Any, meta: Any) -> bool:
            if change.topic.subject is None:
                return False
            told: bool = publish(self, change, body, meta)
            return told

        return mutant

    wrapped(Peer, "_publish", make)


def _lists_unheard() -> None:
    """A listen stream carries changes of resources alone."""

    def make(wants: Any) -> Any:
        def mutant(self: Any, change: Any) -> bool:
            wanted: bool = wants(self, change)
            return wanted and change.topic.subject is not None

        return mutant

    wrapped(Interest, "wants", make)


def _streams_silent() -> None:
    """No change is told on listen streams."""

    def mutant(self: Any, change: Any) -> bool:
        return False

    Interest.wants = mutant  # type: ignore[method-assign]


def _news_untold() -> None:
    """News for all is not sent."""

    def make(notify: Any) -> Any:
        def mutant(self: Any, method: str, params: Any = None, **options: Any) -> bool:
            if method == "notifications/x" and options.get("parent") is None:
                return False
            told: bool = notify(self, method, params, **options)
            return told

        return mutant

    wrapped(Peer, "notify", make)


def _no_stream() -> None:
    """A client does not open the stream of its session."""

    def make(confirmed: Any) -> Any:
        def mutant(self: Any) -> None:
            state = self
            kept = state.settings
            state.settings = structs.replace(kept, get_stream=False)
            confirmed(self)
            state.settings = kept

        return mutant

    wrapped(ClientState, "confirmed", make)


def _never_picked_up(standalone: bool) -> None:
    def make(recovery: Any) -> Any:
        def mutant(self: Any, call: Any) -> Recovery:
            if (call.purpose is CallPurpose.STREAM) == standalone:
                return Recovery.FAIL
            way: Recovery = recovery(self, call)
            return way

        return mutant

    wrapped(HttpClient, "_recovery", make)


def _not_reopened() -> None:
    """The stream of a session that breaks off is not opened again."""
    _never_picked_up(standalone=True)


def _not_resumed() -> None:
    """The stream of a request that breaks off is not picked up."""
    _never_picked_up(standalone=False)


def _answers_kept() -> None:
    """A worker drops answers that another one waits for."""
    sort_out = stored.sort_out

    def mutant(frame: Any, peer: Any, name: str) -> Any:
        here, elsewhere = sort_out(frame, peer, name)
        return here, [each for each in elsewhere if each.worker is None]

    stored.sort_out = mutant


def _cancellations_kept() -> None:
    """A worker keeps to itself what is cancelled."""
    stored._EVERYWHERE = stored._HERE


def _patience(factor: float) -> None:
    def make(timeout: Any) -> Any:
        def mutant(self: Any, seconds: Any) -> Any:
            due = timeout(self, seconds)
            return due * factor if self._state.role is Role.SERVER and due is not None else due

        return mutant

    wrapped(Sender, "_timeout", make)


def _questions_late() -> None:
    """Questions time out six times as late."""
    _patience(6.0)


def _questions_early() -> None:
    """Questions time out after a tenth of their time."""
    _patience(0.1)


def _idle(factor: float) -> None:
    def make(init: Any) -> Any:
        def mutant(self: Any, secret: Any, settings: Any) -> None:
            idle = settings.session_idle
            init(self, secret, structs.replace(settings, session_idle=idle and idle * factor))

        return mutant

    wrapped(SessionTable, "__init__", make)


def _sessions_long() -> None:
    """Sessions are kept ten times as long."""
    _idle(10.0)


def _sessions_short() -> None:
    """Sessions are kept for a tenth of their time."""
    _idle(0.1)


def _repeated_for_ever() -> None:
    """What was lost with a connection is sent on every next one."""

    def make(outlives: Any) -> Any:
        def mutant(self: Any, request: Any, unsent: Any) -> bool:
            kept: bool = outlives(self, request, unsent)
            request.repeats = 0
            return kept

        return mutant

    wrapped(Handover, "keeps", make)


def _again_for_ever() -> None:
    """What was lost with a session is sent in every next one."""

    def make(save: Any) -> Any:
        def mutant(self: Any, call: Any, *rest: Any) -> None:
            call.again = False
            save(self, call, *rest)

        return mutant

    wrapped(ClientState, "save", make)


MUTATIONS = [
    Mutation("call goes on", "lines", _call_goes_on),
    Mutation("left exchange", "http", _left_exchange),
    Mutation("left connection", "lines", _left_connection),
    Mutation("given up silently", "lines", _given_up_silently),
    Mutation("answers lost", "sse", _answers_lost),
    Mutation("changes untold", "lines", _changes_untold),
    Mutation("lists untold", "lines", _lists_untold),
    Mutation("lists unheard", "http", _lists_unheard),
    Mutation("streams silent", "lines", _streams_silent),
    Mutation("news untold", "lines", _news_untold),
    Mutation("no stream", "http", _no_stream),
    Mutation("not reopened", "http", _not_reopened),
    Mutation("not resumed", "http", _not_resumed),
    Mutation("answers kept", "store", _answers_kept),
    Mutation("cancellations kept", "store", _cancellations_kept),
    Mutation("questions late", "lines", _questions_late),
    Mutation("questions early", "lines", _questions_early),
    Mutation("sessions long", "http", _sessions_long),
    Mutation("sessions short", "http", _sessions_short),
    Mutation("repeated for ever", "lines", _repeated_for_ever, only="drop,mute,crash_server"),
    Mutation("again for ever", "http", _again_for_ever, only="crash_server,delay"),
]
