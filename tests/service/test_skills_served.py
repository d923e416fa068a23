"""Skills of a server: declared from files, listed, got, read by directory, replaced and removed."""

from typing import Any

import pytest

from mcpcore.service import Server
from mcpcore.spec.capabilities import SKILLS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.skills import MAX_BYTES, MAX_FILES, content_digest
from tests.service.calling import ask

REFUNDS = "skill://acme/refunds"
FORMAL = f"{REFUNDS}/tones/formal"


def skill(name: str, more: str = "") -> bytes:
    return f"---\nname: {name}\ndescription: Does {name}\n{more}---\nBody\n".encode()


FILES = {
    "acme/refunds/SKILL.md": skill("refunds", "metadata:\n  v: '1'\n"),
    "acme/refunds/a b/x.png": b"\x89PNG\0",
    "acme/refunds/tones/formal/SKILL.md": skill("formal"),
    "git/SKILL.md": skill("git"),
    "README.md": b"what lies outside is left out",
}


def server(**options: Any) -> Server:
    made = Server("s")
    made.add_skills(FILES, **options)
    return made


def listed(of: Server) -> list[str]:
    return [each["uri"] for each in ask(of, "skills/list")["skills"]]


def children(of: Server, uri: str, **rest: Any) -> dict[str, str]:
    found = ask(of, "resources/directory/read", {"uri": uri, **rest})["resources"]
    return {each["uri"]: each["mimeType"] for each in found}


def code_of(of: Server, method: str, **params: Any) -> int:
    with pytest.raises(McpError) as caught:
        ask(of, method, params)
    return caught.value.code


def test_entries_have_the_front_matter_and_all_files() -> None:
    made = server()
    page = ask(made, "skills/list")
    assert (page["ttlMs"], page["cacheScope"]) == (60_000, "public")
    refunds, formal, git = page["skills"]
    head = {"name": "refunds", "description": "Does refunds", "metadata": {"v": "1"}}
    assert refunds["frontmatter"] == head
    assert [refunds["uri"], formal["uri"]] == [f"{REFUNDS}/SKILL.md", f"{FORMAL}/SKILL.md"]
    assert {each["uri"] for each in refunds["resources"]} == {
        *(f"{REFUNDS}/SKILL.md", f"{REFUNDS}/a%20b/x.png", f"{FORMAL}/SKILL.md")
    }
    data = FILES["git/SKILL.md"]
    file = {"uri": "skill://git/SKILL.md", "digest": content_digest(data), "size": len(data)}
    assert git["resources"] == [file]
    got = ask(made, "skills/get", {"uri": "skill://git/SKILL.md"})
    assert got == {"skill": git, "ttlMs": 60_000, "cacheScope": "public"}
    for uri in ("skill://git", "skill://git/README.md", f"{REFUNDS}/a%20b/x.png", ""):
        assert code_of(made, "skills/get", uri=uri) == INVALID_PARAMS


def test_files_are_resources_described_by_the_front_matter() -> None:
    resources = {each["uri"]: each for each in ask(server(), "resources/list")["resources"]}
    assert resources[f"{FORMAL}/SKILL.md"] == {
        "uri": f"{FORMAL}/SKILL.md",
        "name": "formal",
        "description": "Does formal",
        "mimeType": "text/markdown",
        "size": len(FILES["acme/refunds/tones/formal/SKILL.md"]),
    }
    (picture,) = ask(server(), "resources/read", {"uri": f"{REFUNDS}/a%20b/x.png"})["contents"]
    assert (picture["mimeType"], picture["blob"]) == ("image/png", "iVBORwA=")


def test_directories_have_their_direct_children() -> None:
    made = server()
    directory = "inode/directory"
    assert children(made, REFUNDS) == {
        f"{REFUNDS}/SKILL.md": "text/markdown",
        f"{REFUNDS}/a%20b": directory,
        f"{REFUNDS}/tones": directory,
    }
    assert children(made, "skill://acme") == {REFUNDS: directory}
    assert children(made, FORMAL) == {f"{FORMAL}/SKILL.md": "text/markdown"}
    for uri in (f"{REFUNDS}/", f"{REFUNDS}/SKILL.md", "skill://acm", "skill:", "skill:/", ""):
        assert code_of(made, "resources/directory/read", uri=uri) == INVALID_PARAMS
    cursor = {"uri": REFUNDS, "cursor": "x"}
    assert code_of(made, "resources/directory/read", **cursor) == INVALID_PARAMS


def test_the_extension_is_declared_with_the_first_skill_or_on_request() -> None:
    assert Server("s").capabilities().extensions is None
    declared = {SKILLS_EXTENSION: {"directoryRead": True}}
    assert server().capabilities().extensions == declared
    offered = Server("s", offers=["skills"])
    assert offered.capabilities().extensions == declared
    assert offered.capabilities().resources is not None
    assert listed(offered) == []


def test_a_prefix_stands_before_the_paths() -> None:
    made = Server("s")
    made.add_skills({"SKILL.md": skill("git"), "a.md": b"a"}, prefix="acme/git")
    assert listed(made) == ["skill://acme/git/SKILL.md"]
    assert list(children(made, "skill://acme/git")) == [
        "skill://acme/git/SKILL.md",
        "skill://acme/git/a.md",
    ]


GOOD = skill("a")


@pytest.mark.parametrize(
    ("files", "options", "reason"),
    [
        ({}, {}, "there is no skill"),
        ({"a/skill.md": GOOD}, {}, r"^a/skill\.md: no directory above it has a SKILL\.md"),
        ({"a/SKILL.md": GOOD, "b/c.md": b""}, {}, r"^b/c\.md: no directory"),
        ({"a/SKILL.md": b"Hello"}, {}, r"^a/SKILL\.md: it does not begin with front matter"),
        ({"b/SKILL.md": GOOD}, {}, r"^b/SKILL\.md: name: 'a' is not the name of the directory"),
        ({"a/SKILL.md": b"---\nname: a\n---\n"}, {}, r"^a/SKILL\.md: description: expected text"),
        ({"a/SKILL.md": GOOD, "a/../b": b""}, {}, "'a/../b' is no path"),
        ({"a/SKILL.md": GOOD, "/etc/passwd": b""}, {}, "'/etc/passwd' is no path"),
        ({"a/SKILL.md": GOOD, "a\\b": b""}, {}, "is no path"),
        ({"a/SKILL.md": GOOD, "a/\udcff": b""}, {}, "is no path"),
        ({"a/SKILL.md": GOOD}, {"prefix": "x/.."}, "is no path"),
        ({"a/SKILL.md": GOOD, "a/x": bytes(MAX_BYTES)}, {}, r"^a/SKILL\.md: .*16777216 bytes"),
        ({"a/SKILL.md": GOOD, "a/" + "é" * 1400: b""}, {}, "its URI is longer than 8192"),
        (
            {"a/SKILL.md": GOOD, **{f"a/{number}": b"" for number in range(MAX_FILES)}},
            {},
            r"^a/SKILL\.md: a skill may have 512 files",
        ),
    ],
)
def test_what_cannot_be_declared_is_named_and_leaves_nothing(
    files: dict[str, bytes], options: Any, reason: str
) -> None:
    made = Server("s")
    with pytest.raises(ValueError, match=reason):
        made.add_skills(files, **options)
    assert not made.collections["resources"]
    assert not made.collections["skills"]


def test_files_are_bytes_and_options_known() -> None:
    with pytest.raises(TypeError, match=r"got str; read_skills\(directory\) returns them"):
        Server("s").add_skills("skills")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a/SKILL\.md: expected bytes, got str"):
        Server("s").add_skills({"a/SKILL.md": "text"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="there is no option 'title'"):
        Server("s").add_skills(FILES, title="x")  # type: ignore[call-arg]


def test_skills_are_replaced_whole() -> None:
    made = server()
    with pytest.raises(ValueError, match="declared already"):
        made.add_skills({"git/SKILL.md": skill("git")})
    made.add_skills({"git/SKILL.md": skill("git"), "git/new.md": b""}, replace=True)
    assert len(children(made, "skill://git")) == 2
    made.add_skills({"git/SKILL.md": skill("git")}, replace=True)
    assert list(children(made, "skill://git")) == ["skill://git/SKILL.md"]
    assert "skill://git/new.md" not in made.collections["resources"]


def test_a_removed_skill_leaves_the_files_of_others() -> None:
    made = server()
    made.remove_skill(f"{FORMAL}/SKILL.md")
    assert listed(made) == [f"{REFUNDS}/SKILL.md", "skill://git/SKILL.md"]
    assert f"{FORMAL}/SKILL.md" in made.collections["resources"]
    made.remove_skill(f"{REFUNDS}/SKILL.md")
    assert list(made.collections["resources"].by_key()) == ["skill://git/SKILL.md"]
    with pytest.raises(KeyError, match="there is no skill"):
        made.remove_skill("skill://other/SKILL.md")


def test_each_change_of_skills_is_told_as_one_of_resources_when_it_is_done() -> None:
    made, seen = server(), []
    made.watch(lambda method, params: seen.append((method, listed(made))))
    changed = "notifications/resources/list_changed"
    made.remove_skill(f"{FORMAL}/SKILL.md")  # its file stays, as one of the other skill
    left = [f"{REFUNDS}/SKILL.md", "skill://git/SKILL.md"]
    assert seen == [(changed, left)]
    made.add_skills({"new/SKILL.md": skill("new")})
    assert seen[-1] == (changed, [*left, "skill://new/SKILL.md"])


def test_skills_that_some_do_not_see_do_not_exist_for_them() -> None:
    made = server(visible=lambda principal: principal == "ada")
    assert listed(made) == []
    assert code_of(made, "skills/get", uri="skill://git/SKILL.md") == INVALID_PARAMS
    assert code_of(made, "resources/directory/read", uri=REFUNDS) == INVALID_PARAMS
    for method, params in (("list", b"{}"), ("get", b'{"uri":"skill://git/SKILL.md"}')):
        result = made.prepare(f"skills/{method}", params, LATEST, "ada").result
        assert result is not None
        assert b'"cacheScope":"private"' in bytes(result)
        assert b"Does git" in bytes(result)


def test_skills_of_a_mounted_server_are_there_under_its_prefix() -> None:
    inner, outer = server(), Server("outer")
    outer.mount(inner, "in_")
    uri = "in+skill://git/SKILL.md"
    entry = ask(outer, "skills/get", {"uri": uri})["skill"]
    assert entry["resources"][0]["uri"] == uri
    assert len(listed(outer)) == 3
    (contents,) = ask(outer, "resources/read", {"uri": uri})["contents"]
    assert (contents["uri"], contents["text"]) == (uri, FILES["git/SKILL.md"].decode())
    assert list(children(outer, "in+skill://git")) == [uri]
    inner.remove_skill("skill://git/SKILL.md")
    assert uri not in listed(outer)
    assert uri not in outer.collections["resources"]
