"""Requests of the client: sending, input rounds, and their outcomes for the waiting callers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    Ready,
    RequestEnded,
    ResultReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.errors import ConnectionClosed, PeerError
from mcpcore.http import HttpClient
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import LoggingLevel, full_meta
from mcpcore.wire.message import Body, RequestId, to_json
from mcpcore_transports.client.answers import answer_inputs
from mcpcore_transports.client.callbacks import Callbacks, ProgressCallback
from mcpcore_transports.client.errors import result_of
from mcpcore_transports.client.url_elicitation import Visits
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.pending import Waiting

if TYPE_CHECKING:
    from mcpcore_transports.client.raised import Raised

ClientMachine = Peer | HttpClient

_SUBSCRIBE = "resources/subscribe"
_SUBSCRIPTIONS = (_SUBSCRIBE, "resources/unsubscribe")


class _Subject(Struct):
    uri: str


Settled = ResultReceived | ErrorReceived | InputRequired | RequestEnded


CANCELLED = "cancelled by the caller"
"""Reason of a cancellation that is sent to the server when the caller was cancelled."""


class Outcome(Struct):
    """Answer to a request of the client."""

    result: Raw
    """The result object as received."""
    with_input: bool = False
    """True if input of this client went into the result, so that it is never cached."""
    request: RequestId | None = None
    """Id of the request."""

    @property
    def meta(self) -> dict[str, Any]:
        """The result's ``_meta``, decoded."""
        return full_meta(self.result)


class ClientCalls:
    """Requests of one connection, and the callers that wait for them."""

    def __init__(self, machine: ClientMachine, callbacks: Callbacks) -> None:
        self.machine = machine
        self.callbacks = callbacks
        self.link: Link | None = None
        self.ready: Ready | None = None
        self.closed: str | None = None
        """Reason for the end of the connection, once it has ended."""
        self.closing = False
        """True if this side is about to end the connection."""
        self.log_level: LoggingLevel | None = None
        self.subscribed: dict[str, None] = {}
        """URIs of the resources to which this session is subscribed (legacy)."""
        self.meta: dict[str, Any] = {}
        """Members for the ``_meta`` of every request."""
        self.visits = Visits(callbacks)
        self.raised: Raised | None = None
        """Exceptions of a server in this process, for its callers to raise."""
        self._waiting = Waiting()
        self._progress: dict[RequestId, ProgressCallback] = {}

    @property
    def revision(self) -> Revision:
        """The negotiated revision."""
        return self._negotiated.revision

    @property
    def _negotiated(self) -> Ready:
        if self.ready is None:
            raise LocalProtocolError("the connection is not open yet")
        return self.ready

    def flush(self) -> None:
        """Have the link send the machine's output; needed after each call of the machine."""
        if self.link is not None:
            self.link.flush_soon()

    async def request(
        self,
        method: str,
        params: Body = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        repeat: bool | None = None,
    ) -> Outcome:
        """Send a request, serve its input rounds and visits, return its result.

        ``repeat`` is True if the request may be sent again when the connection breaks before the
        answer; :func:`~mcpcore.engine.outbound.may_repeat` defines the default.  Cancelling the
        caller cancels the request.  Raises PeerError or a CallFailed.
        """
        tries = 0
        while True:
            try:
                outcome = await self._attempt(
                    method, params, timeout=timeout, progress=progress, meta=meta, repeat=repeat
                )
                if method in _SUBSCRIPTIONS:
                    self._note(method, params)
                return outcome
            except PeerError as error:
                tries += 1
                if tries > self.visits.rounds or not await self.visits.made(error, self.revision):
                    raise

    async def _attempt(
        self,
        method: str,
        params: Body,
        *,
        timeout: float | None,
        progress: ProgressCallback | None,
        meta: Mapping[str, Any] | None,
        repeat: bool | None,
    ) -> Outcome:
        if self.closed is not None:
            raise ConnectionClosed(method, self.closed)
        request = self.machine.request(
            method,
            params,
            now=clock(),
            timeout=timeout,
            progress=progress is not None,
            meta={**self.meta, **(meta or {})} or None,
            log_level=self.log_level if self.revision.per_request_log_level else None,
            force=method not in KNOWN_METHODS,
            repeat=repeat,
        )
        rounds = 0
        while True:
            outcome = await self._outcome(request, progress)
            if not isinstance(outcome, InputRequired):
                if self.raised is not None:
                    self.raised.meet(outcome)
                return Outcome(result_of(outcome), rounds > 0, request)
            rounds += 1
            request = await self._answer_round(outcome, timeout)

    def _note(self, method: str, params: Body) -> None:
        """Record a change of the session's subscriptions, to repeat them in the next session."""
        try:
            uri = msgspec.json.decode(to_json(params), type=_Subject).uri
        except msgspec.MsgspecError:
            return
        if method == _SUBSCRIBE:
            self.subscribed[uri] = None
        else:
            self.subscribed.pop(uri, None)

    def keep_progress(self, request: RequestId, progress: ProgressCallback) -> None:
        """Keep the progress callback of a request that was answered with a task."""
        self._progress[request] = progress

    def drop_progress(self, request: RequestId) -> None:
        """Drop the progress callback of a request whose task has ended."""
        self._progress.pop(request, None)

    def cancel(self, request: RequestId, reason: str) -> None:
        """Cancel a request with a reason; its outcome, if any, is dropped."""
        self.machine.cancel(request, now=clock(), reason=reason)
        self.flush()

    async def _outcome(self, request: RequestId, progress: ProgressCallback | None) -> Settled:
        self._waiting.expect(request)
        if progress is not None:
            self._progress[request] = progress
        self.flush()
        try:
            return await self._waiting.outcome(request)
        except anyio.get_cancelled_exc_class():
            self.machine.abandon(request)  # in case the server has just asked for input
            self.cancel(request, CANCELLED)
            raise
        finally:
            self._progress.pop(request, None)

    async def _answer_round(self, asked: InputRequired, timeout: float | None) -> RequestId:
        try:
            answers = await answer_inputs(asked, self.callbacks, self.revision)
            if self.closed is not None:
                raise ConnectionClosed(asked.method, self.closed)
        except BaseException:
            self.machine.abandon(asked.request)
            raise
        return self.machine.retry(asked.request, answers, now=clock(), timeout=timeout)
