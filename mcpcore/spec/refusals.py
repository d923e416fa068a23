"""HTTP refusals of a server as a table: status and JSON-RPC code, when, and by which clause.

A rejection by the engine has its status in :data:`~mcpcore.spec.errors.ERRORS`; all other refusals
of an HTTP server are rows here.  The body of a refusal is a JSON-RPC error with the code of its
row.  Clauses without a number are sections of the Streamable HTTP pages.
"""

from msgspec import Struct

from mcpcore.spec import errors
from mcpcore.spec.revisions import Revision


class RefusalRow(Struct, frozen=True, eq=False):
    """Row on one refusal."""

    status: int
    when: str
    clause: str
    message: str = ""
    """Message of the error, if it is always the same."""
    code: int = errors.INVALID_REQUEST
    """JSON-RPC code of the body."""
    modern_code: int | None = None
    """Code for a request that names a modern revision, if it is another."""
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


def _busy(when: str, message: str = "", *, modern: bool = False, close: bool = False) -> RefusalRow:
    """Make the row of a server that is busy; ``modern``: also with a modern request."""
    clause, code = "RFC 9110 section 15.6.4", errors.BUSY if modern else None
    return RefusalRow(503, when, clause, message, errors.LEGACY_BUSY, code, True, close)


# Of the head of a request

HOST_OR_ORIGIN = RefusalRow(
    403, "`Host` or `Origin` is repeated, malformed or not allowed", "Security Warning"
)
UNKNOWN_PATH = RefusalRow(404, "nothing is served at the path", "RFC 9110 section 15.5.5")
METHOD_NOT_ALLOWED = RefusalRow(405, "the path does not take the method", "RFC 9110 section 15.5.6")
UNAUTHENTICATED = RefusalRow(
    401,
    "the request is not authenticated; a function of the application may choose another status",
    "RFC 9110 section 15.5.2; Authorization, Error Handling",
    "authentication is required",
)
MALFORMED_CREDENTIALS = RefusalRow(
    400,
    "there are several credentials, or a certificate from a proxy that cannot be read",
    "RFC 6750 section 3.1; RFC 9440 section 2.2",
)
INSUFFICIENT = RefusalRow(
    403,
    "the credential lacks scopes that every request needs, or is of nobody known here; or there is "
    "no certificate, and nothing else is taken",
    "RFC 9110 section 15.5.4; RFC 6750 section 3.1; Authorization, Error Handling",
)
TOO_MANY_FAILURES = RefusalRow(
    429,
    "too many credentials of the address were refused, or too many signatures were wrong",
    "RFC 6585 section 4",
    retry=True,
)
AUTHENTICATION_FAILED = RefusalRow(
    500, "the function that authenticates requests fails", "RFC 9110 section 15.6.1"
)
NOT_JUDGED = RefusalRow(
    503,
    "what it takes to judge a credential is not available, or not in time",
    "RFC 9110 section 15.6.4",
    retry=True,
)
MALFORMED_VERSION = RefusalRow(
    400,
    "`MCP-Protocol-Version` is repeated, or no visible ASCII",
    "Protocol Version Header",
    code=errors.HEADER_MISMATCH,
)
SHUTTING_DOWN = _busy(
    "the server is shutting down", "the server is shutting down", modern=True, close=True
)
NOT_READY = RefusalRow(
    503,
    "a health check of a server that drains or closes, cannot reach its store, or says so itself",
    "RFC 9110 section 15.6.4",
    plain=True,
)

# Of a POST

CONTENT_TYPE = RefusalRow(
    415, "the body is not `application/json` in UTF-8", "RFC 9110 section 15.5.16; Sending Messages"
)
CONTENT_CODING = RefusalRow(
    415, "the body is compressed", "RFC 9110 section 15.5.16", "the body must not be compressed"
)
NOT_ACCEPTABLE = RefusalRow(
    406,
    "`Accept` allows neither JSON nor an event stream",
    "RFC 9110 section 15.5.7; Sending Messages",
)
BODY_LENGTH = RefusalRow(
    400,
    "`Content-Length` is no number, repeated, or beside `Transfer-Encoding`",
    "RFC 9112 section 6.3",
    close=True,
)
EMPTY_BODY = RefusalRow(
    400,
    "there is no body",
    "JSON-RPC 2.0 section 5.1",
    "Parse error: the body is empty",
    code=errors.PARSE_ERROR,
)
BODY_TOO_LARGE = RefusalRow(
    413,
    "the body is longer than `max_body`",
    "RFC 9110 section 15.5.14",
    code=errors.LEGACY_TOO_LARGE,
    modern_code=errors.TOO_LARGE,
    close=True,
)
UNSUPPORTED_VERSION = RefusalRow(
    400, "a legacy request names a revision that is not served", "Protocol Version Header"
)
NO_MESSAGE = RefusalRow(
    400,
    "the body of a legacy POST is no valid message; the code says what is wrong with it",
    "JSON-RPC 2.0 section 5.1; Sending Messages",
)

# Of sessions and their streams

MODERN_METHOD = RefusalRow(
    405,
    "a GET or DELETE names a modern revision, which has neither",
    "2026-07-28, Earlier Streamable HTTP Revisions",
)
SESSION_MISSING = RefusalRow(
    400, "a legacy request other than `initialize` has no `Mcp-Session-Id`", "Session Management"
)
NO_SESSION = RefusalRow(
    404,
    "the session is unknown, has ended, or belongs to another principal",
    "Session Management",
    "there is no such session (any more); initialize again",
)
NO_EVENT_STREAM = RefusalRow(
    406,
    "`Accept` does not allow the event stream that a GET or `subscriptions/listen` asks for",
    "RFC 9110 section 15.5.7; Listening for Messages from the Server",
    "the Accept header does not allow text/event-stream",
)
LAST_EVENT_ID = RefusalRow(
    400,
    "`Last-Event-ID` is malformed, or none of this session",
    "Resumability and Redelivery",
    "the Last-Event-ID is none that this session was given",
)
EVENTS_GONE = RefusalRow(
    410,
    "what followed the `Last-Event-ID`, or its whole stream, is not kept any more",
    "RFC 9110 section 15.5.11; Resumability and Redelivery",
    "what followed the Last-Event-ID is not kept any more",
)
TOO_MANY_STREAMS = RefusalRow(
    409,
    "the session has `session_streams` GET streams open",
    "RFC 9110 section 15.5.10; Multiple Connections",
)
STORE_UNAVAILABLE = _busy(
    "the store of the sessions fails, or does not answer in time",
    "busy: where sessions are kept cannot be reached",
)

# Of HTTP+SSE

SSE_SESSION_MISSING = RefusalRow(
    400, "the query of a POST does not name one session of HTTP+SSE", "2024-11-05, HTTP with SSE"
)
SSE_BATCH = RefusalRow(
    400, "a batch over HTTP+SSE in a revision that has none", "JSON-RPC 2.0 section 6"
)
SSE_STREAM_FULL = _busy(
    "a request over HTTP+SSE while the client does not read its stream",
    "busy: so much waits on the event stream that nothing more can be asked",
)

# Of the drivers, for what does not reach the machine

MALFORMED_REQUEST = RefusalRow(400, "the request is no well-formed HTTP", "RFC 9112 section 2.2")
TOO_SLOW = RefusalRow(
    408,
    "the head or the body takes too long to arrive",
    "RFC 9110 section 15.5.9",
    code=errors.LEGACY_TIMED_OUT,
    modern_code=errors.TIMED_OUT,
)
TARGET_TOO_LONG = RefusalRow(414, "the request target is too long", "RFC 9110 section 15.5.15")
EXPECTATION = RefusalRow(
    417, "`Expect` has another value than `100-continue`", "RFC 9110 section 15.5.18"
)
MISDIRECTED = RefusalRow(
    421, "the target is one of `https`, and the connection has no TLS", "RFC 9110 section 15.5.20"
)
HEAD_TOO_LARGE = RefusalRow(
    431, "the head has too many lines or bytes, or the body has trailers", "RFC 6585 section 5"
)
NOT_IMPLEMENTED = RefusalRow(
    501,
    "the method is CONNECT, or `Transfer-Encoding` is not `chunked`",
    "RFC 9110 section 15.6.2; RFC 9112 section 6.1",
)
OVERLOADED = _busy(
    "there are too many connections or requests, or the server is not up or shutting down",
    modern=True,
)
HTTP_VERSION = RefusalRow(505, "the version is neither HTTP/1.0 nor 1.1", "RFC 9110 section 15.6.6")

# Of the opening handshake of a WebSocket, in plain text

MALFORMED_UPGRADE = RefusalRow(
    400,
    "the opening handshake is malformed, or offers no subprotocol or revision that is spoken here",
    "RFC 6455 section 4.2",
    plain=True,
)
UPGRADE_REQUIRED = RefusalRow(
    426,
    "the request does not ask for WebSocket version 13",
    "RFC 6455 section 4.2.2; RFC 9110 section 15.5.22",
    plain=True,
)

REFUSALS = {name: row for name, row in vars().items() if isinstance(row, RefusalRow)}
"""All rows by name."""
