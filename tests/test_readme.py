"""The README tells the truth: its programs print what it shows, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md")

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)[^)]*\)")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def blocks() -> list[tuple[str, str]]:
    return [
        (match[1], match[2])
        for match in BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
    ]


def programs() -> list[tuple[str, str | None]]:
    """Each Python block, with what it prints where a `text` block follows it."""
    listed = blocks()
    followers = [*listed[1:], ("", "")]
    return [
        (source, shown if kind == "text" else None)
        for (language, source), (kind, shown) in zip(listed, followers, strict=True)
        if language == "python"
    ]


@pytest.mark.parametrize(("source", "output"), programs())
def test_program_runs_and_prints_what_is_shown(
    source: str, output: str | None, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if output is not None:
        assert done.stdout == output


@pytest.mark.long
@pytest.mark.timeout(300)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    files = []
    for number, (source, _) in enumerate(programs()):
        files.append(tmp_path / f"program_{number}.py")
        files[-1].write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", *map(str, files)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_embedding_example_is_short_and_drives_a_peer() -> None:
    (example,) = [source for source, _ in programs() if "Peer(" in source]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 24
    assert "receive_data" in example
    assert "import anyio" not in example
    assert "transports" not in example


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    missing = [
        link
        for link in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    named = re.findall(
        r"(?:`|^)make ([a-z][a-z-]*)", (ROOT / document).read_text(encoding="utf-8"), re.M
    )
    assert set(named) <= known
