"""Cases of the page basic/transports: the version header of Streamable HTTP."""

from mcpcore_conformance.cases.basic_transports_sessions import stateful
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    WITH_VERSION_HEADER,
    Endpoint,
    check_refused,
    check_served,
    endpoint,
)
from mcpcore_conformance.kit.messages import notification
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk

page = Page("basic/transports")
case = page.server(WITH_VERSION_HEADER, bindings=STREAMABLE)

VERSION = "mcp-protocol-version"


@case.must("protocol-version-header/unsupported", "Status 400.")
async def version_unsupported(talk: ServerTalk) -> None:
    """A request with a version that the server does not speak gets 400."""
    point = await endpoint(talk)
    for found in ("1999-12-31", "2099-01-01"):
        answer = await point.post(point.message(), headers={VERSION: found})
        check_refused(answer, f"MCP-Protocol-Version: {found}", BAD_REQUEST)


@case.must("protocol-version-header/invalid", "Status 400.")
async def version_invalid(talk: ServerTalk) -> None:
    """A request with a version that is none gets 400."""
    point = await endpoint(talk)
    for found in ("latest", f"{talk.revision.name}.0", "0", "2025-13-45"):
        answer = await point.post(point.message(), headers={VERSION: found})
        check_refused(answer, f"MCP-Protocol-Version: {found}", BAD_REQUEST)


@case.must("protocol-version-header/invalid-notification", "Status 400.")
async def version_invalid_notification(talk: ServerTalk) -> None:
    """A notification with a version that is none gets 400."""
    point = await endpoint(talk)
    cancel = notification("notifications/cancelled", {"requestId": "kit-none"})
    answer = await point.post(cancel, headers={VERSION: "latest"})
    check_refused(answer, "a notification of version 'latest'", BAD_REQUEST)


@case.must(
    "protocol-version-header/invalid-get", "Status 400; 405 where there are no such streams."
)
async def version_invalid_get(talk: ServerTalk) -> None:
    """A GET with a version that is none gets 400."""
    point = await endpoint(talk)
    own = [each for each in point.wire.headers_for(None) if each[0] != VERSION]
    answer = await point.open(headers=[("accept", "text/event-stream"), *own, (VERSION, "latest")])
    check_refused(answer, "a GET of version 'latest'", BAD_REQUEST, METHOD_NOT_ALLOWED)


@case.must(
    "protocol-version-header/invalid-delete",
    "Status 400, and the session goes on; 405 where clients cannot end sessions.",
)
async def version_invalid_delete(talk: ServerTalk) -> None:
    """A DELETE with a version that is none gets 400 and ends nothing."""
    point, session = await stateful(talk)
    answer = await point.delete(session, (VERSION, "latest"))
    check_refused(answer, "a DELETE of version 'latest'", BAD_REQUEST, METHOD_NOT_ALLOWED)
    check_served(await point.post(point.message()), "a request after a DELETE that was refused")


@case.should(
    "protocol-version-header/absent", "Served: by the version that was agreed on, or as 2025-03-26."
)
async def version_absent(talk: ServerTalk) -> None:
    """A request without the version header is served."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={VERSION: None})
    check_served(answer, "a request without MCP-Protocol-Version")


@case.should("protocol-version-header/on-initialize", "The handshake succeeds.")
async def version_on_initialize(talk: ServerTalk) -> None:
    """An initialize that carries the header already is served."""
    link = await talk.connect()
    point = Endpoint(talk, link)
    message = point.message("initialize", link.opening())
    answer = await point.post(message, headers={VERSION: talk.revision.name})
    check_served(answer, f"initialize with MCP-Protocol-Version: {talk.revision.name}")
