"""The table of WebSocket closes: what it says, and that the drivers send nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcpcore_transports
from mcpcore.spec import closes
from mcpcore.spec.closes import CLOSES, CloseRow

FOLDER = Path(mcpcore_transports.__path__[0])
FILES = (*sorted((FOLDER / "websocket").glob("*.py")), FOLDER / "serve/asgi.py")
NAMES = {name for name, value in vars(closes).items() if isinstance(value, CloseRow)}
OF_THE_PEER = 1014
"""Code that a peer may send, and wsproto does not know."""


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """What stands in the modules that send closes."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path.name, node


def test_every_row_is_in_the_table_once_in_order() -> None:
    assert sorted(CLOSES, key=lambda row: row.code) == list(CLOSES)
    assert len(CLOSES) == len(set(CLOSES)) == len(NAMES)
    assert {getattr(closes, name) for name in NAMES} == set(CLOSES)


@pytest.mark.parametrize("row", CLOSES, ids=lambda row: row.when)
def test_a_row_has_a_code_that_may_be_sent_and_says_when_and_why(row: CloseRow) -> None:
    assert row.code in range(1000, 1015)
    assert row.code not in (1004, 1005, 1006)  # RFC 6455 section 7.4.1: not on the wire
    assert row.when
    assert row.clause
    assert len(row.reason.encode()) < 100  # with its values, 123 (section 5.5)


def test_a_reason_is_filled_with_values() -> None:
    assert closes.TOO_LONG.filled(limit=7).reason == "longer than 7 bytes"
    assert closes.TOO_LONG.filled(limit=7).code == closes.TOO_LONG.code
    assert closes.FAILED.filled(reason="{x}").reason == "{x}"


def test_the_drivers_take_every_close_from_the_table() -> None:
    used: set[str] = set()
    for file, node in nodes():
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "closes":
                used.add(node.attr)
            assert node.value.id != "CloseReason", f"{file}: a code that is no row"
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            code = node.value
            assert code not in range(1000, 1016) or code == OF_THE_PEER, f"{file}: {code}"
    assert used - {"CloseRow"} == NAMES
