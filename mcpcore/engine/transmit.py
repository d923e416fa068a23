"""What the engine wants sent: frames with what a transport needs to place them."""

from enum import Enum
from typing import TYPE_CHECKING, Any

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
    kind: FrameKind
    ends: bool = False
    """Nothing more is owed on this route."""
    key: Key | None = None
    """The inbound request it belongs to; None marks a rejection by the engine."""
    request: RequestId | None = None
    """Our request that this is, or that this cancels."""
    method: str | None = None
    code: int | None = None
    """The code of an error."""
    revision: Revision | None = None
    mirror: Mirror | None = None
    """Client: what the HTTP headers must say."""

    @property
    def size(self) -> int:
        """Bytes in ``data``."""
        return sum(map(len, self.data))

    def line(self) -> bytes:
        """The frame with its newline, for newline-framed byte streams."""
        return b"".join((*self.data, b"\n")) if self.data else b""


class Outbox:
    """The frames that wait to be taken, in order, with a count of their bytes.

    Shared by the Peers of one endpoint.  Frames of a request are also counted per request, so
    that a handler can be told to wait (``queued`` and StreamDrained).
    """

    __slots__ = ("_frames", "size")

    def __init__(self) -> None:
        self._frames: list[Transmit] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: Transmit) -> None:
        """Append a frame."""
        self._frames.append(frame)
        for part in frame.data:
            self.size += len(part)

    def holds(self, frame: Transmit) -> bool:
        """Whether a frame still waits here."""
        return any(waiting is frame for waiting in self._frames)

    def replace(self, frame: Transmit, data: tuple[bytes, ...]) -> None:
        """Give a frame that still waits other bytes."""
        self.size -= frame.size
        frame.data = data
        self.size += frame.size

    def take(self, limit: int | None = None) -> list[Transmit]:
        """Take frames, at least one if there is any, until ``limit`` bytes are reached."""
        frames = self._frames
        if limit is None or self.size <= limit:
            self._frames = []
            self.size = 0
            return frames
        size = count = 0
        while count < len(frames) and (count == 0 or size + frames[count].size <= limit):
            size += frames[count].size
            count += 1
        self._frames = frames[count:]
        self.size -= size
        return frames[:count]


def describe(frame: Transmit) -> dict[str, Any]:
    """Return the fields of a frame that matter to a reader of a log."""
    return {
        "kind": frame.kind.value,
        "route": frame.route,
        "method": frame.method,
        "request": frame.request,
        "key": frame.key,
        "code": frame.code,
        "size": frame.size,
    }
