"""Change notifications on one stream (modern): ``subscriptions/listen``.

Source: the subscriptions page of 2026-07-28; ``task_ids`` is of the tasks extension.
"""

from msgspec import field

from mcpcore.spec.types.base import NotificationParams, RequestParams, Result
from mcpcore.spec.types.model import Model


class SubscriptionFilter(Model, kw_only=True):
    """Notifications that a listen stream carries; an absent member asks for none."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)


class SubscriptionsListenParams(RequestParams, kw_only=True):
    """Params of ``subscriptions/listen``: the filter that the client asks for."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(Result, kw_only=True):
    """Result of ``subscriptions/listen``, its graceful end; ``_meta`` names the subscription."""


class SubscriptionsAcknowledgedParams(NotificationParams, kw_only=True):
    """First message of a listen stream: the part of the filter that the server honours."""

    notifications: SubscriptionFilter
