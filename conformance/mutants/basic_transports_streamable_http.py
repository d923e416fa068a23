"""Mutants of how messages are posted and answered over Streamable HTTP."""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from conformance.mutants.basic_transports import (
    is_response,
    message,
    misdirects,
    of,
    progress_by_token,
)
from conformance.mutants.edits import drop, first, put, to, where
from conformance.mutants.fault import Asked, Breaks, Fault, Value
from conformance.mutants.faults import answers_to, errors_of, hooked, meta_of, own_messages, status
from conformance.mutants.http_faults import (
    Concerns,
    body_of,
    calls,
    deletes,
    everything,
    gets,
    header_of,
    notifications,
    overlooks,
    pours_otherwise,
    pours_statuses,
    refuses,
    requests,
    responses,
    responses_to,
    rewrites,
    status_of,
    with_header,
)
from conformance.mutants.lists import also, listed
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.headers import ACCEPT
from mcpcore_conformance.kit.heard import Done, Event, Gone, Heard, Noise
from mcpcore_conformance.kit.messages import HEADER_MISMATCH, INVALID_REQUEST

table = Table("basic/transports/streamable-http")


@table.server("answers-twice", "one-answer-per-request")
class _AnswersTwice(Fault):
    """Sends each result twice."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (value, value) if "result" in value else (value,)


table.server("asks-on-stream", "no-requests").does(
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


table.server("answers-as-html", "answered-as-json-or-events").does(
    "Calls its answers HTML.", header_of(requests, "content-type", "text/html")
)
table.server("notification-200", "notification-accepted").does(
    "Answers notifications with status 200.", status_of(notifications, 200)
)
table.server("202-with-body", "accepted-without-body").does(
    "Says something in the body of a 202.", body_of(notifications, b"null")
)
table.server("refuses-with-200", "refused-with-error-status").does(
    "Refuses with status 200 and an error.", status(400, 200)
)
table.server("takes-responses", "response-refused").does(
    "Takes responses of modern clients.", refuses(responses, 202)
)
table.server("accept-literally", "accept-in-any-notation").does(
    "Compares Accept letter by letter.",
    refuses(with_header("accept", lambda value: value != ACCEPT), 406),
)
table.server("accept-no-wildcard", "accept-anything").does(
    "Knows no wildcards in Accept.",
    refuses(with_header("accept", lambda value: value == "*/*"), 406),
)
table.server("accept-overlooked", "accept-nothing-fitting").does(
    "Does not look at Accept.", overlooks(everything, "accept", instead=ACCEPT)
)
table.server("accept-missing-500", "accept-missing").does(
    "Fails where there is no Accept.",
    refuses(with_header("accept", lambda value: value is None), 500),
)
table.server("content-type-literally", "content-type-parameters").does(
    "Compares Content-Type letter by letter.", refuses(with_header("content-type"), 415)
)
table.server("content-type-overlooked", "content-type-other").does(
    "Takes any Content-Type for JSON.",
    overlooks(everything, "content-type", instead="application/json"),
)
table.server("any-method", "other-methods").does(
    "Takes every method for POST.",
    rewrites(lambda asked: asked.method in ("PUT", "PATCH"), _as_post),
)
table.server("stream-cut", "response-ends-stream").does(
    "Cuts the connection behind the response.", responses_to(calls("tools/call"), other=_cut)
)
table.server("progress-of-another", "only-related-notifications").does(
    "Sends the progress of the first call on every stream.",
    own_messages("notifications/progress", _first_call),
)
table.server("buffered", "no-buffering").does(
    "Lets proxies gather its event streams.", header_of(everything, "x-accel-buffering", None)
)
table.server("names-small-only", "header-names").does(
    "Knows its headers in small letters only.",
    refuses(lambda asked: any(name != name.lower() for name in asked.headers), 400),
)
table.server("blanks-kept", "blanks-around-values").does(
    "Takes blanks for a part of header values.", pours_statuses(400)
)
table.server("fails-on-odd-headers", "no-server-error").does(
    "Fails when Authorization cannot be read.", refuses(with_header("authorization"), 500)
)


VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
MISMATCH = messages.error(None, HEADER_MISMATCH, "no match")


def overlooked(name: str, concerns: Concerns = lambda asked: True) -> Breaks:
    """The server does not look at a header: it gets the one that fits."""
    return overlooks(concerns, name)


class _AnyVersion(Fault):
    """Takes the version of the body for its own."""

    def said(self, value: object, payload: bytes) -> bytes | None:
        meta = meta_of(value)
        if META_PROTOCOL_VERSION not in meta:
            return payload
        meta[META_PROTOCOL_VERSION] = LATEST.name
        return messages.encode(value)


@table.server("any-version", "unsupported")
class _AnyVersionAtAll(_AnyVersion):
    """Serves versions that nobody knows."""

    def headers(self, headers: dict[str, str | None]) -> dict[str, str | None]:
        return {name: value for name, value in headers.items() if name != VERSION}


table.server("mismatch-without-id", "error-names-request").does(
    "Leaves the id out of the error of a header check.",
    answers_to(
        "", where(lambda value: value.get("error", {}).get("code") == HEADER_MISMATCH, drop("id"))
    ),
)


def _in_capitals(asked: Asked) -> bool:
    value = asked.headers.get(METHOD)
    return value is not None and value == value.upper()


table.server("no-version-needed", "protocol-version-header/missing").does(
    "Takes requests without a version header for modern ones.", overlooked(VERSION)
)
table.server("version-header-overlooked", "protocol-version-header/other-than-body").does(
    "Believes the version of the body.", overlooked(VERSION)
)
table.server("version-of-body-overlooked", "body-other-than-header").does(
    "Believes the version of the header.", _AnyVersion
)
table.server("unknown-method-200", "unknown-method").does(
    "Answers an unknown method with status 200.", status_of(calls("kit/unknown"), 200)
)
table.server("answers-ping", "removed-method").does(
    "Goes on answering ping.",
    refuses(calls("ping"), 200, messages.result(None, {"resultType": "complete"})),
)
table.server("method-first", "version-before-method").does(
    "Looks for the method before it looks at the version.",
    refuses(calls("kit/unknown"), 404, messages.error(None, -32601, "no such method")),
)
table.server("no-method-needed", "method-missing").does(
    "Does without Mcp-Method.", overlooked(METHOD)
)
table.server("method-overlooked", "method-other-than-body").does(
    "Does not look at Mcp-Method.", overlooked(METHOD)
)
table.server("any-case", "values").does(
    "Compares methods without regard to case.", overlooked(METHOD, _in_capitals)
)
for kind, method in (
    ("tool", "tools/call"),
    ("resource", "resources/read"),
    ("prompt", "prompts/get"),
):
    table.server(f"no-name-needed-{kind}", f"standard-request-headers/name-missing-{kind}").does(
        f"Does without Mcp-Name in {method}.", overlooked(NAME, calls(method))
    )
    table.server(f"name-overlooked-{kind}", f"server-validation/name-other-than-body-{kind}").does(
        f"Does not look at Mcp-Name in {method}.", overlooked(NAME, calls(method))
    )
table.server("one-header-of-two", "header-twice").does(
    "Looks at one of two lines of a header.",
    pours_otherwise(
        lambda data: data.replace(b"Mcp-Name: kit-other\r\n", b"").replace(
            b"Mcp-Method: tools/list\r\n", b""
        )
    ),
)
table.server(
    "mismatch-as-invalid-request",
    "method-other-than-body",
    "method-missing",
    "protocol-version-header/other-than-body",
).does(
    "Uses the code of an invalid request where headers do not match.",
    errors_of("", put(code=INVALID_REQUEST)),
)
table.server("mismatch-200", "name-other-than-body-tool", "method-other-than-body").does(
    "Refuses with status 200 where headers do not match.",
    status_of(lambda asked: bool(asked.headers), 200),
)
table.server("fails-on-notifications", "notification-needs-no-mirrors").does(
    "Fails on a notification without mirrors.", refuses(notifications, 500)
)


def _is(*found: str) -> Callable[[str | None], bool]:
    return lambda value: value is not None and any(each in value for each in found)


table.server("sentinel-not-decoded", "name-decoded").does(
    "Compares the sentinel form as it is.",
    refuses(with_header(NAME, _is("=?base64?")), 400, MISMATCH),
)
table.server("sentinel-in-capitals", "sentinel-small-letters").does(
    "Knows the sentinel in any case.",
    overlooked(NAME, lambda asked: "BASE64" in (asked.headers.get(NAME) or "")),
)
table.server("sentinel-guessed", "sentinel-broken").does(
    "Makes something of Base64 that is none.", overlooked(NAME, with_header(NAME, _is("!")))
)
table.server("any-characters", "server-validation/invalid-characters").does(
    "Takes bytes outside ASCII in names.", pours_statuses(200)
)


REGION, SHARD, ZONE, DRY, NOTE = (
    f"mcp-param-{name}" for name in ("region", "shard", "zone", "dry-run", "note")
)


def trusting(name: str, test: Callable[[str | None, Any], bool]) -> Breaks:
    """The server believes a header that passes the test: it gets the one that fits.

    The test gets the header and the argument that it belongs to.
    """

    def edit(asked: Asked) -> Asked:
        argument = _argument(asked, name)
        if test(asked.headers.get(name), argument):
            asked.headers[name] = None if argument is None else _mirror(argument)
        return asked

    return rewrites(calls("tools/call"), edit)


def _argument(asked: Asked, name: str) -> Any:
    arguments = asked.value["params"].get("arguments", {})
    found = {REGION: "region", SHARD: "shard", DRY: "dry", NOTE: "note"}.get(name)
    if found is not None:
        return arguments.get(found)
    return arguments.get("place", {}).get("zone")


def _mirror(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"=?base64?{base64.b64encode(str(value).encode()).decode()}?="


def _has(name: str, *parts: str) -> Callable[[Asked], bool]:
    return lambda asked: any(part in (asked.headers.get(name) or "") for part in parts)


def _nothing_given(asked: Asked) -> bool:
    call = calls("tools/call", "test_x_mcp_header_kinds")(asked)
    return call and not asked.value["params"].get("arguments")


def _null_given(asked: Asked) -> bool:
    call = calls("tools/call", "test_x_mcp_header_kinds")(asked)
    return call and asked.value["params"].get("arguments") == {"note": None}


table.server("mirrors-refused", "served").does(
    "Knows no mirrors of arguments.", refuses(lambda asked: REGION in asked.headers, 400, MISMATCH)
)
table.server("mirror-not-needed", "server-behavior-for-custom-headers/missing").does(
    "Does without the mirror of an argument.",
    trusting(REGION, lambda found, argument: found is None),
)
table.server("mirror-overlooked", "server-behavior-for-custom-headers/other-than-body").does(
    "Does not compare mirrors.", trusting(REGION, lambda found, argument: True)
)
table.server("mirror-in-any-case", "server-behavior-for-custom-headers/other-than-body").does(
    "Compares mirrors without regard to case.",
    trusting(REGION, lambda found, argument: (found or "").lower() == argument),
)
table.server("mirror-not-decoded", "decoded").does(
    "Compares the sentinel form of a mirror as it is.",
    refuses(_has(REGION, "=?base64?"), 400, MISMATCH),
)
table.server("look-alikes-refused", "sentinel-look-alike").does(
    "Takes everything that begins like a sentinel for one.",
    refuses(_has(REGION, "=?base64?"), 400, MISMATCH),
)
table.server("mirror-guessed", "parameter-broken").does(
    "Makes something of Base64 without its padding.",
    trusting(REGION, lambda found, argument: found == "=?base64?SGVsbG8?="),
)
table.server(
    "mirror-of-any-characters", "server-behavior-for-custom-headers/invalid-characters"
).does("Takes bytes outside ASCII in mirrors.", pours_statuses(200))
table.server("unknown-mirror-refused", "unknown-ignored").does(
    "Refuses mirrors that nobody asked for.",
    refuses(lambda asked: "mcp-param-kit-unknown" in asked.headers, 400, MISMATCH),
)
table.server("nested-overlooked", "nested").does(
    "Compares the mirrors of the first level only.", trusting(ZONE, lambda found, argument: True)
)
table.server("boolean-in-any-notation", "booleans").does(
    "Takes 1 for true.", trusting(DRY, lambda found, argument: found == "1")
)
table.server("integer-in-any-notation", "integers").does(
    "Understands hexadecimal integers.",
    trusting(SHARD, lambda found, argument: (found or "").startswith("0x")),
)
table.server("integer-as-float", "integers").does(
    "Compares integers as floating point numbers of half the precision.",
    trusting(SHARD, lambda found, argument: argument == 2**53 - 1),
)
table.server("integer-of-any-size", "integers-within-range").does(
    "Takes integers of any size.",
    refuses(
        lambda asked: len(asked.headers.get(SHARD) or "") > 15,
        200,
        messages.result(None, {"resultType": "complete", "content": []}),
    ),
)
table.server("integers-as-text", "integers-numerically").does(
    "Compares integers as text.", refuses(_has(SHARD, "."), 400, MISMATCH)
)
table.server("absent-expected", "absent-not-expected").does(
    "Wants the headers of arguments that are not given.", refuses(_nothing_given, 400, MISMATCH)
)
table.server("null-expected", "null-not-expected").does(
    "Wants the header of an argument that is null.", refuses(_null_given, 400, MISMATCH)
)
table.server("claims-overlooked", "header-without-argument").does(
    "Passes over the mirror of an argument that is not given.",
    trusting(NOTE, lambda found, argument: argument is None),
)


def declared(schema: Value) -> Breaks:
    """The first tool has this input schema."""
    return listed("tools/list", "tools", first(put(inputSchema=schema)))


def mirrors(**properties: Any) -> Value:
    """A schema with these properties."""
    return {"type": "object", "properties": properties}


table.server("mirror-with-colon", "name-is-a-token").does(
    "Names a mirror with characters that no header has.",
    declared(mirrors(a={"type": "string", "x-mcp-header": "Re:gion\r\nX"})),
)
table.server("mirror-without-name", "name-is-a-token").does(
    "Names a mirror with nothing.", declared(mirrors(a={"type": "string", "x-mcp-header": ""}))
)
table.server("mirrors-alike", "names-unique").does(
    "Has two mirrors that differ in case alone.",
    declared(
        mirrors(
            a={"type": "string", "x-mcp-header": "Region"},
            b={"type": "string", "x-mcp-header": "REGION"},
        )
    ),
)
table.server("number-mirrored", "primitive-types").does(
    "Mirrors a number.", declared(mirrors(a={"type": "number", "x-mcp-header": "Region"}))
)
table.server("items-mirrored", "statically-reachable").does(
    "Mirrors the items of an array.",
    declared(mirrors(a={"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}})),
)
table.server("mirrored-behind-choice", "statically-reachable").does(
    "Mirrors a property behind anyOf.",
    declared({"anyOf": [mirrors(a={"type": "string", "x-mcp-header": "Region"})]}),
)


ALLOW = "access-control-allow-origin"


def believes(*parts: str) -> Breaks:
    """Origins with one of these parts are as good as none."""

    def there(value: str | None) -> bool:
        return value is not None and any(part in value for part in parts)

    return overlooks(with_header("origin", there), "origin")


def _from_browsers(concerns: Concerns) -> Concerns:
    return lambda asked: concerns(asked) and "origin" in asked.headers


table.server("listens-everywhere", "loopback-only").does(
    "Listens at every address of the machine.", hooked(reached=to(True))
)


@table.server("origin-needed", "no-origin")
class _WantsOrigin(Fault):
    """Wants an Origin from everybody."""

    _given = False

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        self._given = any(name == "origin" for name, _ in options.get("headers") or ())
        return options

    def fetching(self, asked: Asked) -> Asked | None:
        if self._given or "origin" in asked.headers or not requests(asked):
            return asked
        self.answer_http(403, None)
        return None


table.server("any-origin", "foreign-origin").does(
    "Does not look at Origin.", overlooks(everything, "origin")
)
table.server("foreign-400", "foreign-origin", "foreign-origin-notification").does(
    "Refuses foreign origins with status 400.", refuses(with_header("origin"), 400)
)
table.server("origin-by-part", "look-alike-origin").does(
    "Looks for its name anywhere in Origin.", believes("127.0.0.1.evil", "localhost.evil")
)
table.server("origin-by-beginning", "origin-with-user").does(
    "Looks for its name at the beginning of Origin.", believes("@")
)
table.server("addresses-trusted", "foreign-address").does(
    "Believes every origin that is an IPv6 address.", believes("//[")
)
table.server("null-trusted", "opaque-origin").does("Takes null for no origin.", believes("null"))
table.server("malformed-trusted", "malformed-origin").does(
    "Takes an Origin that it cannot read for none.",
    overlooks(with_header("origin", lambda value: value in ("://", "http://")), "origin"),
)
table.server("any-port", "other-port").does(
    "Does not look at the port of Origin.",
    overlooks(with_header("origin", lambda value: (value or "").endswith(":1")), "origin"),
)
table.server("one-origin-of-two", "two-origins").does(
    "Passes over the foreign one of two origins.",
    pours_otherwise(lambda data: re.sub(rb"Origin: http://evil[^\r]*\r\n", b"", data)),
)
table.server("any-origin-of-get", "foreign-origin-get").does(
    "Does not look at the Origin of GET.",
    refuses(_from_browsers(gets), 200, headers=[("content-type", "text/event-stream")]),
)
table.server("any-origin-of-delete", "foreign-origin-delete").does(
    "Does not look at the Origin of DELETE.", refuses(_from_browsers(deletes), 204)
)
table.server("any-origin-of-notifications", "foreign-origin-notification").does(
    "Does not look at the Origin of notifications.", overlooks(notifications, "origin")
)
table.server("own-origin-refused", "own-origin").does(
    "Refuses every Origin.", refuses(with_header("origin"), 403)
)
table.server("any-host", "foreign-host").does("Answers to every name.", pours_statuses(200))
table.server("all-may-read", "nothing-allowed").does(
    "Lets every page read its answers.", header_of(everything, ALLOW, "*")
)
table.server("all-may-call", "preflight").does(
    "Tells every page that it may call.",
    header_of(lambda asked: asked.method == "OPTIONS", ALLOW, "http://evil.example"),
)


SESSION = "mcp-session-id"


table.server("runs-on", "closing-cancels").does(
    "Runs on when its client closes the stream.", hooked(cutting=to(False))
)


@table.server("cancels-by-id", "closing-spares-others")
class _CancelsById(Fault):
    """Cancels every request that has the id of the one whose stream was closed."""

    gone: ClassVar[set[Any]] = set()

    def fetching(self, asked: Asked) -> Asked | None:
        if requests(asked):
            self.gone.discard(asked.value["id"])
        return asked

    def cutting(self, exchange: int) -> bool:
        asked = self.exchanges.get(exchange)
        if asked is not None and requests(asked):
            self.gone.add(asked.value["id"])
        return True

    def heard(self, heard: Heard) -> Iterable[Heard]:
        value = message(heard)
        return () if is_response(value) and value.get("id") in self.gone else (heard,)


table.server("stream-to-get", "get").does(
    "Goes on opening streams on GET.",
    refuses(gets, 200, headers=[("content-type", "text/event-stream")]),
)
table.server("deletes", "delete").does("Goes on ending sessions.", refuses(deletes, 204))
table.server("session-needed", "session-ignored").does(
    "Looks for the session that a client names.", refuses(with_header(SESSION), 404)
)
table.server("session-made", "no-session").does(
    "Goes on making session ids.",
    header_of(everything, SESSION, "0123456789abcdef0123456789abcdef"),
)
table.server("event-id-refused", "event-id-ignored").does(
    "Refuses Last-Event-ID.", refuses(with_header("last-event-id"), 400)
)
table.server("progress-by-token", "equal-ids").does(
    "Sends progress to everybody who uses its token.", progress_by_token()
)
table.server("progress-on-listen", "no-progress-on-listen").does(
    "Sends progress over streams of subscriptions/listen, too.",
    misdirects(of("notifications/progress"), calls("subscriptions/listen"), as_well=True),
)
table.server("changes-on-calls", "no-changes-on-calls").does(
    "Sends changes over streams of calls, too.",
    misdirects(of("notifications/tools/list_changed"), calls("tools/call"), as_well=True),
)
