"""Text of others as plain text, and records of a transcript as reports show them."""

from msgspec import structs

from mcpcore.trace.format import TO_SERVER, Record

WIDTH = 2000
"""Characters (or bytes, where it is no text) of one record that reports show."""


def printable(text: str, keep: str = "\n\t") -> str:
    """Text in which everything that is not seen is escaped: no control sequences, no surprises."""
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def bounded(record: Record, width: int = WIDTH) -> Record:
    """A record with no more of what was said than reports show; the rest is counted in ``cut``."""
    text, data, lost = record.text, record.data, 0
    if text is not None:
        text, lost = text[:width], len(text[width:].encode())
    if data is not None:
        data, lost = data[:width], len(data[width:])
    return structs.replace(record, text=text, data=data, cut=record.cut + lost)


def line_of(record: Record, width: int = WIDTH) -> str:
    """Time, where, direction, what it is, and the bytes as text."""
    place = f"{record.connection}.{record.stream}" if record.stream else str(record.connection)
    arrow = {None: "-", TO_SERVER: ">"}.get(record.direction, "<")
    said = said_of(record, width)
    return f"{record.time:7.3f} {place:>4} {arrow} {record.kind:<14} {said}".rstrip()


def said_of(record: Record, width: int = WIDTH) -> str:
    """What was said, in one line: line breaks and what cannot be shown are escaped."""
    if record.data is not None:
        text = repr(record.data)[1:]
    else:
        text = printable(record.text or "", keep="")
    marks = [f"event {record.event}"] if record.event not in (None, "message") else []
    marks += [f"id {record.event_id}"] if record.event_id is not None else []
    marks += [f"retry {record.retry}"] if record.retry is not None else []
    if record.status is not None and record.kind == "close":
        marks.append(str(record.status))
    head = f"[{', '.join(marks)}] " if marks else ""
    lost = record.cut + max(0, len(text) - width)
    return head + text[:width] + (f" ... ({lost} more)" if lost else "")
