"""All cases: those of the modules in ``mcpcore_conformance.cases``."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import TypeVar

from mcpcore_conformance.kit.model import Case, Page

T = TypeVar("T")


class Duplicate(ValueError):
    """Two cases, or two mutants, have one id."""


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case: pages in the order of their names, each in the order of writing."""
    return cases_of(found_in("mcpcore_conformance.cases", Page))


def cases_of(pages: Iterable[Page]) -> tuple[Case, ...]:
    """Put the cases of pages together.  Raises Duplicate."""
    cases = [case for page in sorted(pages, key=lambda page: page.name) for case in page.cases]
    check_unique(case.id for case in cases)
    return tuple(cases)


def found_in(package: str, kind: type[T]) -> list[T]:
    """Objects of a kind in the modules of a package, each once however often it is imported."""
    found: dict[int, T] = {}
    for module in _modules(package):
        for value in vars(module).values():
            if isinstance(value, kind):
                found[id(value)] = value
    return list(found.values())


def _modules(package: str) -> Iterator[ModuleType]:
    folder = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(folder, f"{package}."):
        if not module.ispkg:
            yield importlib.import_module(module.name)


def check_unique(ids: Iterable[str]) -> None:
    """Raise Duplicate if an id is there twice."""
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise Duplicate(f"{each} is there twice")
        seen.add(each)
