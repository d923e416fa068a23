"""What an event stream holds, by the rules themselves: what our decoder is held against."""

import re

from mcpcore.wire.sse import ServerSentEvent

Outcome = tuple[list[ServerSentEvent], str, int | None]
"""The events, the last id, and the time to wait before coming back."""


def oracle(stream: bytes) -> Outcome:
    """WHATWG 9.2.5 and 9.2.6 on a whole stream, said in the plainest way."""
    last_id, retry = "", None
    events: list[ServerSentEvent] = []
    data: list[bytes] = []
    name, this_id, this_retry = "", None, None
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in lines[:-1]:
        if line == b"":
            last_id = last_id if this_id is None else this_id
            if data:
                events.append(
                    ServerSentEvent(b"\n".join(data), name or "message", this_id, this_retry)
                )
            data = []
            name, this_id, this_retry = "", None, None
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            this_id = value.decode(errors="replace")
        elif field == b"retry" and re.fullmatch(rb"[0-9]{1,15}", value):
            retry = this_retry = int(value)
    return events, last_id, retry
