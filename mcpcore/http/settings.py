"""Settings of HTTP, each with a safe default. Sizes in bytes, times in seconds."""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.wire.redaction import HIDDEN, Discreet

if TYPE_CHECKING:  # late: stdio has no HTTP requests
    from mcpcore.http.documents import Page
else:  # that it is a function is looked up in annotations
    Page = Callable[..., Any]

MAX_DELAY = 31_536_000.0
"""Maximum seconds that a client is asked to wait before it comes back: a year."""
_PATH = r"/(?!/)[A-Za-z0-9/!$&'()*+,;=:@~\-._%]*"
"""Pattern of a path in a URI (RFC 3986 section 3.3), compiled at first use."""


def is_path(text: str) -> bool:
    """Return True for an absolute path in a URI."""
    return re.fullmatch(_PATH, text) is not None


class SsePaths(Struct, frozen=True, kw_only=True):
    """Paths of HTTP+SSE, the transport of 2024-11-05; ValueError for invalid or equal ones."""

    stream: str = "/sse"
    """Path of the GET that opens an event stream, and with it a session."""
    messages: str = "/messages"
    """Path of the POSTs of the client's messages."""
    root: str | None = None
    """Prefix of these paths that clients see, for instance of a proxy; None: the mount path."""

    def __post_init__(self) -> None:
        paths = (self.stream, self.messages)
        if not all(map(is_path, paths)) or self.stream == self.messages:
            raise ValueError(f"HTTP+SSE needs two paths that begin with '/', not {paths}")
        if self.root and not is_path(self.root):
            raise ValueError(f"the root of HTTP+SSE is no path that begins with '/': {self.root!r}")


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Paths and limits of an HttpServer; ValueError for contradictions and invalid limits."""

    path: str | None = "/mcp"
    """Path of the endpoint of Streamable HTTP; None: only HTTP+SSE is served."""
    sse: SsePaths | None = None
    """Paths of HTTP+SSE, whose sessions last as long as their streams.  None: not served."""
    health_path: str | None = "/health"
    """Path of the health check: ``/health`` and ``/health/ready`` give 503 while draining, closing
    or without the store; ``/health/live`` always 200.  None switches all off."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further header lines of every response, for instance ``("Strict-Transport-Security", ...)``.
    One replaces the line of its name in :data:`~mcpcore.http.headers.SECURITY`; an empty value
    drops it."""
    documents: Mapping[str, bytes] = {}
    """JSON documents by path, which everybody may GET without authentication and from any web page,
    such as protected resource metadata (RFC 9728)."""
    documents_age: int = 3600
    """Seconds for which they may be cached."""
    pages: Mapping[str, Page] = {}
    """Pages by path that are made anew for each GET or HEAD, such as metrics.  Everybody may read
    them without authentication, but Host and Origin are checked as for the endpoint."""
    allowed_hosts: tuple[str, ...] | None = None
    """Accepted Host headers (:class:`~mcpcore.http.origin.OriginPolicy`); None: loopback names."""
    allowed_origins: tuple[str, ...] | None = None
    """Exact origins of web pages that may call; None means the server's own pages."""
    max_body: int = 4 * 1024 * 1024
    """Maximum bytes of a request body; a longer one gets 413."""
    json_delay: float | None = 1.0
    """Seconds after which a missing answer turns the response into an event stream; None: never."""
    gzip_from: int | None = 32 * 1024
    """Minimum bytes of a JSON body that is compressed (gzip) if the client asks; None: never."""
    heartbeat: float | None = 15.0
    """Approximate seconds of silence on an event stream after which a comment is sent."""
    sessions: bool = True
    """True to give legacy clients sessions.  If False, each of their requests stands on its own."""
    max_sessions: int = 10_000
    """Maximum legacy sessions at a time; a new one ends an unused or the least recently used."""
    sessions_per_client: int = 1_000
    """Maximum sessions of one principal, or else of one peer address; a new one ends another of the
    same client.  Raise it behind a proxy that does not name its clients."""
    session_unused: float | None = 60.0
    """Seconds after which a session ends that was opened but not used."""
    session_idle: float | None = 1800.0
    """Seconds without a request or an open stream after which a session ends."""
    session_age: float | None = 86_400.0
    """Maximum age of a session in seconds, used or not."""
    session_streams: int = 16
    """Maximum GET streams per session; one more gets 409.  As many broken ones are remembered."""
    max_calls: int = 20_000
    """Maximum requests in progress of all clients together; one more is answered as busy."""
    session_queue: int = 256 * 1024
    """Maximum bytes kept for a session without a GET stream; the oldest notifications go first."""
    max_queued: int = 1024 * 1024
    """Bytes waiting on one exchange beyond which log messages and outdated progress are dropped."""
    stall_timeout: float = 30.0
    """Seconds for which a stream may be over ``max_queued``; at twice that it is closed."""
    resumable: bool = True
    """True to give events of legacy sessions ids, so that a client can resume its streams."""
    replay_events: int = 1000
    """Maximum events kept per session; the oldest go first, as with the limits that follow."""
    replay_bytes: int = 4 * 1024 * 1024
    """Maximum bytes of events kept per session."""
    replay_total: int = 64 * 1024 * 1024
    """Maximum bytes of events kept for all sessions together."""
    replay_age: float = 300.0
    """Seconds for which events are kept."""
    reconnect_delay: float = 1.0
    """Seconds that a client is asked to wait before it comes back, in revisions with polling."""
    session_replica_idle: float = 300.0
    """With a store: seconds after which a worker forgets its replica of an unused session."""
    session_touch: float = 30.0
    """With a store: minimum seconds between two notes to it that a session is in use."""
    store_timeout: float = 10.0
    """With a store: seconds without an answer after which a step has failed."""
    store_retry: float = 1.0
    """With a store: seconds before a failed step that must not be lost is tried again."""

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.headers:
            from mcpcore.http.headers import response_lines  # late: stdio has none

            response_lines(self.headers)
        check_numbers(
            self,
            "json_delay",
            "session_streams",
            "session_queue",
            "replay_events",
            "replay_bytes",
            "replay_total",
            "reconnect_delay",
        )
        if self.reconnect_delay > MAX_DELAY:
            raise ValueError(f"reconnect_delay must be at most {MAX_DELAY:.0f}")
        if self.sse is None:
            if self.path is None:
                raise ValueError("without path and sse nothing is served")
        elif self.path in (self.sse.stream, self.sse.messages):
            raise ValueError(f"{self.path!r} cannot be of Streamable HTTP and of HTTP+SSE")
        for path in self.health_paths:
            if path in self.endpoint_paths:
                raise ValueError(f"{path!r} cannot be an endpoint and the health check")
        for path in (*self.documents, *self.pages):
            if path in (*self.endpoint_paths, *self.health_paths):
                raise ValueError(f"{path!r} is taken: by an endpoint or the health check")
        for path in (*self.endpoint_paths, *self.health_paths, *self.documents, *self.pages):
            if not is_path(path):
                raise ValueError(f"{path!r} is no path that begins with '/'")

    @property
    def health_paths(self) -> tuple[str, ...]:
        """Paths of all health checks."""
        base = self.health_path
        return () if base is None else (base, f"{base}/live", f"{base}/ready")

    @property
    def endpoint_paths(self) -> tuple[str, ...]:
        """Paths of Streamable HTTP and of HTTP+SSE."""
        streamable = () if self.path is None else (self.path,)
        return streamable if self.sse is None else (*streamable, self.sse.stream, self.sse.messages)


class SseUse(Enum):
    """Use of HTTP+SSE, the transport of 2024-11-05, by a client."""

    NEVER = "never"
    FALL_BACK = "fall back"
    """Use HTTP+SSE if a server refuses ``initialize`` (400, 404, 405), but opens such a stream."""
    ONLY = "only"


class HttpClientSettings(Discreet, frozen=True, kw_only=True):
    """Behaviour of an :class:`~mcpcore.HttpClient`."""

    headers: tuple[tuple[str, str], ...] = ()
    """Headers of every request, for instance ``("Authorization", "Bearer ...")``."""
    trace_headers: bool = False
    """True to send the trace context in a request's ``_meta`` as headers, too (W3C Trace Context),
    for proxies that know nothing of MCP."""
    legacy_sse: SseUse = SseUse.FALL_BACK
    """Use of HTTP+SSE."""
    endpoint_timeout: float = 10.0
    """HTTP+SSE: seconds for the event stream to begin and to name the endpoint for messages."""
    get_stream: bool = True
    """True to open the standalone stream of a legacy session (a server may refuse it)."""
    delete_session: bool = True
    """True to end a legacy session with DELETE when closing."""
    max_body: int = 64 * 1024 * 1024
    """Maximum bytes of a JSON body from the server, after decompression."""
    max_event: int = 64 * 1024 * 1024
    """Maximum bytes of a server-sent event, after decompression."""
    download_step: int = 0
    """Bytes of an answer from one :class:`~mcpcore.DownloadProgress` to the next, and before the
    first; 0: there are none.  With ``Callbacks.download`` 0 is 1 MiB."""
    max_refusal: int = 1024 * 1024
    """Maximum bytes read of the body of a refusal; the rest is left unread."""
    answer_challenges: bool = False
    """True if the application answers :class:`~mcpcore.http.client.challenges.Unauthorized`."""
    max_challenges: int = 6
    """Maximum times that a message is sent again after a challenge; then its refusal stands."""
    answer_timeout: float = 600.0
    """Seconds for the application to answer a challenge, such as by the sign-in of a person."""
    max_redirects: int = 3
    """Maximum redirects in a row that are followed, within the origin; all others are refused."""
    max_violations: int = 100
    """Maximum messages on one stream that are not allowed; one more ends its request."""
    stream_timeout: float | None = 60.0
    """Seconds for the server to begin the stream that a GET asks for, after which it counts as
    broken.  None: no limit, for servers that hold a head back until they have a message."""
    notify_timeout: float = 30.0
    """Seconds for the server to accept notifications, our responses, the end of the session."""
    linger: float = 5.0
    """Seconds for the server to end a complete response; then its connection is closed."""
    max_lost_sessions: int = 2
    """Maximum sessions in a row lost before they answer a request; then no more are opened."""
    resume: bool = True
    """True to resume a broken stream after its last event."""
    reopen: bool = True
    """True to begin the standalone stream anew if it cannot be resumed."""
    max_resumes: int = 5
    """Maximum attempts in a row without an event, and without a connection that lasted; the
    messages that open a session are sent again as often."""
    lasting: float = 10.0
    """Seconds after which a connection counts as one that lasted."""
    retry_delay: float = 1.0
    """Seconds before an attempt, if the server names none; doubles each time.  Also the minimum
    once ``max_resumes`` attempts came quicker."""
    min_retry_delay: float = 0.1
    """Minimum of that delay, whatever the server asks for."""
    max_retry_delay: float = 300.0
    """Maximum of that delay, whatever the server asks for."""
    jitter: float = 0.2
    """Maximum random fraction that is added to that delay."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": tuple((name, HIDDEN) for name, _ in self.headers)}

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(
            self,
            "download_step",
            "max_refusal",
            "max_challenges",
            "answer_timeout",
            "max_redirects",
            "max_violations",
            "linger",
            "max_lost_sessions",
            "max_resumes",
            "lasting",
            "min_retry_delay",
            "jitter",
        )
