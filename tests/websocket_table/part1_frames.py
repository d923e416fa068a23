"""Chapters 1 to 4: framing, pings and pongs, reserved bits, reserved opcodes."""

from tests.websocket_table.codec import (
    BINARY,
    RSV1,
    RSV2,
    RSV3,
    Frame,
    more,
    ping,
    pong,
    text,
)
from tests.websocket_table.rows import ROWS, SHORTEST, Chapter, Then, failed, message, sized, taken

_ = Chapter(ROWS)

# 1.1 to 1.3: sizes

for data, what in ((b"", "an empty text message"), (b"hello", "text that is no JSON")):
    _.add("1.1", what, text(data), then=taken("!-32700"), sides=("server",))
    _.add("1.1", f"{what}, which a client notes", text(data), then=taken(), sides=("client",))
_.add("1.1", "the shortest message", text(message("")), then=taken(""))
for size in (125, 126, 127, 128, 65535, 65536, 100_000):
    data, id = sized(size)
    _.add("1.1", f"a text message of {size} bytes", text(data), then=taken(id))
for size in (125, 126, 65535, 65536):
    data, id = sized(size)
    for chop in (1, 7, 997) if size < 1000 else (997, 4096):
        _.add(
            "1.1",
            f"a text message of {size} bytes, in pieces of {chop}",
            text(data),
            then=taken(id),
            chop=chop,
        )
for chop in (1, 2, 3, 5, 14):
    _.add(
        "1.1",
        f"many messages in pieces of {chop}",
        *(text(message(name)) for name in "abcdef"),
        then=taken(*"abcdef"),
        chop=chop,
        joined=True,
    )
_.add(
    "1.1",
    "many messages in one piece",
    *(text(message(str(number))) for number in range(300)),
    then=taken(*(str(number) for number in range(300))),
    joined=True,
)
for size in (0, 125, 126, 127, 128, 65535, 65536):
    _.add("1.2", f"a binary message of {size} bytes", Frame(BINARY, bytes(size)), then=failed(1003))
_.add("1.2", "a binary message that is JSON", Frame(BINARY, message()), then=failed(1003))
_.add(
    "1.2",
    "a binary message that is only begun",
    Frame(BINARY, b"", fin=False),
    then=failed(1003),
)
_.add(
    "1.2",
    "a binary message between others",
    text(message("a")),
    Frame(BINARY, b"x"),
    text(message("b")),
    then=failed(1003, "a"),
)

_.add(
    "1.2",
    "a binary message, by its head",
    Frame(BINARY, length=9),
    then=failed(1003),
)

# 1.3: masks

_.add("1.3", "a mask of zeros", text(message(), key=bytes(4)), then=taken("a"), sides=("server",))
_.add(
    "1.3",
    "masks that make other frames of it",
    text(message("a"), key=b"\x88\x80\x88\x80"),
    text(message("b"), key=message("b")[:4]),
    then=taken("a", "b"),
    sides=("server",),
)

# 2: pings and pongs

_.add("2.1", "a ping without payload", ping(), then=taken(pongs=[b""]))
_.add("2.1", "a ping with text", ping(b"Hello"), then=taken(pongs=[b"Hello"]))
_.add(
    "2.1",
    "a ping with what is no text",
    ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
    then=taken(pongs=[b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"]),
)
_.add("2.1", "a ping of 125 bytes", ping(b"\xfe" * 125), then=taken(pongs=[b"\xfe" * 125]))
_.add("2.1", "a ping of 126 bytes", ping(b"\xfe" * 126), then=failed(1002))
_.add("2.1", "a ping of 65536 bytes", ping(b"\xfe" * 65536), then=failed(1002))
_.add(
    "2.1",
    "a ping of 125 bytes, byte by byte",
    ping(b"\xfe" * 125),
    then=taken(pongs=[b"\xfe" * 125]),
    chop=1,
)
_.add("2.1", "a ping in two fragments", ping(b"a", fin=False), more(b"b"), then=failed(1002))
_.add("2.2", "a pong that nobody asked for", pong(), then=taken())
_.add("2.2", "a pong with payload that nobody asked for", pong(b"unsolicited"), then=taken())
_.add("2.2", "a pong of 125 bytes", pong(b"p" * 125), then=taken())
_.add("2.2", "a pong of 126 bytes", pong(b"p" * 126), then=failed(1002))
_.add(
    "2.2",
    "a pong that nobody asked for, and a ping",
    pong(b"unsolicited"),
    ping(b"asked"),
    then=taken(pongs=[b"asked"]),
)
_.add("2.2", "a pong in two fragments", pong(b"a", fin=False), more(b"b"), then=failed(1002))
TEN = [b"payload-%d" % number for number in range(10)]
_.add("2.3", "ten pings", *map(ping, TEN), then=taken(pongs=TEN))
_.add("2.3", "ten pings in pieces of a byte", *map(ping, TEN), then=taken(pongs=TEN), chop=1)
HUNDRED = [b"%d" % number for number in range(100)]
_.add("2.3", "100 pings at once", *map(ping, HUNDRED), then=taken(pongs=HUNDRED), joined=True)
_.add(
    "2.3",
    "pings and messages by turns",
    *(step for name in "abc" for step in (ping(name.encode()), text(message(name)))),
    then=taken("a", "b", "c", pongs=[b"a", b"b", b"c"]),
)

# 3: reserved bits

for bits in (RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3):
    number = bits >> 4
    _.add(
        "3.1",
        f"reserved bits {number:03b} at a text frame",
        text(message(), bits=bits),
        then=failed(1002),
    )
    _.add("3.2", f"reserved bits {number:03b} at a ping", ping(b"x", bits=bits), then=failed(1002))
    _.add(
        "3.3",
        f"reserved bits {number:03b} after a good message, byte by byte",
        text(message("a")),
        text(message("b"), bits=bits),
        ping(b"never answered"),
        then=failed(1002, "a"),
        chop=1,
        long=bits not in (RSV1, RSV3),
    )
_.add(
    "3.4",
    "a reserved bit at a binary frame, which is wrong twice",
    Frame(BINARY, b"x", bits=RSV3),
    then=Then(end="failed", codes=(1002, 1003)),
)
_.add("3.4", "a reserved bit at a close", Frame(8, b"\x03\xe8", bits=RSV2), then=failed(1002))
_.add(
    "3.4",
    "a reserved bit at a continuation",
    text(message()[:9], fin=False),
    more(message()[9:], bits=RSV1),
    then=failed(1002),
)

# 4: reserved opcodes

for opcode in (3, 4, 5, 6, 7):
    _.add("4.1", f"opcode {opcode}, empty", Frame(opcode), then=failed(1002), long=opcode > 3)
    _.add("4.1", f"opcode {opcode} with payload", Frame(opcode, b"x" * 200), then=failed(1002))
for opcode in (11, 12, 13, 14, 15):
    _.add("4.2", f"opcode {opcode}, empty", Frame(opcode), then=failed(1002), long=opcode > 11)
    _.add("4.2", f"opcode {opcode} with payload", Frame(opcode, b"x"), then=failed(1002))
for opcode in (3, 7, 11, 15):
    _.add(
        "4.3",
        f"opcode {opcode} after a good message and before a ping",
        text(message("a")),
        Frame(opcode, b"x"),
        ping(b"never answered"),
        then=failed(1002, "a"),
    )
    _.add(
        "4.3",
        f"opcode {opcode} between fragments",
        text(message()[:9], fin=False),
        Frame(opcode, b"x"),
        more(message()[9:]),
        then=failed(1002),
    )
    _.add(
        "4.3",
        f"opcode {opcode}, by its first two bytes",
        Frame(opcode, b"x" * 100).encode(client=True)[:1] + b"\x80",
        then=failed(1002),
        sides=("server",),
    )

assert SHORTEST < 125
