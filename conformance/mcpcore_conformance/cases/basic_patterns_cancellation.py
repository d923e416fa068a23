"""Cases of the page basic/patterns/cancellation."""

import signal
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.features import Tool
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import listening
from mcpcore_conformance.kit.messages import Id, notification
from mcpcore_conformance.kit.model import (
    EVERY,
    LEGACY,
    MODERN,
    ONE_CHANNEL,
    STDIO,
    STREAMABLE,
    Binding,
    Page,
)
from mcpcore_conformance.kit.probes import answers, fence, unanswered
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.running import (
    CANCELLED,
    LONGER,
    after_cancellation,
    cancel,
    outlasts,
    over_too_soon,
)
from mcpcore_conformance.kit.talk import (
    AnyMethod,
    AnyParams,
    AnyTool,
    NewLink,
    OpenLink,
    ServerTalk,
)
from mcpcore_conformance.kit.tour import check_asked
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/cancellation")
case = page.server()
behavior_requirements = case.at("behavior-requirements")
transport_specific_cancellation = case.at("transport-specific-cancellation")

SLOW = ("tool:test_wait",)
of_slow = page.server(needs=SLOW)
of_slow_behavior_requirements = of_slow.at("behavior-requirements")
LONG = 30.0
"""Seconds of a call that is going to be cancelled."""
TRIES = 100
"""How often it is asked whether work has stopped, before it has not."""
ROUNDS = 20
THOROUGH = 50
"""How often the races are run in a thorough run: a thousand of them."""


def _arguments(tool: Tool, **wanted: Any) -> dict[str, Any]:
    """Those arguments that the tool has."""
    known = tool.input_schema.get("properties", {})
    return {name: value for name, value in wanted.items() if name in known}


async def waiting(talk: ServerTalk, link: Link, seconds: float, *, id: Any = UNSET) -> Sent:
    """Begin a call that waits, and return when it has said that it runs."""
    label = str(talk.fresh_id())
    arguments = _arguments(talk.tool("test_wait"), seconds=seconds, label=label)
    params = {"name": "test_wait", "arguments": arguments}
    sent = await link.send("tools/call", params, id=id, meta={"progressToken": label})
    await link.wait_for(lambda each: each.params.get("progressToken") == label, 1.0)
    return sent


async def _silent(link: Link, cancelled: Mapping[str, Sent]) -> None:
    """Check that nothing comes of requests."""
    await fence(link)

    def answered() -> tuple[str, Any] | None:
        for what, sent in cancelled.items():
            if (message := link.answer_to(sent)) is not None:
                return what, message.value
        return None

    await link.until(answered, link.talk.timing.quiet)
    found = answered()
    check(found is None, f"{found and found[0]} was answered: {found and found[1]}")


@of_slow_behavior_requirements.should("Nothing.")
async def no_response(talk: ServerTalk, link: OpenLink) -> None:
    """A call that is cancelled while it runs is not answered."""
    sent = await waiting(talk, link, LONG)
    await cancel(link, sent)
    await _silent(link, {"a cancelled call": sent})


@of_slow.should("cancellation-flow", "The call is cancelled all the same.", bindings=ONE_CHANNEL)
async def reason_optional(talk: ServerTalk, link: OpenLink) -> None:
    """A cancellation may leave out the reason, or give any."""
    calls = {}
    for reason in (None, "", "kün\u2028digung " * 200):
        sent = await waiting(talk, link, LONG)
        params = {"requestId": sent.id, "reason": reason}
        await cancel(link, sent, params if reason is not None else {"requestId": sent.id})
        calls[f"a call cancelled with the reason {str(reason)[:20]!r}"] = sent
    await _silent(link, calls)


async def _count(talk: ServerTalk, link: Link, label: str) -> int:
    arguments = _arguments(talk.tool("test_cancelled_count"), label=label)
    params = {"name": "test_cancelled_count", "arguments": arguments}
    result = await link.ask("tools/call", params)
    return int(result["content"][0]["text"])


@behavior_requirements.should(
    "What it did is interrupted within a moment.", needs=(*SLOW, "tool:test_cancelled_count")
)
async def stops_work(talk: ServerTalk, link: OpenLink) -> None:
    """The work of a cancelled call stops."""
    label = f"stops {talk.fresh_id()}"
    before = await _count(talk, link, label)
    arguments = _arguments(talk.tool("test_wait"), seconds=LONG, label=label)
    params = {"name": "test_wait", "arguments": arguments}
    sent = await link.send("tools/call", params, meta={"progressToken": label})
    await link.wait_for(lambda each: each.params.get("progressToken") == label, 1.0)
    await cancel(link, sent)
    for _ in range(TRIES):
        if await _count(talk, link, label) > before:
            return
        await talk.advance(0.01)
    check(False, "the work went on although its call was cancelled")


@of_slow_behavior_requirements.should("The next request is served, however many were cancelled.")
async def frees_resources(talk: ServerTalk, link: OpenLink) -> None:
    """Cancelled calls do not use up what the server has for calls."""
    for _ in range(3):
        for sent in [await link.send(*talk.slow_call(LONG)) for _ in range(ROUNDS)]:
            await cancel(link, sent)
        await link.ask(*talk.any_request())


@of_slow_behavior_requirements.should("The other call runs to its end.")
async def others_unaffected(talk: ServerTalk, link: OpenLink) -> None:
    """To cancel one call does not cancel another."""
    for seconds in LONGER:
        other = await link.send(*talk.slow_call(seconds))
        await cancel(link, await waiting(talk, link, LONG))
        if await outlasts(link, other, seconds, "a call beside one that was cancelled"):
            return
    raise over_too_soon("the cancellation of another one")


@of_slow_behavior_requirements.should(
    'A cancellation of "17" does not cancel 17, nor the other way round.', bindings=ONE_CHANNEL
)
async def id_type(talk: ServerTalk, link: OpenLink) -> None:
    """A cancellation names its request by an id of the same type."""
    first = 1017
    for seconds in LONGER:
        pairs: tuple[tuple[Id, Id], ...] = ((first, str(first)), (str(first + 1), first + 1))
        lasted = []
        for id, other in pairs:
            sent = await waiting(talk, link, seconds, id=id)
            await cancel(link, sent, {"requestId": other})
            what = f"the call {id!r}, behind a cancellation of {other!r},"
            lasted.append(await outlasts(link, sent, seconds, what))
        if all(lasted):
            return
        first += len(pairs)
    raise over_too_soon("a cancellation of another id")


@of_slow_behavior_requirements.should("The call runs to its end.", bindings=EVERY - {Binding.STDIO})
async def own_requests(talk: ServerTalk) -> None:
    """A client cannot cancel what another one has asked for."""
    first, second = await talk.open(), await talk.open()
    if talk.binding is Binding.HTTP and first.revision.handshake and not talk.http(first).session:
        talk.skip("the server keeps no sessions")
    for seconds in LONGER:
        id = talk.fresh_id()
        sent = await waiting(talk, first, seconds, id=id)
        await second.accepted(await second.notify(CANCELLED, {"requestId": id}))
        await fence(second)
        if await outlasts(first, sent, seconds, "a call whose id somebody else had cancelled"):
            return
    raise over_too_soon("the cancellation of somebody else")


@case.should("error-handling", "Nothing; over HTTP 202 or a status of 4xx.")
async def unknown_request(talk: ServerTalk, link: OpenLink) -> None:
    """Cancellations of requests that were never made are ignored."""
    said = {
        f"the cancellation of {id!r}": notification(CANCELLED, {"requestId": id})
        for id in (talk.fresh_id(), 987_654_321, -1, "", "x" * 1000)
    }
    await unanswered(link, said)
    await link.alive()


@case.should("error-handling", "Nothing; over HTTP 202 or a status of 4xx.")
async def completed_request(talk: ServerTalk, link: OpenLink) -> None:
    """Cancellations of requests that have been answered are ignored."""
    id = talk.fresh_id()
    await link.request(*talk.any_request(), id=id)
    await unanswered(link, {"a late cancellation": notification(CANCELLED, {"requestId": id})})
    await link.ask(*talk.any_request())


@case.should("error-handling", "Nothing; over HTTP 202 or a status of 4xx.")
async def malformed(talk: ServerTalk, link: OpenLink) -> None:
    """Cancellations that do not name a request are ignored."""
    await link.ask(*talk.any_request())  # with a notification first, some take it for the old era
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"requestId": None},
        {"requestId": 1.5},
        {"requestId": True},
        {"requestId": ["kit"]},
        {"requestId": {"id": 1}},
        {"reason": "no id"},
        {"requestId": "kit-none", "reason": 17},
        {"id": 1},
    )
    said = {f"a cancellation with {each}": notification(CANCELLED, each) for each in wrong}
    said["a cancellation without params"] = notification(CANCELLED)
    await unanswered(link, said)
    await link.ask(*talk.any_request())


@case.should("error-handling", "The request is served.")
async def before_its_request(talk: ServerTalk, link: OpenLink) -> None:
    """A cancellation does not wait for a request that may come with its id."""
    await link.ask(*talk.any_request())  # as above
    id = talk.fresh_id()
    await unanswered(link, {"a cancellation": notification(CANCELLED, {"requestId": id})})
    await link.ask(*talk.any_request(), id=id)


def _bearable(seconds: float, patience: float) -> int:
    """How many requests are raced: so few that a server can do them one by one in that time.

    ``seconds``: what one request takes; its cancellation may take as long.
    """
    fit = int(patience / (4 * seconds)) if seconds > 0 else ROUNDS
    return min(ROUNDS, max(1, fit))


@case.must(
    "timing-considerations", "Each request is answered once or not at all; the server goes on."
)
async def races(talk: ServerTalk, link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Cancellations that cross the answers of their requests do no harm."""
    started = talk.stage.now()
    await link.ask(method, params)
    rounds = _bearable(talk.stage.now() - started, link.patience)
    for _ in range(THOROUGH if talk.thorough else 1):
        sent = []
        for _ in range(rounds):
            sent.append(await link.send(method, params))
            if talk.thorough and talk.random.random() < 0.5:
                await talk.advance(talk.random.random() / 1000)
            await cancel(link, sent[-1])
        await fence(link)
        found = [each.id for each in answers(link) if not each.about_nothing]
        check(len(found) == len(set(found)), f"a request was answered twice: {sorted(found)}")
        strange = set(found) - {each.id for each in sent}
        check(not strange, f"there are answers to nothing: {sorted(strange, key=str)}")
        for each in sent:
            await link.reply(each, 0.0)
    await link.ask(method, params)


@of_slow.should("timing-considerations", "Nothing more than the first time.", bindings=ONE_CHANNEL)
async def twice(talk: ServerTalk, link: OpenLink) -> None:
    """A second cancellation of a request does no harm."""
    sent = await waiting(talk, link, LONG)
    await cancel(link, sent)
    await cancel(link, sent)
    await _silent(link, {"a call that was cancelled twice": sent})
    await link.ask(*talk.any_request())


# The modern era


@transport_specific_cancellation.must(
    "No progress, no log message, no answer.",
    MODERN,
    bindings=ONE_CHANNEL,
    needs=("tool:test_tool_with_progress",),
)
async def nothing_after(talk: ServerTalk, link: OpenLink) -> None:
    """Once a cancellation has been read nothing more is sent for its request."""
    late = await after_cancellation(talk, link, lambda _each: True)
    check(not late, f"after the cancellation came {[each.value for each in late]}")


@behavior_requirements.must("None of them is cancelled by the server.", MODERN)
async def only_listen(talk: ServerTalk, link: OpenLink, tool: AnyTool) -> None:
    """A server sends notifications/cancelled for nothing but subscriptions/listen."""
    call = {"name": tool.name, "arguments": talk.arguments(tool)}
    await cancel(link, await link.send("tools/call", call))
    await link.request("tools/call", call)
    await link.request("tools/call", {"name": "kit_no_such_tool"})
    await link.request("kit/no-such-method")
    await link.quiet()
    said = [each.value for each in link.inbox if each.method == CANCELLED]
    check(not said, f"the server sent {said}")


@transport_specific_cancellation.should("202 or a status of 4xx.", MODERN, bindings=STREAMABLE)
async def notification_over_http(talk: ServerTalk, link: OpenLink) -> None:
    """Where closing a stream cancels, a notification to the same end does no harm."""
    said = {"a cancellation": notification(CANCELLED, {"requestId": talk.fresh_id()})}
    for what, head in (await unanswered(link, said)).items():
        taken = head.status == 202 or 400 <= head.status < 500
        check(taken, f"{what} got HTTP status {head.status}")


@behavior_requirements.must(
    "notifications/cancelled with the id of the subscription, before the process ends.",
    MODERN,
    bindings=STDIO,
)
async def ends_listen(talk: ServerTalk, link: NewLink) -> None:
    """A server that ends a subscription of its own accord says so."""
    sent = await listening(link, {"toolsListChanged": True})
    await talk.process(link).signal(signal.SIGTERM)
    message = await link.wait_for(CANCELLED)
    if message is None:
        if link.gone is not None and link.gone.code is not None and link.gone.code < 0:
            talk.skip("the process was killed by SIGTERM: it had no time to say anything")
        check(False, "the server ended a subscription without notifications/cancelled")
        return
    named = message.params.get("requestId")
    check(named == sent.id and type(named) is type(sent.id), f"requestId is {named!r}")


# What a server cancels of its own accord


@page.server(LEGACY).must(
    "behavior-requirements", "No cancellation of what the server has not asked."
)
async def server_own_requests_only(talk: ServerTalk) -> None:
    """A server cancels nothing but requests of its own."""
    await check_asked(talk, Unasked.CANCELLED)
