"""Mutants of how messages are posted and answered over Streamable HTTP."""

from collections.abc import Iterable

from conformance.mutants.fault import Asked, Fault, Value
from conformance.mutants.faults import own_messages, status
from conformance.mutants.http_faults import (
    body_of,
    calls,
    everything,
    header_of,
    notifications,
    overlooks,
    pours_statuses,
    refuses,
    requests,
    responses,
    responses_to,
    rewrites,
    status_of,
    with_header,
)
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.headers import ACCEPT
from mcpcore_conformance.kit.heard import Done, Event, Gone, Heard, Noise

table = Table("basic/transports/streamable-http")


@table.server("answers-twice", "sending-messages/one-answer-per-request")
class _AnswersTwice(Fault):
    """Sends each result twice."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (value, value) if "result" in value else (value,)


table.server("asks-on-stream", "receiving-messages/no-requests").does(
    "Sends a request before its result.",
    also("tools/call", messages.request("mutant", "roots/list")),
)


def _cut(heard: Event | Done | Gone | Noise) -> Iterable[Heard]:
    if isinstance(heard, Done):
        heard.clean = False
    return (heard,)


def _as_post(asked: Asked) -> Asked:
    asked.method = "POST"
    return asked


def _first_call(value: Value) -> Value:
    params = {**value["params"], "progressToken": "kit-progress-0"}
    return {**value, "params": params}


table.server("answers-as-html", "sending-messages/answered-as-json-or-events").does(
    "Calls its answers HTML.", header_of(requests, "content-type", "text/html")
)
table.server("notification-200", "sending-messages/notification-accepted").does(
    "Answers notifications with status 200.", status_of(notifications, 200)
)
table.server("202-with-body", "sending-messages/accepted-without-body").does(
    "Says something in the body of a 202.", body_of(notifications, b"null")
)
table.server("refuses-with-200", "sending-messages/refused-with-error-status").does(
    "Refuses with status 200 and an error.", status(400, 200)
)
table.server("takes-responses", "sending-messages/response-refused").does(
    "Takes responses of modern clients.", refuses(responses, 202)
)
table.server("accept-literally", "sending-messages/accept-in-any-notation").does(
    "Compares Accept letter by letter.",
    refuses(with_header("accept", lambda value: value != ACCEPT), 406),
)
table.server("accept-no-wildcard", "sending-messages/accept-anything").does(
    "Knows no wildcards in Accept.",
    refuses(with_header("accept", lambda value: value == "*/*"), 406),
)
table.server("accept-overlooked", "sending-messages/accept-nothing-fitting").does(
    "Does not look at Accept.", overlooks(everything, "accept", instead=ACCEPT)
)
table.server("accept-missing-500", "sending-messages/accept-missing").does(
    "Fails where there is no Accept.",
    refuses(with_header("accept", lambda value: value is None), 500),
)
table.server("content-type-literally", "sending-messages/content-type-parameters").does(
    "Compares Content-Type letter by letter.", refuses(with_header("content-type"), 415)
)
table.server("content-type-overlooked", "sending-messages/content-type-other").does(
    "Takes any Content-Type for JSON.",
    overlooks(everything, "content-type", instead="application/json"),
)
table.server("any-method", "sending-messages/other-methods").does(
    "Takes every method for POST.",
    rewrites(lambda asked: asked.method in ("PUT", "PATCH"), _as_post),
)
table.server("stream-cut", "receiving-messages/response-ends-stream").does(
    "Cuts the connection behind the response.", responses_to(calls("tools/call"), other=_cut)
)
table.server("progress-of-another", "receiving-messages/only-related-notifications").does(
    "Sends the progress of the first call on every stream.",
    own_messages("notifications/progress", _first_call),
)
table.server("buffered", "receiving-messages/no-buffering").does(
    "Lets proxies gather its event streams.", header_of(everything, "x-accel-buffering", None)
)
table.server("names-small-only", "case-sensitivity/header-names").does(
    "Knows its headers in small letters only.",
    refuses(lambda asked: any(name != name.lower() for name in asked.headers), 400),
)
table.server("blanks-kept", "case-sensitivity/blanks-around-values").does(
    "Takes blanks for a part of header values.", pours_statuses(400)
)
table.server("fails-on-odd-headers", "sending-messages/no-server-error").does(
    "Fails when Authorization cannot be read.", refuses(with_header("authorization"), 500)
)
