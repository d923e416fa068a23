"""Relay: any client before any number of servers, each in its own era, as a machine without I/O.

The driver owns the machines: those of the clients (a server's Peer, or an HttpServer), which come
and go, and for each :class:`~mcpcore.relay.link.UpstreamLink` an upstream (a client's Peer, or an
HttpClient), which ``Target.connect`` makes and starts.  It tells the relay of their events; the
relay calls them::

    relay.start(now=clock())
    while (event := downstream.next_event()) is not None:
        relay.from_client(downstream, event, now=clock(), wall=time())
    while (event := upstream.next_event()) is not None:
        relay.from_server(link, event, now=clock(), wall=time())

A call of the relay may leave events at a downstream machine; they are taken before its output.
Afterwards the driver empties ``Relay.used`` and ``Relay.called``: what is in them has to be
written, and a link that has ``ended`` closed.  It calls ``handle_timeout`` at ``deadline()``.

``downstream`` asks first (``Config.asked_first`` is ``ASKABLE``), has ``extension_methods`` of
:data:`~mcpcore.engine.config.ANY_EXTENSION`, and declares :meth:`Relay.capabilities`, which change
as the servers answer: ``Relay.declared`` tells when to ``declare`` them anew.  Over HTTP it has
``Relay.header_params``, and as ``has_tool`` the method ``Relay.lists.has_mirrored``: nobody learns
there of the tools of a personal server that are another's.  Every request of a client ends once.
What differs between the eras is in :mod:`mcpcore.relay.cells`.

Sources: the lifecycle, cancellation, progress and logging pages of 2025-11-25; the versioning,
subscriptions and "Multi Round-Trip Requests" pages of 2026-07-28.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine import events
from mcpcore.engine.bodies import members_of, relayable, relayed
from mcpcore.engine.config import HeaderParams
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Event, FaultKind, Key, RequestReceived
from mcpcore.engine.peer import DEFAULT_LOG_LEVEL, Peer
from mcpcore.engine.seal import Seal
from mcpcore.engine.subscriptions import TOPICS
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.server.sessions import SessionClosed
from mcpcore.http.storing import NoteLost, NoteReceived, SessionForgotten, SessionRestored
from mcpcore.relay.cells import CELLS, Cell, error_in, result_in, url_questions
from mcpcore.relay.conversations import LOOKS, Conversations
from mcpcore.relay.forwarding import Forwarding
from mcpcore.relay.link import (
    UNSENDABLE,
    Arrival,
    Delayed,
    Downstream,
    ListsUnread,
    Outcome,
    Parked,
    PassedCall,
    Session,
    Target,
    Ticket,
    Upstream,
    UpstreamLink,
    is_cut_off,
    void,
)
from mcpcore.relay.lists import LISTS, Lists, merged_capabilities
from mcpcore.relay.names import IN_PARAMS, NameKind, Names, text_at
from mcpcore.relay.parking import UNANSWERED, Parking
from mcpcore.relay.questions import CONTEXT, Questions
from mcpcore.relay.rewriting import encode
from mcpcore.relay.settings import RelaySettings
from mcpcore.relay.sign_ins import SignIns
from mcpcore.relay.subscriptions import Subscriptions
from mcpcore.relay.tasks import PREFIX, Tasks
from mcpcore.spec.errors import (
    FORBIDDEN,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_BUSY,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    URL_ELICITATION_REQUIRED,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID, LoggingLevel
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.jsontext import Body, Members
from mcpcore.wire.message import RequestId

_DOUBTFUL = frozenset({INVALID_REQUEST, LEGACY_BUSY})
"""Codes by which legacy servers ask for a session, among other things."""
_UNFIT = frozenset({400, 404, 405})
"""Statuses of HTTP by which they refuse a request without one."""


class _Logged(Struct):
    level: LoggingLevel
    data: Raw
    logger: str | None = None
    meta: dict[str, Raw] | None = msgspec.field(default=None, name="_meta")


_decode_logged = msgspec.json.Decoder(_Logged).decode


class Relay:
    """Routes between the machines of clients and the servers behind them.

    ``seal`` protects the states and cursors that clients return; ``place`` tells this relay from
    others with the same seal.  Raises ValueError for names of targets that cannot be used.
    """

    def __init__(
        self,
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
        """Number of messages that could not be assigned to a client, or for which nobody read."""
        self.declared: Callable[[], object] = void
        """Function that is called when :meth:`capabilities` may be others than before."""
        self.passed: Callable[[PassedCall], object] = void
        """Function that is called for each call that is about to be sent to its server."""
        self.bind: Callable[[Callable[[], None]], Callable[[], None]] = lambda work: work
        """Function that binds what is done for a call later to what the application knows of it
        now, such as the labels of its logs."""
        self.now = self.wall = 0.0
        """Time of the present input, and the same in seconds since the epoch."""
        self.used: set[UpstreamLink] = set()
        """Conversations that were used since the driver took them: it flushes or closes these."""
        self.stand_ins: dict[Downstream, Downstream] = {}
        """Objects that take the answers for machines of clients, and hand them on."""
        self.called: set[Downstream] = set()
        """Machines of clients that were called since the driver took them: it flushes these."""
        self.seal = seal
        self.calls: dict[tuple[Downstream, Key], PassedCall] = {}
        self.held: set[tuple[Downstream, Key]] = set()
        """Requests of clients that wait to be sent on; those that are cancelled go no further."""
        self._levels: dict[Session, str] = {}
        """Log levels that legacy clients have set, by session."""
        self.deadlines: Deadlines[Any] = Deadlines()
        """Parked calls, conversations and delayed work."""
        self.conversations = Conversations(self, self.targets.values())
        self.lists = Lists(self)
        self.tasks = Tasks(self)
        self.subscriptions = Subscriptions(self)
        self.forwarding = Forwarding(self)
        self.parking = Parking(self, place)
        self.questions = Questions(self)
        self.sign_ins = SignIns(self, place)
        self._sole = next(iter(self.targets.values())) if len(self.targets) == 1 else None
        self._handlers = self.subscriptions.handlers
        if not (self._sole and self.names.plain):
            self._handlers |= dict.fromkeys(LISTS, self.lists.ask)
        """Handlers of requests that are not passed on, by method."""
        subscriptions, questions = self.subscriptions, self.questions
        self._from_client: dict[type[Event], Callable[[Downstream, Any], None]] = {
            RequestReceived: self._arrived,
            events.RequestCancelled: self._cancelled,
            events.ResultReceived: lambda at, it: questions.replied(at, it.request, it.result),
            events.ErrorReceived: lambda at, it: questions.replied(at, it.request, it.error),
            events.RequestEnded: lambda at, it: questions.replied(at, it.request, UNANSWERED),
            events.ProgressReceived: questions.progressed,
            events.LogLevelChanged: lambda at, it: self.level_changed(
                (at, it.session or ""), it.level
            ),
            events.NotificationReceived: self._client_told,
            events.Ready: subscriptions.session_ready,
            events.ConnectionEnded: self._session_ended,
            SessionClosed: self._session_ended,
            SessionForgotten: self._session_ended,
            SessionRestored: subscriptions.session_restored,
            NoteReceived: self.forwarding.received,
            NoteLost: self.forwarding.lost,
            events.SubscriptionOpened: subscriptions.opened,
            events.SubscriptionClosed: lambda at, it: subscriptions.closed(at, it.key),
        }
        """Handlers of the events of the machines of clients."""
        self._from_server: dict[type[Event], Callable[[UpstreamLink, Any], None]] = {
            events.Ready: self.conversations.greeted,
            events.NegotiationFailed: self.conversations.lost,
            events.ConnectionEnded: self.conversations.lost,
            events.ResultReceived: lambda link, it: self._answered(link, it, it.result),
            events.ErrorReceived: lambda link, it: self._answered(link, it, it.error),
            events.RequestEnded: self.ended,
            events.InputRequired: self._input_required,
            events.ProgressReceived: self._progressed,
            RequestReceived: questions.asked_by,
            events.RequestCancelled: questions.cancelled,
            events.NotificationReceived: self._told,
            StreamInterrupted: self._interrupted,
            events.SubscriptionAcknowledged: self._acknowledged,
            events.SubscriptionNotification: lambda link, it: subscriptions.told(
                link, it.method, it.params, link.listens.get(it.request)
            ),
        }
        """Handlers of the events of the upstream machines."""

    # Facts

    @property
    def idle(self) -> bool:
        """True if no request of a client is open and no call is parked."""
        parts = self.forwarding, self.parking, self.questions, self.sign_ins
        return not (self.calls or self.held) and all(each.idle for each in parts)

    def capabilities(self) -> ServerCapabilities:
        """Return what the servers declare together, for the Config of the downstream machine.

        One that has not answered yet may declare anything.
        """
        return merged_capabilities(self.targets.values(), plain=self.names.plain)

    # Input

    def start(self, *, now: float) -> None:
        """Open the first conversation with each server, which tells its era."""
        for target in self.targets.values():
            self.open(target, now=now)

    def open(self, target: Target, *, now: float) -> None:
        """Open the first conversation with a server, if there is none."""
        self.now = now
        self.conversations.open(target)

    def probe(self, target: Target, replica: str, method: str, *, now: float) -> None:
        """Ask a replica of a known server for a sign of life, which its guard hears of."""
        self.now = now
        self.conversations.probe(target, replica, method)

    def signed_in(self, target: Target, principal: str, id: str | None, *, now: float) -> None:
        """Go on with what waits for a principal to sign in at a server.

        ``id``: that of the question, None if a credential of before was found.
        """
        self.now = now
        self.sign_ins.signed_in(target, principal, id)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do ``work`` after a time."""
        self.deadlines.set(Delayed(work), self.now + seconds)

    def from_client(self, machine: Downstream, event: Event, *, now: float, wall: float) -> None:
        """Handle an event of a machine of clients. ``wall``: seconds since the epoch."""
        self.now, self.wall = now, wall
        handler = self._from_client.get(type(event))
        if handler is not None:
            handler(machine, event)

    def from_server(self, link: UpstreamLink, event: Event, *, now: float, wall: float) -> None:
        """Handle an event of the upstream machine of ``link``."""
        self.now, self.wall = now, wall
        handler = self._from_server.get(type(event))
        if handler is not None:
            handler(link, event)

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout`, None if never."""
        return self.deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """End what is due: parked calls, kept outcomes, idle conversations, delays."""
        self.now, failed = now, list[Exception]()
        for item in self.deadlines.due(now):
            try:
                if isinstance(item, Parked):
                    self.parking.expire(item)
                elif isinstance(item, UpstreamLink):
                    self.conversations.close_unused(item)
                else:
                    item.due()
            except Exception as error:  # the rest is due all the same
                failed.append(error)
        if failed:
            raise failed[0]

    # Requests of clients

    def _arrived(self, machine: Downstream, event: RequestReceived) -> None:
        arrival = Arrival(machine, event)
        try:
            if event.request_state is not None:
                self.parking.retried(arrival, event.request_state)
            else:
                self._route(arrival)
        except msgspec.MsgspecError as error:
            self.refuse(arrival, INVALID_PARAMS, f"invalid params: {error}")
        except Exception:
            self.broken(arrival)
            raise

    def broken(self, arrival: Arrival) -> None:
        """Answer a request for which something raises, such as the application's seal: it ends."""
        self.held.discard(arrival.place)
        self.calls.pop(arrival.place, None)
        with suppress(LocalProtocolError):  # it may have been answered before
            self.refuse(arrival, INTERNAL_ERROR, "the request cannot be passed on")

    def _route(self, arrival: Arrival) -> None:
        method, params = arrival.event.method, arrival.event.params
        own = self._handlers.get(method)
        if own is not None:
            own(arrival)
            return
        if method.startswith(PREFIX):
            target, params = self.tasks.inward_in(arrival)
            if target is not None:
                self.forward(target, arrival, params)
                return
        if method in IN_PARAMS:
            self.find(arrival, self.forward)
        elif self._sole is not None:
            self.forward(self._sole, arrival, params)
        else:
            text = f"method not found: {method} names none of the servers"
            self.refuse(arrival, METHOD_NOT_FOUND, text)

    def find(
        self,
        arrival: Arrival,
        go_on: Callable[[Target, Arrival, Raw], None],
        *,
        learned: bool = False,
    ) -> None:
        """Go on with the server that a request names, and the params there.

        Raises msgspec.MsgspecError for params without that name.
        """
        params = arrival.event.params
        if self._sole is not None and self.names.plain:
            go_on(self._sole, arrival, params)
        elif found := self.names.inward_in(arrival.event.method, params, learned=learned):
            go_on(self.targets[found[0]], arrival, found[1])
        else:
            again = partial(self.find, arrival, go_on, learned=True)
            if learned:
                self._unknown(arrival)
            elif not self.lists.learn(arrival, again):
                again()

    def _unknown(self, arrival: Arrival) -> None:
        """Refuse a request for something that no server has."""
        event = arrival.event
        way, kind = IN_PARAMS[event.method][0]
        member = members_of(event.params).get(way[0], Raw(b"null"))
        text = f"{kind.value}: {bytes(member).decode()}"
        error, absent = ErrorData(INVALID_PARAMS, f"unknown {text}"), self.lists.absent(kind)
        if absent is not None:
            error = absent.error(f"its list is not known, and it may have this {text}")
        elif kind is NameKind.URI:
            error = ErrorData.make(RESOURCE_NOT_FOUND, "resource not found", {"uri": member})
        self.fail(arrival, error)

    def hold(self, arrival: Arrival, work: Callable[[], object]) -> Callable[[], None]:
        """Return a function that does ``work`` unless the request is cancelled before."""
        self.held.add(arrival.place)

        def go_on() -> None:
            if arrival.place in self.held:
                self.held.discard(arrival.place)
                try:
                    work()
                except Exception:
                    self.broken(arrival)
                    raise

        return go_on

    def forward(
        self, target: Target, arrival: Arrival, params: Raw, retry: Members | None = None
    ) -> None:
        """Send a request on; ``retry``: answers and state for a modern server."""
        taken = self.sign_ins.take(target, arrival, params)
        if taken is not None:
            send = partial(self._send, target, taken, params, retry)
            self.conversations.when_known(target, taken.event.revision, send, taken)

    def _send(
        self,
        target: Target,
        arrival: Arrival,
        params: Raw,
        retry: Members | None,
        before: PassedCall | None = None,
    ) -> None:
        """Send a request to its server, or refuse it; ``before``: its last attempt."""
        event, caller = arrival.event, arrival.caller
        if target.greeted(event.revision) is None:
            if self.sign_ins.take(target, arrival, params) is not None:
                self.fail(arrival, target.unreachable)
            return
        body, meta = relayed(params)
        modern = target.modern_for(event.revision)
        if event.request_state is None and event.input_responses is not None and modern:
            retry = {"inputResponses": Raw(encode(event.input_responses))}
        elif retry and not modern:  # to a legacy server it would be a new call
            text = "requestState: its server has changed; send the request again without it"
            self.refuse(arrival, INVALID_PARAMS, text)
            return
        meta = self.tasks.related_inward(arrival.audience, target.name, meta)
        if retry:
            body = {**members_of(body), **retry}
        link = self._link_for(target, arrival, () if before is None else before.tried)
        if link is None:
            return
        cell = CELLS[event.revision.modern, modern]
        until = self.now + self.settings.call_timeout
        call = before or PassedCall(
            [arrival], event.method, arrival, caller, cell, link, until, params=params
        )
        call.cell, call.link, call.fresh = cell, link, not retry
        level = self._log_level(link, arrival)
        try:
            call.request = link.request(
                event.method,
                body,
                now=self.now,
                caller=caller,
                timeout=max(call.until - self.now, 0.0),
                progress=event.meta.progress_token is not None,
                meta=meta,
                log_level=level,
                capabilities=event.client_capabilities if modern else None,
                bare=True,
            )
        except UNSENDABLE as error:
            if isinstance(error, ListsUnread) and not call.relisted:
                call.relisted = True
                self.lists.forget(target, error.methods)
                again = self.bind(partial(self._send, target, arrival, params, retry, call))
                lists = [(target.name, each) for each in error.methods]
                self.lists.read(arrival, lists, self.hold(arrival, again))
                return
            self.fail(arrival, target.error(str(error)))
            return
        link.calls[call.request] = call
        self.passed(call)
        if len(link.principals) < 2:
            link.principals.add(event.principal)
        self.calls[arrival.place] = call

    def _link_for(
        self, target: Target, arrival: Arrival, tried: Collection[str]
    ) -> UpstreamLink | None:
        """Return the conversation for a request; without room refuse it, and return None."""
        try:
            link = self.conversations.link(target, arrival.audience, tried)
        except LocalProtocolError as error:
            text = str(error)
        else:
            if not self.crowded(link.machine):
                return link
            text = f"{target.name}: busy: it does not read what it was sent before"
        self.refuse(arrival, busy_code(arrival.event.revision), text)
        return None

    def _log_level(self, link: UpstreamLink, arrival: Arrival) -> str | None:
        """Return the log level to name to a modern server; set that of a legacy one."""
        event, target = arrival.event, link.target
        modern = target.modern_for(event.revision)
        level: str | None = event.meta.log_level
        if not event.revision.per_request_log_level:
            level = self._levels.get(arrival.session, DEFAULT_LOG_LEVEL if modern else None)
        if modern:
            return level if level and target.offers("logging") else None
        self.set_level(link, level)
        return None

    def send_again(self, call: PassedCall) -> None:
        """Send a call once more, unless it was cancelled meanwhile."""
        target, arrival = call.link.target, call.arrival
        if self.calls.pop(arrival.place, None) is not None:
            send = partial(self._send, target, arrival, call.params, None, call)
            try:
                self.conversations.when_known(target, arrival.event.revision, send, arrival)
            except Exception:
                self.broken(arrival)
                raise

    def ask(
        self,
        link: UpstreamLink,
        method: str,
        params: Body,
        take: Callable[[Outcome], None],
        *,
        timeout: float | None = None,
        **more: Any,
    ) -> RequestId | None:
        """Make a request of the relay's own; ``take`` gets the outcome.  None if it is not sent."""
        timeout = timeout or self.settings.list_timeout
        try:
            id = link.request(method, params, now=self.now, timeout=timeout, **more)
        except UNSENDABLE as error:
            take(link.target.error(str(error)))
            return None
        link.pending[id] = take
        return id

    def crowded(self, machine: "Downstream | Upstream | None") -> bool:
        """Return True if too much waits to be written; an endpoint of HTTP has its own limits."""
        return isinstance(machine, Peer) and machine.output_size > self.settings.queued

    def at(self, machine: Downstream) -> Downstream:
        """Return a machine of clients, for what has to be flushed."""
        self.called.add(machine)
        return self.stand_ins.get(machine, machine)

    def fail(self, arrival: Arrival, error: ErrorData) -> None:
        """Answer a request with an error."""
        self.at(arrival.machine).fail(arrival.event.key, error)

    def refuse(self, arrival: Arrival, code: int, message: str) -> None:
        """Answer a request with an error of the relay's own."""
        self.fail(arrival, ErrorData.make(code, message))

    def _cancelled(self, machine: Downstream, event: events.RequestCancelled) -> None:
        place = machine, event.key
        call, held = self.calls.pop(place, None), place in self.held
        self.held.discard(place)
        if call is not None or held:
            self.at(machine).fail(event.key, ErrorData(INTERNAL_ERROR, "cancelled"))  # dropped
        if call is None:  # the answer to come, if any, is dropped by the engine
            self.subscriptions.closed(machine, event.key)
            self.forwarding.cancelled(machine, event)
            return
        call.waiting = [each for each in call.waiting if each.place != place]
        if not call.waiting:
            self.give_up(call, event.reason)

    def give_up(self, call: PassedCall, reason: str | None) -> None:
        """Cancel a call at its server, with what the client was asked about it."""
        link = call.link
        self.questions.withdraw(call, reason)
        if call.round is not None:
            self.parking.drop(call.round)
        if link.calls.pop(call.request, None) is not None:
            link.peer.cancel(call.request, now=self.now, reason=reason)
            self._left(call)

    def _left(self, call: PassedCall) -> None:
        """Note that a call was given up, about which its server may still ask."""
        left, client = call.link.left, call.arrival.client
        left.pop(client, None)
        left[client] = self.now
        if len(left) > 2:
            del left[next(iter(left))]

    # Answers of servers

    def ended(self, link: UpstreamLink, event: events.RequestEnded) -> None:
        """Take the end of a request without an answer."""
        fault, outlasts = event.fault, not link.ended and not link.refused
        if is_cut_off(event) and outlasts and event.request not in link.listens:
            self.conversations.missed(link)
        slow = event.reason is EndReason.TIMED_OUT
        slow = slow or (fault is not None and fault.kind is FaultKind.CONNECT_TIMEOUT)
        if slow and event.method in LISTS and event.request in link.pending:
            link.target.gone.add(link.replica)
            self.conversations.went_away(link)
        call = link.calls.get(event.request)
        if call is not None:
            call.denied = fault is not None and fault.kind is FaultKind.AUTHORIZATION
            self._left(call)
        self._answered(link, event, link.target.error(event.message, reason=event.reason.value))

    def _heard(self, link: UpstreamLink, event: Event) -> None:
        """Tell the guard of an outcome; one that the server has sent shows that it is back."""
        link.settle(event, self.now)
        guard = link.target.guard
        if guard is not None and guard.open:
            self.conversations.went_away(link.target)
        elif not isinstance(event, events.RequestEnded):
            link.target.gone.discard(link.replica)
            if link.is_away:
                self.conversations.came_back(link)
                self.conversations.look(link.target)

    def _answered(self, link: UpstreamLink, event: Any, outcome: Outcome) -> None:
        self._heard(link, event)
        own = link.pending.pop(event.request, None)
        call = link.calls.pop(event.request, None)
        refusal, doubtful = None, False
        opening = event.method == "server/discover"
        if isinstance(event, events.ErrorReceived):
            refusal, doubtful = event.error, event.error.code in _DOUBTFUL
        elif isinstance(event, events.RequestEnded) and event.fault is not None:
            doubtful = link.modern and event.fault.status in _UNFIT
            refusal = ErrorData(INVALID_REQUEST, event.message) if doubtful and opening else None
        changed = self.conversations.speaks_otherwise(link, refusal, opening)
        if changed:
            self.conversations.negotiate_again(link.target, link.audience.principal)
        elif doubtful and self.now >= link.target.told_at + LOOKS:
            self.conversations.look(link.target)
        if own is not None:
            own(outcome)
        elif call is not None and changed and call.fresh and call.waiting:
            self.send_again(call)
        elif call is not None and not self._sent_again(call, event, outcome):
            self.settle(call, partial(self.deliver, call, outcome))
        link.used_at = self.now

    def _sent_again(self, call: PassedCall, event: Event, outcome: Outcome) -> bool:
        """Send a call once more if the guard or a missing header says so; False if not."""
        target = call.link.target
        if not call.fresh or not call.waiting:
            return False
        delay = None if target.guard is None else target.guard.again(call, event, self.now)
        if delay is not None:
            self.later(delay, self.bind(partial(self.send_again, call)))
            return True
        missed = isinstance(outcome, ErrorData) and outcome.code == HEADER_MISMATCH
        if missed and not call.relisted:  # the client has the list from elsewhere, or of long ago
            call.relisted = True
            self.lists.forget(target, ["tools/list"])  # nor need it have announced a change
            tools = [(target.name, "tools/list")]
            again = self.bind(partial(self.send_again, call))
            self.lists.read(call.arrival, tools, again)
            return True
        return False

    def settle(self, call: PassedCall, deliver: Callable[[Arrival], None]) -> None:
        """Answer all who wait for the present stage of a call; keep the outcome of a retry."""
        arrivals, call.waiting, failed = call.waiting, [], list[Exception]()
        if call.cell is Cell.MODERN_SERVER:  # a legacy one still waits for its questions
            self.questions.withdraw(call, "the request that it was about is over")
        for arrival in arrivals:
            self.calls.pop(arrival.place, None)
            try:
                deliver(arrival)
            except Exception as error:  # others wait all the same
                self.broken(arrival)
                failed.append(error)
        if call.round is not None:
            self.parking.keep(call.round, deliver)
            call.round = None
        if failed:
            raise failed[0]

    def deliver(self, call: PassedCall, outcome: Outcome, arrival: Arrival) -> None:
        """Answer a client with the outcome of its call."""
        method, target, cell = call.method, call.link.target, call.cell
        machine, key = self.at(arrival.machine), arrival.event.key
        try:
            if isinstance(outcome, Raw):
                self.lists.note_tools(target, method, outcome, arrival)
                ttl = self.settings.list_ttl if method in LISTS else 0.0
                wrapped = method == "tools/call" and bool(target.wrapped)
                wrapped = wrapped and text_at(call.params, ("name",)) in target.wrapped
                result = result_in(cell, method, outcome, ttl, wrapped=wrapped)
                result = self.names.outward_in(method, target.name, result)
                result = self.tasks.outward_in(arrival, target.name, result)
                machine.respond(key, result)
                return
            if call.denied and self.sign_ins.asks(target, arrival):
                return
            if outcome.code == URL_ELICITATION_REQUIRED and cell is Cell.LEGACY_SERVER:
                # The retry is a request like the first.
                machine.require_input(key, url_questions(outcome))
                return
            if outcome.code == FORBIDDEN:  # about the relay's credentials, not those of the client
                outcome = target.error("the gateway may not do this there")
            if outcome.code == UNSUPPORTED_PROTOCOL_VERSION:  # nor about the client's revision
                outcome = target.error(outcome.message)
            error = error_in(cell, method, outcome)
            if isinstance(error.data, Raw):
                data = self.names.outward_in(f"{method} error", target.name, error.data)
                error = msgspec.structs.replace(error, data=data)
        except UNSENDABLE as flaw:
            text = f"invalid result: {flaw}"
            if isinstance(outcome, ErrorData):  # of a client that opens no URLs
                text = outcome.message
            error = target.error(text)
        machine.fail(key, error)

    def _progressed(self, link: UpstreamLink, event: events.ProgressReceived) -> None:
        call = link.calls.get(event.request)
        for each in () if call is None else call.waiting:
            machine = self.at(each.machine)
            machine.progress(each.event.key, event.progress, event.total, event.message)

    def _interrupted(self, link: UpstreamLink, event: StreamInterrupted) -> None:
        """Let the client poll for the answer of a server that is polled itself."""
        call = None if event.request is None else link.calls.get(event.request)
        if call is None or event.recovery is not Recovery.RESUME:
            return
        for each in call.waiting:
            if each.event.revision.priming and not isinstance(each.machine, Peer):
                machine: Any = self.at(each.machine)
                machine.close_stream(each.event.key, retry=event.delay, now=self.now)

    def _acknowledged(self, link: UpstreamLink, event: events.SubscriptionAcknowledged) -> None:
        self._heard(link, event)
        self.subscriptions.listens.acknowledged(link, event)

    def _input_required(self, link: UpstreamLink, event: events.InputRequired) -> None:
        self._heard(link, event)
        call = link.calls.get(event.request)
        narrowed = partial(self.questions.narrowed, way=("params", *CONTEXT))
        requests = {name: narrowed(each) for name, each in event.requests.items()}
        if call is None:
            link.peer.abandon(event.request)
        elif call.cell is Cell.MODERN:
            del link.calls[event.request]
            link.peer.abandon(event.request)
            ticket = None if event.state is None else Ticket(None, link.target.name, event.state)
            self.settle(call, partial(self.parking.require, call, requests, ticket))
        else:
            self.questions.ask_round(call, requests)

    # Log messages and other notifications

    def level_changed(self, session: Session, level: str) -> None:
        """Note the log level that a legacy client has set."""
        if self.subscriptions.lasts(session):
            self._levels[session] = level
        for link in self.conversations.links_of(session):
            self.set_level(link, level, lower=True)

    def set_level(self, link: UpstreamLink, level: str | None, *, lower: bool = False) -> None:
        """Ask a legacy server for log messages, unless it sends them: the engine filters by client.

        ``lower``: the level of a session, which may also ask for fewer of them.
        """
        known = link.level
        if level is None or level == known:
            return
        if not lower and known is not None and SEVERITY[known] <= SEVERITY[level]:
            return
        if not link.target.offers("logging", link.audience.revision):
            return
        link.level = level
        self.ask(link, "logging/setLevel", {"level": level}, void)

    def _told(self, link: UpstreamLink, event: events.NotificationReceived) -> None:
        """Handle a notification of a server that is on no listen stream."""
        if event.method == "notifications/message":
            self._logged(link, event)
        elif event.method in TOPICS:
            self.subscriptions.told(link, event.method, event.params)
        elif event.method not in KNOWN_METHODS and (call := link.calls.get(event.request or "")):
            body, meta = self._taken_apart(link, event.params)
            readers = [each for each in call.waiting if not self.crowded(each.machine)]
            self.dropped += len(call.waiting) - len(readers)
            for each in readers:
                machine = self.at(each.machine)
                machine.notify(event.method, body, parent=each.event.key, meta=meta)
        elif (where := self.session_of(link)) and self.crowded(where[0]):
            self.dropped += 1
        elif where and (told := self.tasks.notice_outward(link, event)):
            machine, more = where
            body, meta = told
            with suppress(*UNSENDABLE):  # such as what is for the engine to send
                self.at(machine).notify(event.method, body, meta=meta, **more)
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
        message = logged.level, logged.data, logged.logger
        meta = self._taken_apart(link, event.params)[1] if logged.meta else None
        where = self.session_of(link) if call is None else None
        if where is not None:
            machine, more = where
            self.dropped += not self.at(machine).log(None, *message, meta=meta, **more)
            return
        calls = [each for each in link.calls.values() if each.waiting] if call is None else [call]
        arrivals = (each.arrival for each in calls)
        callers = {each.place if each.caller is None else each.caller for each in arrivals}
        whose = call is not None or len(link.principals) == 1 == len(callers)  # else of whom is it?
        heard = [each for call in calls for each in call.waiting] if whose else []
        if len({each.client for each in heard}) > 1:  # it is only for those that asked for any
            heard = [each for each in heard if self._wants_logs(each)]
        sent = [self.at(each.machine).log(each.event.key, *message, meta=meta) for each in heard]
        self.dropped += not any(sent)

    def _taken_apart(self, link: UpstreamLink, params: Raw) -> tuple[Raw, dict[str, Raw]]:
        """Return params of a notification about a call, and their ``_meta`` for its client."""
        body, meta = relayable(params)
        meta.pop(META_SUBSCRIPTION_ID, None)  # of none of its streams
        return body, self.tasks.related_outward(link, meta)

    def _wants_logs(self, arrival: Arrival) -> bool:
        """Return True if a client has set a log level: for the request, or for its session."""
        of_request = arrival.event.revision.per_request_log_level
        return of_request or arrival.session in self._levels

    def session_of(self, link: UpstreamLink) -> tuple[Downstream, dict[str, Any]] | None:
        """Return the machine and the argument that name the session of a legacy conversation."""
        watcher = self.subscriptions.sessions.get(link.audience.session)
        return None if watcher is None or link.modern else (watcher.machine, watcher.where)

    def _client_told(self, machine: Downstream, event: events.NotificationReceived) -> None:
        """Pass on a notification of a legacy client to the servers of its session."""
        body, meta = relayable(event.params)
        for link in self.conversations.links_of((machine, event.session or "")):
            if self.crowded(link.machine):
                self.dropped += 1
                continue
            related = self.tasks.related_inward(link.audience, link.target.name, meta)
            link.peer.notify(event.method, body, meta=related)

    # Sessions of clients

    def _session_ended(self, machine: Downstream, event: Any) -> None:
        """Close what belongs to a session of a legacy client, or to the only conversation."""
        session = machine, event.session or ""
        self._levels.pop(session, None)
        self.conversations.session_ended(session)
        self.subscriptions.session_ended(session)
        self.lists.session_ended(session)
        self.tasks.session_ended(session)
