"""What the words and options of a command ask for."""

from collections.abc import Sequence

from msgspec import Struct

from conformance.kit.model import Binding, Case, Side
from conformance.run.plan import Settings
from conformance.run.registry import all_cases
from conformance.run.selection import NoSuchCase, select
from mcpcore.spec.revisions import REVISIONS, parse_revisions
from transports.commands.output import Exit, Failure

ALL = "all"


class Choice(Struct, frozen=True, kw_only=True):
    """What both sides have in common."""

    only: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    strict: bool = False
    jobs: int = 4
    timeout: float = 5.0
    seed: int = 0

    def cases(self, side: Side) -> list[Case]:
        """The cases of a side that are wanted.  Raises Failure for a pattern without a case."""
        mine = [case for case in all_cases() if case.side is side]
        try:
            return select(mine, self.only)
        except NoSuchCase as error:
            raise Failure(f"--only: {error}", Exit.USAGE) from None

    def settings(self) -> Settings:
        """How the run is made.  Raises Failure for an unknown revision."""
        try:
            chosen = parse_revisions(self.revisions)
        except ValueError as error:
            raise Failure(str(error), Exit.USAGE) from None
        return Settings(
            revisions=tuple(each for each in REVISIONS if each in chosen) or REVISIONS,
            jobs=self.jobs,
            timeout=self.timeout,
            seed=self.seed,
        )

    def bindings(self, possible: Sequence[Binding]) -> list[Binding]:
        """The transports that are asked for, of those that there can be.  Raises Failure."""
        chosen: list[Binding] = []
        for name in self.transports:
            if name == ALL:
                chosen += possible
            elif name in [*Binding]:
                chosen.append(Binding(name))
            else:
                known = ", ".join([ALL, *Binding])
                raise Failure(
                    f"--transport: there is no transport {name!r}; there are {known}", Exit.USAGE
                )
        return [*dict.fromkeys(chosen)]
