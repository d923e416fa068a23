"""Places in ``transports`` that wait, and those that a run comes to, whether it waits or not.

The places are counted in the source: each ``await``, ``async with`` and ``async for``.  That one is
come to is seen by the interpreter's own trace of instructions, so that two on a line are two.
"""

import ast
import dis
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from msgspec import Struct

from tests.torture.points import DRIVERS

_WAITING = {"GET_AWAITABLE", "BEFORE_ASYNC_WITH", "GET_ANEXT"}
"""The instructions that the three begin with."""
Tracer = Callable[[FrameType, str, Any], Any]


class Place(Struct, frozen=True, order=True):
    """Something that waits; ``column`` tells it from others of its line."""

    file: str
    """Below ``transports``."""
    line: int
    column: int
    function: str

    def __str__(self) -> str:
        return f"transports/{self.file}:{self.line} {self.function}"


@cache
def places() -> frozenset[Place]:
    """All there are."""
    found: set[Place] = set()
    for path in Path(DRIVERS).rglob("*.py"):
        name = str(path.relative_to(DRIVERS))
        _look(ast.parse(path.read_text()), name, "", found)
    return frozenset(found)


def _look(node: ast.AST, file: str, function: str, found: set[Place]) -> None:
    where: ast.stmt | ast.expr | None = None
    if isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor):
        where = node
    elif isinstance(node, ast.comprehension) and node.is_async:
        where = node.iter
    if where is not None:
        found.add(Place(file, where.lineno, where.col_offset, function))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    for child in ast.iter_child_nodes(node):
        _look(child, file, function, found)


@cache
def _steps(code: CodeType) -> dict[int, tuple[int, int]]:
    """Where in a function something waits: offset of the instruction, to line and column."""
    return {
        each.offset: (each.positions.lineno or 0, each.positions.col_offset or 0)
        for each in dis.get_instructions(code)
        if each.opname in _WAITING and each.positions is not None
    }


def compiled_places() -> set[tuple[str, int, int]]:
    """The same, as the interpreter has them: file, line and column."""
    found: set[tuple[str, int, int]] = set()
    for path in Path(DRIVERS).rglob("*.py"):
        name = str(path.relative_to(DRIVERS))
        codes = [compile(path.read_text(), str(path), "exec")]
        while codes:
            code = codes.pop()
            found.update((name, *step) for step in _steps(code).values())
            codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    return found


class Reached:
    """The places that were come to."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()

    def places(self) -> set[Place]:
        """Them."""
        return {each for each in places() if (each.file, each.line, each.column) in self._seen}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Watch what this thread runs, and those that it begins."""
        before = sys.gettrace(), threading.gettrace()
        sys.settrace(self._entered)
        threading.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before[0])
            threading.settrace(before[1])

    def _entered(self, frame: FrameType, event: str, arg: Any) -> Tracer | None:
        code = frame.f_code
        if not code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR):
            return None
        if not code.co_filename.startswith(DRIVERS) or not _steps(code):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._step

    def _step(self, frame: FrameType, event: str, arg: Any) -> Tracer:
        if event == "opcode":
            step = _steps(frame.f_code).get(frame.f_lasti)
            if step is not None:
                self._seen.add((frame.f_code.co_filename[len(DRIVERS) :], *step))
        return self._step


def table(by_stories: set[Place], by_failures: set[Place]) -> list[str]:
    """Lines that say for each module how much of it was come to."""
    rows = [f"{'module':34} {'waits':>6} {'stories':>8} {'failures':>9} {'never':>6}"]
    counts = Counter(each.file for each in places())
    stories = Counter(each.file for each in by_stories)
    either = by_stories | by_failures
    more = Counter(each.file for each in either - by_stories)
    for file, count in sorted(counts.items()):
        never = count - stories[file] - more[file]
        rows.append(f"{file:34} {count:6} {stories[file]:8} {more[file]:9} {never:6}")
    known = len(places())
    rows.append(
        f"{'all':34} {known:6} {len(by_stories):8} {len(either) - len(by_stories):9} "
        f"{known - len(either):6}"
    )
    rows.append(
        f"{len(by_stories) / known:.1%} by stories, {len(either) / known:.1%} with failures"
    )
    return rows
