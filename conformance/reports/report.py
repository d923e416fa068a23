"""What all formats show: the results of a run, judged, without secrets."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from msgspec import Struct, field

from conformance.kit.model import Binding, Case, Result, Side, Verdict
from conformance.reports.plain import printable
from conformance.run.expected import Judged, Judgement, key_of
from conformance.run.run import Run
from conformance.run.transcript import records_of
from mcpcore.wire.trace import Record, Redactor

NOTABLE = frozenset((Verdict.FAILED, Verdict.WEAK, Verdict.INFORMATIONAL, Verdict.INCONCLUSIVE))
"""Verdicts whose transcripts are kept."""


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
    records: Sequence[Record] = ()
    """What was said, of what is notable."""
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
    planned: int
    """How many results there would be if the run had come to its end."""
    well: bool
    stale: Sequence[str] = ()
    entries: list[Entry] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return len(self.entries) == self.planned

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

    def summary(self) -> str:
        """The counts in words."""
        total = self.count()
        said = ", ".join(f"{total[verdict]} {verdict}" for verdict in Verdict if total[verdict])
        left = self.planned - len(self.entries)
        return (said or "nothing played") + (f"; {left} not played" if left else "")


def report_of(run: Run, judgement: Judgement, secrets: Sequence[str] = ()) -> Report:
    """Put a report together; ``secrets`` are hidden wherever they stand."""
    cover = _redactor(secrets)
    shown = [(binding, printable(cover.text(target)[0])) for binding, target in run.targets.items()]
    different = dict.fromkeys(target for _, target in shown)
    several = ", ".join(f"{target} ({binding})" for binding, target in shown)
    return Report(
        side=run.side,
        target=several if len(different) > 1 else "".join(different),
        started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        program=f"mcpcore {version('mcpcore')}",
        seconds=run.seconds,
        seed=run.settings.seed,
        strict=judgement.strict,
        planned=len(run.units),
        well=judgement.well,
        stale=[*map(printable, judgement.stale)],
        entries=[_entry(result, judgement, secrets) for result in run.results],
    )


def detail_of(result: Result, secrets: Sequence[str] = ()) -> str:
    """Why, in words that may be shown: without secrets and control characters."""
    return _said(result, secrets)[0]


def _said(result: Result, secrets: Sequence[str]) -> tuple[str, Sequence[str], Sequence[Record]]:
    """Detail, notes and transcript of a result."""
    redactor = _redactor(secrets)
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
        records=records,
    )


def _redactor(secrets: Sequence[str]) -> Redactor:
    made = Redactor()
    for secret in secrets:
        made.hide(secret)
    return made


def row_of(entry: Entry) -> dict[str, Any]:
    """A result as an object of JSON."""
    case = entry.case
    made: dict[str, Any] = {
        "id": case.id,
        "clause": case.clause_in(entry.revision),
        "strength": case.strength,
        "revision": entry.revision,
        "transport": entry.binding,
        "verdict": entry.verdict,
        "detail": entry.detail,
        "side": case.side,
        "summary": case.summary,
        "expects": case.expects,
        "link": case.link_in(entry.revision),
        "seconds": round(entry.seconds, 4),
        "outcome": entry.judged,
    }
    if entry.notes:
        made["notes"] = [*entry.notes]
    if entry.reason:
        made["reason"] = entry.reason
    if entry.trace:
        made["trace"] = entry.trace
    return made
