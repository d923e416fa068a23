"""Mutants of what headers repeat of the body over Streamable HTTP."""

from collections.abc import Callable

from conformance.mutants.edits import drop, put
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import answers_to, errors_of
from conformance.mutants.http_faults import (
    Concerns,
    calls,
    notifications,
    pours_otherwise,
    refuses,
    rewrites,
    status_of,
)
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import HEADER_MISMATCH, INVALID_REQUEST

table = Table("basic/transports/streamable-http")

VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
MISMATCH = messages.error(None, HEADER_MISMATCH, "no match")


def overlooked(name: str, concerns: Concerns = lambda asked: True) -> Callable[[], Fault]:
    """The server does not look at a header: it gets the one that fits."""

    def edit(asked: Asked) -> Asked:
        asked.headers = {key: value for key, value in asked.headers.items() if key != name}
        return asked

    return rewrites(lambda asked: name in asked.headers and concerns(asked), edit)


class _AnyVersion(Fault):
    """Takes the version of the body for its own."""

    def said(self, value: object, payload: bytes) -> bytes | None:
        meta = value.get("params", {}).get("_meta") if isinstance(value, dict) else None
        if isinstance(meta, dict) and META_PROTOCOL_VERSION in meta:
            meta[META_PROTOCOL_VERSION] = LATEST.name
            return messages.encode(value)
        return payload


@table.server("any-version", "protocol-version-header/unsupported")
class _AnyVersionAtAll(_AnyVersion):
    """Serves versions that nobody knows."""

    def headers(self, headers: dict[str, str | None]) -> dict[str, str | None]:
        return {name: value for name, value in headers.items() if name != VERSION}


table.server("mismatch-without-id", "server-validation/error-names-request").does(
    "Leaves the id out of the error of a header check.",
    answers_to(
        "",
        lambda value: (
            drop("id")(value) if value.get("error", {}).get("code") == HEADER_MISMATCH else value
        ),
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
table.server("version-of-body-overlooked", "protocol-version-header/body-other-than-header").does(
    "Believes the version of the header.", _AnyVersion
)
table.server("unknown-method-200", "protocol-version-header/unknown-method").does(
    "Answers an unknown method with status 200.", status_of(calls("kit/unknown"), 200)
)
table.server("answers-ping", "protocol-version-header/removed-method").does(
    "Goes on answering ping.",
    refuses(calls("ping"), 200, messages.result(None, {"resultType": "complete"})),
)
table.server("method-first", "protocol-version-header/version-before-method").does(
    "Looks for the method before it looks at the version.",
    refuses(calls("kit/unknown"), 404, messages.error(None, -32601, "no such method")),
)
table.server("no-method-needed", "standard-request-headers/method-missing").does(
    "Does without Mcp-Method.", overlooked(METHOD)
)
table.server("method-overlooked", "server-validation/method-other-than-body").does(
    "Does not look at Mcp-Method.", overlooked(METHOD)
)
table.server("any-case", "case-sensitivity/values").does(
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
table.server("one-header-of-two", "server-validation/header-twice").does(
    "Looks at one of two lines of a header.",
    pours_otherwise(
        lambda data: data.replace(b"Mcp-Name: kit-other\r\n", b"").replace(
            b"Mcp-Method: tools/list\r\n", b""
        )
    ),
)
table.server(
    "mismatch-as-invalid-request",
    "server-validation/method-other-than-body",
    "standard-request-headers/method-missing",
    "protocol-version-header/other-than-body",
).does(
    "Uses the code of an invalid request where headers do not match.",
    errors_of("", put(code=INVALID_REQUEST)),
)
table.server(
    "mismatch-200",
    "server-validation/name-other-than-body-tool",
    "server-validation/method-other-than-body",
).does(
    "Refuses with status 200 where headers do not match.",
    status_of(lambda asked: bool(asked.headers), 200),
)
table.server("fails-on-notifications", "sending-messages/notification-needs-no-mirrors").does(
    "Fails on a notification without mirrors.", refuses(notifications, 500)
)

__all__ = ["MISMATCH", "NAME", "overlooked", "table"]
