"""Cases of the page client/roots, as a server has to follow it."""

from typing import Any

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import Asked, listen_too, worked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import LEGACY, Page
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import ask, asker, questioned
from mcpcore_conformance.kit.verdicts import check

page = Page("client/roots")

METHOD = "roots/list"
TOOL = "test_list_roots"
NEEDS = ("found:roots",)
case = page.server(needs=NEEDS)
listing_roots = case.at("listing-roots")
implementation_guidelines = case.at("implementation-guidelines")
CHANGED = "notifications/roots/list_changed"


async def asked(
    talk: ServerTalk, capabilities: dict[str, Any] | None = None, answer: Any = None
) -> tuple[Link, Asked]:
    """Have the roots asked for, by the tool of the fixture or what was found.

    ``answer`` is a good one by default.
    """
    by = {} if answer is None else {METHOD: lambda _: answer}
    declared = {"roots": {"listChanged": True}} if capabilities is None else capabilities
    which = await asker(talk, "roots", TOOL)
    link, found = await questioned(talk, which, METHOD, declared, Answering(by=by))
    if not found.of(METHOD) and worked(found.reply) and capabilities is None:
        talk.skip("the tool knows roots without asking this client")
    return link, found


@listing_roots.should("roots/list, without params or with _meta alone.")
async def shape(talk: ServerTalk) -> None:
    """A request for roots has the shape of its revision."""
    _, found = await asked(talk)
    params = found.one(METHOD).params
    problem = params_problem(METHOD, params, talk.revision)
    check(not problem, f"the params of {METHOD}: {problem}")
    more = sorted(set(params) - {"_meta"})
    check(not more, f"{METHOD} has no {', '.join(more)}")


@implementation_guidelines.should("No request, and an error or a result that says so.")
async def declared_only(talk: ServerTalk) -> None:
    """A client that has not declared roots is not asked for them."""
    link, found = await asked(talk, {})
    check(not found.of(METHOD), f"{METHOD} is asked of a client that has not declared it")
    check(found.reply.message is not None, f"the call got {found.reply}")
    await link.alive()


@listing_roots.should("The call goes on once the client has answered, also if there are no roots.")
async def answer_used(talk: ServerTalk) -> None:
    """A call goes on with the roots that there are."""
    for roots in ([{"uri": "file:///kit", "name": "kit"}], [{"uri": "file:///kit"}], []):
        _, found = await asked(talk, answer={"roots": roots})
        found.one(METHOD)
        check(found.reply.message is not None, f"with the roots {roots}: {found.reply}")
        # any other tool may want one of its own
        known = TOOL in talk.features.tools
        check(not known or worked(found.reply), f"with the roots {roots}: {found.reply}")


@case.should("error-handling", "An end of the call, and a server that goes on.", LEGACY)
async def client_error(talk: ServerTalk) -> None:
    """A client that fails to list its roots ends the call at most."""
    for code in (-32601, -32603):
        link, found = await asked(talk, answer={"error": {"code": code, "message": "no roots"}})
        found.one(METHOD)
        check(found.reply.message is not None, f"after the error {code} the call got {found.reply}")
        await link.alive()


@case.should("security-considerations", "An end of the call, and a server that goes on.")
async def malformed_roots(talk: ServerTalk) -> None:
    """Roots that are none do no harm."""
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"roots": "file:///kit"},
        {"roots": [{"name": "kit"}]},
        {"roots": [{"uri": 17}]},
    )
    for answer in wrong:
        link, found = await asked(talk, answer=answer)
        found.one(METHOD)
        check(found.reply.message is not None, f"after the answer {answer}: {found.reply}")
        await link.alive()


@implementation_guidelines.should(
    "A server that goes on, and asks anew when it wants to know.", LEGACY
)
async def changes_handled(talk: ServerTalk) -> None:
    """A server copes with a change of roots."""
    roots = ["file:///kit/one"]
    answering = Answering(by={METHOD: lambda _: {"roots": [{"uri": roots[0]}]}})
    which = await asker(talk, "roots", TOOL)
    declared = {**which.besides(METHOD), "roots": {"listChanged": True}}
    link = await talk.open(capabilities=declared, answering=answering)
    await listen_too(link)
    before = len(link.asked)
    first = await ask(link, which)
    if not any(each.method == METHOD for each in link.asked[before:]):
        talk.skip("the tool knows roots without asking this client")
    tells = roots[0] in repr(first.result)
    check(tells or not which.known, f"the tool does not know the root {roots[0]}")
    roots[0] = "file:///kit/other"
    await link.accepted(await link.notify(CHANGED))
    # it may ask at once, and has to hear the answer then
    await link.quiet()
    second = await ask(link, which)
    if tells:
        check(roots[0] in repr(second.result), "after a change the tool still knows the old root")
