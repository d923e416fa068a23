"""Messages of a client that the server refuses until they are authorized.

A refusal with 401, or with 403 and a challenge, means that the message was not carried out.  If the
application answers challenges (:attr:`HttpClientSettings.answer_challenges
<mcpcore.http.settings.HttpClientSettings>`), such an exchange is parked with its request and
:class:`Unauthorized` tells of it; :meth:`HttpClient.retry_exchange
<mcpcore.http.client.client.HttpClient.retry_exchange>` sends the same request again.  The deadline
of the message stands still meanwhile; those of all messages, if they wait for this one.

Sources: RFC 9110 sections 11.6.1, 15.5.2 and 15.5.4; RFC 6750 section 3.1; the authorization pages.
"""

import msgspec
from msgspec import Struct, structs

from mcpcore.engine.events import Event, Route
from mcpcore.engine.state import Outbound
from mcpcore.http.client.call import Admission, AdmissionSignal, Call, HeldRefusal
from mcpcore.http.client.state import ClientState
from mcpcore.http.headers import WWW_AUTHENTICATE, Headers
from mcpcore.http.messages import HttpSend


def admits(status: int) -> bool:
    """Return True if a response shows that its request was authorized."""
    return status < 400


class Unauthorized(Event, frozen=True, kw_only=True, gc=False):
    """Client: a message was refused until it is authorized, and waits for an answer.

    Answer with ``retry_exchange`` or ``give_up_exchange`` of the HttpClient.
    """

    exchange: Route
    status: int
    """401, or 403."""
    challenges: tuple[str, ...]
    """Values of WWW-Authenticate, as received."""
    operation: str
    """Method of the message, with the name or URI that it is about."""


class _NameOrUri(Struct, frozen=True):
    name: str = ""
    uri: str = ""


class _SubjectParams(Struct, frozen=True):
    params: _NameOrUri = _NameOrUri()


_subject = msgspec.json.Decoder(_SubjectParams).decode
_OPENING = ("initialize", "notifications/initialized")
"""Messages that all others wait for, as they do for a ``server/discover`` that negotiates."""


def challenges_of(status: int, headers: Headers) -> tuple[str, ...] | None:
    """Return the challenges of a response; None for one that no authorization changes.

    A 401 may have none, a 403 is a matter of authorization by its challenges alone.
    """
    if status not in (401, 403):
        return None
    lines = tuple(text.decode("latin-1") for name, text in headers if name == WWW_AUTHENTICATE)
    return lines if lines or status == 401 else None


class Challenges:
    """Exchanges of one client that wait for authorization."""

    def __init__(self, state: ClientState) -> None:
        self._state = state
        self._blocking: list[Call] = []
        """Parked exchanges that all other messages wait for."""
        self._since: float | None = None
        """Time since which there is one."""

    def take(self, call: Call, plan: HttpSend, status: int, headers: Headers) -> bool:
        """Take the head of a response; return False if it is no refusal to be answered.

        ``plan``: the request, as it was sent.
        """
        lines = challenges_of(status, headers)
        if lines is None or call.refusals >= self._state.settings.max_challenges:
            return False
        call.move(AdmissionSignal.CHALLENGE)
        call.plan = plan
        call.refusal = HeldRefusal(status=status, challenges=lines)
        call.refusals += 1
        return True

    def park(self, call: Call, refusal: HeldRefusal, now: float) -> None:
        """Park an exchange at the end of its refusal, and tell the application."""
        state = self._state
        call.move(AdmissionSignal.END)
        state.calls[call.route] = call  # where a cancellation finds it
        refusal.since = now
        if call.negotiating or call.method in _OPENING or state.must_wait:
            self._blocking.append(call)
            self._since = now if self._since is None else self._since
        else:
            refusal.paused = self._pause(call, now)
        state.deadlines.set(call, now + state.settings.answer_timeout)
        state.report(
            Unauthorized(
                exchange=call.route,
                status=refusal.status,
                challenges=refusal.challenges,
                operation=_operation(call),
            )
        )

    def _pause(self, call: Call, now: float) -> tuple[Outbound, float] | None:
        endpoint = self._state.endpoint
        own = None if call.request is None else endpoint.outbound.get(call.request)
        if own is None or own.deadline is None:
            return None
        left = own.deadline - now
        endpoint.deadlines.set(own, None)
        return own, left

    @property
    def standing_still(self) -> bool:
        """True while all messages wait for one that is parked."""
        if self._blocking:  # one may have been given up with its connection
            calls = self._state.calls
            self._blocking = [each for each in self._blocking if calls.get(each.route) is each]
        return bool(self._blocking)

    def go_on(self, now: float) -> None:
        """Let the deadlines go on that stood still, if there is no reason any more."""
        if self._since is not None and not self.standing_still:
            self._state.peer.postpone(self._since, now)
            self._since = None

    def parked(self, exchange: Route) -> bool:
        """Return True if an exchange waits for an answer of the application."""
        call = self._state.calls.get(exchange)
        return call is not None and call.admission is Admission.PARKED

    def answer(
        self, exchange: Route, signal: AdmissionSignal, now: float
    ) -> tuple[Call, HeldRefusal] | None:
        """Take an exchange out of the parked ones; None for one that has ended meanwhile."""
        state = self._state
        call = state.calls.get(exchange)
        if call is None:
            return None
        refusal = call.refusal
        call.move(signal)
        assert refusal is not None  # noqa: S101 - it is parked
        call.refusal = None
        del state.calls[exchange]
        state.deadlines.set(call, None)
        self.go_on(now)
        if refusal.paused is not None:
            record, left = refusal.paused
            if state.endpoint.outbound.get(record.id) is record:
                record.started += now - refusal.since
                state.endpoint.deadlines.set(record, now + left)
        return call, refusal

    def send_again(self, call: Call) -> Route:
        """Plan the same request once more; return its exchange."""
        state, plan = self._state, call.plan
        assert plan is not None  # noqa: S101 - kept since the refusal
        call.route = state.new_route()
        state.calls[call.route] = call
        state.send(call, structs.replace(plan, exchange=call.route, after=None))
        return call.route


def _operation(call: Call) -> str:
    """Return the method of a message, with the name or URI that it is about."""
    method = call.method or call.purpose.value
    if call.frame is None or call.request is None:
        return method
    return operation_of(method, b"".join(call.frame.data))


def operation_of(method: str, message: bytes) -> str:
    """Return the method of a message, with the name or URI that it is about; ``message``: JSON."""
    try:
        subject = _subject(message).params
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return method
    about = subject.name or subject.uri
    return f"{method} {about}" if about else method
