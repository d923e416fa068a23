"""Replicas of a server behind a gateway: which one a request goes to, and how they are."""

import logging
import secrets
from collections.abc import Collection, Hashable, Iterator

from mcpcore.engine.events import ErrorReceived, Event, RequestEnded
from mcpcore.policy.balancing import Standing
from mcpcore.policy.failover import Failover
from mcpcore.policy.health import Condition, ConditionChanged, Health, ProbeDue
from mcpcore.spec.revisions import Revision
from mcpcore_transports import targets
from mcpcore_transports.gateway.guard import failure_of
from mcpcore_transports.gateway.settings import GatewaySettings

logger = logging.getLogger("mcpcore.gateway")


class BalancedReplicas:
    """Replicas of one server, as the relay asks for them; the same in all routes."""

    def __init__(self, server: str, replicas: targets.Replicas, settings: GatewaySettings) -> None:
        self.targets = replicas.by_name()
        self.names = tuple(self.targets)
        self._server = server
        self._failover = Failover(replicas.groups(), settings.balance, seed=secrets.token_bytes(16))
        self.ready_at: dict[str, float] = {}
        """Times before which no conversation begins with a replica that could not be reached."""
        self._settings = settings.health
        self._health: dict[str, Health] = {}
        """Health of each, once the server is known."""
        self._blamed: dict[str, Hashable] = {}
        """Callers of the last errors of replicas that have had no result since."""

    def choose(self, now: float, without: Collection[str]) -> str:
        """Return the less busy of two; one that is out of use only if nothing else is left."""
        waiting = [name for name in self.names if self._ready(name) > now]
        for avoided in ({*without, *waiting}, without):
            if name := self._failover.pick(now=now, without=avoided):
                return name
        return next(name for name in self.names if name not in without)

    def begin(self, name: str) -> None:
        """Count a request to a replica, or a conversation in which requests stay."""
        self._failover.begin(name)

    def settle(self, name: str, event: Event, now: float, caller: Hashable) -> None:
        """Take the outcome of a request.

        Errors that blame the server count when two callers have had them with no result in between.
        """
        failed: bool | None = failure_of(event).blames_server
        if isinstance(event, RequestEnded):
            failed = failed or None
        elif failed and isinstance(event, ErrorReceived):
            before, self._blamed[name] = self._blamed.get(name, caller), caller
            failed = None if before == caller else True
        else:
            self._blamed.pop(name, None)
        self._failover.record(name, failed=failed, now=now)
        health = self._health.get(name)
        if failed is not None and health is not None:
            health.record(failed=failed, now=now)
        self._tell()

    def ended(self, name: str, now: float) -> None:
        """End a conversation, which says nothing but what its requests have."""
        self._failover.record(name, failed=None, now=now)

    def greeted(self, name: str, revision: Revision, now: float) -> None:
        """Take note of a conversation that has begun."""
        self.ready_at.pop(name, None)
        for each in self.names:
            if each not in self._health:
                self._health[each] = Health(revision, self._settings, now=now)
        self._health[name].record(failed=False, now=now)
        self._tell()

    def deadline(self, now: float) -> float:
        """Return the time of the next :meth:`due`."""
        probes = (max(each.deadline(), self._ready(name)) for name, each in self._health.items())
        return min((now + self._settings.interval, *probes))  # an outcome may bring one forward

    def due(self, now: float) -> list[tuple[str, str]]:
        """Return the replicas that are to be asked for a sign of life, and by which method."""
        for name, health in self._health.items():
            if self._ready(name) <= now:
                health.handle_timeout(now)
        return self._tell()

    def _ready(self, name: str) -> float:
        return self.ready_at.get(name, 0.0)

    @property
    def standings(self) -> Iterator[tuple[str, Standing]]:
        """Names, with that of the server, and states of the replicas."""
        return ((f"{self._server} {name}", each) for name, each in self._failover.standings.items())

    def _tell(self) -> list[tuple[str, str]]:
        """Log what has changed; return the probes that are due."""
        probes = []
        for name, health in self._health.items():
            while (event := health.next_event()) is not None:
                if isinstance(event, ProbeDue):
                    probes.append((name, event.method))
                elif isinstance(event, ConditionChanged):
                    self._failover.mark(name, event.after is Condition.UP)
        while (event := self._failover.next_event()) is not None:
            logger.warning("%s: %s", self._server, event)
        return probes
