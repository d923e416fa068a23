"""One HTTP request at a server: what its head says, and what the response needs of its body."""

from typing import cast

from msgspec import UNSET, Struct
from msgspec.json import encode as json_encode

from mcpcore.engine.events import Route
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
from mcpcore.http.reports import Report
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.wire.message import Frame, Kind, Message, Reject, RequestId

_NO_CHUNKS: list[bytes] = []


class RequestFields(Fields):
    """The fields of a request, and what they say of it.

    They are read once, however often the same head comes, and never change then.
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
        """Take note of version, session, and what is accepted.

        Raises HeaderError if the version is malformed.
        """
        self.version = self.one(PROTOCOL_VERSION)
        self.read_session()
        accept = self.all(ACCEPT)
        self.accepts_json = quality(accept, JSON) > 0
        self.accepts_stream = quality(accept, EVENT_STREAM) > 0
        self.accepts_gzip = takes_gzip(self.all(ACCEPT_ENCODING))

    def read_session(self) -> None:
        """Take note of the session."""
        try:
            self.session_id = self.one(SESSION_ID)
        except HeaderError:
            # No session has such an id; in the modern era the header means nothing.
            self.session_id = ""

    def deciding(self, headers: Headers) -> "RequestFields":
        """The same without what another request may have that is otherwise like this one."""
        fields = RequestFields([line for line in headers if decides(line[0].lower())])
        fields.version = self.version
        fields.accepts_json, fields.accepts_stream = self.accepts_json, self.accepts_stream
        fields.accepts_gzip = self.accepts_gzip
        return fields

    def mirror(self) -> Mirror:
        """Read what the headers claim about the body. Raises HeaderError."""
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


_NO_FIELDS = RequestFields(())


class Incoming(Struct, eq=False, weakref=False):
    """A request, as far as it has arrived; what is not needed any more is let go."""

    route: Route
    fields: RequestFields
    principal: str | None
    peer: str | None = None
    """Where the request came from."""
    version: str | None = None
    session_id: str | None = None
    accepts_json: bool = True
    accepts_stream: bool = True
    accepts_gzip: bool = False
    report: Report | None = None
    """What is noted of it, if that is wanted."""
    chunks: list[bytes] = []
    received: int = 0
    """Bytes of the body so far."""
    request_id: RequestId | None = None
    """The id that an error must carry."""
    batch: tuple[RequestId, ...] = ()
    """The ids of the requests, if the body is a batch."""
    sound: bool = False
    """The body is one well-formed message."""
    rejected: bool = False
    """The body is no message."""
    modern: bool = False
    piped: bool = False
    """It brings a message of HTTP+SSE, for the session whose id was in the query."""

    def note_head(self) -> None:
        """Take note of what the fields say, once they have been read."""
        fields = self.fields
        self.version = fields.version
        self.session_id = fields.session_id
        self.accepts_json = fields.accepts_json
        self.accepts_stream = fields.accepts_stream
        self.accepts_gzip = fields.accepts_gzip

    @property
    def claimed(self) -> Revision | None:
        """The revision that the version header names, if it names one that exists."""
        return None if self.version is None else BY_NAME.get(self.version)

    def take_chunks(self) -> bytes:
        """The whole body; its parts are let go."""
        chunks, self.chunks = self.chunks, _NO_CHUNKS
        return b"".join(chunks)

    def look_at_body(self, frame: Frame) -> None:
        """Remember of the body what the response depends on."""
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
        """What the body asks for, as JSON: the id of a request, a list of them for a batch."""
        return json_encode(self.request_id if self.request_id is not None else self.batch)

    def forget_head(self) -> None:
        """Nothing more will be asked of the fields."""
        self.fields = _NO_FIELDS
