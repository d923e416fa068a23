"""The page on embedding tells the truth, and what it calls short is short."""

from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "embedding.md"
PROGRAMS = programs(PAGE)
FILES = PROGRAMS[-1].files


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


def test_there_is_a_program_for_each_way() -> None:
    assert sorted(FILES) == ["framed.py", "selecting.py", "threaded.py"]
    assert len(PROGRAMS) == 4


@pytest.mark.parametrize("name", ["framed.py", "threaded.py"])
def test_a_transport_takes_about_fifty_lines(name: str) -> None:
    lines = [line for line in FILES[name].splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith(("import ", "from ", "#", '"""'))]
    assert len(code) <= 60


@pytest.mark.long
@pytest.mark.timeout(300)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)
