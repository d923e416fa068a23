"""The settings of HTTP, each with a safe default. Sizes in bytes, times in seconds."""

import re
from enum import Enum

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers

MAX_DELAY = 31_536_000.0
"""The longest that a client is asked to wait before it comes back: a year."""
_PATH = r"/(?!/)[A-Za-z0-9/!$&'()*+,;=:@~\-._%]*"
"""A path as it stands in a URI (RFC 3986 section 3.3).  Compiled when it is needed."""


class SsePaths(Struct, frozen=True, kw_only=True):
    """Where HTTP+SSE, the transport of 2024-11-05, is found.

    Raises ValueError for paths that are none, or the same.
    """

    stream: str = "/sse"
    """A GET opens an event stream, and with it a session."""
    messages: str = "/messages"
    """What the client has to say is posted there."""
    root: str | None = None
    """What clients see in front of these paths, for instance where a proxy takes ``/tools`` away;
    None: what the framework says that we are mounted below."""

    def __post_init__(self) -> None:
        paths = (self.stream, self.messages)
        if not all(re.fullmatch(_PATH, path) for path in paths) or self.stream == self.messages:
            raise ValueError(f"HTTP+SSE needs two paths that begin with '/', not {paths}")
        if self.root and not re.fullmatch(_PATH, self.root):
            raise ValueError(f"the root of HTTP+SSE is no path that begins with '/': {self.root!r}")


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Where an :class:`~mcpcore.http.server.HttpServer` is found and what it bears.

    Raises ValueError for settings that contradict each other, and for numbers that are no limit.
    """

    path: str | None = "/mcp"
    """The endpoint of Streamable HTTP; None: there is only that of HTTP+SSE."""
    sse: SsePaths | None = None
    """Serve HTTP+SSE as well, whose sessions last as long as their streams.  None: do not."""
    health_path: str | None = "/health"
    """Answers GET, whatever Host says: ``/health`` and ``/health/ready`` with 200, or with 503 once
    the server drains or closes, and while it cannot reach the store of its sessions;
    ``/health/live`` with 200 as long as it can.  None switches all of that off."""
    allowed_hosts: tuple[str, ...] | None = None
    """See :class:`~mcpcore.http.origin.OriginPolicy`; None means loopback names."""
    allowed_origins: tuple[str, ...] | None = None
    """Exact origins of web pages that may call; None means the server's own pages."""
    max_body: int = 4 * 1024 * 1024
    """Longest request body; more gives 413."""
    json_delay: float | None = 1.0
    """An answer slower than this is sent as an event stream; None waits for it for ever."""
    gzip_from: int | None = 32 * 1024
    """A JSON reply with a body of so many bytes is compressed (gzip) for a client that asks for it;
    event streams never are.  None: nothing is."""
    heartbeat: float | None = 15.0
    """A comment goes out on every event stream that was silent for about this long."""
    sessions: bool = True
    """Legacy clients get sessions.  Without, each of their requests stands on its own: there is no
    Mcp-Session-Id, no GET stream, and nothing that the server could ask the client."""
    max_sessions: int = 10_000
    """Legacy sessions at a time.  One more ends another: one that was never used, or else the one
    that was not used for longest."""
    sessions_per_client: int = 1_000
    """Sessions of one principal, or of one peer address where nobody is authenticated; one more
    ends another of the same client.  To be raised behind a proxy, whose address all clients share.
    """
    session_unused: float | None = 60.0
    """A session that was opened but not used for anything within this time ends."""
    session_idle: float | None = 1800.0
    """A session without a request or an open stream for this long ends."""
    session_age: float | None = 86_400.0
    """A session ends at this age, used or not."""
    session_streams: int = 16
    """GET streams per session at a time; more gives 409.  As many that broke off are remembered."""
    max_calls: int = 20_000
    """Requests being worked on at a time, of all clients together; one more is answered as busy.
    Those of one session are bounded by ``Limits.in_flight``."""
    session_queue: int = 256 * 1024
    """Bytes kept for a session while it has no GET stream; the oldest notifications go first."""
    max_queued: int = 1024 * 1024
    """Bytes waiting on one exchange beyond which its log messages and outdated progress go."""
    stall_timeout: float = 30.0
    """An event stream that is over ``max_queued`` for this long is closed; at once if it is over
    twice that."""
    resumable: bool = True
    """Give events of legacy sessions ids, and send them again to a client that comes back."""
    replay_events: int = 1000
    """Events kept per session; the oldest go first, as with the limits that follow."""
    replay_bytes: int = 4 * 1024 * 1024
    """Bytes of events kept per session."""
    replay_total: int = 64 * 1024 * 1024
    """Bytes of events kept for all sessions together."""
    replay_age: float = 300.0
    """Events are kept for this long."""
    reconnect_delay: float = 1.0
    """What a client is told to wait before it comes back, where the protocol has polling."""
    session_view_idle: float = 300.0
    """With a store: what a worker knows of a session that it has no use for is forgotten after
    this time; the store says how long a session lives."""
    session_touch: float = 30.0
    """With a store: it is told at most this often that a session is in use."""
    store_timeout: float = 10.0
    """With a store: what it does not answer within this time has failed."""
    store_retry: float = 1.0
    """With a store: what has failed and must not be lost is tried again after this time."""

    def __post_init__(self) -> None:
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


class SseUse(Enum):
    """When a client speaks HTTP+SSE, the transport of 2024-11-05."""

    NEVER = "never"
    FALL_BACK = "fall back"
    """Where a server does not take ``initialize`` (400, 404, 405), but opens such a stream."""
    ONLY = "only"


class HttpClientSettings(Struct, frozen=True, kw_only=True):
    """How an :class:`~mcpcore.http.client.HttpClient` behaves."""

    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request, for instance ``("Authorization", "Bearer ...")``."""
    legacy_sse: SseUse = SseUse.FALL_BACK
    """Whether servers of HTTP+SSE are spoken to."""
    endpoint_timeout: float = 10.0
    """HTTP+SSE: for the event stream to begin and to name the endpoint for messages."""
    get_stream: bool = True
    """Open the standalone stream of a legacy session (a server may refuse it)."""
    delete_session: bool = True
    """End a legacy session with DELETE when closing."""
    max_body: int = 64 * 1024 * 1024
    """Longest JSON body taken from the server, after decompression."""
    max_event: int = 64 * 1024 * 1024
    """Longest server-sent event, after decompression."""
    max_refusal: int = 1024 * 1024
    """Longest body read of a response whose status says no; what is beyond it is left unread."""
    max_redirects: int = 3
    """Redirects in a row that a GET follows within its origin; all others are refused."""
    max_violations: int = 100
    """Messages on one stream that must not be there, requests of the server that have to be refused
    among them; one more ends what the stream belongs to."""
    stream_timeout: float | None = 60.0
    """For the server to begin the event stream that a GET asks for, the standalone one or one that
    is picked up; longer counts as a broken stream.  None: for ever, for servers that hold the head
    of a response back until they have something to say."""
    notify_timeout: float = 30.0
    """For the server to take a message that asks for nothing: notifications, our answers, the end
    of the session."""
    linger: float = 5.0
    """For the server to end a response once all that matters of it has come; then its connection is
    closed instead of used again."""
    max_lost_sessions: int = 2
    """Sessions in a row that the server loses before it has answered anything in them; then no more
    are opened, and what waits ends."""
    resume: bool = True
    """Pick a broken stream up after its last event."""
    reopen: bool = True
    """Begin the standalone stream anew where it cannot be picked up."""
    max_resumes: int = 5
    """Attempts in a row without an event in between, and without a connection that lasted.  What
    opens a session is sent again as often: ``initialize`` in the place of a lost one, and
    ``notifications/initialized``."""
    lasting: float = 10.0
    """A connection has lasted if it stood for this long."""
    retry_delay: float = 1.0
    """Time before an attempt, where the server names none; doubles each time.  Also the least
    from one attempt to the next once ``max_resumes`` of them came quicker, with events or without,
    whatever the server says."""
    min_retry_delay: float = 0.1
    """Lower bound of that time, whatever the server says."""
    max_retry_delay: float = 300.0
    """Upper bound of that time, whatever the server says."""
    jitter: float = 0.2
    """So much of that time is added at most, by chance."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            "max_refusal",
            "max_redirects",
            "max_violations",
            "linger",
            "max_lost_sessions",
            "max_resumes",
            "lasting",
            "min_retry_delay",
            "jitter",
        )
