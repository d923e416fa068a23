"""The page on ASGI and other frameworks tells the truth."""

from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "asgi.md"
PROGRAMS = programs(PAGE)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)
