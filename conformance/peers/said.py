"""What was on the wire in a case, as lines that a person reads."""

import re
from collections.abc import Iterator, Mapping, Sequence

from mcpcore.trace.format import TO_SERVER, Record
from mcpcore_conformance.kit.model import Result
from mcpcore_conformance.run.transcript import records_of

BUDGET = 2100
"""Characters that are shown of a case; the fewer lines there are, the more of each."""
LEAST = 120
"""Characters that a line has in any case."""
FIRST, MIDDLE, LAST = 4, 10, 8
"""Lines that are shown where there are more; of the middle those about what the verdict says."""

_SAYING_NOTHING = (
    "accept-encoding:",
    "cache-control:",
    "connection:",
    "content-length:",
    "date:",
    "host: 127.0.0.1:",
    "server:",
    "transfer-encoding:",
    "user-agent:",
    "x-accel-buffering:",
)
"""How lines of heads begin that are left out."""
_USUAL = frozenset(
    ("accept: application/json, text/event-stream", "content-type: application/json")
)
"""Lines of heads that are left out where they are as nearly always."""
_EVENTS = "text/event-stream"
_GOODBYE = b"exit status 0"
_EMPTY = {
    "closed": "closed",
    "http-end": "the event stream ends",
    "note": "nothing more comes",
    "sse-event": "an event without data",
}
"""What is said of a record that has nothing in it."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_WORD = re.compile(r"\w{4,}")
RARE = 3
"""Lines that a word may be in to be one that a line is cut for."""


def bytes_of(result: Result) -> list[str]:
    """What was said in a case, each line with its time in seconds, without the goodbyes.

    What had opened the connection in an earlier case is left out but for ``initialize``.  Over
    HTTP the number of the exchange follows the time.
    """
    told = [_line(record) for record in _telling(records_of(result))]
    words = dict.fromkeys(_WORD.findall(result.detail), 0)
    for word in words:
        words[word] = sum(word in line for line in told)
    shown = [*_chosen(told, words)]
    width = _width(shown)
    return [_cut(line, width, words) for line in shown]


def _telling(records: Sequence[Record]) -> Iterator[Record]:
    """Those of the case itself that say something."""
    leaving = {_exchange(each) for each in records if each.payload.startswith(b"DELETE ")}
    streams = {
        _exchange(each)
        for each in records
        if each.kind == "http-response" and _EVENTS in (each.text or "")
    }
    for each in records:
        if each.time < 0:
            telling = each.method == "initialize"
        elif each.stream and _exchange(each) in leaving:
            telling = False
        elif each.payload:
            telling = each.payload != _GOODBYE
        else:
            telling = each.stream > 0 and (each.kind != "http-end" or _exchange(each) in streams)
        if telling:
            yield each


def _exchange(record: Record) -> tuple[int, int]:
    return record.connection, record.stream


def _chosen(lines: Sequence[str], words: Mapping[str, int]) -> Iterator[str]:
    """Those that are shown; ``words``: of the verdict, each with how many lines it is in."""
    places = range(len(lines))
    middle = sorted(
        places[FIRST:-LAST],
        key=lambda place: (sum(1 / n for word, n in words.items() if word in lines[place]), place),
    )
    shown = {*places[:FIRST], *middle[-MIDDLE:], *places[-LAST:]}
    before = -1
    for place in sorted(shown):
        if place > before + 1:
            yield f"({place - before - 1} left out)"
        yield lines[place]
        before = place


def _cut(line: str, width: int, words: Mapping[str, int]) -> str:
    """The beginning of a line, and if need be the piece that has the rarest word of the verdict."""
    if len(line) <= width:
        return line
    rare = [word for word, n in words.items() if 0 < n <= RARE and word in line]
    place = line.find(min(rare[::-1], key=words.__getitem__)) if rare else 0
    if place + LEAST // 4 < width:
        return f"{line[:width]} ..."
    half = width // 2
    place = max(half, place - half // 2)
    return f"{line[:half]} ... {line[place : place + half]} ..."


def _width(lines: Sequence[str]) -> int:
    """How long lines may be so that all of them stay within the budget."""
    width = min(max(map(len, lines), default=LEAST), BUDGET)
    while width > LEAST and sum(min(width, len(line)) for line in lines) > BUDGET:
        width -= 10
    return width


def _line(record: Record) -> str:
    when = f"{record.time:.3f}" if record.time >= 0 else "earlier"
    if record.stream:
        when += f" ({record.stream})"
    text = _text(record) if record.payload else _EMPTY.get(record.kind, record.kind)
    if record.event_id is not None:
        text = f"id {record.event_id}: {text}"
    if record.direction is None or record.kind == "http-end":
        return f"{when} {text}"
    return f"{when} {'to the server' if record.direction == TO_SERVER else 'to the client'}: {text}"


def _text(record: Record) -> str:
    text = record.text.strip() if record.text is not None else repr(record.data)
    if record.kind in ("http-request", "http-response"):
        text = " | ".join(line for line in text.splitlines() if _matters(line))
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def _matters(line: str) -> bool:
    return line not in _USUAL and not line.lower().startswith(_SAYING_NOTHING)
