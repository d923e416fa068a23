"""Cases of the page basic/utilities/cancellation: what only the legacy era has."""

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import listen_too, questioned
from mcpcore_conformance.kit.messages import result
from mcpcore_conformance.kit.model import LEGACY, ONE_CHANNEL, Page
from mcpcore_conformance.kit.probes import fence
from mcpcore_conformance.kit.running import CANCELLED, cancel
from mcpcore_conformance.kit.talk import NewLink, ServerTalk
from mcpcore_conformance.kit.trying import asker, unanswering
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/cancellation")
case = page.server(LEGACY)


@case.should("behavior-requirements", "The answer to initialize.", bindings=ONE_CHANNEL)
async def initialize_answered(link: NewLink) -> None:
    """An initialize cannot be cancelled: it is answered all the same."""
    sent = await link.send("initialize", link.opening())
    await link.notify(CANCELLED, {"requestId": sent.id, "reason": "the kit wants to see it"})
    reply = await link.reply(sent)
    check(reply.good, f"an initialize that was cancelled got {reply}")


@case.should(
    "behavior-requirements",
    "The call is not answered, and what the client says to the question is dropped.",
    needs=("found:question",),
)
async def while_asking(talk: ServerTalk) -> None:
    """A call that is cancelled while it waits for the client ends there."""
    which = await asker(talk, "question", "test_sampling")
    link = await talk.open(answering=unanswering())
    await listen_too(link)
    sent = await link.send(which.method, which.params)
    question = await questioned(link)
    await cancel(link, sent)
    await fence(link)
    late = Answering().result(question)
    await link.accepted(await link.say(result(question.id, late or {})))
    await fence(link)
    message = link.answer_to(sent)
    check(message is None, f"the cancelled call was answered: {message and message.value}")
    await link.ask(*talk.any_request())
