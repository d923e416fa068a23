"""Cases of the page basic/patterns/subscriptions."""

import signal
from typing import Any

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.asking import call, worked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import (
    FILTERS,
    acknowledged,
    belongs,
    lacks_subscriptions,
    leave,
    listen,
    listening,
    need_subscriptions,
)
from mcpcore_conformance.kit.messages import INVALID_PARAMS, Kind, Message
from mcpcore_conformance.kit.model import EVERY, MODERN, STDIO, Binding, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.shapes import SUBSCRIPTION, params_problem, result_problem
from mcpcore_conformance.kit.talk import NewLink, OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import check_asked, check_subscribed
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/patterns/subscriptions")
case = page.server(MODERN)
acknowledgment = case.at("acknowledgment")
opening_a_stream = case.at("opening-a-stream")

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
TOOLS, PROMPTS, RESOURCES = FILTERS
WATCHED = "test://watched-resource"
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    TOOLS: ("test_trigger_tool_change", {"toolsListChanged": True}),
    PROMPTS: ("test_trigger_prompt_change", {"promptsListChanged": True}),
    RESOURCES: ("test_trigger_resource_change", {"resourcesListChanged": True}),
    UPDATED: ("test_trigger_resource_change", {"resourceSubscriptions": [WATCHED]}),
}
"""Notification to the tool that causes it, and the filter that asks for it."""
TRIGGERS = ("tool:test_trigger_tool_change", "tool:test_trigger_prompt_change")


async def cause(talk: ServerTalk, link: Link, method: str) -> None:
    """Have something changed."""
    tool = talk.tool(CHANGES[method][0])
    check(worked(await call(link, tool, {})), f"the tool {tool.name} failed")


def _own(link: Link, sent: Sent) -> list[Message]:
    return [each for each in link.inbox if each.kind is Kind.NOTIFICATION and belongs(each, sent)]


@acknowledgment.must("notifications/subscriptions/acknowledged with the filter that is honoured.")
async def shape(talk: ServerTalk, link: OpenLink) -> None:
    """A subscription is acknowledged, with the filter that the server honours."""
    sent = await listen(link, {"toolsListChanged": True})
    message = await acknowledged(link, sent)
    await leave(link, sent)
    problem = params_problem(ACKNOWLEDGED, message.params, talk.revision)
    check(not problem, f"the params of the acknowledgement: {problem}")


@case.must(
    "acknowledgment/first",
    "Nothing of the subscription before its acknowledgement, however much changes.",
    needs=("tools.listChanged", "tool:test_trigger_tool_change"),
)
async def acknowledged_first(link: OpenLink) -> None:
    """The acknowledgement is the first message of a subscription."""
    calls = [await link.send("tools/call", _change()) for _ in range(2)]
    sent = await listen(link, {"toolsListChanged": True})
    calls += [await link.send("tools/call", _change()) for _ in range(2)]
    for each in calls:
        await link.reply(each)
    own = await link.until(lambda: _own(link, sent))
    check(own, "nothing of the subscription came, not even the acknowledgement")
    assert own
    await leave(link, sent)
    check(own[0].method == ACKNOWLEDGED, f"{own[0].method} came before the acknowledgement")
    check(
        [each.method for each in own].count(ACKNOWLEDGED) == 1, "it was acknowledged more than once"
    )


def _change() -> dict[str, Any]:
    return {"name": CHANGES[TOOLS][0], "arguments": {}}


@case.must("receiving-notifications", "The id of the request, in type and value, in _meta.")
async def id_of_the_request(talk: ServerTalk, link: OpenLink) -> None:
    """The subscription id is the id of the request, of the same type and value."""
    for id in (talk.fresh_id(), "7", 7, 0, 2**53, -1, ""):
        sent = await listen(link, {"toolsListChanged": True}, id=id)
        message = await link.until(lambda: _acknowledgement_or_answer(link))
        link.check_let_in(sent.exchange)
        check(message is not None, f"a subscription with the id {id!r} was not acknowledged")
        assert message is not None
        link.inbox.remove(message)
        need_subscriptions(link, message)
        check(
            message.method == ACKNOWLEDGED,
            f"a subscription with the id {id!r} got {message.value}",
        )
        meta = message.params.get("_meta")
        found = meta.get(SUBSCRIPTION) if isinstance(meta, dict) else None
        check(belongs(message, sent), f"the id was {id!r}, the subscription has {found!r}")
        await leave(link, sent)


def _acknowledgement_or_answer(link: Link) -> Message | None:
    found = (
        each
        for each in link.inbox
        if each.method == ACKNOWLEDGED or each.kind in (Kind.RESULT, Kind.ERROR)
    )
    return next(found, None)


@case.must(
    "receiving-notifications/id-on-every-notification",
    "Each notification of the subscription names it in _meta.",
    needs=("tool:test_trigger_tool_change",),
)
async def id_everywhere(talk: ServerTalk, link: OpenLink) -> None:
    """Every notification of a subscription carries its id."""
    tried = 0
    for method, (tool, wanted) in CHANGES.items():
        if tool not in talk.features.tools:
            continue
        sent = await listen(link, wanted)
        message = await acknowledged(link, sent)
        if not wanted.keys() <= members(message.params.get("notifications")).keys():
            continue
        tried += 1
        await cause(talk, link, method)
        found = await link.wait_for(method)
        check(found is not None, f"{method} was acknowledged, and did not come")
        assert found is not None
        check(belongs(found, sent), f"{method} does not name its subscription: {found.params}")
        await leave(link, sent)
    check(tried, "nothing of what was asked for is honoured")


@acknowledgment.must("Nothing in the acknowledged filter that was not asked for.")
async def subset(talk: ServerTalk, link: OpenLink) -> None:
    """The acknowledged filter is a subset of what was asked for."""
    uris = [str(each["uri"]) for each in talk.features.resources[:1]]
    for wanted in ({"promptsListChanged": True}, {"resourceSubscriptions": uris}, {}):
        sent = await listen(link, wanted)
        message = await acknowledged(link, sent)
        await leave(link, sent)
        honoured = message.params.get("notifications")
        check(isinstance(honoured, dict), f"the acknowledged filter is {honoured!r:.80}")
        assert isinstance(honoured, dict)
        for name, value in honoured.items():
            if value in (False, None, []):
                continue
            check(name in wanted, f"{name} is honoured, and was not asked for")
            if name == "resourceSubscriptions":
                check(
                    isinstance(value, list) and all(each in uris for each in value),
                    f"{value} is honoured, asked for was {uris}",
                )


@acknowledgment.should("What the capabilities promise is honoured.")
async def declared_honoured(talk: ServerTalk) -> None:
    """What the capabilities promise is in the acknowledged filter."""
    promised = {
        name: True
        for name, path in (
            ("toolsListChanged", "tools.listChanged"),
            ("promptsListChanged", "prompts.listChanged"),
            ("resourcesListChanged", "resources.listChanged"),
        )
        if talk.features.declares(path)
    }
    need(promised, "no announcements of changes are declared")
    link = await talk.open()
    sent = await listen(link, promised)
    message = await acknowledged(link, sent, promised=True)
    await leave(link, sent)
    honoured = members(message.params.get("notifications"))
    missing = [name for name in promised if not honoured.get(name)]
    check(not missing, f"declared and not honoured: {', '.join(missing)}")


@acknowledgment.must("An acknowledgement without it.")
async def unknown_omitted(link: OpenLink) -> None:
    """A kind of notification that the server does not know is left out."""
    wanted = {"mcpcoreConformanceChanged": True, "toolsListChanged": True}
    sent = await listen(link, wanted)
    message = await acknowledged(link, sent)
    await leave(link, sent)
    honoured = members(message.params.get("notifications"))
    check("mcpcoreConformanceChanged" not in honoured, "what nobody knows is honoured")


@opening_a_stream.should("The error -32602.")
async def malformed_filter(link: OpenLink) -> None:
    """A request without a filter, or with one that is no object, is an error."""
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"notifications": "all"},
        {"notifications": {"resourceSubscriptions": "test://x"}},
    )
    for params in wrong:
        reply = await link.request("subscriptions/listen", params)
        if lacks_subscriptions(link, reply.message):
            await leave(link, await listening(link, {}))
        reply.failed_with(INVALID_PARAMS)


@opening_a_stream.must(
    "Nothing but what the filter asks for.", needs=("prompts.listChanged", *TRIGGERS)
)
async def requested_only(talk: ServerTalk, link: OpenLink) -> None:
    """Kinds of notifications that were not asked for do not come."""
    sent = await listening(link, {"promptsListChanged": True})
    await cause(talk, link, TOOLS)
    await cause(talk, link, PROMPTS)
    await link.expect(PROMPTS)
    await link.quiet()
    others = {each.method for each in link.inbox if each.kind is Kind.NOTIFICATION} - {PROMPTS}
    await leave(link, sent)
    check(not others, f"asked for were changes of prompts, {', '.join(others)} came")


@opening_a_stream.must(
    "No notification without a subscription.", needs=("tool:test_trigger_tool_change",)
)
async def nothing_unasked(talk: ServerTalk, link: OpenLink) -> None:
    """Who has not subscribed is told of no changes."""
    await cause(talk, link, TOOLS)
    await link.quiet()
    found = {each.method for each in link.inbox if each.kind is Kind.NOTIFICATION}
    check(not found, f"nothing was asked for, {', '.join(found)} came")


@case.must(
    "notification-filter",
    "Updates of the resources that the filter names, and of no others.",
    needs=("resources.subscribe", "tool:test_trigger_resource_change", f"resource:{WATCHED}"),
)
async def per_uri(talk: ServerTalk, link: OpenLink) -> None:
    """Updates come of the resources that the filter names."""
    sent = await listening(link, {"resourceSubscriptions": ["test://static-text"]})
    await cause(talk, link, UPDATED)
    await link.quiet()
    found = {str(each.params.get("uri")) for each in link.inbox if each.method == UPDATED}
    await leave(link, sent)
    check(not found - {"test://static-text"}, f"nobody asked for updates of {', '.join(found)}")


@case.must(
    "multiple-concurrent-subscriptions",
    "Each subscription gets what it asks for, under its own id.",
    needs=("tools.listChanged", "prompts.listChanged", *TRIGGERS),
)
async def told_apart(talk: ServerTalk, link: OpenLink) -> None:
    """Several subscriptions of a client do not mix."""
    tools = await listening(link, {"toolsListChanged": True})
    prompts = await listening(link, {"promptsListChanged": True})
    await cause(talk, link, TOOLS)
    await cause(talk, link, PROMPTS)
    for sent, method in ((tools, TOOLS), (prompts, PROMPTS)):
        own = await link.until(lambda sent=sent: _own(link, sent))  # type: ignore[misc]
        check(own, f"the subscription to {method} got nothing under its id")
        strange = {each.method for each in own or []} - {method}
        check(not strange, f"the subscription to {method} got {', '.join(strange)}")
    await leave(link, tools, prompts)


@opening_a_stream.should("No answer to the request while nobody ends the subscription.")
async def stays_open(link: OpenLink) -> None:
    """A subscription stays open until somebody ends it."""
    sent = await listening(link, {"toolsListChanged": True})
    await link.quiet()
    check(link.answer_to(sent) is None, "the request was answered, and nobody had ended it")
    check(sent.exchange not in link.ended or not sent.exchange, "the stream was closed")
    await leave(link, sent)


@case.must(
    "cancellation/by-the-client",
    "Nothing more of a subscription that the client has cancelled.",
    bindings=EVERY - {Binding.CORE},
    needs=("tools.listChanged", "tool:test_trigger_tool_change"),
)
async def cancelled(talk: ServerTalk, link: OpenLink) -> None:
    """A subscription that the client has cancelled brings nothing more."""
    sent = await listening(link, {"toolsListChanged": True})
    await link.cancel(sent)
    await link.quiet(0)
    link.inbox.clear()
    await cause(talk, link, TOOLS)
    await link.quiet()
    found = {each.method for each in _own(link, sent)}
    check(not found, f"{', '.join(found)} came after the subscription was cancelled")


@case.should(
    "graceful-closure/answered",
    "A result of subscriptions/listen that names the subscription.",
    bindings=STDIO,
)
async def graceful(talk: ServerTalk, link: NewLink) -> None:
    """A server that shuts down answers its subscriptions first."""
    sent = await listening(link, {"toolsListChanged": True})
    await talk.process(link).signal(signal.SIGTERM)
    reply = await link.reply(sent)
    found = reply.result
    problem = result_problem("subscriptions/listen", found, talk.revision)
    check(not problem, f"the result of subscriptions/listen: {problem}")
    named = found["_meta"][SUBSCRIPTION]
    check(named == sent.id, f"the result names the subscription {named!r}, not {sent.id!r}")


@opening_a_stream.must("No notification of a change.")
async def nothing_without_it(talk: ServerTalk) -> None:
    """Who has not opened a subscription is told of no change."""
    await check_asked(talk, Unasked.SUBSCRIBED)


@acknowledgment.must("No change before the acknowledgement, whatever causes it.")
async def before_changes(talk: ServerTalk) -> None:
    """Of a subscription to one kind of change nothing comes before the acknowledgement."""
    await check_subscribed(talk, Unasked.EARLY)


@case.must(
    "receiving-notifications",
    "Every acknowledgement and every change has the id of a subscription that was opened.",
)
async def named_by_all(talk: ServerTalk) -> None:
    """Whatever comes of a subscription, also of the server's own accord, names it."""
    await check_subscribed(talk, Unasked.UNNAMED)


@opening_a_stream.must("No change of another kind, whatever causes it.")
async def of_the_kind(talk: ServerTalk) -> None:
    """On a subscription to one kind of change no other comes, also of the server's own accord."""
    await check_subscribed(talk, Unasked.OTHERWISE)
