"""Chapter 7: how a connection ends, with every code."""

from tests.websocket_table.codec import CLOSE, Frame, close, more, ping, pong, text, valid_code
from tests.websocket_table.rows import (
    ROWS,
    Chapter,
    End,
    Heard,
    Row,
    Shut,
    Then,
    closed,
    failed,
    message,
)

_ = Chapter(ROWS)

A = message("a")
CUT = Then(end="cut", codes=(1001, 1002), client_codes=(1000, 1002))
LEFT = Then(end="closed", codes=(1001,), client_codes=(1000,), leaves=True)

# 7.1: what comes after

_.add("7.1", "a message, then a close", text(A), close(1000), then=closed(1000, answers=["a"]))
_.add("7.1", "two closes", close(1000), close(1000), then=closed(1000))
_.add(
    "7.1",
    "two closes with two codes in one piece",
    close(1001),
    close(1002),
    then=closed(1001),
    joined=True,
)
_.add("7.1", "a ping after the close", close(1000), ping(b"p"), then=closed(1000))
_.add("7.1", "a pong after the close", close(1000), pong(b"p"), then=closed(1000))
_.add("7.1", "a message after the close", close(1000), text(A), then=closed(1000))
_.add(
    "7.1",
    "a message after the close, in one piece",
    close(1000),
    text(A),
    then=closed(1000),
    joined=True,
)
_.add(
    "7.1",
    "the rest of a message after the close",
    text(A[:9], fin=False),
    close(1000),
    more(A[9:]),
    then=closed(1000),
)
_.add(
    "7.1",
    "256 KiB of a message, a close and a ping",
    text(b"x" * 262144, fin=False),
    close(1000),
    ping(b"p"),
    then=closed(1000),
)
_.add("7.1", "what is no frame after the close", close(1000), b"\xff" * 50, then=closed(1000))
_.add(
    "7.1",
    "a megabyte after the close",
    close(1000),
    text(b"x" * 1_000_000),
    then=closed(1000),
)
_.add(
    "7.1",
    "a ping, then a close, in one piece",
    ping(b"p"),
    close(1000),
    then=closed(1000, pongs=[b"p"]),
    lenient=(closed(1000),),
    joined=True,
    why="who has seen a close need answer no ping (section 5.5.2)",
)

# 7.3: payloads of a close

_.add("7.3", "no payload", close(), then=closed(None, 1000))
_.add("7.3", "no payload, byte by byte", close(), then=closed(None, 1000), chop=1)
_.add("7.3", "one byte", Frame(CLOSE, b"\x03"), then=failed(1002))
_.add("7.3", "a code and no reason", close(1000), then=closed(1000))
_.add("7.3", "a code and a reason", close(1000, b"Hello World!"), then=closed(1000))
_.add("7.3", "a reason of 123 bytes", close(1000, b"*" * 123), then=closed(1000))
_.add("7.3", "a reason of 124 bytes", close(1000, b"*" * 124), then=failed(1002))
_.add(
    "7.3", "a reason of 123 bytes, byte by byte", close(1000, b"*" * 123), then=closed(1000), chop=1
)
_.add(
    "7.3",
    "a reason in characters of all sizes",
    close(1000, "aé€😀".encode() * 12),
    then=closed(1000),
)
_.add("7.3", "a reason with control characters", close(1000, b"\r\n\x1b[2J\0"), then=closed(1000))
_.add(
    "7.3",
    "a close in two fragments",
    Frame(CLOSE, b"\x03\xe8", fin=False),
    more(b"x"),
    then=failed(1002),
)
_.add(
    "7.3",
    "the beginning of a close, and then nothing",
    Frame(CLOSE, b"\x03", length=2),
    End(),
    then=CUT,
)

# 7.5: a reason that is no UTF-8

for what, reason in {
    "a byte FF": b"\xff",
    "a surrogate": b"\xce\xba\xed\xa0\x80edited",
    "half a character at its end": "€".encode()[:2],
    "an overlong slash": b"\xc0\xaf",
    "a character beyond Unicode": b"\xf4\x90\x80\x80",
}.items():
    _.add("7.5", f"a reason with {what}", close(1000, reason), then=failed(1007))

# 7.7, 7.9: codes

FINE = (*range(1000, 1004), *range(1007, 1015), 3000, 3001, 3999, 4000, 4999)
"""RFC 6455 section 7.4 and the registry: those that an endpoint may send."""
NEVER = (0, 1, 999, 1004, 1005, 1006, *range(1015, 1018), 1100, 1999, 2000, 2999, 5000, 5001, 65535)
for code in FINE:
    assert valid_code(code)
    _.add("7.7", f"{code}", close(code, b"so"), then=closed(code))
for code in NEVER:
    assert not valid_code(code)
    _.add("7.9", f"{code}", close(code), then=failed(1002))
    _.add("7.9", f"{code} with a reason", close(code, b"so"), then=failed(1002), long=True)

# 7.11: TCP ends, without a close

_.add(
    "7.11",
    "TCP ends after a message",
    text(A),
    Heard("text"),
    End(),
    then=Then(end="cut", codes=CUT.codes, client_codes=CUT.client_codes, answers=("a",)),
)
_.add("7.11", "TCP ends before anything", End(), then=CUT)
_.add("7.11", "TCP ends within the first two bytes", b"\x81", End(), then=CUT)
_.add(
    "7.11",
    "TCP ends within a length",
    text(b"", form=2).encode(client=True)[:3],
    End(),
    then=CUT,
    sides=("server",),
)
_.add("7.11", "TCP ends within a frame", Frame(1, A[:20], length=len(A)), End(), then=CUT)
_.add("7.11", "TCP ends between fragments", text(A[:20], fin=False), End(), then=CUT)
_.add("7.11", "TCP ends within a ping", Frame(9, b"x", length=5), End(), then=CUT)
_.add("7.11", "TCP ends after a close", close(1000), End(), then=closed(1000))

# 7.13: the side under test closes

_.add("7.13", "it closes, and is answered", Shut(), then=LEFT)
_.add(
    "7.13",
    "it closes while a close is on its way",
    Shut(),
    close(4000),
    then=Then(end="closed", codes=(1001, 4000), client_codes=(1000, 4000), leaves=True),
)
_.add(
    "7.13",
    "a close is on its way when it closes",
    close(4000),
    Shut(),
    then=Then(end="closed", codes=(1001, 4000), client_codes=(1000, 4000), leaves=True),
)
_.add(
    "7.13",
    "what it is sent between its close and the answer is passed over",
    Shut(),
    Heard("close"),
    text(A),
    ping(b"p"),
    close(1000),
    then=LEFT,
)
_.add(
    "7.13",
    "what it is sent between its close and the answer is broken",
    Shut(),
    Heard("close"),
    b"\xff\xff",
    close(1000),
    then=LEFT,
)
_.add(
    "7.13", "TCP ends instead of an answer to its close", Shut(), Heard("close"), End(), then=LEFT
)
_.add(
    "7.13",
    "a message that has been begun when it closes",
    text(A[:9], fin=False),
    ping(b"p"),
    Heard("pong"),
    Shut(),
    Heard("close"),
    more(A[9:]),
    close(1000),
    then=Then(end="closed", codes=(1001,), client_codes=(1000,), leaves=True, pongs=(b"p",)),
)


def every_code() -> list[Row]:
    """A row for each code from 0 to 5000."""
    return [
        Row(
            id=f"7.0.{code}",
            title=f"{code}",
            steps=(close(code),),
            then=closed(code) if valid_code(code) else failed(1002),
        )
        for code in range(5001)
    ]
