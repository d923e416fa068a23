"""Rate limits of a server: the calls of its limiter, and the errors for clients."""

import itertools
import math

from mcpcore.engine.events import RequestReceived
from mcpcore.service.rate import Activity, RateLimiter
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, busy_code
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.server.failures import Failures
from mcpcore_transports.server.runtime import ServerMachine

_LIMITED = {
    "tools/call": Activity.TOOLS,
    "completion/complete": Activity.COMPLETION,
    "tasks/get": Activity.TASKS,
    "tasks/update": Activity.TASKS,
    "tasks/result": Activity.TASKS,
    "tasks/list": Activity.TASKS,
    "tasks/cancel": Activity.TASKS,
}
_connections = itertools.count(1)


class _Undecided(Exception):
    """Failure of the limiter; the message is for the client."""


class Throttle:
    """Rate limiting of the requests of one machine.

    ``admits``: True to admit requests if the limiter fails, instead of refusing them.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        machine: ServerMachine,
        failures: Failures,
        *,
        admits: bool = False,
    ) -> None:
        self._limiter = limiter
        self._failures = failures
        self._admits = admits
        self._machine = machine
        self._name = f"connection {next(_connections)}"

    def refusal(self, request: RequestReceived) -> ErrorData | None:
        """Return the error for a request that exceeds its rate, or None."""
        activity = _LIMITED.get(request.method)
        if activity is None:
            return None
        try:
            wait = self._wait(activity, request)
        except _Undecided as error:
            return None if self._admits else ErrorData(INTERNAL_ERROR, str(error))
        if wait <= 0.0:
            return None
        text = f"busy: too many {activity.value}; try again in {wait:.3g} seconds"
        data = {"retryAfterMs": math.ceil(wait * 1000)}
        return ErrorData.make(busy_code(request.revision), text, data)

    def drops_progress(self, request: RequestReceived, *, in_task: bool) -> bool:
        """Return True if a progress notification is wanted but exceeds its rate."""
        wanted = in_task or self._machine.wants_progress(request.key)
        return wanted and self._drops(Activity.PROGRESS, request)

    def drops_log(self, request: RequestReceived, level: str, *, in_task: bool) -> bool:
        """Return True if a log message is wanted but exceeds its rate."""
        wanted = in_task or self._machine.wants_log(request.key, level)
        return wanted and self._drops(Activity.LOGGING, request)

    def _drops(self, activity: Activity, request: RequestReceived) -> bool:
        try:
            return self._wait(activity, request) > 0.0
        except _Undecided:
            return not self._admits

    def _wait(self, activity: Activity, request: RequestReceived) -> float:
        """Return the seconds to wait.  Raises :class:`_Undecided` if the limiter fails."""
        caller = self._name
        if request.principal is not None:
            caller = f"principal {request.principal}"
        elif request.session is not None:
            caller = f"session {request.session}"
        try:
            wait = self._limiter.admit(activity, caller, now=clock())
            if math.isfinite(wait):
                return wait
            raise ValueError(f"a rate limiter answers with seconds, not {wait!r}")
        except BaseException as error:
            what = f"the rate limiter's decision on {activity.value}"
            told = self._failures.told(what, failure_of(error))
            raise _Undecided(f"{told}: the rate of {activity.value} is unknown") from None
