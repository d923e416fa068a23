"""Mutants of the page basic/authorization."""

import time
from collections.abc import Callable
from typing import Any

from conformance.mutants.credentials import Test, bearing, token_of
from conformance.mutants.edits import Change, over, put
from conformance.mutants.fault import Asked, Breaks, Fault
from conformance.mutants.faults import hooked
from conformance.mutants.http_faults import (
    calls,
    deletes,
    gets,
    header_of,
    notifications,
    refuses,
    requests,
    status_of,
    with_header,
)
from conformance.mutants.model import Table, until
from conformance.mutants.rfc6455 import answers
from mcpcore_conformance.kit.heard import Head, header
from mcpcore_conformance.kit.tokens import SCOPE, SCOPED_TOOL, TOOL_SCOPE, read
from mcpcore_conformance.kit.wire import Refused

table = Table("basic/authorization")

CHALLENGE = "www-authenticate"


def _bearer(asked: Asked) -> bool:
    """Whether a request brings a token of the bearer scheme."""
    return (asked.headers.get("authorization") or "").lower().startswith("bearer ")


def metadata(edit: Change) -> Breaks:
    """Give other metadata."""
    return hooked(
        message=lambda value: (edit(value) if "authorization_servers" in value else value,)
    )


@table.server("metadata-nowhere", "found")
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
table.server("open-to-notifications", "every-request").does(
    "Takes notifications of everybody.", refuses(notifications, 202)
)
table.server("open-to-delete", "every-request").does(
    "Ends the sessions of everybody.", refuses(deletes, 200)
)
table.server("open-to-listeners", "every-request", revisions=until("2025-06-18")).does(
    "Opens streams for everybody.",
    refuses(gets, 200, headers=[("content-type", "text/event-stream")]),
)
table.server("any-token", "invalid-token", "invalid-token-error").does(
    "Takes every token.", status_of(_bearer, 200)
)
table.server("forbidden", "invalid-token").does(
    "Answers for a token that it does not know with 403.", status_of(_bearer, 403)
)
table.server("silent-about-token", "invalid-token-error").does(
    "Does not say that the token is invalid.", header_of(_bearer, CHALLENGE, "Bearer")
)
table.server("any-credentials", "malformed-credentials").does(
    "Takes whatever credentials there are.", status_of(with_header("authorization"), 200)
)
table.server("token-in-query", "not-in-the-query").does(
    "Takes a token of the query.", status_of(lambda asked: "?" in (asked.target or ""), 200)
)
table.server("no-token-good", "in-the-header").does(
    "Refuses its own tokens.", refuses(_bearer, 401, headers=[(CHALLENGE, "Bearer")])
)
table.server("scheme-in-one-case", "in-the-header").does(
    "Wants the scheme with a capital letter.",
    refuses(
        with_header("authorization", lambda value: (value or "").startswith("bearer ")),
        401,
        headers=[(CHALLENGE, "Bearer")],
    ),
)
table.server("metadata-elsewhere", "found").does(
    "Points to where there is no metadata.",
    header_of(requests, CHALLENGE, 'Bearer resource_metadata="http://127.0.0.1:9/none"'),
)
table.server("metadata-in-array", "found").does(
    "Gives metadata in an array.", metadata(lambda value: b"[]")
)
table.server("nobody-to-ask", "authorization-servers").does(
    "Names no authorization server.", metadata(put(authorization_servers=[]))
)
table.server("path-to-ask", "authorization-servers").does(
    "Names an authorization server that is no URL.", metadata(put(authorization_servers=["auth"]))
)
table.server("other-resource", "resource").does(
    "Gives the metadata of another resource.",
    metadata(put(resource="https://other.example.com/mcp")),
)
table.server("shorter-resource", "resource").does(
    "Gives the metadata of a resource whose path begins like its own.",
    metadata(over("resource", lambda uri: uri[:-1])),
)
table.server("shorter-port", "resource").does(
    "Gives the metadata of an origin whose port begins like its own.",
    metadata(over("resource", lambda uri: uri.rpartition("/")[0][:-1])),
)


Options = dict[str, Any]
_STRANGE = ("anonymous", "headers", "path")


def _lets_in(test: Callable[[Options], bool]) -> Breaks:
    """Take some openings for good ones."""

    def connecting(options: Options) -> Options:
        if not options.get("anonymous") or not test(options):
            return options
        return {name: each for name, each in options.items() if name not in _STRANGE}

    return hooked(connecting=connecting)


def _claims(options: Options) -> dict[str, Any] | None:
    """The claims of the token of an opening, if it has one."""
    value = header(options.get("headers") or [], "authorization")
    return None if value is None else read(value.partition(" ")[2])[1]


table.server("opening-wants-a-password", "opening-challenged").does(
    "Challenges openings without a token by another scheme.",
    answers(
        lambda refused: Refused(
            refused.reason, status=refused.status, headers=[("www-authenticate", "Basic")]
        )
    ),
)
table.server("opening-forbidden", "opening-challenged").does(
    "Refuses openings without a token with 403.",
    answers(lambda refused: Refused(refused.reason, status=403, headers=refused.headers)),
)
table.server("opens-to-everybody", "opening-challenged").does(
    "Opens connections without a token.",
    _lets_in(lambda options: not options.get("path") and _claims(options) is None),
)
table.server("opens-by-the-query", "opening-not-by-the-query").does(
    "Takes a token of the query for an opening.",
    _lets_in(lambda options: "access_token=" in (options.get("path") or "")),
)
table.server("opens-to-the-past", "opening-expired").does(
    "Opens connections for tokens that have expired.",
    _lets_in(lambda options: (_claims(options) or {}).get("exp", time.time()) < time.time() - 60),
)
table.server("opens-to-any-audience", "opening-audience").does(
    "Opens connections for tokens of other servers.",
    _lets_in(lambda options: (_claims(options) or {}).get("aud") == "https://mcp.example.com/mcp"),
)
table.server("opens-to-no-audience", "opening-audience").does(
    "Opens connections for tokens of no server.",
    _lets_in(lambda options: "aud" not in (_claims(options) or {"aud": ""})),
)


_bare = bearing(lambda _, claims: "scope" not in claims)
_call = calls("tools/call", SCOPED_TOOL)
_METADATA = 'resource_metadata="http://127.0.0.1:9/none"'
_ERROR = 'error="insufficient_scope"'

table.server("no-metadata-in-challenge", "metadata-in-challenge").does(
    "Has its metadata at home alone.", header_of(requests, CHALLENGE, "Bearer")
)
table.server("no-scope-in-challenge", "scope-in-challenge").does(
    "Does not say which scopes are needed.", header_of(requests, CHALLENGE, "Bearer")
)
table.server("challenges-for-offline-access", "no-offline-access").does(
    "Asks for refresh tokens in its challenge.",
    header_of(requests, CHALLENGE, f'Bearer scope="{SCOPE} offline_access"'),
)
table.server("lists-offline-access", "no-offline-access").does(
    "Asks for refresh tokens in its metadata.",
    metadata(put(scopes_supported=[SCOPE, "offline_access"])),
)
table.server("scope-lacking-is-invalid", "insufficient-scope").does(
    "Answers with 401 where a scope is missing.", status_of(_bare, 401)
)
table.server("forbidden-without-a-word", "runtime-insufficient-scope-errors/challenge").does(
    "Does not say what would help.", header_of(_bare, CHALLENGE, None)
)
table.server("forbidden-without-scope", "runtime-insufficient-scope-errors/challenge").does(
    "Does not say which scope is missing.",
    header_of(_bare, CHALLENGE, f"Bearer {_ERROR}, {_METADATA}"),
)
table.server("forbidden-without-metadata", "runtime-insufficient-scope-errors/challenge").does(
    "Does not say in a 403 where its metadata is.",
    header_of(_bare, CHALLENGE, f'Bearer {_ERROR}, scope="{SCOPE}"'),
)
table.server("tool-for-everybody", "of-a-tool").does(
    "Lets everybody call a tool that needs a scope.", status_of(_call, 200)
)
table.server("tool-without-its-scope", "of-a-tool").does(
    "Names the scopes of every request where that of a tool is missing.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{SCOPE}", {_METADATA}'),
)
table.server("one-scope-after-another", "one-challenge").does(
    "Names the scope that is missing alone.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{TOOL_SCOPE}", {_METADATA}'),
)
table.server("no-hierarchy", "hierarchies").does(
    "Wants the very scope that it has named.", refuses(_call, 403)
)


_OPENINGS = ("initialize", "server/discover")


def _takes(test: Test) -> Breaks:
    return status_of(bearing(test), 200)


table.server("no-end", "expired").does(
    "Takes tokens that have expired.", _takes(lambda _, claims: claims.get("exp", 0) < time.time())
)
table.server("no-beginning", "not-yet-valid").does(
    "Takes tokens before they are valid.",
    _takes(lambda _, claims: claims.get("nbf", 0) > time.time()),
)
table.server("any-audience", "audience").does(
    "Takes tokens for clients.", _takes(lambda _, claims: claims.get("aud") == "conformance-kit")
)
table.server("audience-begins-alike", "audience").does(
    "Takes tokens for what begins like its own URL.",
    _takes(lambda _, claims: str(claims.get("aud")).endswith("-of-others")),
)
table.server("no-audience", "audience").does(
    "Takes tokens for nobody.", _takes(lambda _, claims: "aud" not in claims)
)
table.server("any-issuer", "issuer").does(
    "Takes tokens of another issuer, if the signature holds.",
    _takes(lambda _, claims: claims.get("iss") == "https://auth.example.com"),
)
table.server("issuer-begins-alike", "issuer").does(
    "Takes tokens of an issuer whose name begins like the right one.",
    _takes(lambda _, claims: str(claims.get("iss")).endswith("/tenant")),
)
table.server("claims-not-signed", "signature").does(
    "Takes claims that were changed after they were signed.",
    _takes(lambda _, claims: claims.get("sub") == "somebody-else"),
)
table.server("no-signature", "signature").does(
    "Takes tokens whose signature is missing.",
    status_of(lambda asked: token_of(asked).endswith("."), 200),
)
table.server("algorithm-none", "algorithm").does(
    "Takes tokens of the algorithm none.", _takes(lambda header, _: header.get("alg") == "none")
)
table.server("public-key-as-secret", "algorithm").does(
    "Takes the public key for the secret of HS256.",
    _takes(lambda header, _: header.get("alg") == "HS256"),
)
table.server("key-of-the-token", "algorithm").does(
    "Verifies tokens by the key that they bring.", _takes(lambda header, _: "jwk" in header)
)
table.server("fails-at-odd-tokens", "malformed").does(
    "Has an error of its own at a token of five parts.",
    status_of(lambda asked: token_of(asked).count(".") == 4, 500),
)
table.server("token-without-algorithm", "malformed").does(
    "Takes tokens that do not say how they are signed.",
    _takes(lambda header, _: "alg" not in header),
)


def _later(asked: Asked) -> bool:
    """Whether a request without a token comes after the first."""
    later = requests(asked) and asked.value["method"] not in _OPENINGS
    return later and "authorization" not in asked.headers


table.server("asks-once", "each-by-itself").does(
    "Wants a token of the first request alone.", status_of(_later, 200)
)
table.server("session-is-a-token", "each-by-itself", revisions=until("2025-11-25")).does(
    "Lets whoever knows a session end it.",
    refuses(lambda asked: deletes(asked) and "accept" in asked.headers, 200),
)
