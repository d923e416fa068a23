"""Cases of the page basic/transports/streamable-http: how messages are posted and answered."""

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
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.messages import Kind, notification, result
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import asker
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.watching import watched

page = Page("basic/transports/streamable-http")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)

TOKEN = "kit-progress"  # noqa: S105 - of progress


@case.must(
    "sending-messages/answered-as-json-or-events",
    "Status 200 with application/json or text/event-stream.",
)
async def answered_as_json_or_events(talk: ServerTalk) -> None:
    """A request is answered with one JSON object or with an event stream."""
    point = await endpoint(talk)
    method, params = talk.any_request()
    for message in (point.message(), point.message(method, params)):
        answer = await point.post(message)
        check_served(answer, message["method"])
        check(answer.kind in KINDS, f"{message['method']} was answered as {answer.kind!r}")


@case.must(
    "sending-messages/one-answer-per-request",
    "The response to a POST brings exactly one JSON-RPC response, with its id.",
)
async def one_answer_per_request(talk: ServerTalk) -> None:
    """The response to the POST of a request brings that request's response, once."""
    point = await endpoint(talk)
    method, params = talk.any_request()
    identifier = talk.fresh_id()
    answer = await point.post(point.message(method, params, id=identifier))
    ids = [each.id for each in answer.messages if each.kind in (Kind.RESULT, Kind.ERROR)]
    check(ids == [identifier], f"the request {identifier!r} was answered with the ids {ids}")


@case.must(
    "sending-messages/notification-accepted",
    "Status 202; a notification that the server does not take may get an error status.",
)
async def notification_accepted(talk: ServerTalk) -> None:
    """An accepted notification gets status 202."""
    point, answer = await _notified(talk)
    if not point.link.revision.handshake and answer.refused:
        return
    check(answer.status == ACCEPTED, f"a notification got {answer}, not status 202")


@case.must("sending-messages/accepted-without-body", "Nothing follows the head of a 202.")
async def accepted_without_body(talk: ServerTalk) -> None:
    """The 202 for a notification has no body."""
    _, answer = await _notified(talk)
    if answer.refused:
        talk.skip("the server takes no such notification")
    check(not answer.body, f"the response to a notification has the body {answer.body[:100]!r}")
    check(not answer.messages, "the response to a notification brought a message")


async def _notified(talk: ServerTalk) -> tuple[Endpoint, Answer]:
    link = await talk.connect()
    point = Endpoint(talk, link)
    if link.revision.handshake:
        await link.ask("initialize", link.opening())
        return point, await point.post(notification("notifications/initialized"))
    return point, await point.post(notification("notifications/kit/unknown"))


@case.must(
    "sending-messages/refused-with-error-status",
    "Status 400 or above, with or without a JSON-RPC error.",
)
async def refused_with_error_status(talk: ServerTalk) -> None:
    """A body that is no JSON-RPC message gets an error status."""
    point = await endpoint(talk)
    for what, body in (
        ("a body that is no JSON", b'{"jsonrpc":"2.0",'),
        ("an empty body", b""),
        ("a JSON string", b'"ping"'),
        ("an object that is no message", b'{"jsonrpc":"2.0"}'),
    ):
        answer = await point.post(body, headers={"mcp-method": point.plain})
        check(answer.status in CLIENT_ERRORS, f"{what} got {answer}, not a status of 4xx")


@case.should(
    "sending-messages/response-refused",
    "A status of 4xx: clients send no responses in this revision.",
    MODERN,
)
async def response_refused(talk: ServerTalk) -> None:
    """A JSON-RPC response that a client posts is refused."""
    point = await endpoint(talk)
    answer = await point.post(result(7, {"resultType": "complete"}))
    check(answer.status in CLIENT_ERRORS, f"a response got {answer}, not a status of 4xx")


@case.should(
    "sending-messages/accept-in-any-notation",
    "An Accept that names both kinds is understood whatever its order, weights and case.",
)
async def accept_in_any_notation(talk: ServerTalk) -> None:
    """Accept lists both kinds in another order, with weights, in capitals or in two lines."""
    point = await endpoint(talk)
    for accept in (
        "text/event-stream, application/json",
        "text/event-stream;q=0.9,application/json;q=1.0",
        "Text/Event-Stream, Application/JSON",
        "text/html, application/json , text/event-stream, */*;q=0.1",
    ):
        answer = await point.post(point.message(), headers={"accept": accept})
        check_served(answer, f"Accept: {accept}")


@case.may("sending-messages/accept-anything", "Accept: */* is as good as naming both kinds.")
async def accept_anything(talk: ServerTalk) -> None:
    """A client that accepts everything is served."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={"accept": "*/*"})
    check_served(answer, "Accept: */*")


@case.may(
    "sending-messages/accept-nothing-fitting", "Status 406 where the client takes neither kind."
)
async def accept_nothing_fitting(talk: ServerTalk) -> None:
    """A client that accepts neither JSON nor events gets 406."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={"accept": "text/html"})
    check(answer.status == 406, f"Accept: text/html got {answer}, not status 406")


@case.should("sending-messages/accept-missing", "The request is served or refused with 4xx.")
async def accept_missing(talk: ServerTalk) -> None:
    """A request without Accept does no harm."""
    point = await endpoint(talk)
    answer = await point.post(point.message(), headers={"accept": None})
    fine = answer.status in CLIENT_ERRORS or answer.result is not None
    check(fine, f"a request without Accept got {answer}")
    await point.link.alive()


@case.should(
    "sending-messages/content-type-parameters",
    "Content-Type: application/json; charset=utf-8 is JSON, in any case.",
)
async def content_type_parameters(talk: ServerTalk) -> None:
    """A parameter of the content type, and its case, mean nothing."""
    point = await endpoint(talk)
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;"):
        answer = await point.post(point.message(), headers={"content-type": kind})
        check_served(answer, f"Content-Type: {kind}")


@case.should(
    "sending-messages/content-type-other",
    "Status 415 or another 4xx: pages in browsers may send such bodies to any site.",
)
async def content_type_other(talk: ServerTalk) -> None:
    """A body that does not call itself JSON is refused."""
    point = await endpoint(talk)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await point.post(point.message(), headers={"content-type": kind})
        check(answer.status in CLIENT_ERRORS, f"Content-Type: {kind} got {answer}, not a 4xx")


@case.should(
    "sending-messages/other-methods",
    "PUT and PATCH get 405 (or 404, 501), and are not taken for a POST.",
)
async def other_methods(talk: ServerTalk) -> None:
    """Methods that the endpoint does not have are not served."""
    point = await endpoint(talk)
    for method in ("PUT", "PATCH"):
        message = point.plain_payload()
        headers = point.wire.headers_for(message)
        answer = await point.fetch(method, headers=headers, body=message)
        check(
            answer.status in (METHOD_NOT_ALLOWED, NOT_FOUND, 501),
            f"{method} got {answer}, not status 405",
        )


@case.should(
    "receiving-messages/response-ends-stream",
    "The event stream ends, in order, behind the response.",
    needs=("found:stream",),
)
async def response_ends_stream(talk: ServerTalk) -> None:
    """The response is the last thing on its stream."""
    point, answer = await _streamed(talk)
    check(answer.done is not None, "the stream stays open behind the response")
    check(answer.done is None or answer.done.clean, "the stream was cut off, not ended")
    last = answer.messages[-1]
    check(last.kind is Kind.RESULT, f"the last message on the stream is a {last.kind}")
    await point.link.alive()


@case.must(
    "receiving-messages/only-related-notifications",
    "Progress carries the token of the request whose stream it is on.",
    needs=("found:progress",),
)
async def only_related_notifications(talk: ServerTalk) -> None:
    """Of two calls at a time, each stream carries the notifications of its own call."""
    point = await endpoint(talk)
    call = await watched(talk, "progress")
    sent = [await point.call(call, f"{TOKEN}-{number}") for number in range(3)]
    for number, each in enumerate(sent):
        answer = await point.answer(each.exchange)
        check_served(answer, "a call with progress")
        progress = [one for one in answer.messages if one.method == "notifications/progress"]
        tokens = {str(one.params.get("progressToken")) for one in progress}
        others = sorted(tokens - {f"{TOKEN}-{number}"})
        check(not others, f"the stream of call {number} has progress of {others}")


@case.should(
    "receiving-messages/no-buffering",
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


@case.must(
    "receiving-messages/no-requests",
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
    if not answer.streams:
        talk.skip("the server answers with JSON")
    return point, answer


@case.must(
    "case-sensitivity/header-names",
    "A request whose header names are all in capitals, or all small, is served.",
)
async def header_names(talk: ServerTalk) -> None:
    """Header names are compared without regard to case."""
    point = await endpoint(talk)
    for change in (str.upper, str.lower, str.title):
        message = point.plain_payload()
        headers = [(change(name), value) for name, value in point.wire.headers_for(message)]
        answer = await point.fetch("POST", headers=headers, body=message)
        check_served(answer, f"a request with names like {headers[0][0]}")


@case.must(
    "case-sensitivity/blanks-around-values",
    "Blanks and tabs around a value are not part of it (RFC 9110 section 5.5).",
)
async def blanks_around_values(talk: ServerTalk) -> None:
    """White space around header values is left out before they are looked at."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    lines = [b":  \t".join(line.split(b": ", 1)) + b" \t " for line in point.head_lines(payload)]
    found = await point.pour(point.bytes_of(payload, b"Connection: close", lines=lines))
    statuses = [each.status for each in final(found)]
    check(statuses == [OK], f"a request with blanks around its header values got {statuses}")


@case.should(
    "sending-messages/no-server-error",
    "What a client does wrong gets a status of 4xx, never one of 5xx.",
)
async def no_server_error(talk: ServerTalk) -> None:
    """Odd requests are not the server's fault."""
    point = await endpoint(talk)
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
