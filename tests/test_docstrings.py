"""Docstrings say in their first words what they are about: a thing of the field, or an action."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("mcpcore", "transports/mcpcore_transports")
RIDDLE = re.compile(
    r"(What|Who|Whom|Whose|Whether|Which|Those|These|The same|So (many|much|long)|Nobody|Somebody"
    r"|Something|Someone|Some|It|Its|Their|One|Others|Where|When|How|Says|Tells|See to|Sees"
    r"|All that|As|By|If|None|Not|Nothing|There|(Ask|Do|Tell|Give|Have|Names of) (it|what|them))\b"
)
"""First words that leave open what a docstring is about."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """All of a module, with their lines; those below attributes, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield node.lineno, text


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_begins_with_a_riddle(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip().splitlines()[0]}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if RIDDLE.match(text.strip())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ('"""What comes of it."""', True),
        ('def f():\n    """Whether it is so."""', True),
        ('class C:\n    a: int\n    """So many may wait."""', True),
        ('class C:\n    def f(self):\n        """The same."""', True),
        ('class C:\n    a: int\n    """Its name."""', True),
        ('"""There is no other."""', True),
        ('def f():\n    """Ask it, unless it is gone."""', True),
        ('"""Whatever it takes."""', False),
        ('def f():\n    """Return the next expiry."""\n    x = "What"', False),
        ('class C:\n    """See :class:`B`."""', False),
    ],
)
def test_the_check_sees(source: str, seen: bool) -> None:
    assert any(RIDDLE.match(text) for _, text in docstrings(source)) is seen
