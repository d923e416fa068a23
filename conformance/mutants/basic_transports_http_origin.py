"""Mutants of who may call from a browser."""

import re
from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import to
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import hooked
from conformance.mutants.http_faults import (
    Concerns,
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
    with_header,
)
from conformance.mutants.model import Table

table = Table("basic/transports/streamable-http")

ALLOW = "access-control-allow-origin"


def believes(*parts: str) -> Callable[[], Fault]:
    """Origins with one of these parts are as good as none."""

    def there(value: str | None) -> bool:
        return value is not None and any(part in value for part in parts)

    return overlooks(with_header("origin", there), "origin")


def _from_browsers(concerns: Concerns) -> Concerns:
    return lambda asked: concerns(asked) and "origin" in asked.headers


table.server("listens-everywhere", "security-endpoint/loopback-only").does(
    "Listens at every address of the machine.", hooked(reached=to(True))
)


@table.server("origin-needed", "security-endpoint/no-origin")
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


table.server("any-origin", "security-endpoint/foreign-origin").does(
    "Does not look at Origin.", overlooks(everything, "origin")
)
table.server(
    "foreign-400",
    "security-endpoint/foreign-origin",
    "security-endpoint/foreign-origin-notification",
).does("Refuses foreign origins with status 400.", refuses(with_header("origin"), 400))
table.server("origin-by-part", "security-endpoint/look-alike-origin").does(
    "Looks for its name anywhere in Origin.", believes("127.0.0.1.evil", "localhost.evil")
)
table.server("origin-by-beginning", "security-endpoint/origin-with-user").does(
    "Looks for its name at the beginning of Origin.", believes("@")
)
table.server("addresses-trusted", "security-endpoint/foreign-address").does(
    "Believes every origin that is an IPv6 address.", believes("//[")
)
table.server("null-trusted", "security-endpoint/opaque-origin").does(
    "Takes null for no origin.", believes("null")
)
table.server("malformed-trusted", "security-endpoint/malformed-origin").does(
    "Takes an Origin that it cannot read for none.",
    overlooks(with_header("origin", lambda value: value in ("://", "http://")), "origin"),
)
table.server("any-port", "security-endpoint/other-port").does(
    "Does not look at the port of Origin.",
    overlooks(with_header("origin", lambda value: (value or "").endswith(":1")), "origin"),
)
table.server("one-origin-of-two", "security-endpoint/two-origins").does(
    "Passes over the foreign one of two origins.",
    pours_otherwise(lambda data: re.sub(rb"Origin: http://evil[^\r]*\r\n", b"", data)),
)
table.server("any-origin-of-get", "security-endpoint/foreign-origin-get").does(
    "Does not look at the Origin of GET.",
    refuses(_from_browsers(gets), 200, headers=[("content-type", "text/event-stream")]),
)
table.server("any-origin-of-delete", "security-endpoint/foreign-origin-delete").does(
    "Does not look at the Origin of DELETE.", refuses(_from_browsers(deletes), 204)
)
table.server("any-origin-of-notifications", "security-endpoint/foreign-origin-notification").does(
    "Does not look at the Origin of notifications.", overlooks(notifications, "origin")
)
table.server("own-origin-refused", "security-endpoint/own-origin").does(
    "Refuses every Origin.", refuses(with_header("origin"), 403)
)
table.server("any-host", "security-endpoint/foreign-host").does(
    "Answers to every name.", pours_statuses(200)
)
table.server("all-may-read", "security-endpoint/nothing-allowed").does(
    "Lets every page read its answers.", header_of(everything, ALLOW, "*")
)
table.server("all-may-call", "security-endpoint/preflight").does(
    "Tells every page that it may call.",
    header_of(lambda asked: asked.method == "OPTIONS", ALLOW, "http://evil.example"),
)
