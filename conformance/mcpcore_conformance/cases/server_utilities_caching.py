"""Cases of the page server/utilities/caching."""

from typing import Any

from mcpcore_conformance.kit.apart import SCOPE, TTL
from mcpcore_conformance.kit.asking import needs_input, pages
from mcpcore_conformance.kit.features import TEMPLATES
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.shape import integer
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import ask, asker, check_still_asks
from mcpcore_conformance.kit.verdicts import check

page = Page("server/utilities/caching")
case = page.server(MODERN)

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    TEMPLATES: "resources",
}
"""Method to the capability that it needs."""
HINTS = ("ttlMs", "cacheScope")
SCOPES = ("public", "private")
MOST = 5
"""Resources that are read, at most."""


async def results(talk: ServerTalk, method: str, link: Link | None = None) -> list[dict[str, Any]]:
    """Complete results of a cacheable method, of several resources; none where it is refused."""
    link = link or await talk.open()
    if method in LISTS:
        return await pages(link, method)
    asked: list[dict[str, Any]] = [{}]
    if method == "resources/read":
        asked = [{"uri": each["uri"]} for each in talk.features.resources[:MOST]]
    found = []
    for params in asked:
        reply = await link.request(method, params)
        if reply.message is None or (reply.good and not needs_input(reply)):
            found.append(reply.result)
    return found


def _lists(talk: ServerTalk) -> list[str]:
    """The cacheable lists that the server has."""
    features = talk.features
    return [
        method
        for method, needed in LISTS.items()
        if features.declares(needed) and features.serves(method)
    ]


async def all_results(talk: ServerTalk) -> list[tuple[str, dict[str, Any]]]:
    """Complete results of all cacheable methods that the server has."""
    methods = ["server/discover", *_lists(talk), "resources/read"]
    link = await talk.open()
    return [(method, each) for method in methods for each in await results(talk, method, link)]


def _hinted(method: str, needs: tuple[str, ...] = ()) -> None:
    async def hinted(talk: ServerTalk) -> None:
        found = await results(talk, method)
        for each in found or talk.skip(f"{method} gives no result that is complete"):
            missing = [name for name in HINTS if name not in each]
            check(not missing, f"a result of {method} has no {' and no '.join(missing)}")

    hinted.__doc__ = f"Complete results of {method} carry both hints."
    place = f"cacheable-results/{method.replace('/', '-')}"
    case.must(place, "ttlMs and cacheScope.", needs=needs)(hinted)


_hinted("server/discover")
for _method, _needed in LISTS.items():
    _hinted(_method, (_needed, f"method:{TEMPLATES}") if _method == TEMPLATES else (_needed,))
_hinted("resources/read", ("resources",))


@case.must("time-to-live-ttl-field", "An integer of at least 0.")
async def not_negative(talk: ServerTalk) -> None:
    """TtlMs is a number of milliseconds that is not negative."""
    for method, each in await all_results(talk):
        problem = integer(0)(each.get("ttlMs", 0), f"ttlMs of {method}")
        check(not problem, problem, TTL)


@case.must("cache-scope-field/known", "public or private.")
async def known_scope(talk: ServerTalk) -> None:
    """CacheScope is public or private."""
    for method, each in await all_results(talk):
        value = each.get("cacheScope", "public")
        check(value in SCOPES, f"cacheScope of {method} is {value!r}", SCOPE)


@case.must("interaction-with-pagination", "The same cacheScope on every page of a list.")
async def same_scope(talk: ServerTalk, link: OpenLink) -> None:
    """All pages of a list have the same scope."""
    for method in _lists(talk):
        scopes = {str(each.get("cacheScope")) for each in await results(talk, method, link)}
        check(len(scopes) == 1, f"pages of {method} have the scopes {', '.join(scopes)}")


@case.should(
    "cacheable-results", "No hints on a result that requires input.", needs=("found:input",)
)
async def not_of_interim_results(talk: ServerTalk) -> None:
    """A result that requires input carries no hints."""
    asked = await asker(talk, "input", "test_input_required_result_elicitation")
    reply = await ask(await talk.open(), asked)
    check_still_asks(talk, asked, reply)
    found = [name for name in HINTS if name in reply.result]
    check(not found, f"a result that requires input has {' and '.join(found)}")
