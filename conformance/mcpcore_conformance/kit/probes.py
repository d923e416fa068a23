"""Probes that several pages need: messages to be refused or ignored, and fences behind them."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from mcpcore_conformance.kit.heard import Head
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.verdicts import Broken, check
from mcpcore_conformance.kit.wire import Overrides

ANSWERS = (Kind.RESULT, Kind.ERROR)
CLIENT_ERRORS = range(400, 500)


def plain_request(link: Link) -> str:
    """A method that every server answers once a conversation is open."""
    return link.plain


def headers_as_for(link: Link, method: str) -> Overrides | None:
    """The headers that go with a request of that method, whatever the body is."""
    return {"mcp-method": method} if link.revision.mirror_headers else None


async def outcome(link: Link, sent: Sent, *, owed: bool = True) -> Reply:
    """Wait for what comes of something that may also be ignored.

    Over HTTP the end of its exchange says so.  Elsewhere a plain request is sent behind it: when
    that is answered, what is ``owed`` an answer has the time of one, as long as the server was not
    found to be silent about such things; and what is not owed any does not come after a moment (and
    what was refused with a status is over).
    """
    if link.wire.binding is Binding.HTTP:
        return await link.reply(sent)
    if sent.exchange:
        # what a POST got, and what comes on the stream, arrive in no order
        await link.until(lambda: link.ended.get(sent.exchange))
    await fence(link)
    head = link.heads.get(sent.exchange)
    if link.answer_to(sent) is None and (head is None or head.status not in CLIENT_ERRORS):
        timing, mute = link.talk.timing, link.talk.features.mute
        waits = owed and link.wire.binding not in mute
        found = await link.until(
            lambda: link.answer_to(sent), timing.answer if waits else timing.quiet
        )
        if found is None:
            link.unsettled = True
            if waits:
                mute.add(link.wire.binding)
    return await link.reply(sent, 0.0)


async def fence(link: Link) -> None:
    """Check that the server answers a plain request by its id, whatever the answer looks like."""
    came = await link.fence()
    check(
        came or link.gone, f"afterwards the server does not answer any more, not even {link.plain}"
    )


async def rejected(
    link: Link,
    payload: Any,
    what: str,
    *,
    id: Any = UNSET,
    headers: Overrides | None = None,
    owed: bool = True,
) -> Reply:
    """Send what is no valid message; check that it is not carried out, and that the server lives.

    Returns what came of it: an error (with whatever id; ``id`` may be read in it), a status, or
    nothing.  The conversation is as clean afterwards as it was before, unless that may still come.
    ``owed``: see :func:`outcome`.
    """
    spoilt = link.spoilt
    sent = await link.say(payload, headers=headers)
    if not isinstance(id, UnsetType):
        sent.id = id
    reply = await outcome(link, sent, owed=owed)
    if reply.gone is not None:
        raise Broken(f"{what} ended the connection ({reply.gone.reason})")
    if reply.message is not None:
        check(reply.message.kind is Kind.ERROR, f"{what} was carried out: {reply.message.value}")
    for stray in answers(link):
        if stray.kind is Kind.RESULT:
            raise Broken(f"{what} was answered, with the id {stray.id!r}: {stray.value}")
        # an error with an id that nobody gave: what that is worth, a case of its own says
        link.inbox.remove(stray)
        reply.message = reply.message or stray
    link.spoilt = spoilt
    return reply


def check_good(reply: Reply, what: str) -> None:
    """Check that something got a result."""
    check(reply.good, f"{what} got {reply}", "ping" if reply.sent.method == "ping" else "")


def answers(link: Link) -> list[Message]:
    """Results and errors that have come and were not waited for."""
    return [each for each in link.inbox if each.kind in ANSWERS]


def check_code(reply: Reply, what: str, codes: Iterable[int]) -> None:
    """Check that something was refused: with one of these codes, or by a 4xx without a message."""
    wanted = tuple(codes)
    if reply.message is None:
        check(
            reply.status in CLIENT_ERRORS,
            f"{what} got {reply}, not the error {' or '.join(map(str, wanted))}",
        )
        return
    code = reply.error["code"]
    check(
        code in wanted,
        f"{what} got the error {code} ({reply.error['message']!r}), not"
        f" {' or '.join(map(str, wanted))}",
    )


async def unanswered(
    link: Link, said: Mapping[str, Any], *, errors: bool = False
) -> dict[str, Head]:
    """Say things that are owed no answer, and check that none comes; ``said``: by what they are.

    ``errors``: errors without an id do not count.  Over HTTP the body of a refusal may always be
    an error.  Returns the heads of the HTTP responses.
    """
    spoilt = link.spoilt
    heads: dict[str, Head] = {}
    link.retorts.clear()
    for what, value in said.items():
        head = await link.accepted(await link.say(value))
        if head is not None:
            heads[what] = head
            if head.status in CLIENT_ERRORS:
                # the body of a refusal may be an error
                link.inbox[:] = [each for each in link.inbox if each.kind is not Kind.ERROR]
            _no_answer(link, what, errors=errors)
    if not heads:
        await fence(link)
        await link.until(lambda: None, link.talk.timing.quiet)
        _no_answer(link, _one_of(said), errors=errors)
    check(link.gone is None, f"{_one_of(said)} ended the connection")
    link.spoilt = spoilt
    link.unsettled |= errors and not heads
    return heads


def _one_of(said: Mapping[str, Any]) -> str:
    return next(iter(said)) if len(said) == 1 else f"one of these: {', '.join(said)}"


def _no_answer(link: Link, what: str, *, errors: bool) -> None:
    for retort in link.retorts:
        raise Broken(f"an answer came, {retort.begin}, to {what}")
    for message in answers(link):
        if errors and message.kind is Kind.ERROR and message.id in (None, UNSET):
            link.inbox.remove(message)
        else:
            raise Broken(f"an answer came, {message.value}, to {what}")
