"""One HTML page with everything in it: a matrix of clauses, and each finding with its bytes.

Nothing is loaded from anywhere, and only the page's own script may run: a policy names its hash,
so that what a server said could not become code even if it were not escaped.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.reports.plain import line_of
from mcpcore_conformance.reports.report import Entry, Report
from mcpcore_conformance.run.expected import Judged

_MARK = {
    Verdict.PASSED: ("p", "\N{CHECK MARK}"),
    Verdict.FAILED: ("f", "\N{BALLOT X}"),
    Verdict.WEAK: ("w", "~"),
    Verdict.INFORMATIONAL: ("i", "i"),
    Verdict.NOT_APPLICABLE: ("n", "\N{MIDDLE DOT}"),
    Verdict.INCONCLUSIVE: ("q", "?"),
}
"""A class of the style, and what stands in the matrix."""
_WORST = (
    Verdict.FAILED,
    Verdict.WEAK,
    Verdict.INCONCLUSIVE,
    Verdict.INFORMATIONAL,
    Verdict.PASSED,
    Verdict.NOT_APPLICABLE,
)
"""From the worst to what says least; a clause has the worst verdict of its cases."""
Place = tuple[Binding, str]
_Clause = dict[str, dict[Place, tuple[int, Entry]]]
"""By the ids of its cases and by places: the number of an entry, and the entry."""

STYLE = files("mcpcore_conformance.reports").joinpath("page.css").read_text("utf-8")
SCRIPT = files("mcpcore_conformance.reports").joinpath("page.js").read_text("utf-8")


def as_page(report: Report) -> str:
    """The whole as one page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: Report) -> Iterator[str]:
    # what depends on the number of columns: a policy lets no element have a style of its own
    style = f"{STYLE}.row {{ --places: {max(1, len(report.places()))}; }}\n"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(SCRIPT)};"
        " base-uri 'none'; form-action 'none'"
    )
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escape(report.title)}</title><style>{style}</style></head><body>"
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
    for why in report.left_out():
        yield f'<p class="n">{escape(why)}</p>'
    if report.stale:
        names = ", ".join(report.stale)
        yield f'<p class="f">Expected to fail, and not applicable: {escape(names)}</p>'


def _filters(report: Report) -> Iterator[str]:
    counts = report.count()
    yield "<fieldset><legend>show</legend>"
    for verdict, (mark, sign) in _MARK.items():
        if counts[verdict]:
            yield (
                f'<label class="{mark}"><input type="checkbox" checked data-verdict="{mark}">'
                f" {sign} {verdict} ({counts[verdict]})</label>"
            )
    yield '<label>case <input id="words" type="search"></label></fieldset>'


def _matrix(report: Report) -> Iterator[str]:
    """A row for each clause, which opens into those of its cases; a column for each place."""
    places = report.places()
    pages: dict[str, dict[str, _Clause]] = {}
    for number, entry in enumerate(report.entries):
        clauses = pages.setdefault(entry.case.page, {})
        cases = clauses.setdefault(entry.case.section, {})
        cases.setdefault(entry.case.id, {})[entry.binding, entry.revision] = number, entry
    yield '<h2>Clauses</h2><div class="scroll"><div class="matrix">'
    yield '<div class="row head"><span></span>'
    before = ""
    for binding, _ in places:
        yield f"<b>{binding if binding != before else ''}</b>"
        before = binding
    yield '</div><div class="row head"><span>clause, and what is worst of its cases</span>'
    yield "".join(f'<b class="v">{revision}</b>' for _, revision in places) + "</div>"
    for page, clauses in pages.items():
        yield f'<section><h3 class="page">{escape(page)}</h3>'
        for section, cases in clauses.items():
            yield from _clause(section, cases, places)
        yield "</section>"
    yield "</div></div>"


def _clause(section: str, cases: _Clause, places: Sequence[Place]) -> Iterator[str]:
    found = [[cell for cell in (row.get(at) for row in cases.values()) if cell] for at in places]
    link = next(iter(next(iter(cases.values())).values()))[1].case.link
    number = f"{len(cases)} case{'s' * (len(cases) > 1)}"
    yield (
        f'<details class="clause"><summary class="row"><span><a href="{escape(link)}"'
        f' rel="noreferrer">{escape(section)}</a> <small>{number}</small></span>'
    )
    yield "".join(_worst([entry.verdict for _, entry in cells]) for cells in found) + "</summary>"
    for id, row in cases.items():
        entries = [entry for _, entry in row.values()]
        case = entries[0].case
        has = " ".join(dict.fromkeys(_MARK[entry.verdict][0] for entry in entries))
        why = dict.fromkeys(e.detail for e in entries if e.verdict is Verdict.NOT_APPLICABLE)
        apart = f"<small>not applicable: {escape('; '.join(why))}</small>" if why else ""
        yield (
            f'<div class="row case" data-has="{has}" data-id="{escape(id.lower())}">'
            f'<span title="{escape(case.summary)}">{escape(id.removeprefix(f"{case.page}/"))}'
            f" <small>{case.strength}</small>{apart}</span>"
        )
        yield "".join(_cell(row.get(at)) for at in places) + "</div>"
    yield "</details>"


def _worst(verdicts: Sequence[Verdict]) -> str:
    """The cell of a clause: its worst verdict, and how often, where that is no good one."""
    if not verdicts:
        return "<b></b>"
    worst = min(verdicts, key=_WORST.index)
    mark, shown = _MARK[worst]
    many = verdicts.count(worst)
    if many > 1 and worst not in (Verdict.PASSED, Verdict.NOT_APPLICABLE):
        shown += str(many)
    counts = Counter(verdicts)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _WORST if counts[verdict])
    title = f' title="{said}"' if len(counts) > 1 else ""
    return f'<b class="{mark}"{title}>{shown}</b>'


def _cell(found: tuple[int, Entry] | None) -> str:
    if found is None:
        return "<b></b>"
    number, entry = found
    mark, shown = _MARK[entry.verdict]
    # why something does not apply stands once, beside the name of the case
    tells = entry.detail and entry.verdict is not Verdict.NOT_APPLICABLE
    title = f' title="{escape(entry.detail)}"' if tells else ""
    if _told(entry):
        shown = f'<a href="#e{number}">{shown}</a>'
    known = " x" if entry.judged in (Judged.KNOWN, Judged.UNEXPECTED_PASS) else ""
    return f'<b class="{mark}{known}"{title}>{shown}</b>'


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
        known = f'data-has="{mark}" data-id="{escape(case.id.lower())}"'
        yield f'<details class="finding" id="e{number}" {known}>'
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
