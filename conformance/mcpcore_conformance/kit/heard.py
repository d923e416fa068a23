"""Events of a wire: messages, and changes of exchanges and connections."""

from msgspec import Struct

Headers = list[tuple[str, str]]
"""Names in lower case, in order."""


class Text(Struct):
    """The payload of one message as it came, not decoded."""

    data: bytes
    exchange: int = 0
    """The HTTP exchange that brought it; 0 where there is one channel."""
    event_id: str | None = None
    """Of the SSE event that carried it."""
    at: float = 0.0
    """By the stage's clock, in seconds."""
    retry: int | None = None
    """In milliseconds, of the SSE event that carried it."""


class Event(Struct):
    """An SSE event without a message: priming, ``retry``, comment, ``endpoint`` or unknown."""

    exchange: int
    name: str = ""
    data: bytes = b""
    event_id: str | None = None
    retry: int | None = None
    """In milliseconds."""
    comment: bool = False
    at: float = 0.0


class Head(Struct):
    """An HTTP response head; ``text`` of a body that is no message follows in ``Done``."""

    exchange: int
    status: int
    headers: Headers
    at: float = 0.0


class Done(Struct):
    """An exchange is over."""

    exchange: int
    clean: bool = True
    """False: cut off before its end."""
    body: bytes = b""
    """A body that is neither a message nor an event stream, or of a stream what is no event."""
    at: float = 0.0
    cut: bool = False
    """True if the kit itself has cut it off."""


class Gone(Struct):
    """The connection or the process is gone; nothing follows."""

    reason: str
    code: int | None = None
    """Exit status of a process (negative: the signal), close code of a WebSocket."""
    at: float = 0.0


class Noise(Struct):
    """Data that the binding does not allow: a binary frame, a line on another channel."""

    detail: str
    data: bytes = b""
    exchange: int = 0
    at: float = 0.0


Heard = Text | Event | Head | Done | Gone | Noise


def header(headers: Headers, name: str) -> str | None:
    """The value of a header, by its name in lower case; several values are joined."""
    found = [value for each, value in headers if each == name]
    return ", ".join(found) if found else None
