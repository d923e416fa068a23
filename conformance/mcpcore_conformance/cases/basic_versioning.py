"""Cases of the page basic/versioning: versions, extensions, and servers of both eras."""

import re
from typing import Any

from mcpcore.spec.revisions import BY_NAME, LATEST_LEGACY
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, UNSUPPORTED_VERSION
from mcpcore_conformance.kit.model import MODERN, Binding, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check, need

page = Page("basic/versioning")
case = page.server(MODERN)

BAD_REQUEST = 400
NOBODY = "1900-01-01"
"""A version that nobody speaks."""
NEGOTIATION = "protocol-version-negotiation"
negotiation = case.at(NEGOTIATION)
COMPATIBILITY = "backward-compatibility-with-initialization-based-versions"
REMOVED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping", {}),
    ("logging/setLevel", {"level": "info"}),
    ("resources/subscribe", {"uri": "test://watched-resource"}),
    ("resources/unsubscribe", {"uri": "test://watched-resource"}),
    ("initialize", {"capabilities": {}, "clientInfo": {"name": "kit", "version": "1"}}),
)
LABEL = r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?"
EXTENSION = re.compile(rf"{LABEL}(\.{LABEL})*/([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?")
"""A key of ``_meta`` with its prefix."""


async def _refused(link: Link, version: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Make a request with a version that is not served; returns the error's data."""
    reply = await link.request(method, params, meta={META_PROTOCOL_VERSION: version})
    data = reply.failed_with(
        UNSUPPORTED_VERSION,
        status=BAD_REQUEST,
        what=f"{method} with the version {version!r}",
    ).get("data")
    return data if isinstance(data, dict) else {}


def _served(reply: Reply, what: str) -> None:
    check(reply.good, f"{what} got {reply}")


@negotiation.must("The error -32022 with the versions that are, over HTTP with the status 400.")
async def unsupported(talk: ServerTalk, link: OpenLink) -> None:
    """A request in a version that the server does not implement is told which ones it does."""
    for version in (NOBODY, "2999-12-31", "v999.0.0"):
        data = await _refused(link, version, *talk.any_request())
        supported = data.get("supported")
        if not isinstance(supported, list) or link.revision.name not in supported:
            raise Broken(f"data.supported is {supported!r}, which lacks {link.revision.name}")
        check(version not in supported, f"data.supported has {version!r}, which was refused")


@negotiation.must("data.requested is the version that was asked for.")
async def requested(talk: ServerTalk, link: OpenLink) -> None:
    """The refusal of a version repeats it."""
    data = await _refused(link, NOBODY, *talk.any_request())
    check(data.get("requested") == NOBODY, f"data.requested is {data.get('requested')!r}")


@negotiation.must("The error -32022 with the versions that are supported.")
async def discover_unsupported(link: OpenLink) -> None:
    """server/discover is a request like any other: its version has to be one that is served."""
    need(link.plain == "server/discover", "the server does not serve server/discover")
    data = await _refused(link, NOBODY, "server/discover", {})
    check(isinstance(data.get("supported"), list), f"data.supported is {data.get('supported')!r}")


@negotiation.should("The versions of the error are those of server/discover.")
async def same_list(talk: ServerTalk, link: OpenLink) -> None:
    """A refusal and server/discover name the same versions."""
    found = (await link.ask("server/discover"))["supportedVersions"]
    data = await _refused(link, NOBODY, *talk.any_request())
    supported = data.get("supported")
    check(
        isinstance(supported, list) and set(supported) == set(found),
        f"the error names {supported!r}, server/discover {found!r}",
    )


@negotiation.must("Each version is served: by metadata, or where it has one by its handshake.")
async def list_is_true(talk: ServerTalk, link: OpenLink) -> None:
    """Every version that the server says it supports, it does."""
    for name in (await link.ask("server/discover"))["supportedVersions"]:
        revision = BY_NAME.get(name)
        if revision is None or revision is talk.revision:
            continue
        if revision.modern:
            reply = await link.request(*talk.any_request(), meta={META_PROTOCOL_VERSION: name})
            _served(reply, f"a request of {name}, which is listed as supported,")
        elif talk.binding is not Binding.HTTP or revision.streamable_http:
            other = await talk.connect(revision=revision)
            result = (await other.request("initialize", other.opening())).result
            agreed = result.get("protocolVersion")
            check(agreed == name, f"{name} is listed as supported, initialize agreed to {agreed!r}")


# Extensions


@case.must(
    "extension-negotiation/names",
    "Each identifier has a prefix of labels and a slash; each value is an object.",
)
async def extension_names(talk: ServerTalk, link: OpenLink) -> None:
    """Extensions that the server declares are named as the keys of _meta are."""
    declared = (await link.ask("server/discover"))["capabilities"].get("extensions", {})
    check(isinstance(declared, dict), f"capabilities.extensions is {declared!r}")
    for name, settings in declared.items():
        check(EXTENSION.fullmatch(name), f"the extension {name!r} is not named as it has to be")
        check(isinstance(settings, dict), f"the settings of {name} are {settings!r}")
    talk.note(f"extensions: {', '.join(declared) or 'none'}")


@case.must("extension-negotiation", "The core protocol: the request is served as without it.")
async def unknown(talk: ServerTalk, link: OpenLink) -> None:
    """An extension that only the client has changes nothing."""
    extensions = {"org.example/kit-extension": {"mode": "all"}, "org.example.other/x": {}}
    declared = {META_CLIENT_CAPABILITIES: {**link.capabilities, "extensions": extensions}}
    await link.ask(*talk.any_request(), meta=declared)


@case.must(
    "extension-negotiation/not-declared",
    "No result but complete or input_required, and no member of an extension's own.",
)
async def extension_not_declared(talk: ServerTalk) -> None:
    """To a client without extensions the server speaks the core protocol."""
    link = await talk.open(capabilities={})
    tool = talk.any_tool()
    call = {"name": tool.name, "arguments": talk.arguments(tool)}
    reply = await link.request("tools/call", call)
    if reply.message is not None and not reply.good:
        talk.skip(f"{tool.name} does not take what the kit makes up: its call got {reply}")
    kind = reply.result.get("resultType")
    check(
        kind in ("complete", "input_required"),
        f"the call got a result of type {kind!r}",
        "tools/call",
    )


# Both eras


async def _legacy(talk: ServerTalk) -> Link:
    """A conversation in the newest legacy version that there is; else the case does not apply."""
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    need(reply.good, "the server has no initialize")
    agreed = reply.result.get("protocolVersion")
    if agreed == LATEST_LEGACY.name:
        await link.accepted(await link.notify("notifications/initialized"))
        return link
    spoken = BY_NAME.get(str(agreed))
    if spoken is None or not spoken.handshake:
        talk.skip(f"the server speaks {agreed!r}, which the kit does not know")
    return await talk.open(revision=spoken)


@case.must(COMPATIBILITY, "The error -32601 for each of them.")
async def removed_methods(talk: ServerTalk, link: OpenLink) -> None:
    """A request with modern metadata is served by this version, which has fewer methods."""
    for method, params in REMOVED:
        reply = await link.request(method, params)
        # but over HTTP the code for initialize is the implementation's choice
        any_code = method == "initialize" and talk.binding is not Binding.HTTP
        reply.failed_with(*() if any_code else (METHOD_NOT_FOUND,))


@case.should(
    COMPATIBILITY, "A result in a legacy version, or an error that names the versions there are."
)
async def initialize_answered(talk: ServerTalk) -> None:
    """A legacy client is served, or learns from the error what it would have to speak."""
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    if reply.good:
        agreed = reply.result.get("protocolVersion")
        check(agreed != talk.revision.name, f"initialize agreed to {agreed}")
        return
    error = reply.error
    said = f"{error['message']} {error.get('data')}"
    check(talk.revision.name in said, f"the error does not name {talk.revision.name}: {error}")


@case.must(COMPATIBILITY, "Each client is served by the rules of its own version.")
async def both_eras(talk: ServerTalk) -> None:
    """A legacy and a modern client are served in turns."""
    older = await _legacy(talk)
    newer = await talk.open()
    for link in (newer, older, newer, older):
        method, params = talk.any_request(link.revision)
        found = await link.ask(method, params)
        named = "resultType" in found
        check(
            named is link.revision.result_type,
            f"in {link.revision.name} {method} {'has' if named else 'lacks'} a resultType",
        )


@case.may(
    f"{COMPATIBILITY}/both-eras-on-one-connection",
    "A request with modern metadata is served statelessly, also after initialize.",
    bindings=frozenset(Binding) - {Binding.HTTP, Binding.SSE},
)
async def one_connection(talk: ServerTalk) -> None:
    """On one connection, modern requests are mixed with a legacy conversation."""
    link = await _legacy(talk)
    method, params = talk.any_request()
    modern = {**params, "_meta": {**link.meta, META_PROTOCOL_VERSION: talk.revision.name}}

    async def look() -> None:
        found = (await link.request(method, modern, bare=True)).result
        check("resultType" in found, "a modern request was answered as a legacy one")

    await look()
    found = await link.ask(*talk.any_request(link.revision))
    check("resultType" not in found, "a legacy request was answered as a modern one")
    await look()


@case.may(COMPATIBILITY, "initialize is answered: a request that was refused decides nothing.")
async def refused_probe(talk: ServerTalk) -> None:
    """A connection whose first request was refused may still go either way."""
    link = await talk.connect(revision=LATEST_LEGACY)
    meta = {**link.meta, META_PROTOCOL_VERSION: NOBODY}
    headers = {"mcp-protocol-version": NOBODY, "mcp-method": "server/discover"}
    probe = await link.request("server/discover", {"_meta": meta}, bare=True, headers=headers)
    check(probe.gone is None, f"the probe got {probe}")
    reply = await link.request("initialize", link.opening())
    if not reply.good:
        await _legacy(talk)
        raise Broken(f"after a refused probe initialize got {reply}")
