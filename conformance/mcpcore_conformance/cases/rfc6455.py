"""Cases of RFC 6455: opening and frames, as a server over WebSocket has to read them."""

import re
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from urllib.parse import urlsplit

from mcpcore_conformance.cases.basic_transports_stdio import plain
from mcpcore_conformance.kit.bindings.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WebSocketWire,
    encoded,
)
from mcpcore_conformance.kit.heard import Event, Gone, header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Id, Kind
from mcpcore_conformance.kit.model import WEBSOCKET, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check
from mcpcore_conformance.kit.wire import Refused

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


@case.must("section-5.1", "The server closes the connection, with 1002.")
async def unmasked(talk: ServerTalk, link: OpenLink) -> None:
    """A frame of a client that is not masked is not taken."""
    data = encoded(TEXT, plain(link, "kit-unmasked"), masked=False)
    await talk.frames(link).raw(data)
    await failed(talk, link, "a frame without mask", PROTOCOL_ERROR)
    strays = [each for each in link.inbox if each.id == "kit-unmasked"]
    check(not strays, "a frame without mask was answered")


@case.must("section-5.2", "The server fails the connection, with 1002.")
async def reserved_bits(talk: ServerTalk) -> None:
    """A frame with a reserved bit that nobody has agreed on is not taken."""
    for bit in RESERVED_BITS:
        frame = bytearray(encoded(TEXT, b"{}"))
        frame[0] |= bit
        await fails(talk, f"a frame with the reserved bit {bit:#x}", bytes(frame))


@case.must("section-5.2", "The server fails the connection, with 1002.")
async def reserved_opcodes(talk: ServerTalk) -> None:
    """A frame of a kind that does not exist is not taken."""
    for opcode in RESERVED_OPCODES:
        await fails(talk, f"a frame with opcode {opcode}", encoded(opcode, b""))


@case.must("section-5.2", "Served, whichever way the length is written.")
async def lengths(talk: ServerTalk, link: OpenLink) -> None:
    """Frames with lengths of 7, 16 and 64 bits are read."""
    for size in (0, 126, 65_535, 65_536):
        identifier = f"kit-{size}"
        await talk.frames(link).frame(TEXT, plain(link, identifier, "x" * size))
        await answered(link, identifier, f"a request with {size} bytes more")


# Fragments


@case.must("section-5.4/fragments", "The message is put together, empty fragments included.")
async def fragments_served(talk: ServerTalk, link: OpenLink) -> None:
    """A message in several frames is one message."""
    payload = plain(link, "kit-fragments")
    for cuts in ((10,), (0, 1, 2, 2, 20), tuple(range(1, len(payload)))):
        for each in fragments(payload, *cuts):
            await talk.frames(link).raw(each)
        await answered(link, "kit-fragments", f"a request in {len(cuts) + 1} frames")


@case.must("section-5.4", "The ping is answered at once, and the message is served.")
async def control_between_fragments(talk: ServerTalk, link: OpenLink) -> None:
    """A ping between the fragments of a message disturbs nothing."""
    first, second = fragments(plain(link, "kit-between"), 12)
    wire = talk.frames(link)
    await wire.raw(first)
    await wire.frame(PING, b"between")
    await ponged(link, b"between")
    await wire.raw(second)
    await answered(link, "kit-between", "a request with a ping in it")


@case.must("section-5.4", "The server fails the connection, with 1002.")
async def continuation_of_nothing(talk: ServerTalk) -> None:
    """A continuation where no message has begun is not taken."""
    await fails(talk, "a continuation of nothing", encoded(CONTINUATION, b"{}"))
    link = await talk.open()
    whole = encoded(TEXT, plain(link, "kit-whole"))
    await talk.frames(link).raw(whole + encoded(CONTINUATION, b"{}"))
    await failed(talk, link, "a continuation behind a whole message", PROTOCOL_ERROR)


@case.must("section-5.4", "The server fails the connection, with 1002.")
async def message_within_message(talk: ServerTalk) -> None:
    """A new message before the last one has ended is not taken."""
    for opcode in (TEXT, BINARY):
        data = encoded(TEXT, b"{", fin=False) + encoded(opcode, b"{}")
        await fails(talk, f"opcode {opcode} within a message", data)


# Control frames


@case.must("section-5.5", "The server fails the connection, with 1002.")
async def control_in_fragments(talk: ServerTalk) -> None:
    """A control frame in fragments is not taken."""
    for opcode in (PING, PONG, CLOSE):
        await fails(talk, f"a fragment of opcode {opcode}", encoded(opcode, b"", fin=False))


@case.must("section-5.5", "The server fails the connection, with 1002.")
async def control_too_long(talk: ServerTalk) -> None:
    """A control frame of more than 125 bytes is not taken."""
    await fails(talk, "a ping of 126 bytes", encoded(PING, b"x" * 126))


@case.must("section-5.5.2", "A pong with the ping's payload.")
async def ping_answered(talk: ServerTalk, link: OpenLink) -> None:
    """A ping is answered by a pong that repeats its payload."""
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


@case.must("section-5.5.3", "It is passed over.")
async def pong_unasked(talk: ServerTalk, link: OpenLink) -> None:
    """A pong that nobody has asked for means nothing."""
    await talk.frames(link).frame(PONG, b"kit")
    await talk.frames(link).frame(TEXT, plain(link, "kit-pong"))
    await answered(link, "kit-pong", "a request behind a pong")


# The end


@case.must("section-5.5.1", "A closing frame, and the end of the connection.")
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


@case.should("section-5.5.1", "It is not answered any more.")
async def nothing_behind_close(talk: ServerTalk, link: OpenLink) -> None:
    """What comes behind a closing frame is not read."""
    data = encoded(CLOSE, struct.pack("!H", NORMAL)) + encoded(TEXT, plain(link, "kit-late"))
    await talk.frames(link).raw(data)
    await link.until(lambda: link.gone)
    check(link.gone is not None, "the closing frame got no answer")
    late = [each for each in link.inbox if each.id == "kit-late"]
    check(not late, "a message behind the closing frame was answered")


@case.must(
    "section-5.5.1",
    "The server fails the connection, with 1002 (1007 for a reason that is no UTF-8).",
)
async def close_malformed(talk: ServerTalk) -> None:
    """A closing frame with half a code, or a reason that is no text, is not taken."""
    await fails(talk, "a closing frame of one byte", encoded(CLOSE, b"\x03"))
    broken = struct.pack("!H", NORMAL) + b"\xff\xfe"
    await fails(talk, "a reason that is no UTF-8", encoded(CLOSE, broken), NOT_UTF8)


@case.should("section-7.4", "1002.")
async def codes_that_are_none(talk: ServerTalk) -> None:
    """Codes that must not be sent are not taken."""
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
        data = encoded(CLOSE, struct.pack("!H", code))
        gone = await fails(talk, f"the closing code {code}", data)
        check(gone.code == PROTOCOL_ERROR, f"the closing code {code} got {gone.code}, not 1002")


# Text


@case.must("section-8.1", "The server fails the connection, with 1007.")
async def not_utf8(talk: ServerTalk) -> None:
    """Text that is no UTF-8 is not taken."""
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8"):
        data = encoded(TEXT, b'{"jsonrpc":"2.0","id":"' + bad + b'","method":"ping"}')
        await fails(talk, f"text with {bad!r}", data, NOT_UTF8)


@case.must("section-5.6", "The character is whole again.")
async def characters_over_fragments(talk: ServerTalk, link: OpenLink) -> None:
    """A character whose bytes are in different frames is read."""
    identifier = "kit-\U0001f600"
    payload = plain(link, identifier)
    cut = payload.index("\U0001f600".encode()) + 2
    for each in fragments(payload, cut):
        await talk.frames(link).raw(each)
    await answered(link, identifier, "a request with a character in two frames")


# How a WebSocket is opened

CLIENT_ERRORS = range(400, 500)
SWITCHING, BAD_REQUEST = 101, 400


async def refused(
    talk: ServerTalk,
    what: str,
    statuses: Sequence[int] = CLIENT_ERRORS,
    *,
    edit: Callable[[bytes], bytes] | None = None,
    offers: Sequence[str] | None = None,
    path: str | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> Refused:
    """Check that an opening is refused with one of these statuses."""
    try:
        wire = await talk.wire(edit=edit, offers=offers, path=path, headers=headers)
    except Refused as error:
        if error.status is None and error.headers:
            accept = header(error.headers, "sec-websocket-accept")
            raise Broken(
                f"{what} was accepted, with status 101 and Sec-WebSocket-Accept {accept!r}"
            ) from error
        if error.status is None:
            raise Broken(f"{what} was refused without a status: {error.reason}") from error
        wanted = " or ".join(map(str, statuses)) if len(statuses) < 10 else "4xx"
        check(error.status in statuses, f"{what} got status {error.status}, not {wanted}")
        return error
    await wire.close()
    raise Broken(f"{what} was accepted")


async def opened(talk: ServerTalk, what: str, **options: object) -> WebSocketWire:
    """Check that an opening is accepted, and that the connection works."""
    try:
        link = await talk.connect(**options)  # type: ignore[arg-type]
    except Inconclusive as error:
        raise Broken(f"{what} was not accepted: {error.detail}") from error
    if link.revision.handshake:
        await link.initialize()
    await link.alive()
    return talk.frames(link)


def without(name: str) -> Callable[[bytes], bytes]:
    """Leave a header out of the opening."""
    return lambda data: re.sub(rb"(?i)\r\n%s:[^\r]*" % name.encode(), b"", data)


def replaced(name: str, value: bytes) -> Callable[[bytes], bytes]:
    """Give a header of the opening another value."""
    pattern = rb"(?i)(\r\n%s: ?)[^\r]*" % name.encode()
    return lambda data: re.sub(pattern, lambda found: found[1] + value, data)


@case.must(
    "section-4.2.1",
    "A status of 4xx (426), and Sec-WebSocket-Version with the version that is spoken.",
)
async def other_version(talk: ServerTalk) -> None:
    """Another version of WebSocket is refused, with those that are spoken."""
    for value in (b"12", b"14", b"99"):
        edit = replaced("sec-websocket-version", value)
        error = await refused(talk, f"version {value.decode()}", edit=edit)
        found = header(error.headers, "sec-websocket-version") or ""
        check(
            "13" in [each.strip() for each in found.split(",")],
            f"the refusal of version {value.decode()} has Sec-WebSocket-Version {found!r}",
        )


@case.must("section-4.2.1", "A status of 4xx, 400 above all.")
async def key_malformed(talk: ServerTalk) -> None:
    """An opening without a key of 16 bytes is refused."""
    await refused(talk, "an opening without key", edit=without("sec-websocket-key"))
    for value in (b"", b"c2hvcnQ=", b"not base64, by far!!!", b"QUFBQUFBQUFBQUFBQUFBQUFB"):
        edit = replaced("sec-websocket-key", value)
        await refused(talk, f"the key {value!r}", edit=edit)


@case.must("section-4.2.1", "A status of 4xx (426).")
async def no_upgrade(talk: ServerTalk) -> None:
    """A request that does not ask for a WebSocket does not get one."""
    await refused(talk, "an opening without Upgrade", edit=without("upgrade"))
    await refused(talk, "an upgrade to something else", edit=replaced("upgrade", b"kit"))
    await refused(talk, "an opening without Connection", edit=without("connection"))


@case.must("section-4.2.1", "A status of 4xx (405).")
async def other_method(talk: ServerTalk) -> None:
    """Only GET opens a WebSocket."""
    edit: Callable[[bytes], bytes] = lambda data: data.replace(b"GET ", b"POST ", 1)  # noqa: E731
    await refused(talk, "an opening with POST", edit=edit)


@case.must("section-4.2.1", "Accepted: WebSocket and UPGRADE, in a list.")
async def upgrade_in_any_case(talk: ServerTalk) -> None:
    """The words of the opening have no case, and may be in a list."""

    def edit(data: bytes) -> bytes:
        data = replaced("upgrade", b"WebSocket")(data)
        return replaced("connection", b"keep-alive, UPGRADE")(data)

    await opened(talk, "an opening in other cases", edit=edit)


@case.must(
    "section-4.2.2",
    "The subprotocol that is chosen is one of those that were offered, or there is none.",
)
async def chosen_from_offered(talk: ServerTalk) -> None:
    """The server chooses nothing that the client has not offered."""
    for offers in (["mcp"], ["kit.one", "mcp", "kit.two"]):
        wire = await opened(talk, f"an opening with {offers}", offers=offers)
        found = wire.subprotocol
        check(found is None or found in offers, f"of {offers} the server has chosen {found!r}")


@case.must("section-9.1", "No Sec-WebSocket-Extensions for a client that offers none.")
async def no_extension_unasked(talk: ServerTalk) -> None:
    """The server agrees on no extension that the client has not offered."""
    wire = await opened(talk, "an opening without extensions")
    found = header(wire.accepted, "sec-websocket-extensions")
    check(found is None, f"the server has chosen the extensions {found!r}")


@case.should("section-10.2", "A status of 4xx (403).")
async def foreign_origin(talk: ServerTalk) -> None:
    """A foreign page cannot open a WebSocket, which browsers would let it do."""
    for origin in (
        "http://evil.example",
        "https://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "http://[2001:db8::1]",
        "null",
    ):
        await refused(talk, f"Origin: {origin}", headers=[("origin", origin)])


@case.must("section-10.2", "Accepted: programs that are no browsers send none.", bare=True)
async def no_origin(talk: ServerTalk) -> None:
    """An opening without Origin is accepted."""
    try:
        wire = await talk.wire()
    except Refused as error:
        own = urlsplit(talk.stage.target)
        scheme = "https" if own.scheme == "wss" else "http"
        origin = f"{scheme}://{own.netloc.rpartition('@')[2]}"
        try:
            wire = await talk.wire(headers=[("origin", origin)])
        except Refused as again:
            raise Inconclusive(
                f"an opening was refused ({error.reason}), with Origin: {origin} as well"
                f" ({again.reason})"
            ) from again
        await wire.close()
        raise Broken(
            f"an opening without Origin was refused ({error.reason}), one with Origin: {origin} not"
        ) from error
    await wire.close()
    if talk.features.revision == talk.revision.name:
        await opened(talk, "an opening without Origin")
