"""What is to be run, and how."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from msgspec import Struct

from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore_conformance.kit.model import Binding, Case, Side


class Settings(Struct, frozen=True, kw_only=True):
    """How a run is made."""

    revisions: tuple[Revision, ...] = REVISIONS
    named: bool = False
    """Whether somebody has named these revisions, rather than taken all that there are."""
    jobs: int = 4
    """Cases at a time."""
    timeout: float = 5.0
    """Seconds that the kit waits for an answer, an end or a connection."""
    case_limit: float | None = None
    """Seconds that a case may take as a whole; None: twelve answers."""
    seed: int = 0
    """What looks random is the same whenever this is the same."""
    thorough: bool = False
    """Races are run again and again."""
    tools: tuple[str, ...] = ()
    """Tools that may be called whatever they say of themselves; ``*``: all."""

    @property
    def start(self) -> float:
        """Seconds for the first sign of a program, which may have to start: three answers."""
        return 3 * self.timeout

    @property
    def limit(self) -> float:
        """Seconds that a case may take as a whole."""
        return 12 * self.timeout if self.case_limit is None else self.case_limit


class Unit(Struct, frozen=True):
    """One case in one revision on one binding."""

    case: Case
    revision: Revision
    binding: Binding

    @property
    def key(self) -> tuple[str, str, Binding]:
        """What tells it from others: id, revision, binding."""
        return self.case.id, self.revision.name, self.binding

    def seed(self, seed: int) -> int:
        """A seed of its own, so that cases side by side do not choose the same values."""
        text = f"{seed} {self.case.id} {self.revision.name} {self.binding}"
        return int.from_bytes(sha256(text.encode()).digest()[:8])

    def __str__(self) -> str:
        return f"{self.case.id} ({self.binding}, {self.revision.name})"


def plan(
    cases: Iterable[Case], side: Side, bindings: Sequence[Binding], revisions: Sequence[Revision]
) -> list[Unit]:
    """Every case in every revision whose clause it is, on every binding that it is about."""
    chosen = [case for case in cases if case.side is side]
    return [
        Unit(case, revision, binding)
        for binding in bindings
        for revision in revisions
        for case in chosen
        if case.holds_in(revision) and binding in case.bindings
    ]
