"""Rules that the pages of tools, resources and prompts share about their lists."""

from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.asking import call, capabilities_of, entries, pages
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, Kind, Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.shapes import SUBSCRIPTION, params_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Inconclusive, check, need


async def check_declared(talk: ServerTalk, what: str) -> None:
    """Check that a server that lists something declares the capability."""
    link = await talk.open()
    declared = await capabilities_of(link)
    reply = await link.request(f"{what}/list")
    if not reply.good:
        check(what not in declared, f"{what} is declared, but {what}/list got {reply}")
        talk.skip(f"the server has no {what}")
    if reply.result.get(what):
        check(what in declared, f"{what}/list lists something, {what} is not declared")


async def check_shape(talk: ServerTalk, method: str) -> None:
    """Every page of a list has the shape that the revision gives it."""
    link = await talk.open()
    for number, page in enumerate(await pages(link, method), 1):
        problem = shape_problem(method, page, talk.revision)
        check(not problem, f"page {number} of {method}: {problem}")


async def check_unique(talk: ServerTalk, what: str, key: str) -> None:
    """No two entries of a list have the same identifier."""
    link = await talk.open()
    seen: dict[str, Any] = {}
    for entry in await entries(link, f"{what}/list", what):
        value = str(entry.get(key))
        # that an entry comes once is for the cases of pagination to say
        check(
            seen.get(value, entry) == entry,
            f"{what}/list lists two entries with the {key} {value!r}",
        )
        seen[value] = entry


async def check_same_everywhere(
    talk: ServerTalk, what: str, key: str, *, ordered: bool = False
) -> None:
    """Two connections get the same entries, in the same order if ``ordered``."""
    first, second = await talk.open(), await talk.connect()

    async def listed(link: Link) -> list[str]:
        return [str(each.get(key)) for each in await entries(link, f"{what}/list", what)]

    one, other = await listed(first), await listed(second)
    if one != other and await listed(first) != one:
        raise Inconclusive(f"{what} change while nothing else is asked for")
    different = sorted(set(one) ^ set(other))
    check(not different, f"only one of two connections is told of {', '.join(different[:5])}")
    if ordered:
        check(one == other, f"two connections get {what} in different orders")


async def check_no_side_effect(talk: ServerTalk, what: str, key: str) -> None:
    """Other requests on a connection change nothing in the list."""
    link = await talk.open()
    earlier = {str(each.get(key)) for each in await entries(link, f"{what}/list", what)}
    await link.until(lambda: None, talk.timing.quiet)
    before = {str(each.get(key)) for each in await entries(link, f"{what}/list", what)}
    if before != earlier:
        raise Inconclusive(f"{what} change while nothing else is asked for")
    other, params = talk.any_request()
    await link.request(other, params)
    if (tool := talk.features.plainest_tool()) is not None:
        await call(link, tool, talk.arguments(tool))
    after = {str(each.get(key)) for each in await entries(link, f"{what}/list", what)}
    different = sorted(before ^ after)
    check(not different, f"after other requests the list differs in {', '.join(different[:5])}")


async def check_announced(talk: ServerTalk, tool: str, method: str) -> None:
    """A change that a tool makes is announced, by whatever way the revision has."""
    changing = talk.tool(tool)
    link = await talk.open()
    field = FILTERS.get(method)
    opened: list[Sent] = []
    if talk.revision.modern:
        need(field, "the notification has no filter")
        opened.append(await listening(link, {str(field): True}))
    else:
        await open_stream(link)
    await call(link, changing, {})
    message = await link.expect(method)
    await leave(link, *opened)
    problem = params_problem(method, message.params, talk.revision)
    check(not problem, f"the params of {method}: {problem}")


FILTERS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""Notification to the field of a filter that asks for it."""


async def open_stream(link: Link) -> None:
    """Open what carries messages that belong to no request, and see that it is there."""
    exchange = await link.listen()
    if link.wire.binding is not Binding.HTTP:
        return
    await link.until(lambda: link.heads.get(exchange) or link.ended.get(exchange))
    head = link.heads.get(exchange)
    # a server need not have that stream
    need(head is not None and head.status == 200, "the server opens no stream by GET")


async def listen(link: Link, wanted: dict[str, Any], *, id: Any = UNSET) -> Sent:
    """Send ``subscriptions/listen`` and do not wait."""
    spoilt = link.spoilt
    sent = await link.send("subscriptions/listen", {"notifications": wanted}, id=id)
    # whoever leaves it again has changed nothing
    link.spoilt = spoilt
    return sent


async def listening(link: Link, wanted: dict[str, Any], *, id: Any = UNSET) -> Sent:
    """Open a subscription and wait for its acknowledgement."""
    sent = await listen(link, wanted, id=id)
    await acknowledged(link, sent)
    return sent


async def leave(link: Link, *sents: Sent) -> None:
    """Cancel subscriptions, so that the conversation is as it was."""
    spoilt = link.spoilt
    for sent in sents:
        await link.cancel(sent)
        link.forget(sent)
    await link.quiet(0)
    link.inbox.clear()
    link.spoilt = spoilt


async def acknowledged(link: Link, sent: Sent, *, promised: bool = False) -> Message:
    """Wait for the acknowledgement of a subscription; the case does not apply if there are none.

    ``promised``: there have to be subscriptions, as a capability says so.
    """
    method = "notifications/subscriptions/acknowledged"

    def found() -> Message | None:
        own = [each for each in link.inbox if each.method == method and belongs(each, sent)]
        return next(iter(own), None) or link.answer_to(sent)

    await link.until(lambda: found() is not None or link.over(sent))
    link.check_let_in(sent.exchange)
    message = found()
    check(message is not None, "subscriptions/listen was neither acknowledged nor answered")
    assert message is not None
    link.inbox.remove(message)
    if not promised:
        need_subscriptions(link, message)
    check(message.method == method, f"subscriptions/listen got a {message.kind}: {message.value}")
    return message


ANNOUNCING = (
    "tools.listChanged",
    "prompts.listChanged",
    "resources.listChanged",
    "resources.subscribe",
)
"""Capabilities that say that there is something to subscribe to."""


def need_subscriptions(link: Link, message: Message) -> None:
    """Go on unless the answer to ``subscriptions/listen`` is that there are none.

    A server need not implement what none of its capabilities announces, and may then refuse it
    with any error.
    """
    need(not lacks_subscriptions(link, message), "the server has no subscriptions")


def lacks_subscriptions(link: Link, message: Message | None) -> bool:
    """Return True if a server says in answer to ``subscriptions/listen`` that there are none."""
    if message is None or message.kind is not Kind.ERROR:
        return False
    return is_unknown(message) or not any(map(link.talk.features.declares, ANNOUNCING))


def is_unknown(message: Message | None) -> bool:
    """Return True if an answer says that the method is not there."""
    return message is not None and message.kind is Kind.ERROR and message.code == METHOD_NOT_FOUND


def belongs(message: Message, sent: Sent) -> bool:
    """Return True if a notification is one of that subscription."""
    meta = message.params.get("_meta")
    identifier = meta.get(SUBSCRIPTION, UNSET) if isinstance(meta, dict) else UNSET
    return type(identifier) is type(sent.id) and bool(identifier == sent.id)
