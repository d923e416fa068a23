"""Succession of conversations: the next connection of a client takes over its requests.

A client that reconnects sets :attr:`Peer.reconnects`.  When its transport ends, some requests are
held: those that were never sent, those that may be repeated, and listen streams.  Every other
request has its one terminal event, and ConnectionEnded follows.  Then :meth:`Succession.succeed`
makes the Peer of the next conversation, which takes requests at once, or
:meth:`Succession.renounce` ends the held requests.

Ids and keys go on where those of the previous Peer ended, so that messages of the two
conversations cannot be confused.
"""

from typing import TYPE_CHECKING, cast

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import EndReason
from mcpcore.engine.faults import Fault
from mcpcore.engine.lifecycle import (
    REQUEST,
    STREAM,
    RequestSignal,
    RequestState,
    SessionState,
    StreamSignal,
    step,
)
from mcpcore.engine.outgoing import Outgoing
from mcpcore.engine.repeating import may_repeat
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.transmit import Transmit
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:
    from mcpcore.engine.peer import Peer


class Succession(Outgoing):
    """The part of a Peer that its successor takes over."""

    __slots__ = ()

    def end_ours(self, reason: EndReason, message: str, fault: Fault | None = None) -> None:
        """End every outbound request that does not outlive this conversation."""
        unsent: set[RequestId | None] = set()
        if self.reconnects is not None:
            unsent = self.endpoint.outbox.requests()
        for request in list(self._pending.values()):
            if not self._outlives(request, unsent):
                self.abort(request, RequestSignal.END, reason, message, fault)

    def _outlives(self, request: Outbound, unsent: set[RequestId | None]) -> bool:
        """Return True if a request need not end with this conversation; then it is held."""
        settings = self.reconnects
        if (
            settings is None
            or request.purpose is not Purpose.APPLICATION
            or request.farewell is not None
        ):
            return False
        if request.state is RequestState.HELD:
            return True
        if request.stream is None and request.id not in unsent:
            body = request.original
            again = may_repeat(request.method, body, request.repeat, self.config)
            if not again or request.repeats >= settings.max_repeats:
                return False
            request.repeats += 1
        request.state = step(REQUEST, request.state, RequestSignal.LOST) or request.state
        if request.stream is not None:
            request.stream = step(STREAM, request.stream, StreamSignal.LOST) or request.stream
        request.revision, request.row, request.progress = None, None, None
        self._held[request.id] = request
        return True

    def succeed(self) -> "Peer":
        """Make the Peer of the next conversation with the same server, yet to be started.

        It speaks the era of this one; requests may be given to it at once.  Raises
        LocalProtocolError unless this is a client with ``reconnects`` whose conversation has
        ended.
        """
        if self.role is not Role.CLIENT or self.reconnects is None or not self.ended:
            raise LocalProtocolError("only a client that means to come back has a successor")
        self.drop_unsent()
        make = cast("type[Peer]", type(self))
        heir = make(
            self.role, self._config_of_heir(), endpoint=self.endpoint, mirrors=self._mirrors
        )
        heir.reconnects, heir.expected = self.reconnects, True
        for held in self._held.values():
            held.peer = heir
            heir._held[held.id] = heir._pending[held.id] = held
        for waiting in self.waiting_input.values():
            waiting.peer = heir
            heir.waiting_input[waiting.id] = waiting
        self._held, self._pending, self.waiting_input = {}, {}, {}
        self.reconnects = None
        return heir

    def renounce(self, reason: str) -> None:
        """Give up reconnecting: the held requests end as CLOSED."""
        self.reconnects = None
        self.waiting_input.clear()
        self.end_ours(EndReason.CLOSED, f"connection closed: {reason}")

    def drop_unsent(self) -> None:
        """Drop all frames of this conversation that were not sent."""

        def unwanted(frame: Transmit) -> bool:
            return frame.peer is self

        for frame in self.endpoint.outbox.discard(unwanted):
            self.taken(frame)

    def check_room(self) -> None:
        """Raise LocalProtocolError if no further request may wait for the next connection."""
        settings = self.reconnects
        if not self.expected or settings is None or self.state is SessionState.OPEN:
            return
        limit = settings.max_waiting
        if len(self._held) >= limit:
            raise LocalProtocolError(
                f"the connection is lost, and {limit} requests wait for the next one already"
            )

    def _config_of_heir(self) -> Config:
        config, revision = self.config, self.revision
        if revision is None:
            return config
        era = tuple(each for each in config.revisions if each.modern == revision.modern)
        return config if era == config.revisions else structs.replace(config, revisions=era)
