"""Every call of the system that the source has is a point, or excused by its name."""

import ast
import os
import sys
from pathlib import Path

import mcpcore_transports
from tests.torture.calls import modules, watched
from tests.torture.points import DRIVERS
from tests.torture.source_calls import NO_POINTS, named_calls, watched_calls


def test_every_call_is_a_point_or_excused() -> None:
    unknown = {
        what: sorted(where)
        for what, where in named_calls().items()
        if what not in watched_calls() | NO_POINTS.keys()
    }
    assert not unknown


def test_who_is_excused_is_called_somewhere() -> None:
    assert NO_POINTS.keys() <= named_calls().keys()
    assert not NO_POINTS.keys() & watched_calls()


def test_every_module_is_there_when_calls_are_watched() -> None:
    paths = {path for path in Path(DRIVERS).rglob("*.py") if path.name != "__init__.py"}
    with watched():
        names = {
            "mcpcore_transports." + ".".join(path.relative_to(DRIVERS).with_suffix("").parts)
            for path in paths
        }
        assert names <= sys.modules.keys()
        real = [name for name in names if getattr(sys.modules[name], "os", None) is os]
        assert real == []
    assert names <= modules().keys()
    assert mcpcore_transports.__name__ not in modules()


def test_the_module_that_is_replaced_is_imported_where_it_can_be() -> None:
    for path in Path(DRIVERS).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "os", path
            if isinstance(node, ast.Import) and any(each.name == "os" for each in node.names):
                assert node.col_offset == 0, path
                assert all(each.asname is None for each in node.names), path
