"""Protocol facts are rows: outside ``mcpcore/spec`` nobody compares revisions or matches on them.

Code asks a flag (``revision.batches``).  Two rows may be compared with each other by identity, to
ask whether two messages speak the same revision; no row may be compared with a certain one.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpcore.spec.revisions import BY_NAME

ROOT = Path(__file__).parent.parent
SEARCHED = (
    "mcpcore",
    "transports/mcpcore_transports",
    "conformance/mcpcore_conformance/everything",
)
EXEMPT = "mcpcore/spec"

CERTAIN_ROWS = {
    "BY_NAME",
    "LATEST",
    "LATEST_LEGACY",
    "LEGACY",
    "MODERN",
    "REVISIONS",
}
"""Names of ``mcpcore.spec.revisions`` that stand for certain rows."""


def names_a_revision(node: ast.expr) -> bool:
    """Whether an operand of a comparison is a certain revision, its name or its position."""
    match node:
        case ast.Constant(value=str(text)):
            return text in BY_NAME
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return any(names_a_revision(element) for element in elements)
        case ast.Dict(keys=keys):
            return any(key is not None and names_a_revision(key) for key in keys)
        case ast.Subscript(value=value):
            return names_a_revision(value)
        case ast.Name(id=name):
            return name in CERTAIN_ROWS
        case ast.Attribute(value=value, attr=name):
            if name in CERTAIN_ROWS:  # of the module, not of some enumeration
                return ast.unparse(value).endswith("revisions")
            return name == "position" or (
                name == "name" and "revision" in ast.unparse(value).lower()
            )
        case ast.Call(func=ast.Name(id="frozenset" | "list" | "set" | "tuple"), args=arguments):
            return any(names_a_revision(argument) for argument in arguments)
    return False


def pattern_names_a_revision(pattern: ast.pattern) -> bool:
    return any(
        isinstance(node, ast.MatchValue) and names_a_revision(node.value)
        for node in ast.walk(pattern)
    )


def comparisons(source: str) -> Iterator[int]:
    """Line numbers of the comparisons and matches on revisions."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare():
                # `revision in supported` is a question of membership in what was configured, but
                # `name in BY_NAME` only asks whether a name is known at all.
                operands = [node.left, *node.comparators]
                known_name = len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn)
                if known_name and ast.unparse(operands[1]) == "BY_NAME":
                    operands = operands[:1]
                if any(names_a_revision(operand) for operand in operands):
                    yield node.lineno
            case ast.Match(subject=subject, cases=cases):
                if names_a_revision(subject) or any(
                    pattern_names_a_revision(case.pattern) for case in cases
                ):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith", value=value)):
                if names_a_revision(value):
                    yield node.lineno


def searched() -> list[Path]:
    return [
        path
        for folder in SEARCHED
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(ROOT / EXEMPT)
    ]


def test_no_comparison_of_revisions() -> None:
    paths = searched()
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        for line in comparisons(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "if revision.name == '2025-11-25': pass",
        "x = '2024-11-05' <= version",
        "x = version in ('2025-03-26', '2025-06-18')",
        "x = version in frozenset({'2025-03-26'})",
        "x = version in {'2025-03-26': 1}",
        "x = revision is LATEST",
        "x = revision is not revisions.LATEST_LEGACY",
        "x = revision in LEGACY",
        "x = revision == REVISIONS[-1]",
        "x = revision is BY_NAME['2025-06-18']",
        "x = a.position < b.position",
        "x = self.revision.name != other",
        "match version:\n    case '2025-11-25' | 'x': pass",
        "match revision.name:\n    case wanted: pass",
        "x = 1 if facts.revision.name.startswith('2025') else 2",
    ],
)
def test_the_check_sees(source: str) -> None:
    assert list(comparisons(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "x = revision.batches and not revision.modern",
        "x = revision is other",
        "x = revision is None",
        "x = revision in config.revisions",
        "x = name in BY_NAME",
        "x = verdict is Verdict.LEGACY",
        "x = tool.name == name",
        "x = table[revision.name]",
        "x = '2025-11-25'",
        "match kind:\n    case 'a': pass",
    ],
)
def test_the_check_lets_flags_pass(source: str) -> None:
    assert list(comparisons(source)) == []
