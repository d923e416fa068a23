"""Outgoing frames, with what a transport needs to place them."""

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Protocol

from msgspec import Struct

from mcpcore.engine.events import Key, Route
from mcpcore.engine.mirror import Mirror
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId


class FrameSource(Protocol):
    """State of the Peer that a frame is from."""

    session: str | None

    def taken(self, frame: "Transmit") -> None:
        """Note that a frame was taken out of the outbox."""


class FrameKind(Enum):
    """Kinds of frames, for transports that treat them differently."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"
    BATCH = "batch"
    ACCEPTED = "accepted"
    """End of what is sent on this route: HTTP 202, or the end of a stream."""


class Transmit(Struct):
    """Outgoing frame: exactly one JSON text without a newline (empty for ACCEPTED)."""

    peer: FrameSource
    route: Route
    data: tuple[bytes, ...]
    size: int
    """Bytes in ``data``, and in ``more``."""
    kind: FrameKind
    key: Key | None = None
    """Key of the inbound request it belongs to.  ENGINE if the engine answers the request or speaks
    for itself.  None for a rejection by the engine, and for frames that belong to no request."""
    method: str | None = None
    revision: Revision | None = None
    code: int | None = None
    """Code of an error."""
    request: RequestId | None = None
    """Id of the outbound request that this frame is, or that it cancels."""
    more: list[bytes] | None = None
    """Further JSON texts: newer notifications of the subject; only of a Peer that joins them."""
    ends: bool = False
    """True if nothing more is owed on this route."""
    mirror: Mirror | None = None
    """Client: values that the HTTP headers must have."""
    subject: Hashable = None
    """Subject of a notification: while it waits, a newer one may replace it."""
    repeatable: bool = False
    """True if it may reach the other side twice (set where a transport may send it so)."""
    waits: bool = True
    """True until a notification with a subject is taken out of the outbox."""

    def line(self) -> bytes:
        """Return the frame as lines, each with its newline, for newline-framed byte streams."""
        return b"\n".join((b"".join(self.data), *(self.more or ()), b"")) if self.data else b""


_FULL = 8 * 1024
"""Bytes of a frame to which no more texts are joined: it counts as waiting until all is taken."""


class Outbox:
    """Queue of the frames that wait to be taken, with a count of their bytes.

    Shared by the Peers of one endpoint.  Frames of a request are also counted per request, so
    that a handler can be told to wait (``queued`` and StreamDrained).
    """

    # Not a Struct, whose attributes take ten times as long to set.
    __slots__ = ("frames", "size")

    def __init__(self) -> None:
        self.frames: list[Transmit] = []
        """Queued frames, in order; read-only for others."""
        self.size = 0

    def push(self, frame: Transmit) -> None:
        """Append a frame."""
        self.frames.append(frame)
        self.size += frame.size

    def join(self, data: bytes, size: int, key: Key | None, subject: Hashable) -> bool:
        """Add ``data`` to the last frame; False if that has another subject or is full."""
        last = self.frames[-1] if self.frames else None
        if last is None or last.key != key or last.subject != subject or last.size > _FULL:
            return False
        if last.more is None:
            last.more = [data]
        else:
            last.more.append(data)
        last.size += size
        self.size += size
        return True

    def requests(self) -> set[RequestId | None]:
        """Return the ids of the outbound requests that are queued."""
        return {frame.request for frame in self.frames if frame.kind is FrameKind.REQUEST}

    def replace(self, frame: Transmit, data: tuple[bytes, ...]) -> int:
        """Replace the bytes of a frame; return by how many it has grown.

        In a frame of several texts the last one is replaced.  The frame may have left the
        outbox and wait elsewhere, as long as none of it was sent.
        """
        size = sum(map(len, data))
        if frame.more:
            growth = size - len(frame.more[-1])
            frame.more[-1] = b"".join(data)
        else:
            growth = size - sum(map(len, frame.data))
            frame.data = data
        frame.size += growth
        if frame.waits:
            self.size += growth
        return growth

    def discard(self, unwanted: Callable[[Transmit], bool]) -> list[Transmit]:
        """Take out the frames that are not to be sent any more, and return them."""
        dropped = [frame for frame in self.frames if unwanted(frame)]
        if dropped:
            self.frames = [frame for frame in self.frames if not unwanted(frame)]
            self.size -= sum(frame.size for frame in dropped)
        return dropped

    def take(self, limit: int | None = None) -> list[Transmit]:
        """Take frames, at least one if there is any, until ``limit`` bytes are reached."""
        frames = self.frames
        if limit is None or self.size <= limit:
            self.frames = []
            self.size = 0
        else:
            size = count = 0
            while count < len(frames) and (count == 0 or size + frames[count].size <= limit):
                size += frames[count].size
                count += 1
            frames, self.frames = frames[:count], frames[count:]
            self.size -= size
        for frame in frames:
            if frame.subject is not None:
                frame.waits = False
        return frames
