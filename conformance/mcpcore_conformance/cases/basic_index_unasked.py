"""Cases of the page basic/index: answers that are one too many, and ids of the server's own."""

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.model import LEGACY, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tour import AFTERWARDS, check_asked, check_notified
from mcpcore_conformance.kit.trying import ask, asker
from mcpcore_conformance.kit.verdicts import Inconclusive, check

page = Page("basic/index")
case = page.server()


@case.must("result-responses/answered-once", "One answer to each request, and no second one later.")
async def answered_once(talk: ServerTalk) -> None:
    """What has been answered is not answered again."""
    await check_asked(talk, Unasked.TWICE, afterwards=AFTERWARDS)


@case.must(
    "result-responses/of-a-request",
    "Every answer has the id of a request that was made, of the same type; none has none.",
)
async def of_a_request(talk: ServerTalk) -> None:
    """Nothing is answered that nobody has asked."""
    await check_asked(talk, Unasked.UNKNOWN, Unasked.NAMELESS)


@case.must("notifications/params", "They have the members of their method, each of its type.")
async def notification_params(talk: ServerTalk) -> None:
    """Whatever a server notifies of, the params are those that the schema of the revision has."""
    await check_notified(talk, Unasked.MISSHAPEN, logs=True)


@case.must(
    "requests/server-ids-differ",
    "Another id for each ping, and whatever else the server asks of its own accord.",
    LEGACY,
)
async def server_ids_differ(talk: ServerTalk) -> None:
    """No two requests that a server makes without being asked have one id."""
    await check_asked(talk, Unasked.AGAIN)


@case.must(
    "requests/server-id-fresh",
    "Another id for each request of the server.",
    LEGACY,
    needs=("found:question",),
)
async def server_id_fresh(talk: ServerTalk) -> None:
    """A server, too, never uses an id again within a session."""
    which = await asker(talk, "question", "test_sampling")
    link = await talk.open()
    for _ in range(3):
        await ask(link, which)
    ids = [(type(each.id), each.id) for each in link.asked if each.method != "ping"]
    if not ids:
        raise Inconclusive("the server has asked nothing")
    check(len(set(ids)) == len(ids), f"the ids are {[each for _, each in ids]}")
