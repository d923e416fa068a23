"""The page on targets tells the truth."""

import json
from pathlib import Path

import pytest

from mcpcore_transports.client.config.file import PLACES, VARIABLE, load_targets, read_config
from mcpcore_transports.targets import HttpTarget, SseTarget, StdioTarget
from tests.docs_blocks import ROOT, Program, blocks, check_types, dead_links, programs

PAGE = ROOT / "docs" / "targets.md"
PROGRAMS = programs(PAGE)
EXAMPLES = [block.text for block in blocks(PAGE) if block.kind == "json"]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


def test_the_file_that_is_shown_is_one(tmp_path: Path) -> None:
    (example,) = EXAMPLES
    file = tmp_path / "mcp.json"
    file.write_text(example)
    targets = load_targets(file, environ={"WEATHER_KEY": "k", "TICKETS_TOKEN": "t"})
    weather = StdioTarget(
        ("uvx", "weather-server", "--units", "metric"), {"API_KEY": "k"}, tmp_path / "tools"
    )
    tickets = HttpTarget("https://tickets.example.com/mcp", {"Authorization": "Bearer t"})
    assert targets == {"weather": weather, "tickets": tickets}
    old = read_config(file)["old"]
    assert old.disabled
    assert old.target({}) == SseTarget("http://127.0.0.1:8000/sse")
    assert list(json.loads(example)["mcpServers"]) == ["weather", "tickets", "old"]


def test_where_it_is_looked_for_is_told_in_order() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("they are not put together")[2]
    found = [text.index(f"`{place}`") for place in (VARIABLE, *PLACES)]
    assert found == sorted(found)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)
