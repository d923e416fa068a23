"""Change notifications on one stream (modern): ``subscriptions/listen``.

Source: the subscriptions page of 2026-07-28; ``task_ids`` is of the tasks extension.
"""

from msgspec import field

from mcpcore.spec.types.base import NotificationParams, RequestParams, Result
from mcpcore.spec.types.model import Model


class SubscriptionFilter(Model, kw_only=True):
    """Which notifications a listen stream carries; what is absent is not asked for."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)


class SubscriptionsListenParams(RequestParams, kw_only=True):
    """``subscriptions/listen``: what the client wants to hear of."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(Result, kw_only=True):
    """The graceful end of a listen stream; its ``_meta`` names the subscription."""


class SubscriptionsAcknowledgedParams(NotificationParams, kw_only=True):
    """The first message of a listen stream: what the server will honour of the filter."""

    notifications: SubscriptionFilter
