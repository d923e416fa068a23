"""HTTP refusals of a server as a table: status and JSON-RPC code, when, and by which clause.

A rejection by the engine has its status in :data:`~mcpcore.spec.errors.ERRORS`; all other refusals
of an HTTP server are rows here.  The body of a refusal is a JSON-RPC error with the code of its
row.  Clauses without a number are sections of the Streamable HTTP pages.
"""

from msgspec import Struct

from mcpcore.spec.errors import (
    BUSY,
    HEADER_MISMATCH,
    INVALID_REQUEST,
    LEGACY_BUSY,
    LEGACY_TIMED_OUT,
    LEGACY_TOO_LARGE,
    PARSE_ERROR,
    TIMED_OUT,
    TOO_LARGE,
)
from mcpcore.spec.revisions import Revision


class RefusalRow(Struct, frozen=True, kw_only=True, eq=False):
    """Row on one refusal."""

    status: int
    code: int = INVALID_REQUEST
    """JSON-RPC code of the body."""
    modern_code: int | None = None
    """Code for a request that names a modern revision, if it is another."""
    when: str
    clause: str
    message: str = ""
    """Message of the error, if it is always the same."""
    retry: bool = False
    """True if the reply has a ``Retry-After``."""
    close: bool = False
    """True if the connection ends with the reply, as the rest of the request is not read."""
    plain: bool = False
    """True if the body is plain text in place of an error."""

    def code_in(self, revision: Revision | None) -> int:
        """Return the code for a request that names ``revision``; None: it names no known one."""
        if self.modern_code is not None and revision is not None and revision.modern:
            return self.modern_code
        return self.code


# Of the head of a request

HOST_OR_ORIGIN = RefusalRow(
    status=403,
    when="`Host` or `Origin` is repeated, malformed or not allowed",
    clause="Security Warning",
)
UNKNOWN_PATH = RefusalRow(
    status=404, when="nothing is served at the path", clause="RFC 9110 section 15.5.5"
)
METHOD_NOT_ALLOWED = RefusalRow(
    status=405, when="the path does not take the method", clause="RFC 9110 section 15.5.6"
)
UNAUTHENTICATED = RefusalRow(
    status=401,
    when="the application does not authenticate the request; it may choose any status from 400",
    clause="RFC 9110 section 15.5.2; Authorization, Error Handling",
    message="authentication is required",
)
MALFORMED_VERSION = RefusalRow(
    status=400,
    code=HEADER_MISMATCH,
    when="`MCP-Protocol-Version` is repeated, or no visible ASCII",
    clause="Protocol Version Header",
)
SHUTTING_DOWN = RefusalRow(
    status=503,
    code=LEGACY_BUSY,
    modern_code=BUSY,
    when="the server is shutting down",
    clause="RFC 9110 section 15.6.4",
    message="the server is shutting down",
    retry=True,
    close=True,
)
NOT_READY = RefusalRow(
    status=503,
    when="a health check of a server that drains or closes, or cannot reach its store",
    clause="RFC 9110 section 15.6.4",
    plain=True,
)

# Of a POST

CONTENT_TYPE = RefusalRow(
    status=415,
    when="the body is not `application/json` in UTF-8",
    clause="RFC 9110 section 15.5.16; Sending Messages",
)
CONTENT_CODING = RefusalRow(
    status=415,
    when="the body is compressed",
    clause="RFC 9110 section 15.5.16",
    message="the body must not be compressed",
)
NOT_ACCEPTABLE = RefusalRow(
    status=406,
    when="`Accept` allows neither JSON nor an event stream",
    clause="RFC 9110 section 15.5.7; Sending Messages",
)
BODY_LENGTH = RefusalRow(
    status=400,
    when="`Content-Length` is no number, repeated, or beside `Transfer-Encoding`",
    clause="RFC 9112 section 6.3",
    close=True,
)
EMPTY_BODY = RefusalRow(
    status=400,
    code=PARSE_ERROR,
    when="there is no body",
    clause="JSON-RPC 2.0 section 5.1",
    message="Parse error: the body is empty",
)
BODY_TOO_LARGE = RefusalRow(
    status=413,
    code=LEGACY_TOO_LARGE,
    modern_code=TOO_LARGE,
    when="the body is longer than `max_body`",
    clause="RFC 9110 section 15.5.14",
    close=True,
)
UNSUPPORTED_VERSION = RefusalRow(
    status=400,
    when="a legacy request names a revision that is not served",
    clause="Protocol Version Header",
)
NO_MESSAGE = RefusalRow(
    status=400,
    when="the body of a legacy POST is no valid message; the code says what is wrong with it",
    clause="JSON-RPC 2.0 section 5.1; Sending Messages",
)

# Of sessions and their streams

MODERN_METHOD = RefusalRow(
    status=405,
    when="a GET or DELETE names a modern revision, which has neither",
    clause="2026-07-28, Earlier Streamable HTTP Revisions",
)
SESSION_MISSING = RefusalRow(
    status=400,
    when="a legacy request other than `initialize` has no `Mcp-Session-Id`",
    clause="Session Management",
)
NO_SESSION = RefusalRow(
    status=404,
    when="the session is unknown, has ended, or belongs to another principal",
    clause="Session Management",
    message="there is no such session (any more); initialize again",
)
NO_EVENT_STREAM = RefusalRow(
    status=406,
    when="`Accept` does not allow the event stream that a GET or `subscriptions/listen` asks for",
    clause="RFC 9110 section 15.5.7; Listening for Messages from the Server",
    message="the Accept header does not allow text/event-stream",
)
LAST_EVENT_ID = RefusalRow(
    status=400,
    when="`Last-Event-ID` is malformed, or none of this session",
    clause="Resumability and Redelivery",
    message="the Last-Event-ID is none that this session was given",
)
EVENTS_GONE = RefusalRow(
    status=410,
    when="what followed the `Last-Event-ID`, or its whole stream, is not kept any more",
    clause="RFC 9110 section 15.5.11; Resumability and Redelivery",
    message="what followed the Last-Event-ID is not kept any more",
)
TOO_MANY_STREAMS = RefusalRow(
    status=409,
    when="the session has `session_streams` GET streams open",
    clause="RFC 9110 section 15.5.10; Multiple Connections",
)
STORE_UNAVAILABLE = RefusalRow(
    status=503,
    code=LEGACY_BUSY,
    when="the store of the sessions fails, or does not answer in time",
    clause="RFC 9110 section 15.6.4",
    message="busy: where sessions are kept cannot be reached",
    retry=True,
)

# Of HTTP+SSE

SSE_SESSION_MISSING = RefusalRow(
    status=400,
    when="the query of a POST does not name one session of HTTP+SSE",
    clause="2024-11-05, HTTP with SSE",
)
SSE_BATCH = RefusalRow(
    status=400,
    when="a batch over HTTP+SSE in a revision that has none",
    clause="JSON-RPC 2.0 section 6",
)
SSE_STREAM_FULL = RefusalRow(
    status=503,
    code=LEGACY_BUSY,
    when="a request over HTTP+SSE while the client does not read its stream",
    clause="RFC 9110 section 15.6.4",
    message="busy: so much waits on the event stream that nothing more can be asked",
    retry=True,
)

# Of the drivers, which refuse by status what does not reach the machine

MALFORMED_REQUEST = RefusalRow(
    status=400, when="the request is no well-formed HTTP", clause="RFC 9112 section 2.2"
)
TOO_SLOW = RefusalRow(
    status=408,
    code=LEGACY_TIMED_OUT,
    modern_code=TIMED_OUT,
    when="the head or the body takes too long to arrive",
    clause="RFC 9110 section 15.5.9",
)
TARGET_TOO_LONG = RefusalRow(
    status=414, when="the request target is too long", clause="RFC 9110 section 15.5.15"
)
EXPECTATION = RefusalRow(
    status=417,
    when="`Expect` has another value than `100-continue`",
    clause="RFC 9110 section 15.5.18",
)
MISDIRECTED = RefusalRow(
    status=421,
    when="the target is one of `https`, and the connection has no TLS",
    clause="RFC 9110 section 15.5.20",
)
HEAD_TOO_LARGE = RefusalRow(
    status=431,
    when="the head has too many lines or bytes, or the body has trailers",
    clause="RFC 6585 section 5",
)
NO_PROXY = RefusalRow(status=501, when="the method is CONNECT", clause="RFC 9110 section 15.6.2")
OVERLOADED = RefusalRow(
    status=503,
    code=LEGACY_BUSY,
    modern_code=BUSY,
    when="there are too many connections or requests, or the server is not up or shutting down",
    clause="RFC 9110 section 15.6.4",
    retry=True,
)
HTTP_VERSION = RefusalRow(
    status=505, when="the version is neither HTTP/1.0 nor 1.1", clause="RFC 9110 section 15.6.6"
)

BY_DRIVERS = {
    row.status: row
    for row in (
        MALFORMED_REQUEST,
        TOO_SLOW,
        TARGET_TOO_LONG,
        EXPECTATION,
        MISDIRECTED,
        HEAD_TOO_LARGE,
        NO_PROXY,
        OVERLOADED,
        HTTP_VERSION,
    )
}
"""Rows of the drivers by status."""
REFUSALS = {name: row for name, row in vars().items() if isinstance(row, RefusalRow)}
"""All rows by name."""
