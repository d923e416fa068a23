"""Looking at content: blocks of results, base64, MIME types."""

import base64
import binascii
from typing import Any

from conformance.kit.asking import call
from conformance.kit.shapes import result_problem
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import Broken, check


async def called(talk: ServerTalk, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call a tool that has to answer; the result has the shape of its revision."""
    reply = await call(await talk.open(), talk.tool(name), arguments)
    problem = result_problem("tools/call", reply.result, talk.revision)
    check(not problem, f"the result of {name}: {problem}", "tools/call")
    return reply.result


def block(result: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first block of that type."""
    found = [each for each in result["content"] if each["type"] == kind]
    kinds = ", ".join(each["type"] for each in result["content"]) or "nothing"
    check(found, f"no {kind} is in the content: {kinds}")
    return dict(found[0])


def check_base64(text: str, where: str) -> bytes:
    """Check that this is base64 of RFC 4648, and return what it stands for."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Broken(f"{where} is not base64: {text[:40]!r}") from error


def check_mime_type(value: Any, where: str) -> None:
    """Check that this is a type and a subtype."""
    kind, separator, subtype = str(value).partition("/")
    check(kind and separator and subtype.strip() and " " not in kind, f"{where} is {value!r}")
