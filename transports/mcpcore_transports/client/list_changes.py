"""Changes on a server: their names, filters for them, and changes that may have been missed."""

from collections.abc import Iterator

from msgspec import Struct

from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore_transports.client.notifications import RESOURCE_UPDATED, TASK_CHANGED, TASK_STATUS

LIST_CHANGES = {
    "notifications/tools/list_changed": ("tools_list_changed", "tools.listChanged"),
    "notifications/prompts/list_changed": ("prompts_list_changed", "prompts.listChanged"),
    "notifications/resources/list_changed": ("resources_list_changed", "resources.listChanged"),
}
"""Member of the filter and capability of the server, by notification."""

_KINDS = {RESOURCE_UPDATED: "resource", TASK_CHANGED: "task", TASK_STATUS: "task"}


class Change(Struct, frozen=True):
    """A change on the server, with ``uri`` of a resource, or ``task_id`` of a task."""

    method: str
    uri: str | None = None
    task_id: str | None = None
    missed: bool = False
    """True if the stream was broken for a while, and the change may have happened meanwhile."""

    @property
    def kind(self) -> str:
        """``tools``, ``prompts``, ``resources`` (their lists), ``resource`` or ``task`` (one)."""
        return _KINDS.get(self.method) or self.method.split("/")[1]


def wants(filter: SubscriptionFilter, change: Change) -> bool | None:
    """Return True if ``filter`` includes a change; None for a kind that has no filter."""
    if change.uri is not None:
        # A server may report a part of the resource that was subscribed to.
        return bool(filter.resource_subscriptions)
    if change.task_id is not None:
        return change.task_id in filter.task_ids
    row = LIST_CHANGES.get(change.method)
    return None if row is None else bool(getattr(filter, row[0]))


def missed(filter: SubscriptionFilter) -> Iterator[Change]:
    """Yield every change that may have been missed while a stream with ``filter`` was broken."""
    for method, (member, _) in LIST_CHANGES.items():
        if getattr(filter, member) is True:
            yield Change(method, missed=True)
    for uri in filter.resource_subscriptions or ():
        yield Change(RESOURCE_UPDATED, uri=uri, missed=True)
    for task_id in filter.task_ids or ():
        yield Change(TASK_CHANGED, task_id=task_id, missed=True)
