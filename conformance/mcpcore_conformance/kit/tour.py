"""A walk through what a server offers, on which nothing wrong is said: what comes unasked shows."""

from typing import Any

from msgspec import UNSET

from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import FILTERS, lacks_subscriptions, leave, listen
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.pace import is_slow
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Inconclusive, check, need

AFTERWARDS = 0.6
"""Seconds in which something may come late that should not come at all."""
MOST = 8
"""Tools that are called, at most, to hear what comes with their answers."""
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


async def check_asked(talk: ServerTalk, *ways: Unasked, afterwards: float | None = None) -> None:
    """Ask for everything once, one after another, and check that nothing came in these ways.

    The kit declares nothing.  ``afterwards``: seconds to listen at the end, by default a moment.
    """
    link = await _open(talk)
    # errors that notifications have got are found by cases of their own
    link.account.found.pop(Unasked.NAMELESS, None)
    silent = await _walk(talk, link)
    if silent is None:
        await link.until(lambda: None, talk.timing.quiet if afterwards is None else afterwards)
    await _judge(link, silent, *ways)


async def check_notified(talk: ServerTalk, *ways: Unasked, logs: bool = False) -> None:
    """Do the same, and call other tools than the plainest: so that there are notifications.

    ``logs``: log messages are asked for where they are declared.
    """
    link = await _open(talk, unjudged=True)
    meta = await _logging(talk, link) if logs else {}
    silent = await _walk(talk, link, meta) or await _call_all(talk, link, meta)
    if silent is None:
        await link.until(lambda: None, talk.timing.quiet)
    await _judge(link, silent, *ways)


async def check_subscribed(talk: ServerTalk, *ways: Unasked) -> None:
    """Do the same while one kind of change is subscribed to, and listen for a while."""
    link = await _open(talk, unjudged=True)
    kinds = [field for method, field in FILTERS.items() if talk.features.declares(_path(method))]
    sent = await listen(link, dict.fromkeys((kinds or [*FILTERS.values()])[:1], True))
    first = await link.until(lambda: _acknowledgement(link, sent))
    need(not lacks_subscriptions(link, first), "the server has no subscriptions")
    silent = None if first is not None else sent
    silent = silent or await _walk(talk, link) or await _call_all(talk, link, {})
    if silent is None:
        await link.until(lambda: None, AFTERWARDS)
        await leave(link, sent)
    await _judge(link, silent, *ways)


def _path(method: str) -> str:
    """The capability that announces a kind of change."""
    return f"{method.split('/')[1]}.listChanged"


def _acknowledgement(link: Link, sent: Sent) -> Message | None:
    """Return the acknowledgement of a subscription, whatever it names, or the answer to it."""
    found = (each for each in link.inbox if each.method == ACKNOWLEDGED)
    return next(found, None) or link.answer_to(sent)


async def _judge(link: Link, silent: Sent | None, *ways: Unasked) -> None:
    for way in ways:
        check(way not in link.account.found, link.account.found.get(way, ""))
    if silent is not None:
        await link.check_pace(silent.offer)
        raise Inconclusive(f"{silent.named} got no answer, and the rest was not asked for")
    # what else came is for other cases
    link.inbox.clear()


async def _open(talk: ServerTalk, *, unjudged: bool = False) -> Link:
    """Open a conversation; ``unjudged``: changes may have been asked for in it before."""
    link = await talk.open(capabilities={})
    if link.account.judges or (unjudged and not link.account.blind):
        return link
    link = await talk.connect(capabilities={})
    if link.revision.handshake:
        await link.initialize()
    return link


async def _logging(talk: ServerTalk, link: Link) -> dict[str, Any]:
    """Ask for all log messages; returns what requests need in their ``_meta`` for that."""
    if not talk.features.declares("logging"):
        return {}
    if talk.revision.per_request_log_level:
        return {META_LOG_LEVEL: "debug"}
    await link.request("logging/setLevel", {"level": "debug"})
    return {}


async def _walk(talk: ServerTalk, link: Link, more: dict[str, Any] | None = None) -> Sent | None:
    """Ask for one thing after another; return what got no answer, and nothing else was asked for.

    ``more``: further members of ``_meta``.
    """
    await link.listen()
    for method, params in _asked(talk, link):
        meta = {"progressToken": talk.fresh_id(), **(more or {})}
        for each, what, extra in ((method, params, meta), (link.plain, UNSET, None)):
            sent = await link.send(each, what, meta=extra)
            reply = await link.reply(sent, link.patience)
            slow = reply.pending and sent.offer is not None and await is_slow(talk, sent.offer)
            if slow and await _given_up(link, sent):
                continue
            if reply.message is None and (reply.pending or reply.status is None):
                return sent
    return None


async def _call_all(talk: ServerTalk, link: Link, more: dict[str, Any]) -> Sent | None:
    """Call what else may be called; return the call with which the server went, if it did."""
    for tool in talk.features.plain_tools(MOST)[1:]:
        arguments = talk.arguments(tool)
        sent = await link.send(
            "tools/call",
            {"name": tool.name, "arguments": arguments},
            meta={"progressToken": talk.fresh_id(), **more},
        )
        reply = await link.reply(sent, link.patience)
        if reply.gone is not None:
            return sent
        # it may take its time; what it says until then is heard
        if reply.pending and not await _given_up(link, sent):
            talk.note("no other tool was called")
            break
    return None


async def _given_up(link: Link, sent: Sent) -> bool:
    """Cancel what takes its time; whether other requests are served meanwhile."""
    link.talk.note(f"{sent.named} took longer than {link.patience:g} s")
    await link.cancel(sent)
    link.forget(sent)
    link.spoilt = True
    return await link.fence()


def _asked(talk: ServerTalk, link: Link) -> list[tuple[str, dict[str, Any]]]:
    features = talk.features
    asked: list[tuple[str, dict[str, Any]]] = [(each, {}) for each in features.lists]
    if (tool := features.plainest_tool()) is not None:
        asked.append(("tools/call", {"name": tool.name, "arguments": talk.arguments(tool)}))
    if features.resources:
        asked.append(("resources/read", {"uri": features.resources[0]["uri"]}))
    plain = [each for each in features.prompts if not each.get("arguments")]
    if plain:
        asked.append(("prompts/get", {"name": plain[0]["name"]}))
    return [*asked, ("kit/no-such-method", {}), (link.plain, {})]
