"""What is left of a run: its summary, its reports, its traces, and an exit status."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import structs
from rich.console import Console
from rich.markup import escape

from mcpcore.trace.format import Record
from mcpcore_conformance.commands.choice import Choice
from mcpcore_conformance.commands.progress import STYLE, counted
from mcpcore_conformance.kit.model import Verdict
from mcpcore_conformance.reports.expectations import as_expectations
from mcpcore_conformance.reports.formats import FORMATS, Wanted
from mcpcore_conformance.reports.plain import line_of
from mcpcore_conformance.reports.report import Ended, Entry, Report, hiding, report_of
from mcpcore_conformance.reports.traces import write_traces
from mcpcore_conformance.run.expected import Expected, Judged, judge
from mcpcore_conformance.run.run import Run
from mcpcore_conformance.run.transcript import records_of
from mcpcore_transports.commands.output import Exit, Failure, errors, out

T = TypeVar("T")

_HEADINGS = {
    Judged.FAILURE: "failures",
    Judged.UNEXPECTED_PASS: "expected to fail, and no failure",
}
_DELETE = "the list is too long: delete these entries (what is weak fails only with --strict)"
WIDTH = 240
"""Characters of what was said that a line of the terminal shows."""


def finish(
    run: Run,
    choice: Choice,
    reports: Sequence[Wanted],
    expected: Sequence[Expected],
    secrets: Sequence[str] = (),
    *,
    ended: Ended | None,
) -> int:
    """Write and print what came of a run, whole or not; return the exit status.

    ``ended``: why it did not come to its end, if it did not.  Raises Failure with that if there
    was nothing to play with.
    """
    judgement = judge(run, expected, strict=choice.strict)
    report = report_of(run, judgement, secrets, ended=ended)
    folder = choice.trace_dir
    if folder is not None:
        said = partial(_said, run, report, choice, secrets)
        redacted = not choice.trace_secrets
        names = _written(folder, lambda: write_traces(report, folder, said, redacted=redacted))
        report.entries = [
            structs.replace(entry, trace=names.get(number, ""))
            for number, entry in enumerate(report.entries)
        ]
    to_stdout = [each for each in reports if not each.file]
    console = errors if to_stdout else out
    if ended is None or ended.reached:
        _print(report, console, verbose=choice.verbose)
    lost: list[Failure] = []
    for each in reports:
        text = FORMATS[each.format](report)
        if not each.file:
            out.file.write(text)
            continue
        try:
            _write(each.file, text)
            console.print(f"{each.format} report: {escape(each.file)}")
        except Failure as error:
            lost.append(error)
    if ended is not None and not ended.reached:
        raise Failure(ended.why)
    if lost:
        raise lost[0]
    if ended is not None:
        return Exit.INTERRUPTED
    if choice.write_expected is not None:
        _write(choice.write_expected, as_expectations(report))
        console.print(f"expected failures: {escape(choice.write_expected)}")
        return 1 if report.astray else 0
    return 0 if report.well else 1


def _said(
    run: Run, report: Report, choice: Choice, secrets: Sequence[str], number: int
) -> Sequence[Record]:
    """What was said in a case, as its trace is to hold it; made one by one, as it may be much."""
    found, result = report.entries[number].records, run.results[number]
    if not found and not choice.trace_all:
        return ()
    if choice.trace_secrets:
        return records_of(result, secrets=True)
    return found or records_of(result, hiding(secrets))


def _print(report: Report, console: Console, *, verbose: bool) -> None:
    console.print(counted({place: report.count(place) for place in report.places()}))
    for why in report.left_out():
        console.print(f"[dim]{escape(why)}[/]")
    for judged, heading in _HEADINGS.items():
        found = [
            entry
            for entry in report.entries
            if entry.judged is judged and entry.detail not in report.gone
        ]
        if found:
            console.print(f"[bold]{heading}[/]")
            _print_cases(found, console, verbose=verbose)
            if judged is Judged.UNEXPECTED_PASS:
                console.print(_DELETE, style="dim")
    if verbose:
        _print_weak(report, console)
    for case in report.stale:
        console.print(f"[bold red]expected to fail, and not applicable:[/] {escape(case)}")
    for how in report.away:
        console.print(f"[yellow]{escape(how)}[/]")
    for how in report.gone:
        left = sum(entry.detail == how for entry in report.entries)
        console.print(f"[bold red]{escape(how)}[/]; {left} cases were not played")
    if report.undecided and report.complete and not report.gone:
        console.print(f"[bold red]{escape(report.why)}[/]")
    known = sum(entry.judged is Judged.KNOWN for entry in report.entries)
    rest = f" ({known} known failures)" if known else ""
    said = f"{report.target}: {report.summary()}{rest}, in {report.duration()}"
    console.print(escape(said))


def _print_weak(report: Report, console: Console) -> None:
    """What is weak and no failure: who wants to see what was said wants to see it there, too."""
    weak = [
        entry
        for entry in report.entries
        if entry.verdict is Verdict.WEAK and entry.judged is Judged.FINE
    ]
    if weak:
        console.print("[bold]weak, which fails only with --strict[/]")
        _print_cases(weak, console, verbose=True)


def _print_cases(entries: Sequence[Entry], console: Console, *, verbose: bool) -> None:
    """One paragraph for each case and what was found: where, and what."""
    groups: dict[tuple[str, Verdict, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.case.id, entry.verdict, entry.detail), []).append(entry)
    for (case, verdict, detail), found in groups.items():
        places: dict[str, list[str]] = {}
        for entry in found:
            places.setdefault(entry.binding, []).append(entry.revision)
        where = "; ".join(f"{binding} {' '.join(names)}" for binding, names in places.items())
        console.print(f"[{STYLE[verdict]}]{verdict}[/] {escape(case)} [dim]({escape(where)})[/]")
        link = found[0].case.link_in(max(entry.revision for entry in found))
        wanted = f"expected: {found[0].case.expects}"
        for line in (detail, wanted, found[0].reason, link, found[0].trace):
            if line:
                console.print(f"  {escape(' '.join(line.split()))}")
        if verbose:
            for record in found[0].records:
                console.print(f"    [dim]{escape(line_of(record, WIDTH))}[/]")


def _write(file: str, text: str) -> None:
    def write() -> None:
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "replace"))

    _written(file, write)


def _written(file: str, write: Callable[[], T]) -> T:
    try:
        return write()
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror or error}") from None
