"""Rate limits that workers on several machines share, in Redis.

A caller's requests are counted in blocks of a sixty-fourth of the burst: most of them cost no round
trip.  After a refusal no question is asked until the wait that Redis has named is over.
"""

import hashlib
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.errors import StoreUnavailableError
from mcpcore.policy.rates import Activity, Rate, RateKey, RateLimits, joined, limited
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import looked_up
from mcpcore_transports.stores.base import StoreSettings, require_redis

if TYPE_CHECKING:  # an extra
    from mcpcore_transports.stores.redis import Command

_BLOCKS = 64
"""Blocks in a burst; a worker takes one block at a time."""
_NOTIFICATIONS = (Activity.LOGGING, Activity.PROGRESS)


class _Lease(Struct):
    """Units of a limit that this worker has taken from Redis and not used yet."""

    units: int = 0
    ends: float = 0.0
    """Time after which they count as used."""
    refused_until: float = 0.0

    def usable(self, now: float) -> bool:
        """Return True if there is a unit to use."""
        return self.units > 0 and self.ends > now


class RedisRateLimits:
    """Rate limiter that counts in a Redis server, for all workers together.

    ``url`` is one for ``redis.Redis.from_url``; ``rates`` and ``per_tool`` as in
    :class:`~mcpcore.policy.rates.RateLimits`.  Log messages and progress notifications are counted
    in this process alone, as they wait for nobody.  ``lease``: seconds after which an unused block
    counts as used.  ``callers``: maximum callers, for each limit, that are remembered here.
    ``timeout``: the longest wait for Redis, in seconds; then the limiter has failed.  Raises
    ExtraMissingError without the extra ``redis``, ValueError for a wrong number.
    """

    def __init__(
        self,
        url: str,
        rates: Mapping[Activity, Rate],
        *,
        per_tool: Mapping[str, Rate] | None = None,
        callers: int = 10_000,
        lease: float = 1.0,
        prefix: str = "mcpcore",
        timeout: float = 1.0,
    ) -> None:
        require_redis("rate limits in Redis need")
        from mcpcore_transports.stores.redis import RedisLink  # late: an extra

        if callers < 1 or not lease > 0:
            raise ValueError("callers must be at least 1, and lease above 0")
        self._link, self._timeout = RedisLink(url, StoreSettings(), timeout), timeout
        self._silent_until = -math.inf
        """Time of the last failure for which Redis took all of its time."""
        self._rates = joined(rates, per_tool)
        self._local = RateLimits(
            {each: rate for each, rate in rates.items() if each in _NOTIFICATIONS}, callers=callers
        )
        self._callers, self._lease, self._prefix = callers, lease, prefix
        self._leases: OrderedDict[tuple[RateKey, str], _Lease] = OrderedDict()
        self.refused: Counter[RateKey] = self._local.refused
        """Number of refusals here, by activity, and by the name of a tool with its own rate."""

    def close(self) -> None:
        """Close the connections to Redis."""
        self._link.close()

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float | Awaitable[float]:
        """Admit or refuse, as :meth:`~mcpcore.policy.rates.RateLimiter.admit` describes.

        Awaiting raises StoreUnavailableError if Redis does not answer.
        """
        if activity in _NOTIFICATIONS:
            return self._local.admit(activity, caller, now=now)
        keys = limited(self._rates, activity, tool)
        leases = {key: self._leased(key, caller) for key in keys}
        missing = self._use(leases, keys, now)
        refused = [key for key in missing if leases[key].refused_until > now]
        if refused:
            self.refused.update(refused)
            self._give_back(leases, missing)
            return max(leases[key].refused_until for key in refused) - now
        return self._ask(caller, leases, missing) if missing else 0.0

    def _use(
        self, leases: Mapping[RateKey, _Lease], keys: Sequence[RateKey], now: float
    ) -> list[RateKey]:
        """Use a unit of each limit that has one here; return the others."""
        missing = [key for key in keys if not leases[key].usable(now)]
        for key in keys:
            if key not in missing:
                leases[key].units -= 1
        return missing

    def _give_back(self, leases: Mapping[RateKey, _Lease], missing: Sequence[RateKey]) -> None:
        for key in leases.keys() - missing:
            leases[key].units += 1

    def _leased(self, key: RateKey, caller: str) -> _Lease:
        lease = self._leases.setdefault((key, caller), _Lease())
        self._leases.move_to_end((key, caller))
        if len(self._leases) > self._callers * len(self._rates):
            self._leases.popitem(last=False)
        return lease

    async def _ask(
        self, caller: str, leases: Mapping[RateKey, _Lease], missing: Sequence[RateKey]
    ) -> float:
        # A caller's name may be that of a person, and as long as a token allows.
        digest = hashlib.blake2b(caller.encode(), digest_size=16).hexdigest()
        values: list[object] = []
        for key in missing:
            name = key.name if isinstance(key, Activity) else f"tool {key}"
            rate = self._rates[key]
            values += [name, repr(rate.interval), rate.burst, max(1, rate.burst // _BLOCKS)]
        command = self._link.script("rates", f"{self._prefix}:{{{digest}}}:", "take", *values)
        try:
            reply = await looked_up(self._take, command, clock())
        except BaseException:
            self._give_back(leases, missing)
            raise
        now, waits = clock(), dict(zip(missing, map(float, reply[::2]), strict=True))
        if all(reply[1::2]):
            for key, units in zip(missing, reply[1::2], strict=True):
                lease = leases[key]
                lease.units = units - 1 + (lease.units if lease.ends > now else 0)
                lease.ends = now + self._lease
            return 0.0
        # Requests at the same time have taken a block each, and leave most of it.
        missing = self._use(leases, missing, now)
        refused = {key: waits[key] for key in missing if waits[key] > 0}
        for key, wait in refused.items():
            self.refused[key] += 1
            leases[key].refused_until = now + wait
        if refused:
            self._give_back(leases, missing)
            return max(refused.values())
        return await self._ask(caller, leases, missing) if missing else 0.0

    def _take(self, command: "Command", asked: float) -> Any:
        """Ask Redis, in a thread; fail if it has kept another waiting since this was asked.

        Else the calls that wait for a thread would wait one after the other.
        """
        if self._silent_until > asked:
            raise StoreUnavailableError("Redis: it answers too slowly")
        began = clock()
        try:
            return self._link.one(command)
        except StoreUnavailableError:
            if clock() >= began + self._timeout:
                self._silent_until = clock()
            raise
