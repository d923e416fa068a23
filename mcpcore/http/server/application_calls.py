"""Methods of an HTTP server for the application: those of a Peer, by key, session or broadcast."""

from collections.abc import Iterable, Mapping
from typing import Any

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import Key
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.outbound import Sender
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint, Inbound
from mcpcore.http.server.session_table import SessionTable
from mcpcore.http.server.sessions import Session
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.wire.message import Body, RequestId


class ApplicationCalls:
    """Delegation to the Peers of one endpoint.

    Keys and the ids of our own requests are unique across all sessions of the server, so that
    neither needs a session beside it.
    """

    _endpoint: Endpoint
    _modern: Peer
    _sessions: SessionTable

    # Answers, as on Peer: any Peer of the endpoint finds the Peer that a key belongs to.

    def respond(
        self,
        key: Key,
        result: Body,
        *,
        meta: Mapping[str, Any] | None = None,
        result_type: str = "complete",
        bare: bool = False,
    ) -> bool:
        """Answer with a result, as :meth:`Peer.respond <mcpcore.engine.peer.Peer.respond>` does."""
        return self._modern._outbound.respond(key, result, meta, result_type, bare)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error, as :meth:`Peer.fail <mcpcore.engine.peer.Peer.fail>` does."""
        return self._modern.fail(key, error)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Ask for input: :meth:`Peer.require_input <mcpcore.engine.peer.Peer.require_input>`."""
        return self._modern.require_input(key, requests, state)

    def admit(self, key: Key) -> bool:
        """Admit a request, as :meth:`Peer.admit <mcpcore.engine.peer.Peer.admit>` does."""
        return self._modern.admit(key)

    def release(self, key: Key) -> None:
        """Release a request, as :meth:`Peer.release <mcpcore.engine.peer.Peer.release>` does."""
        self._modern.release(key)

    def progress(
        self,
        key: Key,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress, as :meth:`Peer.progress <mcpcore.engine.peer.Peer.progress>` does."""
        return self._modern.progress(key, value, total, message, meta=meta)

    def log(
        self,
        key: Key | None,
        level: str,
        data: Any,
        logger: str | None = None,
        *,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log for a request; or with ``key`` None to one session, or to all of them.

        Return True if at least one message is sent.  See :meth:`Peer.log
        <mcpcore.engine.peer.Peer.log>`.
        """
        if key is not None:
            return self._modern.log(key, level, data, logger, meta=meta)
        chosen = self._chosen(session)
        sent = [each.peer.log(None, level, data, logger, meta=meta) for each in chosen]
        return any(sent)

    def wants_log(self, key: Key, level: str) -> bool:
        """Return True if a client wants log messages of a level.

        See :meth:`Peer.wants_log <mcpcore.engine.peer.Peer.wants_log>`.
        """
        return self._modern.wants_log(key, level)

    def wants_progress(self, key: Key) -> bool:
        """Return True if the client wants progress of a request.

        See :meth:`Peer.wants_progress <mcpcore.engine.peer.Peer.wants_progress>`.
        """
        return self._modern.wants_progress(key)

    def queued(self, key: Key) -> int:
        """Return the bytes that wait on the stream of a request.

        See :meth:`Peer.queued <mcpcore.engine.peer.Peer.queued>`.
        """
        return self._modern.queued(key)

    def waits(self, key: Key) -> bool:
        """Return True if output of a request waits.

        See :meth:`Peer.waits <mcpcore.engine.peer.Peer.waits>`.
        """
        return self._modern.waits(key)

    def narrow(self, key: Key, filter: SubscriptionFilter) -> None:
        """Narrow a subscription, as :meth:`Peer.narrow <mcpcore.engine.peer.Peer.narrow>` does."""
        self._modern.narrow(key, filter)

    def end_subscription(self, key: Key) -> None:
        """End a subscription.

        See :meth:`Peer.end_subscription <mcpcore.engine.peer.Peer.end_subscription>`.
        """
        self._modern.end_subscription(key)

    # Messages of our own

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification on a request's stream, to one session, or as a broadcast.

        A broadcast goes to every session and every listen stream; changes go only to subscribers.
        """
        if parent is not None:
            self._record(parent)
            self._modern.notify(method, params, parent=parent, meta=meta)
            return
        if session is None:
            self._modern.notify(method, params, meta=meta)
        for each in self._chosen(session):
            each.peer.notify(method, params, meta=meta)

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        parent: Key | None = None,
        session: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> RequestId:
        """Send a request to a legacy client; return its id, unique in all sessions of this server.

        ``parent`` sends the request on the stream of one of the client's requests, ``session`` on
        the GET stream of that session.  Raises LocalProtocolError if neither is given or the
        session is gone, and the errors of :meth:`Peer.request <mcpcore.engine.peer.Peer.request>`.
        """
        if parent is not None:
            sender = Sender(self._record(parent).peer)
        elif session is not None:
            sender = self._session(session).peer._outbound
        else:
            raise LocalProtocolError("a request of a server needs parent= or session=")
        return sender.request(
            method, params, now, timeout, parent, progress, meta, None, force, None
        )

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel our request, as :meth:`Peer.cancel <mcpcore.engine.peer.Peer.cancel>` does."""
        pending = self._endpoint.outbound.get(request)
        if pending is not None:
            pending.sender.give_up(pending, reason)

    def _record(self, key: Key) -> Inbound:
        record = self._endpoint.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        return record

    def _session(self, id: str) -> Session:
        session = self._sessions.get(id)
        if session is None:
            raise LocalProtocolError("there is no such session (any more)")
        return session

    def _chosen(self, session: str | None) -> Iterable[Session]:
        return self._sessions if session is None else (self._session(session),)
