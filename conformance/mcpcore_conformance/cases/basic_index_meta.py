"""Cases of the page basic/index: ``_meta``, and requests that stand on their own."""

from typing import Any
from urllib.parse import urlsplit

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit.asking import need, needs_input
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Kind,
)
from mcpcore_conformance.kit.model import ALL, EVERY, MODERN, SINCE_2025_11_25, Binding, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import ask, needy
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/index")
case = page.server(MODERN)

BAD_REQUEST = 400
VENDOR: dict[str, Any] = {
    "org.example/note": {"deep": [1, {"er": None}]},
    "org.example.kit/": "a name may be empty",
    "plain": True,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "kit=1",
    "baggage": "userId=alice",
}


async def _with_meta(link: Link, method: str, params: dict[str, Any], meta: Any) -> Reply:
    """Send a request whose ``_meta`` is exactly this one; None leaves it out."""
    bare = {**params} if meta is None else {**params, "_meta": meta}
    return await link.request(method, bare, bare=True)


async def _incomplete(talk: ServerTalk, meta: Any, what: str) -> None:
    """At the beginning, when nothing has told the era yet, and later on."""
    link = await talk.connect()
    await _refused(talk, link, link.plain, {}, meta, what)
    link = await talk.open()
    await link.alive()
    for method, params in ((link.plain, {}), talk.any_request()):
        await _refused(talk, link, method, params, meta, what)
    await link.alive()


async def _refused(
    talk: ServerTalk, link: Link, method: str, params: dict[str, Any], meta: Any, what: str
) -> None:
    reply = await _with_meta(link, method, params, meta)
    if reply.message is None or reply.message.kind is not Kind.ERROR:
        raise Broken(f"{method} with {what} got {reply}, not the error -32602")
    if talk.binding is Binding.HTTP or method == "server/discover":
        if reply.message.code == INVALID_PARAMS or not await _legacy_too(talk, meta):
            reply.failed_with(INVALID_PARAMS, status=BAD_REQUEST)
        else:
            talk.note(f"{method} with {what} got {reply}, as of a request of an older revision")
    # elsewhere only the method says of which era a request is: this might be a legacy one


async def _legacy_too(talk: ServerTalk, meta: Any) -> bool:
    """Whether a request with this ``_meta`` may be taken for one of an older revision.

    A server of both eras serves by this revision what carries its ``_meta`` (basic/versioning,
    backward compatibility); over HTTP the header says the version, too.
    """
    if talk.binding is Binding.HTTP or (isinstance(meta, dict) and META_PROTOCOL_VERSION in meta):
        return False
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    return reply.message is not None and reply.message.kind is Kind.RESULT


def _without(link: Link, *names: str) -> dict[str, Any]:
    return {name: value for name, value in link.meta.items() if name not in names}


@case.must("meta/missing", "The error -32602, over HTTP with the status 400.")
async def meta_missing(talk: ServerTalk) -> None:
    """A request without any _meta is malformed."""
    await _incomplete(talk, None, "no _meta")


@case.must("meta/version-missing", "The error -32602, over HTTP with the status 400.")
async def version_missing(talk: ServerTalk) -> None:
    """A request that does not say its protocol version is malformed."""
    link = await talk.open()
    await _incomplete(talk, _without(link, META_PROTOCOL_VERSION), "no protocolVersion in _meta")


@case.must("meta/capabilities-missing", "The error -32602, over HTTP with the status 400.")
async def capabilities_missing(talk: ServerTalk) -> None:
    """A request that does not say what the client can do is malformed."""
    link = await talk.open()
    meta = _without(link, META_CLIENT_CAPABILITIES)
    await _incomplete(talk, meta, "no clientCapabilities in _meta")


@case.should(
    "meta/field-types", "The error -32602, over HTTP with the status 400 (and perhaps -32020)."
)
async def field_types(talk: ServerTalk) -> None:
    """Required fields of _meta that have a wrong type count as missing."""
    link = await talk.open()
    # a method of this era only: of another one it could not be
    method = "server/discover"
    need(link.plain == method, f"the server does not serve {method}")
    good = link.meta
    wrong: tuple[Any, ...] = (
        {**good, META_CLIENT_CAPABILITIES: None},
        {**good, META_CLIENT_CAPABILITIES: []},
        {**good, META_CLIENT_CAPABILITIES: "all"},
        {**good, META_PROTOCOL_VERSION: None},
        {**good, META_PROTOCOL_VERSION: 20260728},
        {**good, META_PROTOCOL_VERSION: [link.revision.name]},
        [],
        "text",
    )
    for meta in wrong:
        reply = await _with_meta(link, method, {}, meta)
        if reply.message is None or reply.message.kind is not Kind.ERROR:
            raise Broken(f"{method} with the _meta {meta!r} got {reply}, not the error -32602")
        # over HTTP such a version does not match its header either
        codes = (
            (INVALID_PARAMS, HEADER_MISMATCH) if talk.binding is Binding.HTTP else (INVALID_PARAMS,)
        )
        if reply.message.code in codes or not await _legacy_too(talk, meta):
            reply.failed_with(*codes, status=BAD_REQUEST)


@case.must("meta/client-info-optional", "A result.")
async def client_info_optional(talk: ServerTalk) -> None:
    """A request that does not say who the client is, is served."""
    link = await talk.open()
    for method, params in ((link.plain, {}), talk.any_request()):
        reply = await _with_meta(link, method, params, _without(link, META_CLIENT_INFO))
        served = reply.message is not None and reply.message.kind is Kind.RESULT
        check(served, f"{method} without clientInfo got {reply}")


@case.should("meta/client-info-decides-nothing", "The same result, whoever the client says it is.")
async def client_info_decides_nothing(talk: ServerTalk) -> None:
    """Who the client says it is does not change what it gets."""
    link = await talk.open()
    method, params = talk.any_request()
    infos = (
        {"name": "mcpcore-conformance", "version": "1"},
        {"name": "claude-ai", "version": "0.1.0", "title": "Somebody else"},
        {"name": "", "version": ""},
    )
    seen = [_plain(await link.ask(method, params, meta={META_CLIENT_INFO: info})) for info in infos]
    check(
        all(each == seen[0] for each in seen),
        f"the result of {method} depends on the clientInfo",
    )


@case.should(
    "meta/other-keys", "A result: keys of vendors, and those of tracing, are left alone.", ALL
)
async def other_keys(talk: ServerTalk) -> None:
    """Keys in _meta that the server does not know are no reason to refuse."""
    link = await talk.open()
    method, params = talk.any_request()
    reply = await link.request(method, params, meta=VENDOR)
    served = reply.message is not None and reply.message.kind is Kind.RESULT
    check(served, f"{method} with {', '.join(VENDOR)} in _meta got {reply}")


@case.must(
    "meta/undeclared-capability",
    "The error -32021 whose data.requiredCapabilities names it, over HTTP with 400.",
    needs=("found:input",),
)
async def undeclared_capability(talk: ServerTalk) -> None:
    """What needs a capability that the client does not declare is refused by name."""
    which, wanted = await needy(talk)
    reply = await ask(await talk.open(capabilities={}), which)
    if not which.known and not reply.refused:
        talk.skip(f"no tool is refused without a capability: {which} got {reply}")
    error = reply.failed_with(MISSING_CAPABILITY, status=BAD_REQUEST)
    data = error.get("data")
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    named = {name for name in wanted if isinstance(members(needed).get(name), dict)}
    check(
        named,
        f"data.requiredCapabilities is {needed!r}, not an object with {' or '.join(wanted)}",
    )


@case.must("meta/declared-capability", "A result.", needs=("found:input",))
async def declared_capability(talk: ServerTalk) -> None:
    """What needs a capability is served when the request declares it."""
    which, declared = await needy(talk)
    reply = await ask(await talk.open(capabilities=declared), which)
    check(not reply.result.get("isError"), f"the call failed: {reply.result}")


@case.should(
    "icons/sources",
    "src is a URI of http, https or data; mimeType is a string, sizes a list of strings.",
    SINCE_2025_11_25,
)
async def icons(talk: ServerTalk) -> None:
    """Icons are found where every client may look for them."""
    link = await talk.open()
    owners = [talk.features.server_info]
    lists = (
        ("tools", "tools/list", "tools"),
        ("resources", "resources/list", "resources"),
        ("prompts", "prompts/list", "prompts"),
    )
    for capability, method, member in lists:
        if talk.features.declares(capability):
            owners += (await link.ask(method))[member]
    seen = 0
    for owner in owners:
        listed = owner.get("icons", [])
        name = owner.get("name")
        check(isinstance(listed, list), f"the icons of {name} are no list")
        for icon in listed:
            seen += 1
            source = icon.get("src") if isinstance(icon, dict) else None
            scheme = urlsplit(source).scheme.lower() if isinstance(source, str) else ""
            check(scheme in ("http", "https", "data"), f"an icon of {name} is at {source!r}")
            sizes = icon.get("sizes", [])
            check(
                isinstance(sizes, list) and all(isinstance(each, str) for each in sizes),
                f"an icon of {name} has the sizes {sizes!r}",
            )
    talk.note(f"{seen} icons")


# Statelessness


@case.must(
    "statelessness/capabilities",
    "The error -32021, although an earlier request on the connection declared it.",
    needs=("found:input",),
)
async def capabilities_not_kept(talk: ServerTalk) -> None:
    """Capabilities are those of the request, not those of an earlier one."""
    which, able = await needy(talk)
    link = await talk.open()
    turns: tuple[dict[str, Any], ...] = (able, {}, able)
    for declared in turns:
        params = {**which.params, "_meta": {META_CLIENT_CAPABILITIES: declared}}
        reply = await link.request(which.method, params)
        if declared:
            check(not reply.result.get("isError"), f"with {declared} the call got {reply}")
        elif which.known:
            reply.failed_with(MISSING_CAPABILITY)
        else:
            asks = f"{which} asks a client that has declared nothing"
            check(not needs_input(reply), f"{asks}, as it did before")


@case.must(
    "statelessness/versions",
    "Each request is judged by its own version, whatever the one before it said.",
)
async def versions_not_kept(talk: ServerTalk) -> None:
    """A request with a version that the server speaks follows one with another version."""
    link = await talk.open()
    method, params = talk.any_request()
    for version in ("1999-12-31", link.revision.name, "2999-12-31", link.revision.name):
        reply = await link.request(method, params, meta={META_PROTOCOL_VERSION: version})
        if version == link.revision.name:
            served = reply.message is not None and reply.message.kind is Kind.RESULT
            check(served, f"after a request of another version, {method} got {reply}")
        else:
            reply.failed_with(UNSUPPORTED_VERSION)


@case.must("statelessness/nothing-before", "A result: nothing has to be said before.")
async def nothing_before(talk: ServerTalk) -> None:
    """The first message of a connection may be any request."""
    link = await talk.connect()
    method, params = talk.any_request()
    await link.ask(method, params)


@case.should(
    "statelessness/any-connection",
    "Requests that go together may come over two connections, and after one has ended.",
    bindings=EVERY - {Binding.STDIO},
)
async def any_connection(talk: ServerTalk) -> None:
    """A server is the same on every connection."""
    first, second = await talk.connect(), await talk.connect()
    method, params = talk.any_request()
    seen = [_plain(await link.ask(method, params)) for link in (first, second)]
    await first.wire.close()
    talk.links.remove(first)
    seen.append(_plain(await second.ask(method, params)))
    check(all(each == seen[0] for each in seen), f"{method} differs between connections")


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """Without what may be another one each time."""
    changing = ("_meta", "nextCursor", "ttlMs")
    return {name: value for name, value in result.items() if name not in changing}


@case.should(
    "statelessness/several-conversations",
    "Each request is served by its own metadata, however they are mixed.",
)
async def several_conversations(talk: ServerTalk) -> None:
    """Requests of several clients, with other names and capabilities, are mixed on a connection."""
    link = await talk.open()
    method, params = talk.any_request()
    sent = []
    for number in range(12):
        meta = {
            META_CLIENT_INFO: {"name": f"client {number % 3}", "version": "1"},
            META_CLIENT_CAPABILITIES: ({}, {"sampling": {}}, {"elicitation": {}})[number % 3],
        }
        sent.append(await link.send(method, params, id=f"{number % 3}/{number}", meta=meta))
    for each in sent:
        reply = await link.reply(each)
        served = reply.message is not None and reply.message.kind is Kind.RESULT
        check(served, f"the request {each.id} got {reply}")
