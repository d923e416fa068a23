"""The table of attacks: each number of the design on both sides, each with a test that runs."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.auth.attacks import CLIENT, SERVER, Shown
from tests.reference import attacks as page

ROOT = Path(__file__).parents[3]


@cache
def functions(file: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file by name."""
    found = ast.parse((ROOT / file).read_text()).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name: node for node in found if isinstance(node, kinds)}


@pytest.mark.parametrize("side", ["client", "server"])
def test_no_attack_is_forgotten(side: str) -> None:
    rows = page.client() if side == "client" else page.server()
    assert {row.number for row in rows} == set(range(1, 61))


@pytest.mark.parametrize("row", [*CLIENT, *SERVER], ids=lambda row: f"{row.number} {row.name}")
def test_an_attack_has_tests_that_run(row: Shown) -> None:
    assert row.tests
    for name in row.tests:
        assert name.startswith("test_")
        function = functions(row.file)[name]
        marks = [ast.unparse(each) for each in function.decorator_list]
        assert not [mark for mark in marks if "skip" in mark or "xfail" in mark]
