"""Skills read from directories by servers, and loaded by clients, who trust nothing of them."""

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.json import encode

from mcpcore import Server, SkillRefused, connect, read_skills
from mcpcore.errors import CapabilityMissing, InvalidResponse, LocalProtocolError, PeerError
from mcpcore.spec.skills import MAX_BYTES, content_digest

pytestmark = pytest.mark.anyio

ROOT = "skill://refunds"
URI = f"{ROOT}/SKILL.md"
TEXT = "---\nname: refunds\ndescription: Pays back\n---\n\nSee notes/a b.md.\n"
PICTURE = b"\x89PNG\0"


def put(folder: Path, **files: str | bytes) -> Path:
    for name, data in {"SKILL.md": TEXT, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def test_a_directory_of_skills_is_read_by_path(tmp_path: Path) -> None:
    put(tmp_path / "acme" / "refunds", **{"notes/a b.md": "x", ".git/config": "y"})
    put(tmp_path / "acme" / "refunds" / "__pycache__")
    (tmp_path / "README.md").write_text("about these")
    (tmp_path / "empty").mkdir()
    found = read_skills(tmp_path)
    assert set(found) == {"acme/refunds/SKILL.md", "acme/refunds/notes/a b.md"}
    assert found["acme/refunds/SKILL.md"] == TEXT.encode()


def test_a_skill_is_read_with_the_name_of_its_directory(tmp_path: Path) -> None:
    folder = put(tmp_path / "refunds", **{"notes.md": "x"})
    assert set(read_skills(folder)) == {"refunds/SKILL.md", "refunds/notes.md"}
    Server("s").add_skills(read_skills(str(folder)))


def test_links_that_stay_inside_are_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "refunds", **{"a.md": "x"})
    (folder / "b.md").symlink_to("a.md")
    assert read_skills(folder)["refunds/b.md"] == b"x"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda at: (at / "x").symlink_to("../../secret"), "refunds/x: .*leads out"),
        (lambda at: (at / "x").symlink_to("/etc"), "refunds/x: .*leads out"),
        (lambda at: (at / "x").symlink_to("."), "refunds/x: .*to what is no file"),
        (lambda at: (at / "x").symlink_to("y"), "refunds/x: .*leads nowhere"),
        (lambda at: (at / "x").symlink_to("x"), "refunds/x: .*leads nowhere"),
        (lambda at: os.mkfifo(at / "x"), "refunds/x: neither a file nor a directory"),
        (lambda at: put(at.parent / "b", **{"SKILL.md": ""}).joinpath("SKILL.md").rename(
            at.parent / "b" / "skill.md"), "b/skill.md: no directory above it"),
        (lambda at: put(at, **{str(n): "" for n in range(512)}), "refunds/.*: .* 512 files"),
        (lambda at: os.truncate(put(at, x="") / "x", MAX_BYTES), "refunds/.*: .* 16777216 bytes"),
    ],
)  # fmt: skip
def test_what_is_refused_of_a_directory(
    place: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("not theirs")
    folder = put(tmp_path / "skills" / "refunds")
    place(folder)
    with pytest.raises(ValueError, match=reason):
        read_skills(folder.parent)


def test_a_directory_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_skills(tmp_path / "none")


FILES = {
    "refunds/SKILL.md": TEXT.encode(),
    "refunds/notes/a b.md": b"Twice.\n",
    "refunds/card.png": PICTURE,
}


def honest() -> Server:
    made = Server("s")
    made.add_skills(FILES)
    return made


async def test_a_skill_is_loaded_and_its_files_are_read() -> None:
    async with connect(honest()) as client:
        (entry,) = await client.skills()
        for skill in (entry, URI):
            loaded = await client.load_skill(skill)
            assert loaded.text == TEXT
            assert loaded.entry == entry
            assert loaded.files == ("SKILL.md", "card.png", "notes/a b.md")
            assert await loaded.read("card.png") == PICTURE
            for path in ("notes/a b.md", "./notes/../notes/a b.md", f"{ROOT}/notes/a%20b.md"):
                assert await loaded.read(path) == b"Twice.\n"
        below = (await client.read_directory(ROOT)).resources
        assert [each.name for each in below] == ["refunds", "card.png", "notes"]
        with pytest.raises(PeerError):
            await client.get_skill("skill://other/SKILL.md")


@pytest.mark.parametrize(
    "path",
    [
        *("other.md", "../x", "/etc/passwd", "notes", "", "%2e%2e/x", "skill://other/SKILL.md"),
        *(f"{ROOT}/../x", f"{ROOT}/%2e%2e/x", f"{ROOT}/notes%2Fa%20b.md", "file:///etc/passwd"),
    ],
)
async def test_nothing_but_the_files_of_the_entry_is_asked_for(path: str) -> None:
    server = honest()
    server.add_skills({"other/SKILL.md": TEXT.replace("refunds", "other").encode()})
    server.add_resource(f"{ROOT}/other.md", "listed by nobody")
    async with connect(server) as client:
        loaded = await client.load_skill(URI)
        with pytest.raises(SkillRefused):
            await loaded.read(path)


def lying(
    head: Any = None, *, text: str = TEXT, drop: str = "", contents: Any = None, **file: Any
) -> Server:
    """A server whose entry, or whose file, is what the test says."""
    data = text.encode()
    files: Any = [{"uri": URI, "digest": content_digest(data), "size": len(data), **file}]
    entry = {
        "uri": URI,
        "frontmatter": {"name": "refunds", "description": "Pays back", **(head or {})},
        "resources": files,
    }
    entry.pop(drop, None)
    made = Server("s", offers=["skills"], read_ttl_ms=60_000)
    served = made.collections["skills"]
    served.get = lambda uri, principal=None: _Said(entry)  # type: ignore[method-assign,assignment]
    made.add_resource(URI, lambda: contents or text, name="refunds")
    return made


class _Said:
    """Entry that is sent as it is."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    def encode(self, revision: object) -> bytes:
        return encode(self._entry)


LIES: dict[str, tuple[Server, str]] = {
    "digest": (lying(digest=f"sha256:{0:064}"), "does not have the digest"),
    "size": (lying(size=3), "its entry says 3"),
    "another field": (lying({"description": "Pays twice"}), "description: the entry and"),
    "a field more": (lying({"license": "MIT"}), "license: the entry and"),
    "a field less": (
        lying(text=TEXT.replace("\n---\n\n", "\nallowed-tools: Bash\n---\n\n")),
        "allowed-tools: the entry and",
    ),
    "no YAML of ours": (lying(text="---\n!x\n---\n"), "front matter, line 2"),
    "another name": (lying({"name": "other"}), "not the name of the directory"),
    "no resources": (lying(drop="resources"), "resources"),
    "outside": (lying(uri="skill://other/SKILL.md"), "outside of the skill"),
    "too large": (lying(size=MAX_BYTES + 1), "16777216 bytes"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_skill_that_is_not_as_its_entry_says_is_not_loaded(lie: str) -> None:
    server, reason = LIES[lie]
    async with connect(server) as client:
        with pytest.raises(InvalidResponse, match=reason):
            await client.load_skill(URI)


async def test_after_a_refusal_nothing_of_skills_is_taken_from_the_cache() -> None:
    server = honest()
    async with connect(server) as client:
        held = await client.load_skill(URI)
        later = {**FILES, "refunds/notes/a b.md": b"Thrice.\n"}
        server.add_skills(later, replace=True)
        with pytest.raises(SkillRefused, match="bytes"):
            await held.read("notes/a b.md")
        assert await (await client.load_skill(URI)).read("notes/a b.md") == b"Thrice.\n"


async def test_what_has_no_digests_is_loaded_only_if_that_is_asked_for() -> None:
    server = lying()
    entry = {
        "uri": URI,
        "frontmatter": {"name": "refunds", "description": "Pays back"},
        "resources": "dynamic",
    }
    server.collections["skills"].get = lambda *of: _Said(entry)  # type: ignore[method-assign]
    server.add_resource(f"{ROOT}/large", bytes(MAX_BYTES - len(TEXT)))
    server.add_resource(f"{ROOT}/more", b"\0")
    async with connect(server) as client:
        with pytest.raises(SkillRefused, match="dynamic"):
            await client.load_skill(URI)
        loaded = await client.load_skill(URI, dynamic=True)
        assert (loaded.text, loaded.files) == (TEXT, ())
        assert len(await loaded.read("large")) == MAX_BYTES - len(TEXT)
        with pytest.raises(SkillRefused, match="16777216 bytes"):
            await loaded.read("more")


async def test_requests_that_the_server_does_not_promise_are_not_sent() -> None:
    async with connect(Server("s", offers=["resources"])) as client:
        with pytest.raises(CapabilityMissing, match="skills"):
            await client.skills()
    bare = Server("s", offers=["skills"], extensions={"io.modelcontextprotocol/skills": {}})
    async with connect(bare) as client:
        assert await client.skills() == []
        with pytest.raises(CapabilityMissing, match="directoryRead"):
            await client.read_directory(ROOT)


async def test_legacy_clients_find_the_files_among_the_resources() -> None:
    async with connect(honest(), revision="2025-11-25") as client:
        assert client.capabilities.extensions is None
        assert URI in [each.uri for each in await client.resources()]
        with pytest.raises(LocalProtocolError, match="2025-11-25"):
            await client.skills()
        (picture,) = (await client.read_resource(f"{ROOT}/card.png")).contents
        assert picture.blob == b64encode(PICTURE).decode()
