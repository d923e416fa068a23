"""Cases of RFC 6455: frames, as a server over WebSocket has to read them."""

import struct
from itertools import pairwise

from mcpcore_conformance.cases.basic_transports_stdio import plain
from mcpcore_conformance.kit.bindings.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    encoded,
)
from mcpcore_conformance.kit.heard import Event, Gone
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Id, Kind
from mcpcore_conformance.kit.model import WEBSOCKET, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("rfc6455")
case = page.server(bindings=WEBSOCKET)

NORMAL, PROTOCOL_ERROR, NOT_UTF8 = 1000, 1002, 1007
FENCE = b"kit-fence"
RESERVED_BITS = (0x40, 0x20, 0x10)
RESERVED_OPCODES = (3, 7, 11, 15)


async def answered(link: Link, identifier: Id, what: str) -> None:
    """Check that a plain request was answered well."""
    reply = await link.reply(Sent(identifier, 0, "a request"))
    found = reply.message
    check(
        found is not None and found.kind is Kind.RESULT and found.id == identifier,
        f"{what} got {reply}",
    )


async def failed(talk: ServerTalk, link: Link, what: str, code: int, *, fence: bool = True) -> Gone:
    """Check that the server fails the connection; it should say why.

    ``fence``: who answers a ping behind what is wrong has not minded it.  Not to be had within a
    frame.
    """
    if fence:
        await talk.frames(link).frame(PING, FENCE)

    def over() -> bool:
        return link.gone is not None or any(each.data == FENCE for each in link.events)

    try:
        await link.until(over)
    except Broken as error:
        raise Broken(f"after {what}: {error.detail}") from error
    gone = link.gone
    if gone is None:
        raise Broken(f"after {what} the connection stays open")
    talk.should(gone.code == code, f"after {what} it was closed with {gone.code}, not {code}")
    return gone


async def fails(
    talk: ServerTalk,
    what: str,
    data: bytes,
    code: int = PROTOCOL_ERROR,
    *,
    fence: bool = True,
) -> Gone:
    """Send bytes on a connection of their own that the server has to fail."""
    link = await talk.open()
    await talk.frames(link).raw(data)
    return await failed(talk, link, what, code, fence=fence)


def fragments(payload: bytes, *cuts: int) -> list[bytes]:
    """A message in fragments, cut at these places."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[one:other] for one, other in pairwise(edges)]
    last = len(parts) - 1
    return [
        encoded(TEXT if number == 0 else CONTINUATION, part, fin=number == last)
        for number, part in enumerate(parts)
    ]


# Frames


@case.must("section-5.1/unmasked", "The server closes the connection, with 1002.")
async def unmasked(talk: ServerTalk) -> None:
    """A frame of a client that is not masked is not taken."""
    link = await talk.open()
    data = encoded(TEXT, plain(link, "kit-unmasked"), masked=False)
    await talk.frames(link).raw(data)
    await failed(talk, link, "a frame without mask", PROTOCOL_ERROR)
    strays = [each for each in link.inbox if each.id == "kit-unmasked"]
    check(not strays, "a frame without mask was answered")


@case.must("section-5.2/reserved-bits", "The server fails the connection, with 1002.")
async def reserved_bits(talk: ServerTalk) -> None:
    """A frame with a reserved bit that nobody has agreed on is not taken."""
    for bit in RESERVED_BITS:
        frame = bytearray(encoded(TEXT, b"{}"))
        frame[0] |= bit
        await fails(talk, f"a frame with the reserved bit {bit:#x}", bytes(frame))


@case.must("section-5.2/reserved-opcodes", "The server fails the connection, with 1002.")
async def reserved_opcodes(talk: ServerTalk) -> None:
    """A frame of a kind that does not exist is not taken."""
    for opcode in RESERVED_OPCODES:
        await fails(talk, f"a frame with opcode {opcode}", encoded(opcode, b""))


@case.must("section-5.2/lengths", "Served, whichever way the length is written.")
async def lengths(talk: ServerTalk) -> None:
    """Frames with lengths of 7, 16 and 64 bits are read."""
    link = await talk.open()
    for size in (0, 126, 65_535, 65_536):
        identifier = f"kit-{size}"
        await talk.frames(link).frame(TEXT, plain(link, identifier, "x" * size))
        await answered(link, identifier, f"a request with {size} bytes more")


# Fragments


@case.must("section-5.4/fragments", "The message is put together, empty fragments included.")
async def fragments_served(talk: ServerTalk) -> None:
    """A message in several frames is one message."""
    link = await talk.open()
    payload = plain(link, "kit-fragments")
    for cuts in ((10,), (0, 1, 2, 2, 20), tuple(range(1, len(payload)))):
        for each in fragments(payload, *cuts):
            await talk.frames(link).raw(each)
        await answered(link, "kit-fragments", f"a request in {len(cuts) + 1} frames")


@case.must(
    "section-5.4/control-between-fragments",
    "The ping is answered at once, and the message is served.",
)
async def control_between(talk: ServerTalk) -> None:
    """A ping between the fragments of a message disturbs nothing."""
    link = await talk.open()
    first, second = fragments(plain(link, "kit-between"), 12)
    wire = talk.frames(link)
    await wire.raw(first)
    await wire.frame(PING, b"between")
    await ponged(link, b"between")
    await wire.raw(second)
    await answered(link, "kit-between", "a request with a ping in it")


@case.must("section-5.4/continuation-of-nothing", "The server fails the connection, with 1002.")
async def continuation_of_nothing(talk: ServerTalk) -> None:
    """A continuation where no message has begun is not taken."""
    await fails(talk, "a continuation of nothing", encoded(CONTINUATION, b"{}"))
    link = await talk.open()
    whole = encoded(TEXT, plain(link, "kit-whole"))
    await talk.frames(link).raw(whole + encoded(CONTINUATION, b"{}"))
    await failed(talk, link, "a continuation behind a whole message", PROTOCOL_ERROR)


@case.must("section-5.4/message-within-message", "The server fails the connection, with 1002.")
async def message_within_message(talk: ServerTalk) -> None:
    """A new message before the last one has ended is not taken."""
    for opcode in (TEXT, BINARY):
        data = encoded(TEXT, b"{", fin=False) + encoded(opcode, b"{}")
        await fails(talk, f"opcode {opcode} within a message", data)


# Control frames


@case.must("section-5.5/control-in-fragments", "The server fails the connection, with 1002.")
async def control_in_fragments(talk: ServerTalk) -> None:
    """A control frame in fragments is not taken."""
    for opcode in (PING, PONG, CLOSE):
        await fails(talk, f"a fragment of opcode {opcode}", encoded(opcode, b"", fin=False))


@case.must("section-5.5/control-too-long", "The server fails the connection, with 1002.")
async def control_too_long(talk: ServerTalk) -> None:
    """A control frame of more than 125 bytes is not taken."""
    await fails(talk, "a ping of 126 bytes", encoded(PING, b"x" * 126))


@case.must("section-5.5.2/ping-answered", "A pong with the ping's payload.")
async def ping_answered(talk: ServerTalk) -> None:
    """A ping is answered by a pong that repeats its payload."""
    link = await talk.open()
    for payload in (b"", b"kit", bytes(range(125))):
        await talk.frames(link).frame(PING, payload)
        await ponged(link, payload)


async def ponged(link: Link, payload: bytes) -> None:
    """Check that a pong comes."""
    found = await link.until(lambda: [each for each in link.events if each.name == "pong"])
    pongs: list[Event] = found or []
    link.events = [each for each in link.events if each.name != "pong"]
    check(pongs, "a ping was not answered")
    check(pongs[-1].data == payload, f"the pong has {pongs[-1].data!r}, not {payload!r}")


@case.must("section-5.5.3/pong-unasked", "It is passed over.")
async def pong_unasked(talk: ServerTalk) -> None:
    """A pong that nobody has asked for means nothing."""
    link = await talk.open()
    await talk.frames(link).frame(PONG, b"kit")
    await talk.frames(link).frame(TEXT, plain(link, "kit-pong"))
    await answered(link, "kit-pong", "a request behind a pong")


# The end


@case.must("section-5.5.1/close-answered", "A closing frame, and the end of the connection.")
async def close_answered(talk: ServerTalk) -> None:
    """A closing frame is answered by one, whatever its code and reason."""
    for payload, codes in (
        (struct.pack("!H", NORMAL), (NORMAL,)),
        (struct.pack("!H", 1001) + "auf Wiedersehen \u263a".encode(), (1001, NORMAL)),
        (struct.pack("!H", 4000), (4000, NORMAL)),
        (b"", (NORMAL, 1005)),
    ):
        link = await talk.open()
        await talk.frames(link).frame(CLOSE, payload)
        await link.until(lambda link=link: link.gone)  # type: ignore[misc]
        gone = link.gone
        check(gone is not None, f"the closing frame {payload!r} got no answer")
        assert gone is not None
        check(gone.code is not None, f"after {payload!r}: {gone.reason}")
        talk.should(gone.code in codes, f"the closing frame {payload!r} got the code {gone.code}")


@case.should("section-5.5.1/nothing-behind-close", "It is not answered any more.")
async def nothing_behind_close(talk: ServerTalk) -> None:
    """What comes behind a closing frame is not read."""
    link = await talk.open()
    data = encoded(CLOSE, struct.pack("!H", NORMAL)) + encoded(TEXT, plain(link, "kit-late"))
    await talk.frames(link).raw(data)
    await link.until(lambda: link.gone)
    check(link.gone is not None, "the closing frame got no answer")
    late = [each for each in link.inbox if each.id == "kit-late"]
    check(not late, "a message behind the closing frame was answered")


@case.must(
    "section-5.5.1/close-malformed",
    "The server fails the connection, with 1002 (1007 for a reason that is no UTF-8).",
)
async def close_malformed(talk: ServerTalk) -> None:
    """A closing frame with half a code, or a reason that is no text, is not taken."""
    await fails(talk, "a closing frame of one byte", encoded(CLOSE, b"\x03"))
    broken = struct.pack("!H", NORMAL) + b"\xff\xfe"
    await fails(talk, "a reason that is no UTF-8", encoded(CLOSE, broken), NOT_UTF8)


@case.should("section-7.4/codes-that-are-none", "1002.")
async def codes_that_are_none(talk: ServerTalk) -> None:
    """Codes that must not be sent are not taken."""
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
        data = encoded(CLOSE, struct.pack("!H", code))
        gone = await fails(talk, f"the closing code {code}", data)
        check(gone.code == PROTOCOL_ERROR, f"the closing code {code} got {gone.code}, not 1002")


# Text


@case.must("section-8.1/not-utf8", "The server fails the connection, with 1007.")
async def not_utf8(talk: ServerTalk) -> None:
    """Text that is no UTF-8 is not taken."""
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8"):
        data = encoded(TEXT, b'{"jsonrpc":"2.0","id":"' + bad + b'","method":"ping"}')
        await fails(talk, f"text with {bad!r}", data, NOT_UTF8)


@case.must("section-5.6/characters-over-fragments", "The character is whole again.")
async def characters_over_fragments(talk: ServerTalk) -> None:
    """A character whose bytes are in different frames is read."""
    link = await talk.open()
    identifier = "kit-\U0001f600"
    payload = plain(link, identifier)
    cut = payload.index("\U0001f600".encode()) + 2
    for each in fragments(payload, cut):
        await talk.frames(link).raw(each)
    await answered(link, identifier, "a request with a character in two frames")
