"""Mutants whose metadata is wrong."""

from conformance.mutants.basic_authorization import metadata
from conformance.mutants.edits import drop, over, put
from conformance.mutants.fault import Fault
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Head

table = Table("rfc9728")


@table.server("metadata-as-text", "json")
class _AsText(Fault):
    """Serves its metadata as text."""

    def head(self, head: Head) -> Head:
        if head.exchange not in self.exchanges:
            kept = [each for each in head.headers if each[0] != "content-type"]
            head.headers = [*kept, ("content-type", "text/plain")]
        return head


table.server("scopes-in-one-text", "members").does(
    "Lists its scopes in one text.", metadata(put(scopes_supported="mcp:use mcp:write"))
)
table.server("no-resource", "members").does(
    "Does not say which resource it is.", metadata(drop("resource"))
)
table.server("other-method", "members").does(
    "Takes tokens in a way that there is not.", metadata(put(bearer_methods_supported=["cookie"]))
)
table.server("resource-without-path", "identical").does(
    "Names its origin as the resource.",
    metadata(over("resource", lambda uri: uri.removesuffix("/mcp"))),
)
table.server("other-issuer", "own-issuer").does(
    "Points to an authorization server whose tokens it does not take.",
    metadata(put(authorization_servers=["https://auth.example.com"])),
)
