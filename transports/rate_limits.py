"""Rate limits of a server: which limiter is asked about what, and what the client is told."""

import itertools
import math

from mcpcore.engine.events import RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.server import HttpServer
from mcpcore.service.rate import Activity, RateLimiter
from mcpcore.spec.errors import ErrorData, busy_code
from transports.link import clock

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


class Throttle:
    """Asks a limiter on behalf of one machine."""

    def __init__(self, limiter: RateLimiter, machine: Peer | HttpServer) -> None:
        self._limiter = limiter
        self._machine = machine
        self._name = f"connection {next(_connections)}"

    def refusal(self, request: RequestReceived) -> ErrorData | None:
        """Say why a request is not served now, or None."""
        activity = _LIMITED.get(request.method)
        if activity is None:
            return None
        wait = self._limiter.admit(activity, self._caller(request), now=clock())
        if wait <= 0.0:
            return None
        text = f"busy: too many {activity.value}; try again in {wait:.3g} seconds"
        data = {"retryAfterMs": math.ceil(wait * 1000)}
        return ErrorData.make(busy_code(request.revision), text, data)

    def drops_progress(self, request: RequestReceived, *, in_task: bool) -> bool:
        """Whether progress that somebody wants to know is one too many."""
        wanted = in_task or self._machine.wants_progress(request.key)
        return wanted and self._drops(Activity.PROGRESS, request)

    def drops_log(self, request: RequestReceived, level: str, *, in_task: bool) -> bool:
        """Whether a log message that somebody wants to know is one too many."""
        wanted = in_task or self._machine.wants_log(request.key, level)
        return wanted and self._drops(Activity.LOGGING, request)

    def _drops(self, activity: Activity, request: RequestReceived) -> bool:
        return self._limiter.admit(activity, self._caller(request), now=clock()) > 0.0

    def _caller(self, request: RequestReceived) -> str:
        if request.principal is not None:
            return f"principal {request.principal}"
        if request.session is not None:
            return f"session {request.session}"
        return self._name
