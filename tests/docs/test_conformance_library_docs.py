"""The page on conformance in one's own tests tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mcpcore_conformance.strategies
from tests.command import mcpcore_here
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "conformance-library.md"


def test_every_option_is_named_and_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True
    )
    there = set(re.findall(r"--mcp-\w+", done.stdout))
    assert there == set(re.findall(r"--mcp-\w+", PAGE.read_text(encoding="utf-8")))


def test_every_option_of_the_workflow_is_there() -> None:
    (workflow,) = [block.text for block in blocks(PAGE) if block.kind == "yaml"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mcpcore_transports.commands.main",
            "conformance",
            "server",
            "--help",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": ""},
    )
    used = set(re.findall(r" (--[a-z-]+) ", workflow)) - {"--"}
    assert used
    assert all(option in done.stdout for option in used), used


SERVER = """
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run

server = Server("calculator", version="1")


@server.tool
def add(a: int, b: int = 0) -> int:
    return a + b


if __name__ == "__main__":
    run(server, stdio=True)
"""


@pytest.mark.long
def test_the_workflow_makes_what_it_shows_and_keeps(tmp_path: Path) -> None:
    (workflow,) = [block.text for block in blocks(PAGE) if block.kind == "yaml"]
    (folded,) = re.findall(r"run: >\n(.*?)\n +- name", workflow, re.DOTALL)
    program, *words = folded.split()
    at = words.index("--")
    assert (program, words[at:]) == ("mcpcore", ["--", "python", "my_server.py"])
    (tmp_path / "my_server.py").write_text(SERVER)
    some = ("--only", "basic/lifecycle", "--revision", "2025-11-25", "--trace-all")
    done = mcpcore_here(
        *words[:at], *some, "--", sys.executable, "my_server.py", cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = re.findall(r"cat (\S+) >>", workflow)
    kept = workflow.partition("path: |")[2].split()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"my_server.py", *shown, *kept}


def test_every_strategy_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = [name for name in mcpcore_conformance.strategies.__all__ if name[0].islower()]
    assert [name for name in made if name not in text] == ["json_values"]
