"""Traces: a line that is read is written again, records hold what they claim, no secret gets in."""

import msgspec

from mcpcore.errors import BadTrace
from mcpcore.trace.format import (
    TO_CLIENT,
    TO_SERVER,
    Record,
    RecordBuilder,
    decode_line,
    encode_line,
)
from mcpcore.trace.framing import EventFrame, Events, Held, Lines
from mcpcore.trace.redaction import Redactor
from mcpcore.wire.sse import SseDecoder
from tests.fuzz import messages
from tests.fuzz.choices import Choices

TOKENS = (
    *messages.TOKENS,
    *(
        b'{"trace":1,"side":"client"}',
        b'"time":1.5',
        b'"kind":"request"',
        b'"direction":"to-server"',
    ),
    *(b'"bytes":"QQ=="', b'"text":"x"', b"Authorization: Bearer ", b"?token=", b"data: ", b"\n\n"),
)
_SIZE = 200
_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJmdXp6In0.c2lnbmF0dXJl"
"""Looks like what it is: a bearer token."""


def _line(data: bytes) -> None:
    try:
        item = decode_line(data)
    except BadTrace as error:
        assert str(error)
        return
    again = encode_line(item)
    assert again.endswith(b"\n")
    assert b"\n" not in again[:-1]
    assert decode_line(again) == item


def _kept(record: Record, data: bytes) -> None:
    """A record is written and read again, and holds the beginning of what was there."""
    assert decode_line(encode_line(record)) == record
    assert not (record.text is not None and record.data is not None)
    assert record.payload == data[: len(record.payload)]
    assert len(record.payload) + record.cut == len(data)
    assert len(record.payload) <= _SIZE


def _message(c: Choices) -> None:
    data = c.rest()
    builder = RecordBuilder(None, record_size=_SIZE)
    direction = TO_SERVER if len(data) % 2 else TO_CLIENT
    _kept(builder.message(data, time=1.0, direction=direction), data)
    _kept(builder.unread_head(data, time=1.0, direction=direction), data)
    for redacting in (RecordBuilder(Redactor()), RecordBuilder(Redactor(), record_size=_SIZE)):
        for record in (
            redacting.message(data, time=1.0, direction=direction),
            redacting.unread_head(data, time=1.0, direction=direction),
            redacting.note("sse-event", time=1.0, data=data, event="endpoint"),
        ):
            assert decode_line(encode_line(record)) == record


def _secrets(c: Choices) -> None:
    """A token is found in whatever place it stands."""
    message = messages.request(c, modern=c.flag())
    where = c.below(4)
    builder = RecordBuilder(Redactor())
    if where == 0:
        message["params"]["token"] = _TOKEN
    elif where == 1:
        message["params"]["text"] = f"{c.text(6)} Bearer {_TOKEN}"
    elif where == 2:
        message["params"]["url"] = f"https://h/p?access_token={_TOKEN}&x=1"
    if where < 3:
        data = messages.text(c, message)
        record = builder.message(data, time=1.0, direction=TO_SERVER)
        msgspec.json.decode(record.payload, type=msgspec.Raw)  # a number may be too large to read
    else:
        name = c.pick(
            (b"authorization", b"Authorization", b"proxy-authorization", b"x-api-key", b"cookie")
        )
        fields = [(b"x", c.blob(8)), (name, b"Bearer " + _TOKEN.encode()), (b"y", c.blob(8))]
        record = builder.head(fields, time=1.0, direction=TO_SERVER, method="GET", target="/")
    assert _TOKEN.encode() not in record.payload
    assert record.redactions


def _lines(pieces: list[bytes], limit: int) -> list[Held]:
    reader = Lines(limit)
    found = [line for piece in pieces for line in reader.receive(piece)]
    rest = reader.eof()
    return found if rest is None else [*found, rest]


def _events(pieces: list[bytes], limit: int) -> list[EventFrame]:
    reader = Events(limit)
    found = [frame for piece in pieces for frame in reader.receive(piece)]
    return [*found, *reader.eof()]


def _framing(c: Choices) -> None:
    cuts = Choices(c.take(8))
    stream = c.rest()
    single = [bytes([byte]) for byte in stream]
    for limit in (16, 10**6):
        lines, events = _lines([stream], limit), _events([stream], limit)
        for pieces in (cuts.cuts(stream), single):
            assert _lines(pieces, limit) == lines
            assert _events(pieces, limit) == events
    if b"\xef\xbb\xbf" not in stream:  # which a trace takes off each line
        seen = [frame.data for frame in events if not frame.comment and frame.data is not None]
        read = [event.payload for event in SseDecoder().receive(stream + b"\n\n")]
        assert seen == read or seen[:-1] == read


def TARGET(data: bytes) -> None:
    c = Choices(data)
    match c.below(4):
        case 0:
            _line(c.rest())
        case 1:
            _message(c)
        case 2:
            _secrets(c)
        case _:
            _framing(c)
