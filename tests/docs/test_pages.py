"""The pages tell the truth: programs print what is shown and are typed, links lead somewhere."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.command import mcpcore_here
from tests.docs.blocks import DOCS, PAGES, ROOT, Program, check_types, dead_links, name_of, programs
from tests.warm import PYTHON

PROGRAMS = [program for page in PAGES for program in programs(page)]
FOR_CONTRIBUTORS = (
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("benchmarks/**/*.md")),
    *sorted(ROOT.glob("conformance/**/*.md")),
    *sorted(ROOT.glob("tests/**/*.md")),
)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
TARGETS = {*TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))}
FEATURES = sorted({*DOCS.glob("how-to/features/*.md")} - {DOCS / "how-to/features/resumption.md"})
"""The last one would need a network that breaks."""


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.usefixtures("warm_programs")
def test_program_runs_and_prints_what_is_shown(program: Program, tmp_path: Path) -> None:
    """Those of the README run in a process of their own, from its start."""
    program.check(tmp_path, (sys.executable,) if program.page.name == "README.md" else PYTHON)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_programs_are_typed_from_a_users_side(tmp_path: Path) -> None:
    """Those of pages whose files can lie in one folder together: most of a check is its start."""
    groups: list[tuple[dict[str, str], list[Program]]] = []
    for page in PAGES:
        found = programs(page)
        needed = {name: text for program in found for name, text in program.files.items()}
        for files, listed in groups:
            if all(files.get(name, text) == text for name, text in needed.items()):
                files.update(needed)
                listed += found
                break
        else:
            groups.append((needed, found))
    for number, (_, listed) in enumerate(groups):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_types(listed, folder)


@pytest.mark.parametrize("page", [*PAGES, *FOR_CONTRIBUTORS], ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", [*PAGES, *FOR_CONTRIBUTORS], ids=lambda page: str(page.name))
def test_make_targets_exist(page: Path) -> None:
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.M)
    assert {*named} <= TARGETS


@pytest.mark.parametrize("page", FEATURES, ids=name_of)
def test_a_feature_has_an_example_of_both_sides(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Server(" in text
    assert "connect(" in text
    assert programs(page)


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        (ROOT / "README.md", 120),
        (ROOT / "CHANGELOG.md", 80),
        (DOCS / "explanation" / "architecture.md", 150),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_read_first_stays_short(page: Path, lines: int) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= lines


@pytest.mark.parametrize(
    ("tool", "said"), [("author", "Jane Austen"), ("lend", "Emma is yours for 7 days.")]
)
def test_commands_of_the_tutorial_print_what_it_says(tool: str, said: str, tmp_path: Path) -> None:
    page = DOCS / "tutorial" / "server.md"
    files = programs(page)[0].files
    (tmp_path / "library.py").write_text(files["library.py"], encoding="utf-8")
    [line] = re.findall(
        rf"^mcpcore (call {tool} title=Emma .*-- python library.py)$",
        page.read_text(encoding="utf-8"),
        re.M,
    )
    words = [sys.executable if word == "python" else word for word in shlex.split(line)]
    assert mcpcore_here(*words, cwd=tmp_path).stdout == f"{said}\n"
    assert f"prints `{said}`" in page.read_text(encoding="utf-8")


def test_a_measurement_has_a_date_a_command_and_its_report() -> None:
    text = (DOCS / "explanation" / "measurements.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        assert re.search(r"\b20\d\d-\d\d-\d\d\b", section), title
        assert re.search(r"^(make|\.venv/bin/python -m) ", section, re.MULTILINE), title
        assert re.search(r"\]\(\.\./\.\./[\w/.]+\.md\)", section), title
