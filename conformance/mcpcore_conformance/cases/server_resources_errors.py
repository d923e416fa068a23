"""Cases of the page server/resources: what does not exist, and what may not be reached."""

import re

from mcpcore_conformance.kit.asking import failed
from mcpcore_conformance.kit.content import check_base64
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS, RESOURCE_NOT_FOUND, Kind
from mcpcore_conformance.kit.model import LEGACY, MODERN, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("server/resources")
case = page.server(needs=("resources",))

NOWHERE = "test://mcpcore-conformance/no-such-resource"
MOST = 5
"""Templates that a case looks at, at most."""
_VARIABLE = re.compile(r"\{[^{}]*\}")
PASSWORDS = "root:x:0:0"
"""What the file has that nobody must get at."""
WAYS_OUT = (
    "../../../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "....//....//....//....//....//....//....//....//etc/passwd",
    "..\\..\\..\\..\\..\\..\\..\\..\\etc\\passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "%252e%252e%252f%252e%252e%252f%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "../../../../../../../../etc/passwd%00.txt",
)


async def read(link: Link, uri: object) -> Reply:
    """Send ``resources/read``."""
    return await link.request("resources/read", {"uri": uri})


@case.should("error-handling/not-found", "The error -32002.", LEGACY)
async def not_found(talk: ServerTalk) -> None:
    """A resource that does not exist gets the error of its own."""
    (await read(await talk.open(), NOWHERE)).failed_with(RESOURCE_NOT_FOUND)


@case.must("error-handling/not-found-invalid-params", "The error -32602.", MODERN)
async def not_found_modern(talk: ServerTalk) -> None:
    """A resource that does not exist is an invalid parameter."""
    (await read(await talk.open(), NOWHERE)).failed_with(INVALID_PARAMS)


@case.must(
    "error-handling/not-found-not-empty", "An error, not a result with empty contents.", MODERN
)
async def not_empty(talk: ServerTalk) -> None:
    """A resource that does not exist is not answered with empty contents."""
    reply = await read(await talk.open(), NOWHERE)
    if reply.message is not None and reply.message.kind is Kind.RESULT:
        check(reply.result.get("contents") != [], "what does not exist has empty contents")


@case.should("error-handling/not-found-uri", "data of the error has the member uri.")
async def not_found_uri(talk: ServerTalk) -> None:
    """The error names the resource that was not found."""
    error = (await read(await talk.open(), NOWHERE)).error
    data = error.get("data")
    named = data.get("uri") if isinstance(data, dict) else None
    check(named == NOWHERE, f"data of the error is {data!r:.80}")


@case.must(
    "reading-resources/no-uri",
    "An error: the request does not follow the schema of resources/read.",
)
async def no_uri(talk: ServerTalk) -> None:
    """A request that names no resource is an error."""
    reply = await (await talk.open()).request("resources/read", {})
    check(failed(reply), f"resources/read without uri got {reply}")


@case.must("security-considerations/invalid-uri", "An error.")
async def invalid_uris(talk: ServerTalk) -> None:
    """What is no URI is refused."""
    link = await talk.open()
    for uri in ("", "no uri", "://", "%zz", "test://%zz/\u0000", 17, None, ["test://x"]):
        reply = await read(link, uri)
        check(failed(reply), f"the URI {uri!r} got {reply}")


@case.must(
    "security-considerations/traversal",
    "Nothing of a file outside, whatever the variables of a template are.",
)
async def traversal(talk: ServerTalk) -> None:
    """No template leads to files outside of what it is for."""
    link = await talk.open()
    templates = talk.features.templates[:MOST] or talk.skip("the server lists no templates")
    for template in templates:
        for way in WAYS_OUT:
            parts = _VARIABLE.split(str(template.get("uriTemplate")))
            uri = way.join(parts)
            await _nothing_of_it(link, uri)


@case.must("security-considerations/unlisted-files", "An error, or something else than that file.")
async def unlisted_files(talk: ServerTalk) -> None:
    """Files that nobody offers cannot be read by their URI."""
    link = await talk.open()
    for uri in ("file:///etc/passwd", "file:/etc/passwd", "file:///../etc/passwd", "/etc/passwd"):
        await _nothing_of_it(link, uri)


async def _nothing_of_it(link: Link, uri: str) -> None:
    reply = await read(link, uri)
    if reply.message is None or reply.message.kind is not Kind.RESULT:
        return
    for each in reply.result.get("contents", []):
        said = str(each.get("text", "")) if isinstance(each, dict) else ""
        if isinstance(each, dict) and isinstance(each.get("blob"), str):
            said += check_base64(each["blob"], "the blob").decode("latin-1")
        check(PASSWORDS not in said, f"{uri!r} gives the passwords of the system")
