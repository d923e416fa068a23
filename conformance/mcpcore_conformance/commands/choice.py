"""What the options of a command ask for."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from mcpcore.spec.revisions import REVISIONS, parse_revisions
from mcpcore_conformance.kit.model import Binding, Case, Side
from mcpcore_conformance.reports.formats import FORMATS, BadReport, Wanted, wanted
from mcpcore_conformance.run.expected import BadExpectations, Expected, read_expected
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.selection import NoSuchCase, means_any, select
from mcpcore_transports.commands.options import TraceSecretsOption, gathering
from mcpcore_transports.commands.output import Exit, Failure

ALL = "all"
JOBS = 4
"""Cases at a time, by default."""


class Choice(Struct, frozen=True, kw_only=True):
    """What the commands have in common; see the options below."""

    only: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    other_headers: tuple[str, ...] = ()
    protected: bool = False
    tools: tuple[str, ...] = ()
    strict: bool = False
    jobs: int | None = None
    timeout: float = 5.0
    seed: int = 0
    thorough: bool = False
    reports: tuple[str, ...] = ()
    expected_failures: str | None = None
    write_expected: str | None = None
    trace_dir: str | None = None
    trace_all: bool = False
    trace_secrets: bool = False
    verbose: bool = False

    def cases(self, side: Side) -> list[Case]:
        """The cases of a side that are wanted.  Raises Failure for a pattern without a case."""
        known = _of_side(side)
        try:
            return select(known, self.only)
        except NoSuchCase as error:
            why = str(error)
            (other,) = (each for each in Side if each is not side)
            pattern = next(each for each in self.only if not means_any(each, known))
            if means_any(pattern, _of_side(other)):
                why = f"{pattern} is about a {other}: mcpcore conformance {other}"
            raise Failure(f"--only: {why}", Exit.USAGE) from None

    def listed(self, side: Side) -> list[Case]:
        """The cases that are wanted in one of the revisions and transports, for a list."""
        revisions, bindings = self.settings().revisions, self.bindings([*Binding])
        return [
            case
            for case in self.cases(side)
            if any(map(case.holds_in, revisions))
            and (not bindings or not case.bindings.isdisjoint(bindings))
        ]

    def settings(self, jobs: int = JOBS) -> Settings:
        """How the run is made, ``jobs`` unless others are said.  Raises Failure."""
        try:
            chosen = parse_revisions(self.revisions)
        except ValueError as error:
            raise Failure(f"--revision: {error}", Exit.USAGE) from None
        return Settings(
            revisions=tuple(each for each in REVISIONS if each in chosen) or REVISIONS,
            named=bool(chosen),
            jobs=self.jobs or jobs,
            timeout=self.timeout,
            seed=self.seed,
            thorough=self.thorough,
            tools=self.tools,
        )

    def bindings(self, possible: Sequence[Binding]) -> list[Binding]:
        """The transports that are asked for; ``all`` stands for the possible.  Raises Failure."""
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

    def wanted(self) -> list[Wanted]:
        """The reports to make.  Raises Failure."""
        try:
            found = [wanted(each) for each in self.reports]
        except BadReport as error:
            raise Failure(f"--report: {error}", Exit.USAGE) from None
        if sum(not each.file for each in found) > 1:
            raise Failure("--report: only one can go to standard output", Exit.USAGE)
        files = [Path(each.file).resolve() for each in found if each.file]
        if len({*files}) < len(files):
            raise Failure("--report: two reports to one file, the last would be all", Exit.USAGE)
        return found

    def check_files(self) -> None:
        """Raise Failure if what is asked for could not be written, before a run is made for it."""
        for each in [*(each.file for each in self.wanted()), self.write_expected]:
            if each and (why := _unwritable(Path(each), folder=False)):
                raise Failure(f"{each} cannot be written: {why}")
        if self.trace_dir and (why := _unwritable(Path(self.trace_dir), folder=True)):
            raise Failure(f"{self.trace_dir} cannot be written: {why}")

    def check_traces(self) -> None:
        """Raise Failure for options of traces where none is asked for."""
        given = {"--trace-all": self.trace_all, "--trace-secrets": self.trace_secrets}
        for option in (name for name, value in given.items() if value):
            if self.trace_dir is None:
                raise Failure(f"{option} is for --trace-dir, which is not given", Exit.USAGE)

    def expected(self, side: Side) -> tuple[Expected, ...]:
        """The failures that are known.  Raises Failure."""
        if self.expected_failures is None:
            return ()
        try:
            text = Path(self.expected_failures).read_text("utf-8")
            return read_expected(text, _of_side(side))
        except (OSError, UnicodeDecodeError, BadExpectations) as error:
            why = str(error)
            if isinstance(error, FileNotFoundError):
                why = "there is no such file; --write-expected FILE makes one"
            raise Failure(
                f"--expected-failures: {self.expected_failures}: {why}", Exit.USAGE
            ) from None


def _of_side(side: Side) -> list[Case]:
    return [case for case in all_cases() if case.side is side]


def _unwritable(path: Path, *, folder: bool) -> str:
    """Why a file (or a folder with files) cannot be written there; empty as far as can be seen."""
    if path.exists() and path.is_dir() is not folder:
        return "it is no folder" if folder else "it is a folder"
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if there != path and not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK) else f"no permission for {there}"


class _Declared:
    """Each attribute is an option, and the member of :class:`Choice` that it fills."""

    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="CASE", help="An id, a page, or a pattern with * in it; repeatable."
        ),
    ] = None
    transports: Annotated[
        list[str] | None,
        typer.Option(
            "--transport",
            metavar="T",
            help="stdio, http, ws, sse, tcp, unix, memory, core or all; repeatable.",
        ),
    ] = None
    other_headers: Annotated[
        list[str] | None,
        typer.Option(
            "--other-header",
            metavar="'NAME: VALUE'",
            help="http: of a second principal, for cases about two; repeatable.",
        ),
    ] = None
    protected: Annotated[
        bool,
        typer.Option(
            "--protected",
            help="Servers: start an authorization server, tell the server's command of it by"
            " MCP_CONFORMANCE_AUTH_* variables, and bring tokens of it.",
        ),
    ] = False
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            metavar="NAME",
            help="Servers: this tool may be called, whatever it says of itself; '*': any;"
            " repeatable.",
        ),
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="What is weak or inconclusive is a failure, too.")
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            max=64,
            help="Cases at a time; default 4, of mutants 12.",
        ),
    ] = None
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.05, help="For each answer.")
    ] = 5.0
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", help="Of what looks random: the same makes the same choices."
        ),
    ] = 0
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="A thousand cancellation races, not twenty."),
    ] = False
    reports: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FORMAT[:FILE]",
            help=f"{', '.join(FORMATS)}; without FILE to standard output; repeatable.",
        ),
    ] = None
    expected_failures: Annotated[
        str | None,
        typer.Option(
            "--expected-failures",
            metavar="FILE",
            help="Known failures (TOML): others fail the run, and entries that are no failure any"
            " more (passed, or weak without --strict); what is inconclusive stays on the list.",
        ),
    ] = None
    write_expected: Annotated[
        str | None,
        typer.Option(
            "--write-expected", metavar="FILE", help="Write the failures of this run there."
        ),
    ] = None
    trace_dir: Annotated[
        str | None,
        typer.Option(
            "--trace-dir", metavar="DIR", help="Write a trace of each finding, without secrets."
        ),
    ] = None
    trace_all: Annotated[
        bool,
        typer.Option("--trace-all", help="With --trace-dir: of each case that is played."),
    ] = False
    trace_secrets: TraceSecretsOption = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show what was said in each failure, and in what is weak."
        ),
    ] = False


_NAMES = tuple(_Declared.__annotations__)


def choosing(function: Callable[..., None], names: Collection[str] = _NAMES) -> Callable[..., None]:
    """Give a command the options of a run, as one: ``choice``.  ``names``: only these."""

    def make(_context: typer.Context, given: dict[str, Any]) -> Choice:
        return Choice(**given)

    return gathering(function, "choice", _Declared, names, make)
