"""Calls that have to run when something else is read: one that was over by then shows nothing.

How long a message is on its way the kit does not know: to a program beside it hardly a millisecond,
to one far away, or on a machine that is busy, half a second.  So a case makes a short call first,
and a longer one where that was over too soon.
"""

from collections.abc import Callable, Iterator
from typing import Any

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.probes import fence
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Inconclusive, check
from mcpcore_conformance.kit.watched import REPORTING
from mcpcore_conformance.kit.watching import PROGRESS

CANCELLED = "notifications/cancelled"
LONGER = (0.15, 1.0, 4.0)
"""Seconds of a call, one after the other for servers that are farther away."""
PAUSES = (0.05, 0.5, 2.0)
"""Seconds between two reports of a call, one after the other for servers that are farther away."""
AFTERWARDS = 4
"""Pauses in which what goes on would show: longer than what is left of such a call."""


async def cancel(link: Link, sent: Sent, params: dict[str, Any] | None = None) -> None:
    """Cancel a call, perhaps by a notification of one's own; the conversation stays clean."""
    spoilt = link.spoilt
    await (link.cancel(sent) if params is None else link.notify(CANCELLED, params))
    link.forget(sent)
    link.spoilt = spoilt


def over_too_soon(what: str) -> Inconclusive:
    """Why nothing is found out: no call was long enough."""
    return Inconclusive(f"the call was over before {what} could be read: too far, or too busy")


async def outlasts(link: Link, sent: Sent, seconds: float, what: str) -> bool:
    """Check that a call of so many seconds comes to its result.

    Returns whether it still ran when the server read what was said before: a request behind that
    was answered first.
    """
    await fence(link)
    early = link.answer_to(sent)
    reply = await link.reply(sent, link.patience + seconds)
    check(reply.good, f"{what} got {reply}")
    return early is None


def reporting(talk: ServerTalk) -> Iterator[tuple[float, dict[str, Any]]]:
    """The params of calls that report progress, and the pauses of each: longer and longer ones.

    Only one, if the server's tool has pauses of its own.
    """
    tool = talk.tool(REPORTING)
    if "seconds" not in tool.input_schema.get("properties", {}):
        yield PAUSES[0], {"name": REPORTING, "arguments": {}}
        return
    for pause in PAUSES:
        yield pause, {"name": REPORTING, "arguments": {"seconds": pause}}


async def after_cancellation(
    talk: ServerTalk, link: Link, wrong: Callable[[Message], bool]
) -> list[Message]:
    """Return the messages that are ``wrong`` of a call whose cancellation has been read.

    The call reports progress.  Raises Inconclusive if there is nothing wrong, and each of these
    calls had come to its end, or to its last report, as if it had not been cancelled.
    """
    assert link.wire.binding is not Binding.HTTP, "what is cut off there cannot be heard"
    for pause, params in reporting(talk):
        token = str(talk.fresh_id())
        sent = await link.send("tools/call", params, meta={"progressToken": token})
        await link.expect(PROGRESS)
        await cancel(link, sent)
        await fence(link)
        early = _taken(link, sent, token)
        await link.until(lambda: None, AFTERWARDS * pause)
        # what was on its way by then is heard as well
        await fence(link)
        late = _taken(link, sent, token)
        if found := [each for each in late if wrong(each)]:
            return found
        ended = any(each.kind is Kind.RESULT for each in (*early, *late))
        if not ended and not any(map(_is_last, early)):
            return []
    raise over_too_soon("its cancellation")


def _taken(link: Link, sent: Sent, token: str) -> list[Message]:
    """Return the messages of a call, with its answer; remove them from the inbox."""

    def of_it(each: Message) -> bool:
        return each.params.get("progressToken") == token or each.answers(sent.id)

    found = [each for each in link.inbox if of_it(each)]
    link.inbox[:] = [each for each in link.inbox if not of_it(each)]
    return found


def _is_last(report: Message) -> bool:
    """Return True if there is no more to be reported."""
    value, total = report.params.get("progress"), report.params.get("total")
    return isinstance(value, int | float) and isinstance(total, int | float) and value >= total
