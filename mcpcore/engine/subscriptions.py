"""Who hears of a change: listen streams (modern), sessions and resource subscriptions (legacy).

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.spec.capabilities import Capabilities, declares
from mcpcore.spec.methods import METHODS
from mcpcore.spec.types.subscriptions import SubscriptionFilter


class Topic(Struct, frozen=True, kw_only=True):
    """A kind of change: how a filter asks for it and which capability announces it."""

    field: str
    capability: str | None
    peer_capability: str | None = None
    """What the client must have declared to ask for it."""
    subject: str | None = None
    """The params member that a filter lists; None if the filter only says yes."""


_SUBJECTS = {"resource_subscriptions": "uri", "task_ids": "taskId"}

TOPICS: dict[str, Topic] = {
    row.name: Topic(
        field=row.filter,
        capability=row.capability,
        peer_capability=row.peer_capability,
        subject=_SUBJECTS.get(row.filter),
    )
    for row in METHODS
    if row.filter is not None
}
"""The notifications that are published rather than sent for a request."""


def subject_of(topic: Topic, body: bytes) -> str | None:
    """What a published notification is about, for topics that are subscribed to one by one."""
    if topic.subject is None:
        return None
    value: Any = msgspec.json.decode(body, type=dict[str, Raw]).get(topic.subject)
    return None if value is None else str(msgspec.json.decode(value))


def honoured(asked: SubscriptionFilter, capabilities: Capabilities) -> SubscriptionFilter:
    """The part of a filter that a server with ``capabilities`` can honour."""
    fields: dict[str, Any] = {}
    for topic in TOPICS.values():
        value = getattr(asked, topic.field)
        if value is UNSET or value is False:
            continue
        if topic.capability is None or declares(capabilities, topic.capability):
            fields[topic.field] = value
    return SubscriptionFilter(**fields)


def undeclared(asked: SubscriptionFilter, capabilities: Capabilities) -> str | None:
    """What a client with ``capabilities`` would have to declare to ask for this, or None."""
    for topic in TOPICS.values():
        path = topic.peer_capability
        if path is None or getattr(asked, topic.field) is UNSET:
            continue
        if not declares(capabilities, path):
            return path
    return None


def wants(
    topic: Topic, subject: str | None, asked: SubscriptionFilter, uris: frozenset[str]
) -> bool:
    """Whether a stream with this filter carries a notification of this topic and subject."""
    value = getattr(asked, topic.field)
    if topic.subject is None:
        return value is True
    if value is UNSET:
        return False
    return subject in (uris if topic.subject == "uri" else value)


def capabilities_of(capabilities: Any) -> Mapping[str, bool]:
    """Which topics a server with ``capabilities`` announces, by notification method."""
    return {
        method: topic.capability is None or declares(capabilities, topic.capability)
        for method, topic in TOPICS.items()
    }
