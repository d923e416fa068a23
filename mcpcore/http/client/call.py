"""Exchange of an HTTP client: the request sent, its response, and the recovery of its stream.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Resumability and Redelivery"; for
``retry``, 2025-11-25, "Sending Messages to the Server".
"""

from contextlib import suppress
from enum import Enum

from msgspec import Struct, field

from mcpcore.engine.events import Event, Fault, FaultKind, Route
from mcpcore.engine.reconnection import Chance, grown
from mcpcore.engine.transmit import Transmit
from mcpcore.http.headers import (
    CONTENT_TYPE,
    EVENT_STREAM,
    JSON,
    RETRY_AFTER,
    Fields,
    HeaderError,
    media_type,
)
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId
from mcpcore.wire.sse import SseDecoder


class CallPurpose(Enum):
    """Reason for which an exchange was begun."""

    POST = "post"
    """A POST that carries one message of ours."""
    RESUME = "resume"
    """A GET that resumes the stream of a POST."""
    STREAM = "stream"
    """The standalone GET of a legacy session."""
    DELETE = "delete"
    SSE = "http+sse"
    """The GET of HTTP+SSE, whose stream carries all messages of the server."""


class ResponseKind(Enum):
    """Kind of a response, as far as it is known."""

    HEAD = "head"
    """No head that decides the kind has arrived."""
    JSON = "json"
    EVENTS = "events"
    ERROR = "error"
    """A status of refusal; the body may give the reason."""


class Call(Struct, kw_only=True, eq=False):
    """State of one exchange of the client."""

    route: Route
    purpose: CallPurpose
    epoch: int
    """Number of the legacy session that the exchange belongs to."""
    in_session: bool
    """True if the request carried a session id."""
    revision: Revision | None
    frame: Transmit | None = None
    """Frame of a POST, kept while it may be sent again: until a head arrives, or until the response
    if sending it twice does no harm."""
    method: str | None = None
    request: RequestId | None = None
    """Id of our request that waits for a response here; None once that is settled."""
    negotiating: bool = False
    """True if this is the era probe or ``initialize``."""
    again: bool = False
    """True if the message was sent before, in a session that was lost."""
    tries: int = 0
    """Number of earlier attempts to send this message of the handshake."""
    repeated: bool = False
    """True if the message was sent before, on a connection that was lost."""
    earlier: list[Route] = field(default_factory=list)
    """Earlier routes of this exchange on which the server's requests are still open."""
    over: bool = False
    """True if the rest of the response is ignored."""
    reading: ResponseKind = ResponseKind.HEAD
    status: int = 0
    retry_after: float | None = None
    """Seconds to wait, as a refusal asked by ``Retry-After``."""
    body: bytearray = field(default_factory=bytearray)
    skipped: int = 0
    """Number of bytes received and ignored."""
    violations: int = 0
    """Number of messages that are not allowed here, refused requests included."""
    heard: float = 0.0
    """Time at which the event stream last brought data."""
    redirects: int = 0
    """Number of redirects followed in a row."""
    decoder: SseDecoder | None = None
    last_event_id: str = ""
    retry: float | None = None
    """Seconds to wait before resuming, as the server asked."""
    resumes: int = 0
    """Attempts to resume the stream since the last event."""
    hasty: int = 0
    """Connections in a row that ended sooner than the client's own reconnection delay."""
    opened: float | None = None
    """Time at which the stream was last opened or resumed; None while it is not open."""
    deadline: float | None = None
    """Time at which to stop waiting for the end of a response whose answer is complete."""

    @property
    def resumable(self) -> bool:
        """True if the stream can be resumed after its last event."""
        return bool(self.last_event_id) and (self.revision is None or self.revision.resumable)


def content_kind(fields: Fields) -> ResponseKind | None:
    """Return the kind of a successful response; None if it is neither JSON nor an event stream."""
    try:
        parsed = media_type(fields.one(CONTENT_TYPE) or "")
    except HeaderError:
        return None
    if parsed is None:
        return None
    return {JSON: ResponseKind.JSON, EVENT_STREAM: ResponseKind.EVENTS}.get(parsed[0])


_HINTS = {
    401: "it wants authorization",
    403: "it forbids this",
    404: "nothing is there",
    405: "it does not take this method",
    407: "a proxy wants authorization",
    413: "the message is too large for it",
    429: "it is asked too often",
    503: "it is overloaded or closing",
}
_NO_EVIDENCE = frozenset({401, 403, 407, 408, 413, 429})
"""Statuses of client errors that are no evidence of a server's era."""


def tells_era(status: int) -> bool:
    """Return True if a refusal with this status, and no modern error, shows a legacy server."""
    return 400 <= status < 500 and status not in _NO_EVIDENCE


def proves_modern(status: int, error: ErrorData) -> bool:
    """Return True if only a modern server answers an unknown method with this status and error.

    2026-07-28, Streamable HTTP, "Protocol Version Header".
    """
    return status == 404 and error.code == METHOD_NOT_FOUND


REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refusal_of(status: int, fields: Fields) -> Fault:
    """Return the fault for the head of a refusal or redirect."""
    kind = FaultKind.REDIRECT if status in REDIRECTS else FaultKind.STATUS
    location = None
    if kind is FaultKind.REDIRECT:
        with suppress(HeaderError):
            location = fields.one(b"location")
    return Fault(kind, status, seconds_of(fields), location)


def seconds_of(fields: Fields) -> float | None:
    """Return the seconds that ``Retry-After`` names; None for a date, as there is no clock here."""
    try:
        value = fields.one(RETRY_AFTER)
    except HeaderError:
        return None
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        return None
    return float(value)


def refusal_text(status: int, detail: str = "") -> str:
    """Return a readable description of a status."""
    hint = _HINTS.get(status, "")
    text = f"the server answered with HTTP status {status}" + (f" ({hint})" if hint else "")
    return f"{text}: {detail}" if detail else text


class Recovery(Enum):
    """Action for a stream that broke off before its end."""

    RESUME = "resume"
    """The stream is resumed after the last event received: no event is missed."""
    REOPEN = "reopen"
    """The standalone stream begins anew: messages sent meanwhile may be missed."""
    FAIL = "fail"
    """The stream is given up; a request that waited on it has ended, and RequestEnded gives the
    reason."""


class StreamInterrupted(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: a stream's connection broke off; ``recovery`` is the action taken."""

    request: RequestId | None
    """Id of the request that the stream answers; None for the standalone stream."""
    recovery: Recovery
    attempt: int
    """Number of attempts in a row without an event in between; from 1."""
    delay: float
    """Seconds until the next attempt; 0 if there is none."""
    reason: str


class StreamReopened(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: the standalone stream is open again, and began anew.

    Messages that the server sent meanwhile may have been missed.
    """


class Backoff:
    """Delay before each attempt, in seconds; the same seed gives the same delays."""

    def __init__(self, settings: HttpClientSettings, seed: bytes) -> None:
        """Add a random part to the delays, unless ``seed`` is empty."""
        self._settings = settings
        self._chance = Chance(seed)

    def delay(self, attempt: int, retry: float | None) -> float:
        """Return the seconds before an attempt (from 1), after the server has asked for ``retry``.

        ``retry`` is the minimum. From the second attempt in a row on the delay doubles, whatever
        the server asked for.  Part of it is random, so that clients do not come back in step.
        """
        settings = self._settings
        delay = grown(settings.retry_delay, 2, attempt, settings.max_retry_delay)
        if retry is not None:
            delay = retry if attempt == 1 else max(delay, retry)
        delay = max(delay, settings.min_retry_delay) * (1 + settings.jitter * self._chance.next())
        return min(delay, settings.max_retry_delay)
