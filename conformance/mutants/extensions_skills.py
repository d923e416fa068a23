"""Mutants of the extension io.modelcontextprotocol/skills."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import Change, drop, each, first, over, put
from conformance.mutants.fault import Breaks, Value
from conformance.mutants.faults import code, results_of, takes
from conformance.mutants.model import Table
from mcpcore_conformance.kit.shapes import SKILLS

table = Table("extensions/skills")

HINTS: Value = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
ENTRY: Value = {
    "uri": "skill://any/SKILL.md",
    "frontmatter": {"name": "any", "description": "Whatever was asked for"},
    "resources": "dynamic",
}


def _entries(edit: Change) -> Breaks:
    return results_of("skills/list", over("skills", each(edit)))


def _file(edit: Change) -> Breaks:
    """Edit the first file of each entry."""
    return _entries(over("resources", first(edit)))


def _head(**fields: Any) -> Breaks:
    return _entries(over("frontmatter", put(**fields)))


def _files(edit: Callable[[list[Value]], list[Value]]) -> Breaks:
    return _entries(over("resources", edit))


def _declared(edit: Callable[[Value], Value]) -> Breaks:
    return results_of("server/discover", over("capabilities", edit))


def _children(edit: Callable[[list[Value]], list[Value]]) -> Breaks:
    return results_of("resources/directory/read", over("resources", edit))


table.server("no-resources", "with-resources").does(
    "Declares skills and no resources.", _declared(drop("resources"))
)
table.server("settings-true", "with-resources").does(
    "Declares skills by true.", _declared(put(extensions={SKILLS: True}))
)
table.server("no-hints", "shape").does(
    "Does not say how long the list stays fresh.", results_of("skills/list", drop("ttlMs"))
)
table.server("no-files", "shape").does(
    "Leaves out the files of its skills.", _entries(drop("resources"))
)
table.server("title-as-name", "name-in-uri", "skill-file").does(
    "Has a title where the name is.", _head(name="Greeting")
)
table.server("bad-names", "name-in-uri").does(
    "Has names with two hyphens in a row.",
    _entries(
        lambda entry: {
            **entry,
            "uri": "skill://a--b/SKILL.md",
            "frontmatter": {**entry["frontmatter"], "name": "a--b"},
        }
    ),
)
table.server("supporting-files-only", "complete").does(
    "Lists the files beside SKILL.md alone.", _files(lambda files: files[1:])
)
table.server("twice", "complete").does(
    "Lists a file twice.", _files(lambda files: [*files, files[0]])
)
table.server("outside", "complete").does(
    "Lists a file of somebody else.",
    _files(lambda files: [*files, {**files[0], "uri": "skill://other/SKILL.md"}]),
)
table.server("short-digest", "complete").does(
    "Has digests that say nothing of how they were made.",
    _file(over("digest", lambda digest: digest.removeprefix("sha256:"))),
)
table.server("own-files-only", "nested").does(
    "Leaves the files of nested skills out of the enclosing one.",
    _entries(
        lambda entry: {
            **entry,
            "resources": [
                file
                for file in entry["resources"]
                if file["uri"] == entry["uri"] or not file["uri"].endswith("/SKILL.md")
            ],
        }
    ),
)
table.server("size-in-characters", "digest-and-size").does(
    "Counts something else than bytes.", _file(over("size", lambda size: size + 1))
)
table.server("digest-of-something-else", "digest-and-size").does(
    "Has the digest of what the file was before.", _file(put(digest=f"sha256:{0:064}"))
)
table.server("curated", "identical").does(
    "Tells name and description alone.",
    _entries(
        over("frontmatter", lambda found: {key: found[key] for key in ("name", "description")})
    ),
)
table.server("promises-more", "identical").does(
    "Describes a skill otherwise than the skill itself.",
    _head(description="Does whatever you want"),
)
table.server("large", "within").does(
    "Has a file of more than 16 MiB.", _file(put(size=16 * 1024 * 1024))
)
table.server("many", "within").does("Has a thousand files.", _files(lambda files: files * 300))
table.server("one-name", "unique").does("Gives all skills one name.", _head(name="skill"))
table.server("split", "once").does(
    "Splits an entry into two.",
    results_of(
        "skills/list",
        lambda result: {
            **result,
            "skills": [
                {**entry, "resources": part}
                for entry in result["skills"]
                for part in (entry["resources"][:1], entry["resources"][1:])
            ],
        },
    ),
)
table.server("plain-text", "skill-file").does(
    "Takes Markdown for plain text.",
    results_of("resources/read", over("contents", each(put(mimeType="text/plain")))),
)
table.server("another-entry", "same-entry").does(
    "Has one entry for every skill.", takes("skills/get", {**HINTS, "skill": ENTRY})
)
table.server("cursor", "same-entry").does(
    "Gives an entry a cursor.", results_of("skills/get", put(nextCursor="more"))
)
table.server("knows-every-skill", "unknown").does(
    "Has a skill at every URI.", takes("skills/get", {**HINTS, "skill": ENTRY})
)
table.server("other-code", "unknown", "unknown-file", "no-directory").does(
    "Has a code of its own for what it does not find.", code(-32602, -32002)
)
table.server("every-file", "unknown-file").does(
    "Has every file.", takes("resources/read", {**HINTS, "contents": []})
)
table.server("recursive", "children").does(
    "Lists what is in the directories of a directory as well.",
    _children(
        lambda found: [*found, {**found[0], "uri": f"{found[0]['uri']}/below", "name": "below"}]
    ),
)
table.server("first-child", "children").does(
    "Lists one child of a directory.", _children(lambda found: found[:1])
)
table.server("directories-as-files", "children").does(
    "Does not say which children are directories.", _children(each(drop("mimeType")))
)
table.server("empty-directories", "no-directory").does(
    "Takes whatever it does not know for an empty directory.",
    takes("resources/directory/read", {"resultType": "complete", "resources": []}),
)
