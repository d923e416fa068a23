"""Rate limits of a server: the calls of its limiter, and the errors for clients."""

import itertools
import math
from typing import Any

from mcpcore.engine.events import RequestReceived
from mcpcore.service.rate import Activity
from mcpcore.spec.errors import INTERNAL_ERROR, McpError, busy_code
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.server.failures import Failures
from mcpcore_transports.server.runtime import ServerMachine
from mcpcore_transports.server.settings import RuntimeSettings

_LIMITED = {
    "tools/call": Activity.TOOLS,
    "completion/complete": Activity.COMPLETION,
    **{f"tasks/{name}": Activity.TASKS for name in ("get", "update", "result", "list", "cancel")},
}
_connections = itertools.count(1)


class Throttle:
    """Rate limiting of the requests of one machine; the settings have a limiter."""

    def __init__(
        self, settings: RuntimeSettings, machine: ServerMachine, failures: Failures
    ) -> None:
        self._limiter: Any = settings.limiter
        self._admits = settings.limiter_failure == "admit"
        self._failures = failures
        self._machine = machine
        self._name = f"connection {next(_connections)}"

    def check(self, request: RequestReceived) -> None:
        """Raise McpError for a request that exceeds its rate."""
        activity = _LIMITED.get(request.method)
        if activity is None:
            return
        wait = self._wait(activity, request)
        if wait > 0.0:
            text = f"busy: too many {activity.value}; try again in {wait:.3g} seconds"
            data = {"retryAfterMs": math.ceil(wait * 1000)}
            raise McpError(busy_code(request.revision), text, data)

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
        except McpError:
            return True

    def _wait(self, activity: Activity, request: RequestReceived) -> float:
        """Return the seconds to wait.  Raises McpError if the limiter fails and refuses then."""
        caller = self._name
        if request.principal is not None:
            caller = f"principal {request.principal}"
        elif request.session is not None:
            caller = f"session {request.session}"
        try:
            wait: float = self._limiter.admit(activity, caller, now=clock())
            if math.isfinite(wait):
                return wait
            raise ValueError(f"a rate limiter answers with seconds, not {wait!r}")
        except BaseException as error:
            what = f"the rate limiter's decision on {activity.value}"
            told = self._failures.told(what, failure_of(error))
            if self._admits:
                return 0.0
            text = f"{told}: the rate of {activity.value} is unknown"
            raise McpError(INTERNAL_ERROR, text) from None
