"""Cases of the page server/utilities/caching for clients."""

from typing import Any

from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore_conformance.kit.client_steps import (
    call,
    listen,
    listing,
    pause,
    read,
    require_input,
    scripted,
)
from mcpcore_conformance.kit.client_talk import ClientTalk, ReadyLink
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("server/utilities/caching")
case = page.client(MODERN, **scripted(listing(), listing()))
cache_key = case.at("cache-key")
freshness_calculation = case.at("freshness-calculation")

LONG = 600_000
"""Milliseconds: longer than any case."""
A, B = "test://kit/a", "test://kit/b"


def _tools(talk: ClientTalk, **hints: Any) -> None:
    """List the tools with these hints."""
    talk.serving.by["tools/list"] = lambda message: {"tools": talk.serving.tools, **hints}


async def _lists(talk: ClientTalk) -> int:
    """How often the tools were listed; every step has to be good.

    Who wants the list for itself, too, asks for it more often than the steps do.
    """
    report = await talk.report()
    bad = [str(each) for each in report.steps if not each.good]
    check(not bad and report.steps, f"the steps ended with {bad or report.opened}")
    return _listed(talk)


def _listed(talk: ClientTalk) -> int:
    return sum(len(link.requests("tools/list")) for link in talk.links)


@cache_key.must(
    "A request of its own for each.",
    **scripted(read(A), read(B), listing("resources"), listing("templates")),
)
async def other_params(talk: ClientTalk) -> None:
    """A cached result is not served for another method, or for other parameters."""

    def contents(message: Message) -> dict[str, Any]:
        uri = message.params["uri"]
        return {"contents": [{"uri": uri, "text": uri}], "ttlMs": LONG, "cacheScope": "public"}

    talk.serving.by["resources/read"] = contents
    talk.serving.hold.discard("resources/read")
    link = await talk.begin()
    report = await talk.report()
    asked = [each.params.get("uri") for each in link.requests("resources/read")]
    check(asked == [A, B], f"of two resources it asked for {asked}")
    check(len(report.steps) == 4, f"{len(report.steps)} steps of four were reported")
    found = [each.result["contents"][0]["uri"] for each in report.steps[:2] if each.good]
    check(found == [A, B], f"it got {found}")


@cache_key.must("Both times a request.", **scripted(read(A), read(A), needs=("roots",)))
async def not_after_input(talk: ClientTalk, link: ReadyLink) -> None:
    """A result that took input is not cached."""
    for words in ("one", "two"):
        message = await link.wait_for("resources/read")
        if message is None:
            break
        if words == "one":
            await require_input(link, message, {"r": {"method": "roots/list"}}, "state")
            message = await link.expect("resources/read")
        found = {"contents": [{"uri": A, "text": words}], "ttlMs": LONG, "cacheScope": "private"}
        await link.respond(message, found)
    report = await talk.report()
    got = [each.result["contents"][0]["text"] for each in report.steps if each.good]
    check(got == ["one", "two"], f"reading twice gave {got}")


@case.must(
    "cache-scope-field",
    "A request with each of the tokens.",
    bindings=STREAMABLE,
    **scripted(
        listing(),
        {"do": "close"},
        {"do": "open", "headers": {"Authorization": "Bearer kit-other-0123456789"}},
        listing(),
        headers={"Authorization": "Bearer kit-one-0123456789"},
    ),
)
async def private(talk: ClientTalk) -> None:
    """A private result is not served to whoever comes with another token."""
    _tools(talk, ttlMs=LONG, cacheScope="private")
    report = await talk.report()
    bad = [str(each) for each in report.steps if not each.good]
    check(not bad and len(report.steps) == 4, f"the steps ended with {bad or report.opened}")
    shown = {
        link.header(message, "authorization")
        for link in talk.links
        for message in link.requests("tools/list")
    }
    check(len(shown) == 2, f"a private list was asked for with {len(shown)} of two tokens")


@case.should("time-to-live-ttl-field", "Both times a request.")
async def zero(talk: ClientTalk) -> None:
    """A ttlMs of 0 is over at once."""
    _tools(talk, ttlMs=0, cacheScope="public")
    check(await _lists(talk) >= 2, "a list with ttlMs 0 was taken for fresh")


@case.should("time-to-live-ttl-field", "Both times a request, and no failure.")
async def negative(talk: ClientTalk) -> None:
    """A negative ttlMs counts as 0."""
    _tools(talk, ttlMs=-LONG, cacheScope="public")
    check(await _lists(talk) >= 2, "a list with a negative ttlMs was taken for fresh")


@case.should("time-to-live-ttl-field", "Both times a request, and no failure.")
async def absent(talk: ClientTalk) -> None:
    """Without ttlMs a result is over at once, and is no failure."""
    talk.serving.hold.add("tools/list")
    link = await talk.open()
    for _ in range(2):
        message = await link.wait_for("tools/list")
        if message is None:
            break
        bare = {"tools": talk.serving.tools, "resultType": "complete"}
        await link.respond(message, bare, bare=True)
    check(await _lists(talk) >= 2, "a list without ttlMs was taken for fresh")


@case.may("time-to-live-ttl-field", "One request.")
async def positive(talk: ClientTalk) -> None:
    """A result is taken for fresh as long as the server says."""
    _tools(talk, ttlMs=LONG, cacheScope="public")
    found = await _lists(talk)
    check(found == 1, f"a list that is fresh for ten minutes was asked for {found} times")


@freshness_calculation.should("Both times a request.", **scripted(listing(), pause(0.3), listing()))
async def stale(talk: ClientTalk) -> None:
    """A result is asked for again once its time is over."""
    _tools(talk, ttlMs=100, cacheScope="public")
    check(await _lists(talk) >= 2, "a list that was stale was taken for fresh")


@freshness_calculation.should(
    "No request that nobody wanted.", **scripted(listing(), pause(0.4), listing("prompts"))
)
async def no_polling(talk: ClientTalk) -> None:
    """The end of its time is no reason to ask for a result again."""
    _tools(talk, ttlMs=50, cacheScope="public")
    found = await _lists(talk)
    check(found == 1, f"a list that was wanted once was asked for {found} times")


@case.should(
    "interaction-with-notifications",
    "A request after the change, although the list was fresh.",
    **scripted(listing(), listen(tools=True, changes=1), listing()),
)
async def forgets(talk: ClientTalk) -> None:
    """A change that is notified ends the time of what it is about."""
    _tools(talk, ttlMs=LONG, cacheScope="public")
    link, stream = await talk.expect("subscriptions/listen")
    before = _listed(talk)
    await link.acknowledge(stream)
    meta = {META_SUBSCRIPTION_ID: stream.id}
    await link.notify("notifications/tools/list_changed", {"_meta": meta}, about=stream)
    await talk.report()
    check(_listed(talk) > before, "the list that had changed was taken for fresh")


@cache_key.must("All entries of both pages, both times.", **scripted(listing(), call(), listing()))
async def cursors(talk: ClientTalk) -> None:
    """Pages of a list are different results."""
    pages = {None: (talk.serving.tools[:1], "2"), "2": (talk.serving.tools[1:], None)}

    def page_of(message: Message) -> dict[str, Any]:
        entries, cursor = pages[message.params.get("cursor")]
        made: dict[str, Any] = {"tools": entries, "ttlMs": LONG, "cacheScope": "public"}
        return made if cursor is None else {**made, "nextCursor": cursor}

    talk.serving.by["tools/list"] = page_of
    link = await talk.open()
    await link.respond(await link.expect("tools/call"), {"content": []})
    report = await talk.report()
    check(len(report.steps) == 3, f"{len(report.steps)} steps of three were reported")
    for each in (report.steps[0], report.steps[2]):
        names = [entry["name"] for entry in each.result] if each.good else [str(each)]
        check(names == ["add_numbers", "echo"], f"the list has {names}")
