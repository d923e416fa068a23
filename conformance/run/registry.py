"""All cases and all mutants: whatever stands in conformance/cases and conformance/mutants."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import TypeVar

from conformance.kit.model import Case, Page
from conformance.mutants.model import Mutant, Table

T = TypeVar("T", Page, Table)


class Duplicate(ValueError):
    """Two cases, or two mutants, have one id."""


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case: pages in the order of their names, each in the order of writing."""
    return cases_of(_found("conformance.cases", Page))


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, by page."""
    return mutants_of(_found("conformance.mutants", Table))


def cases_of(pages: Iterable[Page]) -> tuple[Case, ...]:
    """Put the cases of pages together.  Raises Duplicate."""
    cases = [case for page in sorted(pages, key=lambda page: page.name) for case in page.cases]
    _check_unique(case.id for case in cases)
    return tuple(cases)


def mutants_of(tables: Iterable[Table]) -> tuple[Mutant, ...]:
    """Put the mutants of tables together.  Raises Duplicate."""
    mutants = [each for table in sorted(tables, key=lambda one: one.page) for each in table.mutants]
    _check_unique(mutant.id for mutant in mutants)
    return tuple(mutants)


def _found(package: str, kind: type[T]) -> list[T]:
    """What the modules of a package have of a kind, each once however often it is imported."""
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


def _check_unique(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise Duplicate(f"{each} is there twice")
        seen.add(each)
