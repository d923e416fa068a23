"""Mutants of the page basic/authorization whose scopes are wrong."""

from conformance.mutants.basic_authorization import CHALLENGE, metadata
from conformance.mutants.credentials import bearing
from conformance.mutants.edits import put
from conformance.mutants.http_faults import calls, header_of, refuses, requests, status_of
from conformance.mutants.model import Table
from mcpcore_conformance.kit.tokens import SCOPE, SCOPED_TOOL, TOOL_SCOPE

table = Table("basic/authorization")

_bare = bearing(lambda _, claims: "scope" not in claims)
_call = calls("tools/call", SCOPED_TOOL)
_METADATA = 'resource_metadata="http://127.0.0.1:9/none"'
_ERROR = 'error="insufficient_scope"'

table.server(
    "no-metadata-in-challenge", "authorization-server-location/metadata-in-challenge"
).does("Has its metadata at home alone.", header_of(requests, CHALLENGE, "Bearer"))
table.server("no-scope-in-challenge", "scope-selection-strategy/scope-in-challenge").does(
    "Does not say which scopes are needed.", header_of(requests, CHALLENGE, "Bearer")
)
table.server("challenges-for-offline-access", "refresh-tokens/no-offline-access").does(
    "Asks for refresh tokens in its challenge.",
    header_of(requests, CHALLENGE, f'Bearer scope="{SCOPE} offline_access"'),
)
table.server("lists-offline-access", "refresh-tokens/no-offline-access").does(
    "Asks for refresh tokens in its metadata.",
    metadata(put(scopes_supported=[SCOPE, "offline_access"])),
)
table.server("scope-lacking-is-invalid", "error-handling/insufficient-scope").does(
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
table.server("tool-for-everybody", "runtime-insufficient-scope-errors/of-a-tool").does(
    "Lets everybody call a tool that needs a scope.", status_of(_call, 200)
)
table.server("tool-without-its-scope", "runtime-insufficient-scope-errors/of-a-tool").does(
    "Names the scopes of every request where that of a tool is missing.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{SCOPE}", {_METADATA}'),
)
table.server("one-scope-after-another", "runtime-insufficient-scope-errors/one-challenge").does(
    "Names the scope that is missing alone.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{TOOL_SCOPE}", {_METADATA}'),
)
table.server("no-hierarchy", "step-up-authorization-flow/hierarchies").does(
    "Wants the very scope that it has named.", refuses(_call, 403)
)
