"""Cases of the page basic/patterns/index for clients."""

from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/index")


@page.client(MODERN).must(
    "request-and-response", "No response of any kind, and the client's own request goes on."
)
async def no_responses(talk: ClientTalk) -> None:
    """A client sends no responses, not even to a server that asks it something on the wire."""
    link, message = await talk.expect("tools/call")
    await link.tell("ping", about=message)
    await link.tell("roots/list", {}, about=message)
    await link.quiet()
    await link.serve_one(message)
    await talk.finished()
    answers = [each.value for each in link.seen if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(not answers, f"the client sent responses: {answers}")
