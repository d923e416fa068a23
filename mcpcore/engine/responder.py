"""What our owner says to requests of the other side: answers, progress, log messages, changes."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, structs

from mcpcore.engine.events import MAIN, Key, SubscriptionClosed
from mcpcore.engine.handlers import (
    ACKNOWLEDGED,
    acknowledgement,
    narrowed,
    subscription_meta,
)
from mcpcore.engine.input_rounds import InputRequest, input_required
from mcpcore.engine.lifecycle import STREAM as STREAM_TABLE
from mcpcore.engine.lifecycle import (
    Request,
    RequestSignal,
    StreamSignal,
    step,
)
from mcpcore.engine.receiver import Receiver
from mcpcore.engine.requests import Inbound
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import (
    META_SUBSCRIPTION_ID,
)
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.wire.message import (
    Body,
    encode_error,
    encode_notification,
    encode_result,
    splice,
    to_json,
)

DEFAULT_LOG_LEVEL = "info"
"""What a legacy client that never set a level is sent from."""


class Responder(Receiver):
    """The part of a Peer that answers."""

    def _record(self, key: Key) -> Inbound:
        record = self.hub.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        return record

    def _active(self, key: Key) -> Inbound:
        record = self._record(key)
        if record.state is not Request.ACTIVE:
            raise LocalProtocolError(f"the request with key {key} was cancelled")
        return record

    def respond(
        self,
        key: Key,
        result: Body,
        *,
        meta: Mapping[str, Any] | None = None,
        result_type: str = "complete",
    ) -> bool:
        """Answer with a result; False if the request was cancelled meanwhile (it is dropped).

        A Struct with ``meta`` set, or a mapping with ``_meta``, gives its ``_meta`` too; a Raw
        must not contain one.
        """
        record = self._record(key)
        result, meta = _take_meta(result, meta)
        return self._finish_result(record, to_json(result), meta, result_type)

    def _finish_result(
        self, record: Inbound, body: bytes, meta: Mapping[str, Any] | None, result_type: str
    ) -> bool:
        peer = record.peer
        members = b""
        if record.revision.result_type:
            members = peer.complete
            if meta or result_type != "complete":
                members = b'"resultType":%b,"_meta":%b' % (
                    msgspec.json.encode(result_type),
                    to_json({**peer.server_meta, **(meta or {})}),
                )
        elif meta:
            members = b'"_meta":' + to_json(meta)
        data = encode_result(record.id, body, members)
        if not peer.finish(record, RequestSignal.ANSWER):
            return False
        peer.answer(
            record.route,
            record.batch,
            FrameKind.RESULT,
            data,
            key=record.key,
            method=record.method,
            revision=record.revision,
        )
        return True

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error; False if the request was cancelled meanwhile."""
        record = self._record(key)
        peer = record.peer
        error = peer.permitted(error, record.revision)
        data = encode_error(record.id, error)
        if not peer.finish(record, RequestSignal.ANSWER):
            return False
        peer.answer(
            record.route,
            record.batch,
            FrameKind.ERROR,
            data,
            key=record.key,
            code=error.code,
            method=record.method,
            revision=record.revision,
        )
        return True

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Modern: answer that input is needed; the client asks again with the answers.

        Raises LocalProtocolError, CapabilityMissing.
        """
        record = self._record(key)
        body = input_required(record, requests, state)
        return self._finish_result(record, body, None, "input_required")

    def release(self, key: Key) -> None:
        """The handler of a cancelled request has ended; its place is free."""
        record = self.hub.inbound.get(key)
        if record is not None and record.state is Request.CANCELLED:
            record.peer.finish(record, RequestSignal.RELEASE)

    def progress(
        self, key: Key, value: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Report progress; False if nobody asked, the request is over, or it did not increase."""
        record = self.hub.inbound.get(key)
        if record is None or not _wants_progress(record):
            return False
        if not math.isfinite(value) or (record.progress is not None and value <= record.progress):
            return False
        record.progress = value
        params: dict[str, Any] = {"progressToken": record.token, "progress": value}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        peer = record.peer
        waiting = record.waiting_progress
        if waiting is not None and record.queued > peer.config.limits.queued:
            before = waiting.size
            peer.hub.outbox.replace(
                waiting, (encode_notification("notifications/progress", to_json(params)),)
            )
            record.queued += waiting.size - before
            return True
        record.waiting_progress = peer.send_notification(
            "notifications/progress",
            to_json(params),
            route=record.route,
            record=record,
            revision=record.revision,
        )
        return True

    def log(
        self,
        key: Key | None,
        level: str,
        data: Any,
        logger: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a log message; False where level, era or back-pressure say no.

        Modern: only for a request whose ``_meta`` names a level.  Legacy: from the level that the
        client set, by default ``info``.  ``key`` None sends outside of any request (legacy).
        """
        if not self.wants_log(key, level):
            return False
        record = None if key is None else self.hub.inbound[key]
        peer: Any = self if record is None else record.peer
        if (record.queued if record else peer.hub.outbox.size) > peer.config.limits.queued:
            return False
        params: dict[str, Any] = {"level": level, "data": data}
        if meta:
            params["_meta"] = meta
        if logger is not None:
            params["logger"] = logger
        peer.send_notification(
            "notifications/message",
            to_json(params),
            route=MAIN if record is None else record.route,
            record=record,
            revision=peer.revision if record is None else record.revision,
        )
        return True

    def wants_log(self, key: Key | None, level: str) -> bool:
        """Whether a log message of this level would be sent; see :meth:`log`."""
        if level not in SEVERITY:
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
        record = None if key is None else self.hub.inbound.get(key)
        if key is not None and (record is None or record.state is not Request.ACTIVE):
            return False
        peer: Any = self if record is None else record.peer
        revision: Revision | None = peer.revision if record is None else record.revision
        if revision is None or not declares(peer.config.capabilities, "logging"):
            return False
        if revision.per_request_log_level:
            wanted: str | None = None if record is None else record.log_level
        else:
            wanted = peer.log_level or DEFAULT_LOG_LEVEL
        return wanted is not None and SEVERITY[level] >= SEVERITY[wanted]

    def wants_progress(self, key: Key) -> bool:
        """Whether somebody asked for the progress of a request that is being worked on."""
        record = self.hub.inbound.get(key)
        return record is not None and _wants_progress(record)

    # Listen streams, server side

    def narrow(self, key: Key, filter: SubscriptionFilter) -> None:
        """Let a listen stream carry no more than ``filter``.

        Called while its SubscriptionOpened is handled, the client is told no more than that: the
        acknowledgement has not left yet.
        """
        record = self._active(key)
        if record.filter is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        record.filter = narrowed(record.filter, filter)
        uris = record.filter.resource_subscriptions
        record.uris = frozenset(() if uris is UNSET else uris)
        first, outbox = record.acknowledgement, record.peer.hub.outbox
        if first is not None and outbox.holds(first):
            record.queued -= first.size
            outbox.replace(first, (encode_notification(ACKNOWLEDGED, acknowledgement(record)),))
            record.queued += first.size

    def end_subscription(self, key: Key) -> None:
        """End a listen stream gracefully: ``notifications/cancelled`` for it, then its result."""
        record = self._active(key)
        if record.stream is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        peer = record.peer
        peer.send_notification(
            "notifications/cancelled",
            splice(to_json({"requestId": record.id}), subscription_meta(record)),
            route=record.route,
            record=record,
            revision=record.revision,
        )
        record.stream = step(STREAM_TABLE, record.stream, StreamSignal.FINISH)
        self._finish_result(record, b"{}", {META_SUBSCRIPTION_ID: record.id}, "complete")
        peer.emit(SubscriptionClosed(key=key))


def _wants_progress(record: Inbound) -> bool:
    return record.state is Request.ACTIVE and record.token is not None


def _take_meta(
    result: Body, meta: Mapping[str, Any] | None
) -> tuple[Body, Mapping[str, Any] | None]:
    """Separate a body from the ``_meta`` that it brings along."""
    own: Any = None
    if isinstance(result, Mapping):
        if "_meta" in result:
            own = result["_meta"]
            result = {name: value for name, value in result.items() if name != "_meta"}
    elif isinstance(result, Struct):
        own = getattr(result, "meta", UNSET)
        changes: dict[str, Any] = {} if own is UNSET else {"meta": UNSET}
        if getattr(result, "result_type", UNSET) is not UNSET:
            changes["result_type"] = UNSET
        if changes:
            result = structs.replace(result, **changes)
        own = None if own is UNSET else own
    if isinstance(own, Raw):
        own = msgspec.json.decode(own)
    if own:
        meta = {**own, **(meta or {})}
    return result, meta
