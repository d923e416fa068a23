"""Event streams: any split gives the same; a well-known decoder and the plain rules agree."""

import re

import httpx
from httpx_sse import EventSource

from mcpcore.wire.sse import (
    ServerSentEvent,
    SseDecoder,
    encode_comment,
    encode_event,
)
from tests.fuzz.choices import Choices
from tests.wire.sse_plainly import oracle

TOKENS = (
    *(b"data: ", b"data:", b"event: ", b"id: ", b"retry: ", b":", b"\n\n", b"\r\n\r\n", b"\r\r"),
    *(
        b"\xef\xbb\xbf",
        b"\0",
        b"data\n",
        b"id\n",
        b"retry: 15\n",
        b"\xff",
        b": ping\n\n",
        b"\xe2\x80\xa8",
    ),
)
_LIMIT = 512

Outcome = tuple[list[ServerSentEvent], str, int | None, bool]


def _decode(pieces: list[bytes], limit: int) -> Outcome:
    decoder = SseDecoder(limit)
    events: list[ServerSentEvent] = []
    for piece in pieces:
        events += decoder.receive(piece)
    return events, decoder.last_event_id, decoder.retry, decoder.broken is not None


def _well_known(stream: bytes) -> list[tuple[str, str]]:
    """Name and data of the events that httpx-sse finds, but for those without data.

    It reads text, so that a byte order mark is taken off first; and it dispatches what WHATWG does
    not, for instance an event with nothing but an id, whose data it gives as empty.
    """
    content = stream.removeprefix(b"\xef\xbb\xbf")
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)
    return [(event.event, event.data) for event in EventSource(response).iter_sse() if event.data]


def _round_trip(c: Choices) -> None:
    """What is written is read, and nothing else."""
    sent = []
    stream = b""
    for _ in range(1 + c.below(4)):
        data, name, id = c.blob(24), c.text(4), c.text(4)
        retry = c.below(65536) if c.flag() else None
        if c.flag(4):
            stream += encode_comment(c.text(8))
        try:
            stream += encode_event(data, event=name or None, id=id or None, retry=retry)
        except ValueError:
            assert re.search("[\r\n\0]", name + id)
            continue
        lines = re.sub(rb"\r\n|\r", b"\n", data)
        sent.append(ServerSentEvent(lines, name or "message", id or None, retry))
    assert _decode(c.cuts(stream), 10**6)[0] == sent


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag(8):
        _round_trip(c)
        return
    cuts = Choices(c.take(8))
    stream = c.rest()
    plain = (*oracle(stream), False)
    events = plain[0]
    whole = _decode([stream], 10**6)
    assert whole == plain
    assert _decode(cuts.cuts(stream), 10**6) == plain
    assert _decode([bytes([byte]) for byte in stream], 10**6) == plain
    shown = [(event.event, event.data) for event in events if event.payload]
    assert shown == _well_known(stream)
    small = _decode([stream], _LIMIT)
    assert small == plain or (small[3] and events[: len(small[0])] == small[0])
    assert small == _decode([bytes([byte]) for byte in stream], _LIMIT)
