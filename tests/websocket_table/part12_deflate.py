"""Chapter 12: messages under permessage-deflate (RFC 7692)."""

import hashlib
import zlib
from typing import Any

from mcpcore_transports.websocket.settings import DeflateSettings
from tests.websocket_table.codec import (
    RSV1,
    Frame,
    Packer,
    close,
    ping,
    text,
)
from tests.websocket_table.part5_fragments import between, cut
from tests.websocket_table.rows import (
    ROWS,
    Agreed,
    Chapter,
    Step,
    closed,
    failed,
    message,
    taken,
)

_ = Chapter(ROWS)

BOTH = "server_no_context_takeover; client_no_context_takeover"
FRESH = Agreed(
    settings=DeflateSettings(),
    offer="permessage-deflate; client_max_window_bits",
    answer=f"permessage-deflate; {BOTH}",
)
KEPT = Agreed(
    settings=DeflateSettings(context_takeover=True, threshold=1),
    offer="permessage-deflate",
    answer="permessage-deflate",
)
NARROW = Agreed(
    settings=DeflateSettings(window_bits=9, threshold=1),
    offer="permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    answer=f"permessage-deflate; {BOTH}; server_max_window_bits=9; client_max_window_bits=9",
)
KEPT_NARROW = Agreed(
    settings=DeflateSettings(context_takeover=True, window_bits=10, threshold=1),
    offer="permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
    answer="permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
)
ALL = {"fresh": FRESH, "kept": KEPT, "narrow": NARROW, "kept and narrow": KEPT_NARROW}


def noise(size: int) -> str:
    """Text that does not become much smaller."""
    digest = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(size // 64 + 1))
    return "".join(digest)[:size]


def marked(data: bytes, **how: Any) -> Frame:
    """A frame with data that is compressed already."""
    return text(data, bits=RSV1, **how)


def packed(id: str = "a", **how: Any) -> Frame:
    """A message, compressed by itself."""
    return marked(Packer()(message(id)), **how)


def in_parts(data: bytes, *places: int) -> list[Step]:
    """Compressed data in fragments: only the first is marked."""
    frames = cut(data, *places)
    first = frames[0]
    assert isinstance(first, Frame)
    return [marked(first.payload, fin=first.fin), *frames[1:]]


# 12.1: messages

for name, agreed in ALL.items():
    _.add("12.1", f"a compressed message ({name})", packed(), then=taken("a"), agreed=agreed)
    _.add(
        "12.1",
        f"a message that is not compressed ({name})",
        text(message()),
        then=taken("a"),
        agreed=agreed,
    )
    _.add(
        "12.1",
        f"compressed messages and others by turns ({name})",
        packed("a"),
        text(message("b")),
        packed("c"),
        text(message("d")),
        then=taken(*"abcd"),
        agreed=agreed,
    )
    for size in (125, 126, 1000, 5000, 65536):
        id = noise(size)
        bits = agreed.bits("client")
        fresh = "no_context" in agreed.answer
        pack = Packer(fresh=fresh, bits=bits)
        _.add(
            "12.1",
            f"three messages of {size} bytes and more, one window for all ({name})",
            *[marked(pack(message(id))) for repeat in range(3)],
            then=taken(id, id, id),
            agreed=agreed,
            answers_marked=None if fresh and size < 2000 else True,
            long=size > 6000,
        )
    _.add(
        "12.1",
        f"messages that become nothing ({name})",
        *[marked(Packer()(message(letter * 3000))) for letter in "xyz"],
        then=taken("x" * 3000, "y" * 3000, "z" * 3000),
        agreed=agreed,
        answers_marked=True,
    )
_.add(
    "12.1",
    "small answers are not compressed below the threshold",
    packed("a" * 500),
    then=taken("a" * 500),
    agreed=FRESH,
    answers_marked=False,
)
_.add(
    "12.1",
    "a second message refers to the first, where the window is kept",
    *[
        marked(step)
        for pack in [Packer(fresh=False)]
        for step in (pack(message(noise(500))), pack(message(noise(500))))
    ],
    then=taken(noise(500), noise(500)),
    agreed=KEPT,
    answers_marked=True,
)
_.add(
    "12.1",
    "a second message refers to the first, where it was agreed that none does",
    *[
        marked(step)
        for pack in [Packer(fresh=False)]
        for step in (pack(message(noise(500))), pack(message(noise(500))))
    ],
    then=failed(1007, noise(500)),
    agreed=FRESH,
)
_.add(
    "12.1",
    "what was not compressed does not go into the window",
    *[
        step
        for pack in [Packer(fresh=False)]
        for step in (
            marked(pack(message(noise(500)))),
            text(message("b" * 500)),
            marked(pack(message(noise(500)))),
        )
    ],
    then=taken(noise(500), "b" * 500, noise(500)),
    agreed=KEPT,
)

# 12.2: forms of compressed data

A = message("a" * 50)
for level in range(10):
    _.add(
        "12.2",
        f"effort {level}",
        marked(Packer(level=level)(A)),
        then=taken("a" * 50),
        agreed=FRESH,
        long=level not in (0, 1, 6, 9),
    )
for bits in range(9, 16):
    data = Packer(bits=bits)(message(noise(3000)))
    _.add(
        "12.2",
        f"a window of {bits} bits",
        marked(data),
        then=taken(noise(3000)),
        agreed=FRESH,
        long=bits not in (9, 15),
    )
WHOLE = zlib.compressobj(6, zlib.DEFLATED, -15)
FINAL = WHOLE.compress(A) + WHOLE.flush(zlib.Z_FINISH)
_.add("12.2", "a final block", marked(FINAL + b"\0"), then=taken("a" * 50), agreed=FRESH)
_.add(
    "12.2",
    "a final block (kept), then another message",
    marked(FINAL + b"\0"),
    packed("b"),
    then=taken("a" * 50, "b"),
    agreed=KEPT,
)
HALF = zlib.compressobj(6, zlib.DEFLATED, -15)
BLOCKS = HALF.compress(A[:30]) + HALF.flush(zlib.Z_SYNC_FLUSH) + HALF.compress(A[30:])
BLOCKS += HALF.flush(zlib.Z_SYNC_FLUSH)
_.add("12.2", "two blocks", marked(BLOCKS[:-4]), then=taken("a" * 50), agreed=FRESH)
FIXED = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
DATA = FIXED.compress(A) + FIXED.flush(zlib.Z_SYNC_FLUSH)
_.add("12.2", "fixed codes", marked(DATA[:-4]), then=taken("a" * 50), agreed=FRESH)
STORED = b"\x00" + len(A).to_bytes(2, "little") + (len(A) ^ 0xFFFF).to_bytes(2, "little") + A
_.add("12.2", "a stored block", marked(STORED + b"\0"), then=taken("a" * 50), agreed=FRESH)
_.add(
    "12.2",
    "empty blocks before the message",
    marked((b"\0" + b"\0\0\xff\xff") * 9 + DATA[:-4]),
    then=taken("a" * 50),
    agreed=FRESH,
)
for what, data in (("as the RFC has it", b"\0"), ("in no bytes at all", b"")):
    _.add(
        "12.2",
        f"an empty message {what}",
        marked(data),
        then=taken("!-32700"),
        agreed=FRESH,
        sides=("server",),
    )
    _.add(
        "12.2",
        f"an empty message {what}, which a client notes",
        marked(data),
        then=taken(),
        agreed=FRESH,
        sides=("client",),
    )

# 12.3: fragments

PACKED = Packer()(A)
for place in range(len(PACKED) + 1):
    _.add(
        "12.3",
        f"two fragments, cut at {place}",
        *in_parts(PACKED, place),
        then=taken("a" * 50),
        agreed=FRESH,
        long=place % 8 != 0,
    )
_.add(
    "12.3",
    "a fragment for each byte",
    *in_parts(PACKED, *range(1, len(PACKED))),
    then=taken("a" * 50),
    agreed=FRESH,
)
_.add(
    "12.3",
    "pings between fragments",
    *between(in_parts(PACKED, 5, 20), ping(b"p")),
    then=taken("a" * 50, pongs=[b"p"] * 2),
    agreed=FRESH,
)
_.add(
    "12.3",
    "a fragmented message byte by byte",
    *in_parts(PACKED, 5, 20),
    then=taken("a" * 50),
    agreed=FRESH,
    chop=1,
)
_.add(
    "12.3",
    "a close between fragments",
    *between(in_parts(PACKED, 5), close(1000)),
    then=closed(1000),
    agreed=FRESH,
)
_.add(
    "12.3", "fragments that are not compressed", *cut(A, 9, 20), then=taken("a" * 50), agreed=FRESH
)
