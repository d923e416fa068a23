"""The methods that the engine itself answers, as tables from method to function.

``BEFORE``: requests answered at once.  ``AFTER``: requests that stay in flight.  ``NOTIFIED``:
notifications that move our own state.  Sources: the lifecycle, ping, logging and resources pages
of 2025-11-25; the discovery and subscriptions pages of 2026-07-28.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw, structs

from mcpcore.engine.events import (
    LogLevelChanged,
    Ready,
    ResourceSubscribed,
    Route,
    SubscriptionOpened,
)
from mcpcore.engine.lifecycle import Session, SessionSignal, Stream
from mcpcore.engine.negotiation import discover_result, initialize_result
from mcpcore.engine.requests import Batch, Inbound
from mcpcore.engine.subscriptions import honoured, undeclared
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import in_revision, requirement
from mcpcore.spec.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CLIENT_CAPABILITY,
    ErrorData,
    busy_code,
)
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import InitializeParams
from mcpcore.spec.types.logging import SetLevelParams
from mcpcore.spec.types.resources import SubscribeParams
from mcpcore.spec.types.subscriptions import (
    SubscriptionsAcknowledgedParams,
    SubscriptionsListenParams,
)
from mcpcore.wire.message import RequestId, encode_result, splice, to_json

if TYPE_CHECKING:
    from mcpcore.engine.receiver import Receiver

T = TypeVar("T")

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

Immediate = Callable[["Receiver", RequestId, Raw, Revision, Route, Batch | None], None]
Lasting = Callable[["Receiver", Inbound, Raw, str | None], None]
Notified = Callable[["Receiver", Raw, Route], None]


def _typed(params: Raw, type_: type[T]) -> T | ErrorData:
    try:
        return msgspec.json.decode(params, type=type_)
    except msgspec.MsgspecError as error:
        return ErrorData(INVALID_PARAMS, f"invalid params: {error}")


def _reply(
    peer: "Receiver",
    id: RequestId,
    method: str,
    revision: Revision,
    route: Route,
    batch: Batch | None,
    result: bytes = b"{}",
) -> None:
    members = peer.complete if revision.result_type else b""
    peer.answer(
        route,
        batch,
        FrameKind.RESULT,
        encode_result(id, result, members),
        key=0,
        method=method,
        revision=revision,
    )


def _initialize(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    typed = _typed(params, InitializeParams)
    if isinstance(typed, ErrorData):
        peer.refuse(route, id, typed, method="initialize", revision=revision)
        return
    chosen, result = initialize_result(peer.config, typed.protocol_version)
    peer.move(SessionSignal.INITIALIZE)
    peer.agree(chosen)
    peer.peer_info = typed.client_info
    peer.peer_capabilities = in_revision(typed.capabilities, chosen)
    _reply(peer, id, "initialize", chosen, route, batch, result)


def _ping(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    _reply(peer, id, "ping", revision, route, batch)


def _discover(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    result = discover_result(peer.config)
    _reply(peer, id, "server/discover", revision, route, batch, result)


def _set_level(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    typed = _typed(params, SetLevelParams)
    if isinstance(typed, ErrorData):
        peer.refuse(route, id, typed, batch=batch, method="logging/setLevel", revision=revision)
        return
    peer.log_level = typed.level
    peer.emit(LogLevelChanged(level=typed.level, session=peer.session))
    _reply(peer, id, "logging/setLevel", revision, route, batch)


def _subscribe(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    _change_subscription(peer, id, params, revision, route, batch, active=True)


def _unsubscribe(
    peer: "Receiver", id: RequestId, params: Raw, revision: Revision, route: Route, batch: Any
) -> None:
    _change_subscription(peer, id, params, revision, route, batch, active=False)


def _change_subscription(
    peer: "Receiver",
    id: RequestId,
    params: Raw,
    revision: Revision,
    route: Route,
    batch: Batch | None,
    *,
    active: bool,
) -> None:
    method = "resources/subscribe" if active else "resources/unsubscribe"
    typed = _typed(params, SubscribeParams)
    limit = peer.config.limits.subscriptions
    if not isinstance(typed, ErrorData) and active and len(peer.uris | {typed.uri}) > limit:
        typed = ErrorData(busy_code(revision), f"busy: {limit} resources are subscribed to")
    if isinstance(typed, ErrorData):
        peer.refuse(route, id, typed, batch=batch, method=method, revision=revision)
        return
    (peer.uris.add if active else peer.uris.discard)(typed.uri)
    peer.emit(ResourceSubscribed(uri=typed.uri, active=active, session=peer.session))
    _reply(peer, id, method, revision, route, batch)


def _listen(peer: "Receiver", record: Inbound, params: Raw, principal: str | None) -> None:
    typed = _typed(params, SubscriptionsListenParams)
    if isinstance(typed, ErrorData):
        asked: Any = typed
    else:
        asked = honoured(typed.notifications, peer.config.capabilities)
        wanted = asked.resource_subscriptions
        limit = peer.config.limits.subscriptions
        missing = undeclared(asked, record.capabilities)
        if missing is not None:
            asked = ErrorData.make(
                MISSING_CLIENT_CAPABILITY,
                f"what the filter asks for needs the client capability {missing!r}",
                {"requiredCapabilities": requirement(missing)},
            )
        elif len(peer.streams) >= limit:
            asked = ErrorData(busy_code(record.revision), f"busy: {limit} streams are open")
        elif wanted is not UNSET and len(wanted) > limit:
            asked = ErrorData(
                INVALID_PARAMS, f"resourceSubscriptions lists more than {limit} resources"
            )
        elif asked.task_ids is not UNSET and len(asked.task_ids) > limit:
            asked = ErrorData(INVALID_PARAMS, f"taskIds lists more than {limit} tasks")
    if isinstance(asked, ErrorData):
        peer.refuse(record.route, record.id, asked, method=record.method, revision=record.revision)
        return
    record.stream = Stream.LISTENING
    record.filter = asked
    record.uris = frozenset(() if asked.resource_subscriptions is UNSET else wanted)
    peer.register(record)
    peer.streams[record.key] = record
    record.acknowledgement = peer.send_notification(
        ACKNOWLEDGED,
        acknowledgement(record),
        route=record.route,
        record=record,
        revision=record.revision,
    )
    peer.emit(
        SubscriptionOpened(key=record.key, filter=asked, route=record.route, principal=principal)
    )


def acknowledgement(record: Inbound) -> bytes:
    """The params that tell the client what its listen stream will carry."""
    acknowledged = SubscriptionsAcknowledgedParams(notifications=cast(Any, record.filter))
    return splice(to_json(acknowledged), subscription_meta(record))


def subscription_meta(record: Inbound) -> bytes:
    """The ``_meta`` member that ties a notification to its listen stream."""
    return b'"_meta":' + msgspec.json.encode({META_SUBSCRIPTION_ID: record.id})


def narrowed(current: Any, wanted: Any) -> Any:
    """The intersection of two filters."""
    fields: dict[str, Any] = {}
    for name in current.__struct_fields__:
        have, want = getattr(current, name), getattr(wanted, name)
        if have is UNSET or want is UNSET:
            continue
        if isinstance(have, list):
            fields[name] = [item for item in have if item in set(want)]
        else:
            fields[name] = have and want
    return structs.replace(type(current)(), **fields)


def _initialized(peer: "Receiver", params: Raw, route: Route) -> None:
    if peer.state is not Session.OPENING or peer.revision is None:
        text = f"notifications/initialized while the session is {peer.state.value}"
        peer.violation(route, INVALID_REQUEST, text)
        return
    peer.move(SessionSignal.INITIALIZED)
    peer.emit(
        Ready(
            revision=peer.revision,
            info=peer.peer_info,
            capabilities=peer.peer_capabilities or ClientCapabilities(),
            session=peer.session,
        )
    )
    peer.send_held()


BEFORE: dict[str, Immediate] = {
    "initialize": _initialize,
    "ping": _ping,
    "server/discover": _discover,
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
}

AFTER: dict[str, Lasting] = {"subscriptions/listen": _listen}

NOTIFIED: dict[str, Notified] = {"notifications/initialized": _initialized}
