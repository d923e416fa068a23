"""Cases of docs/how-to/websocket.md, this project's own rules of MCP over WebSocket."""

import struct
from typing import cast

from mcpcore.spec.revisions import LEGACY as OLDER
from mcpcore_conformance.cases.basic_transports_stdio import RESTS, long_ids, plain
from mcpcore_conformance.cases.rfc6455 import (
    BAD_REQUEST,
    NOT_UTF8,
    answered,
    failed,
    fails,
    opened,
    refused,
    replaced,
)
from mcpcore_conformance.kit.bindings.websocket import BINARY, TEXT, WebSocketWire, encoded
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import PARSE_ERROR, UNSUPPORTED_VERSION, Kind
from mcpcore_conformance.kit.model import LEGACY, WEBSOCKET, Page
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.wire import Refused

page = Page("docs/websocket")
case = page.server(bindings=WEBSOCKET)
subprotocols = case.at("subprotocols")
how_it_ends = case.at("how-it-ends")

FORBIDDEN, NOT_FOUND, MISDIRECTED = 403, 404, 421
UNSUPPORTED_DATA, TOO_BIG = 1003, 1009
SECRET = "kit-secret-0123456789"  # noqa: S105
VERSIONED, TOKEN = "mcp.version.", "mcp.auth."


# Who is let in


@case.should("who-is-let-in", "Status 404.")
async def other_path(talk: ServerTalk) -> None:
    """There is a WebSocket at one path only."""
    await refused(talk, "another path", (NOT_FOUND,), path="/kit/none")


@case.should("who-is-let-in/foreign-origin-forbidden", "Status 403.")
async def origin_forbidden(talk: ServerTalk) -> None:
    """A foreign origin is refused with 403."""
    headers = [("origin", "http://evil.example")]
    await refused(talk, "a foreign Origin", (FORBIDDEN,), headers=headers)


@case.should("who-is-let-in", "Status 403, or 421.")
async def foreign_host(talk: ServerTalk) -> None:
    """A local server does not answer to names that are not its own."""
    for host in (b"evil.example", b"localhost.evil.example", b"[2001:db8::1]:80"):
        edit = replaced("host", host)
        await refused(talk, f"Host: {host.decode()}", (FORBIDDEN, MISDIRECTED), edit=edit)


# Subprotocols


@case.should("subprotocols/mcp", "mcp is chosen wherever it is in the list.")
async def chooses_mcp(talk: ServerTalk) -> None:
    """The protocol mcp is chosen whenever it is offered."""
    for offers in (["mcp"], ["kit.other", "mcp"], [f"{VERSIONED}{talk.revision.name}", "mcp"]):
        wire = await opened(talk, f"the offers {offers}", offers=offers)
        check(wire.subprotocol == "mcp", f"of {offers} the server has chosen {wire.subprotocol!r}")


@case.should("subprotocols/none", "Accepted, without a subprotocol.")
async def none_offered(talk: ServerTalk) -> None:
    """A client that offers nothing is let in."""
    wire = await opened(talk, "an opening without subprotocols", offers=[])
    check(wire.subprotocol is None, f"unasked, the server has chosen {wire.subprotocol!r}")


@subprotocols.should("Status 400.")
async def unknown_only(talk: ServerTalk) -> None:
    """Offers without any that is spoken are refused."""
    for offers in (["kit.other"], ["MCP"], ["mcp2", "graphql-ws"]):
        await refused(talk, f"the offers {offers}", (BAD_REQUEST,), offers=offers)


@case.should("subprotocols/version", "The offer of a revision that is spoken is chosen.")
async def version_offered(talk: ServerTalk) -> None:
    """A revision can be offered in place of mcp."""
    offer = f"{VERSIONED}{talk.revision.name}"
    wire = await opened(talk, f"the offer {offer}", offers=[offer])
    check(wire.subprotocol == offer, f"of {offer} the server has chosen {wire.subprotocol!r}")


@subprotocols.should("Status 400.")
async def version_unknown(talk: ServerTalk) -> None:
    """Revisions of which none is spoken are refused."""
    offers = [f"{VERSIONED}2099-01-01", f"{VERSIONED}latest"]
    await refused(talk, f"the offers {offers}", (BAD_REQUEST,), offers=offers)


@subprotocols.should(
    "initialize is answered with the revision that was offered, whatever it asks for.", LEGACY
)
async def version_decides(talk: ServerTalk) -> None:
    """The revision that was offered is the only one on the connection."""
    offers = ["mcp", f"{VERSIONED}{talk.revision.name}"]
    link = await talk.connect(offers=offers)
    other = next(each for each in OLDER if each is not talk.revision)
    opening = {**link.opening(), "protocolVersion": other.name}
    reply = await link.request("initialize", opening)
    if reply.message is not None and reply.message.kind is Kind.ERROR:
        reply.failed_with(UNSUPPORTED_VERSION)
        return
    found = reply.result.get("protocolVersion")
    check(
        found == talk.revision.name,
        f"{other.name} was answered with {found}, though {talk.revision.name} was offered",
    )


@subprotocols.must("A token that was offered is in no header of the response, and never chosen.")
async def token_not_echoed(talk: ServerTalk) -> None:
    """An access token among the offers is not sent back."""
    token = f"{TOKEN}{SECRET}"
    for offers in (["mcp", token], [token, "mcp"], [token, f"{VERSIONED}{talk.revision.name}"]):
        talk.should(await _not_echoed(talk, offers), "an opening with a token was not accepted")
    # whether it is refused is for the case of unknown offers to say
    await _not_echoed(talk, [token, "kit.other"])


async def _not_echoed(talk: ServerTalk, offers: list[str]) -> bool:
    """Check that no header of the response has the token; says whether the opening is accepted."""
    chosen, where = None, ""
    try:
        wire = cast("WebSocketWire", await talk.wire(offers=offers))
    except Refused as error:
        told, where = error.headers, " of the refusal"
    else:
        told, chosen = wire.accepted, wire.subprotocol
        await wire.close()
    check(not (chosen or "").startswith(TOKEN), "the server has chosen the token")
    for name, value in told:
        check(SECRET not in value, f"the token is in the header {name}{where}")
    return not where


# What is bounded


@case.should(
    "what-is-bounded",
    "All are answered: what cannot be sent is kept, or nothing more is read meanwhile.",
)
async def slow_reader(talk: ServerTalk, link: OpenLink) -> None:
    """A client that reads nothing while it asks for more than a socket holds loses no answer."""
    wire = talk.frames(link)
    await wire.rest(RESTS)
    ids = long_ids()
    for each in ids:
        await wire.frame(TEXT, plain(link, each))
    for each in ids:
        await answered(link, each, f"the request {each[:40]!r}, before anything was read,")
    await link.alive()


# How it ends


@how_it_ends.should("Closed with 1003.")
async def binary(talk: ServerTalk, link: OpenLink) -> None:
    """Messages are text: a binary frame ends the connection."""
    await talk.frames(link).frame(BINARY, plain(link, "kit-binary"))
    gone = await failed(talk, link, "a binary frame", UNSUPPORTED_DATA)
    check(gone.code == UNSUPPORTED_DATA, f"a binary frame was closed with {gone.code}, not 1003")


@how_it_ends.should("The request before it is answered first.")
async def behind_the_answers(talk: ServerTalk, link: OpenLink) -> None:
    """What ends a connection costs no answer to what came before."""
    data = encoded(TEXT, plain(link, "kit-before")) + encoded(BINARY, b"kit")
    await talk.frames(link).raw(data)
    await answered(link, "kit-before", "a request before a binary frame")
    await failed(talk, link, "a binary frame", UNSUPPORTED_DATA)


@how_it_ends.should("Closed with 1009 when the length is announced, before the payload is there.")
async def too_large(talk: ServerTalk) -> None:
    """A message that is too large is not waited for."""
    head = bytes([0x80 | TEXT, 0x80 | 127]) + struct.pack("!Q", 2**40) + bytes(4)
    gone = await fails(talk, "the head of a frame of a terabyte", head, TOO_BIG, fence=False)
    check(gone.code == TOO_BIG, f"a frame of a terabyte was closed with {gone.code}, not 1009")


@how_it_ends.should("Closed with 1002 before the payload is there.")
async def heads_at_once(talk: ServerTalk) -> None:
    """What is wrong with a frame's head is wrong before its payload."""
    for what, first in (("a reserved bit", 0xC0 | TEXT), ("an unknown opcode", 0x80 | 3)):
        head = bytes([first, 0x80 | 100]) + bytes(4)
        await fails(talk, f"half a frame with {what}", head, fence=False)


@how_it_ends.should("Closed with 1007 though the message has not ended.")
async def text_at_the_first_byte(talk: ServerTalk) -> None:
    """Text that is no UTF-8 is wrong at its first bad byte."""
    data = encoded(TEXT, b'{"jsonrpc":"2.0","\xff', fin=False)
    await fails(talk, "a fragment that is no UTF-8", data, NOT_UTF8)


@case.must(
    "websocket",
    "Two messages in one frame are no message; each message of the server has its frame.",
)
async def one_message_per_frame(link: OpenLink) -> None:
    """A text frame is one JSON-RPC message."""
    both = plain(link, "kit-1") + b"\n" + plain(link, "kit-2")
    sent = await link.say(both)
    reply = await link.reply(sent)
    reply.failed_with(PARSE_ERROR)
    await link.alive()


@case.must("websocket", "A message with newlines between its members is served.")
async def newlines_mean_nothing(talk: ServerTalk, link: OpenLink) -> None:
    """Frames end messages, newlines do not."""
    payload = plain(link, "kit-lines").replace(b",", b",\r\n").replace(b"{", b"{\n\n")
    await talk.frames(link).frame(TEXT, payload)
    await answered(link, "kit-lines", "a request over several lines")


@case.should("websocket", "Each connection has its own handshake.", LEGACY)
async def sessions_apart(talk: ServerTalk) -> None:
    """A connection is a session: one that is open opens no other one."""
    await talk.open()
    link = await talk.connect()
    method, params = talk.early_request()
    reply = await link.request(method, params)
    check(reply.refused or reply.silent, f"{method} before initialize got {reply}")
    await link.initialize()
    await link.alive()


@case.should("who-is-let-in", "No Access-Control-Allow-Origin for a page that may not call.")
async def nothing_told(talk: ServerTalk) -> None:
    """A foreign page learns nothing from the refusal."""
    error = await refused(talk, "a foreign Origin", headers=[("origin", "http://evil.example")])
    found = header(error.headers, "access-control-allow-origin")
    check(found is None, f"Access-Control-Allow-Origin is {found!r}")
