"""Modules, classes and their docstrings, as pages of the reference need them."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("mcpcore", "mcpcore_transports")
"""Packages that are installed and have settings and exceptions."""
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


@cache
def modules() -> dict[str, ModuleType]:
    """Import and return all modules of the packages, by name."""
    found = {}
    for package in PACKAGES:
        folder = importlib.import_module(package)
        found[package] = folder
        for each in pkgutil.walk_packages(folder.__path__, f"{package}."):
            found[each.name] = importlib.import_module(each.name)
    return found


def classes(base: type) -> Iterator[type]:
    """All public classes below ``base`` that the packages define, by module and line."""
    for name, module in sorted(modules().items()):
        for key, each in vars(module).items():
            if (
                isinstance(each, type)
                and issubclass(each, base)
                and each.__module__ == name
                and each.__name__ == key
                and not key.startswith("_")
            ):
                yield each


def as_markdown(docstring: str) -> str:
    """Return a docstring as Markdown: roles and double backticks are code."""
    return _ROLE.sub(r"`\1`", docstring).replace("``", "`")


def text_of(docstring: str | None) -> str:
    """Return a docstring as one line of Markdown for the cell of a table."""
    return as_markdown(" ".join((docstring or "").split())).replace("|", "\\|")


def summary(thing: Any) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    return text_of((inspect.getdoc(thing) or "").partition("\n\n")[0])


def attributes(cls: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class, inherited ones included."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.partition(".")[0] in PACKAGES:
            [tree] = ast.parse(dedent(inspect.getsource(each))).body
            assert isinstance(tree, ast.ClassDef)
            for node, after in zip(tree.body, tree.body[1:], strict=False):
                if (
                    isinstance(node, ast.AnnAssign)
                    and isinstance(node.target, ast.Name)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                ):
                    found[node.target.id] = text_of(str(after.value.value))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
