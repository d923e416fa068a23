"""Cases of the page basic/transports/streamable-http for clients: streams with nothing on them."""

from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore_conformance.kit.client_steps import listen, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")

CHANGED = "notifications/tools/list_changed"
PATIENCE = 0.5
"""Seconds after which the client gives up a request that is not answered."""
COMMENTS = 15
"""Of them there is one every tenth of a second: three times as long."""


@page.client(
    MODERN, bindings=STREAMABLE, **scripted(listen(tools=True, changes=1), timeout=PATIENCE)
).must(
    "receiving-messages/client-listens-on",
    "They are passed over, and the stream stays open; the change that comes then is heard.",
)
async def listens_on(talk: ClientTalk) -> None:
    """A listen stream on which only comments come for a while is listened to all the same."""
    link = await talk.open()
    stream = await link.expect("subscriptions/listen")
    await link.acknowledge(stream)
    http, exchange = talk.http(link), stream.source.exchange
    for number in range(COMMENTS):
        check(http.open(exchange), f"the client closed the stream after {number} comments")
        await http.event(exchange, comment="keep-alive" if number % 2 else "")
        await talk.advance(0.1)
    meta = {META_SUBSCRIPTION_ID: stream.id}
    change = {"jsonrpc": "2.0", "method": CHANGED, "params": {"_meta": meta}}
    await http.write(exchange, b"data: " + encode(change) + b"\n\n")
    step = await talk.step()
    check(step.good, f"the stream ended with {step}")
    found = [each["method"] for each in step.result["changes"]]
    check(found == [CHANGED], f"the client heard {found}")
