"""What arrives: the ladder from a frame to an event, each rung with its own specific refusal.

frame -> message -> kind -> facts (session, or ``_meta`` and headers) -> the method's row ->
lifecycle -> capability -> in-flight table -> event.  Answers to requests of ours are in
:mod:`mcpcore.engine.answers`.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.base import NO_CAPABILITIES
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    MAIN,
    EndReason,
    RequestReceived,
    Route,
)
from mcpcore.engine.handlers import AFTER, BEFORE
from mcpcore.engine.lifecycle import (
    RequestSignal,
    Session,
)
from mcpcore.engine.mirror import Mirror, mismatch
from mcpcore.engine.negotiation import is_modern, unsupported
from mcpcore.engine.notices import End, Failure, Notices
from mcpcore.engine.requests import Batch, Inbound
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import declares, requirement
from mcpcore.spec.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    ErrorData,
    busy_code,
)
from mcpcore.spec.methods import Method, MethodKind
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, Revision
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_PROTOCOL_VERSION,
    Implementation,
    RequestId,
    RequestMeta,
    Skim,
)
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import Message, Reject, decode, refuse_oversized

EMPTY = Raw(b"{}")
_NO_SKIM = Skim()
_NO_META = RequestMeta()
_decode_skim = msgspec.json.Decoder(Skim).decode
_decode_responses = msgspec.json.Decoder(dict[str, Raw]).decode


class Receiver(Notices):
    """The inbound half of a Peer."""

    def take_in(
        self,
        frame: Any,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
    ) -> None:
        """Advance by one thing that arrived: a frame, a line, an end or a failure."""
        if type(frame) is bytes:
            limits = self.config.limits
            frame = decode(frame, max_depth=limits.depth, max_batch=limits.batch)
        if type(frame) is Message:
            self._message(frame, now, route, mirror, principal, None, proves_modern)
        elif isinstance(frame, Reject):
            self._reject(frame, route, None)
        elif isinstance(frame, list):
            self._batch(frame, now, route, principal)
        elif isinstance(frame, End):
            self._end(frame, route)
        elif isinstance(frame, Failure):
            request = self._pending.get(frame.request)
            if request is not None:
                self.transport_failed(request, frame.reason, frame.message, frame.evidence, now)
        else:
            # What is left is TooLong, the framing's word for an over-long line.
            self._reject(refuse_oversized(frame.head, frame.limit), route, None)

    # Frames

    def _message(
        self,
        message: Message,
        now: float,
        route: Route,
        mirror: Mirror | None,
        principal: str | None,
        batch: Batch | None,
        proves_modern: bool = False,
    ) -> None:
        method = message.method
        if method is UNSET:
            self._response(message, now, route, batch, proves_modern)
        elif message.id is UNSET:
            params = EMPTY if message.params is UNSET else message.params
            self._notification(method, params, route, now)
            if batch is None:
                self.send_last(route, FrameKind.ACCEPTED, ())
        else:
            if batch is not None:
                batch.expect()
            params = EMPTY if message.params is UNSET else message.params
            self._request(message.id, method, params, now, route, mirror, principal, batch)

    def _reject(self, reject: Reject, route: Route, batch: Batch | None) -> None:
        if reject.response and reject.id is not None:
            request = self._pending.get(reject.id)
            if request is not None:
                self.abort(request, RequestSignal.ANSWER, EndReason.INVALID, reject.message)
        owed = reject.owed
        if self.role is Role.CLIENT:
            # Noise on a server's standard output is not a request; only what has an id is.
            owed = owed and reject.id is not None and not self.is_modern_client
        if not owed:
            self.violation(route, reject.code, reject.message)
            if batch is None:
                self.send_last(route, FrameKind.ACCEPTED, ())
            return
        if batch is not None:
            batch.expect()
        error = ErrorData(reject.code, reject.message)
        self.refuse(route, reject.id, error, batch=batch, revision=self.revision)

    def _batch(
        self, frames: list[Message | Reject], now: float, route: Route, principal: str | None
    ) -> None:
        revision = self.revision
        if revision is None or not revision.batches:
            text = "batches are not supported" + (
                " before initialize" if revision is None else f" in {revision.name}"
            )
            self.refuse(route, None, ErrorData(INVALID_REQUEST, text), revision=revision)
            return
        if len(frames) > self.config.limits.batch:
            text = f"the batch has {len(frames)} messages; the limit is {self.config.limits.batch}"
            self.refuse(route, None, ErrorData(INVALID_REQUEST, text), revision=revision)
            return
        batch = Batch(self, route, revision)
        for frame in frames:
            if isinstance(frame, Reject):
                self._reject(frame, route, batch)
            else:
                self._message(frame, now, route, None, principal, batch)
        batch.settle()

    # Requests

    def _request(
        self,
        id: RequestId,
        method: str,
        params: Raw,
        now: float,
        route: Route,
        mirror: Mirror | None,
        principal: str | None,
        batch: Batch | None,
    ) -> None:
        try:
            skim = _decode_skim(params) if params is not EMPTY else _NO_SKIM
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.refuse(
                route,
                id,
                ErrorData(INVALID_PARAMS, f"invalid params: {error}"),
                batch=batch,
                revision=self.revision,
            )
            return
        meta = _NO_META if skim.meta is UNSET else skim.meta
        facts = self._facts(method, params, skim, meta, mirror, batch)
        if isinstance(facts, ErrorData):
            modern = is_modern(meta, mirror.version if mirror else None, method)
            self.refuse(
                route,
                id,
                facts,
                batch=batch,
                method=method,
                revision=LATEST if modern else self.revision,
            )
            return
        revision, capabilities, client_info = facts
        row = self.row(method, revision)
        slot = (route, id) if self._scoped else id
        refusal = self._gate(slot, method, row, revision, capabilities, batch)
        if refusal is not None:
            if self.is_modern_client:
                # The modern client never sends responses, so there is nobody to tell.
                self.violation(route, refusal.code, refusal.message)
                return
            self.refuse(route, id, refusal, batch=batch, method=method, revision=revision)
            return
        before = BEFORE.get(method)
        if before is not None and (row is not None):
            before(self, id, params, revision, route, batch)
            return
        record = Inbound(
            peer=self,
            key=self.hub.new_key(),
            id=id,
            method=method,
            row=row,
            revision=revision,
            route=route,
            capabilities=capabilities,
            meta=meta,
            batch=batch,
            token=None if meta.progress_token is UNSET else meta.progress_token,
            log_level=None if meta.log_level is UNSET else meta.log_level,
        )
        after = AFTER.get(method)
        if after is not None:
            after(self, record, params, principal)
            return
        responses: Any = None
        state: Any = None
        if revision.input_rounds and (
            skim.input_responses is not UNSET or skim.request_state is not UNSET
        ):
            try:
                if skim.input_responses is not UNSET:
                    responses = _decode_responses(skim.input_responses)
                if skim.request_state is not UNSET:
                    state = msgspec.json.decode(skim.request_state, type=str)
            except msgspec.MsgspecError as error:
                text = f"invalid params: inputResponses or requestState: {error}"
                error_data = ErrorData(INVALID_PARAMS, text)
                self.refuse(route, id, error_data, method=method, revision=revision)
                return
        self.register(record)
        self.emit(
            RequestReceived(
                key=record.key,
                id=id,
                method=method,
                params=params,
                meta=meta,
                revision=revision,
                client_info=client_info,
                client_capabilities=capabilities,
                route=route,
                input_responses=responses,
                request_state=state,
                session=self.session,
                principal=principal,
            )
        )

    def register(self, record: Inbound) -> None:
        """Put a request of the other side into the tables."""
        self.hub.inbound[record.key] = record
        self._in_flight[self.slot(record.route, record.id)] = record
        if self._scoped:
            self._by_route[record.route] = record

    def _facts(
        self,
        method: str,
        params: Raw,
        skim: Skim,
        meta: RequestMeta,
        mirror: Mirror | None,
        batch: Batch | None,
    ) -> tuple[Revision, ClientCapabilities, Implementation | None] | ErrorData:
        """In which revision, and with which capabilities, a request is to be read."""
        if self.role is Role.SERVER:
            header = mirror.version if mirror is not None else None
            if is_modern(meta, header, method) or not self._legacy:
                if batch is not None:
                    return ErrorData(INVALID_REQUEST, f"{method}: not possible in a batch")
                return self._modern_facts(method, params, skim, meta, mirror)
        info = self.peer_info
        if isinstance(self.peer_capabilities, ClientCapabilities):
            return self.revision or LATEST_LEGACY, self.peer_capabilities, info
        return self.revision or LATEST_LEGACY, NO_CAPABILITIES, info

    def _modern_facts(
        self, method: str, params: Raw, skim: Skim, meta: RequestMeta, mirror: Mirror | None
    ) -> tuple[Revision, ClientCapabilities, Implementation | None] | ErrorData:
        version, capabilities = meta.protocol_version, meta.client_capabilities
        if version is UNSET and method == "initialize":
            requested = _requested_version(params)
            return unsupported(requested, self.config.revisions)
        if version is UNSET:
            return _missing(META_PROTOCOL_VERSION)
        if capabilities is UNSET:
            return _missing(META_CLIENT_CAPABILITIES)
        if mirror is not None:
            row = self.row(method, self._by_name.get(version, LATEST))
            body_name = UNSET if row is None or row.header is None else _member(skim, row.header)
            text = mismatch(
                mirror,
                version=version,
                method=method,
                row=row,
                body_name=body_name,
                params=params,
                header_params=self.config.header_params,
            )
            if text is not None:
                return ErrorData(HEADER_MISMATCH, f"header mismatch: {text}")
        revision = self._by_name.get(version)
        if revision is None:
            return unsupported(version, self.config.revisions)
        info = None if meta.client_info is UNSET else meta.client_info
        return revision, capabilities, info

    def _gate(
        self,
        slot: Any,
        method: str,
        row: Method | None,
        revision: Revision,
        capabilities: ClientCapabilities,
        batch: Batch | None,
    ) -> ErrorData | None:
        """Say why a request may not be served now, or None."""
        if row is None:
            if method not in self.config.extension_methods:
                return ErrorData(METHOD_NOT_FOUND, f"method not found: {method}")
        elif row.kind is not MethodKind.REQUEST:
            return ErrorData(INVALID_REQUEST, f"{method} is a notification and has no id")
        if not revision.modern:
            text = self._too_early(method, batch)
            if text is not None:
                return ErrorData(INVALID_REQUEST, text)
        if row is not None and not self.offers(row):
            return ErrorData(
                METHOD_NOT_FOUND,
                f"method not found: {method} (this {self.role.value} does not declare"
                f" {row.capability!r})",
            )
        if row is not None and row.peer_capability is not None:
            missing = row.peer_capability
            if not declares(capabilities, missing):
                return ErrorData.make(
                    MISSING_CLIENT_CAPABILITY,
                    f"{method} needs the client capability {missing!r}",
                    {"requiredCapabilities": requirement(missing)},
                )
        if self.state is Session.CLOSING or self.state is Session.CLOSED:
            return ErrorData(busy_code(revision), f"this {self.role.value} is shutting down")
        if slot in self._in_flight:
            return ErrorData(INVALID_REQUEST, "a request with this id is already in flight")
        limit = self.config.limits.in_flight
        if len(self._in_flight) >= limit:
            return ErrorData(busy_code(revision), f"busy: {limit} requests are in flight")
        return None

    def _too_early(self, method: str, batch: Batch | None) -> str | None:
        if method == "initialize":
            if batch is not None:
                return "initialize must not be part of a batch"
            if self.state is not Session.NEW:
                return "initialize was already received"
        elif self.revision is None and method != "ping":
            return f"{method} came before initialize"
        return None


def _member(skim: Skim, header: str) -> Any:
    return {"name": skim.name, "uri": skim.uri, "taskId": skim.task_id}[header]


def _missing(key: str) -> ErrorData:
    return ErrorData(INVALID_PARAMS, f"invalid params: _meta is missing {key!r}")


class _Requested(Struct, rename="camel"):
    protocol_version: Any = ""


def _requested_version(params: Raw) -> str:
    try:
        return str(msgspec.json.decode(params, type=_Requested).protocol_version)
    except msgspec.MsgspecError:
        return ""
