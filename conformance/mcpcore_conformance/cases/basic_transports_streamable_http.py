"""Cases of the page basic/transports/streamable-http: posting, answers, origins, eras."""

from urllib.parse import urlsplit

from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore_conformance.cases.basic_transports_streams import check_apart, reported
from mcpcore_conformance.kit.endpoint import (
    ACCEPTED,
    CLIENT_ERRORS,
    KINDS,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OK,
    SERVER_ERRORS,
    SINCE_STREAMABLE,
    Answer,
    Endpoint,
    OpenEndpoint,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import acknowledged, listen
from mcpcore_conformance.kit.messages import Kind, notification, result
from mcpcore_conformance.kit.model import MODERN, SINCE_2025_11_25, STREAMABLE, Page
from mcpcore_conformance.kit.probes import plain_request
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.running import AFTERWARDS, LONGER, over_too_soon, reporting
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, NewLink, ServerTalk
from mcpcore_conformance.kit.trying import asker
from mcpcore_conformance.kit.verdicts import Inconclusive, check, need
from mcpcore_conformance.kit.watching import any_call, watched

page = Page("basic/transports/streamable-http")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)
sending_messages = case.at("sending-messages")
receiving_messages = case.at("receiving-messages")
case_sensitivity = case.at("case-sensitivity")
security_endpoint = case.at("security-endpoint")

TOKEN = "kit-progress"  # noqa: S105 - of progress


@sending_messages.must("Status 200 with application/json or text/event-stream.")
async def answered_as_json_or_events(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request is answered with one JSON object or with an event stream."""
    method, params = talk.any_request()
    for message in (point.message(), point.message(method, params)):
        answer = await point.post(message)
        check_served(answer, message["method"])
        check(answer.kind in KINDS, f"{message['method']} was answered as {answer.kind!r}")


@sending_messages.must("The response to a POST brings exactly one JSON-RPC response, with its id.")
async def one_answer_per_request(talk: ServerTalk, point: OpenEndpoint) -> None:
    """The response to the POST of a request brings that request's response, once."""
    method, params = talk.any_request()
    identifier = talk.fresh_id()
    answer = await point.post(point.message(method, params, id=identifier))
    ids = [each.id for each in answer.messages if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(ids == [identifier], f"the request {identifier!r} was answered with the ids {ids}")


@sending_messages.must(
    "Status 202; a notification that the server does not take may get an error status."
)
async def notification_accepted(talk: ServerTalk) -> None:
    """An accepted notification gets status 202."""
    point, answer = await _notified(talk)
    if not point.link.revision.handshake and answer.refused:
        return
    check(answer.status == ACCEPTED, f"a notification got {answer}, not status 202")


@sending_messages.must("Nothing follows the head of a 202.")
async def accepted_without_body(talk: ServerTalk) -> None:
    """The 202 for a notification has no body."""
    _, answer = await _notified(talk)
    need(not answer.refused, "the server takes no such notification")
    check(not answer.body, f"the response to a notification has the body {answer.body[:100]!r}")
    check(not answer.messages, "the response to a notification brought a message")


async def _notified(talk: ServerTalk) -> tuple[Endpoint, Answer]:
    link = await talk.connect()
    point = Endpoint(talk, link)
    if link.revision.handshake:
        await link.ask("initialize", link.opening())
        return point, await point.post(notification("notifications/initialized"))
    return point, await point.post(notification("notifications/kit/unknown"))


# the page demands it of notifications and responses alone, which these bodies are not
@sending_messages.should("A status of 4xx, with or without a JSON-RPC error.")
async def refused_with_error_status(point: OpenEndpoint) -> None:
    """A body that is no JSON-RPC message gets an error status."""
    for what, body in (
        ("a body that is no JSON", b'{"jsonrpc":"2.0",'),
        ("an empty body", b""),
        ("a JSON string", b'"ping"'),
        ("an object that is no message", b'{"jsonrpc":"2.0"}'),
    ):
        answer = await point.post(body, headers={"mcp-method": point.plain})
        check(answer.status in CLIENT_ERRORS, f"{what} got {answer}, not a status of 4xx")


@sending_messages.should("A status of 4xx: clients send no responses in this revision.", MODERN)
async def response_refused(point: OpenEndpoint) -> None:
    """A JSON-RPC response that a client posts is refused."""
    answer = await point.post(result(7, {"resultType": "complete"}))
    check(answer.status in CLIENT_ERRORS, f"a response got {answer}, not a status of 4xx")


@sending_messages.should(
    "An Accept that names both kinds is understood whatever its order, weights and case."
)
async def accept_in_any_notation(point: OpenEndpoint) -> None:
    """Accept lists both kinds in another order, with weights, in capitals or in two lines."""
    for accept in (
        "text/event-stream, application/json",
        "text/event-stream;q=0.9,application/json;q=1.0",
        "Text/Event-Stream, Application/JSON",
        "text/html, application/json , text/event-stream, */*;q=0.1",
    ):
        answer = await point.post(point.message(), headers={"accept": accept})
        check_served(answer, f"Accept: {accept}")


@sending_messages.may("Accept: */* is as good as naming both kinds.")
async def accept_anything(point: OpenEndpoint) -> None:
    """A client that accepts everything is served."""
    answer = await point.post(point.message(), headers={"accept": "*/*"})
    check_served(answer, "Accept: */*")


@sending_messages.may("Status 406 where the client takes neither kind.")
async def accept_nothing_fitting(point: OpenEndpoint) -> None:
    """A client that accepts neither JSON nor events gets 406."""
    answer = await point.post(point.message(), headers={"accept": "text/html"})
    check(answer.status == 406, f"Accept: text/html got {answer}, not status 406")


@sending_messages.should("The request is served or refused with 4xx.")
async def accept_missing(point: OpenEndpoint) -> None:
    """A request without Accept does no harm."""
    answer = await point.post(point.message(), headers={"accept": None})
    fine = answer.status in CLIENT_ERRORS or answer.result is not None
    check(fine, f"a request without Accept got {answer}")
    await point.link.alive()


@sending_messages.should("Content-Type: application/json; charset=utf-8 is JSON, in any case.")
async def content_type_parameters(point: OpenEndpoint) -> None:
    """A parameter of the content type, and its case, mean nothing."""
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;"):
        answer = await point.post(point.message(), headers={"content-type": kind})
        check_served(answer, f"Content-Type: {kind}")


@sending_messages.should(
    "Status 415 or another 4xx: pages in browsers may send such bodies to any site."
)
async def content_type_other(point: OpenEndpoint) -> None:
    """A body that does not call itself JSON is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await point.post(point.message(), headers={"content-type": kind})
        check(answer.status in CLIENT_ERRORS, f"Content-Type: {kind} got {answer}, not a 4xx")


@sending_messages.should("PUT and PATCH get 405 (or 404, 501), and are not taken for a POST.")
async def other_methods(point: OpenEndpoint) -> None:
    """Methods that the endpoint does not have are not served."""
    for method in ("PUT", "PATCH"):
        message = point.plain_payload()
        headers = point.wire.headers_for(message)
        answer = await point.fetch(method, headers=headers, body=message)
        check(
            answer.status in (METHOD_NOT_ALLOWED, NOT_FOUND, 501),
            f"{method} got {answer}, not status 405",
        )


@receiving_messages.should(
    "The event stream ends, in order, behind the response.", needs=("found:stream",)
)
async def response_ends_stream(talk: ServerTalk) -> None:
    """The response is the last thing on its stream."""
    point, answer = await _streamed(talk)
    check(answer.done is not None, "the stream stays open behind the response")
    check(answer.done is None or answer.done.clean, "the stream was cut off, not ended")
    last = answer.messages[-1]
    check(last.kind is Kind.RESULT, f"the last message on the stream is a {last.kind}")
    await point.link.alive()


@receiving_messages.must(
    "Progress carries the token of the request whose stream it is on.", needs=("found:progress",)
)
async def only_related_notifications(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Of two calls at a time, each stream carries the notifications of its own call."""
    call = await watched(talk, "progress")
    sent = [await point.call(call, f"{TOKEN}-{number}") for number in range(3)]
    for number, each in enumerate(sent):
        answer = await point.answer(each.exchange)
        check_served(answer, "a call with progress")
        progress = [one for one in answer.messages if one.method == "notifications/progress"]
        tokens = {str(one.params.get("progressToken")) for one in progress}
        others = sorted(tokens - {f"{TOKEN}-{number}"})
        check(not others, f"the stream of call {number} has progress of {others}")


@receiving_messages.should(
    "X-Accel-Buffering: no, so that proxies pass events on at once.",
    MODERN,
    needs=("found:stream",),
)
async def no_buffering(talk: ServerTalk) -> None:
    """An event stream asks proxies not to gather it."""
    _, answer = await _streamed(talk)
    found = answer.header("x-accel-buffering")
    check(
        found is not None and found.lower() == "no",
        f"X-Accel-Buffering of an event stream is {found!r}",
    )


@receiving_messages.must(
    "What the server wants to know is asked in a result; no request is on the stream.",
    MODERN,
    needs=("found:question",),
)
async def no_requests(talk: ServerTalk) -> None:
    """No stream carries a request of the server."""
    which = await asker(talk, "question", "test_sampling")
    point = await endpoint(talk)
    message = point.message(which.method, which.params)
    answer = await point.post(message)
    asked = [each.method for each in answer.messages if each.kind is Kind.REQUEST]
    check(not asked and not point.link.asked, f"the server sent the requests {asked}")
    check_served(answer, "a call that asks for something")


async def _streamed(talk: ServerTalk) -> tuple[Endpoint, Answer]:
    """A request whose answer comes as an event stream."""
    point = await endpoint(talk)
    sent = await point.call(await watched(talk, "stream"), TOKEN)
    answer = await point.answer(sent.exchange)
    check_served(answer, "a request with a token for progress")
    need(answer.streams, "the server answers with JSON")
    return point, answer


@case_sensitivity.must("A request whose header names are all in capitals, or all small, is served.")
async def header_names(point: OpenEndpoint) -> None:
    """Header names are compared without regard to case."""
    for change in (str.upper, str.lower, str.title):
        message = point.plain_payload()
        headers = [(change(name), value) for name, value in point.wire.headers_for(message)]
        answer = await point.fetch("POST", headers=headers, body=message)
        check_served(answer, f"a request with names like {headers[0][0]}")


@case_sensitivity.must("Blanks and tabs around a value are not part of it (RFC 9110 section 5.5).")
async def blanks_around_values(point: OpenEndpoint) -> None:
    """White space around header values is left out before they are looked at."""
    payload = point.plain_payload()
    lines = [b":  \t".join(line.split(b": ", 1)) + b" \t " for line in point.head_lines(payload)]
    found = await point.pour(point.bytes_of(payload, b"Connection: close", lines=lines))
    statuses = [each.status for each in final(found)]
    check(statuses == [OK], f"a request with blanks around its header values got {statuses}")


@sending_messages.should("What a client does wrong gets a status of 4xx, never one of 5xx.")
async def no_server_error(point: OpenEndpoint) -> None:
    """Odd requests are not the server's fault."""
    message = point.plain_payload()
    own = point.wire.headers_for(message)
    for what, extra in (
        ("a very long header", ("x-kit", "x" * 4000)),
        ("a header outside ASCII", ("x-kit", "\u00e9\u00e8")),
        ("an Accept that is none", ("accept", ";;;=,,")),
        ("a Content-Type that is none", ("content-type", "///;=")),
        ("an Authorization that is none", ("authorization", "Bearer")),
        ("a content coding that nobody has", ("content-encoding", "kit")),
    ):
        headers = [each for each in own if each[0] != extra[0]]
        answer = await point.fetch("POST", headers=[*headers, extra], body=message)
        check(answer.status not in SERVER_ERRORS, f"{what} got {answer}")
        check(answer.status >= OK, f"{what} got {answer}")
    await point.link.alive()


# Who may call from a browser (rebinding)

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


@security_endpoint.must("Status 403 (before 2025-11-25: a refusal), though Host is right.")
async def foreign_origin(talk: ServerTalk) -> None:
    """A request that a foreign page has sent is refused."""
    await check_origin(talk, EVIL, "https://evil.example", "http://evil.example:80")


@security_endpoint.must("Status 403: what only contains the name of the server is foreign.")
async def look_alike_origin(talk: ServerTalk, point: OpenEndpoint) -> None:
    """An origin whose name begins or ends like the server's is foreign."""
    host = urlsplit(point.wire.url).hostname or "localhost"
    for origin in (
        f"http://{host}.evil.example",
        f"http://evil{host}.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
    ):
        answer = await point.post(point.message(), headers={"origin": origin})
        check_forbidden(talk, answer, f"a request with Origin: {origin}")


@security_endpoint.should("Status 403: the host is behind the @.")
async def origin_with_user(talk: ServerTalk, point: OpenEndpoint) -> None:
    """An origin that has the server's name where a user's would be is foreign."""
    for origin in (f"http://{point.wire.authority}@evil.example", "http://localhost@evil.example"):
        answer = await point.post(point.message(), headers={"origin": origin})
        check_forbidden(talk, answer, f"a request with Origin: {origin}")


@security_endpoint.must("Status 403.")
async def foreign_address(talk: ServerTalk) -> None:
    """Addresses of other machines are foreign, those of IPv6 as well."""
    await check_origin(
        talk, "http://[2001:db8::1]", "http://[::ffff:192.0.2.1]:8000", "http://192.0.2.1"
    )


@security_endpoint.should("Status 403: any page can send from a frame that has no origin.")
async def opaque_origin(talk: ServerTalk) -> None:
    """The origin null is nobody's."""
    await check_origin(talk, "null")


@security_endpoint.should("Status 403.")
async def malformed_origin(talk: ServerTalk, point: OpenEndpoint) -> None:
    """What is no origin is refused."""
    own = point.wire.authority
    await check_origin(
        talk, "evil.example", "://", "file://", "http://", "*", f"http://{own}.evil.example"
    )


@security_endpoint.may("Status 403: what listens at another port is another program.")
async def other_port(talk: ServerTalk, point: OpenEndpoint) -> None:
    """An origin at another port of the same host is another one."""
    host = point.wire.authority.rpartition(":")[0] or point.wire.authority
    answer = await point.post(point.message(), headers={"origin": f"http://{host}:1"})
    check_forbidden(talk, answer, f"a request with Origin: http://{host}:1")


@security_endpoint.should("A refusal: one of them is foreign.")
async def two_origins(point: OpenEndpoint) -> None:
    """A second Origin does not hide a foreign one."""
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


@security_endpoint.must("Status 403; 405 where there are no such streams.")
async def foreign_origin_get(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A foreign page cannot open a stream."""
    own = point.wire.headers_for(None)
    headers = [("accept", "text/event-stream"), *own, ("origin", EVIL)]
    answer = await point.open(headers=headers)
    check_forbidden(talk, answer, f"a GET with Origin: {EVIL}", METHOD_NOT_ALLOWED)


@security_endpoint.must("Status 403 and the session goes on; 405 where there is nothing to delete.")
async def foreign_origin_delete(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A foreign page cannot end a session."""
    answer = await point.delete(point.wire.session, ("origin", EVIL))
    check_forbidden(talk, answer, f"a DELETE with Origin: {EVIL}", METHOD_NOT_ALLOWED)
    check_served(await point.post(point.message()), "a request after a DELETE that was refused")


@security_endpoint.must("Status 403, not 202.")
async def foreign_origin_notification(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A notification that a foreign page has sent is refused."""
    cancel = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": "kit-none"},
    }
    answer = await point.post(cancel, headers={"origin": EVIL})
    check_forbidden(talk, answer, f"a notification with Origin: {EVIL}")


@security_endpoint.must("Served: programs that are no browsers send none.", bare=True)
async def no_origin(talk: ServerTalk, link: NewLink) -> None:
    """A request without Origin is served."""
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


@security_endpoint.should("Served.")
async def own_origin(point: OpenEndpoint) -> None:
    """A request from the server's own origin is served."""
    own = f"{urlsplit(point.wire.url).scheme}://{point.wire.authority}"
    answer = await point.post(point.message(), headers={"origin": own})
    check_served(answer, f"a request with Origin: {own}")


@security_endpoint.should(
    "A refusal: a name that was bound anew leads here, and the browser sends no Origin."
)
async def foreign_host(point: OpenEndpoint) -> None:
    """A local server does not answer to names that are not its own."""
    need(local(point), "the server is not a local one")
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


@security_endpoint.should("No Access-Control-Allow-Origin for a page that may not call.")
async def nothing_allowed(point: OpenEndpoint) -> None:
    """A foreign page is not allowed to read answers."""
    answer = await point.post(point.message(), headers={"origin": EVIL})
    found = answer.header(ALLOW)
    check(found not in ("*", EVIL), f"{ALLOW} is {found!r} for a request from {EVIL}")


@security_endpoint.should("No Access-Control-Allow-Origin for a page that may not call.")
async def preflight(point: OpenEndpoint) -> None:
    """A foreign page that asks whether it may call is not told that it may."""
    headers = [
        ("origin", EVIL),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,mcp-session-id"),
    ]
    answer = await point.fetch("OPTIONS", headers=headers)
    found = answer.header(ALLOW)
    check(found not in ("*", EVIL), f"{ALLOW} is {found!r} for a preflight from {EVIL}")
    check(answer.status < 500, f"a preflight got {answer}")


@security_endpoint.should("A server that runs locally is not to be reached at other addresses.")
async def loopback_only(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A local server listens at 127.0.0.1, not at every address of the machine."""
    if urlsplit(point.wire.url).hostname not in ("127.0.0.1", "localhost"):
        talk.skip("the server is not a local one")
    # who listens everywhere listens at every address of loopback, too
    reached = await point.wire.reachable("127.0.0.2")
    check(not reached, "the server can be reached at 127.0.0.2: it listens at every address")


# Closing, and what older revisions had

case = page.server(MODERN, bindings=STREAMABLE)
cancellation = case.at("cancellation")
receiving_messages_cases = case.at("receiving-messages")

SESSION = "mcp-session-id"
PROGRESS = "notifications/progress"
LISTS_CHANGED = "notifications/tools/list_changed"


async def speaks_older(talk: ServerTalk) -> bool:
    """Whether the server takes the handshake of older revisions, so that it has their verbs."""
    link = await talk.connect(revision=LATEST_LEGACY)
    reply = await link.request("initialize", link.opening())
    return reply.good


async def check_old_verb(talk: ServerTalk, method: str, answer: Answer) -> None:
    """405 is due from a server of this revision alone; another may look for a session first."""
    if answer.status == METHOD_NOT_ALLOWED:
        return
    check(answer.status in CLIENT_ERRORS, f"{method} in this revision got {answer}, not 405")
    check(
        await speaks_older(talk),
        f"{method} got {answer}, not 405, though the server speaks no older revision",
    )


# What older revisions had


@case.should(
    "earlier-streamable-http-revisions/get",
    "Status 405; a server of older revisions may miss a session first.",
)
async def old_get(talk: ServerTalk, point: OpenEndpoint) -> None:
    """There is no stream to GET in this revision."""
    headers = [("accept", "text/event-stream"), ("mcp-protocol-version", talk.revision.name)]
    await check_old_verb(talk, "GET", await point.open(headers=headers))


@case.should(
    "earlier-streamable-http-revisions/delete",
    "Status 405; a server of older revisions may miss a session first.",
)
async def old_delete(talk: ServerTalk, point: OpenEndpoint) -> None:
    """There is nothing to DELETE in this revision."""
    headers = [("mcp-protocol-version", talk.revision.name)]
    await check_old_verb(talk, "DELETE", await point.fetch("DELETE", headers=headers))


@case.should("earlier-streamable-http-revisions", "The request is served as without the header.")
async def session_ignored(point: OpenEndpoint) -> None:
    """A session id that an older client may send means nothing."""
    answer = await point.post(point.message(), headers={SESSION: "kit-session-of-nobody"})
    check_served(answer, "a request with Mcp-Session-Id")


@case.should(
    "earlier-streamable-http-revisions",
    "No response has Mcp-Session-Id, neither a new one nor the client's.",
)
async def no_session(point: OpenEndpoint, method: AnyMethod, params: AnyParams) -> None:
    """The server makes no session ids and repeats none."""
    for message in (point.message(), point.message(method, params), point.message("kit/none")):
        for headers in ({}, {SESSION: "kit-session-of-nobody"}):
            answer = await point.post(message, headers=headers)
            found = answer.header(SESSION)
            check(found is None, f"the response to {message['method']} has the session {found!r}")


@case.should("earlier-streamable-http-revisions", "The request is served as without the header.")
async def event_id_ignored(point: OpenEndpoint) -> None:
    """A Last-Event-ID means nothing."""
    answer = await point.post(point.message(), headers={"last-event-id": "kit-1"})
    check_served(answer, "a request with Last-Event-ID")


# Closing


async def cancelled(point: Endpoint, label: str) -> int:
    """How many waits with that label were cancelled."""
    call = {"name": "test_cancelled_count", "arguments": {"label": label}}
    result = await point.link.ask("tools/call", call)
    return int(result["content"][0]["text"])


async def waiting(point: Endpoint, label: str, seconds: float, id: str) -> int:
    """Begin a call that waits, and return its exchange as soon as its stream is open."""
    call = {
        "name": "test_wait",
        "arguments": {"seconds": seconds, "label": label},
        "_meta": {"progressToken": label},
    }
    sent = await point.link.say(point.message("tools/call", call, id=id))
    await point.begun(sent.exchange)
    return sent.exchange


@cancellation.must(
    "The call is cancelled as soon as practical.",
    needs=("tool:test_wait", "tool:test_cancelled_count"),
)
async def closing_cancels(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A client that closes the response stream cancels its request."""
    label = str(talk.fresh_id())
    before = await cancelled(point, label)
    await point.wire.cut(await waiting(point, label, 20.0, label))
    seen = await _is_cancelled(point, label, before)
    check(seen, "two seconds after its stream was closed the call was still running")


async def _is_cancelled(point: Endpoint, label: str, before: int) -> bool:
    """Whether a wait is cancelled within two seconds."""
    for _ in range(100):
        if await cancelled(point, label) > before:
            return True
        await point.talk.advance(0.02)
    return False


@cancellation.must(
    "The other call, of the same id, runs to its end.",
    needs=("tool:test_wait", "tool:test_cancelled_count"),
)
async def closing_spares_others(talk: ServerTalk) -> None:
    """Closing one stream cancels the request of that stream alone, whatever the ids."""
    first, second = await endpoint(talk), await endpoint(talk)
    for seconds in LONGER:
        label = str(talk.fresh_id())
        before = await cancelled(second, label)
        kept = await waiting(first, f"{label}-kept", seconds, "same")
        await second.wire.cut(await waiting(second, label, 20.0, "same"))
        seen = await _is_cancelled(second, label, before)
        await first.link.fence()
        early = first.so_far(kept).result is not None
        answer = await first.answer(kept, first.link.patience + seconds)
        check_served(answer, "a call beside one that was cancelled")
        if seen and not early:
            return
    raise over_too_soon("the end of the other stream")


@receiving_messages_cases.must("Each response is on the response to its own POST.")
async def equal_ids(talk: ServerTalk) -> None:
    """Two clients use one request id and one progress token at the same time."""
    points = [await endpoint(talk), await endpoint(talk)]
    call, token = any_call(talk), str(talk.fresh_id())
    sent = [await each.call(call, token, id="same") for each in points]
    for point, each in zip(points, sent, strict=True):
        answer = await point.answer(each.exchange)
        check_served(answer, "a call with an id that another client uses")
        await check_apart(point, call, reported(answer, token), "a client")


# Which notification goes where


@receiving_messages_cases.must(
    "Progress and log messages come on the stream of their request alone.",
    needs=("tools.listChanged", "found:progress"),
)
async def no_progress_on_listen(talk: ServerTalk, point: OpenEndpoint) -> None:
    """What belongs to a request does not go over a stream of subscriptions/listen."""
    listening = await listen(point.link, {"toolsListChanged": True})
    await acknowledged(point.link, listening)
    sent = await point.call(await watched(talk, "progress"), "kit")
    check_served(await point.answer(sent.exchange), "a call with progress")
    await point.link.quiet()
    strays = [
        each.method
        for each in point.so_far(listening.exchange).messages
        if each.method in (PROGRESS, "notifications/message")
    ]
    check(not strays, f"the stream of subscriptions/listen brought {strays}")


@receiving_messages_cases.must(
    "Changes come on the streams of subscriptions/listen alone.",
    needs=("tools.listChanged", "tool:test_trigger_tool_change", "tool:test_tool_with_progress"),
)
async def no_changes_on_calls(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A change that somebody has subscribed to does not go over the stream of a call.

    Only of the fixture it is known what changes a list, and what leaves its stream open meanwhile.
    """
    listening = await listen(point.link, {"toolsListChanged": True})
    await acknowledged(point.link, listening)
    change = {"name": "test_trigger_tool_change"}
    for pause, params in reporting(talk):
        call = {**params, "_meta": {"progressToken": "kit"}}
        running = await point.link.say(point.message("tools/call", call))
        await point.begun(running.exchange)
        changing = await point.post(point.message("tools/call", change))
        check_served(changing, "the call that changes the list")
        early = point.so_far(running.exchange).result is not None
        patience = point.link.patience + AFTERWARDS * pause
        for answer in (changing, await point.answer(running.exchange, patience)):
            strays = [each.method for each in answer.messages if each.method == LISTS_CHANGED]
            check(not strays, f"{LISTS_CHANGED} came on the stream of a call")
        if not early:
            return
    raise over_too_soon("the call that changes the list")
