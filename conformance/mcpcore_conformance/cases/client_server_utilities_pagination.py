"""Cases of the page server/utilities/pagination for clients."""

from typing import Any

from mcpcore_conformance.kit.client_serving import tool
from mcpcore_conformance.kit.client_steps import listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("server/utilities/pagination")
case = page.client(**scripted(listing()))
implementation_guidelines = case.at("implementation-guidelines")

CURSORS = ("eyJwIjoxfQ==", ' {"page": 2} ', "ø☃\n%20&a=b", "0", "null")
"""What a client that reads, trims or encodes a cursor would change."""
LOOPS = 2000


def _pages(talk: ClientTalk, cursors: list[str], sizes: list[int]) -> None:
    """List tools in pages of these sizes, each but the last with a cursor."""
    followers: dict[str | None, int] = {None: 0}
    followers |= {cursor: number for number, cursor in enumerate(cursors, 1)}

    def answer(message: Message) -> dict[str, Any]:
        number = followers.get(message.params.get("cursor"), -1)
        if number < 0:
            return {"error": {"code": -32602, "message": "no such cursor"}}
        made: dict[str, Any] = {"tools": [tool(f"t{number}_{n}") for n in range(sizes[number])]}
        if number < len(cursors):
            made["nextCursor"] = cursors[number]
        return made

    talk.serving.by["tools/list"] = answer


async def _whole_list(talk: ClientTalk, cursors: list[str], sizes: list[int]) -> None:
    _pages(talk, cursors, sizes)
    link = await talk.begin()
    step = await talk.step()
    asked = [each.params.get("cursor") for each in link.session if each.method == "tools/list"]
    whole = [None, *cursors]  # who wants the tools for itself, too, reads the list more than once
    times = len(asked) // len(whole)
    check(asked == whole * max(times, 1), f"of the cursors {cursors} the client sent {asked[1:]}")
    check(step.good, f"the list ended with {step}")
    wanted = [f"t{page}_{n}" for page, size in enumerate(sizes) for n in range(size)]
    found = [each.get("name") for each in step.result]
    check(found == wanted, f"the list has {found}, not {wanted}")


@implementation_guidelines.must("Each cursor comes back exactly, and all entries are there.")
async def opaque(talk: ClientTalk) -> None:
    """Cursors are sent back as they were given."""
    await _whole_list(talk, [*CURSORS], [1] * (len(CURSORS) + 1))


@case.must("pagination-model", "All entries of pages of 3, 0, 1 and 5.")
async def page_size(talk: ClientTalk) -> None:
    """Pages have any number of entries, and none as well."""
    await _whole_list(talk, ["a", "b", "c"], [3, 0, 1, 5])


@implementation_guidelines.should("One request; a list that has no pages is complete.")
async def end(talk: ClientTalk) -> None:
    """A list without nextCursor is at its end."""
    await _whole_list(talk, [], [4])


@implementation_guidelines.must("The empty cursor is sent back, and the next page is read.", MODERN)
async def empty_cursor(talk: ClientTalk) -> None:
    """An empty string is a cursor like any other."""
    await _whole_list(talk, [""], [2, 2])


@implementation_guidelines.may(f"The client ends, after fewer than {LOOPS} requests.")
async def loop(talk: ClientTalk) -> None:
    """A server that gives the same cursor again and again does not keep a client for ever."""
    talk.serving.by["tools/list"] = lambda message: {"tools": [], "nextCursor": "again"}
    link = await talk.begin()
    await talk.until(
        lambda: talk.ended or len(link.requests("tools/list")) >= LOOPS, talk.timing.exit
    )
    asked = len(link.requests("tools/list"))
    check(asked < LOOPS, f"the client asked for the same page {asked} times")
    check(talk.ended, "the client did not end")


@case.may("error-handling", "The list fails, or begins anew; the client ends.")
async def refused_cursor(talk: ClientTalk) -> None:
    """A cursor that the server refuses ends the list."""

    def answer(message: Message) -> dict[str, Any]:
        if "cursor" in message.params:
            return {"error": {"code": -32602, "message": "no such cursor"}}
        return {"tools": [tool("one")], "nextCursor": "lost"}

    talk.serving.by["tools/list"] = answer
    await talk.accept()
    step = await talk.step()
    check(not step.good, f"a list of which a page is missing was taken for whole: {step.result!r}")
