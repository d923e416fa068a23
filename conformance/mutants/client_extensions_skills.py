"""Mutants of clients for the extension io.modelcontextprotocol/skills."""

from collections.abc import Callable

from conformance.mutants.client_fault import Value
from conformance.mutants.client_faults import adds, reports
from conformance.mutants.model import Table
from mcpcore_conformance.cases.client_extensions_skills import OTHER, ROOT, URI

table = Table("extensions/skills")

LOADED: Value = {"result": {"files": {"SKILL.md": "whatever came"}}}


def _reads(uri: str, method: str = "resources/read") -> Callable[[Value], Value]:
    return lambda value: {
        **value,
        "id": f"more than {value['id']}",
        "method": method,
        "params": {**value["params"], "uri": uri},
    }


table.client(
    "trusts",
    "digest",
    "digest-of-a-file",
    "size",
    "frontmatter",
    "unlisted-field",
    "unlisted-file",
    "no-resources",
    "loads",
).does("Uses whatever comes.", reports(0, LOADED))
table.client("reads-everything", "unlisted-file").does(
    "Reads a file that no entry lists, and throws it away.", adds("resources/read", _reads(OTHER))
)
table.client("prefetches", "no-prefetch").does(
    "Reads the files of every skill that is listed.", adds("skills/list", _reads(URI))
)
table.client("reads-directories", "no-directories").does(
    "Reads directories of every server.",
    adds("skills/list", _reads(ROOT, "resources/directory/read")),
)
