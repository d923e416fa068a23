"""The pages on traces tell the truth: programs, commands, members, kinds and rules."""

import re
import shlex
from pathlib import Path

import pytest

from mcpcore.trace.format import KINDS, Header, Record
from mcpcore_conformance.trace.rules import RULES
from mcpcore_transports.commands.main import main
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "traces.md"
REFERENCE = ROOT / "docs" / "reference" / "traces.md"
TEXT = PAGE.read_text(encoding="utf-8") + REFERENCE.read_text(encoding="utf-8")
COMMANDS = [block for block in blocks(PAGE) if block.kind == "console"]
SHOWN = [block.text for block in COMMANDS if block.text.startswith("$ ")]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda text: text.partition("\n")[0])
def test_command_prints_what_is_shown(
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (talk,) = [block.text for block in blocks(PAGE) if block.kind == "json"]
    (tmp_path / "talk.jsonl").write_text(talk, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    line, _, output = shown.partition("\n")
    with pytest.raises(SystemExit):
        main(shlex.split(line.removeprefix("$ mcpcore ")))
    assert capsys.readouterr().out == output


def test_other_commands_are_commands() -> None:
    words = [line for block in COMMANDS for line in block.text.splitlines()]
    told = [line for line in words if line.startswith("mcpcore ")]
    assert len(told) == 14
    options = {word for line in told for word in line.split() if word.startswith("--")}
    known = {"--http", "--ws", "--trace", "--against", "--side", "--stdio", "--check", "--follow"}
    assert options - {"--"} <= known


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first cell of the head is ``first``."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


def test_every_member_has_a_row() -> None:
    tables = re.findall(r"^\| member \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    shown = [re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) for rows in tables]
    assert shown == [list(Header.__struct_encode_fields__), list(Record.__struct_encode_fields__)]


def test_every_kind_has_a_row() -> None:
    shown = re.findall(r"`([\w-]+)`", " ".join(row[0] for row in table("kind")))
    assert sorted(shown) == sorted(KINDS)


def test_every_rule_has_a_row() -> None:
    shown = re.findall(r"`([\w-]+)`", " ".join(row[1] for row in table("about")))
    assert sorted(shown) == sorted(RULES)
