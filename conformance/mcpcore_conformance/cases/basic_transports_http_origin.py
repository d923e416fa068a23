"""Cases of the page basic/transports/streamable-http: who may call from a browser (rebinding)."""

from urllib.parse import urlsplit

from mcpcore_conformance.kit.endpoint import (
    METHOD_NOT_ALLOWED,
    SINCE_STREAMABLE,
    Answer,
    Endpoint,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import SINCE_2025_11_25, STREAMABLE, Page
from mcpcore_conformance.kit.probes import plain_request
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Inconclusive, check

page = Page("basic/transports/streamable-http")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)

FORBIDDEN = 403
SAYS_403 = SINCE_2025_11_25
"""Revisions that name the status; before, any refusal will do."""
EVIL = "http://evil.example"
ALLOW = "access-control-allow-origin"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_forbidden(talk: ServerTalk, answer: Answer, what: str, *others: int) -> None:
    """Check that a bad Origin was refused as the revision has it."""
    fine = answer.status == FORBIDDEN if talk.revision in SAYS_403 else answer.refused
    fine = fine or answer.status in others
    check(fine, f"{what} got {answer}, not status 403")


async def check_origin(talk: ServerTalk, *origins: str) -> None:
    """Check that requests from these origins are refused, with a Host that is right."""
    point = await endpoint(talk)
    for origin in origins:
        answer = await point.post(point.message(), headers={"origin": origin})
        check_forbidden(talk, answer, f"a request with Origin: {origin}")


def local(point: Endpoint) -> bool:
    """Whether the server is on this machine, under a name of loopback."""
    return urlsplit(point.wire.url).hostname in LOOPBACK


@case.must(
    "security-endpoint/foreign-origin",
    "Status 403 (before 2025-11-25: a refusal), though Host is right.",
)
async def foreign_origin(talk: ServerTalk) -> None:
    """A request that a foreign page has sent is refused."""
    await check_origin(talk, EVIL, "https://evil.example", "http://evil.example:80")


@case.must(
    "security-endpoint/look-alike-origin",
    "Status 403: what only contains the name of the server is foreign.",
)
async def look_alike_origin(talk: ServerTalk) -> None:
    """An origin whose name begins or ends like the server's is foreign."""
    point = await endpoint(talk)
    host = urlsplit(point.wire.url).hostname or "localhost"
    for origin in (
        f"http://{host}.evil.example",
        f"http://evil{host}.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
    ):
        answer = await point.post(point.message(), headers={"origin": origin})
        check_forbidden(talk, answer, f"a request with Origin: {origin}")


@case.should("security-endpoint/origin-with-user", "Status 403: the host is behind the @.")
async def origin_with_user(talk: ServerTalk) -> None:
    """An origin that has the server's name where a user's would be is foreign."""
    point = await endpoint(talk)
    for origin in (f"http://{point.wire.authority}@evil.example", "http://localhost@evil.example"):
        answer = await point.post(point.message(), headers={"origin": origin})
        check_forbidden(talk, answer, f"a request with Origin: {origin}")


@case.must("security-endpoint/foreign-address", "Status 403.")
async def foreign_address(talk: ServerTalk) -> None:
    """Addresses of other machines are foreign, those of IPv6 as well."""
    await check_origin(
        talk, "http://[2001:db8::1]", "http://[::ffff:192.0.2.1]:8000", "http://192.0.2.1"
    )


@case.should(
    "security-endpoint/opaque-origin",
    "Status 403: any page can send from a frame that has no origin.",
)
async def opaque_origin(talk: ServerTalk) -> None:
    """The origin null is nobody's."""
    await check_origin(talk, "null")


@case.should("security-endpoint/malformed-origin", "Status 403.")
async def malformed_origin(talk: ServerTalk) -> None:
    """What is no origin is refused."""
    point = await endpoint(talk)
    own = point.wire.authority
    await check_origin(
        talk, "evil.example", "://", "file://", "http://", "*", f"http://{own}.evil.example"
    )


@case.may(
    "security-endpoint/other-port", "Status 403: what listens at another port is another program."
)
async def other_port(talk: ServerTalk) -> None:
    """An origin at another port of the same host is another one."""
    point = await endpoint(talk)
    host = point.wire.authority.rpartition(":")[0] or point.wire.authority
    answer = await point.post(point.message(), headers={"origin": f"http://{host}:1"})
    check_forbidden(talk, answer, f"a request with Origin: http://{host}:1")


@case.should("security-endpoint/two-origins", "A refusal: one of them is foreign.")
async def two_origins(talk: ServerTalk) -> None:
    """A second Origin does not hide a foreign one."""
    point = await endpoint(talk)
    own = f"{urlsplit(point.wire.url).scheme}://{point.wire.authority}"
    for pair in ((own, EVIL), (EVIL, own)):
        payload = point.plain_payload()
        lines = [f"Origin: {each}".encode() for each in pair]
        found = await point.pour(point.bytes_of(payload, *lines, b"Connection: close"))
        statuses = [each.status for each in final(found)]
        check(
            len(statuses) == 1 and statuses[0] in range(400, 500),
            f"a request with the origins {pair} got {statuses}, not a refusal",
        )


@case.must(
    "security-endpoint/foreign-origin-get", "Status 403; 405 where there are no such streams."
)
async def foreign_origin_get(talk: ServerTalk) -> None:
    """A foreign page cannot open a stream."""
    point = await endpoint(talk)
    own = point.wire.headers_for(None)
    headers = [("accept", "text/event-stream"), *own, ("origin", EVIL)]
    answer = await point.open(headers=headers)
    check_forbidden(talk, answer, f"a GET with Origin: {EVIL}", METHOD_NOT_ALLOWED)


@case.must(
    "security-endpoint/foreign-origin-delete",
    "Status 403 and the session goes on; 405 where there is nothing to delete.",
)
async def foreign_origin_delete(talk: ServerTalk) -> None:
    """A foreign page cannot end a session."""
    point = await endpoint(talk)
    answer = await point.delete(point.wire.session, ("origin", EVIL))
    check_forbidden(talk, answer, f"a DELETE with Origin: {EVIL}", METHOD_NOT_ALLOWED)
    check_served(await point.post(point.message()), "a request after a DELETE that was refused")


@case.must("security-endpoint/foreign-origin-notification", "Status 403, not 202.")
async def foreign_origin_notification(talk: ServerTalk) -> None:
    """A notification that a foreign page has sent is refused."""
    point = await endpoint(talk)
    cancel = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": "kit-none"},
    }
    answer = await point.post(cancel, headers={"origin": EVIL})
    check_forbidden(talk, answer, f"a notification with Origin: {EVIL}")


@case.must(
    "security-endpoint/no-origin", "Served: programs that are no browsers send none.", bare=True
)
async def no_origin(talk: ServerTalk) -> None:
    """A request without Origin is served."""
    link = await talk.connect()
    wire = talk.http(link)
    first = await _begin(link)
    if first.refused:
        own = f"{urlsplit(wire.url).scheme}://{wire.authority}"
        second = await _begin(await talk.connect(headers=[("origin", own)]))
        check(second.refused, f"a request without Origin got {first}; with one it is served")
        if FORBIDDEN in (first.status, second.status):
            raise Inconclusive(f"a request got {first}, with Origin: {own} {second}")
        talk.skip(f"the server does not speak {talk.revision.name}: it answers with {first}")
    point = await endpoint(talk)
    check_served(await point.post(point.message()), "a request without Origin")


async def _begin(link: Link) -> Reply:
    """Say what a conversation begins with."""
    if link.revision.handshake:
        return await link.request("initialize", link.opening())
    return await link.request(plain_request(link))


@case.should("security-endpoint/own-origin", "Served.")
async def own_origin(talk: ServerTalk) -> None:
    """A request from the server's own origin is served."""
    point = await endpoint(talk)
    own = f"{urlsplit(point.wire.url).scheme}://{point.wire.authority}"
    answer = await point.post(point.message(), headers={"origin": own})
    check_served(answer, f"a request with Origin: {own}")


@case.should(
    "security-endpoint/foreign-host",
    "A refusal: a name that was bound anew leads here, and the browser sends no Origin.",
)
async def foreign_host(talk: ServerTalk) -> None:
    """A local server does not answer to names that are not its own."""
    point = await endpoint(talk)
    if not local(point):
        talk.skip("the server is not a local one")
    port = point.wire.authority.rpartition(":")[2]
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "192.0.2.1",
        "[2001:db8::1]",
    ):
        payload = point.plain_payload()
        sent = point.bytes_of(payload, b"Connection: close", host=host.encode())
        statuses = [each.status for each in final(await point.pour(sent))]
        check(
            len(statuses) == 1 and statuses[0] in range(400, 500),
            f"a request with Host: {host} got {statuses}, not a refusal",
        )


@case.should(
    "security-endpoint/nothing-allowed",
    "No Access-Control-Allow-Origin for a page that may not call.",
)
async def nothing_allowed(talk: ServerTalk) -> None:
    """A foreign page is not allowed to read answers."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={"origin": EVIL})
    found = answer.header(ALLOW)
    check(found not in ("*", EVIL), f"{ALLOW} is {found!r} for a request from {EVIL}")


@case.should(
    "security-endpoint/preflight", "No Access-Control-Allow-Origin for a page that may not call."
)
async def preflight(talk: ServerTalk) -> None:
    """A foreign page that asks whether it may call is not told that it may."""
    point = await endpoint(talk)
    headers = [
        ("origin", EVIL),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,mcp-session-id"),
    ]
    answer = await point.fetch("OPTIONS", headers=headers)
    found = answer.header(ALLOW)
    check(found not in ("*", EVIL), f"{ALLOW} is {found!r} for a preflight from {EVIL}")
    check(answer.status < 500, f"a preflight got {answer}")


@case.should(
    "security-endpoint/loopback-only",
    "A server that runs locally is not to be reached at other addresses.",
)
async def loopback_only(talk: ServerTalk) -> None:
    """A local server listens at 127.0.0.1, not at every address of the machine."""
    point = await endpoint(talk)
    if urlsplit(point.wire.url).hostname not in ("127.0.0.1", "localhost"):
        talk.skip("the server is not a local one")
    # who listens everywhere listens at every address of loopback, too
    reached = await point.wire.reachable("127.0.0.2")
    check(not reached, "the server can be reached at 127.0.0.2: it listens at every address")
