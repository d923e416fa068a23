"""What came of a campaign: for people, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import json

from tests.mutation.campaign import Outcome
from tests.mutation.mutants import Key

_HEAD = ("package", "possible", "mutants", "killed", "timed out", "survived", "judged", "% killed")
LEAST = 0.87
"""Share of the mutants of a sample that tests have to kill."""
Reasons = dict[Key, str]


def line(number: int, count: int, outcome: Outcome) -> str:
    """One mutant, as soon as it is known."""
    mutant, verdict = outcome.mutant, outcome.verdict
    by = f" by {outcome.killer}" if outcome.killer else f" of {outcome.tests} tests"
    place = f"{mutant.path}:{mutant.line} {mutant.function}"
    return f"[{number:3}/{count}] {verdict.outcome:9} {verdict.ran:4}{by}  {place}"


def table(possible: dict[str, int], outcomes: Sequence[Outcome], reasons: Reasons) -> str:
    """Counts by package."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for package in (*possible, "all"):
        each = [one for one in outcomes if package == "all" or one.mutant.of(package)]
        ends = Counter(one.verdict.outcome for one in each)
        known = sum(one.mutant.key() in reasons for one in survivors(each))
        share = 100 * (1 - ends["survived"] / len(each)) if each else 0.0
        there = sum(possible.values()) if package == "all" else possible[package]
        counts = (there, len(each), *(ends[end] for end in _HEAD[3:6]), known)
        rows.append((package, *(f"{count:,}" for count in counts), f"{share:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def survivors(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that no test has noticed."""
    return [each for each in outcomes if each.verdict.outcome == "survived"]


def failures(outcomes: Sequence[Outcome], reasons: Reasons, *, sampled: bool) -> list[str]:
    """Why a campaign is no success: too few are killed, or some live that nobody has judged.

    ``sampled``: the mutants are a sample of all, not those that lived before.
    """
    living = survivors(outcomes)
    found = []
    killed = len(outcomes) - len(living)
    if sampled and killed < LEAST * len(outcomes):
        found.append(f"{killed} of {len(outcomes)} are killed, less than {LEAST:.0%}")
    if sampled and not outcomes:
        found.append("there was nothing to change")
    unjudged = [each.mutant for each in living if each.mutant.key() not in reasons]
    if unjudged:
        places = ", ".join(f"{mutant.path}:{mutant.line}" for mutant in unjudged)
        found.append(f"{len(unjudged)} survived and are not in the judged list: {places}")
    return found


def shown(outcome: Outcome, reasons: Reasons) -> str:
    """A survivor as a diff, and why it may live if somebody has judged it."""
    mutant, verdict = outcome.mutant, outcome.verdict
    asked = f"{verdict.ran} of {outcome.tests} tests" + (" (no time for more)" * verdict.capped)
    before, after = mutant.diff()
    lines = [f"{mutant.path}:{mutant.line} {mutant.function}: {asked}"]
    lines += [f"- {text}" for text in before] + [f"+ {text}" for text in after]
    if reason := reasons.get(mutant.key()):
        lines.append(f"  judged: {reason}")
    return "\n".join(lines)


def survived(file: Path) -> list[Key]:
    """The keys of those that a saved report tells of."""
    rows = json.decode(file.read_bytes())["mutants"]
    return [
        (row["path"], row["function"], row["before"], row["after"])
        for row in rows
        if row["outcome"] == "survived"
    ]


def save(
    file: Path,
    seed: int,
    possible: dict[str, int],
    outcomes: Sequence[Outcome],
    reasons: Reasons,
) -> None:
    """All of it, with the text of each change."""
    rows = [
        {
            "path": each.mutant.path,
            "line": each.mutant.line,
            "function": each.mutant.function,
            "before": each.mutant.key()[2],
            "after": each.mutant.key()[3],
            "outcome": each.verdict.outcome,
            "tests": each.tests,
            "ran": each.verdict.ran,
            "capped": each.verdict.capped,
            "killer": each.killer,
            "judged": reasons.get(each.mutant.key()),
        }
        for each in outcomes
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {"seed": seed, "possible": possible, "mutants": rows}
    file.write_bytes(json.format(json.encode(whole), indent=1))
