"""Mutants of the page basic/authorization whose scopes are wrong."""

from conformance.mutants.basic_authorization import CHALLENGE, metadata
from conformance.mutants.credentials import bearing
from conformance.mutants.http_faults import calls, header_of, refuses, requests, status_of
from conformance.mutants.model import Table
from mcpcore_conformance.kit.tokens import SCOPE, SCOPED_TOOL, TOOL_SCOPE

table = Table("basic/authorization")

_bare = bearing(lambda _, claims: "scope" not in claims)
_call = calls("tools/call", SCOPED_TOOL)
_METADATA = 'resource_metadata="http://127.0.0.1:9/none"'
_ERROR = 'error="insufficient_scope"'

table.add(
    "no-metadata-in-challenge",
    "authorization-server-location/metadata-in-challenge",
    "Has its metadata at home alone.",
    header_of(requests, CHALLENGE, "Bearer"),
)
table.add(
    "no-scope-in-challenge",
    "scope-selection-strategy/scope-in-challenge",
    "Does not say which scopes are needed.",
    header_of(requests, CHALLENGE, "Bearer"),
)
table.add(
    "challenges-for-offline-access",
    "refresh-tokens/no-offline-access",
    "Asks for refresh tokens in its challenge.",
    header_of(requests, CHALLENGE, f'Bearer scope="{SCOPE} offline_access"'),
)
table.add(
    "lists-offline-access",
    "refresh-tokens/no-offline-access",
    "Asks for refresh tokens in its metadata.",
    metadata(lambda value: {**value, "scopes_supported": [SCOPE, "offline_access"]}),
)
table.add(
    "scope-lacking-is-invalid",
    "error-handling/insufficient-scope",
    "Answers with 401 where a scope is missing.",
    status_of(_bare, 401),
)
table.add(
    "forbidden-without-a-word",
    "runtime-insufficient-scope-errors/challenge",
    "Does not say what would help.",
    header_of(_bare, CHALLENGE, None),
)
table.add(
    "forbidden-without-scope",
    "runtime-insufficient-scope-errors/challenge",
    "Does not say which scope is missing.",
    header_of(_bare, CHALLENGE, f"Bearer {_ERROR}, {_METADATA}"),
)
table.add(
    "forbidden-without-metadata",
    "runtime-insufficient-scope-errors/challenge",
    "Does not say in a 403 where its metadata is.",
    header_of(_bare, CHALLENGE, f'Bearer {_ERROR}, scope="{SCOPE}"'),
)
table.add(
    "tool-for-everybody",
    "runtime-insufficient-scope-errors/of-a-tool",
    "Lets everybody call a tool that needs a scope.",
    status_of(_call, 200),
)
table.add(
    "tool-without-its-scope",
    "runtime-insufficient-scope-errors/of-a-tool",
    "Names the scopes of every request where that of a tool is missing.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{SCOPE}", {_METADATA}'),
)
table.add(
    "one-scope-after-another",
    "runtime-insufficient-scope-errors/one-challenge",
    "Names the scope that is missing alone.",
    header_of(_call, CHALLENGE, f'Bearer {_ERROR}, scope="{TOOL_SCOPE}", {_METADATA}'),
)
table.add(
    "no-hierarchy",
    "step-up-authorization-flow/hierarchies",
    "Wants the very scope that it has named.",
    refuses(_call, 403),
)
