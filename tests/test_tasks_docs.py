"""The page on tasks tells the truth: its programs run, and print what it shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clock import PATIENCE

PAGE = Path(__file__).parent.parent / "docs" / "features" / "tasks.md"
PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = PROGRAM.findall(PAGE.read_text(encoding="utf-8"))


def test_the_page_shows_a_server_a_client_and_the_table() -> None:
    assert len(PROGRAMS) == PAGE.read_text(encoding="utf-8").count("```python") == 3


@pytest.mark.parametrize(("source", "output"), PROGRAMS)
def test_program_prints_what_is_shown(source: str, output: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == (output, "")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    files = []
    for number, (source, _) in enumerate(PROGRAMS):
        files.append(tmp_path / f"program_{number}.py")
        files[-1].write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", *map(str, files)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
