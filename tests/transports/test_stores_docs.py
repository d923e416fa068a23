"""The page on stores tells the truth."""

from pathlib import Path

import pytest
from msgspec import structs

from mcpcore_transports.stores.base import StoreSettings
from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "stores.md"
PROGRAMS = programs(PAGE)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


def test_every_setting_is_told_of() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [
        field.name for field in structs.fields(StoreSettings) if f"`{field.name}`" not in text
    ] == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)
