"""Cases of the page basic/lifecycle for clients."""

from conformance.kit.client_talk import ClientTalk
from conformance.kit.model import LEGACY, MUST, Page
from conformance.kit.verdicts import check

page = Page("basic/lifecycle")


@page.client(
    MUST,
    "initialization/client-identifies-itself",
    LEGACY,
    scenario="initialize",
    expects="initialize carries a protocol version, capabilities, and the client's name and version.",
)
async def identifies_itself(talk: ClientTalk) -> None:
    """The first thing that a client says is initialize, with everything that belongs into it."""
    link = await talk.accept()
    await link.opened()
    first = link.seen[0]
    check(first.method == "initialize", f"the first message is {first.method or first.kind}")
    info = first.params.get("clientInfo")
    check(
        isinstance(info, dict) and isinstance(info.get("name"), str) and "version" in info,
        f"clientInfo is {info!r}",
    )
    await talk.finished()


__all__ = ["page"]
