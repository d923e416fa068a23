"""Calling tools, and seeing what a server asks of its client while it works, in both eras."""

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.features import Tool
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check, need

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

PAGES = 100
"""Pages of a list that are read at most."""
QUESTIONS = ("sampling/createMessage", "elicitation/create", "roots/list")


class Asked(Struct):
    """Outcome of a call: the requests to the client, and the last answer."""

    requests: list[Message]
    reply: Reply

    def of(self, method: str) -> list[Message]:
        """The requests of one method."""
        return [each for each in self.requests if each.method == method]

    def one(self, method: str) -> Message:
        """The first request of a method; raises Broken if there is none.

        A tool that gives its result without asking anything breaks no rule: then the case does not
        apply.
        """
        found = self.of(method)
        if not self.requests and not needs_input(self.reply):
            need(not self.reply.good, f"the tool did not ask for {method}: {self.reply}")
        check(found, f"no {method} came: {self.reply}")
        return found[0]


async def send_call(
    link: Link, tool: Tool | str, arguments: dict[str, Any] | None = None, **more: Any
) -> Sent:
    """Send a ``tools/call``; ``more`` are further params."""
    name = tool if isinstance(tool, str) else tool.name
    given = {} if arguments is None else {"arguments": arguments}
    return await link.send("tools/call", {"name": name, **given, **more})


async def call(
    link: Link, tool: Tool | str, arguments: dict[str, Any] | None = None, **more: Any
) -> Reply:
    """Make a ``tools/call`` and return what comes of it; no ``arguments``: none are sent."""
    return await link.reply(await send_call(link, tool, arguments, **more))


async def ask_about(
    link: Link,
    method: str,
    params: dict[str, Any],
    rounds: int = 1,
) -> Asked:
    """Make a request and collect what the server asks meanwhile, answering it.

    In the modern era the questions of so many ``input_required`` results are answered; the reply
    is the last one that came.
    """
    before = len(link.asked)
    asked: list[Message] = []
    for left in range(rounds, -1, -1):
        reply = await link.request(method, params)
        asked += embedded(reply)
        if not left or not needs_input(reply):
            break
        params = link.again(params, reply.result)
    wire = [each for each in link.asked[before:] if each.method in QUESTIONS]
    return Asked([*wire, *asked], reply)


async def ask_by_tool(
    link: Link, tool: Tool, arguments: dict[str, Any] | None = None, rounds: int = 1
) -> Asked:
    """Call a tool that asks, as :func:`ask_about`."""
    params = {"name": tool.name, "arguments": arguments or {}}
    return await ask_about(link, "tools/call", params, rounds)


async def listen_too(link: Link) -> None:
    """Open the GET stream, where there may be one: a server may ask there what it wants to know.

    That it should not ask there what belongs to a call has a case of its own.  What it wants to
    know as soon as the conversation is open has been asked afterwards.
    """
    if link.wire.binding is Binding.HTTP:
        await link.listen()
    await at_rest(link)


async def questioned(link: Link) -> Message:
    """Wait for what the server wants to know; raises Inconclusive where it asks nothing.

    Raises Broken where it has gone in the place of asking.
    """
    message = await link.wait_for(lambda each: each.method in QUESTIONS)
    if message is None and link.gone is not None:
        raise Broken(f"the connection is gone ({link.gone.reason}), and nothing was asked")
    if message is None:
        raise Inconclusive("the call did not ask its client this time")
    return message


async def at_rest(link: Link) -> int:
    """Have the server ask what it asks of its own accord; returns how much it has asked so far.

    Many ask for the roots as soon as they may: that belongs to no call.
    """
    if not link.revision.modern:
        await link.fence()
        if link.wire.binding is Binding.HTTP:
            # what comes on another stream than the answer may come after it
            await link.until(lambda: None, link.talk.timing.quiet)
    return len(link.asked)


async def asking_link(talk: "ServerTalk", declared: dict[str, Any], answering: Answering) -> Link:
    """A conversation in which that is declared: the case's own, if there is one, or a new one."""
    for link in talk.links:
        if link.capabilities == declared:
            link.answering = answering
            return link
    link = await talk.open(capabilities=declared, answering=answering)
    await listen_too(link)
    return link


def needs_input(reply: Reply) -> bool:
    """Return True if the answer is ``input_required``."""
    return reply.good and bool(reply.result.get("resultType") == "input_required")


def check_asks(reply: Reply, what: str) -> None:
    """Check that input is required; a result that does not say its type has another fault."""
    untold = reply.good and "resultType" not in reply.result
    detail = f"{what} got {reply}, not input_required"
    check(needs_input(reply), detail, "tools/call" if untold else "")


def embedded(reply: Reply) -> list[Message]:
    """The requests in an ``input_required`` result, as if they had been sent."""
    if not needs_input(reply):
        return []
    found = reply.result.get("inputRequests", {})
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise Broken(f"inputRequests has to be a map of requests, not {found!r:.80}")
    return [Message(Kind.REQUEST, each, Text(b"")) for each in found.values()]


def failed(reply: Reply) -> bool:
    """Return True if a call failed: an error of the protocol, or a result with ``isError``.

    Raises Broken if it was the end of the connection.
    """
    if reply.gone is not None:
        raise Broken(f"{reply.sent.method} ended the connection ({reply.gone.reason})")
    if reply.good:
        return reply.result.get("isError") is True
    return reply.refused


def worked(reply: Reply) -> bool:
    """Return True if a call succeeded: a result without ``isError``."""
    return reply.good and not failed(reply)


def ended(reply: Reply) -> bool:
    """Return True if a final answer came: an error, or a complete result."""
    return reply.message is not None and not needs_input(reply)


async def pages(link: Link, method: str) -> list[dict[str, Any]]:
    """The pages of a list, as far as one leads to another; raises Broken if one of them fails.

    Where a cursor leads back, what came so far is all there is, each page once: that the pages
    have an end is for the cases of pagination to say.
    """
    found: list[dict[str, Any]] = []
    seen: list[Any] = []
    params: Any = UNSET
    while len(found) < PAGES:
        page = (await link.request(method, params)).result
        found.append(page)
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str):
            break
        if cursor in seen:
            return [page for number, page in enumerate(found) if not _had(page, found[:number])]
        seen.append(cursor)
        params = {"cursor": cursor}
    return found


def _had(page: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    """Return True if there is an equal page among ``before``, whatever their next cursors."""
    return any({**page, "nextCursor": 0} == {**each, "nextCursor": 0} for each in before)


async def entries(link: Link, method: str, member: str) -> list[dict[str, Any]]:
    """All entries of a list, page after page."""
    found: list[dict[str, Any]] = []
    for page in await pages(link, method):
        part = page.get(member)
        if not isinstance(part, list) or not all(isinstance(each, dict) for each in part):
            raise Broken(f"{member} has to be an array of objects, not {part!r:.80}", flaw=method)
        found += part
    return found


async def capabilities_of(link: Link) -> dict[str, Any]:
    """Return the capabilities declared at the opening; in the modern era the server is asked."""
    method = "initialize" if link.revision.handshake else "server/discover"
    if link.revision.handshake:
        found = link.welcome.get("capabilities")
    else:
        found = (await link.request(method)).result.get("capabilities")
    if not isinstance(found, dict):
        raise Broken(f"capabilities has to be an object, not {found!r:.80}", flaw=method)
    return found


def only(capabilities: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the named ones of the capabilities."""
    return {name: value for name, value in capabilities.items() if name in names}
