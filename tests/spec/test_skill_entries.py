"""Entries of skills: names, URIs, digests and limits, as servers make and clients check them."""

from typing import Any

import pytest

from mcpcore.spec import skills
from mcpcore.spec.types.skills import Skill, SkillResource

ROOT = "skill://acme/refunds"
URI = f"{ROOT}/SKILL.md"
DIGEST = skills.content_digest(b"")


def entry(*, uri: str = URI, resources: Any = (), **fields: Any) -> Skill:
    head = {"name": "refunds", "description": "Pays back", **fields}
    files = [SkillResource(uri=URI, digest=DIGEST, size=0), *resources]
    return Skill(uri=uri, frontmatter=head, resources=files)


def file(path: str, *, root: str = ROOT, digest: str = DIGEST, size: int = 0) -> SkillResource:
    return SkillResource(uri=f"{root}/{path}", digest=digest, size=size)


def test_an_entry_gives_its_files_by_path() -> None:
    found = skills.check_entry(entry(resources=[file("a/b%20c.md"), file("x%25.py")]))
    assert list(found) == ["SKILL.md", "a/b c.md", "x%.py"]
    dynamic = Skill(uri=URI, frontmatter=entry().frontmatter, resources="dynamic")
    assert skills.check_entry(dynamic) == {}


@pytest.mark.parametrize("scheme", ["skill://a/", "github://a/b/", "file:///a/", "a+skill://"])
def test_every_scheme_is_as_good(scheme: str) -> None:
    assert skills.root_of(f"{scheme}refunds/SKILL.md") == f"{scheme}refunds"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"uri": "skill://acme/refunds/skill.md"}, "no URI of a SKILL.md"),
        ({"uri": "skill:refunds/SKILL.md"}, "no URI of a SKILL.md"),
        ({"uri": "SKILL.md"}, "no URI of a SKILL.md"),
        ({"uri": "skill:///../SKILL.md"}, "no path"),
        ({"uri": "skill://acme/other/SKILL.md"}, "not the name of the directory, 'other'"),
        ({"name": None}, "name: expected 1 to 64"),
        ({"name": "Refunds"}, "name: expected 1 to 64"),
        ({"name": "re--funds"}, "name: expected 1 to 64"),
        ({"name": "-refunds"}, "name: expected 1 to 64"),
        ({"name": "r" * 65}, "name: expected 1 to 64"),
        ({"description": ""}, "description: expected text"),
        ({"description": 3}, "description: expected text"),
        ({"description": "x" * 1025}, "description: 1025 characters"),
        ({"resources": [file("SKILL.md")]}, "listed twice"),
        ({"resources": [file("a.md"), file("%61.md")]}, "listed twice"),
        ({"resources": [file("a", root="skill://acme/refunds2")]}, "outside of the skill"),
        ({"resources": [file("../refunds/a")]}, "no path"),
        ({"resources": [file("%2e%2E/a")]}, "no path"),
        ({"resources": [file("a%2Fb")]}, "no URI of a file"),
        ({"resources": [file("a%5Cb")]}, "no path"),
        ({"resources": [file("a?b")]}, "no URI of a file"),
        ({"resources": [file("a%00")]}, "no path"),
        ({"resources": [file("")]}, "no path"),
        ({"resources": [file("%ff")]}, "can't decode"),
        ({"resources": [file("a", digest=DIGEST.upper())]}, "the digest of 'a'"),
        ({"resources": [file("a", digest=DIGEST[7:])]}, "the digest of 'a'"),
        ({"resources": [file("a", size=-1)]}, "the size of 'a'"),
        ({"resources": [file("a", size=16 * 1024 * 1024 + 1)]}, "16777216 bytes"),
        ({"resources": [file(str(number)) for number in range(512)]}, "512 files"),
    ],
)
def test_entries_that_break_a_rule(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        skills.check_entry(entry(**changes))


def test_the_limits_themselves_are_kept_to() -> None:
    most = [file(str(number), size=0) for number in range(510)]
    assert len(skills.check_entry(entry(resources=[*most, file("a", size=2**24)]))) == 512


def test_a_skill_without_its_file_is_none() -> None:
    files = [file("a.md")]
    with pytest.raises(ValueError, match=r"SKILL\.md is missing"):
        skills.check_entry(Skill(uri=URI, frontmatter=entry().frontmatter, resources=files))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"compatibility": ""}, "compatibility: expected text"),
        ({"compatibility": "x" * 501}, "compatibility: 501 characters"),
        ({"license": 2.0}, "license: expected text, got 2.0"),
        ({"allowed-tools": {"a": "b"}}, "allowed-tools: expected a string or strings"),
        ({"allowed-tools": ["a", 1]}, "allowed-tools: expected a string or strings"),
        ({"metadata": []}, "metadata: expected names with values"),
        ({"metadata": {"version": 1.0}}, r"metadata\.version: expected a string, in quotes"),
    ],
)
def test_fields_of_the_agent_skills_specification(fields: dict[str, Any], reason: str) -> None:
    head = {"name": "a", "description": "b"}
    good = {"compatibility": "x", "license": "MIT", "allowed-tools": ["a"], "metadata": {"v": "1"}}
    skills.check_frontmatter({**head, **good, "more": [1]}, "a")
    with pytest.raises(ValueError, match=reason):
        skills.check_frontmatter({**head, **fields}, "a")


def test_contents_are_held_against_size_digest_and_front_matter() -> None:
    data = b"---\nname: a\nn: 1\n---\n"
    listed = SkillResource(uri=URI, digest=skills.content_digest(data), size=len(data))
    skills.check_content(listed, data)
    skills.check_same({"name": "a", "n": 1}, data)
    for other, reason in ((data + b"\n", "has 22 bytes"), (data[:-1] + b"x", "digest")):
        with pytest.raises(ValueError, match=reason):
            skills.check_content(listed, other)
    for head in ({"name": "a"}, {"name": "a", "n": True}, {"name": "a", "n": 1, "m": None}):
        with pytest.raises(ValueError, match=r"^[nm]: the entry and SKILL\.md differ"):
            skills.check_same(head, data)
