"""Cases of the page basic/lifecycle: what a server says of its own accord was negotiated."""

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.model import LEGACY, LEGACY_SINCE_2025_06_18, UNTIL_2025_03_26, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tour import check_asked

page = Page("basic/lifecycle")

case = page.server(LEGACY_SINCE_2025_06_18)


@case.should(
    "operation/announces-what-is-declared-early",
    "No notification that needs a capability which was not declared, and no strange one.",
    UNTIL_2025_03_26,
)
@case.must(
    "operation/announces-what-is-declared",
    "No notification that needs a capability which was not declared, and no strange one.",
)
async def announces_declared(talk: ServerTalk) -> None:
    """A server announces changes only where it has declared that it does."""
    await check_asked(talk, Unasked.UNDECLARED, Unasked.FOREIGN)


@case.must("capability-negotiation/asks-what-is-declared", "Nothing but pings comes.", LEGACY)
async def asks_declared(talk: ServerTalk) -> None:
    """A client that declares nothing is asked for nothing, also of the server's own accord."""
    await check_asked(talk, Unasked.ASKED)
