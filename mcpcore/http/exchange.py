"""One HTTP request at a server, and the response that is being made for it.

The head is written lazily: if the first thing to leave is the answer, it goes as JSON; if it is
anything else, or the answer takes too long, the response becomes an event stream.  Source: the
Streamable HTTP pages, "Sending Messages" and "Receiving Messages".
"""

import math
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from mcpcore.engine.events import Route
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.coding import GZIP_LINE, PIECE, VARIES, Packing
from mcpcore.http.headers import (
    CACHE_CONTROL,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EVENT_STREAM,
    JSON,
    RETRY_AFTER,
    SESSION_ID,
)
from mcpcore.http.incoming import Incoming
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore.spec.errors import ERRORS, INVALID_REQUEST, LEGACY_BUSY, ErrorData
from mcpcore.wire.message import encode_error
from mcpcore.wire.sse import encode_comment, encode_event, encode_events

if TYPE_CHECKING:
    from mcpcore.http.eventlog import EventStream
    from mcpcore.http.sessions import Session

_JSON_LINES: tuple[tuple[bytes, bytes], ...] = ((CONTENT_TYPE, JSON.encode()),)
_STREAM_HEADERS = (
    (CONTENT_TYPE, EVENT_STREAM.encode()),
    (CACHE_CONTROL, b"no-store"),
    # Reverse proxies must pass events on at once (2026-07-28, "Receiving Messages").
    (b"x-accel-buffering", b"no"),
)
# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACCEPTED, _ERROR, _RESULT = FrameKind.ACCEPTED, FrameKind.ERROR, FrameKind.RESULT
_COMMENT = encode_comment()
_NO_BODY = 204
NOTHING: deque[Any] = deque(maxlen=0)
"""Stands for an empty queue: a real one takes 760 bytes, and most are empty at most times."""
_UNAVAILABLE = 503

HARD_FACTOR = 2
"""A stream with this many times ``max_queued`` bytes waiting is closed without further delay."""
_BUSY = 503
_RETRY = ((RETRY_AFTER, b"1"),)


class Phase(Enum):
    """Where an exchange stands."""

    READING = "reading"
    """The body is still arriving."""
    WAITING = "waiting"
    """The form of the response is still open."""
    STREAMING = "streaming"
    """The response is an event stream."""
    DONE = "done"
    """The response is complete, though parts of it may still wait to be taken."""


def taken_over(frame: Transmit) -> None:
    """Tell the engine that a frame has left, or never will."""
    if frame.key is not None:
        frame.peer.taken(frame)


_WAITING, _STREAMING, _DONE = Phase.WAITING, Phase.STREAMING, Phase.DONE


class Source(Protocol):
    """Gives an exchange its events, each once it is known under which id it can be had again."""

    number: int
    """Names the stream within its session."""

    def drained(self) -> None:
        """Something that waited at the exchange goes out to the client."""

    def let_go(self) -> None:
        """The exchange is gone."""


class Exchange(Incoming, kw_only=True, eq=False, weakref=False):
    """A request and its response; output waits here until the driver takes it."""

    news: dict[Route, "Exchange"]
    """Where the exchange announces that it has something to write."""
    phase: Phase = Phase.READING
    session: "Session | None" = None
    stream: "EventStream | None" = None
    """The stream of a session that this exchange carries."""
    source: Source | None = None
    """Where its events come from, if the stream is kept in a store."""
    opens: bool = False
    """The body is the ``initialize`` that opens ``session``."""
    extra: tuple[tuple[bytes, bytes], ...] = ()
    """Headers for whatever the response will be."""
    size: int = 0
    """Bytes that wait to be taken."""
    deadline: float | None = None
    slow_at: float = math.inf
    """When an answer that has not come makes this an event stream."""
    silent: bool = True
    """Nothing was sent since the last look."""
    moved: bool = False
    """Something was taken since the last look."""
    over_since: float | None = None
    _head: HttpHead | None = None
    """Of an event stream, until it is taken."""
    _whole: HttpReply | None = None
    """A whole response, until some of it is taken."""
    _out: deque[Transmit | bytes | memoryview] = NOTHING
    _close: bool = False
    _waits: bool = False
    """There is something to write."""
    _holds: int = 0
    """Reasons why it must not be given out yet."""
    packing: Packing | None = None
    """Compresses what is left of the body of a whole response."""

    # The response

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        close: bool = False,
    ) -> None:
        """Make the whole response; a body is JSON unless ``headers`` says otherwise."""
        lines = _JSON_LINES
        if headers or self.extra or not body:
            lines = (*headers, *self.extra)
            if body and not any(name == CONTENT_TYPE for name, _ in headers):
                lines += _JSON_LINES
        self._whole = HttpReply(self.route, status, lines, body)
        self.size = len(body)
        self.finish(close=close)

    def refuse(
        self,
        status: int,
        message: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        code: int = INVALID_REQUEST,
        close: bool = False,
    ) -> None:
        """Answer with a status and a JSON-RPC error that says why."""
        body = encode_error(self.request_id, ErrorData(code, message))
        self.reply(status, body, headers, close=close)

    def open_stream(self) -> None:
        """Make the response an event stream."""
        if self.session is not None and self.stream is None and self.source is None:
            self.session.begin(self, self.route)
        self.phase = _STREAMING
        self._head = HttpHead(self.route, 200, [*_STREAM_HEADERS, *self.extra])
        if not self._waits:
            self._announce()

    def push(self, frame: Transmit) -> bool:
        """Send a frame of the engine in the form that the response has, or now takes.

        False if the response cannot carry it: it is complete, or the client takes only JSON.
        """
        phase = self.phase
        if phase is not _STREAMING:
            if phase is _DONE:
                return False
            if phase is _WAITING:
                if self.answer(frame):
                    return True
                if not self.accepts_stream:
                    return False
                self.open_stream()
        size = frame.size
        if size:
            self._append(frame, size)
        if frame.ends:
            self.finish()
            if self.stream is not None:
                self.stream.log.end(self.stream)
        return True

    def write(self, event: bytes) -> None:
        """Send an event that is encoded already."""
        self._append(event, len(event))

    def settle(self) -> None:
        """Give everything that waits its place in the log of the stream."""
        items, self._out, self.size = self._out, NOTHING, 0
        for item in items:
            self.write(self._encoded(item) if isinstance(item, Transmit) else bytes(item))

    def answer(self, frame: Transmit) -> bool:
        """Make the whole response if ``frame`` is all there is to it."""
        kind = frame.kind
        if kind is _RESULT and frame.ends and self.accepts_json:
            self.reply(200, b"".join(frame.data))
            return True
        if kind is _ACCEPTED:
            # What is no valid message but is owed no answer either was not accepted.
            self.reply(400 if self.rejected else 202)
            return True
        if not frame.ends:
            return False
        status = self._status(frame) if kind is _ERROR else 200
        if status == 200 and not self.accepts_json:
            return False
        self.reply(status, b"".join(frame.data), _RETRY if status == _BUSY else ())
        return True

    def _status(self, frame: Transmit) -> int:
        """The status for an error that is the first thing to leave.

        A legacy client takes 404 for the end of its session and other errors for failures of the
        transport, so what answers one of its requests is always 200.
        """
        if not self.modern:
            return 200 if self.sound else 400
        row = None if frame.code is None else ERRORS.get(frame.code)
        if frame.key is None:
            return 400 if row is None else row.status
        return row.status if row is not None and row.status_always else 200

    def heartbeat(self) -> None:
        """Send a comment if the stream was silent since the last time."""
        if self.silent and not self._out:
            self._append(_COMMENT, len(_COMMENT))
        self.silent = True

    def pack(self) -> None:
        """Compress the body of a whole response that is not taken yet, if the client asks for that.

        A long one is compressed in pieces, as it is taken; how long it is going to be is not known
        then.
        """
        whole = self._whole
        if whole is None or VARIES in whole.headers:
            return
        lines = (*whole.headers, VARIES)
        body = whole.body
        if self.accepts_gzip:
            lines = (*lines, GZIP_LINE)
            packing = Packing(body)
            if len(body) > PIECE:
                self.packing, self._whole, self.size = packing, None, 0
                self._head = HttpHead(self.route, whole.status, [*lines])
                return
            body = packing.next()
            self.size = len(body)
        self._whole = HttpReply(self.route, whole.status, lines, body)

    def finish(self, *, close: bool = False) -> None:
        """Nothing more follows; with ``close`` not even on the connection."""
        self.phase = _DONE
        self._close = close
        self._waits = True
        if not self._holds:
            self.news[self.route] = self  # an end is news even where something waits already

    # What must not leave yet

    def hold(self) -> None:
        """Give out nothing until :meth:`release` was called as often."""
        self._holds += 1
        self.news.pop(self.route, None)

    def release(self) -> None:
        """What a hold was for has happened."""
        self._holds -= 1
        if self.ready:
            self.news[self.route] = self

    def forget(self) -> None:
        """Nobody takes anything any more."""
        self.news = {}

    def fail(self, status: int, message: str, *, code: int = LEGACY_BUSY) -> None:
        """What the response depends on cannot be had: refuse, or end it if it has begun."""
        begun = self._head is None and self._whole is None and self.phase is not _WAITING
        self.drop_queued()
        if begun:
            self.finish(close=True)
            return
        self.extra = tuple(line for line in self.extra if line[0] != SESSION_ID)
        retry = ((RETRY_AFTER, b"1"),) if status == _UNAVAILABLE else ()
        self.refuse(status, message, retry, code=code)

    def drop_queued(self) -> list[Transmit]:
        """Take out the frames that still wait, in order; the rest is forgotten."""
        frames = [item for item in self._out if isinstance(item, Transmit)]
        self._whole, self._out, self.size, self.packing = None, NOTHING, 0, None
        return frames

    @property
    def complete(self) -> bool:
        """The response is over, and was taken."""
        return self.phase is _DONE and not self._waits

    @property
    def ready(self) -> bool:
        """It has something to write."""
        return self._waits and not self._holds

    def _append(self, item: Transmit | bytes, size: int) -> None:
        if self._out is NOTHING:
            self._out = deque()
        self._out.append(item)
        self.size += size
        self.silent = False
        if not self._waits:
            self._announce()

    def _announce(self) -> None:
        """It has something to write, which it had not before."""
        self._waits = True
        if not self._holds:
            self.news[self.route] = self

    def take_whole(self, limit: int) -> HttpReply | None:
        """Take the response, if it is whole, with at most ``limit`` bytes, and nothing else."""
        whole = self._whole
        if whole is None or not 0 < self.size <= limit:
            return None
        if self._close or self._holds or self.report is not None:
            return None
        self._whole, self.size, self._waits = None, 0, False
        self.news.pop(self.route, None)
        return whole

    def take(self, limit: int) -> list[HttpHead | HttpChunk | HttpEnd]:
        """Take what waits, at most ``limit`` bytes of the body; [] if there is nothing to write."""
        taken: list[HttpHead | HttpChunk | HttpEnd] = []
        if not self._waits or self._holds:
            return taken
        head, whole, report = self._head, self._whole, self.report
        if whole is not None:
            lines = [*whole.headers]
            if whole.status != _NO_BODY:
                lines.append((CONTENT_LENGTH, b"%d" % len(whole.body)))
            head = HttpHead(self.route, whole.status, lines)
            self._whole = None
            if whole.body:
                if report is None and self.size <= limit:
                    self.size, self._waits = 0, False
                    self.news.pop(self.route, None)
                    return [head, HttpChunk(self.route, whole.body), self._end()]
                self._out = deque((whole.body,))
        if head is not None:
            taken.append(head)
            self._head = None
            if report is not None:
                report.status = head.status
        if self.packing is not None and not self._out:
            piece = self.packing.next()
            self._out, self.size = deque((piece,)), len(piece)
            if self.packing.done:
                self.packing = None
        out = self._out
        if out and limit > 0:
            taken.append(HttpChunk(self.route, self._take_data(limit)))
        if out:
            self.news[self.route] = self
            return taken
        self.news.pop(self.route, None)
        if self.packing is not None:
            return taken  # the rest is news when others had their turn
        self._out, self.size, self._waits = NOTHING, 0, False
        if self.phase is _DONE:
            taken.append(self._end())
        return taken

    def _end(self) -> HttpEnd:
        return HttpEnd(self.route, self._close)

    def _take_data(self, limit: int) -> bytes:
        """Take what waits of the body, at most ``limit`` bytes."""
        parts: list[bytes | memoryview] = []
        out, room = self._out, limit
        while out and room > 0:
            item = out.popleft()
            if isinstance(item, Transmit):
                if item.size > room and parts:
                    out.appendleft(item)  # whole next time, and not the better part of it now
                    break
                self.size -= item.size
                data: bytes | memoryview = self._encoded(item)
            else:
                data = item
                self.size -= len(item)
            if len(data) > room:
                rest = memoryview(data)[room:]
                out.appendleft(rest)
                self.size += len(rest)
                data = memoryview(data)[:room]
            parts.append(data)
            room -= len(data)
        self.moved = True
        if self.report is not None:
            self.report.sent += limit - room
        if self.stream is not None:
            self.stream.taken()
        elif self.source is not None:
            self.source.drained()
        return b"".join(parts)

    def _encoded(self, frame: Transmit) -> bytes:
        """A frame as an event (or some), with an id if it can be asked for again."""
        data = b"".join(frame.data)
        if frame.key is not None:
            frame.peer.taken(frame)
        if frame.more is not None:  # progress of a modern request: nothing has an id
            return encode_events([data, *frame.more])
        return encode_event(data, id=None if self.stream is None else self.stream.append(data))
