"""Cases of the page basic/lifecycle."""

from conformance.kit.messages import INVALID_PARAMS, Kind
from conformance.kit.model import LEGACY, MUST, Page
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import check

page = Page("basic/lifecycle")


@page.server(
    MUST,
    "version-negotiation/version-echoed",
    LEGACY,
    expects="The result's protocolVersion is the one that initialize asked for.",
)
async def version_echoed(talk: ServerTalk) -> None:
    """A version that the server speaks is answered with the same version."""
    link = await talk.connect()
    result = await link.ask("initialize", link.opening())
    check(
        result["protocolVersion"] == talk.revision.name,
        f"{talk.revision.name} was answered with {result['protocolVersion']}",
    )


@page.server(
    MUST,
    "version-negotiation/unknown-version",
    LEGACY,
    expects="A result with another version that the server speaks, or the error -32602.",
)
async def unknown_version(talk: ServerTalk) -> None:
    """A version that nobody speaks is answered with one that the server does."""
    link = await talk.connect()
    asked = "1999-12-31"
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": asked})
    if reply.message is not None and reply.message.kind is Kind.ERROR:
        reply.failed_with(INVALID_PARAMS)
        return
    found = reply.result.get("protocolVersion")
    check(isinstance(found, str) and found != asked, f"protocolVersion is {found!r}")


__all__ = ["page"]
