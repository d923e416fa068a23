"""The generated pages of the reference are what the code says, and leave nothing out."""

import re
from importlib import import_module
from types import ModuleType

import pytest

from tests.reference import command_line, settings
from tests.reference.__main__ import main
from tests.reference.api import API, members
from tests.reference.api import page as api_page
from tests.reference.protocol import TABLES
from tests.reference.sources import ROOT


def test_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check"])
    assert capsys.readouterr() == ("", "")
    assert status == 0


@pytest.mark.parametrize("page", [settings, command_line])
def test_every_row_has_a_meaning(page: ModuleType) -> None:
    lines = page.render().splitlines()
    assert [line for line in lines if line.endswith("|  |") or "<lambda>" in line] == []


def test_the_command_line_has_choices_and_what_a_command_takes() -> None:
    page = command_line.render()
    assert "`--log-level debug\\|info\\|warning\\|error`" in page
    clients = page.partition("## mcpcore conformance client\n")[2].partition("\n## ")[0]
    assert "`--only CASE`" in clients
    assert "`--tool NAME`" not in clients  # which it refuses


@pytest.mark.parametrize("module", [each for _, modules in API.values() for each in modules])
def test_every_module_of_the_api_has_something_to_show(module: str) -> None:
    assert members(module)


def test_a_page_of_the_api_names_what_is_exported() -> None:
    assert "::: mcpcore.service\n" in api_page("service")
    assert "        - Server\n" in api_page("service")


def test_every_table_of_states_has_a_diagram() -> None:
    shown = [id(moves) for name in TABLES for *_, moves in import_module(name).DIAGRAMS]
    found = []
    for package in (ROOT / "mcpcore", ROOT / "transports" / "mcpcore_transports"):
        for path in package.rglob("*.py"):
            names = re.findall(r"^([A-Z_0-9]+): Table\[", path.read_text(), re.MULTILINE)
            parts = path.relative_to(package.parent).with_suffix("").parts
            found += [id(getattr(import_module(".".join(parts)), name)) for name in names]
    assert len(found) > 5
    assert sorted(found) == sorted(shown)
