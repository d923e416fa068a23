"""One HTTP request at a server: what its head says, and what the response needs of its body."""

from typing import cast

from msgspec.json import encode as json_encode

from mcpcore.engine.events import Route
from mcpcore.engine.mirror import Mirror
from mcpcore.http.headers import (
    ACCEPT,
    EVENT_STREAM,
    JSON,
    MCP_METHOD,
    PROTOCOL_VERSION,
    SESSION_ID,
    Fields,
    HeaderError,
    Headers,
    quality,
)
from mcpcore.http.reports import Report
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.wire.message import Frame, Kind, Message, Reject, RequestId

_NO_FIELDS = Fields(())
_NO_CHUNKS: list[bytes] = []


class Incoming:
    """A request, as far as it has arrived; what is not needed any more is let go."""

    __slots__ = (
        "accepts_json",
        "accepts_stream",
        "batch",
        "chunks",
        "fields",
        "modern",
        "peer",
        "piped",
        "principal",
        "received",
        "rejected",
        "report",
        "request_id",
        "route",
        "session_id",
        "sound",
        "version",
    )

    def __init__(
        self, route: Route, headers: Headers, principal: str | None, peer: str | None
    ) -> None:
        self.route = route
        self.fields = Fields(headers)
        self.principal = principal
        self.peer = peer
        """Where the request came from."""
        self.report: Report | None = None
        """What is noted of it, if that is wanted."""
        self.chunks: list[bytes] = []
        self.received = 0
        """Bytes of the body so far."""
        self.request_id: RequestId | None = None
        """The id that an error must carry."""
        self.batch: tuple[RequestId, ...] = ()
        """The ids of the requests, if the body is a batch."""
        self.sound = False
        """The body is one well-formed message."""
        self.rejected = False
        """The body is no message."""
        self.version: str | None = None
        self.session_id: str | None = None
        self.accepts_json = self.accepts_stream = True
        self.modern = False
        self.piped = False
        """It brings a message of HTTP+SSE, for the session whose id was in the query."""

    def read_head(self) -> None:
        """Take note of version, session and accepted types.

        Raises HeaderError if the version is malformed.
        """
        fields = self.fields
        self.version = fields.one(PROTOCOL_VERSION)
        try:
            self.session_id = fields.one(SESSION_ID)
        except HeaderError:
            # No session has such an id; in the modern era the header means nothing.
            self.session_id = ""
        accept = fields.all(ACCEPT)
        self.accepts_json = quality(accept, JSON) > 0
        self.accepts_stream = quality(accept, EVENT_STREAM) > 0

    @property
    def claimed(self) -> Revision | None:
        """The revision that the version header names, if it names one that exists."""
        return None if self.version is None else BY_NAME.get(self.version)

    def mirror(self) -> Mirror:
        """Read what the headers claim about the body. Raises HeaderError."""
        return Mirror(
            version=self.version,
            method=self.fields.one(MCP_METHOD),
            name=self.fields.name(),
            params=self.fields.mirrored(),
        )

    def look_at_body(self, frame: Frame) -> None:
        """Remember of the body what the response depends on, and forget the body itself."""
        self.chunks = _NO_CHUNKS
        if isinstance(frame, Message):
            self.sound = True
            if self.report is not None and isinstance(frame.method, str):
                self.report.rpc_method = frame.method
            if frame.kind is Kind.REQUEST:
                self.request_id = cast(RequestId, frame.id)
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
