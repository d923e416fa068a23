"""Answers of the application to inbound requests: results, input rounds, progress, logs."""

import math
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, field

from mcpcore.engine.answers import INPUT_REQUIRED, TASK
from mcpcore.engine.base import PeerBase
from mcpcore.engine.bodies import Meta, own_meta, permitted, take_result_apart
from mcpcore.engine.events import MAIN, Key
from mcpcore.engine.input_rounds import InputRequest, input_required
from mcpcore.engine.lifecycle import RequestSignal, RequestState
from mcpcore.engine.negotiation import COMPLETE
from mcpcore.engine.receiver import Receiver
from mcpcore.engine.requests import Inbound
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.wire.jsontext import encode_sound
from mcpcore.wire.message import Body, encode_error, encode_result, to_json

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_RESULT, _ANSWER, _ACTIVE = FrameKind.RESULT, RequestSignal.ANSWER, RequestState.ACTIVE

DEFAULT_LOG_LEVEL = "info"
"""Lowest level sent to a legacy client that never set one."""
_PROGRESS = "notifications/progress"
_INFINITE = math.inf
"""Bound for comparisons, as :func:`math.isfinite` takes no integer larger than all floats."""
LOST_LOGGER = "mcpcore"
LOST_LEVEL = "warning"
"""Level of the message that log messages were dropped; ``LOST_LOGGER`` is its logger."""


class _Report(Struct, gc=False):
    """Params of a progress notification."""

    token: Any = field(name="progressToken")
    progress: Any
    total: Any
    message: Any
    meta: Any = field(name="_meta")


class _Reported(Struct, gc=False):
    """Whole progress notification: encoded in one step, as there may be very many."""

    jsonrpc: str = "2.0"
    method: str = _PROGRESS
    params: _Report | None = None


class Responder(Receiver):
    """The part of a Peer that answers."""

    __slots__ = ()

    # Answers

    def respond(
        self,
        key: Key,
        result: Body,
        *,
        meta: Mapping[str, Any] | None = None,
        result_type: str = COMPLETE,
        bare: bool = False,
    ) -> bool:
        """Answer with a result; False if the request was cancelled meanwhile (it is dropped).

        A result may bring its own ``_meta`` (``meta`` wins where they differ) and ``resultType``;
        keys of ``_meta`` that only the engine sets are left out.  ``bare``: it has neither, and is
        JSON without line breaks, so that it need not be read, however large it is.
        Raises LocalProtocolError, CapabilityMissing; ValueError or TypeError for a result that
        is no JSON object.
        """
        record = self.endpoint.inbound.get(key)
        if record is None or record.stream is not None or record.held:
            record = self._unheld(key)  # raises the error
        if not (bare and isinstance(result, Raw)):
            result, meta, own_type = take_result_apart(result, meta)
            result_type = own_type or result_type
        if meta or result_type != COMPLETE:
            _check_result_type(record, result_type)
            return self.answer_with(record, result, own_meta(meta) if meta else None, result_type)
        members = record.peer.profile.complete[record.revision]
        return _finish(record, _RESULT, encode_result(record.id, result, members))

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error; False if the request was cancelled meanwhile."""
        record = self._answerable(key)
        error = permitted(error, record.revision)
        return _finish(record, FrameKind.ERROR, encode_error(record.id, error), error.code)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Modern: answer that input is needed; the client retries with the answers.

        Raises LocalProtocolError, CapabilityMissing.
        """
        record = self._unheld(key)
        body = input_required(record, requests, state)
        return self.answer_with(record, body, None, INPUT_REQUIRED)

    def admit(self, key: Key) -> bool:
        """Let the engine answer a request of ``Config.asked_first``; False if it was cancelled.

        Raises LocalProtocolError for any other request.
        """
        record = self._answerable(key)
        if not record.held:
            raise LocalProtocolError(f"{record.method} is not answered by the engine")
        return cast(Receiver, record.peer).answer_held(record)

    def release(self, key: Key) -> None:
        """Free the place of a cancelled request whose handler has ended."""
        record = self.endpoint.inbound.get(key)
        if record is not None and record.state is RequestState.CANCELLED:
            record.peer.finish(record, RequestSignal.RELEASE)

    def _answerable(self, key: Key) -> Inbound:
        record = self.endpoint.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        if record.stream is not None:
            raise LocalProtocolError("a listen stream ends with end_subscription")
        return record

    def _unheld(self, key: Key) -> Inbound:
        record = self._answerable(key)
        if record.held:
            raise LocalProtocolError(f"{record.method} is answered by the engine: admit it or fail")
        return record

    def answer_with(
        self, record: Inbound, body: bytes | Raw, meta: Meta | None, result_type: str
    ) -> bool:
        """Send a result with a type or ``_meta`` of its own; False if it was cancelled."""
        members = b""
        if record.revision.result_type:
            members = b'"resultType":%b,"_meta":%b' % (
                msgspec.json.encode(result_type),
                to_json({**record.peer.profile.server_meta, **(meta or {})}),
            )
        elif meta:
            members = b'"_meta":' + to_json(meta)
        return _finish(record, _RESULT, encode_result(record.id, body, members))

    # Notifications before the answer

    def progress(
        self,
        key: Key,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress; False if not asked for, not increased, or if the request is over."""
        record = self.endpoint.inbound.get(key)
        if record is None or record.state is not _ACTIVE or record.stream is not None:
            return False
        if record.held:
            return False  # as in _takes_news, without a call
        token, last = record.meta.progress_token, record.progress
        if token is None:
            return False
        if not -_INFINITE < value < _INFINITE or (last is not None and value <= last):
            return False
        report = _Report(
            token,
            value,
            UNSET if total is None else total,
            UNSET if message is None else message,
            meta or UNSET,
        )
        sound = not meta and (total is None or -_INFINITE < total < _INFINITE)
        encode = encode_sound if sound else to_json
        data = encode(_Reported(params=report))
        record.progress = value
        record.peer.send_news(_PROGRESS, data, record, "progress")
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
        """Send a log message; False if level, era or back-pressure forbid it.

        Modern: only for a request whose ``_meta`` names a level.  Legacy: from the level that the
        client set, by default ``info``.  ``key`` None sends outside of any request (legacy).
        Messages dropped by back-pressure are counted; the next message tells the client how many.
        """
        if not self.wants_log(key, level):
            return False
        record = None if key is None else self.endpoint.inbound[key]
        peer: PeerBase = self if record is None else record.peer
        counter: PeerBase | Inbound = self if record is None else record
        if peer.crowded(record):
            counter.logs_lost += 1
            return False
        if counter.logs_lost:
            lost, counter.logs_lost = counter.logs_lost, 0
            if self.wants_log(key, LOST_LEVEL):
                text = f"{lost} log messages were dropped: they were not read in time"
                _send_log(peer, record, LOST_LEVEL, text, LOST_LOGGER, None)
        _send_log(peer, record, level, data, logger, meta)
        return True

    def wants_log(self, key: Key | None, level: str) -> bool:
        """Return True if a log message of this level would be sent; see :meth:`log`."""
        if level not in SEVERITY:
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
        record = None if key is None else self.endpoint.inbound.get(key)
        if key is not None and (record is None or not _takes_news(record)):
            return False
        peer: PeerBase = self if record is None else record.peer
        revision = peer.revision if record is None else record.revision
        if revision is None or peer.ended or "logging" not in peer.profile.offered:
            return False
        wanted: str | None = None
        if not revision.per_request_log_level:
            wanted = peer.log_level or DEFAULT_LOG_LEVEL
        elif record is not None and record.meta.log_level is not None:
            wanted = record.meta.log_level
        return wanted is not None and SEVERITY[level] >= SEVERITY[wanted]

    def wants_progress(self, key: Key) -> bool:
        """Return True if the other side asked for progress of a request in progress."""
        record = self.endpoint.inbound.get(key)
        return record is not None and _wants_progress(record)


def _takes_news(record: Inbound) -> bool:
    """Return True if progress and log messages may be sent for a request.

    A listen stream has none, nor a held request that becomes one when it is admitted.
    """
    return record.state is _ACTIVE and record.stream is None and not record.held


def _wants_progress(record: Inbound) -> bool:
    return record.meta.progress_token is not None and _takes_news(record)


def _check_result_type(record: Inbound, result_type: str) -> None:
    """Raise LocalProtocolError if a request may not be answered with this type of result."""
    if result_type == INPUT_REQUIRED:
        raise LocalProtocolError("an input_required result is made by require_input")
    extension = None if record.row is None else record.row.task_extension
    if result_type == TASK and extension is not None:
        path = f"extensions.{extension}"
        if not declares(record.capabilities, path):
            raise CapabilityMissing(path)


def _finish(record: Inbound, kind: FrameKind, data: bytes, code: int | None = None) -> bool:
    """Send the answer to a request, unless it was cancelled."""
    peer = record.peer
    if not peer.finish(record, _ANSWER):
        return False
    if record.batch is not None:
        record.batch.settle(data)
        return True
    route = record.route
    peer.endpoint.outbox.push(
        Transmit(
            peer=peer,
            route=route,
            data=(data,),
            size=len(data),
            kind=kind,
            ends=route != MAIN,
            key=record.key,
            code=code,
            method=record.method,
            revision=record.revision,
        )
    )
    return True


def _send_log(
    peer: PeerBase,
    record: Inbound | None,
    level: str,
    data: Any,
    logger: str | None,
    meta: Mapping[str, Any] | None,
) -> None:
    params: dict[str, Any] = {"level": level, "data": data}
    if meta:
        params["_meta"] = meta
    if logger is not None:
        params["logger"] = logger
    peer.send_notification(
        "notifications/message", to_json(params), record=record, revision=peer.revision
    )
