"""Mutants of the page basic/authorization."""

from collections.abc import Callable

from conformance.mutants.edits import Change, over, put
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import hooked
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


def metadata(edit: Change) -> Callable[[], Fault]:
    """Give other metadata."""
    return hooked(
        message=lambda value: (edit(value) if "authorization_servers" in value else value,)
    )


@table.server("metadata-nowhere", "protected-resource-metadata-discovery-requirements/found")
class _NoMetadata(Fault):
    """Does not say where its metadata is, and has none at home."""

    def head(self, head: Head) -> Head:
        if head.exchange not in self.exchanges:
            head.status = 404
        head.headers = [each for each in head.headers if each[0] != CHALLENGE]
        return head


table.server("no-challenge", "token-handling/challenge").does(
    "Refuses without a challenge.", header_of(requests, CHALLENGE, None)
)
table.server("basic-challenge", "token-handling/challenge").does(
    "Wants a password.", header_of(requests, CHALLENGE, 'Basic realm="kit"')
)
table.server("open-to-notifications", "token-requirements/every-request").does(
    "Takes notifications of everybody.", refuses(notifications, 202)
)
table.server("open-to-delete", "token-requirements/every-request").does(
    "Ends the sessions of everybody.", refuses(lambda asked: asked.method == "DELETE", 200)
)
table.server(
    "open-to-listeners", "token-requirements/every-request", revisions=until("2025-06-18")
).does(
    "Opens streams for everybody.",
    refuses(
        lambda asked: asked.method == "GET", 200, headers=[("content-type", "text/event-stream")]
    ),
)
table.server(
    "any-token", "token-handling/invalid-token", "token-handling/invalid-token-error"
).does("Takes every token.", status_of(_bearer, 200))
table.server("forbidden", "token-handling/invalid-token").does(
    "Answers for a token that it does not know with 403.", status_of(_bearer, 403)
)
table.server("silent-about-token", "token-handling/invalid-token-error").does(
    "Does not say that the token is invalid.", header_of(_bearer, CHALLENGE, "Bearer")
)
table.server("any-credentials", "error-handling/malformed-credentials").does(
    "Takes whatever credentials there are.", status_of(with_header("authorization"), 200)
)
table.server("token-in-query", "token-requirements/not-in-the-query").does(
    "Takes a token of the query.", status_of(lambda asked: "?" in (asked.target or ""), 200)
)
table.server("no-token-good", "token-requirements/in-the-header").does(
    "Refuses its own tokens.", refuses(_bearer, 401, headers=[(CHALLENGE, "Bearer")])
)
table.server("scheme-in-one-case", "token-requirements/in-the-header").does(
    "Wants the scheme with a capital letter.",
    refuses(
        with_header("authorization", lambda value: (value or "").startswith("bearer ")),
        401,
        headers=[(CHALLENGE, "Bearer")],
    ),
)
table.server("metadata-elsewhere", "protected-resource-metadata-discovery-requirements/found").does(
    "Points to where there is no metadata.",
    header_of(requests, CHALLENGE, 'Bearer resource_metadata="http://127.0.0.1:9/none"'),
)
table.server("metadata-in-array", "protected-resource-metadata-discovery-requirements/found").does(
    "Gives metadata in an array.", metadata(lambda value: b"[]")
)
table.server("nobody-to-ask", "authorization-server-location/authorization-servers").does(
    "Names no authorization server.", metadata(put(authorization_servers=[]))
)
table.server("path-to-ask", "authorization-server-location/authorization-servers").does(
    "Names an authorization server that is no URL.", metadata(put(authorization_servers=["auth"]))
)
table.server("other-resource", "authorization-server-location/resource").does(
    "Gives the metadata of another resource.",
    metadata(put(resource="https://other.example.com/mcp")),
)
table.server("shorter-resource", "authorization-server-location/resource").does(
    "Gives the metadata of a resource whose path begins like its own.",
    metadata(over("resource", lambda uri: uri[:-1])),
)
table.server("shorter-port", "authorization-server-location/resource").does(
    "Gives the metadata of an origin whose port begins like its own.",
    metadata(over("resource", lambda uri: uri.rpartition("/")[0][:-1])),
)
