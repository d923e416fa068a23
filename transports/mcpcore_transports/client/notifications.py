"""Delivery of the server's notifications to the client's callbacks."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from anyio.abc import TaskGroup
from msgspec import Raw

from mcpcore.errors import Malformed
from mcpcore.spec.types.elicitation import ElicitationCompleteParams
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.resources import ResourceUpdatedParams
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.serial_calls import InOrder

logger = logging.getLogger("mcpcore.client")

RESOURCE_UPDATED = "notifications/resources/updated"
TASK_CHANGED = "notifications/tasks"
TASK_STATUS = "notifications/tasks/status"


class News:
    """Calls of callbacks: plain functions run inline, coroutine functions one at a time.

    So every callback gets the news in their order; see :class:`InOrder`.
    """

    def __init__(self, callbacks: Callbacks, group: TaskGroup) -> None:
        self._callbacks = callbacks
        self._calls = InOrder(group, "a callback", limit=callbacks.waiting, failed=_log_failure)

    def announce(self, method: str, params: Raw, *, assumed: bool = False) -> None:
        """Pass on a notification; an ``assumed`` one bypasses the ``notification`` callback."""
        announce = _ANNOUNCEMENTS.get(method)
        if announce is not None:
            try:
                announce(self, self._callbacks, params)
            except Malformed as error:
                logger.warning("the server's %s is malformed: %s", method, error)
        if self._callbacks.notification is not None and not assumed:
            self.tell(self._callbacks.notification, method, params)

    def tell(self, callback: Callable[..., Awaitable[None] | None], *args: Any) -> None:
        """Call a callback of the application, now or after the earlier ones have ended."""
        self._calls.call(callback, *args)


def _log_failure(what: str, error: Exception) -> None:
    logger.error("%s failed", what, exc_info=error)


def _log(news: News, callbacks: Callbacks, params: Raw) -> None:
    if callbacks.log is not None:
        news.tell(callbacks.log, typed(params, LoggingMessageParams))


def _update(news: News, callbacks: Callbacks, params: Raw) -> None:
    if callbacks.resource_updated is not None:
        news.tell(callbacks.resource_updated, typed(params, ResourceUpdatedParams).uri)


def _elicitation(news: News, callbacks: Callbacks, params: Raw) -> None:
    if callbacks.elicitation_complete is not None:
        done = typed(params, ElicitationCompleteParams)
        news.tell(callbacks.elicitation_complete, done.elicitation_id)


def _change(name: str) -> Callable[[News, Callbacks, Raw], None]:
    def announce(news: News, callbacks: Callbacks, params: Raw) -> None:
        callback = getattr(callbacks, name)
        if callback is not None:
            news.tell(callback)

    return announce


_ANNOUNCEMENTS: dict[str, Callable[[News, Callbacks, Raw], None]] = {
    "notifications/message": _log,
    RESOURCE_UPDATED: _update,
    "notifications/elicitation/complete": _elicitation,
    "notifications/tools/list_changed": _change("tools_changed"),
    "notifications/prompts/list_changed": _change("prompts_changed"),
    "notifications/resources/list_changed": _change("resources_changed"),
}
