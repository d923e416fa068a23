"""Cases of the page basic/transports: sessions of Streamable HTTP, and the version header."""

import re
from itertools import pairwise
from typing import Annotated

from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    CLIENT_ERRORS,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OK,
    WITH_SESSIONS,
    WITH_VERSION_HEADER,
    Endpoint,
    OpenEndpoint,
    check_refused,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import notification
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.readings import read_alike
from mcpcore_conformance.kit.talk import NewLink, ServerTalk
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/transports")
case = page.server(WITH_SESSIONS, bindings=STREAMABLE)
session_management = case.at("session-management")

SESSION = "mcp-session-id"
MADE_UP = "kit-0123456789abcdef0123456789abcdef"


async def stateful(talk: ServerTalk) -> tuple[Endpoint, str]:
    """A conversation in a session, and the session's id; servers without need not have any."""
    point = await endpoint(talk)
    for head in point.link.heads.values():
        if (found := header(head.headers, SESSION)) is not None:
            return point, found
    talk.skip("the server gives no session ids")


StatefulEndpoint = Annotated[Endpoint, stateful]
Session = Annotated[str, stateful]


# The id


@session_management.must("Characters from 0x21 to 0x7E only.")
async def visible_ascii(_: StatefulEndpoint, session: Session) -> None:
    """A session id consists of visible ASCII characters."""
    check(session, "the session id is empty")
    check(all("!" <= each <= "~" for each in session), f"the session id is {session!r}")


def _bits(id: str) -> int:
    """How much an id can hold at most, by the kind of its characters."""
    text = id.replace("-", "")
    for kind, bits in ((r"[0-9]*", 3.33), (r"[0-9a-f]*|[0-9A-F]*", 4)):
        if re.fullmatch(kind, text):
            return int(len(text) * bits)
    return len(id) * 6


@session_management.should(
    "120 bits or more (a random UUID has 122) that differ from session to session, so that"
    " none can be guessed."
)
async def unpredictable(talk: ServerTalk) -> None:
    """Session ids are unique, long, and do not resemble one another."""
    ids = [(await stateful(talk))[1] for _ in range(6)]
    check(len(set(ids)) == len(ids), f"two sessions have one id: {ids}")
    shortest = min(ids, key=_bits)
    check(_bits(shortest) >= 120, f"{shortest!r} holds {_bits(shortest)} bits, fewer than 120")
    for one, other in pairwise(ids):
        alike = sum(a == b for a, b in zip(one, other, strict=False))
        differ = max(len(one), len(other)) - alike
        check(differ >= 12, f"two session ids differ in {differ} characters only: {one}, {other}")


@case.should(
    "session-management/not-chosen-by-client",
    "The new session has an id of the server's choice, or initialize is refused.",
)
async def not_chosen(talk: ServerTalk, link: NewLink) -> None:
    """An id that a client brings to initialize does not become a session's id (fixation)."""
    point = Endpoint(talk, link)
    opening = point.message("initialize", link.opening())
    answer = await point.post(opening, headers={SESSION: MADE_UP})
    check(
        answer.header(SESSION) != MADE_UP, "the id that the client brought became the session's id"
    )
    if not answer.refused and answer.header(SESSION) is None:
        talk.skip("the server gives no session ids")
    answer = await point.post(point.message(), headers={SESSION: MADE_UP})
    check(answer.refused, f"a request with the id that the client brought got {answer}")


@session_management.should("The session goes on, with its own revision and state.")
async def initialize_spares_others(talk: ServerTalk) -> None:
    """An initialize that names somebody's session does not end or take over that session."""
    point, session = await stateful(talk)
    link = await talk.connect()
    other = Endpoint(talk, link)
    opening = other.message("initialize", link.opening())
    answer = await other.post(opening, headers={SESSION: session})
    check(answer.header(SESSION) != session, "initialize was given the id of another session")
    check_served(await point.post(point.message()), "a request of the session that was named")


@session_management.should("A refusal: the request is of one session or the other.")
async def two_ids(talk: ServerTalk, point: StatefulEndpoint, _: Session) -> None:
    """A request with two session ids is served in neither session."""
    other, foreign = await stateful(talk)
    payload = point.plain_payload()
    own = point.head_lines(payload)
    line = f"Mcp-Session-Id: {foreign}".encode()
    for lines in ([*own, line], [line, *own]):
        sent = point.bytes_of(payload, b"Connection: close", lines=lines)
        statuses = [each.status for each in final(await point.pour(sent))]
        fine = len(statuses) == 1 and statuses[0] in CLIENT_ERRORS
        check(fine, f"a request with two session ids got {statuses}, not a refusal")
    check_served(await other.post(other.message()), "a request of the other session")


# Without one, with a wrong one, after its end


@session_management.should("Status 400.")
async def missing_post(point: StatefulEndpoint, _: Session) -> None:
    """A POST without the session id that the server has given gets 400."""
    answer = await point.post(point.message(), headers={SESSION: None})
    check_refused(answer, "a POST without session id", BAD_REQUEST)


@session_management.should("Status 400; 405 where there are no such streams.")
async def missing_get(point: StatefulEndpoint, _: Session) -> None:
    """A GET without the session id gets 400."""
    answer = await point.open(headers=_without_session(point))
    check_refused(answer, "a GET without session id", BAD_REQUEST, METHOD_NOT_ALLOWED)


@session_management.should("Status 400; 405 where clients cannot end sessions.")
async def missing_delete(point: StatefulEndpoint, _: Session) -> None:
    """A DELETE without the session id gets 400, and ends nobody's session."""
    answer = await point.delete(None)
    check_refused(answer, "a DELETE without session id", BAD_REQUEST, METHOD_NOT_ALLOWED)
    check_served(await point.post(point.message()), "a request after a DELETE without session id")


@session_management.should("Status 400, not 202.")
async def missing_notification(point: StatefulEndpoint, _: Session) -> None:
    """A notification without the session id is not taken."""
    cancel = notification("notifications/cancelled", {"requestId": "kit-none"})
    answer = await point.post(cancel, headers={SESSION: None})
    check_refused(answer, "a notification without session id", BAD_REQUEST)


def _without_session(point: Endpoint) -> list[tuple[str, str]]:
    kept = [each for each in point.wire.headers_for(None) if each[0] != SESSION]
    return [("accept", "text/event-stream"), *kept]


@session_management.should(
    "Status 404: the id may have been one, so that the client opens a new session."
)
async def unknown_post(point: StatefulEndpoint, session: Session) -> None:
    """A POST with an id that is no session's gets 404."""
    for found in (MADE_UP, session[:-1], f"{session}x", session[::-1]):
        if read_alike(session, found):
            continue
        answer = await point.post(point.message(), headers={SESSION: found})
        check_refused(answer, "a POST with the id of no session", NOT_FOUND)


@session_management.should("Status 404; 405 where there are no such streams.")
async def unknown_get(point: StatefulEndpoint, _: Session) -> None:
    """A GET with an id that is no session's gets 404."""
    answer = await point.open(headers=[*_without_session(point), (SESSION, MADE_UP)])
    check_refused(answer, "a GET with the id of no session", NOT_FOUND, METHOD_NOT_ALLOWED)


@session_management.should("Status 404; 405 where clients cannot end sessions.")
async def unknown_delete(point: StatefulEndpoint, _: Session) -> None:
    """A DELETE with an id that is no session's gets 404."""
    answer = await point.delete(MADE_UP)
    check_refused(answer, "a DELETE with the id of no session", NOT_FOUND, METHOD_NOT_ALLOWED)


async def ended(talk: ServerTalk) -> tuple[Endpoint, str]:
    """A conversation whose session has been ended by DELETE."""
    point, session = await stateful(talk)
    answer = await point.delete(session)
    need(answer.status != METHOD_NOT_ALLOWED, "clients cannot end sessions")
    check(OK <= answer.status < 300, f"the DELETE of a session got {answer}")
    return point, session


@session_management.should("A status of 2xx; 405 where clients cannot end sessions.")
async def delete_ends(talk: ServerTalk) -> None:
    """DELETE with the session id ends the session."""
    await ended(talk)


@session_management.must("Status 404.")
async def ended_post(talk: ServerTalk) -> None:
    """A POST of a session that has ended gets 404."""
    point, _ = await ended(talk)
    check_refused(await point.post(point.message()), "a POST of an ended session", NOT_FOUND)


@session_management.must("Status 404.")
async def ended_notification(talk: ServerTalk) -> None:
    """A notification of a session that has ended gets 404."""
    point, _ = await ended(talk)
    answer = await point.post(notification("notifications/cancelled", {"requestId": "kit-none"}))
    check_refused(answer, "a notification of an ended session", NOT_FOUND)


@session_management.must("Status 404; 405 where there are no such streams.")
async def ended_get(talk: ServerTalk) -> None:
    """A GET of a session that has ended gets 404."""
    point, _ = await ended(talk)
    answer = await point.open()
    check_refused(answer, "a GET of an ended session", NOT_FOUND, METHOD_NOT_ALLOWED)


@session_management.must("Status 404.")
async def ended_delete(talk: ServerTalk) -> None:
    """A second DELETE of a session gets 404."""
    point, session = await ended(talk)
    answer = await point.delete(session)
    check_refused(answer, "a second DELETE of a session", NOT_FOUND)


@session_management.should("An open GET stream of the session ends with it.")
async def end_closes_streams(point: StatefulEndpoint, session: Session) -> None:
    """The streams of a session end when it does."""
    stream = await point.open()
    need(stream.streams, "the server opens no stream by GET")
    answer = await point.delete(session)
    need(answer.status != METHOD_NOT_ALLOWED, "clients cannot end sessions")
    stream = await point.answer(stream.exchange, 2.0)
    check(stream.done is not None, "the GET stream of a session that has ended stays open")


@session_management.should("The other session is served as before.")
async def end_spares_others(talk: ServerTalk, other: StatefulEndpoint, _: Session) -> None:
    """The end of one session leaves the others alone."""
    await ended(talk)
    check_served(await other.post(other.message()), "a request of another session")


@case.should("session-management/header-name", "MCP-SESSION-ID is Mcp-Session-Id.")
async def session_header_name(point: StatefulEndpoint, session: Session) -> None:
    """The name of the session header has no case."""
    message = point.plain_payload()
    own = [each for each in point.wire.headers_for(message) if each[0] != SESSION]
    for name in ("MCP-SESSION-ID", "MCP-Session-Id", "Mcp-Session-Id"):
        answer = await point.fetch("POST", headers=[*own, (name, session)], body=message)
        check_served(answer, f"a request with {name}")


# The version header of Streamable HTTP

case = page.server(WITH_VERSION_HEADER, bindings=STREAMABLE)

VERSION = "mcp-protocol-version"


@case.must("protocol-version-header/unsupported", "Status 400.")
async def version_unsupported(point: OpenEndpoint) -> None:
    """A request with a version that the server does not speak gets 400."""
    for found in ("1999-12-31", "2099-01-01"):
        answer = await point.post(point.message(), headers={VERSION: found})
        check_refused(answer, f"MCP-Protocol-Version: {found}", BAD_REQUEST)


@case.must("protocol-version-header/invalid", "Status 400.")
async def version_invalid(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request with a version that is none gets 400."""
    for found in ("latest", f"{talk.revision.name}.0", "0", "2025-13-45"):
        answer = await point.post(point.message(), headers={VERSION: found})
        check_refused(answer, f"MCP-Protocol-Version: {found}", BAD_REQUEST)


@case.must("protocol-version-header/invalid-notification", "Status 400.")
async def version_invalid_notification(point: OpenEndpoint) -> None:
    """A notification with a version that is none gets 400."""
    cancel = notification("notifications/cancelled", {"requestId": "kit-none"})
    answer = await point.post(cancel, headers={VERSION: "latest"})
    check_refused(answer, "a notification of version 'latest'", BAD_REQUEST)


@case.must("protocol-version-header", "Status 400; 405 where there are no such streams.")
async def invalid_get(point: OpenEndpoint) -> None:
    """A GET with a version that is none gets 400."""
    own = [each for each in point.wire.headers_for(None) if each[0] != VERSION]
    answer = await point.open(headers=[("accept", "text/event-stream"), *own, (VERSION, "latest")])
    check_refused(answer, "a GET of version 'latest'", BAD_REQUEST, METHOD_NOT_ALLOWED)


@case.must(
    "protocol-version-header/invalid-delete",
    "Status 400, and the session goes on; 405 where clients cannot end sessions.",
)
async def version_invalid_delete(point: StatefulEndpoint, session: Session) -> None:
    """A DELETE with a version that is none gets 400 and ends nothing."""
    answer = await point.delete(session, (VERSION, "latest"))
    check_refused(answer, "a DELETE of version 'latest'", BAD_REQUEST, METHOD_NOT_ALLOWED)
    check_served(await point.post(point.message()), "a request after a DELETE that was refused")


@case.should(
    "protocol-version-header/absent", "Served: by the version that was agreed on, or as 2025-03-26."
)
async def version_absent(point: OpenEndpoint) -> None:
    """A request without the version header is served."""
    answer = await point.post(point.message(), headers={VERSION: None})
    check_served(answer, "a request without MCP-Protocol-Version")


@case.should("protocol-version-header/on-initialize", "The handshake succeeds.")
async def version_on_initialize(talk: ServerTalk, link: NewLink) -> None:
    """An initialize that carries the header already is served."""
    point = Endpoint(talk, link)
    message = point.message("initialize", link.opening())
    answer = await point.post(message, headers={VERSION: talk.revision.name})
    check_served(answer, f"initialize with MCP-Protocol-Version: {talk.revision.name}")
