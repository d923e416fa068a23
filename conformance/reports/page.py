"""One HTML page with everything in it: a matrix of clauses, and each finding with its bytes.

Nothing is loaded from anywhere, and only the page's own script may run: a policy names its hash,
so that what a server said could not become code even if it were not escaped.
"""

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from itertools import groupby

from conformance.kit.model import Case, Verdict
from conformance.reports.plain import line_of
from conformance.reports.report import Entry, Report
from conformance.run.expected import Judged

_MARK = {
    Verdict.PASSED: ("p", "\N{CHECK MARK}"),
    Verdict.FAILED: ("f", "\N{BALLOT X}"),
    Verdict.WEAK: ("w", "weak"),
    Verdict.INFORMATIONAL: ("i", "info"),
    Verdict.NOT_APPLICABLE: ("n", "n/a"),
    Verdict.INCONCLUSIVE: ("q", "?"),
}

STYLE = files("conformance.reports").joinpath("page.css").read_text("utf-8")
SCRIPT = files("conformance.reports").joinpath("page.js").read_text("utf-8")


def as_page(report: Report) -> str:
    """The whole as one page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: Report) -> Iterator[str]:
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)};"
        " base-uri 'none'; form-action 'none'"
    )
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escape(report.title)}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>{escape(report.title)}</h1>"
    yield f"<p>{escape(report.summary())}, in {report.duration()}. "
    how = f"{report.program}, seed {report.seed}, {report.started}"
    yield f"<small>{escape(how)}</small></p>"
    if report.ended is not None:
        yield f'<p class="f">{report.ended.word}: {escape(report.ended.why)}</p>'
    yield from _counts(report)
    yield from _filters(report)
    yield from _matrix(report)
    yield from _findings(report)
    yield f"<script>{SCRIPT}</script></body></html>"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _counts(report: Report) -> Iterator[str]:
    yield "<table><thead><tr><th>transport</th><th>revision</th>"
    yield "".join(f"<th>{verdict}</th>" for verdict in Verdict) + "</tr></thead><tbody>"
    for binding, revision in report.places():
        counts = report.count((binding, revision))
        cells = "".join(
            f'<td class="r {_MARK[verdict][0]}">{counts[verdict] or ""}</td>' for verdict in Verdict
        )
        yield f"<tr><td>{binding}</td><td>{revision}</td>{cells}</tr>"
    yield "</tbody></table>"
    if report.stale:
        names = ", ".join(report.stale)
        yield f'<p class="f">Expected to fail, and not applicable: {escape(names)}</p>'


def _filters(report: Report) -> Iterator[str]:
    counts = report.count()
    yield "<fieldset><legend>show</legend>"
    for verdict, (mark, _) in _MARK.items():
        if counts[verdict]:
            yield (
                f'<label class="{mark}"><input type="checkbox" checked data-verdict="{mark}">'
                f" {verdict} ({counts[verdict]})</label>"
            )
    yield '<label>case <input id="words" type="search"></label></fieldset>'


def _matrix(report: Report) -> Iterator[str]:
    places = report.places()
    found: dict[str, dict[tuple[str, str], tuple[int, Entry]]] = {}
    cases: dict[str, Case] = {}
    for number, entry in enumerate(report.entries):
        cases[entry.case.id] = entry.case
        found.setdefault(entry.case.id, {})[entry.binding, entry.revision] = number, entry
    yield '<h2>Clauses</h2><div class="scroll"><table><thead>'
    yield "<tr><th></th><th></th>"
    for binding, group in groupby(places, key=lambda place: place[0]):
        yield f'<th colspan="{len([*group])}">{binding}</th>'
    yield "</tr><tr><th>case</th><th></th>"
    yield "".join(f"<th>{revision}</th>" for _, revision in places) + "</tr></thead><tbody>"
    page = None
    for case in cases.values():
        if case.page != page:
            page = case.page
            yield f'<tr class="page"><th colspan="{len(places) + 2}">{escape(page)}</th></tr>'
        cells = found[case.id]
        has = " ".join(dict.fromkeys(_MARK[entry.verdict][0] for _, entry in cells.values()))
        yield f'<tr data-has="{has}" data-id="{escape(case.id.lower())}">'
        yield (
            f'<td title="{escape(case.summary)}"><a href="{escape(case.link)}"'
            f' rel="noreferrer">{escape(case.id.removeprefix(f"{case.page}/"))}</a></td>'
            f"<td><small>{case.strength}</small></td>"
        )
        yield "".join(_cell(cells.get(place)) for place in places) + "</tr>"
    yield "</tbody></table></div>"


def _cell(found: tuple[int, Entry] | None) -> str:
    if found is None:
        return "<td></td>"
    number, entry = found
    mark, shown = _MARK[entry.verdict]
    title = f' title="{escape(entry.detail)}"' if entry.detail else ""
    if _told(entry):
        shown = f'<a href="#e{number}">{shown}</a>'
    known = " x" if entry.judged in (Judged.KNOWN, Judged.UNEXPECTED_PASS) else ""
    return f'<td class="c {mark}{known}"{title}>{shown}</td>'


def _told(entry: Entry) -> bool:
    """Whether an entry is told of below the matrix."""
    return bool(entry.records) or entry.judged in (Judged.KNOWN, Judged.UNEXPECTED_PASS)


def _findings(report: Report) -> Iterator[str]:
    told = [(number, entry) for number, entry in enumerate(report.entries) if _told(entry)]
    if not told:
        return
    yield f"<h2>Findings ({len(told)})</h2>"
    for number, entry in told:
        case, (mark, _) = entry.case, _MARK[entry.verdict]
        judged = "" if entry.judged is Judged.FINE else f" ({entry.judged})"
        yield f'<details id="e{number}" data-has="{mark}" data-id="{escape(case.id.lower())}">'
        yield (
            f'<summary><span class="{mark}">{entry.verdict}</span>{judged} {escape(case.id)}'
            f' <span class="dim">{entry.place}</span>: {escape(entry.detail)}</summary><dl>'
        )
        for name, value in (
            (case.strength, case.summary),
            ("expected", case.expects),
            ("found", entry.detail),
            ("known", entry.reason),
            ("notes", "\n".join(entry.notes)),
            ("trace", entry.trace),
        ):
            if value:
                yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        yield (
            f'<dt>clause</dt><dd><a href="{escape(case.link_in(entry.revision))}"'
            f' rel="noreferrer">{escape(case.clause_in(entry.revision))}</a></dd></dl>'
        )
        if entry.records:
            yield f"<pre>{escape(chr(10).join(line_of(record) for record in entry.records))}</pre>"
        yield "</details>"
