"""Cases of the page basic/versioning for clients: a server that is not what it was."""

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.kit.client_steps import listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/versioning")


@page.client(
    MODERN,
    bindings=STREAMABLE,
    **scripted(listing(), {"do": "close"}, {"do": "open"}, listing("prompts"), negotiate=True),
).should(
    "backward-compatibility-with-initialization-based-versions/client-probes-again",
    "The second conversation is one of the newer era.",
)
async def probes_again(talk: ClientTalk) -> None:
    """A client that found a server to be of the older era notices that it is not any more."""
    talk.revision = LATEST_LEGACY
    link = await talk.accept()
    await link.serve_one(await link.expect("tools/list", talk.timing.start))
    talk.serving.hold |= {"initialize", "server/discover"}
    first = await link.expect(lambda each: each.method in ("initialize", "server/discover"))
    talk.revision = link.revision = LATEST
    talk.serving.hold -= {"initialize", "server/discover"}
    if first.method == "initialize":
        data = {"supported": [LATEST.name], "requested": first.params.get("protocolVersion")}
        await link.fail(first, UNSUPPORTED_VERSION, "it is of the newer era", data, status=400)
    else:
        await link.serve_one(first)
    report = await talk.report()
    bad = [str(each) for each in report.steps if not each.good]
    check(not bad, f"the steps ended with {bad}")
    check(link.requests("prompts/list"), "the client did not ask for the prompts")
    version = link.header(link.requests("prompts/list")[-1], "mcp-protocol-version")
    check(version == LATEST.name, f"the second conversation is one of {version!r}")
