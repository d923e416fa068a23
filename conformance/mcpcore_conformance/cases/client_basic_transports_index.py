"""Cases of the page basic/transports/index for clients."""

from mcpcore_conformance.kit.client_steps import call, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk
from mcpcore_conformance.kit.messages import encode, result
from mcpcore_conformance.kit.model import ALL, EVERY, SINCE_2025_03_26, Binding, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/index")

case = page.client(SINCE_2025_03_26)
WORDS = "é ☃ 世界 \U0001f600 \x7f"


@case.must(
    "messages", "The text, in UTF-8 or escaped.", **scripted(call(arguments={"text": WORDS}))
)
async def writes_utf_8(_: CalledLink, message: Call) -> None:
    """What a client sends is UTF-8."""
    found = message.params["arguments"].get("text")
    check(found == WORDS, f"the text {WORDS!r} came as {found!r}")


@case.should(
    "messages/client-refuses-bad-utf-8",
    "No result of it; where the connection can go on, the next call succeeds.",
    ALL,
    bindings=EVERY - {Binding.SSE},
    **scripted(call(timeout=2), call(timeout=10)),
)
async def refuses_bad_utf8(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Bytes that are no UTF-8 are not replaced by something that is."""
    content = {"content": [{"type": "text", "text": "MARK"}], "resultType": "complete"}
    bad = encode(result(message.id, content)).replace(b"MARK", b"\xff\xfe\xc0\x80")
    await link.answer(message, bad)
    talk.serving.hold.discard("tools/call")
    report = await talk.report()
    check(report.steps, f"no steps were reported; connecting gave {report.opened}")
    check(not report.steps[0].good, f"it was taken for {report.steps[0].result!r}")
    if talk.binding is not Binding.WS:
        # RFC 6455 has a WebSocket closed for this
        check(report.steps[1].good, f"the next call ended with {report.steps[1]}")
