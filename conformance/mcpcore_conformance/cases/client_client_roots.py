"""Cases of the page client/roots for clients."""

from mcpcore_conformance.cases.client_declared import declared
from mcpcore_conformance.kit.client_steps import ask_client, call, listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND
from mcpcore_conformance.kit.model import ALL, LEGACY, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("client/roots")
case = page.client(LEGACY)

ROOTS = ["file:///kit/one", "file:///kit/tw%20o"]
CHANGED = "notifications/roots/list_changed"


declared(case, "roots", "has roots", LEGACY, "initialize")


@case.must(
    "root",
    "A list of objects with file:// URIs: those that the client was given.",
    ALL,
    **scripted(call(), roots=ROOTS, needs=("roots",)),
)
async def file_uris(link: ReadyLink) -> None:
    """Roots are file URIs."""
    asking = await ask_client(link, await link.expect("tools/call"), "roots/list", {})
    check(asking.result is not None, f"roots/list got the error {asking.error}")
    found = (asking.result or {}).get("roots")
    check(isinstance(found, list), f"roots is {found!r}")
    uris = [each.get("uri") if isinstance(each, dict) else each for each in found or []]
    bad = [each for each in uris if not isinstance(each, str) or not each.startswith("file://")]
    check(not bad, f"{bad} are no file URIs")
    check(uris == ROOTS, f"the roots are {uris}")


@case.should("error-handling", "The error -32601.", **scripted(call(), declare=["sampling"]))
async def without_roots(link: ReadyLink) -> None:
    """A client without roots says so."""
    asking = await ask_client(link, await link.expect("tools/call"), "roots/list", {})
    check(asking.error is not None, f"roots/list got {asking.result!r}")
    code = (asking.error or {}).get("code")
    check(code == METHOD_NOT_FOUND, f"roots/list got the error {code}")


@case.must(
    "root-list-changes",
    f"{CHANGED}; asked again, the client gives the new ones.",
    **scripted(
        call(),
        {"do": "roots", "roots": ROOTS[:1]},
        listing("prompts"),
        roots=ROOTS,
        needs=("roots.listChanged",),
    ),
)
async def notifies(talk: ClientTalk) -> None:
    """A change of the roots is notified by a client that has declared so."""
    talk.serving.hold.add("prompts/list")
    link = await talk.open()
    await link.serve_one(await link.expect("tools/call"))
    await link.expect(CHANGED)
    message = await link.expect("prompts/list")
    answer = await link.ask("roots/list", {}, about=message)
    uris = [each.get("uri") for each in answer.result.get("roots", [])]
    check(uris == ROOTS[:1], f"after the change the roots are {uris}")
