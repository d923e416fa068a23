"""Relay: any client before any number of servers, each in its own era, as a machine without I/O.

The driver owns the machines: one downstream (a server's Peer, or an HttpServer) and, for each
:class:`~mcpcore.relay.link.UpstreamLink`, an upstream (a client's Peer, or an HttpClient), which
``Target.connect`` makes and starts.  It tells the relay of their events; the relay calls them::

    relay.start(now=clock())
    while (event := downstream.next_event()) is not None:
        relay.from_client(event, now=clock(), wall=time())
    while (event := upstream.next_event()) is not None:
        relay.from_server(link, event, now=clock(), wall=time())

A call of the relay may leave events at the downstream machine; they are taken before its output.
``downstream`` asks first (``Config.asked_first`` is ``ASKABLE``), has ``extension_methods`` of
:data:`~mcpcore.engine.config.ANY_EXTENSION`, and declares :meth:`Relay.capabilities`.  Every
request of a client ends once.  What differs between the eras is in :mod:`mcpcore.relay.cells`.

Sources: the lifecycle, cancellation, progress and logging pages of 2025-11-25; the versioning,
subscriptions and "Multi Round-Trip Requests" pages of 2026-07-28.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine import events
from mcpcore.engine.bodies import relayable
from mcpcore.engine.config import HeaderParams
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Event, Key, RequestReceived
from mcpcore.engine.peer import DEFAULT_LOG_LEVEL, Peer
from mcpcore.engine.seal import Seal, request_binding
from mcpcore.engine.subscriptions import TOPICS
from mcpcore.errors import SealBroken
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.server.sessions import SessionClosed
from mcpcore.relay.cells import Cell, error_in, result_in, url_questions, with_elicitation_id
from mcpcore.relay.link import (
    LINK,
    ONLY,
    PARKED,
    Asked,
    Audience,
    Delayed,
    Downstream,
    LinkSignal,
    LinkState,
    Outcome,
    Parked,
    ParkedSignal,
    ParkedState,
    PassedCall,
    Target,
    UpstreamLink,
    moved,
    void,
)
from mcpcore.relay.lists import LISTS, Lists, merged_capabilities
from mcpcore.relay.names import IN_PARAMS, NameKind, Names
from mcpcore.relay.settings import RelaySettings
from mcpcore.relay.subscriptions import Subscriptions
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import (
    FORBIDDEN,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    URL_ELICITATION_REQUIRED,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.methods import lookup_embedded
from mcpcore.spec.types.base import EmbeddedRequest, LoggingLevel
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.message import Body, RequestId, splice, to_json

UNSENDABLE = (LocalProtocolError, msgspec.MsgspecError, ValueError, TypeError)
"""Exceptions of calls that the engine refuses, for bodies or methods of the other side."""
_UNANSWERED = ErrorData(INTERNAL_ERROR, "the client did not answer")


class Ticket(Struct, frozen=True, array_like=True):
    """Content of a sealed ``requestState``: a call that is parked, or a server's own state."""

    parked: int | None
    server: str | None = None
    state: str | None = None
    place: str = ""
    """Place of the relay that has parked the call."""


class _Logged(Struct):
    level: LoggingLevel
    data: Raw
    logger: str | None = None


_decode_ticket = msgspec.msgpack.Decoder(Ticket).decode
_encode_ticket = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.json.Decoder(EmbeddedRequest).decode
_decode_logged = msgspec.json.Decoder(_Logged).decode
_encode = msgspec.json.Encoder().encode


class Relay:
    """Routes between one downstream machine and the servers behind it.

    ``seal`` protects the states and cursors that clients return; ``place`` tells this relay from
    others with the same seal.  Raises ValueError for names of targets that cannot be used.
    """

    def __init__(
        self,
        downstream: Downstream,
        targets: Iterable[Target],
        *,
        seal: Seal,
        place: str = "",
        settings: RelaySettings | None = None,
    ) -> None:
        self.settings = settings = settings or RelaySettings()
        listed = [(target.name, target) for target in targets]
        self.targets = dict(listed)
        self.names = Names([name for name, _ in listed], settings.naming, settings.names)
        self.header_params: dict[str, HeaderParams] = {}
        """Arguments that headers mirror, by tool, for the Config of the downstream machine."""
        self.dropped = 0
        """Number of messages of servers that could not be assigned to a client."""
        self.now = self.wall = 0.0
        """Time of the present input, and the same in seconds since the epoch."""
        self.used: set[UpstreamLink] = set()
        """Conversations that were used since the driver took them: it flushes or closes these."""
        self.downstream = downstream
        self.seal = seal
        self._here = place
        self._links: dict[str | None, dict[tuple[Any, ...], UpstreamLink]] = {}
        """Conversations by session, then by server, principal and capabilities."""
        self._calls: dict[Key, PassedCall] = {}
        self._asked: dict[RequestId, Asked] = {}
        self._parked: dict[int, Parked] = {}
        self._serial = 0
        self._levels: dict[str, str] = {}
        """Log levels that legacy clients have set, by session."""
        self._deadlines: Deadlines[Any] = Deadlines()
        """Parked calls, conversations and delayed work."""
        self.lists = Lists(self)
        self.subscriptions = Subscriptions(self)
        self._sole = next(iter(self.targets.values())) if len(self.targets) == 1 else None

    # Facts

    @property
    def idle(self) -> bool:
        """True if no request of a client is open and no call is parked."""
        return not (self._calls or self._parked or self._asked)

    def capabilities(self) -> ServerCapabilities:
        """Return what the servers declare together, for the Config of the downstream machine."""
        return merged_capabilities(self.targets.values())

    # Input

    def start(self, *, now: float) -> None:
        """Open the first conversation with each server, which tells its era."""
        for target in self.targets.values():
            self.open(target, now=now)

    def open(self, target: Target, *, now: float) -> None:
        """Open the first conversation with a server, if there is none."""
        self.now = now
        self.link(target, Audience()).open()

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do ``work`` after a time."""
        self._deadlines.set(Delayed(work), self.now + seconds)

    def from_client(self, event: Event, *, now: float, wall: float) -> None:
        """Handle an event of the downstream machine. ``wall``: seconds since the epoch."""
        self.now, self.wall = now, wall
        handler = _FROM_CLIENT.get(type(event))
        if handler is not None:
            handler(self, event)

    def from_server(self, link: UpstreamLink, event: Event, *, now: float, wall: float) -> None:
        """Handle an event of the upstream machine of ``link``."""
        self.now, self.wall = now, wall
        handler = _FROM_SERVER.get(type(event))
        if handler is not None:
            handler(self, link, event)

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout`, None if never."""
        return self._deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """End what is due: parked calls, kept outcomes, idle conversations, delays."""
        self.now = now
        for item in self._deadlines.due(now):
            if isinstance(item, Parked):
                self._expire(item)
            elif not isinstance(item, UpstreamLink):
                item.due()
            elif item.idle:
                self.close_link(item)

    # Conversations with servers

    def link(self, target: Target, audience: Audience) -> UpstreamLink:
        """Return the conversation with ``target`` for an audience.

        ``Target.shared`` tells who shares it.  Raises LocalProtocolError if there are too many.
        """
        principal = (audience.principal or "") if target.personal else audience.principal
        if target.greeting is None:
            audience = Audience()
        elif target.modern and target.shared is not False:
            audience = Audience(principal if target.personal else None)
        else:
            session = None if target.shared else audience.session
            audience = structs.replace(audience, principal=principal, session=session)
        declared = _encode(audience.capabilities)
        place = target.name, *target.party(audience.principal), declared
        link = self._links.get(audience.session, {}).get(place)
        if link is None:
            if target.links >= self.settings.links and audience != Audience():
                raise LocalProtocolError(f"{target.name}: too many conversations are open")
            link = UpstreamLink(target, audience, place, self.used)
            self._links.setdefault(audience.session, {})[place] = link
            target.links += 1
        if link.deadline is not None:
            self._deadlines.set(link, None)
        return link

    def links_of(self, session: str) -> list[UpstreamLink]:
        """Return the conversations with legacy servers that belong to a session."""
        return [link for link in self._links.get(session, {}).values() if not link.target.modern]

    def watch(self, link: UpstreamLink) -> None:
        """Close the conversation later if nothing needs it any more."""
        if link.idle and not link.ended:
            self._deadlines.set(link, self.now + self.settings.link_idle)

    def close_link(self, link: UpstreamLink) -> None:
        """Close a conversation; what it has open ends by its events."""
        self._forget(link)
        if link.machine is not None:
            link.peer.close(now=self.now)

    def _forget(self, link: UpstreamLink) -> None:
        target = link.target
        target.links -= 1
        target.open_links -= link.state is LinkState.OPEN
        moved(LINK, link, LinkSignal.END)
        self._deadlines.set(link, None)
        of_session = self._links[link.audience.session]
        del of_session[link.place]
        if not of_session:
            del self._links[link.audience.session]

    def _greeted(self, link: UpstreamLink, event: events.Ready) -> None:
        target, open = link.target, link.state is LinkState.OPEN
        again = open or link.failures > 0
        if not moved(LINK, link, LinkSignal.GREET):
            return
        target.greeting, link.failures = event, 0
        target.open_links += not open
        if again:  # in place of a session or a conversation that was lost
            level, link.level = link.level, None
            self.set_level(link, level)
            self.subscriptions.restore(link)
        if target.away is not None:
            target.away = None
            self._lists_changed(target)
        self._go_ahead(target)
        self.watch(link)

    def _go_ahead(self, target: Target) -> None:
        waiting, target.waiting = target.waiting, []
        for work in waiting:
            work()

    def _lost(
        self, link: UpstreamLink, event: events.NegotiationFailed | events.ConnectionEnded
    ) -> None:
        """Forget a conversation that has ended, once its requests have."""
        if link.ended:
            return
        self._forget(link)
        if isinstance(event, events.NegotiationFailed):
            told, reason, fault = event.message, EndReason.REFUSED, event.fault
        else:
            told, reason, fault = event.reason, EndReason.CLOSED, None
        if not link.refused:
            link.target.fault = told
        for asked in link.asked.values():
            self._withdraw(asked, "the server is gone")
        link.asked.clear()
        for id in [*link.calls, *link.pending]:  # of those once open, calls that waited for input
            end = events.RequestEnded(
                request=id, method="", reason=reason, message=told, fault=fault
            )
            self._ended(link, end)
        if not link.refused:
            self._went_away(link.target)
        self._go_ahead(link.target)  # each finds out that the server does not answer
        self.subscriptions.lost(link)

    def _went_away(self, target: Target) -> None:
        """Note that a server is away if its last conversation was lost; it may come back."""
        if target.away is None and not target.open_links:
            target.away = since = self.now

            def gone() -> None:
                if target.away == since:
                    self._lists_changed(target)

            self.later(self.settings.grace, gone)

    def _lists_changed(self, target: Target) -> None:
        self.lists.forget(target)
        self.subscriptions.lists_changed(target)

    def audience_of(self, arrival: RequestReceived) -> Audience:
        """Return the audience that the client of a request is of."""
        session = None if arrival.revision.modern else arrival.session or ONLY
        return Audience(arrival.principal, session, arrival.client_capabilities)

    # Requests of clients

    def _arrived(self, event: RequestReceived) -> None:
        try:
            if event.request_state is not None:
                self._retried(event, event.request_state)
            else:
                self._route(event)
        except msgspec.MsgspecError as error:
            self.refuse(event.key, INVALID_PARAMS, f"invalid params: {error}")

    def _route(self, event: RequestReceived, *, learned: bool = False) -> None:
        method = event.method
        if self.subscriptions.takes(event):
            return
        if self._sole is not None and self.names.plain:
            self._forward(self._sole, event, event.params)
            return
        if method in LISTS:
            self.lists.ask(event)
            return
        found = self.names.inward_in(method, event.params)
        if found is not None:
            self._forward(self.targets[found[0]], event, found[1])
        elif method not in IN_PARAMS and self._sole is not None:
            self._forward(self._sole, event, event.params)
        elif method not in IN_PARAMS:
            text = f"method not found: {method} names none of the servers"
            self.refuse(event.key, METHOD_NOT_FOUND, text)
        elif learned or not self.lists.learn(event, partial(self._route, event, learned=True)):
            self.unknown(event)

    def unknown(self, event: RequestReceived) -> None:
        """Refuse a request for something that no server has."""
        way, kind = IN_PARAMS[event.method][0]
        member = msgspec.json.decode(event.params, type=dict[str, Raw]).get(way[0], Raw(b"null"))
        error = ErrorData(INVALID_PARAMS, f"unknown {kind.value}: {bytes(member).decode()}")
        if kind is NameKind.URI:
            error = ErrorData.make(RESOURCE_NOT_FOUND, "resource not found", {"uri": member})
        self.downstream.fail(event.key, error)

    def when_known(self, target: Target, work: Callable[[], None]) -> None:
        """Do ``work`` once the first conversation with a server has succeeded or failed."""
        if target.greeting is None:
            self.link(target, Audience()).open()
            target.waiting.append(work)
        else:
            work()

    def _forward(
        self, target: Target, event: RequestReceived, params: Raw, members: bytes = b""
    ) -> None:
        """Send a request on; ``members`` are answers and state for a modern server."""
        self.when_known(target, partial(self._send, target, event, params, members))

    def _send(
        self,
        target: Target,
        event: RequestReceived,
        params: Raw,
        members: bytes,
        before: PassedCall | None = None,
    ) -> None:
        if target.greeting is None:
            self.downstream.fail(event.key, target.unreachable)
            return
        body, meta = relayable(params)
        if event.request_state is None and event.input_responses is not None and target.modern:
            members = b'"inputResponses":' + _encode(event.input_responses)
        if members:
            body = Raw(splice(to_json(body), members))
        try:
            link = self.link(target, self.audience_of(event))
        except LocalProtocolError as error:
            self.refuse(event.key, busy_code(event.revision), str(error))
            return
        cell = Cell((event.revision.modern, target.modern))
        call = PassedCall([event.key], event.method, event, cell, link, params=params)
        if before is not None:
            call.attempts, call.relisted = before.attempts, before.relisted
        if not members:
            call.send_again = partial(self._send_again, call)
        level: str | None = event.meta.log_level
        if not event.revision.per_request_log_level:
            unset = DEFAULT_LOG_LEVEL if target.modern else None
            level = self._levels.get(event.session or ONLY, unset)
        if not target.modern:
            self.set_level(link, level)
        try:
            call.request = self._request(
                link,
                event.method,
                body,
                timeout=self.settings.call_timeout,
                progress=event.meta.progress_token is not None,
                meta=meta,
                log_level=level if level and target.modern and target.offers("logging") else None,
                capabilities=event.client_capabilities if target.modern else None,
            )
        except UNSENDABLE as error:
            self.downstream.fail(event.key, target.error(str(error)))
            self.watch(link)
            return
        link.calls[call.request] = call
        self._calls[event.key] = call

    def _send_again(self, call: PassedCall) -> None:
        if self._calls.pop(call.arrival.key, None) is not None:  # it was not cancelled meanwhile
            self._send(call.link.target, call.arrival, call.params, b"", call)

    def _request(self, link: UpstreamLink, method: str, params: Body, **more: Any) -> RequestId:
        """Send a request to a server, if its guard lets it."""
        guard = link.target.guard
        permit = None if guard is None else guard.admit(self.now)
        id = link.peer.request(method, params, now=self.now, force=True, **more)
        if guard is not None:
            link.permits[id] = permit
        return id

    def _settle_permit(self, link: UpstreamLink, event: Any) -> None:
        guard = link.target.guard
        if guard is not None and event.request in link.permits:
            guard.settle(link.permits.pop(event.request), event, self.now)

    def ask(
        self,
        link: UpstreamLink,
        method: str,
        params: Body,
        take: Callable[[Outcome], None],
        **more: Any,
    ) -> RequestId | None:
        """Make a request of the relay's own; ``take`` gets the outcome.  None if it is not sent."""
        timeout = self.settings.list_timeout
        try:
            id = self._request(link, method, params, timeout=timeout, **more)
        except UNSENDABLE as error:
            take(link.target.error(str(error)))
            self.watch(link)
            return None
        link.pending[id] = take
        return id

    def refuse(self, key: Key, code: int, message: str) -> None:
        """Answer a request with an error of the relay's own."""
        self.downstream.fail(key, ErrorData.make(code, message))

    def _cancelled(self, event: events.RequestCancelled) -> None:
        call = self._calls.pop(event.key, None)
        if call is None:  # the answer to come is dropped by the engine
            self.subscriptions.closed(event.key)
            return
        call.keys.remove(event.key)
        self.downstream.fail(event.key, ErrorData(INTERNAL_ERROR, "cancelled"))  # dropped
        if not call.keys:
            self._give_up(call, event.reason)

    def _give_up(self, call: PassedCall, reason: str | None) -> None:
        """Cancel a call at its server, with what the client was asked about it."""
        link = call.link
        for asked, question in list(self._asked.items()):
            if question.call is call:
                self._withdraw(asked, reason)
                if question.key is not None and link.asked.pop(question.key, None) is not None:
                    text = "the request that it was about is no longer wanted"
                    link.peer.fail(question.key, ErrorData(INTERNAL_ERROR, text))
        if call.round is not None:
            self._drop(call.round)
        if link.calls.pop(call.request, None) is not None:
            link.peer.cancel(call.request, now=self.now, reason=reason)
        self.watch(link)

    # Answers of servers

    def _ended(self, link: UpstreamLink, event: events.RequestEnded) -> None:
        self._answered(link, event, link.target.error(event.message, reason=event.reason.value))

    def _answered(self, link: UpstreamLink, event: Any, outcome: Outcome) -> None:
        self._settle_permit(link, event)
        own = link.pending.pop(event.request, None)
        call = link.calls.pop(event.request, None)
        if own is not None:
            own(outcome)
        elif call is not None and not self._sent_again(call, event, outcome):
            self._settle(call, partial(self._deliver, call, outcome))
        self.watch(link)

    def _sent_again(self, call: PassedCall, event: Event, outcome: Outcome) -> bool:
        """Send a call once more if the guard or a missing header says so; False if not."""
        target, again = call.link.target, call.send_again
        if again is None or not call.keys:
            return False
        delay = None if target.guard is None else target.guard.again(call, event, self.now)
        if delay is not None:
            self.later(delay, again)
            return True
        missed = isinstance(outcome, ErrorData) and outcome.code == HEADER_MISMATCH
        if missed and not call.relisted:  # the client has the list from elsewhere, or of long ago
            call.relisted = True
            self.lists.read_tools(call.arrival, target.name, again)
            return True
        return False

    def _settle(self, call: PassedCall, deliver: Callable[[Key], None]) -> None:
        """Answer all who wait for the present stage of a call; keep the outcome of a retry."""
        keys, call.keys = call.keys, []
        for key in keys:
            self._calls.pop(key, None)
            deliver(key)
        if call.round is not None:
            call.round.outcome = deliver
            moved(PARKED, call.round, ParkedSignal.SETTLE)
            self._deadlines.set(call.round, self.now + self.settings.outcome_kept)
            call.round = None

    def _deliver(self, call: PassedCall, outcome: Outcome, key: Key) -> None:
        method, target, cell = call.method, call.link.target, call.cell
        try:
            if isinstance(outcome, Raw):
                self.lists.note_tools(target, method, outcome)
                ttl = self.settings.list_ttl if method in LISTS else 0.0
                result = result_in(cell, method, outcome, ttl)
                result = self.names.outward_in(method, target.name, result)
                self.downstream.respond(key, result)
                return
            if outcome.code == URL_ELICITATION_REQUIRED and cell is Cell.LEGACY_SERVER:
                # The retry is a request like the first.
                self.downstream.require_input(key, url_questions(outcome))
                return
            if outcome.code == FORBIDDEN:  # about the relay's credentials, not those of the client
                outcome = target.error("the gateway may not do this there")
            error = error_in(cell, method, outcome)
            if isinstance(error.data, Raw):
                data = self.names.outward_in_error(method, target.name, error.data)
                error = msgspec.structs.replace(error, data=data)
        except UNSENDABLE as flaw:
            text = f"invalid result: {flaw}"
            if isinstance(outcome, ErrorData):  # of a client that opens no URLs
                text = outcome.message
            error = target.error(text)
        self.downstream.fail(key, error)

    def _progressed(self, link: UpstreamLink, event: events.ProgressReceived) -> None:
        call = link.calls.get(event.request)
        for key in () if call is None else call.keys:
            self.downstream.progress(key, event.progress, event.total, event.message)

    def _interrupted(self, link: UpstreamLink, event: StreamInterrupted) -> None:
        """Let the client poll for the answer of a server that is polled itself."""
        call = None if event.request is None else link.calls.get(event.request)
        downstream = self.downstream
        if call is None or event.recovery is not Recovery.RESUME or isinstance(downstream, Peer):
            return
        for key in call.keys:
            downstream.close_stream(key, retry=event.delay, now=self.now)

    # Questions of servers

    def _input_required(self, link: UpstreamLink, event: events.InputRequired) -> None:
        self._settle_permit(link, event)
        call = link.calls.get(event.request)
        if call is None:
            link.peer.abandon(event.request)
        elif call.cell is Cell.MODERN:
            del link.calls[event.request]
            link.peer.abandon(event.request)
            ticket = None if event.state is None else Ticket(None, link.target.name, event.state)
            self._settle(call, partial(self._require, call, event.requests, ticket))
        elif event.requests:
            self._ask_round(call, event.requests)
        else:
            self._retry(call, {})

    def _require(
        self, call: PassedCall, requests: Mapping[str, Raw], ticket: Ticket | None, key: Key
    ) -> None:
        """Answer a modern client with questions; its retry has the sealed ``ticket``."""
        arrival, state = call.arrival, None
        try:
            if ticket is not None:
                binding = request_binding(arrival.principal, arrival.method, arrival.params)
                state = self.seal.seal(_encode_ticket(ticket), binding, wall=self.wall)
            self.downstream.require_input(key, requests, state)
        except UNSENDABLE as error:
            self.downstream.fail(key, call.link.target.error(str(error)))

    def _ask_round(self, call: PassedCall, requests: Mapping[str, Raw]) -> None:
        """Ask a legacy client what a modern server wants to know."""
        answers: dict[str, Raw] = {}

        def take(name: str, method: str, answer: Outcome) -> None:
            if isinstance(answer, ErrorData):
                self._fail_round(call, f"{method} failed: {answer.message}")
                return
            answers[name] = answer
            if len(answers) == len(requests):
                self._retry(call, answers)

        for name, raw in requests.items():
            question = _decode_question(raw)
            params = Raw(b"{}") if question.params is None else question.params
            self._serial += 1
            if question.method == "elicitation/create":
                params = with_elicitation_id(params, f"relay-{self._serial}")
            if call.keys:
                asked = Asked(call.link, None, call, partial(take, name, question.method))
                self._ask(asked, question.method, params)

    def _fail_round(self, call: PassedCall, message: str) -> None:
        """End a call whose questions have no answer."""
        call.link.calls.pop(call.request, None)
        call.link.peer.abandon(call.request)
        self._settle(call, partial(self._deliver, call, call.link.target.error(message)))
        self._give_up(call, message)

    def _retry(self, call: PassedCall, answers: Mapping[str, Raw]) -> None:
        link = call.link
        timeout = self.settings.call_timeout
        try:
            again = link.peer.retry(call.request, answers, now=self.now, timeout=timeout)
        except UNSENDABLE as error:
            self._fail_round(call, str(error))
            return
        del link.calls[call.request]
        call.request = again
        link.calls[again] = call

    def _ask(self, asked: Asked, method: str, params: Raw) -> None:
        """Send a question to a legacy client, about a call or outside of any."""
        call = asked.call
        body, meta = relayable(params)
        if call is not None:
            call.send_again = None  # nobody is asked twice
            where: dict[str, Any] = {"parent": call.keys[0]}
        else:
            where = self.to_session(asked.link.audience.session)
        try:
            id = self.downstream.request(
                method,
                body,
                now=self.now,
                meta=meta,
                timeout=self.settings.question_timeout,
                progress=asked.key is not None,
                force=True,
                **where,
            )
        except UNSENDABLE:
            self._not_asked(asked, method)
            return
        self._asked[id] = asked
        if asked.key is not None:
            asked.link.asked[asked.key] = id

    def _not_asked(self, asked: Asked, method: str) -> None:
        self.dropped += 1
        text = f"{method}: there is no client that can be asked"
        asked.take(ErrorData(INTERNAL_ERROR, text))

    def to_session(self, session: str | None) -> dict[str, Any]:
        """Return the arguments that address a session, where the downstream machine has any."""
        return {"session": session} if session else {}

    def _asked_by(self, link: UpstreamLink, event: RequestReceived) -> None:
        """Handle a question of a legacy server, about the oldest call if it names none."""
        call = None if event.request is None else link.calls.get(event.request)
        if call is None:
            fit = (each for each in link.calls.values() if each.can_ask)
            call = min(fit, key=lambda each: not each.keys, default=None)
        needed = input_capability(event.method, event.params)
        parks = call is not None and call.cell is Cell.LEGACY_SERVER
        if needed is not None and not declares(link.audience.capabilities, needed):
            text = f"{event.method}: the client did not declare {needed!r}"
            link.peer.fail(event.key, ErrorData(INVALID_PARAMS, text))
            return
        embedded = call is not None and lookup_embedded(event.method, call.arrival.revision)
        if call is not None and parks and call.can_ask and embedded:
            self._park(call, event)
            return
        take: Callable[[Outcome], None] = partial(self._reply, link, event.key)
        if event.method == "ping":
            if parks or call is None or not call.keys:  # no client waits for a message
                link.peer.admit(event.key)
                return
            take = partial(self._pong, link, event.key)
        asked = Asked(link, event.key, call, take)
        if not parks and (call is not None or self._has_session(link)):
            self._ask(asked, event.method, event.params)
        else:
            self._not_asked(asked, event.method)

    def _pong(self, link: UpstreamLink, key: Key, answer: Outcome) -> None:
        if isinstance(answer, ErrorData):
            link.peer.fail(key, answer)
        else:
            link.peer.admit(key)

    def _has_session(self, link: UpstreamLink) -> bool:
        """Return True if a legacy conversation is for a session, which needs no request to hear."""
        return not link.target.modern and link.audience.session in self.subscriptions.sessions

    def _withdraw(self, asked: RequestId, reason: str | None) -> None:
        """Take back a question to a client."""
        if self._asked.pop(asked, None) is not None:
            self.downstream.cancel(asked, now=self.now, reason=reason)

    def _question_cancelled(self, link: UpstreamLink, event: events.RequestCancelled) -> None:
        asked = link.asked.pop(event.key, None)
        if asked is not None:
            self._withdraw(asked, event.reason)
        rounds = [call.round for call in link.calls.values() if call.round is not None]
        for parked in rounds:
            for name in [name for name, key in parked.questions.items() if key == event.key]:
                del parked.questions[name]
                parked.texts.pop(name, None)
                if not parked.questions:  # the retry waits for what comes next
                    self._all_answered(parked)
        link.peer.release(event.key)

    def _all_answered(self, parked: Parked) -> None:
        """Note that no answer of the client is awaited any more."""
        moved(PARKED, parked, ParkedSignal.ANSWER)
        self._deadlines.set(parked, None)

    def _replied(self, request: RequestId, answer: Outcome) -> None:
        """Handle the answer of a legacy client to a question."""
        asked = self._asked.pop(request, None)
        if asked is not None:
            if asked.key is not None:
                asked.link.asked.pop(asked.key, None)
            asked.take(answer)

    def _question_progressed(self, event: events.ProgressReceived) -> None:
        asked = self._asked.get(event.request)
        if asked is not None and asked.key is not None:
            peer = asked.link.peer
            peer.progress(asked.key, event.progress, event.total, event.message)

    # Parked calls

    def _park(self, call: PassedCall, event: RequestReceived) -> None:
        """Answer a modern client with a question of a legacy server; the call waits here."""
        self._serial += 1
        call.send_again = None  # nobody is asked twice
        name = str(self._serial)
        question = Raw(_encode({"method": event.method, "params": relayable(event.params)[0]}))
        parked = call.round
        if parked is not None and parked.state is ParkedState.ASKED:
            # Its retry is told of this one as well.
            parked.questions[name], parked.texts[name] = event.key, question
            return
        if len(self._parked) >= self.settings.parked:
            text = f"busy: {self.settings.parked} calls wait for input"
            code = busy_code(call.arrival.revision)
            call.link.peer.fail(event.key, ErrorData(INTERNAL_ERROR, text))
            self._settle(call, lambda key: self.refuse(key, code, text))
            self._give_up(call, text)
            return
        texts = {name: question}
        ask = partial(self._require, call, texts, Ticket(self._serial, place=self._here))
        parked = Parked(self._serial, call, {name: event.key}, texts, ask)
        self._settle(call, ask)
        self._parked[parked.id] = call.round = parked
        self._deadlines.set(parked, self.now + self.settings.parked_timeout)

    def _retried(self, event: RequestReceived, state: str) -> None:
        """Handle the retry of a modern client."""
        binding = request_binding(event.principal, event.method, event.params)
        try:
            ticket = _decode_ticket(self.seal.open(state, binding, wall=self.wall))
        except SealBroken as broken:
            self.refuse(event.key, INVALID_PARAMS, str(broken))
            return
        if ticket.parked is None:
            members = b'"requestState":' + _encode(ticket.state)
            if event.input_responses is not None:
                members += b',"inputResponses":' + _encode(event.input_responses)
            target = self.targets.get(ticket.server or "")
            found = None if self.names.plain else self.names.inward_in(event.method, event.params)
            if target is None:
                self.refuse(event.key, INVALID_PARAMS, "requestState names an unknown server")
            else:
                params = event.params if found is None else found[1]
                self._forward(target, event, params, members)
            return
        here = ticket.place == self._here
        parked = self._parked.get(ticket.parked) if here else None
        if parked is None:
            why = "has ended" if here else "waits in another process of the gateway, or has ended"
            text = f"requestState: its call {why}; send the request again without it"
            self.refuse(event.key, INVALID_PARAMS, text)
        else:
            self._go_on(parked, event, ticket)

    def _go_on(self, parked: Parked, event: RequestReceived, ticket: Ticket) -> None:
        """Give the answers of a retry to the server; a repeated retry waits with the first one."""
        call, answers = parked.call, event.input_responses or {}
        if parked.state is ParkedState.SETTLED:
            parked.outcome(event.key)
        elif parked.state is ParkedState.ANSWERED:
            if len(call.keys) > self.settings.repeats:
                text = "busy: the request was repeated too often"
                self.refuse(event.key, busy_code(event.revision), text)
                return
            call.keys.append(event.key)
            self._calls[event.key] = call
        else:
            given = [name for name in parked.questions if name in answers]
            left = {name: text for name, text in parked.texts.items() if name not in answers}
            if left:
                parked.texts = left
                self._require(call, left, ticket, event.key)
            else:
                self._all_answered(parked)
                call.arrival, call.keys = event, [event.key]
                self._calls[event.key] = call
            for name in given:
                self._reply(call.link, parked.questions.pop(name), answers[name])

    def _reply(self, link: UpstreamLink, key: Key, answer: Outcome) -> None:
        """Answer a question of a legacy server, with what a client may have made unfit for it."""
        try:
            if isinstance(answer, Raw):
                link.peer.respond(key, answer)
                return
        except UNSENDABLE as error:
            text = f"the answer of the client cannot be passed on: {error}"
            answer = ErrorData(INTERNAL_ERROR, text)
        link.peer.fail(key, answer)

    def _expire(self, parked: Parked) -> None:
        """End a parked call without a retry, or forget an outcome."""
        unanswered = parked.state is ParkedState.ASKED
        self._drop(parked)
        if not unanswered:
            return
        parked.call.round = None
        for key in parked.questions.values():
            parked.call.link.peer.fail(key, _UNANSWERED)
        self._give_up(parked.call, _UNANSWERED.message)

    def _drop(self, parked: Parked) -> None:
        moved(PARKED, parked, ParkedSignal.END)
        self._parked.pop(parked.id, None)
        self._deadlines.set(parked, None)

    # Log messages and other notifications

    def _level_changed(self, event: events.LogLevelChanged) -> None:
        session = event.session or ONLY
        self._levels[session] = event.level
        for link in self.links_of(session):
            self.set_level(link, event.level, lower=True)

    def set_level(self, link: UpstreamLink, level: str | None, *, lower: bool = False) -> None:
        """Ask a legacy server for log messages, unless it sends them: the engine filters by client.

        ``lower``: the level of a session, which may also ask for fewer of them.
        """
        known = link.level
        if level is None or level == known or not link.target.offers("logging"):
            return
        if not lower and known is not None and SEVERITY[known] <= SEVERITY[level]:
            return
        link.level = level
        self.ask(link, "logging/setLevel", {"level": level}, void)

    def _told(self, link: UpstreamLink, event: events.NotificationReceived) -> None:
        """Handle a notification of a server that is on no listen stream."""
        if event.method == "notifications/message":
            self._logged(link, event)
        elif event.method in TOPICS:
            self.subscriptions.told(link, event.method, event.params)
        elif self._has_session(link):
            body, meta = relayable(event.params)
            where = self.to_session(link.audience.session)
            self.downstream.notify(event.method, body, meta=meta, **where)
        else:
            self.dropped += 1

    def _logged(self, link: UpstreamLink, event: events.NotificationReceived) -> None:
        """Pass on a log message to the request that it is about, or to the session."""
        try:
            logged = _decode_logged(event.params)
        except msgspec.MsgspecError:
            self.dropped += 1
            return
        call = None if event.request is None else link.calls.get(event.request)
        keys: list[Key | None]
        where: dict[str, Any] = {}
        if call is not None:
            keys = [*call.keys]
        elif self._has_session(link):
            keys, where = [None], self.to_session(link.audience.session)
        else:
            calls = [each for each in link.calls.values() if each.keys]
            one = len({each.arrival.principal for each in calls}) == 1
            keys = [key for each in calls for key in each.keys] if one else []
        level, data, logger = logged.level, logged.data, logged.logger
        sent = [self.downstream.log(key, level, data, logger, **where) for key in keys]
        self.dropped += not any(sent)

    def _client_told(self, event: events.NotificationReceived) -> None:
        """Pass on a notification of a legacy client to the servers of its session."""
        body, meta = relayable(event.params)
        for link in self.links_of(event.session or ONLY):
            link.peer.notify(event.method, body, meta=meta)

    # Sessions of clients

    def _session_ended(self, event: Any) -> None:
        """Close what belongs to a session of a legacy client, or to the only conversation."""
        session = event.session or ONLY
        self._levels.pop(session, None)
        self.subscriptions.session_ended(session)
        for link in list(self._links.get(session, {}).values()):
            self.close_link(link)


_FROM_CLIENT: dict[type[Event], Callable[[Relay, Any], None]] = {
    events.RequestReceived: Relay._arrived,
    events.RequestCancelled: Relay._cancelled,
    events.ResultReceived: lambda relay, event: relay._replied(event.request, event.result),
    events.ErrorReceived: lambda relay, event: relay._replied(event.request, event.error),
    events.RequestEnded: lambda relay, event: relay._replied(event.request, _UNANSWERED),
    events.ProgressReceived: Relay._question_progressed,
    events.LogLevelChanged: Relay._level_changed,
    events.NotificationReceived: Relay._client_told,
    events.Ready: lambda relay, event: relay.subscriptions.session_ready(event),
    events.ConnectionEnded: Relay._session_ended,
    SessionClosed: Relay._session_ended,
    events.SubscriptionOpened: lambda relay, event: relay.subscriptions.opened(event),
    events.SubscriptionClosed: lambda relay, event: relay.subscriptions.closed(event.key),
}
"""Handlers of the events of the downstream machine."""
_FROM_SERVER: dict[type[Event], Callable[[Relay, UpstreamLink, Any], None]] = {
    events.Ready: Relay._greeted,
    events.NegotiationFailed: Relay._lost,
    events.ConnectionEnded: Relay._lost,
    events.ResultReceived: lambda relay, link, event: relay._answered(link, event, event.result),
    events.ErrorReceived: lambda relay, link, event: relay._answered(link, event, event.error),
    events.RequestEnded: Relay._ended,
    events.InputRequired: Relay._input_required,
    events.ProgressReceived: Relay._progressed,
    events.RequestReceived: Relay._asked_by,
    events.RequestCancelled: Relay._question_cancelled,
    events.NotificationReceived: Relay._told,
    StreamInterrupted: Relay._interrupted,
    events.SubscriptionAcknowledged: lambda relay, link, event: relay.subscriptions.acknowledged(
        link, event
    ),
    events.SubscriptionNotification: lambda relay, link, event: relay.subscriptions.notified(
        link, event
    ),
}
"""Handlers of the events of the upstream machines."""
