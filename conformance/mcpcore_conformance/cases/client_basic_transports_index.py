"""Cases of the page basic/transports/index for clients."""

from mcpcore.spec.revisions import BY_NAME, LATEST, Span
from mcpcore_conformance.kit.client_steps import SCRIPT, call, script
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import encode, result
from mcpcore_conformance.kit.model import ALL, EVERY, MUST, SHOULD, Binding, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/index")

SINCE_2025_03_26 = Span(BY_NAME["2025-03-26"], LATEST)
WORDS = "é ☃ 世界 \U0001f600 \x7f"


@page.client(
    MUST,
    "messages/client-writes-utf-8",
    SINCE_2025_03_26,
    scenario="script",
    context=script(call(arguments={"text": WORDS})),
    needs=SCRIPT,
    expects="The text, in UTF-8 or escaped.",
)
async def writes_utf8(talk: ClientTalk) -> None:
    """What a client sends is UTF-8."""
    link = await talk.open()
    message = await link.expect("tools/call")
    found = message.params["arguments"].get("text")
    check(found == WORDS, f"the text {WORDS!r} came as {found!r}")


@page.client(
    SHOULD,
    "messages/client-refuses-bad-utf-8",
    ALL,
    bindings=EVERY - {Binding.SSE},  # event streams are decoded with replacements, by HTML
    scenario="script",
    context=script(call(timeout=2), call(timeout=10)),
    needs=SCRIPT,
    expects="No result of it; where the connection can go on, the next call succeeds.",
)
async def refuses_bad_utf8(talk: ClientTalk) -> None:
    """Bytes that are no UTF-8 are not replaced by something that is."""
    link = await talk.open()
    message = await link.expect("tools/call")
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


__all__ = ["page"]
