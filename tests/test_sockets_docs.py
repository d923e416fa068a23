"""The page on sockets tells the truth: its programs run, and its defaults are the defaults."""

import re
from pathlib import Path

import pytest

from mcpcore.engine.config import Limits
from mcpcore_transports.sockets.settings import SocketSettings
from mcpcore_transports.stream.connection import PumpSettings
from tests.docs_blocks import ROOT, Program, check_types, dead_links, programs

PAGE = ROOT / "docs" / "sockets.md"
PROGRAMS = programs(PAGE)
CLASSES = {type(each).__name__: each for each in (SocketSettings(), PumpSettings(), Limits())}
ROW = re.compile(r"^\| [^|]+ \| `(\w+)\.(\w+)` \| ([\d,.]+) ?(\w*) \|$", re.MULTILINE)
UNITS = {"": 1, "s": 1, "MiB": 1024 * 1024}
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    program.check(tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    check_types(PROGRAMS, tmp_path)


def test_links_lead_somewhere() -> None:
    assert dead_links(PAGE) == []


@pytest.mark.parametrize(("owner", "name", "number", "unit"), ROWS)
def test_default(owner: str, name: str, number: str, unit: str) -> None:
    assert getattr(CLASSES[owner], name) == float(number.replace(",", "")) * UNITS[unit]


def test_every_bound_of_sockets_has_a_row() -> None:
    shown = {name for owner, name, _, _ in ROWS if owner == "SocketSettings"}
    others = {"pump", "insecure", "users", "mode", "authenticate"}
    assert shown == {*SocketSettings.__struct_fields__} - others
