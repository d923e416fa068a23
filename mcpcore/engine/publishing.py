"""Outbound notifications: for one request, for the conversation, or for subscribers."""

import msgspec

from mcpcore.engine.bodies import Meta, take_apart
from mcpcore.engine.config import Role
from mcpcore.engine.events import Key, SubscriptionClosed
from mcpcore.engine.lifecycle import (
    STREAM,
    RequestState,
    SessionState,
    StreamSignal,
    StreamState,
    step,
)
from mcpcore.engine.outbound import COMPLETE, answer_with
from mcpcore.engine.state import Inbound, PeerState
from mcpcore.engine.subscriptions import TOPICS, Change, Interest, change_of, narrowed
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.subscriptions import SubscriptionFilter, SubscriptionsAcknowledgedParams
from mcpcore.wire.message import Body, encode_notification, to_json

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_NOT_BY_HAND = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/message",
        ACKNOWLEDGED,
    }
)


class Publisher:
    """Part of a Peer that sends notifications, and those of listen streams."""

    __slots__ = ("_endpoint", "_state")

    def __init__(self, state: PeerState) -> None:
        self._state = state
        self._endpoint = state.endpoint

    def notify(self, method: str, params: Body, parent: Key | None, meta: Meta | None) -> bool:
        """Send a notification, or publish a change; False if it was not sent to anyone."""
        state = self._state
        if method in _NOT_BY_HAND:
            raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
        body, meta = take_apart(params, meta)
        topic = TOPICS.get(method) if state.role is Role.SERVER else None
        change = None if topic is None else change_of(topic, body)
        if parent is not None:
            return self._notify_on(parent, method, body, meta, change)
        if change is not None:
            return self._publish(change, body, meta)
        revision = state.revision
        if revision is None or not self._may_notify(method, revision):
            return False
        state.send_notification(method, body, members=_meta_member(meta), revision=revision)
        return True

    def _may_notify(self, method: str, revision: Revision) -> bool:
        state = self._state
        if state.lifecycle is SessionState.CLOSED:
            return False
        row = state.profile.ours[revision.position].get(method)
        if row is None:
            return method not in KNOWN_METHODS
        if row.capability is not None and row.capability not in state.profile.offered:
            return False
        theirs = state.peer_capabilities
        return row.peer_capability is None or (
            theirs is not None and declares(theirs, row.peer_capability)
        )

    def _notify_on(
        self, key: Key, method: str, body: bytes, meta: Meta | None, change: Change | None
    ) -> bool:
        record = self._unless_over(key)
        if record is None:
            return False
        if record.interest is not None:
            return change is not None and _tell(record, change, body, meta)
        if change is not None and record.revision.modern:
            raise LocalProtocolError(f"{method} is carried by listen streams only")
        record.peer.send_notification(method, body, members=_meta_member(meta), record=record)
        return True

    def _publish(self, change: Change, body: bytes, meta: Meta | None) -> bool:
        state = self._state
        topic = change.topic
        if not state.profile.announced[topic.method]:
            return False
        told = False
        heard = topic.subject is None or (topic.subject == "uri" and change.subject in state.uris)
        if heard and state.lifecycle is SessionState.OPEN:
            state.send_notification(
                topic.method,
                body,
                members=_meta_member(meta),
                revision=state.revision,
                subject=(topic.method, change.subject),
            )
            told = True
        for record in state.streams.values():
            told = _tell(record, change, body, meta) or told
        return told

    # Listen streams of the other side

    def narrow(self, key: Key, filter: SubscriptionFilter) -> bool:
        """Restrict a listen stream to ``filter``; False if the stream has ended."""
        record = self._stream(key)
        if record is None or record.interest is None:
            return False
        interest = record.interest = Interest(narrowed(record.interest.filter, filter))
        body = acknowledged(interest)
        first = encode_notification(ACKNOWLEDGED, body, subscription_meta(record))
        record.peer.renew(record, ACKNOWLEDGED, first)
        return True

    def end_subscription(self, key: Key) -> bool:
        """End a listen stream: a cancellation, then its result; False if it has ended."""
        record = self._stream(key)
        if record is None:
            return False
        record.peer.send_notification(
            "notifications/cancelled",
            to_json({"requestId": record.id}),
            members=subscription_meta(record),
            record=record,
        )
        record.stream = step(STREAM, StreamState.LISTENING, StreamSignal.FINISH)
        answer_with(record, b"{}", {META_SUBSCRIPTION_ID: record.id}, COMPLETE)
        record.peer.emit(SubscriptionClosed(key=key))
        return True

    def _stream(self, key: Key) -> Inbound | None:
        record = self._unless_over(key)
        if record is not None and record.stream is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        return record

    def _unless_over(self, key: Key) -> Inbound | None:
        """Return the request with ``key``, or None if it was answered, cancelled or ended."""
        record = self._endpoint.inbound.get(key)
        if record is None and not self._endpoint.was_issued(key):
            raise LocalProtocolError(f"there never was a request with key {key}")
        return record if record is not None and record.state is RequestState.ACTIVE else None


def acknowledged(interest: Interest) -> bytes:
    """Return the params of the first frame of a listen stream: what it will carry."""
    return to_json(SubscriptionsAcknowledgedParams(notifications=interest.filter))


def subscription_meta(record: Inbound) -> bytes:
    """Return the ``_meta`` member that ties a notification to its listen stream."""
    return b'"_meta":' + msgspec.json.encode({META_SUBSCRIPTION_ID: record.id})


def _tell(record: Inbound, change: Change, body: bytes, meta: Meta | None) -> bool:
    """Send a change on a listen stream that carries it; False for any other stream."""
    if record.interest is None or not record.interest.wants(change):
        return False
    members = subscription_meta(record)
    if meta:  # a relay passes on the id of another stream
        members = _meta_member({**meta, META_SUBSCRIPTION_ID: record.id})
    record.peer.send_notification(
        change.topic.method,
        body,
        members=members,
        record=record,
        subject=(change.topic.method, change.subject),
    )
    return True


def _meta_member(meta: Meta | None) -> bytes:
    return b'"_meta":' + to_json(meta) if meta else b""
