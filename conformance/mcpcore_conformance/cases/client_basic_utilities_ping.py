"""Cases of the page basic/utilities/ping for clients."""

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import LEGACY, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/ping")
case = page.client(LEGACY)

MANY = 50


def _check_pong(answer: Message) -> None:
    check(answer.kind is Kind.RESULT, f"ping was answered with an error: {answer.value!r}")
    left = {name for name in answer.result if name != "_meta"}
    check(not left, f"the result of ping has members: {answer.result!r}")


async def _ping(link: ClientLink, about: Message | None) -> None:
    _check_pong(await link.ask("ping", about=about))


@case.must("behavior-requirements", "An empty result, before the call is answered.")
async def answers(link: CalledLink, message: Call) -> None:
    """A client answers a ping while a call of its own is under way."""
    await _ping(link, message)
    await link.serve_one(message)


@case.must("behavior-requirements", "An empty result.", scenario="initialize")
async def answers_before_initialized(talk: ClientTalk) -> None:
    """A client answers a ping that comes before the answer to initialize."""
    link, opening = await talk.initializing()
    await _ping(link, opening)
    talk.serving.hold.discard("initialize")
    await link.serve_one(opening)


@case.must("behavior-requirements", "One empty result for each of fifty pings that come at once.")
async def answers_each(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Pings that come close together are answered once each."""
    told = [await link.tell("ping", about=message) for _ in range(MANY)]
    for each in told:
        _check_pong(await link.answer_to(each))
    await link.serve_one(message)
    await talk.finished()
    answers = [each for each in link.seen if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(len(answers) == MANY, f"{MANY} pings got {len(answers)} answers")
