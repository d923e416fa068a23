"""Outbound notifications: for one request, for the conversation, or for subscribers."""

from collections.abc import Mapping
from typing import Any

from mcpcore.engine.bodies import Meta, take_apart
from mcpcore.engine.config import Role
from mcpcore.engine.events import Key, SubscriptionClosed
from mcpcore.engine.handlers import ACKNOWLEDGED, acknowledged, subscription_meta
from mcpcore.engine.lifecycle import (
    STREAM,
    RequestState,
    SessionState,
    StreamSignal,
    StreamState,
    step,
)
from mcpcore.engine.negotiation import COMPLETE
from mcpcore.engine.requests import Inbound
from mcpcore.engine.responder import Responder
from mcpcore.engine.subscriptions import TOPICS, Change, Interest, change_of, narrowed
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.wire.message import Body, encode_notification, to_json

_NOT_BY_HAND = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/message",
        ACKNOWLEDGED,
    }
)


class Publisher(Responder):
    """The part of a Peer that sends notifications."""

    __slots__ = ()

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a notification, or publish a change; False if it was not sent to anyone.

        With ``parent`` it travels on that request's stream, unless the request is over.  Without
        it, changes (list_changed, resources/updated) go to the subscribers of either era only; all
        other notifications belong to the session that was negotiated.  A notification is not sent
        if the revision does not have it, or if its capability was not declared.

        Raises LocalProtocolError for a parent that never existed, for a change on the stream of a
        modern request that is no subscription, and for notifications that have calls of their own.
        """
        if method in _NOT_BY_HAND:
            raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
        body, meta = take_apart(params, meta)
        topic = TOPICS.get(method) if self.role is Role.SERVER else None
        change = None if topic is None else change_of(topic, body)
        if parent is not None:
            return self._notify_on(parent, method, body, meta, change)
        if change is not None:
            return self._publish(change, body, meta)
        revision = self.revision
        if revision is None or not self._may_notify(method, revision):
            return False
        self.send_notification(method, body, members=_meta_member(meta), revision=revision)
        return True

    def _may_notify(self, method: str, revision: Revision) -> bool:
        if self.state is SessionState.CLOSED:
            return False
        row = self.profile.ours[revision.position].get(method)
        if row is None:
            return method not in KNOWN_METHODS
        if row.capability is not None and row.capability not in self.profile.offered:
            return False
        theirs = self.peer_capabilities
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
        topic = change.topic
        if not self.profile.announced[topic.method]:
            return False
        told = False
        heard = topic.subject is None or (topic.subject == "uri" and change.subject in self.uris)
        if heard and self.state is SessionState.OPEN:
            self.send_notification(
                topic.method,
                body,
                members=_meta_member(meta),
                revision=self.revision,
                subject=(topic.method, change.subject),
            )
            told = True
        for record in self.streams.values():
            told = _tell(record, change, body, meta) or told
        return told

    # Listen streams of the other side

    def narrow(self, key: Key, filter: SubscriptionFilter) -> bool:
        """Restrict a listen stream to ``filter``; False if the stream has ended.

        If called while its SubscriptionOpened is handled, the acknowledgement tells the client the
        restricted filter, as it has not left yet.  Raises LocalProtocolError if ``key`` is no
        listen stream.
        """
        record = self._stream(key)
        if record is None or record.interest is None:
            return False
        interest = record.interest = Interest(narrowed(record.interest.filter, filter))
        body = acknowledged(interest)
        first = encode_notification(ACKNOWLEDGED, body, subscription_meta(record))
        record.peer.renew(record, ACKNOWLEDGED, first)
        return True

    def end_subscription(self, key: Key) -> bool:
        """End a listen stream: ``notifications/cancelled``, then its result; False if it has ended.

        Raises LocalProtocolError if ``key`` is no listen stream.
        """
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
        self.answer_with(record, b"{}", {META_SUBSCRIPTION_ID: record.id}, COMPLETE)
        record.peer.emit(SubscriptionClosed(key=key))
        return True

    def _stream(self, key: Key) -> Inbound | None:
        record = self._unless_over(key)
        if record is not None and record.stream is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        return record

    def _unless_over(self, key: Key) -> Inbound | None:
        """Return the request with ``key``, or None if it was answered, cancelled or ended."""
        record = self.endpoint.inbound.get(key)
        if record is None and not self.endpoint.was_issued(key):
            raise LocalProtocolError(f"there never was a request with key {key}")
        return record if record is not None and record.state is RequestState.ACTIVE else None


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
