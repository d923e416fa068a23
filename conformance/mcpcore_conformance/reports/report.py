"""What all formats show: the results of a run, judged, without secrets."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from msgspec import Struct, field, structs, to_builtins

from mcpcore.trace.format import Record
from mcpcore.trace.redaction import Redactor
from mcpcore_conformance.kit.model import Binding, Case, Result, Side, Verdict
from mcpcore_conformance.reports.plain import bounded, printable
from mcpcore_conformance.run.expected import Judged, Judgement, key_of
from mcpcore_conformance.run.plan import Unit
from mcpcore_conformance.run.run import Run
from mcpcore_conformance.run.transcript import records_of

NOTABLE = frozenset((Verdict.FAILED, Verdict.WEAK, Verdict.INFORMATIONAL, Verdict.INCONCLUSIVE))
"""Verdicts whose transcripts are kept."""


NOT_PLAYED = "not played"
"""In the place of a verdict."""


class Ended(Struct, frozen=True):
    """Why a run did not come to its end, or came to nothing."""

    word: str
    why: str
    reached: bool = True
    """Whether there was anything to play with."""
    fails: bool = False
    """Whether that alone is a failure."""


INTERRUPTED = Ended("interrupted", "the run was interrupted")


class Entry(Struct, kw_only=True):
    """One result."""

    case: Case
    revision: str
    binding: Binding
    verdict: Verdict
    judged: Judged
    detail: str = ""
    notes: Sequence[str] = ()
    seconds: float = 0.0
    reason: str = ""
    """Why a failure is known."""
    started: float = 0.0
    """Wall-clock time at which it began, in seconds since 1970 UTC; 0: not known."""
    records: Sequence[Record] = ()
    """What was said, of what is notable."""
    faulty: bool = False
    """The case itself failed: a fault of the kit."""
    trace: str = ""
    """The file that holds it, if it was written."""

    @property
    def place(self) -> str:
        """Binding and revision."""
        return f"{self.binding} {self.revision}"


class Report(Struct, kw_only=True):
    """A run as it is reported."""

    side: Side
    target: str
    """What was tested; several with their bindings."""
    started: str
    """Wall-clock time, RFC 3339 UTC."""
    program: str
    seconds: float
    seed: int
    strict: bool
    well: bool
    took: dict[Binding, float] = field(default_factory=dict)
    """Seconds for the cases of each binding."""
    ended: Ended | None = None
    """Why it did not come to its end, or came to nothing; None: it is all there."""
    unplayed: Sequence[Unit] = ()
    gone: Sequence[str] = ()
    """How servers went in the middle of it; also the detail of each case that they have left."""
    away: Sequence[str] = ()
    """When servers were gone in the middle of it, and came back."""
    slow: Sequence[str] = ()
    """What of a server takes longer than an answer may."""
    stale: Sequence[str] = ()
    undecided: bool = False
    """Nothing was found out: what was played is inconclusive."""
    entries: list[Entry] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return not self.unplayed

    @property
    def astray(self) -> bool:
        """Whether the run is not well, whatever failures of the program are expected."""
        faulty = any(entry.faulty for entry in self.entries)
        return bool(self.gone) or self.undecided or faulty

    @property
    def title(self) -> str:
        """A heading."""
        return f"MCP conformance of the {self.side} {self.target}"

    def places(self) -> list[tuple[Binding, str]]:
        """Bindings and revisions, in the order of the run."""
        return [*dict.fromkeys((entry.binding, entry.revision) for entry in self.entries)]

    def count(self, place: tuple[Binding, str] | None = None) -> Counter[Verdict]:
        """How often each verdict was given, everywhere or in one place."""
        return Counter(
            entry.verdict
            for entry in self.entries
            if place is None or (entry.binding, entry.revision) == place
        )

    def left_out(self) -> list[str]:
        """What was not looked at, in one sentence each: what is slow, and most cases of a place.

        The latter where these do not apply for one reason.
        """
        found = [*self.slow]
        for binding, revision in self.places():
            here = [
                each
                for each in self.entries
                if (each.binding, each.revision) == (binding, revision)
            ]
            reasons = Counter(
                each.detail for each in here if each.verdict is Verdict.NOT_APPLICABLE
            ).most_common(1)
            for reason, number in reasons:
                if 2 * number > len(here):
                    said = f"{number} of {len(here)} cases do not apply"
                    found.append(f"{binding} {revision}: {said}: {reason}")
        return found

    def summary(self) -> str:
        """The counts in words."""
        total = self.count()
        said = ", ".join(f"{total[verdict]} {verdict}" for verdict in Verdict if total[verdict])
        left = f"; {len(self.unplayed)} {NOT_PLAYED}: {self.why}" if self.unplayed else ""
        return (said or "nothing played") + left

    @property
    def why(self) -> str:
        """Why something was not played, in words."""
        return "" if self.ended is None else self.ended.why

    def duration(self) -> str:
        """How long the run took, and the cases of each binding."""
        each = ", ".join(f"{binding} {seconds:.1f} s" for binding, seconds in self.took.items())
        return f"{self.seconds:.1f} s" + (f" ({each})" if each else "")


def report_of(
    run: Run, judgement: Judgement, secrets: Sequence[str] = (), *, ended: Ended | None = None
) -> Report:
    """Put a report together; ``secrets`` are hidden wherever they stand.

    ``ended``: why the run did not come to its end, if it did not.
    """
    shown = [(binding, safe(target, secrets)) for binding, target in run.targets.items()]
    unplayed = run.unplayed()
    if unplayed and ended is None:
        ended = INTERRUPTED
    if ended is None and run.gone:
        ended = Ended("server gone", "; ".join(run.gone.values()), fails=True)
    if ended is None and judgement.undecided:
        ended = Ended("inconclusive", _undecided(run), fails=True)
    different = dict.fromkeys(target for _, target in shown)
    several = ", ".join(f"{target} ({binding})" for binding, target in shown)
    return Report(
        side=run.side,
        target=several if len(different) > 1 else "".join(different),
        started=clock_of(datetime.now(UTC).timestamp() - run.seconds),
        program=f"mcpcore {version('mcpcore')}",
        seconds=run.seconds,
        seed=run.settings.seed,
        strict=judgement.strict,
        well=judgement.well and not run.gone,
        took=run.took,
        ended=None if ended is None else structs.replace(ended, why=safe(ended.why, secrets)),
        unplayed=unplayed,
        gone=[safe(how, secrets) for how in run.gone.values()],
        away=[safe(how, secrets) for how in run.away],
        slow=[safe(each, secrets) for each in run.slow()],
        stale=[*map(printable, judgement.stale)],
        undecided=judgement.undecided,
        entries=[_entry(result, judgement, secrets) for result in run.results],
    )


def _undecided(run: Run) -> str:
    counts = run.count()
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return f"nothing was found out: of all that was played no case came to a verdict ({said})"


def safe(text: str, secrets: Sequence[str] = ()) -> str:
    """Text that may be shown: without secrets and control characters."""
    return printable(hiding(secrets).text(text)[0])


def clock_of(seconds: float) -> str:
    """A wall-clock time as RFC 3339 has it, in UTC."""
    found = datetime.fromtimestamp(seconds, UTC)
    return found.isoformat(timespec="seconds").replace("+00:00", "Z")


def detail_of(result: Result, secrets: Sequence[str] = ()) -> str:
    """Why, in words that may be shown: without secrets and control characters."""
    return _said(result, secrets)[0]


def _said(result: Result, secrets: Sequence[str]) -> tuple[str, Sequence[str], Sequence[Record]]:
    """Detail, notes and transcript of a result."""
    redactor = hiding(secrets)
    # the transcript comes first: what is hidden there is hidden in the words about it, too
    records = records_of(result, redactor) if result.verdict in NOTABLE else ()
    detail, *notes = (
        printable(redactor.text(text)[0]) if text else "" for text in (result.detail, *result.notes)
    )
    return detail, notes, records


def _entry(result: Result, judgement: Judgement, secrets: Sequence[str]) -> Entry:
    detail, notes, records = _said(result, secrets)
    return Entry(
        case=result.case,
        revision=result.revision,
        binding=result.binding,
        verdict=result.verdict,
        judged=judgement[result],
        detail=detail,
        notes=notes,
        seconds=result.seconds,
        reason=printable(judgement.reasons.get(key_of(result), "")),
        started=result.started,
        records=records,
        faulty=result.faulty,
    )


def hiding(secrets: Sequence[str]) -> Redactor:
    """What takes secrets out of all that is shown; ``secrets`` are those that are known."""
    made = Redactor()
    for secret in secrets:
        made.hide(secret)
    return made


def rows_of(report: Report) -> Iterator[dict[str, Any]]:
    """The results as objects of JSON, then what was not played."""
    for entry in report.entries:
        yield _row_of(entry, report)
    for unit in report.unplayed:
        row = _row(unit.case, unit.revision.name, unit.binding, NOT_PLAYED, report.why)
        yield {**row, "seconds": 0.0, "outcome": NOT_PLAYED}


def _row(case: Case, revision: str, binding: Binding, verdict: str, detail: str) -> dict[str, Any]:
    return {
        "id": case.id,
        "clause": case.clause_in(revision),
        "strength": case.strength,
        "revision": revision,
        "transport": binding,
        "verdict": verdict,
        "detail": detail,
        "side": case.side,
        "summary": case.summary,
        "expects": case.expects,
        "link": case.link_in(revision),
    }


def _row_of(entry: Entry, report: Report) -> dict[str, Any]:
    made = _row(entry.case, entry.revision, entry.binding, entry.verdict, entry.detail)
    made["seconds"] = round(entry.seconds, 4)
    made["outcome"] = entry.judged
    if entry.binding in report.took:
        made["transportSeconds"] = round(report.took[entry.binding], 1)
    if entry.notes:
        made["notes"] = [*entry.notes]
    if entry.reason:
        made["reason"] = entry.reason
    if entry.faulty:
        made["faulty"] = True
    if entry.trace:
        made["trace"] = entry.trace
    if entry.records:
        made["records"] = [to_builtins(bounded(record)) for record in entry.records]
    return made
