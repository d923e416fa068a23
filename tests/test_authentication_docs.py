"""The page on authentication tells the truth."""

from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, dead_links, programs

PAGES = [ROOT / "docs" / "authentication.md", ROOT / "docs" / "limits.md"]
PROGRAMS = [program for page in PAGES for program in programs(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []
