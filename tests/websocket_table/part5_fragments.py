"""Chapter 5: messages in fragments, and what comes between them."""

from itertools import pairwise, product

from tests.websocket_table.codec import BINARY, Frame, close, more, ping, pong, text
from tests.websocket_table.rows import ROWS, Chapter, Heard, Step, closed, failed, message, taken

_ = Chapter(ROWS)


def cut(data: bytes, *places: int) -> list[Step]:
    """A message in fragments that begin at the places."""
    edges = [0, *places, len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    last = len(parts) - 1
    return [
        text(part, fin=number == last) if number == 0 else more(part, fin=number == last)
        for number, part in enumerate(parts)
    ]


def between(frames: list[Step], *others: Step) -> list[Step]:
    """The others after each frame but the last."""
    return [step for frame in frames[:-1] for step in (frame, *others)] + frames[-1:]


A = message("a")
HALVES = cut(A, 9)
THIRDS = cut(A, 9, 20)

# 5.1: fragments of every kind

_.add("5.1", "two fragments", *HALVES, then=taken("a"))
_.add("5.1", "two fragments in one piece", *HALVES, then=taken("a"), joined=True)
_.add("5.1", "two fragments byte by byte", *HALVES, then=taken("a"), chop=1)
_.add("5.1", "three fragments", *THIRDS, then=taken("a"))
for full in product((True, False), repeat=3):
    if any(full):
        whole, parts = A, []
        for number, fills in enumerate(full):
            size = 0 if not fills else 9 if any(full[number + 1 :]) else len(whole)
            parts.append(whole[:size])
            whole = whole[size:]
        which = "".join("x" if fills else "-" for fills in full)
        _.add(
            "5.1",
            f"three fragments, empty or not: {which}",
            *cut(A, len(parts[0]), len(parts[0] + parts[1])),
            then=taken("a"),
        )
for place in range(len(A) + 1):
    _.add(
        "5.2",
        f"two fragments, the first of {place} bytes",
        *cut(A, place),
        then=taken("a"),
        long=place % 8 != 0,
    )
_.add("5.1", "a fragment for each byte", *cut(A, *range(1, len(A))), then=taken("a"))
_.add(
    "5.1",
    "a fragment for each byte, and empty ones",
    *cut(A, *range(1, len(A)), *[len(A)] * 5),
    then=taken("a"),
)
BIG = message("y" * 65536)
_.add("5.1", "64 KiB in two fragments", *cut(BIG, 32768), then=taken("y" * 65536))
_.add(
    "5.1",
    "64 KiB in fragments of 256 bytes",
    *cut(BIG, *range(256, len(BIG), 256)),
    then=taken("y" * 65536),
    joined=True,
)
_.add(
    "5.1",
    "64 KiB in fragments of 16 bytes",
    *cut(BIG, *range(16, len(BIG), 16)),
    then=taken("y" * 65536),
    joined=True,
)
_.add(
    "5.1",
    "a message with 5000 empty fragments",
    *cut(A, *[9] * 5000),
    then=taken("a"),
    joined=True,
)
_.add(
    "5.1",
    "messages in fragments, one after the other",
    *[step for id in "abcd" for step in cut(message(id), 1, 9, 30)],
    then=taken(*"abcd"),
)

# 5.3: control frames between fragments

_.add(
    "5.3", "a ping between fragments", *between(HALVES, ping(b"p")), then=taken("a", pongs=[b"p"])
)
_.add(
    "5.3",
    "a ping between fragments is answered before the message ends",
    HALVES[0],
    ping(b"p"),
    Heard("pong"),
    HALVES[1],
    then=taken("a", pongs=[b"p"]),
)
_.add(
    "5.3",
    "a ping between fragments, byte by byte",
    *between(HALVES, ping(b"p")),
    then=taken("a", pongs=[b"p"]),
    chop=1,
)
_.add(
    "5.3",
    "pings between three fragments",
    *between(THIRDS, ping(b"p")),
    then=taken("a", pongs=[b"p"] * 2),
)
_.add("5.3", "a pong between fragments", *between(HALVES, pong(b"p")), then=taken("a"))
_.add(
    "5.3",
    "a ping and a pong between fragments",
    *between(THIRDS, ping(b"p"), pong(b"q")),
    then=taken("a", pongs=[b"p"] * 2),
)
_.add(
    "5.3",
    "pings between fragments of a byte",
    *between(cut(A, *range(1, len(A))), ping(b"p")),
    then=taken("a", pongs=[b"p"] * (len(A) - 1)),
    joined=True,
)
_.add(
    "5.3",
    "a ping between characters that are cut",
    *between(cut(message("é€😀"), 24, 26, 27, 29), ping(b"\xff")),
    then=taken("é€😀", pongs=[b"\xff"] * 4),
)
_.add("5.3", "a close between fragments", *between(HALVES, close(1000)), then=closed(1000))
_.add("5.3", "a long ping between fragments", *between(HALVES, ping(b"p" * 126)), then=failed(1002))
_.add(
    "5.3",
    "a ping in fragments between fragments",
    *between(HALVES, ping(b"p", fin=False)),
    then=failed(1002),
)

# 5.4: fragments that do not belong there

_.add("5.4", "a continuation of nothing, the last", more(A), then=failed(1002))
_.add("5.4", "a continuation of nothing, not the last", more(A, fin=False), then=failed(1002))
_.add("5.4", "an empty continuation of nothing", more(), then=failed(1002))
_.add("5.4", "a continuation of nothing, byte by byte", more(A), then=failed(1002), chop=1)
_.add("5.4", "a continuation after a whole message", text(A), more(b"x"), then=failed(1002, "a"))
_.add(
    "5.4",
    "a continuation after a message in fragments",
    *HALVES,
    more(b"x"),
    then=failed(1002, "a"),
)
_.add(
    "5.4",
    "a continuation of nothing, then a message in fragments",
    more(b"x", fin=False),
    *HALVES,
    then=failed(1002),
)
_.add("5.4", "text in a message", HALVES[0], text(A), then=failed(1002))
_.add("5.4", "text in a message, begun only", HALVES[0], text(b"{", fin=False), then=failed(1002))
_.add("5.4", "text in a message, after two fragments", *THIRDS[:2], text(A), then=failed(1002))
_.add("5.4", "binary in a message", HALVES[0], Frame(BINARY, b"x"), then=failed(1002))
_.add(
    "5.4",
    "text in a message, after a ping",
    HALVES[0],
    ping(b"p"),
    Heard("pong"),
    text(A),
    then=failed(1002, pongs=[b"p"]),
)
_.add(
    "5.4",
    "text in a message whose fragment was empty",
    text(b"", fin=False),
    text(A),
    then=failed(1002),
)
WRONG_HEADS: dict[str, list[Step]] = {
    "a continuation of nothing": [Frame(0, length=9)],
    "a continuation of nothing, not the last": [Frame(0, fin=False, length=9)],
    "a continuation after a whole message": [text(A), Frame(0, length=9)],
    "text in a message": [HALVES[0], Frame(1, length=9)],
    "text in a message, not the last": [HALVES[0], Frame(1, fin=False, length=9)],
    "binary in a message": [HALVES[0], Frame(BINARY, length=9)],
}
for what, steps in WRONG_HEADS.items():
    answers = ["a"] if steps[0] == text(A) else []
    _.add("5.5", f"{what}, by its head", *steps, then=failed(1002, *answers))
