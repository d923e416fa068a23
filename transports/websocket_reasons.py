"""Why a WebSocket was closed, in words that are fit for a log and for the other side."""

from wsproto.events import CloseConnection
from wsproto.frame_protocol import CloseReason

NOT_UTF_8 = "text that is not UTF-8"
_SAID = 120
"""Characters of the other side's reason that are told to ours."""


def what_is_wrong(event: CloseConnection) -> str:
    """What is wrong with a frame, without what was in it."""
    if event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA:
        return NOT_UTF_8
    return event.reason or "protocol error"


def what_was_said(event: CloseConnection) -> str:
    """The code and the reason of the other side, fit for a line of a log."""
    said = "".join(char if char.isprintable() else "?" for char in event.reason or "")
    return f"{int(event.code)}: {said[:_SAID]}" if said else f"{int(event.code)}"
