"""The README tells the truth: its programs print what it shows, its links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
PROGRAMS = programs(ROOT / "README.md")


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)


def test_embedding_example_is_short_and_drives_a_peer() -> None:
    (example,) = [each.source for each in PROGRAMS if "Peer(" in each.source]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 24
    assert "receive_data" in example
    assert "import anyio" not in example
    assert "transports" not in example


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    assert dead_links(ROOT / document) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    named = re.findall(
        r"(?:`|^)make ([a-z][a-z-]*)", (ROOT / document).read_text(encoding="utf-8"), re.M
    )
    assert set(named) <= known
