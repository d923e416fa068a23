"""Cases of the page basic/patterns/subscriptions for clients."""

import signal
from typing import Any

from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_steps import listen, listing, pause, scripted, together
from mcpcore_conformance.kit.client_talk import ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import Message, result
from mcpcore_conformance.kit.model import MODERN, ONE_CHANNEL, STDIO, STREAMABLE, Binding, Page
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/patterns/subscriptions")
case = page.client(MODERN, **scripted(listen(tools=True, changes=5)))
receiving_notifications = case.at("receiving-notifications")

LISTEN = "subscriptions/listen"
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"
SHARED = ONE_CHANNEL


async def _change(link: ClientLink, stream: Message, method: str, **params: Any) -> None:
    meta = {META_SUBSCRIPTION_ID: stream.id}
    await link.notify(method, {**params, "_meta": meta}, about=stream)


def _methods(outcome: Any) -> list[str]:
    return [each["method"] for each in outcome.result["changes"]]


@case.must(
    "notification-filter",
    "notifications has what is wanted, and nothing else that is true.",
    **scripted(listen(tools=True, uris=["test://kit/one"])),
)
async def asks(talk: ClientTalk) -> None:
    """A client says what it wants to hear of."""
    _, stream = await talk.expect(LISTEN)
    found = stream.params.get("notifications")
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["test://kit/one"]}
    check(isinstance(found, dict), f"the filter is {found!r}")
    asked = {name: each for name, each in stream.params["notifications"].items() if each}
    check(asked == wanted, f"the filter is {found!r}")


@case.should(
    "acknowledgment/client-checks",
    "The owner of the stream is told what is honoured.",
    **scripted(listen(tools=True, prompts=True)),
)
async def checks_acknowledgment(talk: ClientTalk) -> None:
    """A client sees that a server honours less than it was asked for."""
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream, {"toolsListChanged": True})
    await _change(link, stream, TOOLS)
    step = await talk.good_step("the stream")
    honoured = {name: each for name, each in step.result["honoured"].items() if each}
    check(honoured == {"toolsListChanged": True}, f"its owner was told {honoured}")


@receiving_notifications.must(
    "Each stream gets what has its own id.",
    bindings=SHARED,
    **scripted(
        together(listen(tools=True, changes=1), listen(tools=True, prompts=True, changes=2))
    ),
)
async def tells_apart(talk: ClientTalk, link: ReadyLink) -> None:
    """Two streams on one channel are told apart by the id of the subscription."""
    streams = [await link.expect(LISTEN) for _ in range(2)]
    both = next(each for each in streams if each.params["notifications"].get("promptsListChanged"))
    first = next(each for each in streams if each is not both)
    await link.acknowledge(both)
    await link.acknowledge(first)
    await _change(link, both, TOOLS)
    await _change(link, both, PROMPTS)
    await link.quiet()
    check(
        not link.notifications("notifications/cancelled")
        or first.id not in [each.params.get("requestId") for each in link.notifications()],
        "a change for one stream ended the other",
    )
    await _change(link, first, TOOLS)
    step = await talk.step()
    found = [_methods(each) if each.good else [str(each)] for each in step.steps]
    check(found == [[TOOLS], [TOOLS, PROMPTS]], f"the streams heard {found}")


@receiving_notifications.may(
    "It is no change of the stream.", **scripted(listen(tools=True, prompts=True, changes=1))
)
async def unknown_subscription(talk: ClientTalk) -> None:
    """What has the id of no subscription belongs to none."""
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream)
    meta = {META_SUBSCRIPTION_ID: "nobody's"}
    await link.notify(PROMPTS, {"_meta": meta}, about=stream)
    await _change(link, stream, TOOLS)
    step = await talk.good_step("the stream")
    check(_methods(step) == [TOOLS], f"the stream heard {_methods(step)}")


@case.must(
    "cancellation",
    "notifications/cancelled with its id; over HTTP the end of its stream.",
    **scripted(listen(tools=True, changes=1), listing("prompts"), pause(0.2)),
)
async def cancels(talk: ClientTalk) -> None:
    """A client that has heard enough ends its subscription."""
    talk.serving.hold.add("prompts/list")
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream)
    await _change(link, stream, TOOLS)
    if talk.binding is Binding.HTTP:
        found = await link.until(lambda: link.dropped.get(stream.source.exchange))
        check(found, "the client did not close the stream")
    else:
        told = await link.expect("notifications/cancelled")
        named = told.params.get("requestId")
        check(named == stream.id, f"{named!r} was cancelled, not {stream.id!r}")


@case.should("graceful-closure", "The stream has ended, by the server, in good order.")
async def hears_the_end(talk: ClientTalk) -> None:
    """The response to a subscription is its end."""
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream)
    await _change(link, stream, TOOLS)
    ended = {"resultType": "complete", "_meta": {META_SUBSCRIPTION_ID: stream.id}}
    await link.answer(stream, result(stream.id, ended))
    step = await talk.good_step("the stream")
    check(_methods(step) == [TOOLS], f"the stream heard {_methods(step)}")
    check(step.result["ended"], "the client does not know that the server has ended the stream")


@case.must(
    "graceful-closure",
    "subscriptions/listen with the same filter, to the server that was started again.",
    bindings=STDIO,
    **scripted(listen(tools=True, uris=["test://kit/one"], changes=5)),
)
async def listens_again(talk: ClientTalk) -> None:
    """A client subscribes again after the server had to be started again."""
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream)
    before = len(talk.links)
    await talk.process(link).exit(-signal.SIGKILL)
    await link.ended()
    found = await talk.until(lambda: len(talk.links) > before)
    need(found, "the client does not start a server again")

    def again() -> list[Message]:
        return [each for new in talk.links[before:] for each in new.requests(LISTEN)]

    await talk.until(again)
    check(again(), "the client did not subscribe again")
    asked = again()[0].params.get("notifications")
    wanted = stream.params.get("notifications")
    check(asked == wanted, f"the filter {wanted} became {asked}")


@case.may("graceful-closure", "subscriptions/listen again.", bindings=STREAMABLE)
async def reopens(talk: ClientTalk) -> None:
    """A stream that breaks off without a response is opened anew."""
    link, stream = await talk.expect(LISTEN)
    await link.acknowledge(stream)
    await link.drop(stream)
    again = await link.wait_for(LISTEN)
    check(again, "the client did not subscribe again")
