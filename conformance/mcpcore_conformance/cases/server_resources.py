"""Cases of the page server/resources."""

import re
from typing import Any

from mcpcore_conformance.cases.server_lists import announced, listed, steady
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.asking import call, entries, failed, worked
from mcpcore_conformance.kit.content import check_base64, check_mime_type, each_answer
from mcpcore_conformance.kit.features import TEMPLATES
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import belongs, check_shape, check_unique, listening, open_stream
from mcpcore_conformance.kit.messages import INVALID_PARAMS, RESOURCE_NOT_FOUND, Kind, Message
from mcpcore_conformance.kit.model import LEGACY, MODERN, SINCE_2025_06_18, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shapes import params_problem, result_problem
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.tour import check_asked
from mcpcore_conformance.kit.usable import objects
from mcpcore_conformance.kit.verdicts import check, need

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
    "resource-templates", "Pages of templates with URI templates and names.", needs=LISTED_TEMPLATES
)
async def shape(talk: ServerTalk) -> None:
    """Every page of resources/templates/list has the shape of its revision."""
    await check_shape(talk, TEMPLATES)


steady(case, "resources", "uri")


@case.should("resource", "No URI twice.")
async def uri_unique(talk: ServerTalk) -> None:
    """Each resource is identified by its URI."""
    await check_unique(talk, "resources", "uri")


@case.must(
    "custom-uri-schemes/rfc-3986",
    "A scheme, a colon, and characters that RFC 3986 allows.",
    SINCE_2025_06_18,
)
async def uri_valid(talk: ServerTalk, link: OpenLink) -> None:
    """The URIs of resources follow RFC 3986."""
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
async def template_valid(talk: ServerTalk, link: OpenLink) -> None:
    """URI templates follow RFC 6570."""
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
        if not reply.good:
            continue
        for each in objects(reply.result.get("contents")):
            if "blob" in each:
                found += 1
                text = isinstance(each["blob"], str)
                check(text, f"the blob of {resource['uri']} is no string", "resources/read")
                check_base64(each["blob"], f"the blob of {resource['uri']}", "resources/read")
    need(found, "none of the first resources is binary")


@case.should(
    "text-content",
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
async def mime_types(talk: ServerTalk, link: OpenLink) -> None:
    """MIME types have a type and a subtype."""
    found = await entries(link, "resources/list", "resources")
    if talk.features.serves(TEMPLATES):
        found += await entries(link, TEMPLATES, "resourceTemplates")
    typed = [each for each in found if "mimeType" in each]
    for each in typed or talk.skip("no resource has a MIME type"):
        check_mime_type(each["mimeType"], f"the MIME type of {each.get('name')}")


@case.should("resource", "As many bytes as were listed.")
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


@case.should("annotations", "A time of ISO 8601.", SINCE_2025_06_18)
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


# What is told of changes

WATCHED = "test://watched-resource"
OTHER = "test://static-text"
TOOL = "test_trigger_resource_change"
UPDATED = "notifications/resources/updated"
FIXTURE = ("resources.subscribe", f"tool:{TOOL}", f"resource:{WATCHED}")
case = page.server(LEGACY, needs=FIXTURE)
subscriptions = case.at("subscriptions")


async def change(talk: ServerTalk, link: Link) -> None:
    """Have the watched resource changed."""
    reply = await call(link, talk.tool(TOOL), {})
    check(worked(reply), f"{TOOL} got {reply}")


async def _subscribe(link: Link, uri: str, *, un: bool = False) -> None:
    method = "resources/unsubscribe" if un else "resources/subscribe"
    spoilt = link.spoilt
    reply = await link.request(method, {"uri": uri})
    # every case takes back what it has subscribed to
    link.spoilt = spoilt
    problem = result_problem(method, reply.result, link.revision)
    check(not problem, f"the result of {method}: {problem}", method)


async def _take_back(link: Link, uri: str) -> None:
    await _subscribe(link, uri, un=True)
    await link.quiet(0)
    link.inbox.clear()


def _updates(link: Link, uri: str) -> list[Message]:
    return [each for each in link.inbox if each.method == UPDATED and each.params.get("uri") == uri]


async def _nothing_of(link: Link, uri: str, why: str) -> None:
    await link.quiet()
    check(not _updates(link, uri), f"an update of {uri} came, {why}")


@subscriptions.must("Empty results.", needs=("resources.subscribe",))
async def accepted(talk: ServerTalk) -> None:
    """A server that declares it takes subscriptions to its resources, and takes them back."""
    resources = talk.features.resources or talk.skip("the server lists no resources")
    link = await talk.open()
    await _subscribe(link, resources[0]["uri"])
    await _subscribe(link, resources[0]["uri"], un=True)


@subscriptions.should("notifications/resources/updated with the URI.")
async def updated(talk: ServerTalk, link: OpenLink) -> None:
    """A change of a resource is told to who has subscribed to it."""
    await open_stream(link)
    await _subscribe(link, WATCHED)
    await change(talk, link)
    message = await link.expect(UPDATED)
    problem = params_problem(UPDATED, message.params, talk.revision)
    check(not problem, f"the params of {UPDATED}: {problem}")
    check(message.params["uri"] == WATCHED, f"the update is one of {message.params['uri']}")
    await _take_back(link, WATCHED)


@case.should(
    "subscriptions/only-what-was-subscribed",
    "Nothing of a resource that nobody has subscribed to.",
    needs=(*FIXTURE, f"resource:{OTHER}"),
)
async def only_subscribed(talk: ServerTalk, link: OpenLink) -> None:
    """Only changes of the resources that were subscribed to are told."""
    await open_stream(link)
    await _subscribe(link, OTHER)
    await change(talk, link)
    await _nothing_of(link, WATCHED, f"and only {OTHER} was subscribed to")
    await _take_back(link, OTHER)


@subscriptions.should("Nothing after resources/unsubscribe.")
async def unsubscribed(talk: ServerTalk, link: OpenLink) -> None:
    """After unsubscribing, changes are told no more."""
    await open_stream(link)
    await _subscribe(link, WATCHED)
    await _subscribe(link, WATCHED, un=True)
    # others may have changed it meanwhile
    await link.quiet()
    link.inbox.clear()
    await change(talk, link)
    await _nothing_of(link, WATCHED, "after resources/unsubscribe")
    link.inbox.clear()


@subscriptions.must("Nothing for a client that has not subscribed.")
async def per_session(talk: ServerTalk) -> None:
    """A subscription is one of its session and of no other."""
    first = await talk.open()
    other = await talk.open()
    await open_stream(first)
    await open_stream(other)
    await _subscribe(first, WATCHED)
    await change(talk, first)
    await _nothing_of(other, WATCHED, "and another client has subscribed")
    await _take_back(first, WATCHED)
    other.inbox.clear()


@subscriptions.should("notifications/resources/updated with the URI, on the subscription.", MODERN)
async def updated_to_listeners(talk: ServerTalk, link: OpenLink) -> None:
    """A change of a resource is told to a subscription that names it."""
    sent = await listening(link, {"resourceSubscriptions": [WATCHED]})
    await change(talk, link)
    message = await link.expect(UPDATED)
    problem = params_problem(UPDATED, message.params, talk.revision)
    check(not problem, f"the params of {UPDATED}: {problem}")
    check(belongs(message, sent), "the update does not name its subscription")
    check(message.params["uri"] == WATCHED, f"the update is one of {message.params['uri']}")


announced(case, "resources", TOOL, "list of resources")


@subscriptions.should("No notifications/resources/updated.", needs=())
async def nothing_without_one(talk: ServerTalk) -> None:
    """Who has subscribed to nothing is told of no update."""
    await check_asked(talk, Unasked.SUBSCRIBED)


# What does not exist, and what may not be reached

case = page.server(needs=("resources",))

NOWHERE = "test://mcpcore-conformance/no-such-resource"
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


@case.should("error-handling", "The error -32002.", LEGACY)
async def not_found(talk: ServerTalk) -> None:
    """A resource that does not exist gets the error of its own."""
    (await read(await talk.open(), NOWHERE)).failed_with(RESOURCE_NOT_FOUND)


@case.must("error-handling/not-found-invalid-params", "The error -32602.", MODERN)
async def not_found_modern(talk: ServerTalk) -> None:
    """A resource that does not exist is an invalid parameter."""
    (await read(await talk.open(), NOWHERE)).failed_with(INVALID_PARAMS)


@case.must("error-handling", "An error, not a result with empty contents.", MODERN)
async def not_found_not_empty(talk: ServerTalk) -> None:
    """A resource that does not exist is not answered with empty contents."""
    reply = await read(await talk.open(), NOWHERE)
    if reply.good:
        check(reply.result.get("contents") != [], "what does not exist has empty contents")


# which no sentence of the page demands: its example has it
@case.may("error-handling", "data of the error has the member uri.")
async def not_found_uri(talk: ServerTalk) -> None:
    """The error names the resource that was not found."""
    error = (await read(await talk.open(), NOWHERE)).error
    data = error.get("data")
    named = data.get("uri") if isinstance(data, dict) else None
    check(named == NOWHERE, f"data of the error is {data!r:.80}")


@case.must(
    "reading-resources", "An error: the request does not follow the schema of resources/read."
)
async def no_uri(talk: ServerTalk) -> None:
    """A request that names no resource is an error."""
    reply = await (await talk.open()).request("resources/read", {})
    check(failed(reply), f"resources/read without uri got {reply}")


@case.must("security-considerations/invalid-uri", "An error.")
async def invalid_uris(link: OpenLink) -> None:
    """What is no URI is refused."""
    for uri in ("", "no uri", "://", "%zz", "test://%zz/\u0000", 17, None, ["test://x"]):
        reply = await read(link, uri)
        check(failed(reply), f"the URI {uri!r} got {reply}")


@case.must(
    "security-considerations",
    "Nothing of a file outside, whatever the variables of a template are.",
)
async def traversal(talk: ServerTalk, link: OpenLink) -> None:
    """No template leads to files outside of what it is for."""
    templates = talk.features.templates[:MOST] or talk.skip("the server lists no templates")
    for template in templates:
        for way in WAYS_OUT:
            parts = _VARIABLE.split(str(template.get("uriTemplate")))
            uri = way.join(parts)
            await _nothing_of_it(link, uri)


@case.must("security-considerations", "An error, or something else than that file.")
async def unlisted_files(link: OpenLink) -> None:
    """Files that nobody offers cannot be read by their URI."""
    for uri in ("file:///etc/passwd", "file:/etc/passwd", "file:///../etc/passwd", "/etc/passwd"):
        await _nothing_of_it(link, uri)


async def _nothing_of_it(link: Link, uri: str) -> None:
    reply = await read(link, uri)
    if not reply.good:
        return
    for each in objects(reply.result.get("contents")):
        said = str(each.get("text", ""))
        if isinstance(each.get("blob"), str):
            said += check_base64(each["blob"], "the blob").decode("latin-1")
        check(PASSWORDS not in said, f"{uri!r} gives the passwords of the system")
