"""What both ends of the WebSocket binding share: one JSON-RPC message per text frame.

Source: RFC 6455; there is no page in the specification, so this binding follows the rules of
stdio: the connection is the session of the legacy era, and carries self-contained requests in the
modern one.  The subprotocol is ``mcp``.  Extensions (compression) are not negotiated.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteStream
from msgspec import Struct, field
from wsproto.connection import Connection as WsProtocol
from wsproto.connection import ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason

from mcpcore.engine.peer import Peer
from mcpcore.spec.revisions import BY_NAME
from transports.link import App, clock
from transports.link_errors import STREAM_ERRORS
from transports.pump import PumpSettings
from transports.streams import StreamLink

SUBPROTOCOL = "mcp"
VERSION_PREFIX = "mcp.version."
"""A client that can send no headers names its revision in a further offer."""
TOKEN_PREFIX = "mcp.auth."  # noqa: S105
"""And its access token in this one, which is never echoed and never logged."""


class Token(str):
    """A secret: the value of the string, but not of its repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<token>"


class Handshake(Struct, frozen=True, kw_only=True):
    """What is known of a connection before its first message."""

    path: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """As received, names in lower case; the offers of subprotocols are not among them."""
    peer: str | None = None
    """Address of the other side, for logs."""
    revision: str | None = None
    """The revision offered as ``mcp.version.<revision>``."""
    token: Token | None = None
    """The access token offered as ``mcp.auth.<token>``."""


class Refusal(Exception):
    """The upgrade is refused with this status; the message is the body."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Offer(Struct, frozen=True):
    """What the offered subprotocols come to."""

    selected: str | None = None
    revision: str | None = None
    token: Token | None = None


def read_offers(names: Sequence[str]) -> Offer:
    """Choose among the subprotocols of a client. Raises Refusal with 400.

    ``mcp`` if it is offered; an offer of a revision alone is selected as it stands, since browsers
    insist on a selection; a token is never sent back.
    """
    selected = revision = token = None
    for name in names:
        if name.startswith(VERSION_PREFIX):
            revision = name.removeprefix(VERSION_PREFIX)
            if revision not in BY_NAME:
                known = ", ".join(BY_NAME)
                raise Refusal(400, f"unknown revision {revision!r} offered; known: {known}")
            selected = selected or name
        elif name.startswith(TOKEN_PREFIX):
            token = Token(name.removeprefix(TOKEN_PREFIX))
        elif name == SUBPROTOCOL:
            selected = name
    if SUBPROTOCOL in names:
        selected = SUBPROTOCOL
    if names and selected is None:
        raise Refusal(400, f"none of the offered subprotocols is spoken here; offer {SUBPROTOCOL}")
    return Offer(selected, revision, token)


class WebSocketSettings(Struct, frozen=True, kw_only=True):
    """How WebSocket connections are made and kept. Times in seconds."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    path: str = "/mcp"
    """Server: where it is served."""
    allowed_hosts: tuple[str, ...] | None = None
    """Server: see :class:`~mcpcore.http.origin.OriginPolicy`; None means loopback names."""
    allowed_origins: tuple[str, ...] | None = None
    """Server: origins of web pages that may connect; None means its own pages."""
    authorize: Callable[[Handshake], bool] | None = None
    """Server: False refuses with 401, before the upgrade."""
    max_connections: int = 1000
    """Server: more at a time are refused with 503."""
    handshake_timeout: float = 10.0
    """For the whole opening, at a client with name resolution, TCP and TLS."""
    ping_interval: float | None = 20.0
    """A ping is sent this long after the last sign of life; None sends none."""
    ping_timeout: float = 20.0
    """The connection ends if the answer to a ping takes longer."""
    close_timeout: float = 1.0
    """For the closing handshake."""


class WebSocketLink(StreamLink):
    """One Peer on a WebSocket connection; both ends derive from it."""

    _half_close = False
    _ws: WsProtocol | None = None
    """Set with ``stream`` once the connection is upgraded."""

    def __init__(
        self,
        peer: Peer,
        app: App,
        stream: ByteStream | None = None,
        *,
        settings: WebSocketSettings,
    ) -> None:
        super().__init__(peer, app, stream, settings=settings.pump)
        self._ws_settings = settings
        self._limit = peer.config.limits.message_size
        self._parts: list[str] = []  # of a message that is not complete
        self._size = 0
        self._control = bytearray()  # pings and pongs that wait to be written
        self._alive = clock()  # when the other side last gave a sign of life
        self._pinged: float | None = None  # when the unanswered ping was sent
        self._code = CloseReason.GOING_AWAY if self._server else CloseReason.NORMAL_CLOSURE
        self._said = ""
        """What the other side is told beside the code."""
        self._refused = False
        self._goodbye: CloseConnection | None = None  # the answer to the other side's close

    # In

    def _feed(self, data: bytes) -> None:
        ws = self._ws
        if ws is None or ws.state is not ConnectionState.OPEN or self._refused:
            return
        self._alive = clock()
        self._pinged = None
        ws.receive_data(data)
        for event in ws.events():
            if not self._refused:
                self._frame(event, ws)

    def _frame(self, event: Event, ws: WsProtocol) -> None:
        if isinstance(event, TextMessage):
            self._text(event)
        elif isinstance(event, Ping):
            self._control += ws.send(event.response())
        elif isinstance(event, BytesMessage):
            self._refuse(CloseReason.UNSUPPORTED_DATA, "messages are text frames")
        elif isinstance(event, CloseConnection):
            if ws.state is ConnectionState.OPEN:  # what arrived is no WebSocket frame
                self._refuse(CloseReason(event.code), event.reason or "protocol error")
            else:
                self._goodbye = event.response()
                said = f": {event.reason}" if event.reason else ""
                self._stop(f"closed by the other side with {int(event.code)}{said}", hard=True)

    def _text(self, event: TextMessage) -> None:
        text = event.data
        self._size += len(text)
        if not event.message_finished or self._parts:
            if text:
                self._parts.append(text)
            if event.message_finished:
                text = "".join(self._parts)
        if self._size > self._limit:
            self._refuse(CloseReason.MESSAGE_TOO_BIG, f"longer than {self._limit} bytes")
        elif event.message_finished:
            self._parts = []
            self._size = 0
            data = text.encode()
            if len(data) > self._limit:
                self._refuse(CloseReason.MESSAGE_TOO_BIG, f"longer than {self._limit} bytes")
            else:
                self.peer.receive(data, now=clock())

    def _refuse(self, code: CloseReason, reason: str) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self._refused = True
        self._code, self._said = code, reason
        self._stop(f"closed by this side with {int(code)}: {reason}", hard=True)

    # Out

    def _take(self) -> bytes:
        frames = self.peer.data_to_send()
        if self._ws is None or self._ws.state is not ConnectionState.OPEN:
            return b""
        out, self._control = self._control, bytearray()
        for frame in frames:
            if frame.data:
                out += self._ws.send(TextMessage(data=b"".join(frame.data).decode()))
        return bytes(out)

    def _full(self) -> bool:
        return super()._full() or (self._server and len(self._control) > self.settings.queued)

    # Time

    def _deadline(self) -> float | None:
        due = self.peer.deadline()
        settings = self._ws_settings
        if self._pinged is not None:
            ping = self._pinged + settings.ping_timeout
        elif settings.ping_interval is not None:
            ping = self._alive + settings.ping_interval
        else:
            return due
        return ping if due is None else min(due, ping)

    def _timeout(self, now: float) -> None:
        self.peer.handle_timeout(now)
        settings, ws = self._ws_settings, self._ws
        if self._pinged is not None:
            if now >= self._pinged + settings.ping_timeout:
                reason = f"no answer to a ping within {settings.ping_timeout:g} s"
                self._refuse(CloseReason.POLICY_VIOLATION, reason)
        elif settings.ping_interval is None or ws is None or ws.state is not ConnectionState.OPEN:
            return
        elif now >= self._alive + settings.ping_interval:
            self._control += ws.send(Ping())
            self._pinged = now

    # End

    async def _close(self) -> None:
        with anyio.move_on_after(self._ws_settings.close_timeout):
            with suppress(OSError, *STREAM_ERRORS):
                await self._say_goodbye()
        await super()._close()

    async def _say_goodbye(self) -> None:
        """Carry out the closing handshake, unless output was cut off inside a frame."""
        ws = self._ws
        if ws is None or self._writing or self._broken:
            return
        if ws.state not in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            return
        code = CloseReason.INTERNAL_ERROR if self._crashed else self._code
        ordinary = code in (CloseReason.GOING_AWAY, CloseReason.NORMAL_CLOSURE)
        said = self._said or ("" if ordinary else self._reason)
        goodbye = self._goodbye or CloseConnection(code=code, reason=said)
        await self.stream.send(ws.send(goodbye))
        if self._refused:
            # Its frames can be read no more; leave it time to read ours.
            with suppress(NotImplementedError):  # TLS ends only both ways
                await self.stream.send_eof()
            while True:
                await self.stream.receive()
        answering = self._goodbye is not None
        while not answering:
            ws.receive_data(await self.stream.receive())
            # What else still arrives comes too late.
            answering = any(isinstance(event, CloseConnection) for event in ws.events())
