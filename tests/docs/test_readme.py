"""The README tells the truth: its commands are there and print what it says."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import mcpcore_here
from tests.docs.blocks import ROOT, blocks, programs

PROGRAMS = programs(ROOT / "README.md")
[SERVER] = [each.text for each in blocks(ROOT / "README.md") if each.text.startswith("# my_server")]
[COMMANDS] = [
    [shlex.split(line, comments=True)[1:] for line in each.text.splitlines()]
    for each in blocks(ROOT / "README.md")
    if "mcpcore serve" in each.text
]
REFERENCE = "http://127.0.0.1:8000/mcp"
SHOWN = {
    "call add": "5",
    "list": "test_simple_text",
    "probe": "2026-07-28",
    "conformance server": "passed",
}
"""What the commands print that can be run in a moment, in the order of the page."""


def test_embedding_example_is_short_and_drives_a_peer() -> None:
    (example,) = [each.source for each in PROGRAMS if "Peer(" in each.source]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 24
    assert "receive_data" in example
    assert "import anyio" not in example
    assert "mcpcore_transports" not in example


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the reference server is, as the block starts it."""
    assert ["serve"] in COMMANDS
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mcpcore_transports.commands.main",
            "serve",
            "--http",
            "127.0.0.1:0",
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        yield process.stderr.readline().removeprefix("listening on ").strip()
        process.terminate()


@pytest.mark.long
def test_the_commands_work_as_they_are_read(url: str, tmp_path: Path) -> None:
    (tmp_path / "my_server.py").write_text(SERVER, encoding="utf-8")
    written = {"python": sys.executable, REFERENCE: url}
    run = []
    for words in COMMANDS:
        name = next((each for each in SHOWN if " ".join(words).startswith(each)), None)
        if name is None:
            continue
        more = ["--only", "basic/lifecycle"] if name == "conformance server" else []
        at = words.index("--") if "--" in words else len(words)
        said = [*words[:at], *more, *words[at:]]
        done = mcpcore_here(*(written.get(word, word) for word in said), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert SHOWN[name] in done.stdout
        run.append(name)
    assert run == [*SHOWN]


def test_every_other_command_is_one_that_there_is() -> None:
    for words in COMMANDS:
        names = words[: 1 + (words[0] in ("bench", "conformance", "trace"))]
        assert mcpcore_here(*names, "--help").returncode == 0, names
