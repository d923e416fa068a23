"""The coverage of the requirements by tests: per revision, per page, and what is wrong with it."""

from collections.abc import Collection, Iterable, Sequence
from enum import Enum

from mcpcore.spec.revisions import REVISIONS, Span
from mcpcore_conformance.requirements.evidence import Evidence
from mcpcore_conformance.requirements.model import Duty, Requirement, Strength


class Status(Enum):
    """How a requirement stands."""

    TESTED = "tested"
    UNTESTED = "not tested"
    APPLICATION = "application"
    AUTHORIZATION = "authorization"


def status(row: Requirement, tested: Collection[str]) -> Status:
    """Tell how a row stands, given the ids that tests claim."""
    if row.duty is not Duty.ENGINE:
        return Status[row.duty.name]
    return Status.TESTED if row.id in tested else Status.UNTESTED


def problems(rows: Sequence[Requirement], evidence: Iterable[Evidence]) -> list[str]:
    """Find what the rows and the tests owe each other, a sentence each; none if all is well."""
    by_id = {row.id: row for row in rows}
    found = []
    tested = set()
    for claim in evidence:
        place = f"{claim.path}:{claim.line}"
        row = by_id.get(claim.requirement)
        if row is None:
            found.append(f"{place}: there is no requirement {claim.requirement!r}")
        elif row.duty is not Duty.ENGINE:
            found.append(f"{place}: {row.id} is not the engine's ({row.duty.value})")
        elif row.reason:
            found.append(f"{place}: {row.id} says that it is not tested: {row.reason}")
        tested.add(claim.requirement)
    for row in rows:
        if row.id in tested or row.duty is not Duty.ENGINE:
            continue
        if row.strength is Strength.MUST:
            found.append(f"{row.id}: MUST without a test, which no reason replaces: {row.text}")
        elif not row.reason:
            found.append(f"{row.id}: SHOULD without a test or a reason: {row.text}")
    return found


def markdown(rows: Sequence[Requirement], tested: Collection[str]) -> str:
    """Write the report: coverage per revision, what is not tested and why, then every row."""
    parts = [
        "# Requirements",
        "Every MUST and SHOULD of the specification's pages under `basic/`, `server/` and "
        "`client/`, in our words, and how each stands: **tested** by tests that name it, **not "
        "tested** for the reason given, or the duty of the **application** or of "
        "**authorization**. A rule that several revisions share is one row. Written by "
        "`.venv/bin/python -m mcpcore_conformance.requirements --write "
        "conformance/mcpcore_conformance/requirements/report.md`.",
        "## Coverage",
        coverage(rows, tested),
    ]
    open_rows = [row for row in rows if status(row, tested) is Status.UNTESTED]
    if open_rows:
        parts += [
            "## Not tested",
            _table(
                ("Requirement", "Strength", "Reason"),
                [(row.id, row.strength.value, row.reason) for row in open_rows],
            ),
        ]
    parts.append("## All rows")
    for page in dict.fromkeys(row.page for row in rows):
        listed = [
            (
                row.id.rpartition("/")[2],
                row.text,
                row.strength.value,
                row.side.value,
                _revisions(row.revisions),
                row.clause,
                status(row, tested).value,
            )
            for row in rows
            if row.page == page
        ]
        header = ("Id", "Rule", "Strength", "Side", "Revisions", "Clause", "Status")
        parts += [f"### {page}", _table(header, listed)]
    return "\n\n".join(parts) + "\n"


def coverage(rows: Sequence[Requirement], tested: Collection[str]) -> str:
    """Write the table of coverage per revision."""
    lines = []
    for revision in REVISIONS:
        own = [row for row in rows if revision in row.revisions]
        standing = [(row.strength, status(row, tested)) for row in own]
        cells = [revision.name, str(len(own))]
        for strength in Strength:
            done = standing.count((strength, Status.TESTED))
            owed = done + standing.count((strength, Status.UNTESTED))
            cells.append(f"{done} of {owed}")
        cells += [
            str(sum(stands is elsewhere for _, stands in standing))
            for elsewhere in (Status.APPLICATION, Status.AUTHORIZATION)
        ]
        lines.append(cells)
    header = (
        "Revision",
        "Rows",
        "Engine, MUST: tested",
        "Engine, SHOULD: tested",
        "Application",
        "Authorization",
    )
    return _table(header, lines)


def _revisions(revisions: Span) -> str:
    first, last = revisions.first.name, revisions.last.name
    return first if first == last else f"{first} to {last}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in [header, ["---"] * len(header), *lines]
    )
