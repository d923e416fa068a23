"""The kit shares nothing with what it tests, so that a bug of ours cannot hide itself.

They speak raw bytes over wires of their own; of this project they import the tables and types of
``mcpcore.spec``, which are held against the official schemas.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("conformance/mcpcore_conformance/kit", "conformance/mcpcore_conformance/cases")
LIBRARIES = {"anyio", "msgspec", "h11", "wsproto"}
OURS = ("mcpcore.spec", "mcpcore_conformance.kit", "mcpcore_conformance.cases")


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever the statement stands, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what they name"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Name) and node.id in ("__import__", "import_module"):
            yield node.lineno, f"whatever {node.id} gets"


def allowed(name: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return not name.startswith("importlib")
    return top in LIBRARIES or any(name == each or name.startswith(f"{each}.") for each in OURS)


def breaches(source: str) -> list[str]:
    return [f"line {line}: {name}" for line, name in imported(source) if not allowed(name)]


FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_there_are_files() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_what_is_tested_is_imported(path: Path) -> None:
    assert breaches(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("import json, anyio.abc", False),
        ("from mcpcore.spec.revisions import REVISIONS", False),
        ("from mcpcore.spec import methods", False),
        ("from mcpcore.trace.format import Record", True),
        ("from mcpcore_conformance.kit.model import Page", False),
        ("from mcpcore import Peer", True),
        ("import mcpcore", True),
        ("from mcpcore.engine.peer import Peer", True),
        ("def f():\n    from mcpcore.http import server", True),
        ("from mcpcore.wire.message import Message", True),
        ("from mcpcore.wire.sse import Decoder", True),
        ("from mcpcore_transports.client.client import connect", True),
        ("from mcpcore_conformance.everything.app import server", True),
        ("from conformance.mutants.faults import takes", True),
        ("import mcpcore.specious", True),
        ("import httpx", True),
        ("import importlib\nimportlib.import_module('mcpcore.engine')", True),
        ("__import__('mcpcore.engine')", True),
    ],
)
def test_the_check_sees(source: str, breach: bool) -> None:
    assert bool(breaches(source)) is breach
