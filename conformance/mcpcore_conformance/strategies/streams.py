"""Event streams as a server may write them, with the events that a client has to find there."""

from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec import Struct

from mcpcore_conformance.strategies.types import text

_NO_BREAKS = st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff")


class StreamEvent(Struct, frozen=True):
    """One event that is dispatched (WHATWG, section 9.2.6)."""

    data: str
    name: str = ""
    """Empty stands for ``message``."""
    last_id: str = ""
    """The last event id when it is dispatched."""


class EventStream(Struct, frozen=True):
    """The bytes of a stream and what is in it."""

    data: bytes
    events: tuple[StreamEvent, ...]
    retry: int | None
    """The last time to wait before coming back that it names, in milliseconds."""


@st.composite
def _stream(draw: DrawFn, payloads: SearchStrategy[str], max_events: int) -> EventStream:
    lines: list[str] = []
    events: list[StreamEvent] = []
    last_id, retry = "", None
    for _ in range(draw(st.integers(0, max_events))):
        name = draw(st.sampled_from(["", "", "message", "endpoint", "other"]))
        fields: list[str] = []
        data: str | None = None
        if draw(st.booleans()):
            last_id = draw(st.text(_NO_BREAKS, max_size=8))
            fields.append(_field(draw, "id", last_id))
        if draw(st.integers(0, 3)) == 0:
            retry = draw(st.integers(0, 10**6))
            fields.append(_field(draw, "retry", str(retry)))
        if name:
            fields.append(_field(draw, "event", name))
        if draw(st.integers(0, 4)):
            data = draw(payloads)
            fields += [_field(draw, "data", part) for part in data.split("\n")]
        for _ in range(draw(st.integers(0, 2))):
            noise = draw(st.sampled_from([":", ": keep-alive", "unknown: field", "word"]))
            fields.insert(draw(st.integers(0, len(fields))), noise)
        lines += [*fields, ""]
        if data is not None:
            events.append(StreamEvent(data, name, last_id))
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    # one kind of line end for all: CR before LF would be one of them
    end = draw(ends)
    mark = b"\xef\xbb\xbf" if draw(st.booleans()) else b""
    return EventStream(mark + "".join(line + end for line in lines).encode(), tuple(events), retry)


def event_streams(
    payloads: SearchStrategy[str] | None = None, *, max_events: int = 6
) -> SearchStrategy[EventStream]:
    """Event streams with comments, unknown fields, ids, retry and data of several lines.

    ``payloads``: what the data is; without carriage returns, which would end a line.
    """
    chosen = text(20).filter(_one_kind) if payloads is None else payloads
    return _stream(chosen, max_events)


def _one_kind(payload: str) -> bool:
    return "\r" not in payload and "\0" not in payload


def chunks(data: bytes) -> SearchStrategy[list[bytes]]:
    """Ways to cut bytes into pieces, as a network may: anywhere, also between all of them."""
    if not data:
        return st.just([])
    cuts = st.sets(st.integers(1, max(1, len(data) - 1)), max_size=20).map(sorted)
    everywhere = st.just([data[at : at + 1] for at in range(len(data))])

    def cut(places: list[int]) -> list[bytes]:
        edges = [0, *(place for place in places if place < len(data)), len(data)]
        return [data[start:end] for start, end in pairwise(edges)]

    return cuts.map(cut) | everywhere


def _field(draw: DrawFn, name: str, value: str) -> str:
    space = " " if value.startswith(" ") or draw(st.booleans()) else ""
    if not value and draw(st.booleans()):
        return name
    return f"{name}:{space}{value}"
