"""Messages of a server that belong to a request of the kit, and not to the server itself.

Some questions do provably: what stands in a result that requires input, and what comes over
Streamable HTTP on the stream of the request.  Whatever else is asked while a request runs may have
been asked of the server's own accord: many ask for the roots when a conversation has begun, and a
message on one channel does not say for which request it is.  So the request is made again, on a
conversation of its own and after a quiet time, and such questions are left open for longer than it
took: if it is answered all the same it was not waiting for the client, and only a question whose
answer lets it go on belongs to it.

Progress belongs to the request whose token it has.  Log messages belong to none: what comes of a
request is only what does not come without it.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import QUESTIONS, embedded, listen_too
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.shown import Kind, kind_of
from mcpcore_conformance.kit.verdicts import Broken, Ended

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

PATIENCE = 2.0
"""Seconds for which a server that serves one request after another may keep a plain one waiting."""
SETTLED = 1.0
"""Seconds that pass on a new conversation before the request is made again."""
HELD = 0.5
"""Seconds for which questions are left open, beside twice the time that the request took."""
MOST = 8
"""Questions that are answered one by one, at most."""

Begin = Callable[[Link], Awaitable[Sent]]
"""Makes a request, and does before it what it needs."""


class Question(Struct, frozen=True):
    """A question that belongs to a request."""

    message: Message
    placed: bool
    """True if it came in the right place: in the result, on the stream, or on the one channel."""


def _placed(link: Link, sent: Sent, question: Message) -> bool:
    return link.wire.binding is not Binding.HTTP or question.source.exchange == sent.exchange


async def questions_of(
    link: Link, reply: Reply, before: int, took: float, begin: Begin
) -> list[Question]:
    """The questions that belong to a request that was answered.

    ``before``: how much had been asked until it was made; ``took``: seconds until its answer;
    ``begin`` makes it again.
    """
    asked = [each for each in link.asked[before:] if each.method in QUESTIONS]
    own = _embedded(reply)
    if link.wire.binding is Binding.HTTP:
        own += [each for each in asked if _placed(link, reply.sent, each)]
    found = [Question(each, placed=True) for each in own]
    left = {kind_of(each.value) for each in asked} - {kind_of(each.value) for each in own}
    return found + (await waited_for(link, left, took, begin) if left else [])


def _embedded(reply: Reply) -> list[Message]:
    """The questions of a result; none where they are malformed, which is for cases to find."""
    try:
        return embedded(reply)
    except Broken:
        return []


async def waited_for(link: Link, kinds: set[Kind], took: float, begin: Begin) -> list[Question]:
    """The questions of these kinds for whose answers a request waits when it is made again.

    It is made on conversations of its own, like this one.
    """
    talk = link.talk.apart()
    try:
        return await _held(talk, link, kinds, took, begin)
    except Ended:
        return []  # what goes wrong is for cases to find
    finally:
        await talk.close(keep=False)


async def _held(
    talk: "ServerTalk", like: Link, kinds: set[Kind], took: float, begin: Begin
) -> list[Question]:
    """Leave the questions of these kinds open, and see whether the request waits for one."""
    held: list[Message] = []

    def leave(question: Message) -> dict[str, Any] | None:
        if kind_of(question.value) not in kinds:
            return Answering().result(question)
        held.append(question)
        return None

    link = await talk.connect(capabilities=like.capabilities)
    if link.revision.handshake:
        await link.initialize()
        await listen_too(link)
    # what a server asks because the conversation is new has been asked by then
    await link.until(lambda: None, min(SETTLED, talk.timing.answer))
    link.answering = Answering(by=dict.fromkeys((method for method, _ in kinds), leave))
    sent = await begin(link)
    plain = await link.send(link.plain)

    def over() -> bool:
        return bool(link.answer_to(sent) or link.over(sent))

    # that this is answered shows that the server has had time for the request, too
    await link.until(lambda: link.answer_to(plain) or over(), PATIENCE)
    if await link.until(over, HELD + 2 * took):
        return []
    if len(kinds) > 1:
        return [
            each for kind in sorted(kinds) for each in await _held(talk, like, {kind}, took, begin)
        ]
    for number in range(MOST + 1):
        if not held:
            break
        question = held[0]
        # the last time all that is left
        for each in [*held[: None if number == MOST else 1]]:
            held.remove(each)
            await link.answer(each, Answering())
        if await link.until(over, HELD + took):
            return [Question(question, _placed(link, sent, question))]
    return []


async def unasked(link: Link, such: Callable[[Message], bool], took: float) -> bool:
    """Return True if such messages come also while nothing runs, within ``took`` seconds."""
    await link.fence()
    link.inbox[:] = [each for each in link.inbox if not such(each)]
    patience = max(took, link.talk.timing.quiet)
    return bool(await link.until(lambda: any(map(such, link.inbox)), patience))
