"""Cases of the page basic/versioning for clients."""

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.client_steps import listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, Kind
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/versioning")
case = page.client(MODERN)
protocol_version_negotiation = case.at("protocol-version-negotiation")


@protocol_version_negotiation.should(
    "The request again, with a version of the list.", scenario="request-metadata"
)
async def retries(talk: ClientTalk) -> None:
    """A client whose version is refused asks again with one that the server speaks."""
    talk.serving.hold |= {"server/discover", "tools/list"}
    link = await talk.begin()
    first = await link.expect(lambda each: each.kind is Kind.REQUEST)
    data = {"supported": [talk.revision.name], "requested": "2099-01-01"}
    await link.fail(first, UNSUPPORTED_VERSION, "no such version", data, status=400)
    again = await link.wait_for(lambda each: each.kind is Kind.REQUEST)
    if again is None:
        raise Broken(f"the client did not ask again: {talk.state(link)}")
    version = again.params.get("_meta", {}).get(META_PROTOCOL_VERSION)
    check(version == talk.revision.name, f"it asked again with the version {version!r}")


@protocol_version_negotiation.should(
    "An error for the owner; no further attempts.", scenario="request-metadata"
)
async def no_common_version(talk: ClientTalk) -> None:
    """A client that has no version in common with the server does not ask again and again."""
    talk.serving.hold |= {"server/discover", "tools/list"}
    link = await talk.accept()
    for _ in range(3):
        message = await link.wait_for(lambda each: each.kind is Kind.REQUEST)
        if message is None:
            break
        data = {"supported": ["2099-01-01"], "requested": talk.revision.name}
        await link.fail(message, UNSUPPORTED_VERSION, "no such version", data, status=400)
    else:
        await talk.until(lambda: talk.ended)
    asked = [each.method for each in link.requests()]
    check(len(asked) < 3, f"the client asked {', '.join(asked)}")
    ended = await talk.finished()
    check(ended.code != 0, "the client says that all went well")


@case.should(
    "backward-compatibility-with-initialization-based-versions",
    "The second conversation begins with initialize.",
    bindings=STREAMABLE,
    **scripted(listing(), {"do": "close"}, {"do": "open"}, listing("prompts"), negotiate=True),
)
async def remembers(talk: ClientTalk) -> None:
    """A client that found a server to be of the older era does not try the newer one again."""
    talk.revision = LATEST_LEGACY
    link = await talk.accept()
    report = await talk.report()
    bad = [str(each) for each in report.steps if not each.good]
    check(not bad, f"the steps ended with {bad}")
    methods = [each.method for each in link.requests()]
    openings = [n for n, each in enumerate(methods) if each == "initialize"]
    check(len(openings) == 2, f"the client sent {', '.join(methods)}")
    between = methods[openings[0] + 1 : openings[1]]
    check(
        "server/discover" not in between,
        f"the second conversation began with {', '.join(between)}",
    )


# A server that is not what it was


@page.client(
    MODERN,
    bindings=STREAMABLE,
    **scripted(listing(), {"do": "close"}, {"do": "open"}, listing("prompts"), negotiate=True),
).should(
    "backward-compatibility-with-initialization-based-versions",
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
