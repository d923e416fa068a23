"""Mutants of the extension io.modelcontextprotocol/skills."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault, Value
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


def _without(name: str) -> Callable[[Value], Value]:
    return lambda value: {key: each for key, each in value.items() if key != name}


def _entries(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit each entry, wherever it is told."""
    return results_of(
        "skills/list", lambda result: {**result, "skills": [*map(edit, result["skills"])]}
    )


def _file(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the first file of each entry."""

    def change(entry: Value) -> Value:
        first, *rest = entry["resources"]
        return {**entry, "resources": [edit(first), *rest]}

    return _entries(change)


def _head(**fields: Any) -> Callable[[], Fault]:
    return _entries(lambda entry: {**entry, "frontmatter": {**entry["frontmatter"], **fields}})


def _files(edit: Callable[[list[Value]], list[Value]]) -> Callable[[], Fault]:
    return _entries(lambda entry: {**entry, "resources": edit(entry["resources"])})


def _declared(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of(
        "server/discover",
        lambda result: {**result, "capabilities": edit(result["capabilities"])},
    )


def _contents(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of(
        "resources/read", lambda result: {**result, "contents": [*map(edit, result["contents"])]}
    )


def _children(edit: Callable[[list[Value]], list[Value]]) -> Callable[[], Fault]:
    return results_of(
        "resources/directory/read",
        lambda result: {**result, "resources": edit(result["resources"])},
    )


table.add(
    "no-resources",
    "capability-negotiation/with-resources",
    "Declares skills and no resources.",
    _declared(_without("resources")),
)
table.add(
    "settings-true",
    "capability-negotiation/with-resources",
    "Declares skills by true.",
    _declared(lambda found: {**found, "extensions": {SKILLS: True}}),
)
table.add(
    "no-hints",
    "listing-skills/shape",
    "Does not say how long the list stays fresh.",
    results_of("skills/list", _without("ttlMs")),
)
table.add(
    "no-files",
    "listing-skills/shape",
    "Leaves out the files of its skills.",
    _entries(_without("resources")),
)
table.add(
    "title-as-name",
    ("resource-mapping/name-in-uri", "resource-metadata/skill-file"),
    "Has a title where the name is.",
    _head(name="Greeting"),
)
table.add(
    "bad-names",
    "resource-mapping/name-in-uri",
    "Has names with two hyphens in a row.",
    _entries(
        lambda entry: {
            **entry,
            "uri": "skill://a--b/SKILL.md",
            "frontmatter": {**entry["frontmatter"], "name": "a--b"},
        }
    ),
)
table.add(
    "supporting-files-only",
    "resources/complete",
    "Lists the files beside SKILL.md alone.",
    _files(lambda files: files[1:]),
)
table.add(
    "twice",
    "resources/complete",
    "Lists a file twice.",
    _files(lambda files: [*files, files[0]]),
)
table.add(
    "outside",
    "resources/complete",
    "Lists a file of somebody else.",
    _files(lambda files: [*files, {**files[0], "uri": "skill://other/SKILL.md"}]),
)
table.add(
    "short-digest",
    "resources/complete",
    "Has digests that say nothing of how they were made.",
    _file(lambda file: {**file, "digest": file["digest"].removeprefix("sha256:")}),
)
table.add(
    "own-files-only",
    "resources/nested",
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
table.add(
    "size-in-characters",
    "integrity-and-verification/digest-and-size",
    "Counts something else than bytes.",
    _file(lambda file: {**file, "size": file["size"] + 1}),
)
table.add(
    "digest-of-something-else",
    "integrity-and-verification/digest-and-size",
    "Has the digest of what the file was before.",
    _file(lambda file: {**file, "digest": f"sha256:{0:064}"}),
)
table.add(
    "curated",
    "frontmatter/identical",
    "Tells name and description alone.",
    _entries(
        lambda entry: {
            **entry,
            "frontmatter": {key: entry["frontmatter"][key] for key in ("name", "description")},
        }
    ),
)
table.add(
    "promises-more",
    "frontmatter/identical",
    "Describes a skill otherwise than the skill itself.",
    _head(description="Does whatever you want"),
)
table.add(
    "large",
    "limits/within",
    "Has a file of more than 16 MiB.",
    _file(lambda file: {**file, "size": 16 * 1024 * 1024}),
)
table.add(
    "many",
    "limits/within",
    "Has a thousand files.",
    _files(lambda files: files * 300),
)
table.add("one-name", "names/unique", "Gives all skills one name.", _head(name="skill"))
table.add(
    "split",
    "listing-skills/once",
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
table.add(
    "plain-text",
    "resource-metadata/skill-file",
    "Takes Markdown for plain text.",
    _contents(lambda each: {**each, "mimeType": "text/plain"}),
)
table.add(
    "another-entry",
    "getting-a-skill/same-entry",
    "Has one entry for every skill.",
    takes("skills/get", {**HINTS, "skill": ENTRY}),
)
table.add(
    "cursor",
    "getting-a-skill/same-entry",
    "Gives an entry a cursor.",
    results_of("skills/get", lambda result: {**result, "nextCursor": "more"}),
)
table.add(
    "knows-every-skill",
    "getting-a-skill/unknown",
    "Has a skill at every URI.",
    takes("skills/get", {**HINTS, "skill": ENTRY}),
)
table.add(
    "other-code",
    ("getting-a-skill/unknown", "error-handling/unknown-file", "reading-directories/no-directory"),
    "Has a code of its own for what it does not find.",
    code(-32602, -32002),
)
table.add(
    "every-file",
    "error-handling/unknown-file",
    "Has every file.",
    takes("resources/read", {**HINTS, "contents": []}),
)
table.add(
    "recursive",
    "reading-directories/children",
    "Lists what is in the directories of a directory as well.",
    _children(
        lambda found: [*found, {**found[0], "uri": f"{found[0]['uri']}/below", "name": "below"}]
    ),
)
table.add(
    "first-child",
    "reading-directories/children",
    "Lists one child of a directory.",
    _children(lambda found: found[:1]),
)
table.add(
    "directories-as-files",
    "reading-directories/children",
    "Does not say which children are directories.",
    _children(lambda found: [*map(_without("mimeType"), found)]),
)
table.add(
    "empty-directories",
    "reading-directories/no-directory",
    "Takes whatever it does not know for an empty directory.",
    takes("resources/directory/read", {"resultType": "complete", "resources": []}),
)
