"""Bugs that the simulation has to find: each breaks the core in one way, until the process ends."""

from collections.abc import Callable

from tests.simulation.mutations import arrivals, engine, http, seldom, stores, unnoticed
from tests.simulation.mutations.model import Mutation

MUTATIONS: dict[str, Mutation] = {
    mutation.name: mutation
    for each in (engine, http, arrivals, seldom, stores, unnoticed)
    for mutation in each.MUTATIONS
}


def apply(name: str) -> None:
    """Break the core of this process."""
    change: Callable[[], None] = MUTATIONS[name].change
    change()


__all__ = ["MUTATIONS", "Mutation", "apply"]
