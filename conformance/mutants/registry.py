"""All mutants: those of the modules in ``conformance.mutants``."""

from collections.abc import Iterable
from functools import cache

from conformance.mutants.model import Mutant, Table
from mcpcore_conformance.run.registry import check_unique, found_in


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, by page."""
    return mutants_of(found_in("conformance.mutants", Table))


def mutants_of(tables: Iterable[Table]) -> tuple[Mutant, ...]:
    """Put the mutants of tables together.  Raises Duplicate."""
    mutants = [each for table in sorted(tables, key=lambda one: one.page) for each in table.mutants]
    check_unique(mutant.id for mutant in mutants)
    return tuple(mutants)
