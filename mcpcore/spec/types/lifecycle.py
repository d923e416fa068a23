"""Terms of a conversation: handshake, discovery, refusals of these, log levels, subscriptions.

Source: the lifecycle page of the legacy revisions, the discovery, base protocol and subscriptions
pages of 2026-07-28; the logging page of each revision, RFC 5424 for levels.
"""

from typing import Any, get_args

from msgspec import field

from mcpcore.spec.types import base
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.model import Maybe, Model

SEVERITY: dict[str, int] = {level: rank for rank, level in enumerate(get_args(base.LoggingLevel))}
"""Rank of each level, 0 for the least severe."""


class InitializeParams(base.RequestParams, kw_only=True):
    """Params of ``initialize``: the client's newest revision, its capabilities and identity."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: base.Implementation


class InitializeResult(base.Result, kw_only=True):
    """Result of ``initialize``: the chosen revision, the server's capabilities and identity."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: base.Implementation
    instructions: Maybe[str] = None


class DiscoverResult(base.CacheableResult, kw_only=True):
    """Result of ``server/discover``: the server's revisions and its capabilities."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: Maybe[str] = None


class UnsupportedProtocolVersionData(Model, kw_only=True):
    """Data of -32022: the requested version and the supported ones."""

    supported: list[str]
    requested: str


class MissingRequiredClientCapabilityData(Model, kw_only=True):
    """Data of -32021: the capabilities that the client would have to declare."""

    required_capabilities: ClientCapabilities


class SetLevelParams(base.RequestParams, kw_only=True):
    """Params of ``logging/setLevel`` (legacy): the lowest level to send."""

    level: base.LoggingLevel


class LoggingMessageParams(base.NotificationParams, kw_only=True):
    """``notifications/message``: any JSON value, its level, and the logger it is from."""

    level: base.LoggingLevel
    data: Any
    logger: Maybe[str] = None


class SubscriptionFilter(Model, kw_only=True):
    """Notifications, of the tasks extension too, that a listen stream carries; absent: none."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)


class SubscriptionsListenParams(base.RequestParams, kw_only=True):
    """Params of ``subscriptions/listen``: the filter that the client asks for."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(base.Result, kw_only=True):
    """Result of ``subscriptions/listen``, its graceful end; ``_meta`` names the subscription."""


class SubscriptionsAcknowledgedParams(base.NotificationParams, kw_only=True):
    """First message of a listen stream: the part of the filter that the server honours."""

    notifications: SubscriptionFilter
