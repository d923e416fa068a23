"""The page on reconnecting tells the truth."""

import re
from pathlib import Path

import pytest

from mcpcore.engine.reconnection import ReconnectSettings
from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "features" / "reconnecting.md"
PROGRAMS = programs(PAGE)
ROW = re.compile(r"^\| `(\w+)` \| ([\d.,]+)(?: s)? \|", re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


def test_every_setting_is_named_with_its_default() -> None:
    named = {name: float(value.replace(",", "")) for name, value in ROW.findall(PAGE.read_text())}
    defaults = ReconnectSettings()
    assert named == {name: getattr(defaults, name) for name in defaults.__struct_fields__}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)
