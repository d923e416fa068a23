"""Programs in the documentation: found in a page, run, and held against what it says they print.

In a page, a block marked ``python`` is a program.  If a block marked ``text`` follows, that is what
it prints.  A program whose first line is a comment with a file name (``# server.py``) is a file:
it lies beside the programs behind it, which may start or import it, and is not run itself.  A block
marked ``python fragment`` is no program; it only has to compile.

::

    PROGRAMS = programs(Path("docs/how-to/features/tools.md"))

    @pytest.mark.parametrize("program", PROGRAMS, ids=str)
    def test_programs(program: Program, tmp_path: Path) -> None:
        program.check(tmp_path)
"""

import ast
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from msgspec import Struct

from tests.clock import PATIENCE

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
"""All pages for readers."""

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_FENCE = re.compile(r"^ *(```+).*?^ *\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(Struct, frozen=True):
    """A fenced block: what stands behind the fence, its text, the line of the page it is in."""

    kind: str
    text: str
    line: int


class Program(Struct, frozen=True):
    """A program of a page."""

    page: Path
    source: str
    line: int
    output: str | None = None
    """What it prints; None: the page does not say."""
    files: dict[str, str] = {}
    """What lies beside it: the files of the blocks before it."""

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    def check(self, folder: Path, python: Sequence[str] = (sys.executable,)) -> None:
        """Run it in ``folder``: it must end well, without a warning, and print what is shown."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*python, "-W", "error", "-c", self.source],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{self}: {done.stderr}"
        if self.output is not None:
            assert done.stdout == self.output, f"{self}: {done.stderr}"


def name_of(page: Path) -> str:
    """Return the path of a page within the documentation."""
    return str(page.relative_to(DOCS)) if page.is_relative_to(DOCS) else page.name


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1].strip(), match[2], text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
    ]


def programs(page: Path) -> list[Program]:
    """Return the programs of a page, in order.  Raises SyntaxError for a fragment that is none."""
    found: list[Program] = []
    files: dict[str, str] = {}
    listed = blocks(page)
    for block, after in zip_longest(listed, listed[1:]):
        if block.kind == "python fragment":
            where = f"{page}:{block.line}"
            compile(block.text, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if block.kind != "python":
            continue
        if name := _FILE.match(block.text):
            files = {**files, name[1]: block.text}
            continue
        output = after.text if after is not None and after.kind == "text" else None
        found.append(Program(page, block.text, block.line, output, files))
    return found


def check_types(listed: Sequence[Program], folder: Path) -> None:
    """Hold programs to strict typing, as a user of the installed packages would."""
    paths = []
    for number, program in enumerate(listed):
        for name, text in program.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        page = re.sub(r"\W", "_", name_of(program.page).removesuffix(".md"))
        paths.append(folder / f"{page}_{number}.py")
        paths[-1].write_text(program.source, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            *(f"--cache-dir={ROOT / '.mypy_cache' / 'pages'}", *map(str, paths)),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dead_links(page: Path) -> list[str]:
    """Return the links of a page to files that are not there, or to headings that they lack."""
    dead = []
    for path, anchor in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}" if anchor else path)
    return dead


def anchors(page: Path) -> set[str]:
    """Return the names under which the headings of a page can be linked to."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    names = set()
    for heading in _HEADING.findall(text):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        names.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words).strip().lower()))
    return names
