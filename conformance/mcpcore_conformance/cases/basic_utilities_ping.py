"""Cases of the page basic/utilities/ping."""

from mcpcore_conformance.cases.basic_patterns_cancellation import waiting
from mcpcore_conformance.kit.asking import listen_too, questioned
from mcpcore_conformance.kit.model import LEGACY, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.running import cancel
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import asker, unanswering
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/ping")
case = page.server(LEGACY)
behavior_requirements = case.at("behavior-requirements")


def _empty(reply: Reply) -> None:
    found = reply.result
    check(set(found) <= {"_meta"}, f"a ping was answered with {found}", "ping")


@behavior_requirements.must("An empty result.")
async def empty(talk: ServerTalk, link: OpenLink) -> None:
    """A ping is answered with nothing in it."""
    _empty(await link.request("ping"))
    _empty(await link.request("ping", id=talk.fresh_id()))


@case.should("message-format", "An empty result.")
async def with_params(link: OpenLink) -> None:
    """A ping may have params: empty ones, or with _meta."""
    _empty(await link.request("ping", {}))
    _empty(await link.request("ping", {"_meta": {"org.example/x": 1}}))


@behavior_requirements.must("An empty result, before the call ends.", needs=("tool:test_wait",))
async def while_busy(talk: ServerTalk, link: OpenLink) -> None:
    """A ping is answered at once while a call runs."""
    call = await waiting(talk, link, 30.0)
    _empty(await link.request("ping"))
    check(link.answer_to(call) is None, "the call had ended")
    await cancel(link, call)


@behavior_requirements.must("An empty result.", needs=("found:question",))
async def while_asking(talk: ServerTalk) -> None:
    """A ping is answered while the server waits for an answer of the client."""
    which = await asker(talk, "question", "test_sampling")
    link = await talk.open(answering=unanswering())
    await listen_too(link)
    sent = await link.send(which.method, which.params)
    await questioned(link)
    _empty(await link.request("ping"))
    await cancel(link, sent)


@behavior_requirements.should("An empty result for each.")
async def many(link: OpenLink) -> None:
    """Pings that are sent without waiting are each answered."""
    for sent in [await link.send("ping") for _ in range(50)]:
        _empty(await link.reply(sent))


@case.must(
    "overview",
    "The ping has an id, and the call goes on when it is answered.",
    needs=("tool:test_ping_client",),
)
async def server_pings(link: OpenLink) -> None:
    """A server may ping as well, and waits for nothing but an empty result."""
    await link.listen()
    found = await link.ask("tools/call", {"name": "test_ping_client", "arguments": {}})
    check(not found.get("isError"), f"the call that pings the client failed: {found}")
    pings = [each for each in link.asked if each.method == "ping"]
    check(pings, "no ping came")
    for ping in pings:
        check(set(ping.params) <= {"_meta"}, f"the ping has the params {ping.params}")
