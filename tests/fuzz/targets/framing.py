"""Newline framing: any split of a stream gives the same lines, as said in the plainest way."""

from mcpcore.wire.framing import LineReader, TooLong
from tests.fuzz.choices import Choices

TOKENS = (b"\n", b"\r\n", b"\r", b"\r\r\n", b" ", b"\0", b"\x0b", b"x" * 40)
_HEAD = 1024

Line = bytes | TooLong


def _plainly(stream: bytes, limit: int) -> list[Line]:
    """What a reader of the whole stream finds in it, its unfinished end included."""
    lines: list[Line] = []
    for line in stream.split(b"\n"):
        content = line.removesuffix(b"\r")
        if len(content) > limit:
            lines.append(TooLong(limit, line[:_HEAD]))
        elif content.strip():
            lines.append(content)
    return lines


def _read(pieces: list[bytes], limit: int) -> list[Line]:
    reader = LineReader(limit)
    found: list[Line] = []
    for piece in pieces:
        reader.receive(piece)
        found += reader.lines()
    rest = reader.eof()
    return found if rest is None else [*found, rest]


def _without_heads(lines: list[Line]) -> list[bytes | None]:
    return [None if isinstance(line, TooLong) else line for line in lines]


def TARGET(data: bytes) -> None:
    c = Choices(data)
    limit = c.below(64)
    c = Choices(c.take(16)) if c.flag() else Choices(b"")
    stream = data[18:]
    whole = _read([stream], limit)
    plain = _plainly(stream, limit)
    assert _without_heads(whole) == _without_heads(plain)
    for line, expected in zip(whole, plain, strict=True):
        if isinstance(line, TooLong) and isinstance(expected, TooLong):
            assert expected.head.startswith(line.head[:limit])
    assert _without_heads(_read(c.cuts(stream), limit)) == _without_heads(plain)
    assert _without_heads(_read([bytes([byte]) for byte in stream], limit)) == _without_heads(plain)
