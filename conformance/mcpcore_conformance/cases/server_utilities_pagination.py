"""Cases of the page server/utilities/pagination."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from mcpcore_conformance.kit.apart import CURSOR
from mcpcore_conformance.kit.asking import pages
from mcpcore_conformance.kit.features import TEMPLATES
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS
from mcpcore_conformance.kit.model import EVERY, Binding, Page
from mcpcore_conformance.kit.readings import read_alike
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check, need

page = Page("server/utilities/pagination")
case = page.server()

LISTS = {
    "tools/list": ("tools", "tools", "name"),
    "resources/list": ("resources", "resources", "uri"),
    TEMPLATES: ("resources", "resourceTemplates", "uriTemplate"),
    "prompts/list": ("prompts", "prompts", "name"),
}
"""Method to the capability, the member of its result, and what names an entry."""
PAGES = 1000
"""Pages after which a list counts as endless."""
FORGED = (
    "no cursor of this server",
    # as a place in a list, each of them is before its beginning
    "-1",
    "eyJvZmZzZXQiOiAtMX0=",
    "../../etc/passwd",
    "'; DROP TABLE tools; --",
    "\u0000",
    "x" * 10_000,
)


def _there(talk: ServerTalk) -> list[str]:
    """The lists that the server has."""
    features = talk.features
    found = [
        method
        for method, (need, _, _) in LISTS.items()
        if features.declares(need) and features.serves(method)
    ]
    return found or talk.skip("the server has no lists")


async def _page(link: Link, method: str, cursor: str | None = None) -> tuple[list[Any], str | None]:
    """One page: the entries and the cursor of the next one."""
    found = await link.ask(method, {} if cursor is None else {"cursor": cursor})
    following = found.get("nextCursor")
    text = following is None or isinstance(following, str)
    check(text, f"{method}: nextCursor is {following!r}", CURSOR)
    return found[LISTS[method][1]], following


async def _walk(link: Link, method: str) -> list[Any]:
    """All entries of a list, page after page."""
    found: list[Any] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGES):
        entries, cursor = await _page(link, method, cursor)
        found += entries
        if cursor is None:
            return found
        check(cursor not in seen, f"{method} leads back to the cursor {cursor!r}")
        seen.add(cursor)
    raise Broken(f"{method} has not ended after {PAGES} pages")


async def _whole(talk: ServerTalk, method: str) -> None:
    link = await talk.open()
    found = await _walk(link, method)
    # two entries of one name have a case of their own
    twice = {str(each.get(LISTS[method][2])) for each in found if found.count(each) > 1}
    check(not twice, f"{method} lists {sorted(twice)} more than once")


async def _paged(talk: ServerTalk, link: Link) -> tuple[str, list[Any], str]:
    """A list of several pages: its method, its first page, and the cursor of the second."""
    for method in _there(talk):
        entries, cursor = await _page(link, method)
        if cursor is not None:
            return method, entries, cursor
    talk.skip("every list of the server fits on one page")


def _names(method: str, entries: Iterable[Any]) -> list[Any]:
    return [entry.get(LISTS[method][2]) for entry in entries]


for _slug, _one, _list, _method, _needs in (
    ("tools", "tool", "tools", "tools/list", ("tools",)),
    ("resources", "resource", "resources", "resources/list", ("resources",)),
    (
        "templates",
        "template",
        "resource templates",
        TEMPLATES,
        ("resources", f"method:{TEMPLATES}"),
    ),
    ("prompts", "prompt", "prompts", "prompts/list", ("prompts",)),
):
    case.must(
        f"operations-supporting-pagination/{_slug}",
        f"The pages come to an end, no cursor comes twice, and no {_one} either.",
        needs=_needs,
        summary=f"The list of {_list} is found whole by following its cursors.",
    )(partial(_whole, method=_method))


@case.must("response-format", "nextCursor is a string; where nothing follows it is not there.")
async def next_cursor(talk: ServerTalk, link: OpenLink) -> None:
    """The cursor of the next page is a string, or there is none."""
    for method in _there(talk):
        for each in await pages(link, method):
            value = each.get("nextCursor", "")
            check(isinstance(value, str), f"{method}: nextCursor is {value!r}", CURSOR)


@case.should("error-handling", "The error -32602.")
async def invalid_cursor(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor that the server never gave is refused."""
    for method in _there(talk):
        for cursor in FORGED:
            reply = await link.request(method, {"cursor": cursor})
            reply.failed_with(INVALID_PARAMS, what=f"{method} with the cursor {cursor[:40]!r}")
    await link.alive()


@case.should("error-handling", "The error -32602.")
async def cursor_type(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor that is no string is refused."""
    cursors: tuple[Any, ...] = (1, 0.5, True, {}, ["x"])
    for method in _there(talk):
        for cursor in cursors:
            reply = await link.request(method, {"cursor": cursor})
            reply.failed_with(INVALID_PARAMS, what=f"{method} with the cursor {cursor!r}")


@case.must("request-format", "The second page has other entries than the first.")
async def pages_differ(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor leads on from where its page ended."""
    method, first, cursor = await _paged(talk, link)
    second, following = await _page(link, method, cursor)
    if following == cursor:
        raise Inconclusive(f"{method} leads from the cursor {cursor!r} to itself")
    again = {str(name) for name in _names(method, [each for each in first if each in second])}
    check(not again, f"{method} lists {sorted(again)} on both pages")


@case.should("implementation-guidelines", "The same page, as often as it is asked for.")
async def stable(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor may be used again, and leads to the same page."""
    method, _, cursor = await _paged(talk, link)
    first, following = await _page(link, method, cursor)
    await _page(link, method)
    second, later = await _page(link, method, cursor)
    same = _names(method, first) == _names(method, second)
    check(same, f"a cursor of {method} led to another page the second time")
    check((following is None) is (later is None), "only one of them says that more follows")


@case.should("implementation-guidelines", "The error -32602.")
async def altered(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor with something behind it is another one, and refused."""
    method, _, cursor = await _paged(talk, link)
    altered = f"{cursor}x"
    if read_alike(cursor, altered):
        # what follows the padding says nothing
        altered = f"x{cursor}"
    reply = await link.request(method, {"cursor": altered})
    reply.failed_with(INVALID_PARAMS, what=f"{method} with a cursor that has something behind it")


@case.may("implementation-guidelines", "The error -32602.")
async def of_another_list(talk: ServerTalk, link: OpenLink) -> None:
    """A cursor of one list is no cursor of another."""
    method, _, cursor = await _paged(talk, link)
    others = [each for each in _there(talk) if each != method]
    need(others, "the server has one list only")
    reply = await link.request(others[0], {"cursor": cursor})
    reply.failed_with(INVALID_PARAMS, what=f"{others[0]} with a cursor of {method}")


@case.should(
    "pagination-model", "The same entries in the same order.", bindings=EVERY - {Binding.STDIO}
)
async def same_whole(talk: ServerTalk) -> None:
    """Two clients that follow the cursors side by side find the same list."""
    first, second = await talk.open(), await talk.open()
    for method in _there(talk):
        names = [_names(method, await _walk(link, method)) for link in (first, second)]
        check(names[0] == names[1], f"{method} is another list for another client")
