"""Request at an HTTP server: the fields of its head, the facts of its body, and its report."""

from typing import cast

from msgspec import UNSET, Struct
from msgspec.json import encode as json_encode

from mcpcore.engine.events import Event, Route
from mcpcore.engine.mirror import Mirror
from mcpcore.http.coding import takes_gzip
from mcpcore.http.headers import (
    ACCEPT,
    ACCEPT_ENCODING,
    EVENT_STREAM,
    JSON,
    MCP_METHOD,
    PROTOCOL_VERSION,
    SESSION_ID,
    Fields,
    HeaderError,
    Headers,
    decides,
    quality,
)
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.wire.message import Frame, Kind, Message, Reject, RequestId

_NO_CHUNKS: list[bytes] = []


class RequestFields(Fields):
    """Header fields of a request, and the values parsed from them.

    They are parsed once, however often the same head comes, and never change then.
    """

    __slots__ = (
        "_mirror",
        "accepts_gzip",
        "accepts_json",
        "accepts_stream",
        "session_id",
        "version",
    )

    def __init__(self, headers: Headers) -> None:
        super().__init__(headers)
        self.version: str | None = None
        self.session_id: str | None = None
        self.accepts_json = self.accepts_stream = True
        self.accepts_gzip = False
        self._mirror: Mirror | None = None

    def read(self) -> None:
        """Parse version, session id and accepted types.

        Raises HeaderError if the version is malformed.
        """
        self.version = self.one(PROTOCOL_VERSION)
        self.read_session()
        accept = self.all(ACCEPT)
        self.accepts_json = quality(accept, JSON) > 0
        self.accepts_stream = quality(accept, EVENT_STREAM) > 0
        self.accepts_gzip = takes_gzip(self.all(ACCEPT_ENCODING))

    def read_session(self) -> None:
        """Parse the session id."""
        try:
            self.session_id = self.one(SESSION_ID)
        except HeaderError:
            # No session has such an id; in the modern era the header is ignored.
            self.session_id = ""

    def deciding(self, headers: Headers) -> "RequestFields":
        """Return a copy without the fields that may vary between otherwise equal requests."""
        fields = RequestFields([line for line in headers if decides(line[0].lower())])
        fields.version = self.version
        fields.accepts_json, fields.accepts_stream = self.accepts_json, self.accepts_stream
        fields.accepts_gzip = self.accepts_gzip
        return fields

    def mirror(self) -> Mirror:
        """Return the headers that mirror the body, parsed.  Raises HeaderError."""
        if self._mirror is None:
            params, unreadable = self.mirrored()
            self._mirror = Mirror(
                version=self.version,
                method=self.one(MCP_METHOD),
                name=self.name(),
                params=params,
                unreadable=unreadable,
            )
        return self._mirror


class Report(Struct):
    """Facts noted of an exchange while it lasts."""

    method: str
    path: str
    peer: str | None
    began: float
    status: int | None = None
    sent: int = 0
    rpc_method: str | None = None
    session: str | None = None
    """Id of the session that was found, also if it has ended meanwhile."""


class ExchangeEnded(Event, frozen=True, kw_only=True):
    """End of an exchange."""

    exchange: Route
    method: str
    """HTTP method."""
    path: str
    peer: str | None
    status: int | None
    """HTTP status; None if the client left before there was one."""
    complete: bool
    """True if the response was taken to its end."""
    sent: int
    """Number of bytes of the response body."""
    began: float
    """Time at which the head came, by the clock of the machine's ``now``."""
    principal: str | None
    session: str | None
    """Session id, which lets its holder use the session: do not log it unchanged."""
    stream: int | None
    """Number, within the session, of the event stream that the exchange carried."""
    rpc_method: str | None
    request: RequestId | None
    revision: str | None
    """Revision that the client has named."""


_NO_FIELDS = RequestFields(())


class Incoming(Struct, eq=False, weakref=False):
    """Request as far as it has arrived; parts that are no longer needed are dropped."""

    route: Route
    fields: RequestFields
    principal: str | None
    peer: str | None = None
    """Address from which the request came."""
    version: str | None = None
    session_id: str | None = None
    accepts_json: bool = True
    accepts_stream: bool = True
    accepts_gzip: bool = False
    report: Report | None = None
    """Report for the log; None if none is wanted."""
    chunks: list[bytes] = []
    received: int = 0
    """Number of bytes of the body received so far."""
    request_id: RequestId | None = None
    """Request id that an error must carry."""
    batch: tuple[RequestId, ...] = ()
    """Ids of the requests, if the body is a batch."""
    sound: bool = False
    """True if the body is one well-formed message."""
    rejected: bool = False
    """True if the body is not a valid message."""
    modern: bool = False
    over_sse: bool = False
    """True if it brings a message of HTTP+SSE, for the session whose id was in the query."""

    def note_head(self) -> None:
        """Copy the values of the fields, once they have been parsed."""
        fields = self.fields
        self.version = fields.version
        self.session_id = fields.session_id
        self.accepts_json = fields.accepts_json
        self.accepts_stream = fields.accepts_stream
        self.accepts_gzip = fields.accepts_gzip

    @property
    def claimed(self) -> Revision | None:
        """Revision that the version header names; None if there is no such revision."""
        return None if self.version is None else BY_NAME.get(self.version)

    def take_chunks(self) -> bytes:
        """Return the whole body and drop its parts."""
        chunks, self.chunks = self.chunks, _NO_CHUNKS
        return b"".join(chunks)

    def look_at_body(self, frame: Frame) -> None:
        """Note the facts of the body that the response depends on."""
        if isinstance(frame, Message):
            self.sound = True
            if frame.method is not UNSET:
                if self.report is not None:
                    self.report.rpc_method = frame.method
                if frame.id is not UNSET:
                    self.request_id = frame.id
        elif isinstance(frame, Reject):
            self.rejected = True
            self.request_id = frame.id if frame.owed else None
        else:
            requests = (each for each in frame if isinstance(each, Message))
            self.batch = tuple(
                cast(RequestId, each.id) for each in requests if each.kind is Kind.REQUEST
            )

    @property
    def asked(self) -> bytes:
        """Ids of the requests in the body, as JSON: one id, or a list of them for a batch."""
        return json_encode(self.request_id if self.request_id is not None else self.batch)

    def forget_head(self) -> None:
        """Drop the fields, as they are no longer needed."""
        self.fields = _NO_FIELDS
