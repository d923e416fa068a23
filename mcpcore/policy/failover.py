"""Failover: groups of targets in order, each used when those before it cannot take a request.

Requests are balanced within a group, see :mod:`mcpcore.policy.balancing`.
"""

from collections.abc import Collection, Mapping, Sequence

from mcpcore.engine.events import Event
from mcpcore.policy.balancing import Balancer, BalanceSettings, Standing
from mcpcore.policy.failures import RequestFailure

_SESSION = "session"


def may_go_elsewhere(failure: RequestFailure, repeatable: bool) -> bool:
    """Return True if a failed request may be sent to another target.

    ``repeatable``: True if it may be carried out twice, as
    :func:`~mcpcore.engine.outbound.may_repeat` decides.
    """
    return failure.not_carried_out or (repeatable and (failure.passing or failure.blames_server))


class Failover:
    """Choice among groups of targets, each a mapping of names to weights, for one program.

    A name stands in one group.  Raises ValueError as :class:`~mcpcore.policy.balancing.Balancer`.

    >>> failover = Failover([{"main": 1.0}, {"spare": 1.0}], seed=b"s")
    >>> failover.choose(now=0.0, sticky=False)
    'main'
    >>> failover.choose(now=0.0, sticky=False, without={"main"})
    'spare'
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, float]],
        settings: BalanceSettings | None = None,
        *,
        seed: bytes,
    ) -> None:
        self._balancers: list[Balancer] = []
        self._of: dict[str, Balancer] = {}
        for weights in groups:
            balancer = Balancer(weights, settings, seed=seed)
            self._balancers.append(balancer)
            self._of.update(dict.fromkeys(weights, balancer))

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet, or None."""
        events = (balancer.next_event() for balancer in self._balancers)
        return next((event for event in events if event is not None), None)

    def choose(self, *, now: float, sticky: bool, without: Collection[str] = ()) -> str | None:
        """Return the target for a request, which is in flight until :meth:`record`, or None.

        ``sticky``: True if it belongs to a session (legacy), which stays at its target until a
        request goes elsewhere.  ``without``: targets at which this request has failed.
        """
        for balancer in self._ordered():
            if without:
                balancer.forget(_SESSION)
            session = _SESSION if sticky else None
            name = balancer.choose(now=now, session=session, without=without)
            if name is not None:
                return name
        return None

    def pick(self, *, now: float, without: Collection[str] = ()) -> str | None:
        """Return the target for what begins later, or never; None if there is none."""
        picks = (each.pick(now=now, without=without) for each in self._ordered())
        return next((name for name in picks if name is not None), None)

    def begin(self, target: str) -> None:
        """Count a request that is in flight at a target until :meth:`record`."""
        self._of[target].begin(target)

    @property
    def standings(self) -> dict[str, Standing]:
        """States of the targets."""
        return {name: each for it in self._balancers for name, each in it.standings.items()}

    def _ordered(self) -> list[Balancer]:
        return sorted(self._balancers, key=lambda each: each.panic)

    def record(self, target: str, *, failed: bool | None, now: float) -> None:
        """End a request at a target; None: its outcome says nothing of the target."""
        self._of[target].record(target, failed=failed, now=now)

    def mark(self, target: str, up: bool) -> None:
        """Mark a target as up or down, as its health says."""
        self._of[target].mark(target, up=up)
