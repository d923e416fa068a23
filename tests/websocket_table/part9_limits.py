"""Chapters 9 and 10: limits, lengths and masks."""

import struct

from tests.websocket_table.codec import Frame, more, ping, pong, text
from tests.websocket_table.part5_fragments import cut
from tests.websocket_table.rows import (
    LIMIT,
    ROWS,
    Chapter,
    Step,
    failed,
    message,
    sized,
    taken,
)

_ = Chapter(ROWS)

# 9.1: large messages

for size in (65536, 262_144, 1_048_576, 4_194_304):
    data, id = sized(size)
    later = size > 65536
    _.add("9.1", f"a message of {size} bytes", text(data), then=taken(id), long=later)
    for part in (1024, 4096, 65536):
        _.add(
            "9.1",
            f"a message of {size} bytes in fragments of {part}",
            *cut(data, *range(part, size, part)),
            then=taken(id),
            joined=True,
            long=later,
        )
    for chop in (1024, 16384):
        _.add(
            "9.1",
            f"a message of {size} bytes in pieces of {chop}",
            text(data),
            then=taken(id),
            chop=chop,
            long=later,
        )

# 9.2: the limit of a message

for size, then in ((LIMIT - 1, None), (LIMIT, None), (LIMIT + 1, failed(1009))):
    data, id = sized(size)
    where = {-1: "below", 0: "at", 1: "above"}[size - LIMIT]
    good = then or taken(id)
    _.add("9.2", f"{where} the limit, in one frame", text(data), then=good, limit=LIMIT)
    _.add("9.2", f"{where} the limit, in two", *cut(data, 1000), then=good, limit=LIMIT)
    _.add(
        "9.2",
        f"{where} the limit, in many",
        *cut(data, *range(50, size, 50)),
        then=good,
        limit=LIMIT,
        joined=True,
    )
    _.add(
        "9.2",
        f"{where} the limit, in pieces",
        text(data),
        then=good,
        limit=LIMIT,
        chop=333,
    )
    _.add(
        "9.2",
        f"{where} the limit, its last fragment empty",
        *cut(data, size),
        then=good,
        limit=LIMIT,
    )
_.add(
    "9.2",
    "the limit is one of bytes, not of characters",
    text(message("é" * 1000)),
    then=failed(1009),
    limit=LIMIT,
)
_.add(
    "9.2",
    "messages at the limit, one after the other",
    *[text(sized(LIMIT)[0])] * 3,
    then=taken(*[sized(LIMIT)[1]] * 3),
    limit=LIMIT,
)
_.add(
    "9.2",
    "a small message before one above the limit",
    text(message("a")),
    text(sized(LIMIT + 1)[0]),
    then=failed(1009, "a"),
    limit=LIMIT,
)

# 9.3: lengths, of which only the head is sent


def head(length: int, **how: object) -> Step:
    """A frame that has this length and of which nothing but the head comes."""
    return Frame(1, length=length, form=8, **how)  # type: ignore[arg-type]


_.add(
    "9.3",
    "one byte above the limit, by its head",
    Frame(1, length=LIMIT + 1),
    then=failed(1009),
    limit=LIMIT,
)
_.add(
    "9.3",
    "one byte above the limit with the fragment before, by its head",
    text(b" " * 1500, fin=False),
    Frame(0, length=LIMIT - 1499),
    then=failed(1009),
    limit=LIMIT,
)
for power in (23, 31, 32, 40, 62):
    _.add("9.3", f"a length of 2 to the {power}, by its head", head(2**power), then=failed(1009))
_.add("9.3", "the greatest length, by its head", head(2**63 - 1), then=failed(1009))
_.add("9.3", "a length of 2 to the 63", head(2**63), then=failed(1002))
_.add("9.3", "a length with all bits", head(2**64 - 1), then=failed(1002))
_.add("9.3", "a length of 2 to the 63, byte by byte", head(2**63), then=failed(1002), chop=1)
_.add("9.3", "a great length, byte by byte", head(2**40), then=failed(1009), chop=1)
_.add(
    "9.3",
    "a great length of the second fragment",
    text(b"{", fin=False),
    Frame(0, length=2**40),
    then=failed(1009),
)
for length, form in ((0, 2), (5, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)):
    _.add(
        "9.4",
        f"a length of {length} in {form} bytes",
        Frame(1, b"x" * length, form=form),
        then=failed(1002),
    )
_.add(
    "9.4", "a ping of 5 bytes whose length has two", Frame(9, b"x" * 5, form=2), then=failed(1002)
)
_.add(
    "9.4", "a close whose length has eight bytes", Frame(8, b"\x03\xe8", form=8), then=failed(1002)
)

# 9.5: nothing is kept of what is too large

_.add(
    "9.5",
    "a megabyte of a message that says it has a terabyte",
    Frame(1, b"x" * 1_000_000, length=2**40),
    then=failed(1009),
    memory=5_000_000,
)
_.add(
    "9.5",
    "a megabyte in fragments above a small limit",
    *[text(b"x" * 1000, fin=False), *[more(b"x" * 1000, fin=False)] * 1000],
    then=failed(1009),
    limit=LIMIT,
    joined=True,
    memory=6_000_000,
)

# 9.6: how many frames a message may have

for count, end in ((49, None), (50, None), (51, 1008)):
    frames = cut(message("a"), *[9] * (count - 1))
    _.add(
        "9.6",
        f"{count} frames where 50 are allowed",
        *frames,
        then=failed(end) if end else taken("a"),
        fragments=50,
    )
_.add(
    "9.6",
    "empty frames without end where 50 are allowed",
    text(b"", fin=False),
    *[more(fin=False)] * 1000,
    then=failed(1008),
    fragments=50,
    joined=True,
)
_.add(
    "9.6",
    "many messages in 50 frames each",
    *[step for id in "abc" for step in cut(message(id), *[9] * 49)],
    then=taken(*"abc"),
    fragments=50,
    joined=True,
)

# 9.7: floods

_.add(
    "9.7",
    "1000 small messages",
    *(text(message(str(number))) for number in range(1000)),
    then=taken(*(str(number) for number in range(1000))),
    joined=True,
)
PINGS = [b"%d" % number for number in range(5000)]
_.add(
    "9.7",
    "5000 pings, whose answers are read",
    *map(ping, PINGS),
    then=taken(pongs=PINGS),
    lenient=(taken(pongs=PINGS[-256:]),),
    joined=True,
    why="the latest pings alone may be answered (section 5.5.3)",
)
_.add("9.7", "5000 pongs that nobody asked for", *map(pong, PINGS), then=taken(), joined=True)

# 10: masks

WRONG: list[tuple[str, Step]] = [
    ("text", text(message(), mask=False)),
    ("an empty text", text(b"", mask=False)),
    ("a fragment", text(b"{", fin=False, mask=False)),
    ("a ping", ping(b"x", mask=False)),
    ("a pong", pong(b"x", mask=False)),
    ("a close", Frame(8, b"\x03\xe8", mask=False)),
    ("text, by its first two bytes", b"\x81\x05"),
    ("text, by the head of a long one", struct.pack("!BBH", 0x81, 126, 1000)),
]
for what, frame in WRONG:
    _.add("10.1", f"{what} without a mask", frame, then=failed(1002), sides=("server",))
_.add(
    "10.1",
    "a fragment without a mask after one with",
    text(b"{", fin=False),
    more(b"}", mask=False),
    then=failed(1002),
    sides=("server",),
)
_.add(
    "10.1",
    "text without a mask after a good message",
    text(message("a")),
    text(message("b"), mask=False),
    then=failed(1002, "a"),
    sides=("server",),
)
MASKED: list[tuple[str, Step]] = [
    ("text", text(message(), mask=True)),
    ("text with a mask of zeros", text(message(), mask=True, key=bytes(4))),
    ("an empty text", text(b"", mask=True)),
    ("a ping", ping(b"x", mask=True)),
    ("a close", Frame(8, b"\x03\xe8", mask=True)),
    ("text, by its first two bytes", b"\x81\x85"),
    ("text, by the head of a long one", struct.pack("!BBH", 0x81, 0xFE, 1000)),
]
for what, frame in MASKED:
    _.add("10.2", f"{what} with a mask", frame, then=failed(1002), sides=("client",))
_.add(
    "10.2",
    "text with a mask after a good message",
    text(message("a")),
    text(message("b"), mask=True),
    then=failed(1002, "a"),
    sides=("client",),
)
_.add(
    "10.3",
    "each frame has a mask of its own",
    *(text(message(id)) for id in "abcdefgh"),
    then=taken(*"abcdefgh"),
    sides=("client",),
)
