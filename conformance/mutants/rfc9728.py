"""Mutants whose metadata is wrong."""

from conformance.mutants.basic_authorization import metadata
from conformance.mutants.faults import Fault
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Head

table = Table("rfc9728")


class _AsText(Fault):
    """Serves its metadata as text."""

    def head(self, head: Head) -> Head:
        if head.exchange not in self.exchanges:
            kept = [each for each in head.headers if each[0] != "content-type"]
            head.headers = [*kept, ("content-type", "text/plain")]
        return head


table.add(
    "scopes-in-one-text",
    "section-2/members",
    "Lists its scopes in one text.",
    metadata(lambda value: {**value, "scopes_supported": "mcp:use mcp:write"}),
)
table.add(
    "no-resource",
    "section-2/members",
    "Does not say which resource it is.",
    metadata(lambda value: {k: v for k, v in value.items() if k != "resource"}),
)
table.add(
    "other-method",
    "section-2/members",
    "Takes tokens in a way that there is not.",
    metadata(lambda value: {**value, "bearer_methods_supported": ["cookie"]}),
)
table.add("metadata-as-text", "section-3.2/json", "Serves its metadata as text.", _AsText)
table.add(
    "resource-without-path",
    "section-3.3/identical",
    "Names its origin as the resource.",
    metadata(lambda value: {**value, "resource": value["resource"].removesuffix("/mcp")}),
)
table.add(
    "other-issuer",
    "section-2/own-issuer",
    "Points to an authorization server whose tokens it does not take.",
    metadata(lambda value: {**value, "authorization_servers": ["https://auth.example.com"]}),
)
