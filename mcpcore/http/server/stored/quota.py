"""Share of a session's request limit that one worker may use; the limit holds for all workers.

A worker asks the store for a quota before it accepts more than a few requests, and gives it back as
they end.  It asks for blocks, so that most requests wait for nothing.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import UNSET

from mcpcore.http.server.stored.steps import ignore
from mcpcore.http.storing import SessionCalls, StoreFailure
from mcpcore.wire.message import Frame, Message

if TYPE_CHECKING:
    from mcpcore.http.server.stored.replica import SessionReplica

_BLOCKS = 64
"""Divisor of the limit that gives the size of a block; a worker accepts one block without
asking."""

Then = Callable[[StoreFailure | None], None]
"""Callback for a frame that has waited for the store."""


def requests_in(frame: Frame) -> int:
    """Return the number of requests in a frame, without pings, which are answered at once."""
    messages = frame if isinstance(frame, list) else [frame]
    return sum(
        isinstance(message, Message)
        and message.method is not UNSET
        and message.id is not UNSET
        and message.method != "ping"
        for message in messages
    )


class Quota:
    """Quota of one replica; the Peer answers requests beyond it as busy."""

    __slots__ = (
        "_asked",
        "_asking",
        "_coming",
        "_granted",
        "_replica",
        "_told_at",
        "_unsure",
        "_waiting",
        "deadline",
        "limit",
        "spare",
    )

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self.limit = replica.peer.config.limits.in_flight
        self.spare = self.limit // _BLOCKS
        self._replica = replica
        self._granted = 0
        self._asked: list[tuple[int, Then]] = []
        """Request counts and callbacks that wait for the store's answer."""
        self._waiting: list[tuple[int, Then]] = []
        """Request counts and callbacks that came meanwhile."""
        self._asking = False
        self._unsure = False
        """True if the store has failed the last step, which it may have done all the same."""
        self._coming = 0
        """Number of requests admitted that the Peer has not taken in yet."""
        self._told_at = 0.0
        replica.peer._state.capacity = self.spare

    def __bool__(self) -> bool:
        return self._asking or self._unsure

    def admit(self, count: int, then: Then) -> bool:
        """Return True if ``count`` requests may be accepted now; if not, call ``then`` later."""
        if self._asking:
            self._waiting.append((count, then))
            return False
        needed = self._needed() + count
        if needed > max(self.spare, self._granted) and self._granted < self.limit:
            self._asked.append((count, then))
            self._ask(needed)
            return False
        return True

    def taken(self, count: int) -> None:
        """Note that ``count`` admitted requests have been given to the Peer."""
        endpoint = self._replica.peer._endpoint
        if endpoint.inbox:
            self._coming += count
            # Behind them in the queue: they are in flight by then, or refused.
            endpoint.queue(self, count)

    def take_in(self, count: int) -> None:
        """Note that the Peer has taken in ``count`` requests (called by the endpoint)."""
        self._coming -= count

    def settle(self) -> None:
        """Give back a quota that has become far too large, as a request has ended."""
        if self._granted and not self._asking and 2 * self._needed() <= self._granted:
            self._ask(self._needed())

    def again(self) -> None:
        """Give back the excess of the quota; renew the quota from time to time."""
        replica = self._replica
        if replica.over or self._asking or not (self._granted or self._unsure):
            return
        stale = replica.log.owner.now - self._told_at >= replica.settings.session_touch
        if stale or self._wanted(self._needed()) != self._granted:
            self._ask(self._needed())
        else:
            replica.steps.retry(self)

    def close(self) -> None:
        """Give all back, as the replica is given up and its waiting requests were answered."""
        replica = self._replica
        if self._granted or self:
            replica.steps.ask(SessionCalls, replica.id, ignore, calls=0, limit=self.limit)
        replica.steps.forget(self)

    def _needed(self) -> int:
        return self._replica.peer.in_flight + self._coming

    def _wanted(self, needed: int) -> int:
        """Return the quota for ``needed`` requests."""
        if needed <= self.spare:
            return 0
        block = max(1, self.spare)
        return min(self.limit, -(-needed // block) * block)

    def _ask(self, needed: int) -> None:
        self._asking = True
        self._replica.steps.ask(
            SessionCalls,
            self._replica.id,
            self._answered,
            calls=self._wanted(needed),
            limit=self.limit,
        )

    def _answered(self, outcome: int | StoreFailure | None) -> None:
        replica = self._replica
        self._asking = False
        if replica.over:
            return
        if outcome is None:
            replica.vanish()
            return
        failure = outcome if isinstance(outcome, StoreFailure) else None
        self._unsure = failure is not None
        if not isinstance(outcome, StoreFailure):
            self._granted = outcome
            replica.peer._state.capacity = max(self.spare, outcome)
        self._told_at = -math.inf if failure else replica.log.owner.now
        if self._granted or self._unsure:
            replica.steps.retry(self)
        asked, self._asked = self._asked, []
        for _, then in asked:
            then(failure)
        waiting, self._waiting = self._waiting, []
        self._admit(waiting)

    def _admit(self, arrivals: list[tuple[int, Then]]) -> None:
        """Admit all arrivals, or ask for all of them together."""
        needed = self._needed() + sum(count for count, _ in arrivals)
        if arrivals and needed > max(self.spare, self._granted) and self._granted < self.limit:
            self._asked = arrivals
            self._ask(needed)
            return
        for _, then in arrivals:
            then(None)


__all__ = ["Quota", "requests_in"]
