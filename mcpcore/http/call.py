"""One exchange of an HTTP client: what was sent, and how the response is being read."""

from contextlib import suppress
from enum import Enum

from msgspec import Struct, field

from mcpcore.engine.events import Route
from mcpcore.engine.faults import Fault, FaultKind
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
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId
from mcpcore.wire.sse import SseDecoder


class Purpose(Enum):
    """Why an exchange was begun."""

    POST = "post"
    """It carries one message of ours."""
    RESUME = "resume"
    """A GET that picks up the stream of a POST."""
    STREAM = "stream"
    """The standalone GET of a legacy session."""
    DELETE = "delete"
    PIPE = "pipe"
    """The GET of HTTP+SSE, which brings everything."""


class Reading(Enum):
    """What the response is, as far as it is known."""

    HEAD = "head"
    """Nothing that matters has arrived."""
    JSON = "json"
    EVENTS = "events"
    ERROR = "error"
    """A status that says no; the body may say why."""


class Call(Struct, kw_only=True, eq=False):
    """An exchange as the client sees it."""

    route: Route
    purpose: Purpose
    epoch: int
    """The legacy session, counted, that it belongs to."""
    in_session: bool
    """It was sent with a session id."""
    revision: Revision | None
    frame: Transmit | None = None
    """What a POST sent, as long as it may be sent again: until a head arrives, or an answer if
    asking twice does no harm."""
    method: str | None = None
    request: RequestId | None = None
    """Our request that waits for an answer here; None once that is settled."""
    negotiating: bool = False
    """It is the era probe or ``initialize``."""
    again: bool = False
    """It was sent before, in a session that was lost."""
    tries: int = 0
    """How often this message of the handshake was sent before."""
    repeated: bool = False
    """It was sent before, on a connection that was lost."""
    earlier: list[Route] = field(default_factory=list)
    """The routes before this one, as far as questions that came on them are open."""
    over: bool = False
    """What is still to come does not matter."""
    reading: Reading = Reading.HEAD
    status: int = 0
    retry_after: float | None = None
    """Seconds that a refusal asked us to wait."""
    body: bytearray = field(default_factory=bytearray)
    skipped: int = 0
    """Bytes received that do not matter."""
    violations: int = 0
    """Messages that must not be there, requests that had to be refused among them."""
    heard: float = 0.0
    """When an event stream last brought something."""
    redirects: int = 0
    """Followed in a row."""
    decoder: SseDecoder | None = None
    last_event_id: str = ""
    retry: float | None = None
    """Seconds to wait before resuming, as the server asked."""
    resumes: int = 0
    """Attempts to pick up the stream since the last event."""
    hasty: int = 0
    """Connections in a row that ended sooner than we would have come back by ourselves."""
    opened: float | None = None
    """When the stream was last opened or picked up; None while it is not."""
    deadline: float | None = None
    """When to stop waiting for the end of a response that has said everything."""

    @property
    def resumable(self) -> bool:
        """The stream can be picked up where it broke off."""
        return bool(self.last_event_id) and (self.revision is None or self.revision.resumable)


def content_kind(fields: Fields) -> Reading | None:
    """What a successful response holds, None if it is neither JSON nor an event stream."""
    try:
        parsed = media_type(fields.one(CONTENT_TYPE) or "")
    except HeaderError:
        return None
    if parsed is None:
        return None
    return {JSON: Reading.JSON, EVENT_STREAM: Reading.EVENTS}.get(parsed[0])


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
"""Client errors that say nothing about the era of a server."""


def tells_era(status: int) -> bool:
    """Whether a refusal with this status, and no error of the modern era, tells a legacy server."""
    return 400 <= status < 500 and status not in _NO_EVIDENCE


def proves_modern(status: int, error: ErrorData) -> bool:
    """Whether status and error together are what only a modern server sends for an unknown method.

    2026-07-28, Streamable HTTP, "Protocol Version Header".
    """
    return status == 404 and error.code == METHOD_NOT_FOUND


REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refusal_of(status: int, fields: Fields) -> Fault:
    """What a head that says no amounts to."""
    kind = FaultKind.REDIRECT if status in REDIRECTS else FaultKind.STATUS
    location = None
    if kind is FaultKind.REDIRECT:
        with suppress(HeaderError):
            location = fields.one(b"location")
    return Fault(kind, status, seconds_of(fields), location)


def seconds_of(fields: Fields) -> float | None:
    """The seconds that ``Retry-After`` names; a date means nothing here, where no clock is."""
    try:
        value = fields.one(RETRY_AFTER)
    except HeaderError:
        return None
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        return None
    return float(value)


def refusal_text(status: int, detail: str = "") -> str:
    """What a status means, for people."""
    hint = _HINTS.get(status, "")
    text = f"the server answered with HTTP status {status}" + (f" ({hint})" if hint else "")
    return f"{text}: {detail}" if detail else text
