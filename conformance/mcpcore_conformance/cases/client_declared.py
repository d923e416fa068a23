"""Cases that the pages of what a client does for servers share: that it says so."""

from mcpcore.spec.revisions import Span
from mcpcore_conformance.kit.client_steps import call, scripted
from mcpcore_conformance.kit.client_talk import ReadyLink
from mcpcore_conformance.kit.model import MODERN, Cases
from mcpcore_conformance.kit.verdicts import check


def declared(case: Cases, what: str, who: str, revisions: Span, scenario: str) -> None:
    """A capability that a client declares in either era's way; ``who``: what such a client does."""

    @case.must(
        "capabilities/client-declares",
        f"{what} in the capabilities of initialize, as an object.",
        revisions,
        needs=(what,),
        scenario=scenario,
        summary=f"A client that {who} says so when it initializes.",
    )
    async def once(link: ReadyLink) -> None:
        found = link.requests("initialize")[0].params.get("capabilities", {}).get(what)
        check(isinstance(found, dict), f"{what} is declared as {found!r}")
        if what == "roots":
            changes = found.get("listChanged", False)
            check(isinstance(changes, bool), f"{what}.listChanged is {changes!r}")

    @case.must(
        "capabilities/client-declares-each-time",
        f"{what} in the capabilities of every call.",
        MODERN,
        summary=f"A client that {who} says so with every request.",
        **scripted(call(), call(), needs=(what,)),
    )
    async def each_time(link: ReadyLink) -> None:
        for _ in range(2):
            message = await link.expect("tools/call")
            found = link.client_capabilities.get(what)
            check(isinstance(found, dict), f"{what} is declared as {found!r}")
            await link.serve_one(message)
