"""HttpClient: one conversation with one server URL, as a state machine without sockets.

A driver carries out :meth:`HttpClient.requests_to_send`, feeds responses into ``response_head``,
``response_data`` and ``response_end``, and drains ``next_event``::

    client.start(now=clock())
    for plan in client.requests_to_send():      # HttpSend or HttpAbort
        ...
    client.response_head(exchange, 200, headers, now=clock())
    client.response_data(exchange, data, now=clock())
    client.response_end(exchange, now=clock())
    while (event := client.next_event()) is not None:
        ...

Ready comes with the response to ``initialize``. Messages of a legacy session also wait until the
server has accepted ``notifications/initialized``. That notification is repeated if it was refused
for now or lost. If it cannot be delivered the conversation ends, and ConnectionEnded gives the
reason.

A legacy session that the server has lost is opened anew, once, however many requests noticed; the
application sees a second Ready. A GET that meets 404 counts as a loss as any other request does,
until the next session shows that the server offers no stream by GET.

Source: the Streamable HTTP pages of 2025-03-26 to 2026-07-28.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, Negotiation, Role
from mcpcore.engine.events import Event, Key, Ready, Violation
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.http.client.call import Purpose
from mcpcore.http.client.plan import Planner
from mcpcore.http.client.sending import Sending
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.revisions import Revision, legacy_of
from mcpcore.wire.message import Body, RequestId


class HttpClient(Sending):
    """Client side of one HTTP endpoint.

    ``seed``: random bytes that spread the times of reconnecting; without any they are exact.
    ``assume_sse``: True if the server is remembered as one of HTTP+SSE, which is then tried first.
    Raises ValueError for a URL or settings that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        *,
        settings: HttpClientSettings | None = None,
        seed: bytes = b"",
        assume_sse: bool = False,
    ) -> None:
        settings = HttpClientSettings() if settings is None else settings
        only = settings.legacy_sse is SseUse.ONLY
        if only:
            config = _without_modern(config)
        elif assume_sse and settings.legacy_sse is SseUse.FALL_BACK:
            config = structs.replace(config, assumed=Negotiation.LEGACY)
        peer = Peer(Role.CLIENT, config, mirrors=True)
        super().__init__(peer, Planner(url, settings.headers), settings, seed)
        self.url = url
        self._sse_first = only or (assume_sse and config.assumed is Negotiation.LEGACY)

    # Facts

    @property
    def revision(self) -> Revision | None:
        """Negotiated revision; None before negotiation."""
        return self._peer.revision

    @property
    def session(self) -> str | None:
        """Id of the legacy session, if the server gave one."""
        return self._session

    @property
    def exchanges(self) -> int:
        """Number of exchanges that are open or planned."""
        return len(self._calls)

    # Methods for the application, as on Peer

    def start(self, *, now: float) -> None:
        """Start the conversation, as :meth:`Peer.start <mcpcore.engine.peer.Peer.start>` does."""
        self._peer.start(now=now)
        if self._sse_first and self._peer.state is SessionState.OPENING:
            self._open_pipe(now)

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        log_level: str | None = None,
        force: bool = False,
        repeat: bool | None = None,
    ) -> RequestId:
        """Send a request, as :meth:`Peer.request <mcpcore.engine.peer.Peer.request>` does."""
        return self._peer.request(
            method,
            params,
            now=now,
            timeout=timeout,
            progress=progress,
            meta=meta,
            log_level=log_level,
            force=force,
            repeat=repeat,
        )

    def notify(
        self, method: str, params: Body = None, *, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """Send a notification, as :meth:`Peer.notify <mcpcore.engine.peer.Peer.notify>` does."""
        return self._peer.notify(method, params, meta=meta)

    def respond(self, key: Key, result: Body, *, meta: Mapping[str, Any] | None = None) -> bool:
        """Answer with a result, as :meth:`Peer.respond <mcpcore.engine.peer.Peer.respond>` does."""
        return self._peer.respond(key, result, meta=meta)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error, as :meth:`Peer.fail <mcpcore.engine.peer.Peer.fail>` does.

        With METHOD_NOT_FOUND the request counts as a violation (``max_violations``).
        """
        record = self._endpoint.inbound.get(key)
        failed = self._peer.fail(key, error)
        if failed and record is not None and error.code == METHOD_NOT_FOUND:
            self._refused_one(record.route)
        return failed

    def progress(
        self, key: Key, value: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Report progress, as :meth:`Peer.progress <mcpcore.engine.peer.Peer.progress>` does."""
        return self._peer.progress(key, value, total, message)

    def release(self, key: Key) -> None:
        """Release a request, as :meth:`Peer.release <mcpcore.engine.peer.Peer.release>` does."""
        self._peer.release(key)

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel a request, as :meth:`Peer.cancel <mcpcore.engine.peer.Peer.cancel>` does."""
        self._peer.cancel(request, now=now, reason=reason)

    def retry(
        self,
        request: RequestId,
        responses: Mapping[str, Body],
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> RequestId:
        """Retry a request, as :meth:`Peer.retry <mcpcore.engine.peer.Peer.retry>` does."""
        return self._peer.retry(request, responses, now=now, timeout=timeout)

    def abandon(self, request: RequestId) -> None:
        """Abandon a request, as :meth:`Peer.abandon <mcpcore.engine.peer.Peer.abandon>` does."""
        self._peer.abandon(request)

    # HTTP+SSE: successive conversations

    @property
    def reconnects(self) -> ReconnectSettings | None:
        """Reconnect settings, for conversations over HTTP+SSE alone.

        See :class:`~mcpcore.engine.reconnection.Succession`.
        """
        return self._peer.reconnects

    @reconnects.setter
    def reconnects(self, settings: ReconnectSettings | None) -> None:
        self._peer.reconnects = settings

    def succeed(self) -> None:
        """Begin the next conversation, after the event stream of HTTP+SSE has ended.

        See :meth:`Peer.succeed <mcpcore.engine.peer.Peer.succeed>`; here the same machine goes on.
        :meth:`start` asks for the next stream.
        """
        self._peer = self._peer.succeed()
        for call in list(self._calls.values()):  # plans still on their way to the last session
            self._abort(call)
        self._next_epoch()
        self._pipe, self._sse_first, self._revision, self._barrier = None, True, None, False
        self._waiting.clear()
        self._saved.clear()
        self._turns.clear()

    def renounce(self, reason: str) -> None:
        """Give up the next conversation; requests held for it end as CLOSED.

        See :meth:`Peer.renounce <mcpcore.engine.peer.Peer.renounce>`.
        """
        self._peer.renounce(reason)

    def end(self, *, now: float, reason: str) -> None:
        """End the conversation at once; ConnectionEnded follows, and another conversation may."""
        for call in list(self._calls.values()):
            self._abort(call)
        self._peer.receive_eof(now=now, reason=reason)

    def close(self, *, now: float) -> None:
        """Close all exchanges, end waiting requests as CLOSED, and delete a legacy session.

        Cancellations made before are sent first.  A driver carries out the plans that
        :meth:`requests_to_send` still returns; ConnectionEnded follows.
        """
        if self._closing:
            return
        self._collect()
        self._closing = True
        self._peer.close(now=now)
        self._collect()
        for call in list(self._calls.values()):
            if not self._kept(call):
                self._abort(call)
        self._forget_unsent()
        self._ended(now)

    # Output

    def next_event(self) -> Event | None:
        """Advance until there is an event and return it; None when all input is used up."""
        event = self._peer.next_event()
        if type(event) is Violation and event.refused:
            self._refused_one(event.route)
        elif type(event) is Ready and event.revision.modern:
            self._forget_handshake()
        return event

    def requests_to_send(self) -> list[HttpSend | HttpAbort]:
        """Take the requests to send and the exchanges to abort.

        An aborted exchange may leave an event: the server's requests that came on it end with it.
        """
        self._collect()
        plans, self._plans = self._plans, []
        return plans

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never.

        The origin is that of ``now``.
        """
        ours, theirs = self._deadlines.next(), self._peer.deadline()
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        return min(ours, theirs)

    def handle_timeout(self, now: float) -> None:
        """Handle all deadlines that are due at ``now``."""
        self._peer.handle_timeout(now)
        for call in self._deadlines.due(now):
            if call.purpose is Purpose.SSE and not call.over:
                self._pipe_late(call, now)
            elif self._calls.get(call.route) is call:
                self._abort(call)


def _without_modern(config: Config) -> Config:
    """Return the config with legacy revisions alone, as HTTP+SSE needs.

    Raises ValueError if there are none.
    """
    legacy = legacy_of(config.revisions)
    if not legacy:
        raise ValueError("HTTP+SSE needs a revision with a handshake, and none is spoken")
    return structs.replace(config, revisions=legacy, negotiation=Negotiation.LEGACY)
