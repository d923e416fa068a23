"""What the load generator can be asked to do: one Struct for each kind of work."""

from typing import Literal

from msgspec import Struct


class Command(Struct, frozen=True):
    """A program to start: its words, and what its environment has beside ours."""

    words: tuple[str, ...]
    env: dict[str, str] = {}


class Ask(Struct, frozen=True):
    """What is asked, again and again.

    ``size``: bytes of text (echo), items (total), bytes of one item (long), tools (list),
    milliseconds (wait), the number of the tool (filler).
    """

    kind: Literal["echo", "total", "long", "list", "wait", "filler"] = "echo"
    size: int = 200


Era = Literal["modern", "legacy"]
Replies = Literal["json", "sse", "any"]
Bearer = Literal["", "known", "fresh"]
"""Access tokens of requests: none, one for all, or others each time."""
Lined = Literal["stdio", "tcp", "unix"]
Binding = Literal["http", "ws", "tcp", "unix", "sse"]


class Job(Struct, frozen=True, kw_only=True, tag_field="job"):
    """Something to measure at a server.  Times in seconds."""

    server: Command
    seconds: float = 1.0
    """Of steady state."""
    warm: float = 0.3
    """Before that, after the handshake."""
    warm_units: int = 0
    """... and until the server has done so many units, for at most ten seconds."""


class HttpCalls(Job, frozen=True, kw_only=True, tag="http"):
    """Requests over HTTP, one at a time on each connection."""

    ask: Ask = Ask()
    more: tuple[Ask, ...] = ()
    """Asked in turn with it."""
    era: Era = "modern"
    replies: Replies = "json"
    """What the Accept header allows."""
    connections: int = 16
    sessions: int = 0
    """Legacy sessions that are there beside those of the connections."""
    in_turn: bool = False
    """All connections take from one row of requests, so that what differs takes turns; so do those
    sessions, in the place of the ones of the connections."""
    streams: int = 0
    """So many of those have a GET stream open."""
    vary: bool = False
    """Every head differs from the last."""
    wall: bool = False
    """The value is the time of the clock that a call takes, all of them together, not CPU."""
    bearer: Bearer = ""
    """``{issuer}`` in the command of the server is the URL of their issuer."""
    behind: Command | None = None
    """A server behind the measured one, which has its URL where its command says ``{upstream}``."""


class LineCalls(Job, frozen=True, kw_only=True, tag="lines"):
    """Requests on a byte stream of lines: standard input and output, TCP, a Unix socket."""

    binding: Lined = "stdio"
    ask: Ask = Ask()
    era: Era = "legacy"
    window: int = 1
    """In flight."""


class WebSocketCalls(Job, frozen=True, kw_only=True, tag="websocket"):
    """Requests in text frames."""

    ask: Ask = Ask()
    era: Era = "modern"
    connections: int = 16


class SseCalls(Job, frozen=True, kw_only=True, tag="http+sse"):
    """Requests over HTTP+SSE of 2024-11-05: posted, answered on the stream."""

    ask: Ask = Ask()
    connections: int = 16


class Events(Job, frozen=True, kw_only=True, tag="events"):
    """Calls of ``events`` over HTTP: the cost of one event."""

    era: Era = "modern"
    count: int = 1000
    together: bool = False


class Resume(Job, frozen=True, kw_only=True, tag="resume"):
    """A stream is left, and picked up when all its events have been made: the cost of one event."""

    count: int = 10_000


class Setup(Job, frozen=True, kw_only=True, tag="setup"):
    """Connections that make one request each; in the legacy era each opens a session for it.

    HTTP+SSE has the era and the revision of its own, 2024-11-05.
    """

    binding: Binding = "http"
    ask: Ask = Ask()
    era: Era = "modern"
    replies: Replies = "json"
    """What the Accept header allows."""


Held = Literal["connection", "session", "stream", "call", "idle"]


class Memory(Job, frozen=True, kw_only=True, tag="memory"):
    """Resident memory of what a server holds, in kB a piece.

    ``what``: ``connection`` (that made a modern request and stays), ``session``, ``stream`` (a
    session and its GET stream), ``call`` (a connection with a call that waits, of a legacy session,
    or behind another call), ``idle`` (the server itself, in MB, once it has answered).
    """

    what: Held
    binding: Binding = "http"
    """Others than HTTP have connections, which with HTTP+SSE are sessions of two each, and all but
    that calls, which are modern."""
    era: Era = "legacy"
    """Of calls over HTTP."""
    replies: Replies = "json"
    """What the Accept header of those allows; ours makes a call that lasts a stream if it may."""
    count: int = 1000
    behind: Command | None = None
    """As of HttpCalls."""


class Peak(Job, frozen=True, kw_only=True, tag="peak"):
    """What memory rises by at most while large requests are answered one at a time, in bytes."""

    size: int
    calls: int = 5


class After(Job, frozen=True, kw_only=True, tag="after"):
    """CPU of a server that has nothing to do any more, in microseconds a second."""

    connections: int = 64


class FirstReply(Job, frozen=True, kw_only=True, tag="first reply"):
    """From the start of a stdio server to its first reply, in milliseconds."""

    era: Era = "legacy"


class Import(Job, frozen=True, kw_only=True, tag="import"):
    """The time that a fresh interpreter takes for what ``server`` says, beyond its own start."""


class SelfMeasured(Job, frozen=True, kw_only=True, tag="program"):
    """A program that measures itself and prints a sample; ``beside``: a server that it needs."""

    beside: Command | None = None


AnyJob = (
    HttpCalls
    | LineCalls
    | WebSocketCalls
    | SseCalls
    | Events
    | Resume
    | Setup
    | Memory
    | Peak
    | After
    | FirstReply
    | Import
    | SelfMeasured
)
