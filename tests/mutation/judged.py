"""Survivors that have a verdict: no test can kill them, or none should, or one does by now."""

import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.mutation.mutants import Key, Mutant

FILE = Path(__file__).with_name("judged.toml")
"""Survivors that no test can kill, or that none should."""
SURVIVORS = Path(__file__).with_name("survivors.toml")
"""Survivors of samples that a test kills, by its name: where nearly every test reaches the code,
the budget may leave out that very one."""


class Judged(Struct, frozen=True, forbid_unknown_fields=True):
    """A mutant by what stays the same wherever its function stands, and why it may live."""

    path: str
    function: str
    before: str
    after: str
    reason: str

    @property
    def key(self) -> Key:
        """As `Mutant.key`."""
        return self.path, self.function, self.before, self.after


class _List(Struct, forbid_unknown_fields=True):
    mutant: list[Judged]


def judged(file: Path = FILE) -> list[Judged]:
    """The whole list."""
    return msgspec.convert(tomllib.loads(file.read_text()), _List).mutant


def reasons(entries: list[Judged]) -> dict[Key, str]:
    """Why a mutant may live, by its key."""
    return {entry.key: entry.reason for entry in entries}


def stale(entries: list[Judged], possible: list[Mutant]) -> list[Judged]:
    """Entries that are about no mutant that could be made of the code as it is."""
    by_function: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in possible:
        by_function.setdefault((mutant.path, mutant.function), []).append(mutant)
    return [
        entry
        for entry in entries
        if all(
            mutant.key() != entry.key
            for mutant in by_function.get((entry.path, entry.function), ())
        )
    ]
