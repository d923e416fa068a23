"""Rate limits of a server: the calls of its limiter, and the errors for clients."""

import inspect
import math
from collections.abc import Awaitable
from typing import Any

import msgspec

from mcpcore.engine.events import RequestReceived
from mcpcore.policy.rates import Activity, activity_of, busy
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore_transports.link import clock
from mcpcore_transports.running.audit import log_decision
from mcpcore_transports.running.functions import failure_of, is_awaitable
from mcpcore_transports.server.failures import Failures, operation
from mcpcore_transports.server.settings import RuntimeSettings, ServerMachine
from mcpcore_transports.server.violations import caller_of, connection_name


class Throttle:
    """Rate limiting of the requests of one machine; the settings have a limiter."""

    def __init__(
        self, settings: RuntimeSettings, machine: ServerMachine, failures: Failures
    ) -> None:
        self._limiter: Any = settings.limiter
        self._admits = settings.limiter_failure == "admit"
        self._observer = settings.observer
        self._failures = failures
        self._machine = machine
        self._name = connection_name()

    def check(self, request: RequestReceived) -> Awaitable[None] | None:
        """Raise McpError for a request that exceeds its rate; if the limiter awaits, later."""
        activity = activity_of(request.method)
        wait = self._ask(activity, request, _tool(request) if activity is Activity.TOOLS else None)
        if is_awaitable(wait):
            return self._check_later(activity, request, wait)
        self._refuse(activity, request, wait)
        return None

    async def _check_later(
        self, activity: Activity, request: RequestReceived, waiting: Awaitable[float]
    ) -> None:
        try:
            wait: float | Exception = await waiting
        except BaseException as error:
            wait = failure_of(error)
        self._refuse(activity, request, wait)

    def _refuse(
        self, activity: Activity, request: RequestReceived, answer: float | Exception
    ) -> None:
        wait = self._seconds(activity, answer)
        if wait > 0.0:
            error = busy(activity, wait, request.revision)
            who, what = caller_of(request, self._name), operation(request.method, request.params)
            log_decision(who, what, error.error.message)
            if self._observer is not None:
                self._observer.refused("rates", error.code)
            raise error

    def drops_progress(self, request: RequestReceived, *, in_task: bool) -> bool:
        """Return True if a progress notification is wanted but exceeds its rate."""
        wanted = in_task or self._machine.wants_progress(request.key)
        return wanted and self._drops(Activity.PROGRESS, request)

    def drops_log(self, request: RequestReceived, level: str, *, in_task: bool) -> bool:
        """Return True if a log message is wanted but exceeds its rate."""
        wanted = in_task or self._machine.wants_log(request.key, level)
        return wanted and self._drops(Activity.LOGGING, request)

    def _drops(self, activity: Activity, request: RequestReceived) -> bool:
        answer = self._ask(activity, request)
        if inspect.iscoroutine(answer):
            answer.close()
        try:
            return self._seconds(activity, answer) > 0.0
        except McpError:
            return True

    def _ask(self, activity: Activity, request: RequestReceived, tool: str | None = None) -> Any:
        """Return the limiter's answer, or the exception with which it failed."""
        caller = caller_of(request, self._name)
        try:
            return self._limiter.admit(activity, caller, now=clock(), tool=tool)
        except BaseException as error:
            return failure_of(error)

    def _seconds(self, activity: Activity, answer: Any) -> float:
        """Return the seconds to wait.  Raises McpError if the limiter failed and refuses then."""
        if isinstance(answer, int | float) and math.isfinite(answer):
            return answer
        if not isinstance(answer, Exception):
            answer = ValueError(f"a rate limiter answers with seconds, not {answer!r}")
        what = f"the rate limiter's decision on {activity.value}"
        told = self._failures.told(what, answer)
        if self._admits:
            return 0.0
        raise McpError(INTERNAL_ERROR, f"{told}: the rate of {activity.value} is unknown")


def _tool(request: RequestReceived) -> str | None:
    name = None if request.skim is None else request.skim.name
    try:
        return None if name is None else msgspec.json.decode(name, type=str)
    except msgspec.MsgspecError:
        return None  # no text; the call is refused for it
