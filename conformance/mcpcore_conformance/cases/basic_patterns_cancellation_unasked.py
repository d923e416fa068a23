"""Cases of the page basic/patterns/cancellation: what a server cancels of its own accord."""

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.model import LEGACY, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tour import check_asked

page = Page("basic/patterns/cancellation")


@page.server(LEGACY).must(
    "behavior-requirements/server-own-requests-only",
    "No cancellation of what the server has not asked.",
)
async def server_own_requests_only(talk: ServerTalk) -> None:
    """A server cancels nothing but requests of its own."""
    await check_asked(talk, Unasked.CANCELLED)
