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
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.headers import ACCEPT
from mcpcore_conformance.kit.heard import Done, Event, Gone, Heard, Noise

table = Table("basic/transports/streamable-http")


class _AnswersTwice(Fault):
    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (value, value) if "result" in value else (value,)


class _AsksFirst(Fault):
    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "result" in value and self.method_of(value) == "tools/call":
            return (messages.request("mutant", "roots/list"), value)
        return (value,)


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


table.add(
    "answers-as-html",
    "sending-messages/answered-as-json-or-events",
    "Calls its answers HTML.",
    header_of(requests, "content-type", "text/html"),
)
table.add(
    "answers-twice",
    "sending-messages/one-answer-per-request",
    "Sends each result twice.",
    _AnswersTwice,
)
table.add(
    "notification-200",
    "sending-messages/notification-accepted",
    "Answers notifications with status 200.",
    status_of(notifications, 200),
)
table.add(
    "202-with-body",
    "sending-messages/accepted-without-body",
    "Says something in the body of a 202.",
    body_of(notifications, b"null"),
)
table.add(
    "refuses-with-200",
    "sending-messages/refused-with-error-status",
    "Refuses with status 200 and an error.",
    status(400, 200),
)
table.add(
    "takes-responses",
    "sending-messages/response-refused",
    "Takes responses of modern clients.",
    refuses(responses, 202),
)
table.add(
    "accept-literally",
    "sending-messages/accept-in-any-notation",
    "Compares Accept letter by letter.",
    refuses(with_header("accept", lambda value: value != ACCEPT), 406),
)
table.add(
    "accept-no-wildcard",
    "sending-messages/accept-anything",
    "Knows no wildcards in Accept.",
    refuses(with_header("accept", lambda value: value == "*/*"), 406),
)
table.add(
    "accept-overlooked",
    "sending-messages/accept-nothing-fitting",
    "Does not look at Accept.",
    overlooks(everything, "accept", instead=ACCEPT),
)
table.add(
    "accept-missing-500",
    "sending-messages/accept-missing",
    "Fails where there is no Accept.",
    refuses(with_header("accept", lambda value: value is None), 500),
)
table.add(
    "content-type-literally",
    "sending-messages/content-type-parameters",
    "Compares Content-Type letter by letter.",
    refuses(with_header("content-type"), 415),
)
table.add(
    "content-type-overlooked",
    "sending-messages/content-type-other",
    "Takes any Content-Type for JSON.",
    overlooks(everything, "content-type", instead="application/json"),
)
table.add(
    "any-method",
    "sending-messages/other-methods",
    "Takes every method for POST.",
    rewrites(lambda asked: asked.method in ("PUT", "PATCH"), _as_post),
)
table.add(
    "stream-cut",
    "receiving-messages/response-ends-stream",
    "Cuts the connection behind the response.",
    responses_to(calls("tools/call"), other=_cut),
)
table.add(
    "progress-of-another",
    "receiving-messages/only-related-notifications",
    "Sends the progress of the first call on every stream.",
    own_messages("notifications/progress", _first_call),
)
table.add(
    "buffered",
    "receiving-messages/no-buffering",
    "Lets proxies gather its event streams.",
    header_of(everything, "x-accel-buffering", None),
)
table.add(
    "asks-on-stream",
    "receiving-messages/no-requests",
    "Sends a request before its result.",
    _AsksFirst,
)
table.add(
    "names-small-only",
    "case-sensitivity/header-names",
    "Knows its headers in small letters only.",
    refuses(lambda asked: any(name != name.lower() for name in asked.headers), 400),
)
table.add(
    "blanks-kept",
    "case-sensitivity/blanks-around-values",
    "Takes blanks for a part of header values.",
    pours_statuses(400),
)
table.add(
    "fails-on-odd-headers",
    "sending-messages/no-server-error",
    "Fails when Authorization cannot be read.",
    refuses(with_header("authorization"), 500),
)
