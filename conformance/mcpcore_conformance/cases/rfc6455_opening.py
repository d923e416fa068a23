"""Cases of RFC 6455: how a WebSocket is opened."""

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.model import WEBSOCKET, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check
from mcpcore_conformance.kit.wire import FramesWire, Refused

page = Page("rfc6455")
case = page.server(bindings=WEBSOCKET)

CLIENT_ERRORS = range(400, 500)
SWITCHING, BAD_REQUEST = 101, 400


async def refused(
    talk: ServerTalk,
    what: str,
    statuses: Sequence[int] = CLIENT_ERRORS,
    *,
    edit: Callable[[bytes], bytes] | None = None,
    offers: Sequence[str] | None = None,
    path: str | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> Refused:
    """Check that an opening is refused with one of these statuses."""
    try:
        wire = await talk.wire(edit=edit, offers=offers, path=path, headers=headers)
    except Refused as error:
        if error.status is None and error.headers:
            accept = header(error.headers, "sec-websocket-accept")
            raise Broken(
                f"{what} was accepted, with status 101 and Sec-WebSocket-Accept {accept!r}"
            ) from error
        if error.status is None:
            raise Broken(f"{what} was refused without a status: {error.reason}") from error
        wanted = " or ".join(map(str, statuses)) if len(statuses) < 10 else "4xx"
        check(error.status in statuses, f"{what} got status {error.status}, not {wanted}")
        return error
    await wire.close()
    raise Broken(f"{what} was accepted")


async def opened(talk: ServerTalk, what: str, **options: object) -> FramesWire:
    """Check that an opening is accepted, and that the connection works."""
    try:
        link = await talk.connect(**options)  # type: ignore[arg-type]
    except Inconclusive as error:
        raise Broken(f"{what} was not accepted: {error.detail}") from error
    if link.revision.handshake:
        await link.initialize()
    await link.alive()
    return talk.frames(link)


def without(name: str) -> Callable[[bytes], bytes]:
    """Leave a header out of the opening."""
    return lambda data: re.sub(rb"(?i)\r\n%s:[^\r]*" % name.encode(), b"", data)


def replaced(name: str, value: bytes) -> Callable[[bytes], bytes]:
    """Give a header of the opening another value."""
    pattern = rb"(?i)(\r\n%s: ?)[^\r]*" % name.encode()
    return lambda data: re.sub(pattern, lambda found: found[1] + value, data)


@case.must(
    "section-4.2.1/other-version",
    "A status of 4xx (426), and Sec-WebSocket-Version with the version that is spoken.",
)
async def other_version(talk: ServerTalk) -> None:
    """Another version of WebSocket is refused, with those that are spoken."""
    for value in (b"12", b"14", b"99"):
        edit = replaced("sec-websocket-version", value)
        error = await refused(talk, f"version {value.decode()}", edit=edit)
        found = header(error.headers, "sec-websocket-version") or ""
        check(
            "13" in [each.strip() for each in found.split(",")],
            f"the refusal of version {value.decode()} has Sec-WebSocket-Version {found!r}",
        )


@case.must("section-4.2.1/key-malformed", "A status of 4xx, 400 above all.")
async def key_malformed(talk: ServerTalk) -> None:
    """An opening without a key of 16 bytes is refused."""
    await refused(talk, "an opening without key", edit=without("sec-websocket-key"))
    for value in (b"", b"c2hvcnQ=", b"not base64, by far!!!", b"QUFBQUFBQUFBQUFBQUFBQUFB"):
        edit = replaced("sec-websocket-key", value)
        await refused(talk, f"the key {value!r}", edit=edit)


@case.must("section-4.2.1/no-upgrade", "A status of 4xx (426).")
async def no_upgrade(talk: ServerTalk) -> None:
    """A request that does not ask for a WebSocket does not get one."""
    await refused(talk, "an opening without Upgrade", edit=without("upgrade"))
    await refused(talk, "an upgrade to something else", edit=replaced("upgrade", b"kit"))
    await refused(talk, "an opening without Connection", edit=without("connection"))


@case.must("section-4.2.1/other-method", "A status of 4xx (405).")
async def other_method(talk: ServerTalk) -> None:
    """Only GET opens a WebSocket."""
    edit: Callable[[bytes], bytes] = lambda data: data.replace(b"GET ", b"POST ", 1)  # noqa: E731
    await refused(talk, "an opening with POST", edit=edit)


@case.must("section-4.2.1/upgrade-in-any-case", "Accepted: WebSocket and UPGRADE, in a list.")
async def upgrade_in_any_case(talk: ServerTalk) -> None:
    """The words of the opening have no case, and may be in a list."""

    def edit(data: bytes) -> bytes:
        data = replaced("upgrade", b"WebSocket")(data)
        return replaced("connection", b"keep-alive, UPGRADE")(data)

    await opened(talk, "an opening in other cases", edit=edit)


@case.must(
    "section-4.2.2/chosen-from-offered",
    "The subprotocol that is chosen is one of those that were offered, or there is none.",
)
async def chosen_from_offered(talk: ServerTalk) -> None:
    """The server chooses nothing that the client has not offered."""
    for offers in (["mcp"], ["kit.one", "mcp", "kit.two"]):
        wire = await opened(talk, f"an opening with {offers}", offers=offers)
        found = wire.subprotocol
        check(found is None or found in offers, f"of {offers} the server has chosen {found!r}")


@case.must(
    "section-9.1/no-extension-unasked", "No Sec-WebSocket-Extensions for a client that offers none."
)
async def no_extension_unasked(talk: ServerTalk) -> None:
    """The server agrees on no extension that the client has not offered."""
    wire = await opened(talk, "an opening without extensions")
    found = header(wire.accepted, "sec-websocket-extensions")
    check(found is None, f"the server has chosen the extensions {found!r}")


@case.should("section-10.2/foreign-origin", "A status of 4xx (403).")
async def foreign_origin(talk: ServerTalk) -> None:
    """A foreign page cannot open a WebSocket, which browsers would let it do."""
    for origin in (
        "http://evil.example",
        "https://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "http://[2001:db8::1]",
        "null",
    ):
        await refused(talk, f"Origin: {origin}", headers=[("origin", origin)])


@case.must(
    "section-10.2/no-origin", "Accepted: programs that are no browsers send none.", bare=True
)
async def no_origin(talk: ServerTalk) -> None:
    """An opening without Origin is accepted."""
    try:
        wire = await talk.wire()
    except Refused as error:
        own = urlsplit(talk.stage.target)
        scheme = "https" if own.scheme == "wss" else "http"
        origin = f"{scheme}://{own.netloc.rpartition('@')[2]}"
        try:
            wire = await talk.wire(headers=[("origin", origin)])
        except Refused as again:
            raise Inconclusive(
                f"an opening was refused ({error.reason}), with Origin: {origin} as well"
                f" ({again.reason})"
            ) from again
        await wire.close()
        raise Broken(
            f"an opening without Origin was refused ({error.reason}), one with Origin: {origin} not"
        ) from error
    await wire.close()
    if talk.features.revision == talk.revision.name:
        await opened(talk, "an opening without Origin")
