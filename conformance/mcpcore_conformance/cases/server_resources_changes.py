"""Cases of the page server/resources: what is told of changes."""

from mcpcore_conformance.cases.server_lists import announced
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.asking import call, worked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import belongs, listening, open_stream
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import LEGACY, MODERN, Page
from mcpcore_conformance.kit.shapes import params_problem, result_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tour import check_asked
from mcpcore_conformance.kit.verdicts import check

page = Page("server/resources")

WATCHED = "test://watched-resource"
OTHER = "test://static-text"
TOOL = "test_trigger_resource_change"
UPDATED = "notifications/resources/updated"
FIXTURE = ("resources.subscribe", f"tool:{TOOL}", f"resource:{WATCHED}")
case = page.server(LEGACY, needs=FIXTURE)


async def change(talk: ServerTalk, link: Link) -> None:
    """Have the watched resource changed."""
    reply = await call(link, talk.tool(TOOL), {})
    check(worked(reply), f"{TOOL} got {reply}")


async def _subscribe(link: Link, uri: str, *, un: bool = False) -> None:
    method = "resources/unsubscribe" if un else "resources/subscribe"
    spoilt = link.spoilt
    reply = await link.request(method, {"uri": uri})
    # every case takes back what it has subscribed to
    link.spoilt = spoilt
    problem = result_problem(method, reply.result, link.revision)
    check(not problem, f"the result of {method}: {problem}", method)


async def _take_back(link: Link, uri: str) -> None:
    await _subscribe(link, uri, un=True)
    await link.quiet(0)
    link.inbox.clear()


def _updates(link: Link, uri: str) -> list[Message]:
    return [each for each in link.inbox if each.method == UPDATED and each.params.get("uri") == uri]


async def _nothing_of(link: Link, uri: str, why: str) -> None:
    await link.quiet()
    check(not _updates(link, uri), f"an update of {uri} came, {why}")


@case.must("subscriptions/accepted", "Empty results.", needs=("resources.subscribe",))
async def accepted(talk: ServerTalk) -> None:
    """A server that declares it takes subscriptions to its resources, and takes them back."""
    resources = talk.features.resources or talk.skip("the server lists no resources")
    link = await talk.open()
    await _subscribe(link, resources[0]["uri"])
    await _subscribe(link, resources[0]["uri"], un=True)


@case.should("subscriptions/updated", "notifications/resources/updated with the URI.")
async def updated(talk: ServerTalk) -> None:
    """A change of a resource is told to who has subscribed to it."""
    link = await talk.open()
    await open_stream(link)
    await _subscribe(link, WATCHED)
    await change(talk, link)
    message = await link.expect(UPDATED)
    problem = params_problem(UPDATED, message.params, talk.revision)
    check(not problem, f"the params of {UPDATED}: {problem}")
    check(message.params["uri"] == WATCHED, f"the update is one of {message.params['uri']}")
    await _take_back(link, WATCHED)


@case.should(
    "subscriptions/only-what-was-subscribed",
    "Nothing of a resource that nobody has subscribed to.",
    needs=(*FIXTURE, f"resource:{OTHER}"),
)
async def only_subscribed(talk: ServerTalk) -> None:
    """Only changes of the resources that were subscribed to are told."""
    link = await talk.open()
    await open_stream(link)
    await _subscribe(link, OTHER)
    await change(talk, link)
    await _nothing_of(link, WATCHED, f"and only {OTHER} was subscribed to")
    await _take_back(link, OTHER)


@case.should("subscriptions/unsubscribed", "Nothing after resources/unsubscribe.")
async def unsubscribed(talk: ServerTalk) -> None:
    """After unsubscribing, changes are told no more."""
    link = await talk.open()
    await open_stream(link)
    await _subscribe(link, WATCHED)
    await _subscribe(link, WATCHED, un=True)
    # others may have changed it meanwhile
    await link.quiet()
    link.inbox.clear()
    await change(talk, link)
    await _nothing_of(link, WATCHED, "after resources/unsubscribe")
    link.inbox.clear()


@case.must("subscriptions/per-session", "Nothing for a client that has not subscribed.")
async def per_session(talk: ServerTalk) -> None:
    """A subscription is one of its session and of no other."""
    first = await talk.open()
    other = await talk.open()
    await open_stream(first)
    await open_stream(other)
    await _subscribe(first, WATCHED)
    await change(talk, first)
    await _nothing_of(other, WATCHED, "and another client has subscribed")
    await _take_back(first, WATCHED)
    other.inbox.clear()


@case.should(
    "subscriptions/updated-to-listeners",
    "notifications/resources/updated with the URI, on the subscription.",
    MODERN,
)
async def updated_to_listeners(talk: ServerTalk) -> None:
    """A change of a resource is told to a subscription that names it."""
    link = await talk.open()
    sent = await listening(link, {"resourceSubscriptions": [WATCHED]})
    await change(talk, link)
    message = await link.expect(UPDATED)
    problem = params_problem(UPDATED, message.params, talk.revision)
    check(not problem, f"the params of {UPDATED}: {problem}")
    check(belongs(message, sent), "the update does not name its subscription")
    check(message.params["uri"] == WATCHED, f"the update is one of {message.params['uri']}")


announced(case, "resources", TOOL, "list of resources")


@case.should("subscriptions/nothing-without-one", "No notifications/resources/updated.", needs=())
async def nothing_without_one(talk: ServerTalk) -> None:
    """Who has subscribed to nothing is told of no update."""
    await check_asked(talk, Unasked.SUBSCRIBED)
