"""Cases of the page server/resources: lists, reading, errors, what may not be reached."""

import re
from typing import Any

from mcpcore_conformance.cases.server_lists import listed, steady
from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.asking import entries
from mcpcore_conformance.kit.content import check_base64, check_mime_type, each_answer
from mcpcore_conformance.kit.features import TEMPLATES
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import (
    check_shape,
    check_unique,
)
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import SINCE_2025_06_18, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("server/resources")
case = page.server(needs=("resources",))

LISTED_TEMPLATES = ("resources", f"method:{TEMPLATES}")
MOST = 5
"""Resources that a case reads at most."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


async def read(link: Link, uri: Any) -> Reply:
    """Send ``resources/read``."""
    return await link.request("resources/read", {"uri": uri})


async def contents_of(talk: ServerTalk, uri: str) -> list[dict[str, Any]]:
    """Read a resource that is there; the result has the shape of its revision."""
    link = await talk.open()
    found = await link.ask("resources/read", {"uri": uri})
    return [*found["contents"]]


def _some(talk: ServerTalk) -> list[dict[str, Any]]:
    return talk.features.resources[:MOST] or talk.skip("the server lists no resources")


listed(case, "resources", "URIs and names")


@case.must(
    "resource-templates/shape",
    "Pages of templates with URI templates and names.",
    needs=LISTED_TEMPLATES,
)
async def template_shape(talk: ServerTalk) -> None:
    """Every page of resources/templates/list has the shape of its revision."""
    await check_shape(talk, TEMPLATES)


steady(case, "resources", "uri")


@case.should("resource/uri-unique", "No URI twice.")
async def uri_unique(talk: ServerTalk) -> None:
    """Each resource is identified by its URI."""
    await check_unique(talk, "resources", "uri")


@case.must(
    "custom-uri-schemes/rfc-3986",
    "A scheme, a colon, and characters that RFC 3986 allows.",
    SINCE_2025_06_18,
)
async def uri_valid(talk: ServerTalk) -> None:
    """The URIs of resources follow RFC 3986."""
    link = await talk.open()
    found = await entries(link, "resources/list", "resources")
    for resource in found or talk.skip("the server lists no resources"):
        uri = str(resource.get("uri"))
        good = _URI.fullmatch(uri) and not _BAD_ESCAPE.search(uri)
        check(good, f"{uri[:80]!r} is no URI of RFC 3986")


@case.should(
    "resource-templates/rfc-6570",
    "Expressions in braces that are closed and not empty, and a scheme.",
    needs=LISTED_TEMPLATES,
)
async def template_valid(talk: ServerTalk) -> None:
    """URI templates follow RFC 6570."""
    link = await talk.open()
    found = await entries(link, TEMPLATES, "resourceTemplates")
    for template in found or talk.skip("the server lists no templates"):
        text = str(template.get("uriTemplate"))
        rest = re.sub(r"\{[+#./;?&]?[\w.%]+(:\d+|\*)?(,[\w.%]+(:\d+|\*)?)*\}", "", text)
        check(not set(rest) & {"{", "}", " "}, f"{text[:80]!r} is no template of RFC 6570")


@case.must(
    "reading-resources/shape", "A result with contents that have a URI, and a text or a blob."
)
async def read_shape(talk: ServerTalk) -> None:
    """What is read has the shape of its revision."""
    read_any = False

    def look(uri: str, answer: Message) -> None:
        nonlocal read_any
        if answer.kind is not Kind.RESULT:
            talk.note(f"{uri} is listed, and reading it got the error {answer.code}")
            return
        read_any = True
        problem = shape_problem("resources/read", answer.result, talk.revision)
        check(not problem, f"{uri}: {problem}", "resources/read")

    await each_answer(talk, "resources/read", [{"uri": each["uri"]} for each in _some(talk)], look)
    check(read_any, "not one of the first resources that are listed can be read")


@case.must("security-considerations/base64", "Every blob is base64.")
async def blobs(talk: ServerTalk) -> None:
    """Binary data is base64."""
    link, found = await talk.open(), 0
    for resource in _some(talk):
        reply = await read(link, resource["uri"])
        if reply.message is None or reply.message.kind is not Kind.RESULT:
            continue
        for each in reply.result.get("contents", []):
            if isinstance(each, dict) and "blob" in each:
                found += 1
                text = isinstance(each["blob"], str)
                check(text, f"the blob of {resource['uri']} is no string", "resources/read")
                check_base64(each["blob"], f"the blob of {resource['uri']}", "resources/read")
    if not found:
        talk.skip("none of the first resources is binary")


@case.should(
    "text-content/text",
    "Contents with the URI that was asked for, its MIME type and a text.",
    needs=("resource:test://static-text",),
)
async def text(talk: ServerTalk) -> None:
    """A text is read with its URI and its MIME type."""
    uri = "test://static-text"
    found = await contents_of(talk, uri)
    check(len(found) == 1, f"{uri} has {len(found)} contents")
    check(found[0]["uri"] == uri, f"{uri} was asked for, {found[0]['uri']} came")
    check(found[0].get("mimeType") == "text/plain", f"the type is {found[0].get('mimeType')!r}")
    check(found[0].get("text"), "there is no text")


@case.should(
    "binary-content/blob",
    "Contents with the URI that was asked for, its MIME type and a blob.",
    needs=("resource:test://static-binary",),
)
async def binary(talk: ServerTalk) -> None:
    """A binary resource is read with its URI and its MIME type."""
    uri = "test://static-binary"
    found = await contents_of(talk, uri)
    check(found and found[0]["uri"] == uri, f"{uri} was asked for, {found} came")
    check(found[0].get("mimeType") == "image/png", f"the type is {found[0].get('mimeType')!r}")
    check("blob" in found[0], "there is no blob")
    check(check_base64(found[0]["blob"], "the blob"), "the blob is empty")


@case.should("resource/mime-type", "A type and a subtype wherever there is a MIME type.")
async def mime_types(talk: ServerTalk) -> None:
    """MIME types have a type and a subtype."""
    link = await talk.open()
    found = await entries(link, "resources/list", "resources")
    if talk.features.serves(TEMPLATES):
        found += await entries(link, TEMPLATES, "resourceTemplates")
    typed = [each for each in found if "mimeType" in each]
    for each in typed or talk.skip("no resource has a MIME type"):
        check_mime_type(each["mimeType"], f"the MIME type of {each.get('name')}")


@case.should("resource/size", "As many bytes as were listed.")
async def size(talk: ServerTalk) -> None:
    """The size that is listed is the number of bytes, before any encoding."""
    listed = await entries(await talk.open(), "resources/list", "resources")
    sized = [
        each
        for each in listed
        if isinstance(each.get("size"), int) and isinstance(each.get("uri"), str)
    ][:MOST]
    for each in sized or talk.skip("no resource has a size"):
        found = await contents_of(talk, each["uri"])
        bytes_ = sum(
            len(one["text"].encode()) if "text" in one else len(check_base64(one["blob"], "blob"))
            for one in found
        )
        check(bytes_ == each["size"], f"{each['uri']} has {bytes_} bytes, listed: {each['size']}")


@case.should("annotations/last-modified", "A time of ISO 8601.", SINCE_2025_06_18)
async def last_modified(talk: ServerTalk) -> None:
    """LastModified is a time of ISO 8601."""
    found = [
        (each.get("uri"), notes["lastModified"])
        for each in await entries(await talk.open(), "resources/list", "resources")
        if isinstance(notes := each.get("annotations"), dict) and "lastModified" in notes
    ]
    for uri, when in found or talk.skip("no resource says when it was modified"):
        check(_TIME.fullmatch(str(when)), f"{uri} was modified at {when!r:.60}")


@case.must(
    "resource-templates/read",
    "Contents made from the URI.",
    needs=("template:test://template/{id}/data",),
)
async def template_read(talk: ServerTalk) -> None:
    """A URI that follows a template can be read."""
    number = str(talk.random.randrange(100, 1000))
    uri = f"test://template/{number}/data"
    found = await contents_of(talk, uri)
    check(found and found[0]["uri"] == uri, f"{uri} was asked for, {found} came")
    check(number in found[0].get("text", ""), f"the text says nothing of {number}")
