"""Requests that the engine itself answers, as tables from method to function.

``IMMEDIATE``: answered at once; they take no place in the table of requests in flight.
``LASTING``: they stay in flight.  Each function answers, or returns the error to refuse with.
Sources: the lifecycle, ping, logging and resources pages of 2025-11-25; the discovery and
subscriptions pages of 2026-07-28.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Raw

from mcpcore.engine.events import (
    ENGINE,
    LogLevelChanged,
    ResourceSubscribed,
    SubscriptionOpened,
)
from mcpcore.engine.ladder import lacks_capability, names_itself_shortly
from mcpcore.engine.lifecycle import SessionSignal, StreamState
from mcpcore.engine.negotiation import discover_result, initialize_result
from mcpcore.engine.requests import Inbound
from mcpcore.engine.subscriptions import Interest, honoured, undeclared
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import in_revision
from mcpcore.spec.errors import INVALID_PARAMS, ErrorData, busy_code
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.lifecycle import InitializeParams
from mcpcore.spec.types.logging import SetLevelParams
from mcpcore.spec.types.subscriptions import (
    SubscriptionsAcknowledgedParams,
    SubscriptionsListenParams,
)
from mcpcore.wire.message import encode_result, to_json

if TYPE_CHECKING:
    from mcpcore.engine.receiver import Receiver
    from mcpcore.spec.types.resources import SubscribeParams

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

T = TypeVar("T")
Handler = Callable[["Receiver", Inbound], ErrorData | None]


def _typed(params: Raw, type_: type[T]) -> T | ErrorData:
    try:
        return msgspec.json.decode(params, type=type_)
    except msgspec.MsgspecError as error:
        return ErrorData(INVALID_PARAMS, f"invalid params: {error}")


def _reply(peer: "Receiver", arrival: Inbound, result: bytes = b"{}") -> None:
    members = peer.profile.complete[arrival.revision]
    peer.answer(
        arrival.route,
        arrival.batch,
        FrameKind.RESULT,
        encode_result(arrival.id, result, members),
        key=ENGINE,
        method=arrival.method,
        revision=arrival.revision,
    )


# Lifecycle


def _initialize(peer: "Receiver", arrival: Inbound) -> ErrorData | None:
    limit = peer.config.limits.introduction
    if len(arrival.params) > limit:
        text = f"invalid params: clientInfo and capabilities have more than {limit} bytes"
        return ErrorData(INVALID_PARAMS, text)
    params = _typed(arrival.params, InitializeParams)
    if isinstance(params, ErrorData):
        return params
    chosen, result = initialize_result(peer.config, params.protocol_version)
    peer.move(SessionSignal.INITIALIZE)
    peer.agree(chosen)
    peer.introduced(params.client_info, in_revision(params.capabilities, chosen))
    peer.changes += 1
    arrival.revision = chosen
    _reply(peer, arrival, result)
    return None


def _ping(peer: "Receiver", arrival: Inbound) -> None:
    _reply(peer, arrival)


def _discover(peer: "Receiver", arrival: Inbound) -> None:
    _reply(peer, arrival, discover_result(peer.config))


# Logging and subscriptions of the legacy era


def _set_level(peer: "Receiver", arrival: Inbound) -> ErrorData | None:
    params = _typed(arrival.params, SetLevelParams)
    if isinstance(params, ErrorData):
        return params
    peer.log_level = params.level
    if peer.said is not None:
        peer.said.add(None)
    peer.changes += 1
    peer.emit(LogLevelChanged(level=params.level, session=peer.session))
    _reply(peer, arrival)
    return None


def _subscription(peer: "Receiver", arrival: Inbound) -> "SubscribeParams | ErrorData":
    from mcpcore.spec.types.resources import SubscribeParams  # late: few servers need it

    params = _typed(arrival.params, SubscribeParams)
    if isinstance(params, ErrorData):
        return params
    return _overlong(peer, "uri", params.uri) or params


def _overlong(peer: "Receiver", member: str, uri: str) -> ErrorData | None:
    limit = peer.config.max_uri
    if len(uri) <= limit:
        return None
    return ErrorData(INVALID_PARAMS, f"invalid params: {member}: longer than {limit} characters")


def _subscribe(peer: "Receiver", arrival: Inbound) -> ErrorData | None:
    params = _subscription(peer, arrival)
    if isinstance(params, ErrorData):
        return params
    limits = peer.config.limits
    if params.uri not in peer.uris and (
        len(peer.uris) >= limits.subscriptions
        or sum(map(len, peer.uris), len(params.uri)) > limits.subscribed
    ):
        text = f"busy: {len(peer.uris)} resources are subscribed to"
        return ErrorData(busy_code(arrival.revision), text)
    peer.uris.add(params.uri)
    if peer.said is not None:
        peer.said.add(params.uri)
    peer.changes += 1
    peer.emit(ResourceSubscribed(uri=params.uri, active=True, session=peer.session))
    _reply(peer, arrival)
    return None


def _unsubscribe(peer: "Receiver", arrival: Inbound) -> ErrorData | None:
    params = _subscription(peer, arrival)
    if isinstance(params, ErrorData):
        return params
    peer.uris.discard(params.uri)
    if peer.said is not None:
        peer.said.add(params.uri)
    peer.changes += 1
    peer.emit(ResourceSubscribed(uri=params.uri, active=False, session=peer.session))
    _reply(peer, arrival)
    return None


# Listen streams of the modern era


def _listen(peer: "Receiver", arrival: Inbound) -> ErrorData | None:
    params = _typed(arrival.params, SubscriptionsListenParams)
    if isinstance(params, ErrorData):
        return params
    overlong = names_itself_shortly(peer, arrival)
    if overlong is not None:
        return overlong
    limits = peer.config.limits
    if (
        len(peer.streams) >= limits.listen_streams
        or len(peer.endpoint.inbound) >= peer.endpoint.capacity
    ):
        return ErrorData(busy_code(arrival.revision), f"busy: {len(peer.streams)} streams are open")
    asked = honoured(params.notifications, peer.profile.announced)
    missing = undeclared(asked, arrival.capabilities)
    if missing is not None:
        return lacks_capability("what the filter asks for", missing)
    interest = Interest(asked)
    subjects = interest.subjects
    if len(subjects) > limits.subscriptions:
        text = f"invalid params: more than {limits.subscriptions} subjects are listed"
        return ErrorData(INVALID_PARAMS, text)
    if sum(map(len, subjects)) > limits.subscribed:
        text = f"invalid params: what is listed has more than {limits.subscribed} characters"
        return ErrorData(INVALID_PARAMS, text)
    for uri in asked.resource_subscriptions or ():
        overlong = _overlong(peer, "notifications.resourceSubscriptions", uri)
        if overlong is not None:
            return overlong
    record = arrival
    peer.register(record)
    record.forget_arrival()
    record.stream = StreamState.LISTENING
    record.interest = interest
    peer.streams[record.key] = record
    peer.send_notification(
        ACKNOWLEDGED,
        acknowledged(interest),
        members=subscription_meta(record),
        record=record,
        subject=ACKNOWLEDGED,
    )
    peer.emit(
        SubscriptionOpened(
            key=record.key, filter=asked, route=record.route, principal=arrival.principal
        )
    )
    return None


def acknowledged(interest: Interest) -> bytes:
    """Return the params of the first frame of a listen stream: what it will carry."""
    return to_json(SubscriptionsAcknowledgedParams(notifications=interest.filter))


def subscription_meta(record: Inbound) -> bytes:
    """Return the ``_meta`` member that ties a notification to its listen stream."""
    return b'"_meta":' + msgspec.json.encode({META_SUBSCRIPTION_ID: record.id})


IMMEDIATE: dict[str, Handler] = {
    "initialize": _initialize,
    "ping": _ping,
    "server/discover": _discover,
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
}

LASTING: dict[str, Handler] = {"subscriptions/listen": _listen}
