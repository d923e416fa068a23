"""Cases of the page basic/patterns/cancellation for clients."""

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_steps import call, pause, scripted, texts
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import (
    ALL,
    LEGACY,
    LEGACY_SINCE_2025_06_18,
    MODERN,
    SINCE_2025_03_26,
    STREAMABLE,
    Binding,
    Page,
)
from mcpcore_conformance.kit.model import EVERY as EVERYWHERE
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/cancellation")
case = page.client(MODERN)
behavior_requirements = case.at("behavior-requirements")

SHARED = EVERYWHERE - {Binding.HTTP}
"""Where a request has no stream of its own that could be closed."""
CANCELLED = "notifications/cancelled"
SOON = 0.5
"""Seconds after which a call is cancelled by its caller: time enough for it to be sent."""


async def _cancellation(link: ClientLink, message: Message) -> None:
    """Wait for the sign by which a client cancels a request in this era on this binding."""
    if link.revision.disconnect_cancels and link.wire.binding is Binding.HTTP:
        found = await link.until(lambda: link.dropped.get(message.source.exchange))
        check(found, "the client did not close the response stream of the request")
        return
    told = await link.expect(CANCELLED)
    named = told.params.get("requestId")
    check(
        type(named) is type(message.id) and named == message.id,
        f"the request {message.id!r} was cancelled as {named!r}",
    )


@case.should(
    "cancellation-flow",
    "notifications/cancelled with the id of the request.",
    LEGACY,
    **scripted(call(cancel_after=SOON), pause(0.2)),
)
async def notifies(link: ReadyLink) -> None:
    """A request that is no longer wanted is cancelled by a notification."""
    await _cancellation(link, await link.expect("tools/call"))


@case.must(
    "transport-specific-cancellation/client-notifies",
    "notifications/cancelled with the id of the request.",
    bindings=SHARED,
    **scripted(call(cancel_after=SOON)),
)
async def notifies_on_shared_channel(link: ReadyLink) -> None:
    """On a shared channel a request is cancelled by a notification."""
    await _cancellation(link, await link.expect("tools/call"))


@case.should(
    "transport-specific-cancellation",
    "The response stream of the request is closed.",
    bindings=STREAMABLE,
    **scripted(call(cancel_after=SOON), call()),
)
async def closes_stream(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Over Streamable HTTP a request is cancelled by closing its response stream."""
    await talk.http(link).stream(message.source.exchange)
    await _cancellation(link, message)


@case.may(
    "transport-specific-cancellation/client-no-notification",
    "No notifications/cancelled: closing the stream says it.",
    bindings=STREAMABLE,
    **scripted(call(cancel_after=SOON), call()),
)
async def no_notification_over_http(talk: ClientTalk, link: ReadyLink) -> None:
    """Over Streamable HTTP no notification says what closing the stream has said."""
    await link.expect("tools/call")
    await link.expect("tools/call")
    await talk.finished()
    check(not link.notifications(CANCELLED), f"the client sent {CANCELLED}")


@behavior_requirements.must(
    "Cancellations name requests of the client that are under way, each once.",
    ALL,
    **scripted(call(), call(cancel_after=SOON), call()),
)
async def own_requests_only(talk: ClientTalk) -> None:
    """Only requests that were sent and not answered are cancelled."""
    link, answered = await talk.expect("tools/call")
    await link.serve_one(answered)
    cancelled = await link.expect("tools/call")
    await link.serve_one(await link.expect("tools/call"))
    await talk.finished()
    named = [each.params.get("requestId") for each in link.notifications(CANCELLED)]
    check(named in ([], [cancelled.id]), f"of {cancelled.id!r} the client cancelled {named}")


@case.should(
    "timeouts/client-cancels",
    "The request is cancelled, and its caller told of a timeout.",
    SINCE_2025_03_26,
    **scripted(call(timeout=0.3), pause(0.2)),
)
async def cancels_on_timeout(talk: ClientTalk, link: ReadyLink) -> None:
    """A request that is not answered in its own time is cancelled and no longer waited for."""
    await _cancellation(link, await link.expect("tools/call"))
    step = await talk.step()
    check(step.failure == "timeout", f"the caller was told of {step}")


@case.should(
    "timeouts",
    "The request is given up although progress comes all the time.",
    SINCE_2025_03_26,
    **scripted(call(timeout=0.4, progress=True), pause(0.2), maximum=1.0),
)
async def maximum(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Progress does not keep a request alive for ever."""
    meta = message.params.get("_meta")
    if not isinstance(meta, dict) or "progressToken" not in meta:
        talk.skip("the client does not ask for progress, though it is to")
    token = meta["progressToken"]

    def over() -> bool:
        return bool(
            link.notifications(CANCELLED)
            or message.source.exchange in link.dropped
            or link.gone is not None
            or talk.ended is not None
        )

    for value in range(60):
        if await link.until(over, within=0.1):
            break
        params = {"progressToken": token, "progress": value}
        await link.notify("notifications/progress", params, about=message)
    check(over(), "after six seconds of progress the request was still waited for")
    step = await talk.step()
    check(step.failure == "timeout", f"the caller was told of {step}")


@behavior_requirements.should(
    "It is dropped; the next call gets its own answer.",
    ALL,
    bindings=SHARED,
    **scripted(call(cancel_after=SOON), call()),
)
async def late_response(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """The answer to a request that was cancelled is ignored."""
    await link.expect(CANCELLED)
    await link.respond(message, {"content": [{"type": "text", "text": "late"}]})
    second = await link.expect("tools/call")
    await link.respond(second, {"content": [{"type": "text", "text": "in time"}]})
    step = await talk.good_step("the next call", 1)
    check(texts(step.result) == ["in time"], f"the next call got {step.result!r}")


@case.should("error-handling", "Nothing happens, and the client's own request goes on.", ALL)
async def ignores_invalid(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Cancellations of a server that are malformed, or of no known request, are ignored."""
    for params in (
        {"requestId": "nobody's", "reason": "the kit wants to see it"},
        {"requestId": 987654},
        {"requestId": None},
        {"requestId": {"an": "object"}},
        {"reason": "no id"},
    ):
        await link.notify(CANCELLED, params, about=message)
    await link.serve_one(message)
    await talk.succeeded()
    answers = [each for each in link.seen if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(not answers, f"a cancellation was answered: {[each.value for each in answers]}")


@behavior_requirements.should(
    "No answer.",
    LEGACY_SINCE_2025_06_18,
    **scripted(call(), answer_after=0.4, needs=("elicitation",)),
)
async def stops(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A client does not answer a request of the server that was cancelled."""
    form = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
    told = await link.tell("elicitation/create", form, about=message)
    reason = "the kit wants to see it"
    await link.notify(CANCELLED, {"requestId": told.id, "reason": reason}, about=message)
    # from here on it has read both, however busy it is
    await link.ask("ping", about=message)
    await talk.advance(0.5)
    await link.ask("ping", about=message)
    answers = [each for each in link.seen if each.id == told.id]
    check(not answers, f"the cancelled request was answered: {[each.value for each in answers]}")


@case.must(
    "timing-considerations",
    "Nothing happens: the client's own request goes on, nothing is answered twice.",
    LEGACY,
)
async def late_cancellation(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A cancellation that comes after the client has answered does no harm."""
    told = await link.tell("ping", about=message)
    await link.answer_to(told)
    await link.notify(CANCELLED, {"requestId": told.id}, about=message)
    await link.ask("ping", about=message)
    await link.serve_one(message)
    await talk.succeeded()
    answers = [each for each in link.seen if each.id == told.id]
    check(len(answers) == 1, f"the ping got {len(answers)} answers")
