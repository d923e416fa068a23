"""Mutants of the page basic/authorization."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.fault import Asked, Fault, Value
from conformance.mutants.http_faults import (
    header_of,
    notifications,
    refuses,
    requests,
    status_of,
    with_header,
)
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit.heard import Head

table = Table("basic/authorization")

CHALLENGE = "www-authenticate"


def _bearer(asked: Asked) -> bool:
    """Whether a request brings a token of the bearer scheme."""
    return (asked.headers.get("authorization") or "").lower().startswith("bearer ")


def _named(asked: Asked) -> bool:
    """Whether the URL of a request has a query."""
    return "?" in (asked.target or "")


class _Metadata(Fault):
    """Gives other metadata."""

    def __init__(self, edit: Callable[[Value], Any]) -> None:
        super().__init__()
        self._edit = edit

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (self._edit(value),) if "authorization_servers" in value else (value,)


def metadata(edit: Callable[[Value], Any]) -> Callable[[], Fault]:
    """Give other metadata."""
    return lambda: _Metadata(edit)


class _NoMetadata(Fault):
    """Has no metadata anywhere, and says nothing of it."""

    def head(self, head: Head) -> Head:
        if head.exchange not in self.exchanges:
            head.status = 404
        head.headers = [each for each in head.headers if each[0] != CHALLENGE]
        return head


table.add(
    "no-challenge",
    "token-handling/challenge",
    "Refuses without a challenge.",
    header_of(requests, CHALLENGE, None),
)
table.add(
    "basic-challenge",
    "token-handling/challenge",
    "Wants a password.",
    header_of(requests, CHALLENGE, 'Basic realm="kit"'),
)
table.add(
    "open-to-notifications",
    "token-requirements/every-request",
    "Takes notifications of everybody.",
    refuses(notifications, 202),
)
table.add(
    "open-to-delete",
    "token-requirements/every-request",
    "Ends the sessions of everybody.",
    refuses(lambda asked: asked.method == "DELETE", 200),
)
table.add(
    "open-to-listeners",
    "token-requirements/every-request",
    "Opens streams for everybody.",
    refuses(
        lambda asked: asked.method == "GET", 200, headers=[("content-type", "text/event-stream")]
    ),
    revisions=until("2025-06-18"),
)
table.add(
    "any-token",
    ("token-handling/invalid-token", "token-handling/invalid-token-error"),
    "Takes every token.",
    status_of(_bearer, 200),
)
table.add(
    "forbidden",
    "token-handling/invalid-token",
    "Answers for a token that it does not know with 403.",
    status_of(_bearer, 403),
)
table.add(
    "silent-about-token",
    "token-handling/invalid-token-error",
    "Does not say that the token is invalid.",
    header_of(_bearer, CHALLENGE, "Bearer"),
)
table.add(
    "any-credentials",
    "error-handling/malformed-credentials",
    "Takes whatever credentials there are.",
    status_of(with_header("authorization"), 200),
)
table.add(
    "token-in-query",
    "token-requirements/not-in-the-query",
    "Takes a token of the query.",
    status_of(_named, 200),
)
table.add(
    "no-token-good",
    "token-requirements/in-the-header",
    "Refuses its own tokens.",
    refuses(_bearer, 401, headers=[(CHALLENGE, "Bearer")]),
)
table.add(
    "scheme-in-one-case",
    "token-requirements/in-the-header",
    "Wants the scheme with a capital letter.",
    refuses(
        with_header("authorization", lambda value: (value or "").startswith("bearer ")),
        401,
        headers=[(CHALLENGE, "Bearer")],
    ),
)
table.add(
    "metadata-nowhere",
    "protected-resource-metadata-discovery-requirements/found",
    "Does not say where its metadata is, and has none at home.",
    _NoMetadata,
)
table.add(
    "metadata-elsewhere",
    "protected-resource-metadata-discovery-requirements/found",
    "Points to where there is no metadata.",
    header_of(requests, CHALLENGE, 'Bearer resource_metadata="http://127.0.0.1:9/none"'),
)
table.add(
    "metadata-in-array",
    "protected-resource-metadata-discovery-requirements/found",
    "Gives metadata in an array.",
    metadata(lambda value: b"[]"),
)
table.add(
    "nobody-to-ask",
    "authorization-server-location/authorization-servers",
    "Names no authorization server.",
    metadata(lambda value: {**value, "authorization_servers": []}),
)
table.add(
    "path-to-ask",
    "authorization-server-location/authorization-servers",
    "Names an authorization server that is no URL.",
    metadata(lambda value: {**value, "authorization_servers": ["auth"]}),
)
table.add(
    "other-resource",
    "authorization-server-location/resource",
    "Gives the metadata of another resource.",
    metadata(lambda value: {**value, "resource": "https://other.example.com/mcp"}),
)
table.add(
    "shorter-resource",
    "authorization-server-location/resource",
    "Gives the metadata of a resource whose path begins like its own.",
    metadata(lambda value: {**value, "resource": value["resource"][:-1]}),
)
table.add(
    "shorter-port",
    "authorization-server-location/resource",
    "Gives the metadata of an origin whose port begins like its own.",
    metadata(lambda value: {**value, "resource": value["resource"].rpartition("/")[0][:-1]}),
)
