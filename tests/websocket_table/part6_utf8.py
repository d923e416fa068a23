"""Chapter 6: text is UTF-8, and what is not is noticed at its first byte."""

from tests.websocket_table.codec import Frame, more, text
from tests.websocket_table.part5_fragments import cut
from tests.websocket_table.rows import ROWS, Chapter, Step, failed, message, taken

_ = Chapter(ROWS)

FRONT = b'{"jsonrpc":"2.0","id":"'
BACK = b'","method":"ping"}'


def begun(data: bytes) -> Step:
    """A frame that has no end yet, only this beginning."""
    return Frame(1, data, length=len(data) + 100)


# 6.1, 6.2: valid text, cut anywhere

KOSME = "κόσμε"
_.add("6.1", "Greek", text(message(KOSME)), then=taken(KOSME))
_.add("6.1", "Greek in two fragments", *cut(message(KOSME), 24), then=taken(KOSME))
_.add(
    "6.1",
    "Greek in a fragment for each byte",
    *cut(message(KOSME), *range(1, len(message(KOSME)))),
    then=taken(KOSME),
)
_.add("6.1", "Greek byte by byte", text(message(KOSME)), then=taken(KOSME), chop=1)
MIXED = "é€😀"
END = len(FRONT) + len(MIXED.encode())
for place in range(len(FRONT), END + 1):
    at = place - len(FRONT)
    _.add(
        "6.2",
        f"characters of two, three and four bytes, in fragments cut at {at}",
        *cut(message(MIXED), place),
        then=taken(MIXED),
    )
    _.add(
        "6.2",
        f"the same with an empty fragment at {at}",
        *cut(message(MIXED), place, place),
        then=taken(MIXED),
        long=True,
    )
for chop in (1, 2, 3):
    _.add(
        "6.2",
        f"the same in pieces of {chop}",
        *cut(message(MIXED * 20), 25, 26, 27, 31),
        then=taken(MIXED * 20),
        chop=chop,
    )

VALID = {
    "U+0080, the first of two bytes": "\u0080",
    "U+07FF, the last of two bytes": "\u07ff",
    "U+0800, the first of three bytes": "\u0800",
    "U+D7FF, before the surrogates": "\ud7ff",
    "U+E000, after the surrogates": "\ue000",
    "U+FFFD, the replacement": "\ufffd",
    "U+FEFF, the byte order mark, inside": "\ufeff",
    "U+FFFE, no character": "\ufffe",
    "U+FFFF, no character": "\uffff",
    "U+FDD0, no character": "\ufdd0",
    "U+10000, the first of four bytes": "\U00010000",
    "U+1FFFE, no character": "\U0001fffe",
    "U+10FFFF, the last": "\U0010ffff",
    "U+007F, DEL": "\x7f",
    "U+2028, a line separator": "a\u2028b",
    "a combining mark": "e\u0301",
}
for name, id in VALID.items():
    _.add("6.3", name, text(message(id)), then=taken(id))
    _.add(
        "6.3",
        f"{name}, in a fragment for each byte",
        *cut(message(id), *range(len(FRONT), len(FRONT) + len(id.encode()))),
        then=taken(id),
        long=True,
    )
MARK = b"\xef\xbb\xbf"
_.add(
    "6.3",
    "a byte order mark before the message, which is no JSON",
    text(MARK + message()),
    then=taken("!-32700"),
    sides=("server",),
)
_.add(
    "6.3",
    "half an escaped surrogate is text of ASCII",
    text(FRONT + b"\\ud800" + BACK),
    then=taken("!-32700"),
    sides=("server",),
)

# 6.4: the first byte that cannot be right ends it, in whatever is unfinished

INVALID = {
    "a byte FF": (b"", b"\xff"),
    "a byte FE": (b"", b"\xfe"),
    "a continuation byte 80": (b"", b"\x80"),
    "a continuation byte BF": (b"", b"\xbf"),
    "six continuation bytes": (b"", b"\x80\xbf\x80\xbf\x80\xbf"),
    "C0, which begins nothing": (b"", b"\xc0"),
    "C1, which begins nothing": (b"", b"\xc1"),
    "F5, which begins nothing": (b"", b"\xf5"),
    "a character of five bytes": (b"", b"\xf8\x88\x80\x80\x80"),
    "a character of six bytes": (b"", b"\xfc\x84\x80\x80\x80\x80"),
    "overlong in two: a slash": (b"", b"\xc0\xaf"),
    "overlong in two: the last of one": (b"", b"\xc1\xbf"),
    "overlong in three: a slash": (b"\xe0", b"\x80\xaf"),
    "overlong in three: the last of two": (b"\xe0", b"\x9f\xbf"),
    "overlong in four: a slash": (b"\xf0", b"\x80\x80\xaf"),
    "overlong in four: the last of three": (b"\xf0", b"\x8f\xbf\xbf"),
    "overlong NUL": (b"", b"\xc0\x80"),
    "the surrogate D800": (b"\xed", b"\xa0\x80"),
    "the surrogate DBFF": (b"\xed", b"\xaf\xbf"),
    "the surrogate DC00": (b"\xed", b"\xb0\x80"),
    "the surrogate DFFF": (b"\xed", b"\xbf\xbf"),
    "a pair of surrogates": (b"\xed", b"\xa0\x80\xed\xb0\x80"),
    "110000, beyond Unicode": (b"\xf4", b"\x90\x80\x80"),
    "1FFFFF, beyond Unicode": (b"", b"\xf7\xbf\xbf\xbf"),
    "two bytes of which the second is ASCII": (b"\xc3", b"("),
    "three bytes of which the third is ASCII": (b"\xe2\x82", b"("),
    "four bytes of which the fourth is ASCII": (b"\xf0\x9f\x98", b"("),
    "two beginnings": (b"\xe2\x82", b"\xe2"),
}
for name, (fine, bad) in INVALID.items():
    _.add("6.4", name, text(FRONT + fine + bad + BACK), then=failed(1007))
    _.add(
        "6.5",
        f"{name}, at its first wrong byte in an unfinished frame",
        begun(FRONT + fine + bad[:1]),
        then=failed(1007),
    )
    _.add(
        "6.5",
        f"{name}, at its first wrong byte in an unfinished fragment",
        text(FRONT + fine, fin=False),
        Frame(0, bad[:1], fin=False, length=9),
        then=failed(1007),
        long=True,
    )
    _.add(
        "6.5",
        f"{name}, in a whole fragment of an unfinished message",
        text(FRONT + fine, fin=False),
        more(bad[:1], fin=False),
        then=failed(1007),
        long=True,
    )
    _.add(
        "6.5",
        f"{name}, byte by byte",
        begun(FRONT + fine + bad[:1]),
        then=failed(1007),
        chop=1,
        long=True,
    )
_.add(
    "6.4",
    "the example of autobahn: κόσμε, a surrogate, edited",
    text("κόσμε".encode() + b"\xed\xa0\x80" + b"edited"),
    then=failed(1007),
)
_.add(
    "6.4",
    "a good message, then a bad one",
    text(message("a")),
    text(FRONT + b"\xff" + BACK),
    text(message("b")),
    then=failed(1007, "a"),
)

# 6.6: what is not complete at the end of a message

for whole in "é€😀":
    data = whole.encode()
    for size in range(1, len(data)):
        what = f"{size} of {len(data)} bytes of a character"
        _.add("6.6", f"a message ends in {what}", text(b"{" + data[:size]), then=failed(1007))
        _.add(
            "6.6",
            f"a message in fragments ends in {what}",
            text(b"{", fin=False),
            more(data[:size]),
            then=failed(1007),
        )
        _.add(
            "6.6",
            f"a message ends, after an empty fragment, in {what}",
            text(b"{" + data[:size], fin=False),
            more(b""),
            then=failed(1007),
        )
        _.add(
            "6.6",
            f"the rest of {what} is in the next message",
            text(b'"' + data[:size]),
            text(data[size:] + b'"'),
            then=failed(1007),
            long=True,
        )
