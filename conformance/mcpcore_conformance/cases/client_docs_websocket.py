"""Cases of this project's rules of WebSocket for clients: docs/how-to/websocket.md."""

from mcpcore_conformance.kit.client_serving import text
from mcpcore_conformance.kit.client_steps import call, scripted, texts
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import encode, result
from mcpcore_conformance.kit.model import WEBSOCKET, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("docs/websocket")
case = page.client(bindings=WEBSOCKET)

TEXT, BINARY, PING, CONTINUATION = 1, 2, 9, 0


@case.must("subprotocols", "mcp is among the subprotocols that are offered.")
async def offers(link: ReadyLink) -> None:
    """A client offers the subprotocol mcp."""
    opening = link.asked[0]
    offered = header(opening.headers, "sec-websocket-protocol") or ""
    check("mcp" in [each.strip() for each in offered.split(",")], f"it offers {offered!r}")


@case.should("subprotocols", "The conversation goes on.")
async def tolerates_none(talk: ClientTalk) -> None:
    """A server that selects no subprotocol is spoken to nevertheless."""
    talk.host.settings.subprotocol = None
    await talk.open()
    await talk.succeeded()


@case.must("subprotocols", "The connection fails; nothing is said.")
async def refuses_foreign(talk: ClientTalk) -> None:
    """A subprotocol that was not offered fails the connection (RFC 6455 section 4.1)."""
    talk.host.settings.subprotocol = "chat"
    talk.host.settings.select_anyway = True
    link = await talk.accept()
    await talk.finished()
    check(not link.seen, f"the client went on with {[each.method for each in link.seen]}")


@case.must("websocket", "Text frames only, each one message.")
async def text_frames(talk: ClientTalk, link: ReadyLink) -> None:
    """Messages are text frames."""
    await talk.finished()
    found = [each.detail for each in link.noise if each.detail != "pong"]
    check(not found, f"the client sent {found}")


@case.must("websocket", "The whole text, though it was cut within a character.", **scripted(call()))
async def joins_fragments(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A message may come in fragments, with pings between."""
    frames = talk.frames(link)
    words = "é☃\U0001f600"
    payload = encode(result(message.id, {**text(words), "resultType": "complete"}))
    cut = payload.index("☃".encode()) + 1
    await frames.frame(TEXT, payload[:cut], fin=False)
    await frames.frame(PING, b"between")
    await frames.frame(CONTINUATION, payload[cut : cut + 3], fin=False)
    await frames.frame(CONTINUATION, payload[cut + 3 :])
    step = await talk.good_step()
    check(texts(step.result) == [words], f"the text came as {step.result!r}")


@case.must("websocket", "A pong with the same payload, while a call is under way.")
async def answers_pings(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Pings are answered (RFC 6455 section 5.5.3)."""
    await talk.frames(link).frame(PING, b"kit")
    found = await link.until(lambda: [each for each in link.noise if each.data == b"kit"])
    check(found and found[0].detail == "pong", "a ping was not answered")
    link.noise.clear()
    await link.serve_one(message)


@case.must("how-it-ends", "A close frame with 1000.")
async def done(talk: ClientTalk, link: ReadyLink) -> None:
    """A client that is done closes the WebSocket."""
    await talk.finished()
    check(link.gone is not None, "the connection was left open")
    assert link.gone is not None
    check(link.gone.code == 1000, f"the client left: {link.gone.reason}")


async def _closes(talk: ClientTalk, opcode: int, payload: bytes, *codes: int) -> None:
    link = await talk.open()
    await link.expect("tools/call")
    await talk.frames(link).frame(opcode, payload)
    gone = await link.ended()
    check(gone is not None, "the client took it")
    assert gone is not None
    check(gone.code in codes, f"the client left: {gone.reason}")


@case.must("how-it-ends", "The connection is closed with 1003.")
async def binary(talk: ClientTalk) -> None:
    """A binary frame ends the connection."""
    await _closes(talk, BINARY, b'{"jsonrpc":"2.0","method":"notifications/odd"}', 1003)


@case.must("how-it-ends", "The connection is closed with 1007.")
async def bad_text(talk: ClientTalk) -> None:
    """Text that is no UTF-8 ends the connection."""
    await _closes(talk, TEXT, b'{"jsonrpc":"\xff"}', 1007)


@case.must("how-it-ends", "The connection is closed with 1002.")
async def bad_frame(talk: ClientTalk) -> None:
    """A frame with an opcode that does not exist ends the connection."""
    await _closes(talk, 3, b"{}", 1002)


@case.may("what-is-bounded", "The whole text.", **scripted(call()))
async def large(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A message of a megabyte is taken."""
    words = "ø☃" * 200_000
    await link.respond(message, text(words))
    step = await talk.good_step()
    check(texts(step.result) == [words], "the text came otherwise")
