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
from msgspec import Raw, Struct

from mcpcore.engine import events
from mcpcore.engine.bodies import relayable
from mcpcore.engine.config import HeaderParams
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Event, Key, RequestReceived
from mcpcore.engine.peer import DEFAULT_LOG_LEVEL
from mcpcore.engine.seal import Binding, Seal, SealBroken, request_binding
from mcpcore.http.server.sessions import SessionClosed
from mcpcore.relay.cells import (
    Questions,
    error_in,
    result_in,
    url_questions,
    with_elicitation_id,
)
from mcpcore.relay.link import (
    Asked,
    Audience,
    Downstream,
    Outcome,
    Parked,
    PassedCall,
    Round,
    Target,
    UpstreamLink,
    void,
)
from mcpcore.relay.lists import LISTS, Lists, merged_capabilities
from mcpcore.relay.names import IN_PARAMS, NameKind, Names
from mcpcore.relay.settings import RelaySettings
from mcpcore.relay.subscriptions import Subscriptions
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import (
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
from mcpcore.spec.types.base import EmbeddedRequest
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.message import Body, RequestId, splice, to_json

UNSENDABLE = (LocalProtocolError, msgspec.MsgspecError, ValueError, TypeError)
"""Exceptions of calls that the engine refuses, for bodies or methods of the other side."""
ONLY = ""
"""Session of the only legacy client, before a machine without sessions."""
_SET_LEVEL = "logging/setLevel"
_LOGGED = "notifications/message"


class Ticket(Struct, frozen=True, array_like=True):
    """Content of a sealed ``requestState``: a call that is parked here, or a server's own state."""

    parked: int | None
    server: str | None = None
    state: str | None = None


class _Logged(Struct):
    level: str
    data: Raw
    logger: str | None = None


_decode_ticket = msgspec.msgpack.Decoder(Ticket).decode
_encode_ticket = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.json.Decoder(EmbeddedRequest).decode
_decode_logged = msgspec.json.Decoder(_Logged).decode
_encode = msgspec.json.Encoder().encode


class Relay:
    """Routes between one downstream machine and the servers behind it.

    ``seal`` protects the states and cursors that clients return.  Raises ValueError for names of
    targets that cannot be used.
    """

    def __init__(
        self,
        downstream: Downstream,
        targets: Iterable[Target],
        *,
        seal: Seal,
        settings: RelaySettings | None = None,
    ) -> None:
        self.settings = settings = settings or RelaySettings()
        listed = list(targets)
        self.targets = {target.name: target for target in listed}
        self.names = Names([each.name for each in listed], settings.naming, settings.names)
        self.header_params: dict[str, HeaderParams] = {}
        """Arguments that headers mirror, by tool, for the Config of the downstream machine."""
        self.dropped = 0
        """Number of messages of servers that could not be assigned to a client."""
        self.now = self.wall = 0.0
        """Time of the present input, and the same in seconds since the epoch."""
        self.downstream = downstream
        self.seal = seal
        self._links: dict[tuple[Any, ...], UpstreamLink] = {}
        self._calls: dict[Key, PassedCall] = {}
        self._asked: dict[RequestId, Asked] = {}
        self._parked: dict[int, Parked] = {}
        self._serial = 0
        self._sessions: set[str | None] = set()
        """Open sessions of legacy clients."""
        self._levels: dict[str | None, str] = {}
        """Log levels that these have set."""
        self.deadlines: Deadlines[Any] = Deadlines()
        """Items that are due: parked calls, conversations, others by their method ``due``."""
        self._lists = Lists(self)
        self._subscriptions = Subscriptions(self)
        self._sole = next(iter(self.targets.values())) if len(self.targets) == 1 else None

    # Facts

    @property
    def ready(self) -> bool:
        """True if every server has answered, so that :meth:`capabilities` are complete."""
        return all(target.greeting is not None for target in self.targets.values())

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
        self.now = now
        for target in self.targets.values():
            self.link(target, Audience()).open()

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
        return self.deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """End what is due: parked calls, kept outcomes, idle conversations, delays."""
        self.now = now
        for item in self.deadlines.due(now):
            if isinstance(item, Parked):
                self._expire(item)
            elif not isinstance(item, UpstreamLink):
                item.due()
            elif item.idle:
                self.close_link(item)

    # Conversations with servers

    def link(self, target: Target, audience: Audience) -> UpstreamLink:
        """Return the conversation with ``target`` for an audience.

        A modern server has one for all.  Raises LocalProtocolError if there are too many.
        """
        if target.greeting is None or target.modern:
            audience = Audience()
        place = self._place(target, audience)
        link = self._links.get(place)
        if link is None:
            there = sum(other.target is target for other in self._links.values())
            if there >= self.settings.links and audience != Audience():
                raise LocalProtocolError(f"{target.name}: too many conversations are open")
            link = self._links[place] = UpstreamLink(target, audience)
        if link.deadline is not None:
            self.deadlines.set(link, None)
        return link

    def _place(self, target: Target, audience: Audience) -> tuple[Any, ...]:
        declared = _encode(audience.capabilities)
        return target.name, audience.principal, audience.session, declared

    def links_of(self, session: str) -> list[UpstreamLink]:
        """Return the conversations with legacy servers that belong to a session."""
        return [
            link
            for link in self._links.values()
            if link.audience.session == session and not link.target.modern
        ]

    def watch(self, link: UpstreamLink) -> None:
        """Close the conversation later if nothing needs it any more; the first one stays."""
        if link.idle and link.audience != Audience():
            self.deadlines.set(link, self.now + self.settings.link_idle)

    def close_link(self, link: UpstreamLink) -> None:
        """Close a conversation; what it has open ends by its events."""
        self._forget(link)
        link.peer.close(now=self.now)

    def _forget(self, link: UpstreamLink) -> None:
        link.ended = True
        self.deadlines.set(link, None)
        place = self._place(link.target, link.audience)
        if self._links.get(place) is link:
            del self._links[place]

    def _greeted(self, link: UpstreamLink, event: events.Ready) -> None:
        link.target.greeting, link.failures = event, 0
        if link.greeted:  # a new session in place of one that the server has lost
            level, link.level = link.level, None
            self.set_level(link, level)
            self._subscriptions.restore(link)
        link.greeted = True
        self._go_ahead(link.target)

    def _go_ahead(self, target: Target) -> None:
        waiting, target.waiting = target.waiting, []
        for work in waiting:
            work()

    def _lost(self, link: UpstreamLink, event: Event) -> None:
        """Forget a conversation that has ended: all of its requests have ended before."""
        if link.ended:
            return
        self._forget(link)
        for asked in link.asked.values():
            self._withdraw(asked, "the server is gone")
        link.asked.clear()
        gone = ErrorData.make(
            INTERNAL_ERROR,
            f"{link.target.name}: the server is gone",
            {"server": link.target.name, "reason": EndReason.CLOSED.value},
        )
        for call in list(link.calls.values()):  # those that waited for input
            self._settle(call, partial(self._deliver, call, gone))
        link.calls.clear()
        self._go_ahead(link.target)  # each finds out that the server does not answer
        self._subscriptions.lost(link)

    def audience_of(self, arrival: RequestReceived) -> Audience:
        """Return the audience that the client of a request is of."""
        session = None if arrival.revision.modern else arrival.session or ONLY
        return Audience(arrival.principal, session, arrival.client_capabilities)

    # Requests of clients

    def _arrived(self, event: RequestReceived) -> None:
        try:
            if event.request_state is not None and self._retried(event):
                return
            self._route(event)
        except msgspec.MsgspecError as error:
            self.refuse(event.key, INVALID_PARAMS, f"invalid params: {error}")

    def _route(self, event: RequestReceived, *, learned: bool = False) -> None:
        method = event.method
        if self._subscriptions.takes(event):
            return
        if self._sole is not None and self.names.plain:
            self._forward(self._sole, event, event.params)
            return
        if method in LISTS:
            self._lists.ask(event)
            return
        found = self.names.inward_in(method, event.params)
        if found is not None:
            self._forward(self.targets[found[0]], event, found[1])
        elif method not in IN_PARAMS and self._sole is not None:
            self._forward(self._sole, event, event.params)
        elif method not in IN_PARAMS:
            text = f"method not found: {method} names none of the servers"
            self.refuse(event.key, METHOD_NOT_FOUND, text)
        elif learned or not self._lists.learn(event, partial(self._route, event, learned=True)):
            self._unknown(event)

    def _unknown(self, event: RequestReceived) -> None:
        """Refuse a request for something that no server has."""
        way, kind = IN_PARAMS[event.method][0]
        member = msgspec.json.decode(event.params, type=dict[str, Raw]).get(way[0], Raw(b"null"))
        if kind is NameKind.URI:
            data = Raw(b'{"uri":%b}' % bytes(member))
            error = ErrorData(RESOURCE_NOT_FOUND, "resource not found", data)
            self.downstream.fail(event.key, error)
        else:
            self.refuse(
                event.key, INVALID_PARAMS, f"unknown {kind.value}: {bytes(member).decode()}"
            )

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

    def _send(self, target: Target, event: RequestReceived, params: Raw, members: bytes) -> None:
        if target.greeting is None:
            self.refuse(event.key, INTERNAL_ERROR, f"{target.name}: the server cannot be reached")
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
        cell = link.cell(event.revision.modern)
        call = PassedCall([event.key], event.method, event, cell, link)
        level: str | None = event.meta.log_level
        if not event.revision.per_request_log_level:
            unset = DEFAULT_LOG_LEVEL if cell.by_request else None
            level = self._levels.get(event.session or ONLY, unset)
        if not cell.by_request:
            self.set_level(link, level)
        try:
            call.request = link.peer.request(
                event.method,
                body,
                now=self.now,
                timeout=self.settings.call_timeout,
                progress=event.meta.progress_token is not None,
                meta=meta,
                log_level=level if cell.by_request and target.offers("logging") else None,
                force=True,
                capabilities=event.client_capabilities if cell.by_request else None,
            )
        except UNSENDABLE as error:
            self.refuse(event.key, INTERNAL_ERROR, f"{target.name}: {error}")
            return
        link.calls[call.request] = call
        self._calls[event.key] = call

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
            id = link.peer.request(
                method, params, now=self.now, timeout=timeout, force=True, **more
            )
        except UNSENDABLE as error:
            take(ErrorData.make(INTERNAL_ERROR, f"{link.target.name}: {error}"))
            return None
        link.pending[id] = take
        return id

    def refuse(self, key: Key, code: int, message: str) -> None:
        """Answer a request with an error of the relay's own."""
        self.downstream.fail(key, ErrorData.make(code, message))

    def _cancelled(self, event: events.RequestCancelled) -> None:
        call = self._calls.pop(event.key, None)
        if call is None:  # the answer to come is dropped by the engine
            self._subscriptions.closed(event.key)
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
        if call.round is not None:
            self._drop(call.round)
        if link.calls.pop(call.request, None) is not None:
            link.peer.cancel(call.request, now=self.now, reason=reason)
        self.watch(link)

    # Answers of servers

    def _answered(
        self,
        link: UpstreamLink,
        event: events.ResultReceived | events.ErrorReceived | events.RequestEnded,
    ) -> None:
        outcome: Outcome
        if isinstance(event, events.ResultReceived):
            outcome = event.result
        elif isinstance(event, events.ErrorReceived):
            outcome = event.error
        else:
            outcome = self._end_of(link, event)
        own = link.pending.pop(event.request, None)
        call = link.calls.pop(event.request, None)
        if own is not None:
            own(outcome)
        elif call is not None:
            self._settle(call, partial(self._deliver, call, outcome))
        self.watch(link)

    def _end_of(self, link: UpstreamLink, event: events.RequestEnded) -> ErrorData:
        """Return the error for a request that the server did not answer; it names the server."""
        ended = "timed out" if event.reason is EndReason.TIMED_OUT else event.reason.value
        data = {"server": link.target.name, "reason": ended}
        text = f"{link.target.name}: {event.message}"
        return ErrorData.make(INTERNAL_ERROR, text, data)

    def _settle(self, call: PassedCall, deliver: Callable[[Key], None]) -> None:
        """Answer all who wait for the present stage of a call; keep the outcome of a retry."""
        keys, call.keys = call.keys, []
        for key in keys:
            self._calls.pop(key, None)
            deliver(key)
        if call.round is not None:
            call.round.outcome, call.round.answered = deliver, True
            self.deadlines.set(call.round, self.now + self.settings.outcome_kept)
            call.round = None

    def _deliver(self, call: PassedCall, outcome: Outcome, key: Key) -> None:
        method, server, cell = call.method, call.link.target.name, call.cell
        try:
            if isinstance(outcome, Raw):
                self._lists.note_headers(call.link.target, method, outcome)
                result = self.names.outward_in(method, server, result_in(cell, method, outcome))
                self.downstream.respond(key, result)
                return
            if outcome.code == URL_ELICITATION_REQUIRED and cell.questions is Questions.PARK:
                # The retry is a request like the first.
                self.downstream.require_input(key, url_questions(outcome))
                return
            error = error_in(cell, method, outcome)
            if isinstance(error.data, Raw):
                data = self.names.outward_in_error(method, server, error.data)
                error = msgspec.structs.replace(error, data=data)
        except UNSENDABLE as flaw:
            text = f"{server}: invalid result: {flaw}"
            if isinstance(outcome, ErrorData):  # of a client that opens no URLs
                text = f"{server}: {outcome.message}"
            error = ErrorData.make(INTERNAL_ERROR, text)
        self.downstream.fail(key, error)

    def _progressed(self, link: UpstreamLink, event: events.ProgressReceived) -> None:
        call = link.calls.get(event.request)
        for key in () if call is None else call.keys:
            self.downstream.progress(key, event.progress, event.total, event.message)

    # Questions of servers

    def _input_required(self, link: UpstreamLink, event: events.InputRequired) -> None:
        call = link.calls.get(event.request)
        if call is None:
            link.peer.abandon(event.request)
        elif call.cell.questions is Questions.PASS:
            del link.calls[event.request]
            link.peer.abandon(event.request)
            self._pass(call, event)
        elif event.requests:
            self._ask_round(call, event.requests)
        else:
            self._retry(call, {})

    def _pass(self, call: PassedCall, event: events.InputRequired) -> None:
        """Answer a modern client with the questions of a modern server."""
        state = event.state
        if state is not None:
            ticket = Ticket(None, call.link.target.name, state)
            try:
                state = self._sealed(call.arrival, ticket)
            except ValueError as error:
                text = f"{call.link.target.name}: its requestState is too large: {error}"
                self._settle(call, lambda key: self.refuse(key, INTERNAL_ERROR, text))
                return
        self._settle(call, partial(self._require, call, event.requests, state))

    def _require(
        self, call: PassedCall, requests: Mapping[str, Raw], state: str | None, key: Key
    ) -> None:
        try:
            self.downstream.require_input(key, requests, state)
        except UNSENDABLE as error:
            self.refuse(key, INTERNAL_ERROR, f"{call.link.target.name}: {error}")

    def _ask_round(self, call: PassedCall, requests: Mapping[str, Raw]) -> None:
        """Ask a legacy client what a modern server wants to know."""
        round = Round(call, set(requests))
        for name, raw in requests.items():
            question = _decode_question(raw)
            params = Raw(b"{}") if question.params is None else question.params
            self._serial += 1
            if question.method == "elicitation/create":
                params = with_elicitation_id(params, f"relay-{self._serial}")
            asked = Asked(call.link, None, call, round, name)
            if not self._ask(asked, question.method, params):
                self._fail_round(call, f"{question.method} cannot be asked")
                return

    def _fail_round(self, call: PassedCall, message: str) -> None:
        """End a call whose questions have no answer."""
        call.link.calls.pop(call.request, None)
        call.link.peer.abandon(call.request)
        error = ErrorData.make(INTERNAL_ERROR, f"{call.link.target.name}: {message}")
        self._settle(call, partial(self._deliver, call, error))
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

    def _ask(self, asked: Asked, method: str, params: Raw) -> bool:
        """Send a question to a legacy client; False if that is not possible."""
        call = asked.call
        body, meta = relayable(params)
        where: dict[str, Any]
        if call is not None:
            where = {"parent": call.keys[0]}
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
            return False
        self._asked[id] = asked
        if asked.key is not None:
            asked.link.asked[asked.key] = id
        return True

    def to_session(self, session: str | None) -> dict[str, Any]:
        """Return the arguments that address a session, where the downstream machine has any."""
        return {"session": session} if session else {}

    def _asked_by(self, link: UpstreamLink, event: RequestReceived) -> None:
        """Handle a question of a legacy server, about the oldest call if it names none."""
        call = None if event.request is None else link.calls.get(event.request)
        if call is None:
            waiting = (each for each in link.calls.values() if each.keys)
            call = next(waiting, None) or next(iter(link.calls.values()), None)
        needed = input_capability(event.method, event.params)
        parks = call is not None and call.cell.questions is Questions.PARK
        if needed is not None and not declares(link.audience.capabilities, needed):
            text = f"{event.method}: the client did not declare {needed!r}"
            link.peer.fail(event.key, ErrorData(INVALID_PARAMS, text))
            return
        if call is not None and parks and lookup_embedded(event.method, call.arrival.revision):
            self._park(call, event)
            return
        asked = Asked(link, event.key, call)
        reachable = not parks and (call is not None or self._has_session(link))
        if not reachable or not self._ask(asked, event.method, event.params):
            self.dropped += 1
            text = f"{event.method}: there is no client that can be asked"
            link.peer.fail(event.key, ErrorData(INTERNAL_ERROR, text))

    def _has_session(self, link: UpstreamLink) -> bool:
        """Return True if a legacy conversation is for a session, which needs no request to hear."""
        return not link.target.modern and link.audience.session in self._sessions

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
                    self._set_answered(parked)
        link.peer.release(event.key)

    def _set_answered(self, parked: Parked) -> None:
        """Note that no answer of the client is awaited any more."""
        parked.answered = True
        self.deadlines.set(parked, None)

    def _replied(
        self, event: events.ResultReceived | events.ErrorReceived | events.RequestEnded
    ) -> None:
        """Handle the answer of a legacy client to a question."""
        asked = self._asked.pop(event.request, None)
        if asked is None:
            return
        result = event.result if isinstance(event, events.ResultReceived) else None
        if asked.key is not None:
            asked.link.asked.pop(asked.key, None)
            if result is not None:
                self._reply(asked.link, asked.key, result)
            else:
                error = event.error if isinstance(event, events.ErrorReceived) else None
                text = "the client did not answer"
                asked.link.peer.fail(asked.key, error or ErrorData(INTERNAL_ERROR, text))
            return
        round, call = asked.round, asked.call
        if round is None or call is None or not call.keys:
            return
        if result is None:
            self._fail_round(call, f"the client did not answer {asked.name!r}")
            return
        round.left.discard(asked.name)
        round.answers[asked.name] = result
        if not round.left:
            self._retry(call, round.answers)

    def _question_progressed(self, event: events.ProgressReceived) -> None:
        asked = self._asked.get(event.request)
        if asked is not None and asked.key is not None:
            peer = asked.link.peer
            peer.progress(asked.key, event.progress, event.total, event.message)

    # Parked calls

    def _park(self, call: PassedCall, event: RequestReceived) -> None:
        """Answer a modern client with a question of a legacy server; the call waits here."""
        self._serial += 1
        name = str(self._serial)
        question = Raw(_encode({"method": event.method, "params": relayable(event.params)[0]}))
        parked = call.round
        if parked is not None and not parked.answered:  # its retry is told of this one as well
            parked.questions[name], parked.texts[name] = event.key, question
            return
        if len(self._parked) >= self.settings.parked:
            text = f"busy: {self.settings.parked} calls wait for input"
            code = busy_code(call.arrival.revision)
            call.link.peer.fail(event.key, ErrorData(INTERNAL_ERROR, text))
            self._settle(call, lambda key: self.refuse(key, code, text))
            self._give_up(call, text)
            return
        parked = Parked(self._serial, call, {name: event.key}, {name: question})
        state = self._sealed(call.arrival, Ticket(parked.id))
        self._settle(call, partial(self._require, call, parked.texts, state))
        self._parked[parked.id] = call.round = parked
        self.deadlines.set(parked, self.now + self.settings.parked_timeout)

    def _retried(self, event: RequestReceived) -> bool:
        """Handle the retry of a modern client; False if its state is none of the relay's."""
        state = event.request_state or ""
        binding = request_binding(event.principal, event.method, event.params)
        try:
            ticket = _decode_ticket(self.seal.open(state, binding, wall=self.wall))
        except SealBroken as broken:
            self.refuse(event.key, INVALID_PARAMS, str(broken))
            return True
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
            return True
        parked = self._parked.get(ticket.parked)
        if parked is None:
            text = "requestState: its call has ended; send the request again without it"
            self.refuse(event.key, INVALID_PARAMS, text)
        else:
            self._go_on(parked, event, state)
        return True

    def _go_on(self, parked: Parked, event: RequestReceived, state: str) -> None:
        """Give the answers of a retry to the server; a repeated retry waits with the first one."""
        call, answers = parked.call, event.input_responses or {}
        if parked.outcome is not None:
            parked.outcome(event.key)
        elif parked.answered:
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
                self._require(call, left, state, event.key)
            else:
                self._set_answered(parked)
                call.arrival, call.keys = event, [event.key]
                self._calls[event.key] = call
            for name in given:
                self._reply(call.link, parked.questions.pop(name), answers[name])

    def _reply(self, link: UpstreamLink, key: Key, answer: Raw) -> None:
        """Answer a question of a legacy server, with what a client may have made unfit for it."""
        try:
            link.peer.respond(key, answer)
        except UNSENDABLE as error:
            text = f"the answer of the client cannot be passed on: {error}"
            link.peer.fail(key, ErrorData(INTERNAL_ERROR, text))

    def _expire(self, parked: Parked) -> None:
        """End a parked call without a retry, or forget an outcome."""
        self._drop(parked)
        if parked.answered:
            return
        parked.call.round = None
        for key in parked.questions.values():
            parked.call.link.peer.fail(key, ErrorData(INTERNAL_ERROR, "the client did not answer"))
        self._give_up(parked.call, "the client did not answer")

    def _drop(self, parked: Parked) -> None:
        self._parked.pop(parked.id, None)
        self.deadlines.set(parked, None)

    def _sealed(self, arrival: RequestReceived, ticket: Ticket) -> str:
        binding: Binding = request_binding(arrival.principal, arrival.method, arrival.params)
        return self.seal.seal(_encode_ticket(ticket), binding, wall=self.wall)

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
        self.ask(link, _SET_LEVEL, {"level": level}, void)

    def _told(self, link: UpstreamLink, event: events.NotificationReceived) -> None:
        """Handle a notification of a server that is on no listen stream."""
        if event.method == _LOGGED:
            self._logged(link, event)
        elif not self._subscriptions.told(link, event):
            session = link.audience.session
            if not self._has_session(link):
                self.dropped += 1
                return
            body, meta = relayable(event.params)
            self.downstream.notify(event.method, body, meta=meta, **self.to_session(session))

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
        sent = False
        for key in keys:
            if logged.level in SEVERITY:
                sent |= self.downstream.log(key, logged.level, logged.data, logged.logger, **where)
        self.dropped += not sent

    def _client_told(self, event: events.NotificationReceived) -> None:
        """Pass on a notification of a legacy client to the servers of its session."""
        body, meta = relayable(event.params)
        for link in self.links_of(event.session or ONLY):
            link.peer.notify(event.method, splice_meta(body, meta))

    # Sessions of clients

    def _session_ready(self, event: events.Ready) -> None:
        session = event.session or ONLY
        self._sessions.add(session)
        self._subscriptions.session_ready(session, event.capabilities)

    def _session_ended(self, event: Any) -> None:
        """Close what belongs to a session of a legacy client, or to the only conversation."""
        session = event.session or ONLY
        self._levels.pop(session, None)
        self._sessions.discard(session)
        self._subscriptions.session_ended(session)
        for link in self.links_of(session):
            self.close_link(link)


def splice_meta(body: Raw, meta: Mapping[str, Raw]) -> Raw:
    """Return params with their ``_meta`` put back."""
    return Raw(splice(to_json(body), b'"_meta":' + to_json(meta))) if meta else body


_FROM_CLIENT: dict[type[Event], Callable[[Relay, Any], None]] = {
    events.RequestReceived: Relay._arrived,
    events.RequestCancelled: Relay._cancelled,
    events.ResultReceived: Relay._replied,
    events.ErrorReceived: Relay._replied,
    events.RequestEnded: Relay._replied,
    events.ProgressReceived: Relay._question_progressed,
    events.LogLevelChanged: Relay._level_changed,
    events.NotificationReceived: Relay._client_told,
    events.Ready: Relay._session_ready,
    events.ConnectionEnded: Relay._session_ended,
    SessionClosed: Relay._session_ended,
    events.SubscriptionOpened: lambda relay, event: relay._subscriptions.opened(event),
    events.SubscriptionClosed: lambda relay, event: relay._subscriptions.closed(event.key),
}
"""Handlers of the events of the downstream machine."""
_FROM_SERVER: dict[type[Event], Callable[[Relay, UpstreamLink, Any], None]] = {
    events.Ready: Relay._greeted,
    events.NegotiationFailed: Relay._lost,
    events.ConnectionEnded: Relay._lost,
    events.ResultReceived: Relay._answered,
    events.ErrorReceived: Relay._answered,
    events.RequestEnded: Relay._answered,
    events.InputRequired: Relay._input_required,
    events.ProgressReceived: Relay._progressed,
    events.RequestReceived: Relay._asked_by,
    events.RequestCancelled: Relay._question_cancelled,
    events.NotificationReceived: Relay._told,
    events.SubscriptionAcknowledged: lambda relay, link, event: relay._subscriptions.acknowledged(
        link, event
    ),
    events.SubscriptionNotification: lambda relay, link, event: relay._subscriptions.notified(
        link, event
    ),
}
"""Handlers of the events of the upstream machines."""
