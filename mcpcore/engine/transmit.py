"""What the engine wants sent: frames with what a transport needs to place them."""

from collections.abc import Callable, Hashable
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from mcpcore.engine.events import Key, Route
from mcpcore.engine.mirror import Mirror
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:
    from mcpcore.engine.base import PeerBase


class FrameKind(Enum):
    """What a frame is, for transports that treat kinds differently."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"
    BATCH = "batch"
    ACCEPTED = "accepted"
    """Nothing to say (any more) on this route: HTTP 202, or the end of a stream."""


class Transmit(Struct, kw_only=True):
    """One outgoing frame: exactly one JSON text without a newline (empty for ACCEPTED)."""

    peer: "PeerBase"
    route: Route
    data: tuple[bytes, ...]
    size: int
    """Bytes in ``data``, and in ``more``."""
    kind: FrameKind
    more: list[bytes] | None = None
    """Further JSON texts, newer news of the same subject; only of a Peer that joins news."""
    ends: bool = False
    """Nothing more is owed on this route."""
    key: Key | None = None
    """The inbound request it belongs to; ENGINE if the engine answers it or speaks for itself;
    None marks a rejection by the engine, and requests and notifications that belong to none."""
    request: RequestId | None = None
    """Our request that this is, or that this cancels."""
    method: str | None = None
    code: int | None = None
    """The code of an error."""
    revision: Revision | None = None
    mirror: Mirror | None = None
    """Client: what the HTTP headers must say."""
    subject: Hashable = None
    """What this is news of: while it waits, newer news of the same may take its place."""
    repeatable: bool = False
    """It may reach the other side twice (told where a transport may have it so)."""
    waits: bool = True
    """It has not been taken out of the outbox."""

    def line(self) -> bytes:
        """The frame with its newline, for newline-framed byte streams."""
        return b"".join((*self.data, b"\n")) if self.data else b""


_FULL = 8 * 1024
"""Bytes of a frame that no more news joins: it counts as waiting until all of it is taken."""


class Outbox:
    """The frames that wait to be taken, in order, with a count of their bytes.

    Shared by the Peers of one endpoint.  Frames of a request are also counted per request, so
    that a handler can be told to wait (``queued`` and StreamDrained).
    """

    __slots__ = ("frames", "size")

    def __init__(self) -> None:
        self.frames: list[Transmit] = []
        """What waits; only to be looked at."""
        self.size = 0

    def __len__(self) -> int:
        return len(self.frames)

    def push(self, frame: Transmit) -> None:
        """Append a frame."""
        self.frames.append(frame)
        self.size += frame.size

    def join(self, data: bytes, size: int, key: Key, subject: Hashable) -> bool:
        """Let ``data`` leave with the last frame; False if that is not of this subject, or full."""
        frames = self.frames
        if not frames:
            return False
        last = frames[-1]
        if last.key != key or last.subject != subject or last.size > _FULL:
            return False
        more = last.more
        if more is None:
            last.more = [data]
        else:
            more.append(data)
        last.size += size
        self.size += size
        return True

    def lines(self) -> bytes:
        """What waits, as newline-framed lines, and goes on waiting; safe from any thread."""
        return b"".join(frame.line() for frame in list(self.frames))

    def requests(self) -> set[RequestId | None]:
        """The requests of ours that wait."""
        return {frame.request for frame in self.frames if frame.kind is FrameKind.REQUEST}

    def replace(self, frame: Transmit, data: tuple[bytes, ...]) -> int:
        """Give a frame other bytes; return by how many it has grown.

        Of a frame of several texts it is the last one that gets them.  The frame may have left the
        outbox and wait elsewhere, as long as nothing of it was sent.
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
        """Take out the frames that are not to be sent any more."""
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
            frame.waits = False
        return frames
