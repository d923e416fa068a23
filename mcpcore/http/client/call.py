"""Exchange of an HTTP client: the request sent, its response, and the recovery of its stream.

Source: the Streamable HTTP pages of 2025-03-26 to 2026-07-28, "Resumability and Redelivery" and
"Request Metadata"; for ``retry``, 2025-11-25, "Sending Messages to the Server".
"""

import re
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec
from msgspec import Struct, field

from mcpcore.engine.events import Event, Fault, FaultKind, Route
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.engine.reconnection import Chance, grown
from mcpcore.engine.state import Outbound
from mcpcore.engine.transmit import Transmit
from mcpcore.http import headers
from mcpcore.http.headers import (
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EVENT_STREAM,
    JSON,
    RETRY_AFTER,
    Fields,
    HeaderError,
    HeaderList,
    Headers,
    media_type,
)
from mcpcore.http.messages import HttpSend
from mcpcore.http.origin import DEFAULT_PORTS
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import RequestMeta
from mcpcore.wire.message import RequestId
from mcpcore.wire.redaction import shown_url
from mcpcore.wire.sse import SseDecoder


class CallPurpose(Enum):
    """Reason for which an exchange was begun."""

    POST = "post"
    RESUME = "resume"
    STREAM = "stream"
    """The standalone GET of a legacy session."""
    DELETE = "delete"
    SSE = "http+sse"
    """The GET of HTTP+SSE, whose stream carries all messages of the server."""


class ResponseKind(Enum):
    """Kind of a response, as far as it is known."""

    HEAD = "head"
    JSON = "json"
    EVENTS = "events"
    ERROR = "error"


class Admission(State):
    """States of an exchange that needs authorization."""

    SENT = "sent"
    REFUSED = "refused"
    """The head of a refusal was received, its end was not."""
    PARKED = "parked"
    """The application is asked; nothing is on its way."""
    OVER = "over"


class AdmissionSignal(State):
    """Signals that move such an exchange."""

    CHALLENGE = "challenge received"
    END = "end of the refusal"
    RETRY = "sent again"
    GIVE_UP = "given up, by the application or after answer_timeout"


_S, _G = Admission, AdmissionSignal

ADMISSION: Table[Admission, AdmissionSignal] = {
    (_S.SENT, _G.CHALLENGE): _S.REFUSED,
    (_S.REFUSED, _G.END): _S.PARKED,
    (_S.PARKED, _G.RETRY): _S.SENT,
    (_S.PARKED, _G.GIVE_UP): _S.OVER,
}
DIAGRAMS = (
    (
        "Authorization of a message",
        "One message of an HTTP client that answers challenges.",
        ADMISSION,
    ),
)


class HeldRefusal(Struct, kw_only=True, eq=False):
    """Refusal of an exchange, with the deadline that stands still until it is answered."""

    status: int
    challenges: tuple[str, ...]
    since: float = 0.0
    paused: tuple[Outbound, float] | None = None
    """Request of the exchange with the seconds that it has left."""


class Call(Struct, kw_only=True, eq=False):
    """State of one exchange of the client."""

    route: Route
    purpose: CallPurpose
    epoch: int
    """Number of the legacy session that the exchange belongs to."""
    in_session: bool
    revision: Revision | None
    frame: Transmit | None = None
    """Frame of a POST, kept while it may be sent again."""
    method: str | None = None
    sent: Transmit | None = None
    """Frame that was refused in a session, kept as the error may tell that the session is lost."""
    request: RequestId | None = None
    """Id of our request that waits for a response here; None once that is settled."""
    negotiating: bool = False
    again: bool = False
    """True if the message was sent before, in a session that was lost."""
    tries: int = 0
    """Number of earlier attempts to send this message of the handshake."""
    repeated: bool = False
    """True if the message was sent before, on a connection that was lost."""
    plan: HttpSend | None = None
    """Request, kept until its response begins: it may have to be sent again."""
    admission: Admission = Admission.SENT
    refusal: HeldRefusal | None = None
    """Refusal that waits for its end, or for the application."""
    refusals: int = 0
    """Number of refusals of this message, or of this stream since it lasted."""
    earlier: list[Route] = field(default_factory=list)
    """Earlier routes of this exchange on which the server's requests are still open."""
    over: bool = False
    reading: ResponseKind = ResponseKind.HEAD
    status: int = 0
    retry_after: float | None = None
    body: BytesIO = field(default_factory=BytesIO)
    skipped: int = 0
    violations: int = 0
    """Number of messages that are not allowed here, refused requests included."""
    heard: float = 0.0
    """Time at which the event stream last brought data."""
    redirects: int = 0
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
    report_at: int | None = None
    """Bytes of the answer at which its download is next reported; None: never."""
    received: int = 0
    """Bytes of the answer so far, counted if the download is reported."""
    total: int | None = None
    """All bytes of the answer, if they are known."""

    def move(self, signal: AdmissionSignal) -> None:
        """Advance the authorization; raises LocalProtocolError if the table does not allow it."""
        after = step(ADMISSION, self.admission, signal)
        if after is None:
            text = f"the exchange is {self.admission.value}: not {signal.value!r}"
            raise LocalProtocolError(text)
        self.admission = after

    @property
    def resumable(self) -> bool:
        """True if the stream can be resumed after its last event."""
        return bool(self.last_event_id) and (self.revision is None or self.revision.resumable)


_KINDS = {JSON: ResponseKind.JSON, EVENT_STREAM: ResponseKind.EVENTS}


class ResponseFields(Fields):
    """Fields of the head of a response, and what they say of its body."""

    __slots__ = ("announced", "kind", "lines")

    def __init__(self, lines: Headers) -> None:
        super().__init__(lines)
        self.lines = [*lines]
        self.kind = self._kind()
        """Kind of a successful response; None if it is neither JSON nor an event stream."""
        value = self.all(CONTENT_LENGTH) or ""
        known = value.isascii() and value.isdigit() and len(value) <= 18
        self.announced = int(value) if known else 0

    def _kind(self) -> ResponseKind | None:
        try:
            parsed = media_type(self.one(CONTENT_TYPE) or "")
        except HeaderError:
            return None
        return None if parsed is None else _KINDS.get(parsed[0])


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


def tells_era(status: int) -> bool:
    """Return True if a refusal with this status, and no modern error, shows a legacy server."""
    return 400 <= status < 500 and status not in _NO_EVIDENCE


def proves_modern(status: int, error: ErrorData) -> bool:
    """Return True if only a modern server answers an unknown method like this (2026-07-28)."""
    return status == 404 and error.code == METHOD_NOT_FOUND


REDIRECTS = frozenset({301, 302, 303, 307, 308})
SAME_METHOD = frozenset({307, 308})
"""Redirects that a message follows, as they leave its method as it is."""


def refusal_of(status: int, fields: Fields) -> Fault:
    """Return the fault for the head of a refusal or redirect."""
    kind = FaultKind.REDIRECT if status in REDIRECTS else FaultKind.STATUS
    location = None
    if kind is FaultKind.REDIRECT:
        with suppress(HeaderError):
            location = fields.one(b"location")
    return Fault(kind, status, seconds_of(fields), location)


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_CLOCK = r"(?P<clock>\d\d:\d\d:\d\d)"
_DATES = (
    re.compile(rf"\w+, (?P<day>\d\d)[ -](?P<month>\w+)[ -](?P<year>\d\d|\d{{4}}) {_CLOCK} GMT"),
    re.compile(rf"\w+ (?P<month>\w+) (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})"),
)
"""Forms of a date: those of RFC 5322 and RFC 850, and that of asctime()."""


def seconds_of(fields: Fields) -> float | None:
    """Return the seconds that ``Retry-After`` names; of a date, those after that of the response.

    None if it names none.  Source: RFC 9110, sections 5.6.7 and 10.2.3.
    """
    value = _text_of(fields, RETRY_AFTER)
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= 9 else None
    date = _text_of(fields, b"date") if value else ""
    if not date:
        return None
    due, now = _date_of(value), _date_of(date)
    return None if due is None or now is None else max(0.0, due - now)


def _date_of(text: str) -> float | None:
    """Return the seconds of a date since the epoch, None if it is none."""
    from datetime import UTC, datetime  # late: few responses say when to come back by a date

    found = next((each for form in _DATES if (each := form.fullmatch(text))), None)
    if found is None or found["month"] not in _MONTHS:
        return None
    year, month = int(found["year"]), _MONTHS.index(found["month"]) + 1
    hour, minute, second = map(int, found["clock"].split(":"))
    year += 0 if year > 99 else 2000
    try:
        day = datetime(year, month, int(found["day"]), hour, minute, second, tzinfo=UTC)
        return day.timestamp()
    except ValueError:  # there is no such day
        return None


def _text_of(fields: Fields, name: bytes) -> str:
    """Return the value of a field, "" if it has none that can be used."""
    with suppress(HeaderError):
        return fields.one(name) or ""
    return ""


def refusal_text(status: int, detail: str = "") -> str:
    """Return a readable description of a status."""
    hint = _HINTS.get(status, "")
    text = f"the server answered with HTTP status {status}" + (f" ({hint})" if hint else "")
    return f"{text}: {detail}" if detail else text


class Recovery(Enum):
    """Action for a stream that broke off before its end."""

    RESUME = "resume"
    REOPEN = "reopen"
    """The standalone stream begins anew: messages sent meanwhile may be missed."""
    FAIL = "fail"
    """The stream is given up; RequestEnded gives the reason."""


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


class DownloadProgress(Event, frozen=True, kw_only=True, gc=False):
    """Client, Streamable HTTP: more of a large answer has come in.

    See :attr:`HttpClientSettings.download_step`.
    """

    request: RequestId
    method: str
    name: str | None
    """Tool, prompt, URI or task that the request is about."""
    received: int
    """Bytes so far, after decompression."""
    total: int | None
    """All bytes; None if the answer is compressed, chunked or an event stream."""


class StreamReopened(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: the standalone stream began anew; messages meanwhile may be missed."""


class Backoff:
    """Delay before each attempt, in seconds; the same seed gives the same delays."""

    def __init__(self, settings: HttpClientSettings, seed: bytes) -> None:
        """Add a random part to the delays, unless ``seed`` is empty."""
        self._settings = settings
        self._chance = Chance(seed)

    def delay(self, attempt: int, retry: float | None) -> float:
        """Return the seconds before an attempt (from 1); ``retry``: the minimum, by the server.

        From the second attempt in a row on the delay doubles.  Part of it is random.
        """
        settings = self._settings
        delay = grown(settings.retry_delay, 2, attempt, settings.max_retry_delay)
        if retry is not None:
            delay = retry if attempt == 1 else max(delay, retry)
        delay = max(delay, settings.min_retry_delay) * (1 + settings.jitter * self._chance.next())
        return min(delay, settings.max_retry_delay)


_OURS = frozenset(
    {
        headers.ACCEPT,
        headers.CONTENT_LENGTH,
        headers.CONTENT_TYPE,
        headers.HOST,
        headers.LAST_EVENT_ID,
        headers.MCP_METHOD,
        headers.MCP_NAME,
        headers.PROTOCOL_VERSION,
        headers.SESSION_ID,
        headers.TRANSFER_ENCODING,
        b"connection",
    }
)
_LONGEST_ID = 4096


class Planner:
    """Builder of the requests to one server; ValueError for a URL or headers that it cannot use."""

    def __init__(self, url: str, own: tuple[tuple[str, str], ...]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{shown_url(url)!r} is no http:// or https:// URL")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL holds credentials; send them in a header")
        self._url = url
        self._origin = _origin(parts)
        self.target = _target(parts)
        if not _is_sendable(self.target):
            raise ValueError(f"the path of {shown_url(url)!r} must be percent-encoded")
        host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._base: HeaderList = [(headers.HOST, host), *map(own_header, own)]

    def request(
        self,
        route: Route,
        method: str,
        lines: HeaderList,
        *,
        session: str | None,
        version: Revision | None,
        target: str | None = None,
        **more: Any,
    ) -> HttpSend:
        """Build a request, to ``target`` (path and query) if not to the URL itself."""
        lines = [*self._base, *lines]
        if session is not None:
            lines.append((headers.SESSION_ID, session.encode("ascii")))
        if version is not None:
            lines.append((headers.PROTOCOL_VERSION, version.name.encode("ascii")))
        target = self.target if target is None else target
        return HttpSend(exchange=route, method=method, target=target, headers=lines, **more)

    def endpoint(self, uri: bytes, base: str) -> str:
        """Return the target for POSTs that a stream at ``base`` names.  Raises ValueError."""
        text = uri.decode("utf-8", "replace")
        if not 0 < len(text) <= _LONGEST_ID or not _is_sendable(text) or "\\" in text:
            raise ValueError("it is no URI")
        return self._resolve(text, base)

    def _resolve(self, text: str, base: str) -> str:
        parts = urlsplit(urljoin(urljoin(self._url, base), text))
        target = _target(parts)
        if "@" in parts.netloc or _origin(parts) != self._origin:
            raise ValueError("it is of another origin")
        if not _is_sendable(target):
            raise ValueError("it is no URI")
        return target

    def another(self) -> str:
        """Return a question about the usual path, for users of a URL that answers 404; or ""."""
        parts = urlsplit(self._url)
        if parts.path.endswith(_USUAL):
            return ""
        return f"; is it {parts.scheme}://{parts.netloc}{_USUAL}?"

    def moved(self, location: str | None, base: str = "") -> str | None:
        """Return the target of a redirect from ``base`` within our origin; None for any other."""
        try:
            return self._resolve(location, base) if location else None
        except ValueError:
            return None


_USUAL = "/mcp"


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_sendable(target: str) -> bool:
    return target.isascii() and not any(char <= " " or char == "\x7f" for char in target)


_POST_LINES = (
    (headers.ACCEPT, headers.ACCEPT_BOTH.encode()),
    (headers.CONTENT_TYPE, headers.JSON.encode()),
)


def post_lines(frame: Transmit, size: int) -> HeaderList:
    """Return the header lines of a POST with a body of ``size`` bytes, mirrored ones included."""
    lines = [*_POST_LINES, (headers.CONTENT_LENGTH, b"%d" % size)]
    mirror = frame.mirror
    if mirror is not None:
        if mirror.method is not None:
            lines.append(_known_line(headers.MCP_METHOD, mirror.method))
        if mirror.name is not None:
            lines.append(_known_line(headers.MCP_NAME, mirror.name))
        for name, text in mirror.params.items():
            lines.append(_line(headers.MCP_PARAM_PREFIX + name.lower().encode("ascii"), text))
    return lines


def _line(name: bytes, value: str) -> tuple[bytes, bytes]:
    return name, headers.encode_value(value).encode("ascii")


_known_line = lru_cache(maxsize=256)(_line)


class _TracedParams(Struct):
    meta: RequestMeta = field(default_factory=RequestMeta, name="_meta")


class _TracedRequest(Struct):
    params: _TracedParams = field(default_factory=_TracedParams)


_decode_traced = msgspec.json.Decoder(_TracedRequest).decode


def trace_lines(body: bytes) -> HeaderList:
    """Return the trace context in the ``_meta`` of a request as header lines.

    Source: W3C Trace Context and Baggage, whose headers have the names of the members.
    """
    try:
        found = _decode_traced(body).params.meta.trace
    except msgspec.MsgspecError:
        return []
    lines = [(name.encode("ascii"), value.encode("utf-8")) for name, value in found.items()]
    return [line for line in lines if line[1].isascii() and headers.is_field_text(line[1])]


def own_header(header: tuple[str, str]) -> tuple[bytes, bytes]:
    """Check a header that the application of a client wants sent.  Raises ValueError."""
    name, value = (text.encode("utf-8", "surrogatepass") for text in (header[0].lower(), header[1]))
    if not headers.is_token(name):
        raise ValueError(f"{header[0]!r} is no header name")
    if name in _OURS or name.startswith(headers.MCP_PARAM_PREFIX):
        raise ValueError(f"the header {header[0]!r} is set by the engine")
    if not headers.is_field_text(value):
        raise ValueError(f"the value of the header {header[0]!r} cannot be sent")
    return name, value


def sendable_event_id(id: str) -> bool:
    """Return True if an event id can be sent in a header: short, without control characters."""
    return len(id) <= _LONGEST_ID and all(char >= " " and char != "\x7f" for char in id)
