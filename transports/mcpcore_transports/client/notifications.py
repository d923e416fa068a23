"""Delivery of a server's notifications to callbacks, and of its violations to the log."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from anyio.abc import TaskGroup
from msgspec import Raw

from mcpcore.engine.events import Route, Violation
from mcpcore.errors import Malformed
from mcpcore.spec.types.elicitation import ElicitationCompleteParams
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.resources import ResourceUpdatedParams
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.serial_calls import SerialCalls

logger = logging.getLogger("mcpcore.client")

RESOURCE_UPDATED = "notifications/resources/updated"
TASK_CHANGED = "notifications/tasks"
TASK_STATUS = "notifications/tasks/status"

SHOWN = 10
"""Violations per stream that are logged; later ones are logged at each power of two."""
_STREAMS = 256
"""Maximum streams whose violations are counted at a time."""


_CALLBACKS: dict[str, tuple[str, Callable[[Raw], Sequence[Any]]]] = {
    "notifications/message": ("log", lambda params: [typed(params, LoggingMessageParams)]),
    RESOURCE_UPDATED: (
        "resource_updated",
        lambda params: [typed(params, ResourceUpdatedParams).uri],
    ),
    "notifications/elicitation/complete": (
        "elicitation_complete",
        lambda params: [typed(params, ElicitationCompleteParams).elicitation_id],
    ),
    "notifications/tools/list_changed": ("tools_changed", lambda params: ()),
    "notifications/prompts/list_changed": ("prompts_changed", lambda params: ()),
    "notifications/resources/list_changed": ("resources_changed", lambda params: ()),
}
"""Callback for a notification, and its arguments."""


class Notifier:
    """Caller of the callbacks for notifications and other events, in their order.

    Plain functions run inline, coroutine functions one at a time.
    """

    def __init__(self, callbacks: Callbacks, group: TaskGroup) -> None:
        self._callbacks = callbacks
        self._calls = SerialCalls(group, "a callback", limit=callbacks.waiting, failed=_log_failure)
        self.tell = self._calls.call
        """Call a callback of the application, now or after the earlier ones have ended."""

    def announce(self, method: str, params: Raw, *, assumed: bool = False) -> None:
        """Pass on a notification; an ``assumed`` one bypasses the ``notification`` callback."""
        if method in _CALLBACKS:
            name, arguments = _CALLBACKS[method]
            callback = getattr(self._callbacks, name)
            try:
                if callback is not None:
                    self.tell(callback, *arguments(params))
            except Malformed as error:
                logger.warning("the server's %s is malformed: %s", method, error)
        if self._callbacks.notification is not None and not assumed:
            self.tell(self._callbacks.notification, method, params)


def _log_failure(what: str, error: Exception) -> None:
    logger.error("%s failed", what, exc_info=error)


class ViolationLog:
    """Log of violations: the first few of a stream, then ever fewer, with their number.

    So a server can neither flood the log nor keep violating unnoticed.
    """

    def __init__(self) -> None:
        self._counts: dict[Route, int] = {}

    def tell(self, event: Violation) -> None:
        """Count a violation; log it if it is among the first of its stream or at a power of two."""
        count = self._counts.pop(event.route, 0) + 1
        self._counts[event.route] = count
        if len(self._counts) > _STREAMS:
            del self._counts[next(iter(self._counts))]
        what = f"{event.message}: {event.excerpt!r}" if event.excerpt else event.message
        if count <= SHOWN:
            logger.warning("the server broke a rule: %s", what)
        elif count.bit_count() == 1:
            logger.warning("the server broke a rule, %d times by now: %s", count, what)
