"""Looking at content: blocks of results, base64, MIME types."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcpcore_conformance.kit.asking import call
from mcpcore_conformance.kit.features import KNOWN, Tool
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, Kind, Message
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check

Look = Callable[[str, Message], None]


async def called(talk: ServerTalk, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call a tool that has to answer; the result has the shape of its revision."""
    reply = await call(await talk.open(), talk.tool(name), arguments)
    check_result(talk, "tools/call", reply.result, name)
    return reply.result


async def tried(talk: ServerTalk, tool: Tool) -> dict[str, Any] | None:
    """Call a tool with arguments that are made up; return its result, of the shape of its revision.

    None for an error (but that the method is not there): it need not take such arguments.
    """
    reply = await call(await talk.open(), tool, talk.arguments(tool))
    answer = reply.message
    if answer is not None and answer.kind is Kind.ERROR and tool.name not in KNOWN:
        check(answer.code != METHOD_NOT_FOUND, f"{tool.name} is listed, and its call got {reply}")
        talk.note(f"{tool.name} does not take what the kit makes up: its call got {reply}")
        return None
    check_result(talk, "tools/call", reply.result, tool.name)
    return reply.result


def check_result(talk: ServerTalk, method: str, result: dict[str, Any], of: str) -> None:
    """Check that the result of a request has the shape of its revision; ``of``: what was asked."""
    problem = result_problem(method, result, talk.revision)
    check(not problem, f"the result of {of}: {problem}", method)


async def each_answer(
    talk: ServerTalk, method: str, offers: Sequence[Mapping[str, Any]], look: Look
) -> None:
    """Ask for one of several after another, and look at what it gives: good results and errors.

    ``offers``: the params of each; ``look`` is given what was asked for, by its name, and the
    answer.  Raises Inconclusive at the end where some have got none in time.
    """
    link = await talk.open()
    unseen: list[str] = []
    for params in offers:
        sent = await link.send(method, params)
        reply = await link.reply(sent, link.patience)
        if reply.message is not None:
            look(sent.named, reply.message)
            continue
        if reply.pending:
            talk.features.pace.took(sent.offer, link.patience)
            unseen.append(f"{sent.named} takes longer than {link.patience:g} s")
        else:
            unseen.append(f"{sent.named} got {reply}")
        link = await talk.open()
    if unseen:
        raise Inconclusive(f"there was nothing to look at: {', '.join(unseen)}")


def block(result: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first block of that type."""
    found = [each for each in result["content"] if each["type"] == kind]
    kinds = ", ".join(each["type"] for each in result["content"]) or "nothing"
    check(found, f"no {kind} is in the content: {kinds}")
    return dict(found[0])


def check_base64(text: str, where: str, flaw: str = "") -> bytes:
    """Check that this is base64 of RFC 4648, and return what it stands for.

    ``flaw``: see :class:`Broken`.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Broken(f"{where} is not base64: {text[:40]!r}", flaw) from error


def check_mime_type(value: Any, where: str) -> None:
    """Check that this is a type and a subtype."""
    kind, separator, subtype = str(value).partition("/")
    check(kind and separator and subtype.strip() and " " not in kind, f"{where} is {value!r}")
