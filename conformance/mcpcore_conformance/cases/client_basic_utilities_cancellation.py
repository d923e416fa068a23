"""Cases of the page basic/utilities/cancellation for clients."""

from mcpcore_conformance.kit.client_steps import listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import EVERY, LEGACY, Binding, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/cancellation")


@page.client(LEGACY, bindings=EVERY - {Binding.SSE}, **scripted(listing(), timeout=0.5)).must(
    "behavior-requirements", "No notifications/cancelled with the id of initialize."
)
async def initialize(talk: ClientTalk) -> None:
    """A client that gives up its initialize does not cancel it."""
    talk.serving.by["initialize"] = lambda message: None
    link, opening = await talk.initializing()
    await talk.finished()
    cancelled = [each.params.get("requestId") for each in link.notifications()]
    check(opening.id not in cancelled, "initialize was cancelled")
