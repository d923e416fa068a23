"""The pages on sealed state and on schemas: their programs, their links, and their tables."""

import re
from pathlib import Path

import pytest

from mcpcore.engine.seal import Refusal
from mcpcore_transports.schema import SchemaLimits
from mcpcore_transports.schema.dialects import DIALECTS
from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

SEALED, SCHEMAS = ROOT / "docs" / "sealed-state.md", ROOT / "docs" / "schemas.md"
PROGRAMS = [program for page in (SEALED, SCHEMAS) for program in programs(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.parametrize("page", [SEALED, SCHEMAS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)


def rows(page: Path) -> set[str]:
    """What stands in the first column of the page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_refusal_is_explained() -> None:
    assert {reason.value for reason in Refusal} <= rows(SEALED)


def test_every_dialect_and_every_limit_is_listed() -> None:
    listed = rows(SCHEMAS)
    assert set(DIALECTS) <= listed
    assert set(SchemaLimits.__struct_fields__) <= listed
    text = SCHEMAS.read_text(encoding="utf-8")
    for default in (SchemaLimits().subschemas, SchemaLimits().pattern_length, SchemaLimits().steps):
        assert f"{default:,}" in text
