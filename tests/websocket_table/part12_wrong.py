"""Chapter 12, the other half: compressed data that is wrong or too much."""

import zlib

from tests.websocket_table.codec import BINARY, RSV1, RSV2, RSV3, Frame, Packer, more, ping, text
from tests.websocket_table.part6_utf8 import BACK, FRONT
from tests.websocket_table.part12_deflate import (
    DATA,
    FINAL,
    FRESH,
    KEPT,
    PACKED,
    A,
    in_parts,
    marked,
    noise,
    packed,
)
from tests.websocket_table.rows import LIMIT, ROWS, Chapter, Heard, failed, message, sized, taken

_ = Chapter(ROWS)

# 12.4: reserved bits

_.add(
    "12.4",
    "the bit at a continuation too",
    marked(PACKED[:9], fin=False),
    more(PACKED[9:], bits=RSV1),
    then=failed(1002),
    agreed=FRESH,
)
_.add(
    "12.4",
    "the bit at a continuation alone",
    text(A[:9], fin=False),
    more(A[9:], bits=RSV1),
    then=failed(1002),
    agreed=FRESH,
)
_.add("12.4", "the bit at a ping", ping(b"p", bits=RSV1), then=failed(1002), agreed=FRESH)
_.add("12.4", "the bit at a pong", Frame(10, b"p", bits=RSV1), then=failed(1002), agreed=FRESH)
_.add(
    "12.4", "the bit at a close", Frame(8, b"\x03\xe8", bits=RSV1), then=failed(1002), agreed=FRESH
)
for bits in (RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3):
    _.add("12.4", f"bits {bits >> 4:03b}", text(PACKED, bits=bits), then=failed(1002), agreed=FRESH)
_.add(
    "12.4",
    "a compressed binary message",
    Frame(BINARY, PACKED, bits=RSV1),
    then=failed(1003),
    agreed=FRESH,
)
_.add(
    "12.4",
    "compressed text in a message",
    marked(PACKED[:9], fin=False),
    packed(),
    then=failed(1002),
    agreed=FRESH,
)

# 12.5: broken data

_.add("12.5", "what is no compressed data", marked(b"\xff" * 20), then=failed(1007), agreed=FRESH)
_.add(
    "12.5",
    "what is no compressed data, in an unfinished frame",
    marked(b"\xff" * 20, length=100),
    then=failed(1007),
    agreed=FRESH,
)
_.add(
    "12.5",
    "a stored block whose length is wrong",
    marked(b"\0\5\0\0\0hello"),
    then=failed(1007),
    agreed=FRESH,
)
for place in (1, 2, 5, len(PACKED) // 2, len(PACKED) - 3, len(PACKED) - 2):
    _.add(
        "12.5",
        f"data that is cut off after {place} bytes",
        marked(PACKED[:place]),
        then=failed(1007),
        agreed=FRESH,
    )
_.add(
    "12.5",
    "a good message after one that is broken",
    marked(b"\xff" * 20),
    packed(),
    then=failed(1007),
    agreed=FRESH,
)
_.add(
    "12.5",
    "a distance beyond the beginning",
    marked(b"\x02\x03\x02"),
    then=failed(1007),
    agreed=FRESH,
)

# 12.6: UTF-8 within

BAD = Packer()(FRONT + b"\xed\xa0\x80" + BACK)
_.add("12.6", "a surrogate within", marked(BAD), then=failed(1007), agreed=FRESH)
SOON = zlib.compressobj(6, zlib.DEFLATED, -15)
EARLY = SOON.compress(FRONT + b"\xff") + SOON.flush(zlib.Z_SYNC_FLUSH)
_.add(
    "12.6",
    "a wrong byte in an unfinished frame",
    marked(EARLY, length=200),
    then=failed(1007),
    agreed=FRESH,
)
_.add(
    "12.6",
    "a wrong byte in an unfinished message",
    marked(EARLY, fin=False),
    then=failed(1007),
    agreed=FRESH,
)
_.add(
    "12.6",
    "half a character at the end",
    marked(Packer()(b'"' + "€".encode()[:2])),
    then=failed(1007),
    agreed=FRESH,
)
MIXED = Packer()(message("é€😀" * 9))
_.add(
    "12.6",
    "characters of all sizes in fragments of a byte",
    *in_parts(MIXED, *range(1, len(MIXED))),
    then=taken("é€😀" * 9),
    agreed=FRESH,
)

# 12.7: limits

for size, then in ((LIMIT, None), (LIMIT + 1, failed(1009))):
    data, id = sized(size)
    _.add(
        "12.7",
        f"{size} bytes where {LIMIT} are allowed",
        marked(Packer()(data)),
        then=then or taken(id),
        agreed=FRESH,
        limit=LIMIT,
    )
    _.add(
        "12.7",
        f"{size} bytes where {LIMIT} are allowed, in fragments",
        *in_parts(Packer()(data), 10, 20),
        then=then or taken(id),
        agreed=FRESH,
        limit=LIMIT,
    )
_.add(
    "12.7",
    "more bytes compressed than the limit has, which unfold to less",
    marked((b"\0" + b"\0\0\xff\xff") * 600 + DATA[:-4]),
    then=taken("a" * 50),
    agreed=FRESH,
    limit=LIMIT,
)
BOMB = Packer(level=9)(b" " * 50_000_000)
_.add(
    "12.7",
    "a bomb: 50 MB in 50 KB",
    marked(BOMB),
    then=failed(1009),
    agreed=FRESH,
    memory=12_000_000,
)
_.add(
    "12.7",
    "a bomb above a small limit",
    marked(BOMB),
    then=failed(1009),
    agreed=FRESH,
    limit=LIMIT,
    memory=1_500_000,
)
_.add(
    "12.7",
    "a bomb in fragments",
    *in_parts(BOMB, *range(1000, len(BOMB), 1000)),
    then=failed(1009),
    agreed=FRESH,
    limit=LIMIT,
    joined=True,
    memory=1_500_000,
)
_.add(
    "12.7",
    "a bomb of which the first bytes come",
    marked(BOMB[:5000], length=len(BOMB)),
    then=failed(1009),
    agreed=FRESH,
    limit=LIMIT,
)
_.add(
    "12.7",
    "3 MB in 3 KB, which unfolds too much",
    marked(Packer(level=9)(b" " * 3_000_000)),
    then=failed(1009),
    agreed=FRESH,
)
_.add(
    "12.7",
    "a message begun, answered pings, and its end",
    *in_parts(PACKED, 9)[:1],
    ping(b"p"),
    Heard("pong"),
    *in_parts(PACKED, 9)[1:],
    then=taken("a" * 50, pongs=[b"p"]),
    agreed=FRESH,
)
ENDS = b"".join(FINAL for _number in range(20))
_.add(
    "12.7",
    "more final blocks than anybody needs",
    marked(ENDS + b"\0"),
    then=failed(1007),
    agreed=FRESH,
)
_.add(
    "12.7",
    "3 MB in 3 KB, after a message that had leave to unfold that much",
    marked(Packer()(message(noise(100_000)))),
    marked(Packer(level=9)(b" " * 3_000_000)),
    then=failed(1009, noise(100_000)),
    agreed=FRESH,
)
FEW = b"".join(FINAL for _number in range(9))
_.add(
    "12.7",
    "final blocks in one message after the other, as many as one may have",
    *[marked(FEW + b"\0")] * 3,
    then=taken(*["!-32700"] * 3),
    agreed=FRESH,
    sides=("server",),
)
_.add(
    "12.7",
    "many good messages, one window for all",
    *[marked(pack(message("a" * 50))) for pack in [Packer(fresh=False)] for _number in range(200)],
    then=taken(*["a" * 50] * 200),
    agreed=KEPT,
    joined=True,
)
