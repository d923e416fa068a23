"""Subscribers of changes: listen streams (modern), sessions and resource subscriptions (legacy).

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import read_member
from mcpcore.spec.capabilities import Capabilities, declares
from mcpcore.spec.methods import METHODS, Method
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.lifecycle import SubscriptionFilter, SubscriptionsAcknowledgedParams
from mcpcore.wire.message import RequestId

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


_SUBJECTS = {"resource_subscriptions": "uri", "task_ids": "taskId"}


class Topic(Struct, frozen=True):
    """Kind of change: the notification of it, and the field of the filter that asks for it."""

    row: Method
    field: str
    subject: str | None
    """Params member that names the changed thing; None for a topic without subjects."""


TOPICS: dict[str, Topic] = {
    row.name: Topic(row, row.filter, _SUBJECTS.get(row.filter))
    for row in METHODS
    if row.filter is not None
}
"""Notifications that are published rather than sent for a request, by method."""


class TopicChange(Struct, frozen=True):
    """Change to announce: its topic, and the changed thing where the topic has subjects."""

    topic: Topic
    subject: str | None


def change_of(topic: Topic, body: bytes) -> TopicChange:
    """Return the change that a notification with ``body`` as params announces."""
    if topic.subject is None:
        return TopicChange(topic, None)
    member = msgspec.json.decode(body, type=dict[str, Raw]).get(topic.subject)
    value = None if member is None else read_member(member)
    return TopicChange(topic, value if isinstance(value, str) else None)


class Interest:
    """Filter of one listen stream, with the listed subjects as sets."""

    __slots__ = ("_subjects", "filter")

    def __init__(self, filter: SubscriptionFilter) -> None:
        self.filter = filter
        self._subjects: dict[str, frozenset[str]] = {
            field: frozenset(listed) for field in _SUBJECTS if (listed := getattr(filter, field))
        }

    def wants(self, change: TopicChange) -> bool:
        """Return True if the stream carries this change."""
        field = change.topic.field
        if change.topic.subject is None:
            return getattr(self.filter, field) is True
        return change.subject in self._subjects.get(field, ())

    @property
    def subjects(self) -> list[str]:
        """All listed subjects, duplicates included."""
        lists = [getattr(self.filter, field) for field in self._subjects]
        return [subject for listed in lists for subject in listed]


def honoured(asked: SubscriptionFilter, announced: Mapping[str, bool]) -> SubscriptionFilter:
    """Return the part of a filter that a server can honour, given what it announces."""
    fields: dict[str, Any] = {}
    for topic in TOPICS.values():
        value = getattr(asked, topic.field)
        if value and announced[topic.row.name]:
            fields[topic.field] = value
    return SubscriptionFilter(**fields)


def undeclared(asked: SubscriptionFilter, capabilities: Capabilities) -> str | None:
    """Return the capability that a client lacks to ask for this filter, or None."""
    for topic in TOPICS.values():
        path = topic.row.peer_capability
        if path is not None and getattr(asked, topic.field) and not declares(capabilities, path):
            return path
    return None


def narrowed(current: SubscriptionFilter, wanted: SubscriptionFilter) -> SubscriptionFilter:
    """Return the intersection of two filters."""
    fields: dict[str, Any] = {}
    for name in current.__struct_fields__:
        have, want = getattr(current, name), getattr(wanted, name)
        if not have or not want:
            continue
        if isinstance(have, list):
            kept = frozenset(want)
            fields[name] = [item for item in have if item in kept]
        else:
            fields[name] = have and want
    return SubscriptionFilter(**fields)


def acknowledged(interest: Interest) -> bytes:
    """Return the params of the first frame of a listen stream: what it will carry."""
    return msgspec.json.encode(SubscriptionsAcknowledgedParams(notifications=interest.filter))


def subscription_meta(id: RequestId) -> bytes:
    """Return the ``_meta`` member that ties a notification to its listen stream."""
    return b'"_meta":' + msgspec.json.encode({META_SUBSCRIPTION_ID: id})
