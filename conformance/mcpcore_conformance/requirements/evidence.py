"""Which tests claim to prove which requirements, read from their source without running it."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from msgspec import Struct

MARKER = "pytest.mark.requirement"


class Evidence(Struct, frozen=True):
    """One claim of one test."""

    requirement: str
    path: str
    """Of the test file, relative to the folder that was searched."""
    line: int
    test: str
    """Name of the marked function or class; empty in a table of parameters."""


class MarkerError(ValueError):
    """A marker that cannot be read, or that marks no test."""


def collect(tests: Path) -> list[Evidence]:
    """Find every marker below the folder ``tests``, in the order of files and lines.

    Raises MarkerError naming file and line.
    """
    found: list[Evidence] = []
    for path in sorted(tests.rglob("*.py")):
        name = path.relative_to(tests).as_posix()
        found += claims(path.read_text(encoding="utf-8"), name)
    return found


def claims(source: str, path: str) -> list[Evidence]:
    """Find the markers in one file."""
    if MARKER not in source:
        return []
    tree = ast.parse(source, path)
    names = {MARKER, *_other_names(tree)}
    owners = {
        id(call): node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for decorator in node.decorator_list
        for call in _markers(decorator, names)
    }
    found = []
    for call in _markers(tree, names):
        place = f"{path}:{call.lineno}"
        owner = owners.get(id(call), "")
        if owner and not owner.lower().startswith("test"):
            raise MarkerError(f"{place}: {owner} is no test")
        if not call.args or call.keywords:
            raise MarkerError(f"{place}: the marker takes requirement ids and nothing else")
        for argument in call.args:
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                raise MarkerError(f"{place}: a requirement id is written out as a string")
            found.append(Evidence(argument.value, path, argument.lineno, owner))
    return sorted(found, key=lambda claim: claim.line)


def _other_names(tree: ast.Module) -> Iterator[str]:
    """What a module calls the marker, for a table of many."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == MARKER:
            yield from map(ast.unparse, node.targets)


def _markers(tree: ast.AST, names: Collection[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node
