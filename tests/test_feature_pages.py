"""The pages on features, and the one for users of the official SDK, tell the truth."""

from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

NAMES = (
    "completion",
    "elicitation",
    "extensions",
    "header-parameters",
    "lifespan",
    "logging",
    "pagination-and-caching",
    "progress-and-cancellation",
    "prompts",
    "resources",
    "roots",
    "sampling",
    "structured-output",
    "subscriptions",
    "tools",
)
PAGES = [ROOT / "docs" / "features" / f"{name}.md" for name in NAMES]
PAGES.append(ROOT / "docs" / "from-the-official-sdk.md")
PROGRAMS = [program for page in PAGES for program in programs(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_both_sides_have_an_example(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Server(" in text
    assert "connect(" in text
    assert programs(page)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_programs_are_typed_from_a_users_side(page: Path, tmp_path: Path) -> None:
    check_types(programs(page), tmp_path)
