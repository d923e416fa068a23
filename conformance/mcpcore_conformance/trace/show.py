"""A trace as a timeline to be read: one line a record."""

from collections.abc import Iterator

import msgspec

from mcpcore.trace.format import MESSAGES, TO_CLIENT, TO_SERVER, Record
from mcpcore_conformance.trace.book import id_key
from mcpcore_conformance.trace.reading import Entry, TraceFile

_ARROWS = {TO_SERVER: "->", TO_CLIENT: "<-", None: "  "}
_BORING = ("jsonrpc", "id", "method")


def timeline(
    trace: TraceFile, *, width: int = 120, whole: bool = False, connection: int | None = None
) -> Iterator[str]:
    """The lines of the timeline.

    Each says line of the trace, seconds, connection (and stream of HTTP), direction (``->`` is to
    the server), what it is, and as much of its text as there is room for in ``width`` characters;
    ``whole`` shows all texts, below.
    """
    header = trace.header
    facts = [f"recorded by the {header.side}", header.started, header.program]
    if header.target:
        facts.append(f"of {header.target}")
    if not header.redacted:
        facts.append("secrets included")
    yield "# " + ", ".join(fact for fact in facts if fact)
    asked: dict[tuple[int, str | None, str], Entry] = {}
    for entry in trace.entries:
        record = entry.record
        if connection is not None and record.connection != connection:
            continue
        place = f"{record.connection}.{record.stream}" if record.stream else f"{record.connection}"
        said = " ".join(filter(None, (_said(entry, asked), _remarks(record))))
        line = f"{entry.line:>6} {record.time:>10.6f} {place:>7} {_ARROWS[record.direction]} {said}"
        text = _text(record)
        if text and not whole:
            room = width - len(line) - 2
            shown = text if len(text) <= room else text[: max(room - 3, 0)] + "..."
            line = f"{line}  {shown}" if room > 8 else line
        yield line
        if text and whole:
            for part in laid_out(record).splitlines():
                yield f"{'':>28}{part}"
    if not trace.complete:
        yield "# the last line is cut off"


def _said(entry: Entry, asked: dict[tuple[int, str | None, str], Entry]) -> str:
    record = entry.record
    words: list[str] = [record.kind]
    if record.kind == "request":
        words += [record.method or "", f"id={_id(record)}"]
        if record.id is not None:
            asked[record.connection, record.direction, id_key(record.id)] = entry
    elif record.kind == "notification":
        words.append(record.method or "")
    elif record.kind in ("result", "error"):
        words.append(f"id={_id(record)}" if record.id is not None else "without id")
        other = TO_CLIENT if record.direction == TO_SERVER else TO_SERVER
        key = (record.connection, other, id_key(record.id))
        question = asked.pop(key, None) if record.id is not None else None
        if question is not None:
            took = (record.time - question.record.time) * 1000
            words.append(f"of {question.record.method} (line {question.line}, {took:.1f} ms)")
    elif record.kind == "opened":
        words.append(record.binding or "")
    elif record.kind == "close":
        words.append(str(record.status or ""))
    elif record.kind in ("http-request", "http-response"):
        words = ["HTTP", record.payload.decode("utf-8", "replace").partition("\n")[0]]
    return " ".join(filter(None, words))


def _remarks(record: Record) -> str:
    remarks = []
    if record.correlation is not None:
        remarks.append(f"correlation {record.correlation}")
    if record.event_id is not None:
        remarks.append(f"event {record.event_id}")
    if record.retry is not None:
        remarks.append(f"retry {record.retry} ms")
    if record.redactions:
        remarks.append(f"hidden: {', '.join(record.redactions)}")
    if record.cut:
        remarks.append(f"{record.cut} bytes cut")
    return f"[{'; '.join(remarks)}]" if remarks else ""


def _text(record: Record) -> str:
    """The text on one line, without what the line says anyway."""
    if record.kind in ("http-request", "http-response"):
        return "; ".join(record.payload.decode("utf-8", "replace").split("\n")[1:])
    if record.data is not None:
        return repr(bytes(record.data))
    if record.kind in MESSAGES and not record.cut:
        message = _decoded(record)
        if isinstance(message, dict):
            rest = {name: value for name, value in message.items() if name not in _BORING}
            only = next(iter(rest.values())) if len(rest) == 1 else rest
            return msgspec.json.encode(only).decode() if only != {} else ""
    return " ".join((record.text or "").split())


def laid_out(record: Record) -> str:
    """Return all of a record's text; a message as indented JSON."""
    if record.data is not None:
        return repr(bytes(record.data))
    message = _decoded(record) if record.kind in MESSAGES else None
    if message is not None:
        return msgspec.json.format(msgspec.json.encode(message), indent=2).decode()
    return record.text or ""


def _decoded(record: Record) -> object:
    try:
        return msgspec.json.decode(record.text or "")
    except (msgspec.DecodeError, RecursionError):
        return None


def _id(record: Record) -> str:
    return msgspec.json.encode(record.id).decode()
