"""The page on HTTP+SSE: its programs, its links, and the settings that it names."""

from pathlib import Path

import pytest

from mcpcore.http.settings import HttpClientSettings, SsePaths, SseUse
from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "legacy-sse.md"
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


def test_what_is_said_of_settings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{use.name}`" in text or f"SseUse.{use.name}" in text for use in SseUse)
    assert (
        f"`HttpClientSettings.endpoint_timeout` ({HttpClientSettings().endpoint_timeout:g} s)"
        in text
    )
    assert f"`{SsePaths().stream}`" in text
