"""Markdown, as forges show it: counts, then what is not well, each with its transcript."""

import re
from collections import Counter

from mcpcore_conformance.kit.model import Verdict
from mcpcore_conformance.reports.plain import line_of
from mcpcore_conformance.reports.report import Entry, Report
from mcpcore_conformance.run.expected import Judged

SHOWN = (Verdict.FAILED, Verdict.WEAK, Verdict.INCONCLUSIVE, Verdict.INFORMATIONAL)
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~<>&]|:(?=//))")


def as_markdown(report: Report) -> str:
    """The whole as one page."""
    lines = [f"# {_escaped(report.title)}", ""]
    lines += [f"{_escaped(report.summary())}, in {report.duration()}.", ""]
    if report.ended is not None:
        lines += [f"**{report.ended.word}**: {_escaped(report.ended.why)}", ""]
    lines += [line for how in report.away for line in (_escaped(f"{how}."), "")]
    lines += [
        "| transport | revision | " + " | ".join(Verdict) + " |",
        "|---|---|" + "---:|" * len(Verdict),
    ]
    for binding, revision in report.places():
        counts = report.count((binding, revision))
        cells = [str(counts[verdict] or "") for verdict in Verdict]
        lines.append(f"| {binding} | {revision} | " + " | ".join(cells) + " |")
    lines += [line for why in report.left_out() for line in ("", f"{_escaped(why)}.")]
    played = [entry for entry in report.entries if entry.detail not in report.gone]
    for title, judged in (
        ("Failures", Judged.FAILURE),
        ("Unexpected passes", Judged.UNEXPECTED_PASS),
        ("Known failures", Judged.KNOWN),
    ):
        found = [entry for entry in played if entry.judged is judged]
        lines += _section(title, found)
    rest = [entry for entry in played if entry.judged is Judged.FINE and entry.verdict in SHOWN]
    lines += _section("Worth knowing", rest)
    if report.stale:
        lines += ["", "## Expected to fail, and not applicable", ""]
        lines += [f"- {_escaped(case)}" for case in report.stale]
    if report.gone:
        left = Counter(entry.place for entry in report.entries if entry.detail in report.gone)
        lines += ["", f"## Not played, as the server was gone ({left.total()})", ""]
        lines += [f"- {place}: {number}" for place, number in left.items()]
    if report.unplayed:
        left = Counter(f"{unit.binding} {unit.revision.name}" for unit in report.unplayed)
        lines += ["", f"## Not played ({len(report.unplayed)})", ""]
        lines += [f"- {place}: {number}" for place, number in left.items()]
    how = f"{report.program}, seed {report.seed}, {report.started}"
    return "\n".join([*lines, "", _escaped(how)]) + "\n"


def _section(title: str, entries: list[Entry]) -> list[str]:
    if not entries:
        return []
    lines = ["", f"## {title} ({len(entries)})"]
    for entry in entries:
        case = entry.case
        lines += ["", f"### {_escaped(case.id)} ({entry.place})", ""]
        lines += [f"**{entry.verdict}**: {_escaped(entry.detail or entry.reason)}", ""]
        clause, link = case.clause_in(entry.revision), case.link_in(entry.revision)
        lines += [f"- {case.strength}, [{_escaped(clause)}]({link})"]
        lines += [f"- {_escaped(case.summary)}", f"- expected: {_escaped(case.expects)}"]
        lines += [f"- {_escaped(note)}" for note in entry.notes]
        lines += [f"- known: {_escaped(entry.reason)}"] if entry.reason else []
        if entry.records:
            said = [line_of(record) for record in entry.records]
            longest = max((len(run) for line in said for run in re.findall("`+", line)), default=0)
            fence = "`" * max(3, longest + 1)
            lines += ["", "<details><summary>transcript</summary>", ""]
            lines += [f"{fence}text", *said, fence, "", "</details>"]
    return lines


def _escaped(text: str) -> str:
    """Text that says what it says, in one line: no markup, no mention, no link of its own."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("@", "@\N{ZERO WIDTH SPACE}")
